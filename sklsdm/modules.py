"""Torch modules: layers, MLP, conditional generator, critics; and how modules travel.

Every module is initialised from the `torch.Generator` handed in, so the global random state is
neither read nor moved, and keeps its arguments in `config`, so that it can be rebuilt from
`(class, config, state)` without pickled code.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
}
_LOG_PRECISION = 4.6  # a mixture's component is at least exp(-4.6) = 0.01 wide


def _init_weights(layer: nn.Module, fan_in: int, generator: torch.Generator | None) -> None:
    """PyTorch's own uniform rule, U(±1/√fan_in), drawn from `generator`."""
    if generator is None:
        return
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)


def linear(n_in: int, n_out: int, generator: torch.Generator | None, bias: bool = True) -> Any:
    """A linear layer whose weights come from `generator` (left unset where it is None)."""
    layer = nn.utils.skip_init(nn.Linear, max(n_in, 1), n_out, bias=bias)
    if n_in == 0:  # no condition: nothing but the bias
        layer.in_features, layer.weight = 0, nn.Parameter(torch.empty(n_out, 0))
    _init_weights(layer, n_in, generator)
    return layer


def conv(n_in: int, n_out: int, kernel: int, stride: int, generator: torch.Generator | None) -> Any:
    """A convolution with padding kernel // 2 whose weights come from `generator`."""
    layer = nn.utils.skip_init(
        nn.Conv2d, n_in, n_out, kernel_size=kernel, stride=stride, padding=kernel // 2
    )
    _init_weights(layer, n_in * kernel**2, generator)
    return layer


def conv_transpose(
    n_in: int,
    n_out: int,
    kernel: int,
    sides: Sequence[int],
    generator: torch.Generator | None,
) -> Any:
    """The way back of `conv` with stride 2, to maps whose sides (h, w) are given."""
    layer = nn.utils.skip_init(
        nn.ConvTranspose2d,
        n_in,
        n_out,
        kernel_size=kernel,
        stride=2,
        padding=kernel // 2,
        output_padding=tuple(1 - side % 2 for side in sides),
    )
    _init_weights(layer, n_in * kernel**2 // 4, generator)
    return layer


def mlp(
    n_in: int,
    n_out: int,
    widths: Sequence[int],
    activation: str,
    generator: torch.Generator | None,
    *,
    last_scale: float = 1.0,
) -> nn.Sequential:
    """Linear layers with an activation between them; `last_scale` shrinks the last one."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [linear(n_in, width, generator), ACTIVATIONS[activation]()]
        n_in = width
    last = linear(n_in, n_out, generator)
    with torch.no_grad():
        last.weight.mul_(last_scale)
        last.bias.mul_(last_scale)
    return nn.Sequential(*layers, last)


class ConvConditionEncoder(nn.Module):
    """Image conditions (n, c, h, w), handed in flat, as feature rows."""

    def __init__(
        self,
        shape: Sequence[int],
        n_features: int,
        channels: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_channels, height, width = shape
        layers: list[nn.Module] = []
        while min(height, width) > 4:
            layers += [conv(n_channels, channels, 3, 2, generator), nn.LeakyReLU()]
            height, width, n_channels = (height + 1) // 2, (width + 1) // 2, channels
        flat = n_channels * height * width
        layers += [nn.Flatten(), linear(flat, n_features, generator), nn.LeakyReLU()]
        self.shape = tuple(shape)
        self.layers = nn.Sequential(*layers)

    def forward(self, condition: Tensor) -> Tensor:
        return self.layers(condition.reshape(-1, *self.shape))


class _Conditioned(nn.Module):
    """Shared by generator and critic: how a condition enters."""

    def _encode_with(
        self, shape: Sequence[int] | None, condition_dim: int, generator: torch.Generator | None
    ) -> int:
        """Set `condition_encoder` and return the number of features that it gives."""
        if shape is None:
            self.condition_encoder: nn.Module = nn.Identity()
            return condition_dim
        n_features = 128
        self.condition_encoder = ConvConditionEncoder(shape, n_features, generator=generator)
        return n_features


class _Started(_Conditioned):
    """Shared by generators: a linear-Gaussian path, A·x + b + L·η, from which they start.

    It can be set to the least-squares fit of the codes on the conditions with its residual
    covariance: training then starts from "least squares with Gaussian noise".
    """

    def _start_path(
        self, condition_dim: int, latent_dim: int, noise_dim: int, random: torch.Generator | None
    ) -> None:
        self.mean = linear(condition_dim, latent_dim, random)
        self.spread = linear(noise_dim, latent_dim, random, bias=False)

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and L (k, d); d beyond the factor's columns stays zero."""
        self.mean.weight.copy_(coef)
        self.mean.bias.copy_(intercept)
        self.spread.weight.zero_()
        columns = min(factor.shape[1], self.spread.weight.shape[1])
        self.spread.weight[:, :columns] = factor[:, :columns]

    def start(self, condition: Tensor, noise: Tensor) -> Tensor:
        """A·x + b + L·η, (n, k)."""
        return self.mean(condition) + self.spread(noise)


class ConditionalGenerator(_Started):
    """H(x, η): the linear-Gaussian start plus an MLP on (features of x, η)."""

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        noise_dim: int,
        widths: Sequence[int],
        activation: str = "leaky_relu",
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "condition_dim": condition_dim,
            "latent_dim": latent_dim,
            "noise_dim": noise_dim,
            "widths": tuple(widths),
            "activation": activation,
            "image_shape": image_shape,
        }
        n_features = self._encode_with(image_shape, condition_dim, generator)
        self._start_path(condition_dim, latent_dim, noise_dim, generator)
        self.mlp = mlp(
            n_features + noise_dim, latent_dim, widths, activation, generator, last_scale=0.1
        )

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        features = self.condition_encoder(condition)
        return self.start(condition, noise) + self.mlp(torch.cat([features, noise], dim=-1))


class PotentialGenerator(_Started):
    """H(x, η) = s + ∇φ(x, s) ⊙ ℓ(x, s): the start s moved along the slope of a potential φ.

    φ is an MLP on (features of x, s). The lengths ℓ are 1, or a second output of it where
    `with_lengths`; the slope then gives directions only and is kept within [-1, 1].
    """

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        noise_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        with_lengths: bool = False,
    ) -> None:
        super().__init__()
        self.config = {
            "condition_dim": condition_dim,
            "latent_dim": latent_dim,
            "noise_dim": noise_dim,
            "widths": tuple(widths),
            "activation": activation,
            "image_shape": image_shape,
            "with_lengths": with_lengths,
        }
        n_features = self._encode_with(image_shape, condition_dim, generator)
        self._start_path(condition_dim, latent_dim, noise_dim, generator)
        self.with_lengths = with_lengths
        n_out = 1 + (latent_dim if with_lengths else 0)
        self.mlp = mlp(
            n_features + latent_dim, n_out, widths, activation, generator, last_scale=0.1
        )

    def potential(
        self, condition: Tensor, start: Tensor, *, create_graph: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """φ (n,), its slope in s (n, k) and the lengths (n, k), None where they are 1."""
        with torch.enable_grad():
            points = start.detach().requires_grad_(True)
            out = self.mlp(torch.cat([self.condition_encoder(condition), points], dim=-1))
            (slope,) = torch.autograd.grad(out[:, 0].sum(), points, create_graph=create_graph)
        if not self.with_lengths:
            return out[:, 0], slope, None
        return out[:, 0], slope.clamp(-1.0, 1.0), nn.functional.softplus(out[:, 1:])

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        start = self.start(condition, noise)
        _, slope, lengths = self.potential(condition, start, create_graph=self.training)
        return start + (slope if lengths is None else slope * lengths)


class Critic(_Conditioned):
    """f(x, z), a number per row; `condition_dim=0` is the unconditional critic f(z)."""

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "leaky_relu",
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_features = self._encode_with(image_shape, condition_dim, generator)
        self.mlp = mlp(n_features + latent_dim, 1, widths, activation, generator)

    def features(self, condition: Tensor) -> Tensor:
        """What the critic sees of the condition; shared by real, drawn and penalty rows."""
        return self.condition_encoder(condition)

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        return self.mlp(torch.cat([features, latent], dim=-1)).squeeze(-1)


class OrthonormalLinear(nn.Module):
    """A linear layer whose weight has orthonormal rows or columns (the fewer), always.

    The weight is B(I + S)(I − S)⁻¹ up to a transpose: a fixed orthonormal B, drawn at the start,
    turned by the Cayley transform of a trained skew-symmetric S. A single row or column is a
    trained vector divided by its length.
    """

    base: Tensor

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator | None) -> None:
        super().__init__()
        few, many = sorted((n_in, n_out))
        start = torch.randn(many, few, generator=generator)
        self.wide = n_in == many
        self.single = few == 1
        self.register_buffer("base", torch.linalg.qr(start).Q)
        self.turn = nn.Parameter(self.base.clone() if self.single else torch.zeros(many, many))
        self.bias = nn.Parameter(torch.zeros(n_out))

    def weight(self) -> Tensor:
        """The weight (n_out, n_in)."""
        if self.single:
            tall = self.turn / self.turn.norm()
        else:
            skew = self.turn - self.turn.T
            eye = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
            tall = torch.linalg.solve(eye - skew, (eye + skew) @ self.base)
        return tall.T if self.wide else tall

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, self.weight(), self.bias)


class GroupSort(nn.Module):
    """Sorts pairs of units: keeps lengths, so that slopes are neither cut nor raised.

    Anil, Lucas & Grosse 2019 (arXiv 1811.05381), section 4.2, with groups of two (MaxMin).
    """

    def forward(self, rows: Tensor) -> Tensor:
        first, second = rows.chunk(2, dim=-1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=-1)


class GroupSortCritic(_Conditioned):
    """f(x, z), 1-Lipschitz by construction: orthonormal weights and sorted pairs of units.

    In (x, z) where `joint` (an image counts by its features); otherwise in z alone: the
    condition then shifts the first layer through an unconstrained MLP.
    """

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        widths: Sequence[int],
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        *,
        joint: bool = False,
    ) -> None:
        super().__init__()
        n_features = self._encode_with(image_shape, condition_dim, generator)
        n_in = latent_dim + (n_features if joint else 0)
        self.joint = joint
        self.first = OrthonormalLinear(n_in, widths[0], generator)
        self.shift: nn.Module | None = None
        if n_features and not joint:
            self.shift = mlp(n_features, widths[0], widths[:1], "leaky_relu", generator)
        layers: list[nn.Module] = [GroupSort()]
        for n_in, n_out in itertools.pairwise(widths):
            layers += [OrthonormalLinear(n_in, n_out, generator), GroupSort()]
        self.rest = nn.Sequential(*layers, OrthonormalLinear(widths[-1], 1, generator))

    def features(self, condition: Tensor) -> Tensor:
        """What the critic sees of the condition; shared by real and drawn rows."""
        return self.condition_encoder(condition)

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        if self.joint:
            return self.rest(self.first(torch.cat([features, latent], dim=-1))).squeeze(-1)
        hidden = self.first(latent)
        if self.shift is not None:
            hidden = hidden + self.shift(features)
        return self.rest(hidden).squeeze(-1)


class CodeClassifier(nn.Module):
    """ln p(class | z), (n, c), of codes (n, k)."""

    def __init__(
        self,
        latent_dim: int,
        n_classes: int,
        widths: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.mlp = mlp(latent_dim, n_classes, widths, "silu", generator)

    def forward(self, latent: Tensor) -> Tensor:
        return self.mlp(latent).log_softmax(dim=1)


class Critics(nn.Module):
    """The critic f(x, z) of the pairs and, where unpaired codes are matched too, f(z)."""

    def __init__(self, joint: nn.Module, marginal: nn.Module | None) -> None:
        super().__init__()
        self.joint: Any = joint
        self.marginal: Any = marginal


class PackedModule:
    """A module that travels to machines without its device.

    Ours as class, arguments and numpy arrays; a user's own as a copy on the CPU.
    """

    def __init__(self, module: Any) -> None:
        self.kind = type(module)
        self.copy: nn.Module | None = None
        if self.kind.__module__.startswith("sklsdm.") and hasattr(module, "config"):
            self.config = module.config
            self.arrays = {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}
        else:
            self.copy = copy.deepcopy(module).cpu()

    def unpack(self) -> nn.Module:
        if self.copy is not None:
            return self.copy
        module = self.kind(**self.config)
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.arrays.items()})
        return module.eval()


class ModuleHolder:
    """Mixin: modules among the attributes are packed in pickles and copies, and unpacked on CPU."""

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        state = dict(parent.__getstate__())
        return {k: PackedModule(v) if isinstance(v, nn.Module) else v for k, v in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {k: v.unpack() if isinstance(v, PackedModule) else v for k, v in state.items()}
        parent: Any = super()
        if hasattr(parent, "__setstate__"):
            parent.__setstate__(state)
        else:
            self.__dict__.update(state)

    def to(self, device: torch.device) -> None:
        """Move every module among the attributes."""
        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.to(device)


class _Residual(_Conditioned):
    """Shared by densities and fields: they see the code's residual from a fixed linear path.

    u = L⁻¹(z − A·x − b) is white where least squares with Gaussian noise is the truth, so
    training starts from there.
    """

    coef: Tensor  # A (k, p)
    intercept: Tensor  # b (k,)
    factor: Tensor  # L (k, k)
    whitener: Tensor  # L⁻¹

    def _start_path(self, condition_dim: int, latent_dim: int) -> None:
        self.register_buffer("coef", torch.zeros(latent_dim, condition_dim))
        self.register_buffer("intercept", torch.zeros(latent_dim))
        self.register_buffer("factor", torch.eye(latent_dim))
        self.register_buffer("whitener", torch.eye(latent_dim))

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and an invertible L (k, k)."""
        self.coef.copy_(coef)
        self.intercept.copy_(intercept)
        self.factor.copy_(factor)
        self.whitener.copy_(torch.linalg.inv(factor))

    def _centre(self, condition: Tensor) -> Tensor:
        return nn.functional.linear(condition, self.coef, self.intercept)

    def residual(self, condition: Tensor, latent: Tensor) -> Tensor:
        """u = L⁻¹(z − A·x − b), (..., k)."""
        return nn.functional.linear(latent - self._centre(condition), self.whitener)

    def latent(self, condition: Tensor, residual: Tensor) -> Tensor:
        """z = A·x + b + L·u, (..., k)."""
        return self._centre(condition) + nn.functional.linear(residual, self.factor)

    def features(self, condition: Tensor) -> Tensor:
        """What the network sees of the condition."""
        return self.condition_encoder(condition)


class TimeConditionedField(_Residual):
    """F(x, u, t), a vector of u's dimension: the network of a flow or of a diffusion."""

    frequencies: Tensor

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "leaky_relu",
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "condition_dim": condition_dim,
            "latent_dim": latent_dim,
            "widths": tuple(widths),
            "activation": activation,
            "image_shape": image_shape,
        }
        n_features = self._encode_with(image_shape, condition_dim, generator)
        self._start_path(condition_dim, latent_dim)
        self.register_buffer("frequencies", 2.0 ** torch.linspace(0, 3, 8))
        n_inputs = n_features + latent_dim + 1 + 2 * len(self.frequencies)
        self.mlp = mlp(n_inputs, latent_dim, widths, activation, generator, last_scale=0.1)

    def forward(self, features: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """The field (n, k) at residuals (n, k) and times (n, 1) or (1, 1)."""
        waves = time * self.frequencies
        clock = torch.cat([time, waves.cos(), waves.sin()], dim=-1).expand(len(residual), -1)
        return self.mlp(torch.cat([features, residual, clock], dim=-1))


class MixtureDensity(_Residual):
    """p(u | x), a mixture of Gaussians whose parameters an MLP gives.

    A component has a weight, a mean μ and a lower triangular factor P of its precision, PᵀP;
    P is diagonal where not `full`. At the start the mixture is near N(0, I).
    """

    tangled: Tensor

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        n_components: int,
        full: bool,
        widths: Sequence[int],
        activation: str = "leaky_relu",
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "condition_dim": condition_dim,
            "latent_dim": latent_dim,
            "n_components": n_components,
            "full": full,
            "widths": tuple(widths),
            "activation": activation,
            "image_shape": image_shape,
        }
        n_features = self._encode_with(image_shape, condition_dim, generator)
        self._start_path(condition_dim, latent_dim)
        self.register_buffer("tangled", torch.tril_indices(latent_dim, latent_dim, -1))
        self.sizes = [1, latent_dim, latent_dim, self.tangled.shape[1] if full else 0]
        n_outputs = n_components * sum(self.sizes)
        self.mlp = mlp(n_features, n_outputs, widths, activation, generator, last_scale=0.1)
        self.start = nn.Parameter(torch.zeros(n_components, sum(self.sizes)))
        if n_components > 1 and generator is not None:
            means = torch.randn((n_components, latent_dim), generator=generator)
            with torch.no_grad():
                self.start[:, 1 : 1 + latent_dim] = (means - means.mean(dim=0)) * math.sqrt(0.5)
                self.start[:, 1 + latent_dim : 1 + 2 * latent_dim] = 0.5 * math.log(2)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (n, c), means (n, c, k) and factors P (n, c, k, k) given x (n, p)."""
        raw = self.mlp(self.features(condition)).view(len(condition), *self.start.shape)
        logits, means, scales, rest = (raw + self.start).split(self.sizes, dim=-1)
        precision = torch.diag_embed((_LOG_PRECISION * (scales / _LOG_PRECISION).tanh()).exp())
        if rest.shape[-1]:
            precision[..., self.tangled[0], self.tangled[1]] = rest
        return logits.squeeze(-1).log_softmax(dim=1), means, precision

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


def conv(
    n_in: int, n_out: int, kernel: int, stride: int, generator: torch.Generator | None
) -> Any:
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


class TimeConditionedField(_Conditioned):
    """F(x, u, t), a vector of u's dimension: the network of a flow or of a diffusion.

    u is the code's residual L⁻¹(z − A·x − b) from a fixed linear-Gaussian path (`set_linear`):
    white where least squares with Gaussian noise is the truth, so training starts from there.
    """

    coef: Tensor  # A (k, p)
    intercept: Tensor  # b (k,)
    factor: Tensor  # L (k, k)
    whitener: Tensor  # L⁻¹
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
        self.register_buffer("coef", torch.zeros(latent_dim, condition_dim))
        self.register_buffer("intercept", torch.zeros(latent_dim))
        self.register_buffer("factor", torch.eye(latent_dim))
        self.register_buffer("whitener", torch.eye(latent_dim))
        self.register_buffer("frequencies", 2.0 ** torch.linspace(0, 3, 8))
        n_time = 1 + 2 * len(self.frequencies)
        self.mlp = mlp(
            n_features + latent_dim + n_time, latent_dim, widths, activation, generator,
            last_scale=0.1,
        )  # fmt: skip

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and an invertible L (k, k)."""
        self.coef.copy_(coef)
        self.intercept.copy_(intercept)
        self.factor.copy_(factor)
        self.whitener.copy_(torch.linalg.inv(factor))

    def residual(self, condition: Tensor, latent: Tensor) -> Tensor:
        """u = L⁻¹(z − A·x − b), (..., k)."""
        centre = nn.functional.linear(condition, self.coef, self.intercept)
        return nn.functional.linear(latent - centre, self.whitener)

    def latent(self, condition: Tensor, residual: Tensor) -> Tensor:
        """z = A·x + b + L·u, (n, k)."""
        centre = nn.functional.linear(condition, self.coef, self.intercept)
        return centre + nn.functional.linear(residual, self.factor)

    def features(self, condition: Tensor) -> Tensor:
        """What the field sees of the condition, the same at all times."""
        return self.condition_encoder(condition)

    def forward(self, features: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """The field (n, k) at residuals (n, k) and times (n, 1) or (1, 1)."""
        waves = time * self.frequencies
        clock = torch.cat([time, waves.cos(), waves.sin()], dim=-1).expand(len(residual), -1)
        return self.mlp(torch.cat([features, residual, clock], dim=-1))

"""Torch modules: MLP, autoencoder with a linear path, conditional generator, critic.

Every module is initialised from the `torch.Generator` handed in, so the global random state is
neither read nor moved, and keeps its arguments in `config`, so that it can be rebuilt from
`(class, config, state)` without pickled code.
"""

from __future__ import annotations

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


class ConditionalGenerator(_Conditioned):
    """H(x, η): a linear-Gaussian path plus an MLP on (features of x, η).

    The linear path, A·x + b + L·η, can be set to the least-squares fit of the codes on the
    conditions with its residual covariance (`set_linear`): training then starts from "least
    squares with Gaussian noise" instead of from nothing, and the MLP learns what that misses.
    """

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
        self.mean = linear(condition_dim, latent_dim, generator)
        self.spread = linear(noise_dim, latent_dim, generator, bias=False)
        self.mlp = mlp(
            n_features + noise_dim, latent_dim, widths, activation, generator, last_scale=0.1
        )

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and L (k, d); d beyond the factor's columns stays zero."""
        self.mean.weight.copy_(coef)
        self.mean.bias.copy_(intercept)
        self.spread.weight.zero_()
        columns = min(factor.shape[1], self.spread.weight.shape[1])
        self.spread.weight[:, :columns] = factor[:, :columns]

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        features = self.condition_encoder(condition)
        curved = self.mlp(torch.cat([features, noise], dim=-1))
        return self.mean(condition) + self.spread(noise) + curved


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


class LinearCoder(nn.Module):
    """z = W(y − c), ŷ = Wᵀz + c with orthonormal rows W: PCA, or the identity."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.config = {"width": width, "latent_dim": latent_dim}
        self.center = nn.Parameter(torch.zeros(width))
        self.components = nn.Parameter(torch.eye(latent_dim, width))

    def encode(self, target: Tensor) -> Tensor:
        return nn.functional.linear(target - self.center, self.components)

    def decode(self, latent: Tensor) -> Tensor:
        return latent @ self.components + self.center

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))


class MLPCoder(nn.Module):
    """A linear autoencoder plus an MLP on either side.

    The linear path starts at the principal components and the MLPs near zero, so training starts
    from PCA's reconstruction and the state kept on held-out rows is never worse than it.
    """

    def __init__(
        self,
        width: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = {
            "width": width,
            "latent_dim": latent_dim,
            "widths": tuple(widths),
            "activation": activation,
        }
        self.linear = LinearCoder(width, latent_dim)
        inside = list(reversed(widths))
        scale = 0.1
        self.encoder = mlp(width, latent_dim, widths, activation, generator, last_scale=scale)
        self.decoder = mlp(latent_dim, width, inside, activation, generator, last_scale=scale)

    def encode(self, target: Tensor) -> Tensor:
        return self.linear.encode(target) + self.encoder(target)

    def decode(self, latent: Tensor) -> Tensor:
        return self.linear.decode(latent) + self.decoder(latent)

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))


class PackedModule:
    """A module as class, arguments and numpy arrays: it travels to machines without its device."""

    def __init__(self, module: Any) -> None:
        self.kind = type(module)
        self.config = module.config
        self.arrays = {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}

    def unpack(self) -> nn.Module:
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

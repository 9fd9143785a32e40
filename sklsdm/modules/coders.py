"""Modules of stage 1: encoder and decoder as one module, each started at a linear autoencoder.

Rows go in and come out flat and standardised; images are shaped inside. Like all modules of ours
they are initialised from the `torch.Generator` handed in and rebuilt from `config` and state.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.modules.layers import ACTIVATIONS, conv, conv_transpose, mlp
from sklsdm.modules.packing import RebuildableModule

_SLOPES = {nn.SiLU: 1.0999, nn.GELU: 1.1290}  # steepest slopes; those of the others are 1
SETTLED = 200  # power iterations from which on a norm counts as found, to 1 %


class LinearCoder(RebuildableModule):
    """z = W(y − c), ŷ = Wᵀz + c with orthonormal rows W: PCA, or the identity."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.center = nn.Parameter(torch.zeros(width))
        self.components = nn.Parameter(torch.eye(latent_dim, width))

    def encode(self, target: Tensor) -> Tensor:
        return nn.functional.linear(target - self.center, self.components)

    def decode(self, latent: Tensor) -> Tensor:
        return latent @ self.components + self.center

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))

    def slope(self, spread: Tensor, n_iterations: int = SETTLED) -> Tensor:
        """Lipschitz constant of the decoder; see :meth:`Coder.slope`."""
        return _few_rows_norm(spread[:, None] * self.components) / self.center.numel() ** 0.5


class Coder(RebuildableModule):
    """A linear autoencoder plus a network on either side: E = W(y − c) + e(y), and likewise D.

    The linear path starts at the principal components and the networks' last layers at zero, so
    training starts from PCA's reconstruction, and the state kept on held-out rows is never worse
    there.
    `gain` scales the decoder about its centre; it is 1 where its slope is not limited.
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    gain: Tensor

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = LinearCoder(width, latent_dim)
        self.register_buffer("gain", torch.ones(()))

    def encode(self, target: Tensor) -> Tensor:
        return self.linear.encode(target) + self.encoder(target)

    def decode(self, latent: Tensor) -> Tensor:
        moved = latent @ self.linear.components + self.decoder(latent)
        return self.linear.center + self.gain * moved

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))

    def slope(self, spread: Tensor, n_iterations: int = SETTLED) -> Tensor:
        """Bound on the decoder's Lipschitz constant before `gain`, from its layers' norms.

        Codes are counted in units of `spread` (k,), rows by their root mean square over outputs:
        a principal component with all of the responses' variance has slope 1. Fewer than
        `SETTLED` power iterations are quick, and may fall a few per cent short.
        """
        curved = lipschitz_bound(self.decoder, spread, n_iterations)
        return self.linear_slope(spread) + curved / self.linear.center.numel() ** 0.5

    def linear_slope(self, spread: Tensor) -> Tensor:
        """The share of the linear path in `slope`."""
        return self.linear.slope(spread)


class MLPCoder(Coder):
    """A linear autoencoder plus an MLP on either side."""

    def __init__(
        self,
        width: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(width, latent_dim)
        inside = list(reversed(widths))
        self.encoder = mlp(width, latent_dim, widths, activation, generator, last_scale=0.0)
        self.decoder = mlp(latent_dim, width, inside, activation, generator, last_scale=0.0)


class ConvCoder(Coder):
    """A linear autoencoder plus convolutions on either side, for images (c, h, w) of any size.

    Each convolution of the encoder halves the sides (rounded up), each transposed one of the
    decoder goes exactly back; between them and the code lies one hidden layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        latent_dim: int,
        channels: Sequence[int],
        hidden: int,
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(math.prod(shape), latent_dim)
        stages = [tuple(shape)]
        for n_channels in channels:
            stages.append((n_channels, *((side + 1) // 2 for side in stages[-1][1:])))
        act, flat = ACTIVATIONS[activation], math.prod(stages[-1])
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for (n_out, *sides), (n_in, *_) in itertools.pairwise(stages):
            down += [conv(n_out, n_in, 3, 2, generator), act()]
            up = [act(), conv_transpose(n_in, n_out, 3, sides, generator), *up]
        with torch.no_grad():
            for parameter in up[-1].parameters():
                parameter.zero_()
        to_code = mlp(flat, latent_dim, [hidden], activation, generator, last_scale=0.0)
        from_code = mlp(latent_dim, flat, [hidden], activation, generator)
        self.encoder = nn.Sequential(nn.Unflatten(1, stages[0]), *down, nn.Flatten(), *to_code)
        self.decoder = nn.Sequential(*from_code, nn.Unflatten(1, stages[-1]), *up, nn.Flatten())
        module: Any = self
        module.to(memory_format=torch.channels_last)  # a tenth faster on a CPU


def lipschitz_bound(layers: Any, spread: Tensor, n_iterations: int) -> Tensor:
    """Bound on the Lipschitz constant of an MLP, or of transposed convolutions after one.

    The product of the layers' spectral norms and the activations' steepest slopes, in the first
    len(spread) inputs, counted in units of `spread`.
    """
    first, *others = layers
    bound = _few_rows_norm(spread[:, None] * first.weight[:, : len(spread)].T)
    point = spread.new_zeros((1, first.out_features))
    for layer in others:
        with torch.no_grad():
            shape, point = point.shape, layer(point)
        if isinstance(layer, nn.Linear | nn.ConvTranspose2d):
            bound = bound * _spectral_norm(layer, shape, n_iterations)
        else:
            bound = bound * _SLOPES.get(type(layer), 1.0)
    return bound


def _spectral_norm(layer: Any, shape: torch.Size, n_iterations: int) -> Tensor:
    """By power iteration from a fixed vector; differentiable in the weights."""
    if n_iterations >= SETTLED and isinstance(layer, nn.Linear):
        return torch.linalg.matrix_norm(layer.weight, 2)
    with torch.no_grad():
        random = torch.Generator().manual_seed(0)
        vector = torch.randn(shape, generator=random).to(layer.weight.device)
        for _ in range(n_iterations):
            image = _unit(_apply(layer, vector))
            vector = _unit(_apply_adjoint(layer, image))
    return (image * _apply(layer, vector)).sum() * (1.01 if n_iterations >= SETTLED else 1.0)


def _few_rows_norm(rows: Tensor) -> Tensor:
    """Spectral norm of a matrix with few rows, from its Gram matrix."""
    return torch.linalg.eigvalsh(rows @ rows.T)[-1].clamp(min=1e-12).sqrt()


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)


def _apply(layer: Any, vector: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(vector, layer.weight)
    return nn.functional.conv_transpose2d(
        vector, layer.weight, None, layer.stride, layer.padding, layer.output_padding
    )


def _apply_adjoint(layer: Any, vector: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return vector @ layer.weight
    return nn.functional.conv2d(vector, layer.weight, None, layer.stride, layer.padding)

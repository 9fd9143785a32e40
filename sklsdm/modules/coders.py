"""Coders, the modules of stage 1: an encoder and a decoder that start as a linear autoencoder.

They take and give flat, standardised rows; :class:`ConvCoder` shapes them to images inside. Their
weights are drawn from the `torch.Generator` handed in, and they are rebuilt from `config` and
state dict.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.modules.layers import ACTIVATIONS, conv, conv_transpose, mlp, stages_of_halving
from sklsdm.modules.packing import RebuildableModule
from sklsdm.noise import standard_normal

_SLOPES = {nn.SiLU: 1.0999, nn.GELU: 1.1290}  # largest derivatives; that of the others is 1
FULL_ITERATIONS = 200  # power iterations from which a norm counts as exact to 1 %


class LinearCoder(RebuildableModule):
    """z = W(y − c) and ŷ = Wᵀz + c, W with orthonormal rows: PCA, or the identity at first."""

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.center = nn.Parameter(torch.zeros(width, dtype=torch.float32))
        self.components = nn.Parameter(torch.eye(latent_dim, width, dtype=torch.float32))

    def encode(self, target: Tensor) -> Tensor:
        return nn.functional.linear(target - self.center, self.components)

    def decode(self, latent: Tensor) -> Tensor:
        return latent @ self.components + self.center

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))

    def slope(self, spread: Tensor, n_iterations: int = FULL_ITERATIONS) -> Tensor:
        """Lipschitz constant of the decoder; see :meth:`Coder.slope`."""
        return _few_rows_norm(spread[:, None] * self.components) / self.center.numel() ** 0.5


class Coder(RebuildableModule):
    """A linear autoencoder plus a network on either side.

    E(y) = W(y − c) + e(y) and D(z) = c + gain · (Wᵀz + d(z)), with networks e and d. The last
    layers of both networks are zero at first: with W and c set to the principal components,
    training starts from the reconstruction of PCA. `gain` is 1 unless the decoder's slope is
    limited (`SlopeLimit`).
    """

    encoder: nn.Sequential
    decoder: nn.Sequential
    gain: Tensor

    def __init__(self, width: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = LinearCoder(width, latent_dim)
        self.register_buffer("gain", torch.ones((), dtype=torch.float32))

    def encode(self, target: Tensor) -> Tensor:
        return self.linear.encode(target) + self.encoder(target)

    def decode(self, latent: Tensor) -> Tensor:
        moved = latent @ self.linear.components + self.decoder(latent)
        return self.linear.center + self.gain * moved

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))

    def slope(self, spread: Tensor, n_iterations: int = FULL_ITERATIONS) -> Tensor:
        """Upper bound on the decoder's Lipschitz constant without `gain`, from its layers' norms.

        Distances of codes are measured in units of `spread` (k,), those of rows by the root mean
        square over outputs: a principal component that has all of the responses' variance has
        slope 1. Fewer than `FULL_ITERATIONS` power iterations are quicker, and may give a few
        per cent less than the bound.
        """
        curved = lipschitz_bound(self.decoder, spread, n_iterations)
        return self.linear_slope(spread) + curved / self.linear.center.numel() ** 0.5

    def linear_slope(self, spread: Tensor) -> Tensor:
        """The term of the linear path in `slope`."""
        return self.linear.slope(spread)


class MLPCoder(Coder):
    """A linear autoencoder plus an MLP on either side.

    The encoder's MLP gives the code and `extra_outputs` more numbers; the decoder's takes the code
    and `extra_inputs` more. Subclasses say what these are.
    """

    def __init__(
        self,
        width: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
        *,
        extra_outputs: int = 0,
        extra_inputs: int = 0,
    ) -> None:
        super().__init__(width, latent_dim)
        n_out, n_in, mirrored = latent_dim + extra_outputs, latent_dim + extra_inputs, widths[::-1]
        self.encoder = mlp(width, n_out, widths, activation, generator, last_scale=0.0)
        self.decoder = mlp(n_in, width, mirrored, activation, generator, last_scale=0.0)


class ConvCoder(Coder):
    """A linear autoencoder plus convolutions on either side, for images (c, h, w) of any size.

    Each convolution of the encoder halves height and width (rounded up), and each transposed
    convolution of the decoder restores them exactly. On either side one hidden layer lies between
    the convolutions and the code.
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
        stages = stages_of_halving(shape, channels)
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
    """Upper bound on the Lipschitz constant of an MLP, or of transposed convolutions after one.

    It is the product of the layers' spectral norms and the activations' largest derivatives. Only
    the first len(spread) inputs vary, in units of `spread`; others (a decoder's noise) are fixed.
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
    """Spectral norm of a layer for inputs of `shape`; differentiable in its weights.

    Exact for a linear layer where `n_iterations` is full, else by power iteration from a fixed
    vector. 1 % is added to the norm of a full iteration, so that it is not too small.
    """
    if n_iterations >= FULL_ITERATIONS and isinstance(layer, nn.Linear):
        return torch.linalg.matrix_norm(layer.weight, 2)
    with torch.no_grad():
        random = torch.Generator().manual_seed(0)
        vector = standard_normal(shape, random).to(layer.weight.device)
        for _ in range(n_iterations):
            moved = _unit(_apply(layer, vector))
            vector = _unit(_apply_adjoint(layer, moved))
    safety = 1.01 if n_iterations >= FULL_ITERATIONS else 1.0
    return (moved * _apply(layer, vector)).sum() * safety


def _few_rows_norm(rows: Tensor) -> Tensor:
    """Spectral norm of a matrix with few rows, from its Gram matrix."""
    return torch.linalg.eigvalsh(rows @ rows.T)[-1].clamp(min=1e-12).sqrt()


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)


def _apply(layer: Any, vector: Tensor) -> Tensor:
    """The layer's linear map, without its bias."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(vector, layer.weight)
    return nn.functional.conv_transpose2d(
        vector, layer.weight, None, layer.stride, layer.padding, layer.output_padding
    )


def _apply_adjoint(layer: Any, vector: Tensor) -> Tensor:
    """The transpose of the layer's linear map."""
    if isinstance(layer, nn.Linear):
        return vector @ layer.weight
    return nn.functional.conv2d(vector, layer.weight, None, layer.stride, layer.padding)

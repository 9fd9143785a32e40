"""Generators H(x, η), which start as linear regression with Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sklsdm.modules.condition_features import ConditionedModule, in_turn
from sklsdm.modules.layers import GatedMLP, linear, mlp


class LinearStart(ConditionedModule):
    """Base of the generators: a linear path A·x + b + L·η, from which they start.

    A matcher sets A and b to a ridge regression of the codes on the conditions, and L to a factor
    of the covariance of its errors. Training then starts from regression with Gaussian noise.
    """

    takes_several: ClassVar[bool] = True

    def _add_linear_path(
        self, condition_dim: int, latent_dim: int, noise_dim: int, random: torch.Generator | None
    ) -> None:
        self.mean = linear(condition_dim, latent_dim, random)
        self.spread = linear(noise_dim, latent_dim, random, bias=False)

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and the first columns of L (k, d) to those of `factor`.

        Where the noise has more dimensions than `factor` has columns, L is zero in the others.
        """
        self.mean.weight.copy_(coef)
        self.mean.bias.copy_(intercept)
        self.spread.weight.zero_()
        columns = min(factor.shape[1], self.spread.weight.shape[1])
        self.spread.weight[:, :columns] = factor[:, :columns]

    def start(self, condition: Tensor, noise: Tensor) -> Tensor:
        """A·x + b + L·η, (b m, k), for conditions (b, p) and noise (b m, d)."""
        per_row = len(noise) // max(1, len(condition))
        spread = self.spread(noise).unflatten(0, (len(condition), per_row))
        return (self.mean(condition).unsqueeze(1) + spread).flatten(0, 1)


class ConditionalGenerator(LinearStart):
    """H(x, η): the linear-Gaussian start plus a gated MLP on (features of x, η)."""

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
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self._add_linear_path(condition_dim, latent_dim, noise_dim, generator)
        self.mlp = GatedMLP(
            n_features, noise_dim, latent_dim, widths, activation, generator, last_scale=0.1
        )

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Draws (b m, k) for conditions (b, p) and noise (b m, d), those of each one in turn.

        What depends on the condition alone is computed once for its m draws.
        """
        return self.start(condition, noise) + self.mlp(self.features(condition), noise)


class PotentialGenerator(LinearStart):
    """H(x, η) = s + ∇φ(x, s) ⊙ ℓ(x, s): the start s moves along the slope in s of a potential φ.

    s = A·x + b + L·η, and φ is an MLP on (features of x, s). The lengths ℓ are 1 or, with
    `with_lengths`, further outputs of the MLP, one for each dimension; the slope, clamped to
    [-1, 1], then gives the direction only.
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
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self._add_linear_path(condition_dim, latent_dim, noise_dim, generator)
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
            features = in_turn(self.features(condition), len(points))
            out = self.mlp(torch.cat([features, points], dim=-1))
            (slope,) = torch.autograd.grad(out[:, 0].sum(), points, create_graph=create_graph)
        return self.split(out, slope)

    def split(self, out: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """φ, its slope and the lengths, for outputs (n, n_out) of the MLP and φ's slope (n, k)."""
        if not self.with_lengths:
            return out[:, 0], slope, None
        return out[:, 0], slope.clamp(-1.0, 1.0), nn.functional.softplus(out[:, 1:])

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        start = self.start(condition, noise)
        _, slope, lengths = self.potential(condition, start, create_graph=self.training)
        return start + (slope if lengths is None else slope * lengths)

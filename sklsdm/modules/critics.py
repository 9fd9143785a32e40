"""Critics f(x, z) and f(z) of codes that are vectors, and the critics of a fit together."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.functional.penalties import input_gradient
from sklsdm.modules.condition_features import ConditionedModule
from sklsdm.modules.layers import GatedMLP, mlp


class Critic(ConditionedModule):
    """f(x, z), one number for each row; `condition_dim=0` gives the unconditional critic f(z)."""

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
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self.mlp = GatedMLP(n_features, latent_dim, 1, widths, activation, generator)

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Values (n m,) for features (n, ...) and codes (n m, k), those of each row in turn."""
        return self.mlp(features, latent).squeeze(-1)

    def slopes(self, features: Tensor, latent: Tensor) -> Tensor:
        """Gradient ∇_z f (n, k), from which training can go backward once more."""
        if self.mlp.is_piecewise_linear:
            return self.mlp.slopes(features, latent)
        points = latent.detach().requires_grad_(True)
        return input_gradient(self(features, points), points)


class OrthonormalLinear(nn.Module):
    """A linear layer whose weight always has orthonormal rows or, if they are fewer, columns.

    The weight, or its transpose where n_in >= n_out, is (I − S)⁻¹(I + S)B: B has orthonormal
    columns, is drawn at the start and stays fixed; the Cayley transform of a trained
    skew-symmetric S rotates it. A weight of a single row or column is a trained vector divided by
    its length instead.
    """

    base: Tensor

    def __init__(self, n_in: int, n_out: int, generator: torch.Generator | None) -> None:
        super().__init__()
        few, many = sorted((n_in, n_out))
        start = torch.eye(many, few, dtype=torch.float32)
        if generator is not None:  # otherwise the state that is loaded next has the numbers
            start.normal_(generator=generator)
        self.wide = n_in == many
        self.single = few == 1
        self.register_buffer("base", torch.linalg.qr(start).Q)
        turn = self.base.clone() if self.single else torch.zeros(many, many, dtype=torch.float32)
        self.turn = nn.Parameter(turn)
        self.bias = nn.Parameter(torch.zeros(n_out, dtype=torch.float32))

    def weight(self) -> Tensor:
        """The weight (n_out, n_in)."""
        if self.single:
            tall = self.turn / self.turn.norm()
        else:
            skew = self.turn - self.turn.T
            eye = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
            # No check, for which a GPU would be waited for: I − S is never singular.
            tall, _ = torch.linalg.solve_ex(eye - skew, (eye + skew) @ self.base)
        return tall.T if self.wide else tall

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, self.weight(), self.bias)


class GroupSort(nn.Module):
    """Activation that sorts pairs of units, the larger one first.

    It only exchanges entries, so the gradient that passes through it keeps its norm. With
    orthonormal weights a critic can then have slope 1 everywhere, and never more; after a ReLU,
    which sets entries to zero, the slope can only fall.

    Anil, Lucas & Grosse 2019 (arXiv 1811.05381), section 4.2, with groups of two (MaxMin).
    """

    def forward(self, rows: Tensor) -> Tensor:
        first, second = rows.chunk(2, dim=-1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=-1)


class GroupSortCritic(ConditionedModule):
    """f(x, z), 1-Lipschitz by construction: orthonormal weights and :class:`GroupSort`.

    With `joint` it is 1-Lipschitz in (x, z), where the features stand for an image x. Otherwise
    it is so in z alone: an MLP without any constraint turns x into a shift of the first layer.
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
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
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

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Values (n m,) for features (n, ...) and codes (n m, k), those of each row in turn."""
        per_row = len(latent) // max(1, len(features))
        if self.joint:
            repeated = features.repeat_interleave(per_row, dim=0)
            return self.rest(self.first(torch.cat([repeated, latent], dim=-1))).squeeze(-1)
        hidden = self.first(latent)
        if self.shift is not None:
            hidden = hidden + self.shift(features).repeat_interleave(per_row, dim=0)
        return self.rest(hidden).squeeze(-1)


class Critics(nn.Module):
    """Critics of the pairs: f(x, z) of the codes and, where they are images, f(x, D(z)).

    Where unpaired codes are matched, another one, f(z), is of all codes.
    """

    def __init__(
        self, joint: nn.Module, marginal: nn.Module | None, images: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.joint: Any = joint
        self.marginal: Any = marginal
        self.images: Any = images

"""Networks for a code's whitened residual: vector fields and mixture densities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sklsdm.functional.mixtures import log_density
from sklsdm.modules.condition_features import ConditionedModule, in_turn
from sklsdm.modules.layers import mlp
from sklsdm.noise import standard_normal

# Bound on |ln P_ii|: the standard deviation 1 / P_ii lies between exp(-4.6) = 0.01 and 100.
_MAX_LOG_PRECISION = 4.6
# By this power of their share of all inputs the weights of the residual start larger. At 0, a few
# residuals beside many conditions and time features weigh little in the first layer, and the
# network may never see that one of them has two modes; at 1/2 it follows x less sharply
# (docs/lessons.md).
_EMPHASIS = 0.4
_FREQUENCIES = 8  # of a time's cosines and sines
N_TIME_FEATURES = 1 + 2 * _FREQUENCIES


class WhitenedResidual(ConditionedModule):
    """Base of fields and densities: they model a code's whitened residual u, not the code z.

    u = L⁻¹(z − A·x − b), where A, b and L are fixed: a matcher sets them to a regression of the
    codes on x and a factor of its errors' covariance L Lᵀ. A network that gives u ~ N(0, I)
    therefore gives regression with Gaussian noise, and that is about where training starts.
    """

    coef: Tensor  # A (k, p)
    intercept: Tensor  # b (k,)
    factor: Tensor  # L (k, k)
    whitener: Tensor  # L⁻¹

    def _add_linear_path(self, condition_dim: int, latent_dim: int) -> None:
        self.register_buffer("coef", torch.zeros(latent_dim, condition_dim, dtype=torch.float32))
        self.register_buffer("intercept", torch.zeros(latent_dim, dtype=torch.float32))
        self.register_buffer("factor", torch.eye(latent_dim, dtype=torch.float32))
        self.register_buffer("whitener", torch.eye(latent_dim, dtype=torch.float32))

    @torch.no_grad()
    def set_linear(self, coef: Tensor, intercept: Tensor, factor: Tensor) -> None:
        """Set A (k, p), b (k,) and an invertible L (k, k)."""
        self.coef.copy_(coef)
        self.intercept.copy_(intercept)
        self.factor.copy_(factor)
        self.whitener.copy_(torch.linalg.inv(factor))

    @property
    def dim(self) -> int:
        """k, the dimension of a code."""
        return len(self.intercept)

    def _centre(self, condition: Tensor) -> Tensor:
        return nn.functional.linear(condition, self.coef, self.intercept)

    def residual(self, condition: Tensor, latent: Tensor) -> Tensor:
        """u = L⁻¹(z − A·x − b), (..., k)."""
        return nn.functional.linear(latent - self._centre(condition), self.whitener)

    def latent(self, condition: Tensor, residual: Tensor) -> Tensor:
        """z = A·x + b + L·u, (b m, k), for conditions (b, p) and residuals (b m, k), in turn."""
        spread = nn.functional.linear(residual, self.factor)
        return in_turn(self._centre(condition), len(residual)) + spread


def time_features(time: Tensor) -> Tensor:
    """A time (n, 1) with its cosines and sines at eight frequencies, (n, 17)."""
    angles = time * 2.0 ** torch.linspace(0, 3, _FREQUENCIES, dtype=time.dtype, device=time.device)
    return torch.cat([time, angles.cos(), angles.sin()], dim=-1)


class TimeConditionedField(WhitenedResidual):
    """F(x, u, t), a vector of u's dimension: the network of a flow or of a diffusion."""

    takes_several: ClassVar[bool] = True

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
        self._add_linear_path(condition_dim, latent_dim)
        n_inputs = n_features + latent_dim + N_TIME_FEATURES
        self.mlp = mlp(n_inputs, latent_dim, widths, activation, generator, last_scale=0.1)
        first: Any = self.mlp[0]
        with torch.no_grad():
            of_residual = first.weight[:, n_features : n_features + latent_dim]
            of_residual.mul_((n_inputs / latent_dim) ** _EMPHASIS)

    def forward(self, features: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """The field (n, k) at residuals (n, k) and times (n, 1) or (1, 1)."""
        times = time_features(time).expand(len(residual), -1)
        return self.mlp(torch.cat([features, residual, times], dim=-1))


class MixtureDensity(WhitenedResidual):
    """p(u | x), a mixture of Gaussians whose parameters an MLP gives.

    A component has a weight, a mean μ and the precision PᵀP, with P lower triangular where `full`
    and diagonal otherwise. At the start the mixture has mean 0 and covariance about I.
    """

    takes_several: ClassVar[bool] = True
    below_diagonal: Tensor

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
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self._add_linear_path(condition_dim, latent_dim)
        self.register_buffer("below_diagonal", torch.tril_indices(latent_dim, latent_dim, -1))
        self.sizes = [1, latent_dim, latent_dim, self.below_diagonal.shape[1] if full else 0]
        n_outputs = n_components * sum(self.sizes)
        self.mlp = mlp(n_features, n_outputs, widths, activation, generator, last_scale=0.1)
        self.start = nn.Parameter(torch.zeros(n_components, sum(self.sizes), dtype=torch.float32))
        if n_components > 1 and generator is not None:
            shape = (n_components, latent_dim)
            means = standard_normal(shape, generator)
            with torch.no_grad():
                self.start[:, 1 : 1 + latent_dim] = (means - means.mean(dim=0)) * math.sqrt(0.5)
                self.start[:, 1 + latent_dim : 1 + 2 * latent_dim] = 0.5 * math.log(2)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights (n, c), means (n, c, k) and factors P (n, c, k, k) given x (n, p)."""
        raw = self.mlp(self.features(condition)).view(len(condition), *self.start.shape)
        logits, means, scales, rest = (raw + self.start).split(self.sizes, dim=-1)
        precision = torch.diag_embed(
            (_MAX_LOG_PRECISION * (scales / _MAX_LOG_PRECISION).tanh()).exp()
        )
        if rest.shape[-1]:
            precision[..., self.below_diagonal[0], self.below_diagonal[1]] = rest
        return logits.squeeze(-1).log_softmax(dim=1), means, precision

    def log_prob(self, condition: Tensor, latent: Tensor) -> Tensor:
        """ln p(u | x), (...), of the residuals of codes (..., k), for conditions (m, p).

        It is ln p(z | x) up to a constant, the logarithm of the determinant of L.
        """
        return log_density(self.residual(condition, latent), *self(condition))

r"""Mixtures of Gaussians given by log weights, means and triangular factors of precisions.

A component is N(μ, (PᵀP)⁻¹) with P lower triangular and its diagonal positive [1]_.

References
----------
.. [1] P. M. Williams, "Using neural networks to model conditional multivariate densities",
   Neural Computation 8 (1996), equations 3.3-3.6.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["draw_mixture", "log_density"]


def log_density(u: Tensor, log_weights: Tensor, means: Tensor, precision: Tensor) -> Tensor:
    """ln Σ_c w_c N(u; μ_c, (P_cᵀP_c)⁻¹) of n mixtures, each at a point u (n, k), or at b (b, n, k).

    `log_weights` (n, c), `means` (n, c, k), `precision` P (n, c, k, k). Shapes (n,) or (b, n).
    """
    centred = u.unsqueeze(-2) - means
    points = centred.view(-1, *means.shape).permute(1, 2, 0, 3)  # (n, c, b, k)
    white = (points @ precision.mT).permute(2, 0, 1, 3).reshape(centred.shape)
    log_scale = precision.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    each = log_weights + log_scale - white.square().sum(dim=-1) / 2
    return each.logsumexp(dim=-1) - u.shape[-1] / 2 * math.log(2 * math.pi)


def draw_mixture(log_weights: Tensor, means: Tensor, precision: Tensor, noise: Tensor) -> Tensor:
    """Draws (n, k) from mixtures (n, c, ...) and normal numbers (n, 1 + k).

    The normal distribution function turns the first column into a uniform number, which picks
    the component. The other columns, multiplied by P⁻¹, have the component's covariance.
    """
    uniform = torch.special.ndtr(noise[:, :1])
    component = (uniform > log_weights.exp().cumsum(dim=1)).sum(dim=1)
    rows = torch.arange(len(noise), device=noise.device)
    chosen = rows, component.clamp(max=log_weights.shape[1] - 1)
    error = torch.linalg.solve_triangular(
        precision[chosen], noise[:, 1:].unsqueeze(-1), upper=False
    )
    return means[chosen] + error.squeeze(-1)

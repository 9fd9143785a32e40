"""Penalties on a critic's gradient: they hold it near 1-Lipschitz, or flat around the data.

`slopes` (n, k) are the critic's gradients at n points.
"""

from __future__ import annotations

import torch
from torch import Tensor


def input_gradient(values: Tensor, points: Tensor) -> Tensor:
    """Gradient (n, k) of `values` (n,) in the `points` (n, k) that they were computed from.

    It can be differentiated once more.
    """
    (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    return gradient


def gradient_penalty(slopes: Tensor, *, one_sided: bool) -> Tensor:
    """Mean of (‖∇f‖ − 1)² over rows; with `one_sided`, of max(‖∇f‖ − 1, 0)².

    Two-sided: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3. One-sided (WGAN-LP):
    Petzka et al. 2018 (arXiv 1709.08894), equation 7.
    """
    excess = torch.linalg.vector_norm(slopes, dim=1) - 1.0  # its gradient at slope 0 is 0
    return (excess.clamp(min=0.0) if one_sided else excess).square().mean()


def flatness_penalty(slopes: Tensor) -> Tensor:
    """Half the mean of ‖∇f‖² over rows: R1 at real points, R2 at drawn ones.

    Mescheder, Geiger & Nowozin 2018 (arXiv 1801.04406), equations 9 and 10, without the weight γ.
    """
    return slopes.square().sum(dim=1).mean() / 2

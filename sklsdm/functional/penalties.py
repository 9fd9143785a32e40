"""Gradient penalties that hold a critic near 1-Lipschitz."""

from __future__ import annotations

import torch
from torch import Tensor


def gradient_penalty(values: Tensor, points: Tensor, *, one_sided: bool) -> Tensor:
    """Mean of (‖∇f‖ − 1)² over rows, or of its positive part where `one_sided`.

    Two-sided: Gulrajani et al. 2017 (arXiv 1704.00028), equation 3. One-sided (WGAN-LP):
    Petzka et al. 2018 (arXiv 1709.08894), equation 7.

    `values` (n,) must have been computed from `points` (n, k), which requires gradients.
    """
    (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    excess = gradient.square().sum(dim=1).add(1e-12).sqrt() - 1.0
    return (excess.clamp(min=0.0) if one_sided else excess).square().mean()

"""Virtual adversarial training: it keeps a classifier smooth around unlabelled points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["class_entropy", "divergence_of_classes", "virtual_adversary"]


def divergence_of_classes(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q), (n,), of class probabilities given as logarithms (n, c)."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def class_entropy(log_p: Tensor) -> Tensor:
    """−Σ p ln p, (n,), of class probabilities given as logarithms (n, c)."""
    return -(log_p.exp() * log_p).sum(dim=1)


def virtual_adversary(
    log_probability: Callable[[Tensor], Tensor],
    points: Tensor,
    direction: Tensor,
    radius: float,
    step: float = 0.1,
) -> Tensor:
    """The points (n, k) moved by `radius` to where the class probabilities change most.

    The direction of most change is found by one power iteration from `direction` (n, k), with a
    gradient taken at distance `step`: Miyato, Maeda, Koyama & Ishii 2018 (arXiv 1704.03976),
    algorithm 1.
    """
    with torch.no_grad():
        here = log_probability(points)
    with torch.enable_grad():
        probe = (step * torch.nn.functional.normalize(direction, dim=1)).requires_grad_(True)
        change = divergence_of_classes(here, log_probability(points + probe)).sum()
        (slope,) = torch.autograd.grad(change, probe)
    return points + radius * torch.nn.functional.normalize(slope, dim=1)

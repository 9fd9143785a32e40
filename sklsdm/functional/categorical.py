"""Which condition a code without one may have had: draws from p(x | z) ∝ p(x) p(z | x)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["are_labels", "distinct_rows", "draw_index"]

REPEATS = 4


def distinct_rows(condition: Tensor) -> tuple[Tensor, Tensor]:
    """The different rows (m, p) of `condition` (n, p), and the logarithm (m,) of their shares."""
    rows, counts = condition.unique(dim=0, return_counts=True)
    return rows, (counts / len(condition)).log()


def are_labels(condition: Tensor) -> bool:
    """Whether each different row of `condition` (n, p) comes four times and more, on average."""
    return condition.shape[1] == 0 or len(distinct_rows(condition)[0]) * REPEATS <= len(condition)


def draw_index(log_weight: Tensor, random: torch.Generator) -> Tensor:
    """For each row of `log_weight` (n, m) a column (n,) drawn with softmax probability.

    By the largest of the weights plus Gumbel noise, which no weight overflows.
    """
    uniform = torch.rand(log_weight.shape, generator=random, device=log_weight.device)
    gumbel = -(-uniform.clamp(min=1e-20).log()).log()
    return (log_weight + gumbel).argmax(dim=1)

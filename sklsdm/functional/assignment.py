"""Assignments of least cost, one to one.

SciPy solves them exactly, on the CPU, in the midst of a training step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sklsdm.on_cpu import on_cpu

__all__ = ["assign"]


@torch.no_grad()
def assign(cost: Tensor) -> Tensor:
    """Partners (n,) of n rows by the assignment of least total cost (n, m), m ≤ n, in blocks.

    Each m rows are a block, whose rows are assigned to the rows of the same block: ``cost[i, j]``
    is that of the block's row j as the partner of row i. The last block may have fewer rows; its
    further columns are not read. With m = n there is one block. Costs need not be finite: where
    training diverges, any partners do until that is noticed.
    """
    return on_cpu(_solve, cost, torch.empty(len(cost), dtype=torch.long, device=cost.device))


def _solve(cost: NDArray[Any]) -> NDArray[np.intp]:
    found = np.empty(len(cost), np.intp)
    size, cost = cost.shape[1], np.nan_to_num(cost)
    for start in range(0, len(cost), size):
        block = cost[start : start + size]
        found[start : start + size] = start + linear_sum_assignment(block[:, : len(block)])[1]
    return found

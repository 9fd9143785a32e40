"""Conditions as a finite set: their distinct rows and shares, and drawing one by its weight."""

from __future__ import annotations

import torch
from torch import Tensor

from sklsdm.functional.even_steps import even_steps
from sklsdm.noise import standard_uniform

__all__ = ["are_labels", "are_measured", "distinct_rows", "draw_index", "nearest_row"]

_ROWS_PER_LABEL = 4  # average number of rows with one condition from which it is a label
_FEW_VALUES = 20  # of a column, at any distances
_MOST_STEPS = 4  # of even spacing, for each value of a column


def distinct_rows(condition: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows (m, p) of `condition` (n, p), and the logarithms (m,) of their shares."""
    rows, counts = condition.unique(dim=0, return_counts=True)
    return rows, (counts.to(torch.float32) / len(condition)).log()


def nearest_row(condition: Tensor, rows: Tensor) -> Tensor:
    """The number (b,) of the row (m, p) that is nearest to each condition (b, p)."""
    exact = "donot_use_mm_for_euclid_dist"  # products lose the digits of large numbers
    return torch.cdist(condition, rows, compute_mode=exact).argmin(dim=1)


def are_labels(condition: Tensor) -> bool:
    """Whether `condition` (n, p) holds labels: each distinct row occurs four times on average.

    Rows that are measured (:func:`are_measured`) are no labels, however often they occur. Also true
    where there is no condition at all (p = 0).
    """
    n_rows, n_columns = condition.shape
    if n_columns == 0:
        return True
    rows, _ = distinct_rows(condition)
    return len(rows) * _ROWS_PER_LABEL <= n_rows and not are_measured(rows)


def are_measured(rows: Tensor) -> bool:
    """Whether a column of `rows` (m, p) has more than 20 values, at uneven distances.

    So are measurements, and neither indicators nor numbers of classes, unless these have gaps.
    """
    return any(_is_uneven(column[~column.isnan()].unique()) for column in rows.unbind(dim=1))


def _is_uneven(values: Tensor) -> bool:
    if len(values) <= _FEW_VALUES:
        return False
    number = even_steps(values.cpu().numpy())
    return number is None or bool(number[-1] > _MOST_STEPS * len(values))


def draw_index(log_weight: Tensor, random: torch.Generator) -> Tensor:
    """For each row of `log_weight` (n, m) a column (n,) drawn with softmax probability.

    The column with the largest sum of weight and Gumbel noise has this distribution. No
    exponential of a weight is taken, so large weights do not overflow.
    """
    uniform = standard_uniform(log_weight.shape, random)
    gumbel = -(-uniform.clamp(min=1e-20).log()).log()
    return (log_weight + gumbel).argmax(dim=1)

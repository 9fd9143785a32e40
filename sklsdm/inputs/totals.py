"""A sum that all responses have, such as that of the parts of a whole or of one-hot rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.inputs.repeated import RepeatedValues

_FEWEST_ROWS = 20
_ROUNDING = 1e-5  # relative, up to which sums are equal; float32 adds up to less
_UNSEEN = 0.01  # of an output's standard deviation, by which dividing may move its values


@dataclass(frozen=True)
class CommonTotal:
    """The sum of the outputs of each response, none of which is negative.

    Draws of the outputs are clipped at 0 and divided by their sum, which keeps zeros. Where each
    response has all of the sum in one output, as one-hot rows have, so have draws, in the largest.
    """

    value: float
    is_one_hot: bool

    def holds_for(self, rows: NDArray[np.float64]) -> bool:
        """Whether responses (n, q) have this sum, up to rounding, and none is negative."""
        sums = rows.sum(axis=1)
        if self.is_one_hot and not (rows.max(axis=1) == sums).all():
            return False
        least = -_ROUNDING * self.value
        equal = np.abs(sums - self.value) <= _ROUNDING * self.value
        return bool(equal.all() and (rows >= least).all())

    def keep(self, values: Tensor) -> Tensor:
        """Draws (n, q) with this sum."""
        outputs = torch.arange(values.shape[1], device=values.device)
        is_largest = outputs == values.argmax(dim=1, keepdim=True)
        in_one = self.value * is_largest.to(values.dtype)
        if self.is_one_hot:
            return in_one
        clipped = values.clamp(min=0)
        found = clipped.sum(dim=1, keepdim=True)
        scale = self.value / torch.where(found > 0, found, 1.0)
        return torch.where(found > 0, clipped * scale, in_one)


def find_total(rows: NDArray[np.float64], repeated: Sequence[RepeatedValues]) -> CommonTotal | None:
    """The sum that all responses (n, q) have, if none is negative; None without one.

    Outputs of few `repeated` values are drawn as these, and then no sum is kept, unless rows are
    one-hot: both cannot be. Fewer than 20 responses are not asked, nor are those of one output.
    """
    n_rows, n_outputs = rows.shape
    if n_rows < _FEWEST_ROWS or n_outputs < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.median(rows.sum(axis=1)))
        std = rows.std(axis=0)
    if not 0 < total < np.inf or not _is_unseen(rows, std, total):
        return None
    found = CommonTotal(total, is_one_hot=False)
    if CommonTotal(total, is_one_hot=True).holds_for(rows):
        return CommonTotal(total, is_one_hot=True)
    if any(each.are_all for each in repeated) or not found.holds_for(rows):
        return None
    return found


def _is_unseen(rows: NDArray[np.float64], std: NDArray[np.float64], total: float) -> bool:
    """Whether dividing by the sums of `rows` (n, q) hardly moves them, compared to their spread.

    It does where outputs are large and vary little, or are constant: then equal sums are rounding.
    """
    most = np.abs(rows.sum(axis=1) / total - 1).max()
    return bool((most * np.abs(rows).max(axis=0) <= _UNSEEN * std).all()) and bool(
        (std[rows.max(axis=0) > 0] > 0).all()
    )

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


@dataclass(frozen=True)
class CommonTotal:
    """The sum of the outputs of each response, none of which is negative.

    Draws of the outputs are clipped at 0 and divided by their sum, which keeps zeros. Where each
    response has all of the sum in one output, as one-hot rows have, so have draws, in the largest.
    """

    value: float
    is_one_hot: bool

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
    if n_rows < _FEWEST_ROWS or n_outputs < 2 or rows.min() < 0:
        return None
    sums = rows.sum(axis=1)
    total = float(np.median(sums))
    if not 0 < total < np.inf or np.abs(sums - total).max() > _ROUNDING * total:
        return None
    is_one_hot = bool((rows.max(axis=1) == sums).all())
    if any(each.are_all for each in repeated) and not is_one_hot:
        return None
    return CommonTotal(total, is_one_hot)

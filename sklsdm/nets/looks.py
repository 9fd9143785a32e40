"""A look at what a network gives during training: is it finite, and near the data?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Draws or reconstructions are far off beyond so many half-ranges of the data from their middle.
# Those of ordinary fits stay below ten, also where the responses are Cauchy.
FARTHEST = 30.0


class Look:
    """How far rows that a network gives lie from the data, in half-ranges of the data.

    Beyond `FARTHEST` a row counts as far off; see :func:`distances_of`.

    Parameters
    ----------
    give : callable
        Called with a module and a number of rows, it gives rows (b, k) of the module: always from
        the same inputs and noise.
    low, high : Tensor of shape (k,) or ()
        Ends of the range of the data, for each column or for all.
    what : str
        What the rows are, for messages: "draws" or "reconstructions".
    n_rows : int
        Rows that are looked at after each epoch.
    n_final : int
        Rows that are looked at when training has ended.
    """

    def __init__(
        self,
        give: Callable[[Any, int], Tensor],
        low: Tensor,
        high: Tensor,
        *,
        what: str,
        n_rows: int,
        n_final: int,
    ) -> None:
        self.give = give
        self.low, self.high = low, high
        self.what = what
        self.n_rows = n_rows
        self.n_final = n_final

    def at(self, module: Any) -> Look:
        """This look at what `module` gives, in place of the network that is being trained."""
        found = copy.copy(self)
        found.give = lambda _, n_rows: self.give(module, n_rows)
        return found

    @torch.no_grad()
    def distances(self, module: Any, n_rows: int) -> Tensor:
        """The largest distance in each row, (n_rows,), on the device; NaN where a number is."""
        return distances_of(self.give(module, n_rows), self.low, self.high)

    def farthest(self, module: Any) -> Tensor:
        """The largest distance () in the rows of one epoch; NaN if a number is."""
        return self.distances(module, self.n_rows).amax()


def distances_of(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The largest distance in each of the rows (n, k), (n,); NaN where a number is.

    The distance of a number is that from the middle of the data's range, divided by half the range,
    or by 1 where half the range is smaller. Data are standardised, so 1 is a standard deviation. Up
    to 1 a number lies within the range.
    """
    half = ((high - low) / 2).clamp(min=1.0)
    return ((rows - (low + high) / 2).abs() / half).amax(dim=1)


def range_of(*parts: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value of each column, (k,), over the rows of all parts."""
    ends = [part.aminmax(dim=0) for part in parts if len(part)]
    low = torch.stack([end.min for end in ends]).amin(dim=0)
    return low, torch.stack([end.max for end in ends]).amax(dim=0)

"""A look at the data before training: numbers such as -999 that stand for missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CODES = np.array([10.0**k - 1 for k in range(2, 10)])  # 99, 999, ..., of either sign


class MissingCode(NamedTuple):
    """A number in one column that seems to stand for missing values."""

    name: str  # of the argument
    column: int
    value: float
    share: float  # of the rows that were looked at
    low: float  # of all other values
    high: float

    def message(self, names: Sequence[Any]) -> str:
        """What to tell the user; `names` are those of the first columns."""
        named = self.column < len(names)
        column = repr(names[self.column]) if named else str(self.column)
        also = ""
        if self.name == "X":
            also = " (LSDMRegressor takes NaN in X in their place, with condition_encoder='trees')"
        return (
            f"{self.name} holds {self.value:g} in {self.share:.2g} of its rows in column {column}, "
            f"where all other values lie between {self.low:g} and {self.high:g}. This looks like a "
            f"code for missing values, which the networks take for a number. Leave "
            f"these rows out{also}."
        )


def find_missing_code(
    samples: Mapping[str, NDArray[np.float64]],
) -> MissingCode | None:
    """The first code for missing values in flat rows (n, q) of the arguments by name.

    It is 99, 999, ... or -99, -999, ..., the smallest or the largest number of its column, and
    farther from all others, which are of two values at least, than these are from each other.
    """
    for name, rows in samples.items():
        for end in (np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)):
            for column in np.flatnonzero(np.isin(np.abs(end), _CODES)):
                values = rows[:, column]
                others = values[(values != end[column]) & ~np.isnan(values)]
                if len(others) == 0:
                    continue
                low, high = float(others.min()), float(others.max())
                if 0 < high - low < np.abs(others - end[column]).min():
                    share = float((values == end[column]).mean())
                    value = float(end[column])
                    return MissingCode(name, int(column), value, share, low, high)
    return None

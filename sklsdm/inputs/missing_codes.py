"""A look at the data before training: numbers such as -999 that stand for missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CODES = np.array([10.0**k - 1 for k in range(2, 10)])  # 99, 999, ..., of either sign
_KINDS = 3  # of missing values: 99, 98 and 97 may stand for different reasons
_FEWEST_ROWS = 3  # with a code, unless it is -999 or below


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


def find_missing_codes(samples: Mapping[str, NDArray[np.float64]]) -> list[MissingCode]:
    """The codes for missing values in flat rows (n, q) of the arguments by name.

    A code is 99, 999, ... or -99, -999, ..., the smallest or the largest number of its column, and
    farther from all others, which are of two values at least, than these are from each other. The
    numbers 98 and 97 may be codes beside 99, and so on. One or two rows are no sign, unless with
    -999 or below.
    """
    found = []
    for name, rows in samples.items():
        for end in (np.fmin.reduce(rows, axis=0), np.fmax.reduce(rows, axis=0)):
            for column in np.flatnonzero(np.isin(np.abs(end), _CODES)):
                values = rows[:, column]
                code = float(end[column])
                is_code = np.isin(values, code - np.sign(code) * np.arange(_KINDS))
                others = values[~is_code & ~np.isnan(values)]
                if len(others) == 0 or (is_code.sum() < _FEWEST_ROWS and code > -999):
                    continue
                low, high = float(others.min()), float(others.max())
                if 0 < high - low < np.abs(others - code).min():
                    share = float((values == code).mean())
                    found.append(MissingCode(name, int(column), code, share, low, high))
    return found

"""Calibration: how often the truth lies inside forecast intervals, and how wide they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sklsdm.metrics.base import Array, as_real, check_rows_match


def interval_coverage(y_true: ArrayLike, interval: ArrayLike) -> float:
    r"""Share of observed outputs inside their interval, over rows and outputs.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    interval : array-like of shape (n, 2, \*y_shape)
        Lower and upper ends, both counted as inside, as ``LSDMRegressor.predict_interval``
        returns them.

    Returns
    -------
    float
        Between 0 and 1. The best value is the nominal coverage of the intervals.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite values, a lower end above its upper end.

    Examples
    --------
    >>> from sklsdm.metrics import interval_coverage
    >>> interval_coverage([1.0, 5.0], [[0.0, 2.0], [0.0, 2.0]])
    0.5
    """
    y, ends = as_real("y_true", y_true), _interval(interval)
    check_rows_match(y, "interval", ends, "2", 2)
    return float(((ends[:, 0] <= y) & (y <= ends[:, 1])).mean())


def interval_width(interval: ArrayLike) -> float:
    r"""Mean width of intervals over rows and outputs; at equal coverage, narrower is better.

    Parameters
    ----------
    interval : array-like of shape (n, 2, \*y_shape)
        As for :func:`interval_coverage`.

    Returns
    -------
    float
        At least 0, in the unit of y.

    Raises
    ------
    ValueError
        Another shape, NaN or infinite values, a lower end above its upper end.

    Examples
    --------
    >>> from sklsdm.metrics import interval_width
    >>> interval_width([[0.0, 2.0], [1.0, 5.0]])
    3.0
    """
    ends = _interval(interval)
    return float(np.subtract(ends[:, 1], ends[:, 0], dtype=np.float64).mean())


def _interval(interval: ArrayLike) -> Array:
    """Intervals as (n, 2, ...), no lower end above its upper end."""
    ends = as_real("interval", interval)
    if ends.ndim < 2 or ends.shape[1] != 2:
        raise ValueError(f"interval must have shape (n, 2, *y_shape), got {ends.shape}")
    crossed = ends[:, 0] > ends[:, 1]
    if crossed.any():
        row = int(np.argwhere(crossed)[0, 0])
        raise ValueError(
            f"interval must have lower <= upper ends, {int(crossed.sum())} are crossed, "
            f"the first in row {row}"
        )
    return ends

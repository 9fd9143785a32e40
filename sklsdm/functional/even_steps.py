"""Whether numbers lie at multiples of one step, as counts and rounded measurements do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["even_steps"]

_NEAR = 1.5  # times the smallest distance; neighbours so near are taken for one step apart
_UNEVEN = 0.05  # of a step
_MOST_STEPS = 1e6


def even_steps(values: NDArray[np.floating]) -> NDArray[np.intp] | None:
    """How many steps (k,) each of ascending, distinct values is from the first; None if uneven.

    The step is the mean of the smallest distances between neighbours, so that rounding, also to
    float32, does not add up over many steps.
    """
    if len(values) < 2:
        return None
    with np.errstate(over="ignore"):
        places = values.astype(np.float64) - values[0]
    distances = np.diff(places)
    step = distances[distances <= _NEAR * distances.min()].mean()
    if not np.isfinite(places[-1]) or places[-1] > _MOST_STEPS * step:
        return None
    number = np.rint(places / step)
    step = places[-1] / number[-1]
    if np.abs(places - number * step).max() > _UNEVEN * step:
        return None
    return number.astype(np.intp)

"""One meaning of `random_state`."""

from __future__ import annotations

import numbers
from typing import TypeAlias

import numpy as np

from sklsdm._validation import check_integer

RandomState: TypeAlias = int | np.random.RandomState | np.random.Generator | None


def draw_seed(random_state: RandomState) -> int:
    """A seed from `random_state`; None never reads NumPy's global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if not isinstance(random_state, numbers.Integral):
        raise TypeError(
            f"random_state must be an integer, a numpy.random.RandomState or None, got "
            f"{random_state!r}."
        )
    return check_integer("random_state", random_state, 0, 2**32 - 1)

"""The `random_state` arguments of this package: allowed values, generators and seeds."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np

from sklsdm.distributed import current_group
from sklsdm.reading import is_integer

RandomState = int | np.random.RandomState | np.random.Generator | None
LARGEST_SEED = 2**32 - 1  # as in NumPy's RandomState and scikit-learn


class RowStream(IntEnum):
    """The uses for which a fit chooses rows at random. Changing a number changes the fits."""

    HELD_OUT_PAIRS = 0
    HELD_OUT_RESPONSES = 1  # of stage 1, beside the held-out pairs
    FOLDS = 2  # of a cross-fitted choice
    JUDGED_PAIRS = 3  # some of very many held-out pairs
    RESIDUALS = 4
    JUDGED_ROWS = 5  # some of very many rows held out from stage 1
    REVERSE_ERRORS = 6  # of the regression of conditions on responses
    REFERENCE = 7  # paired responses that a fit keeps, for `score` and `diagnose`
    NEIGHBOURS = 8  # rows whose distances give the intrinsic dimension
    WAVES = 9


def row_stream(seed: int, use: RowStream) -> np.random.Generator:
    """The random stream of one use in a fit with this seed."""
    return np.random.default_rng(seed + use)


def as_generator(random_state: RandomState) -> np.random.Generator:
    """The NumPy Generator that `random_state` stands for.

    Parameters
    ----------
    random_state : int, RandomState, Generator or None
        An int between 0 and 2**32 - 1 gives the same Generator every time. A RandomState seeds a
        new Generator with one integer drawn from it. A Generator is returned itself. None gives
        a Generator with a seed from the operating system, so results cannot be repeated; NumPy's
        global state is neither read nor changed.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        `random_state` is of another type.
    ValueError
        `random_state` is an int that is negative or above 2**32 - 1.
    """
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(draw_seed(random_state))


def draw_seed(random_state: RandomState) -> int:
    """One integer seed: `random_state` itself if it is an int, else a number drawn from it.

    Drawing advances a RandomState or Generator, so the next call gives another seed. Allowed
    values and errors are those of :func:`as_generator`.
    """
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return int(as_generator(random_state).integers(2**31 - 1))
    return _check_seed(random_state)


def agreed_seed(random_state: RandomState) -> int:
    """As :func:`draw_seed`; processes that fit together get the seed of the first one."""
    seed, group = draw_seed(random_state), current_group()
    return seed if group is None else int(group.from_first(seed))


def _check_seed(value: Any) -> int:
    if not is_integer(value):
        raise TypeError(
            "random_state must be an integer, a numpy.random.RandomState, a numpy.random.Generator "
            f"or None, got {value!r} ({type(value).__name__})."
        )
    seed = int(value)
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"random_state must be between 0 and {LARGEST_SEED}, got {seed}.")
    return seed

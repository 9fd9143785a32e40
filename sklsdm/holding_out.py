"""Which pairs and responses are held out from training, to choose the best state of each stage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sklsdm.autoencoders import MAX_HELD_OUT
from sklsdm.responses import Responses

MIN_ROWS_TO_HOLD_OUT = 20  # with fewer rows, none are held out


def hold_out_pairs(
    n_pairs: int, fraction: float, seed: int, groups: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Indices of the pairs held out from both stages; none if there are fewer than 20 pairs.

    With `groups` whole groups are held out, as many as are needed for the wanted number.
    """
    if n_pairs < MIN_ROWS_TO_HOLD_OUT:
        return np.arange(0)
    count = min(int(np.ceil(fraction * n_pairs)), n_pairs - 2, MAX_HELD_OUT)
    random = np.random.default_rng(seed)
    if groups is None:
        return np.sort(random.permutation(n_pairs)[:count])
    order = random.permutation(groups.max() + 1)
    held_before = np.concatenate([[0], np.bincount(groups)[order].cumsum()[:-1]])
    chosen = order[held_before < count][: groups.max()]  # one group is learnt from
    return np.flatnonzero(np.isin(groups, chosen))


def hold_out_rows(
    pairs: NDArray[np.intp], responses: Responses, fraction: float, seed: int
) -> NDArray[np.intp]:
    """Rows of `responses` held out from stage 1: the held-out pairs and some of the others.

    The others are the unpaired responses or, if no pairs are held out, all responses.
    """
    first = 0 if len(pairs) == 0 else responses.n_paired
    others = len(responses) - first
    if others < MIN_ROWS_TO_HOLD_OUT:
        return pairs
    count = min(MAX_HELD_OUT, int(np.ceil(fraction * others)))
    random = np.random.default_rng(seed + 1)
    return np.concatenate([pairs, first + random.choice(others, count, replace=False)])

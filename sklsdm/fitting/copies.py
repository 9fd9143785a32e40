"""Pairs that repeat others, as after a join that doubles rows, or where rare ones were oversampled.

A copy of a pair that is learnt from tells nothing if it is held out: the more a fit knows the pairs
by heart, the better it looks. So copies are kept together, as a group of the user's is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm.inputs.responses import row_keys
from sklsdm.matchers.data import FEW_PAIRS

_MOST_BYTES = 1 << 28  # of the pairs, beyond which nobody looks for copies
_FEWEST_COPIES = 0.02  # share of the pairs; fewer hardly change what held-out pairs find
_LEAST_DIFFERENT = 0.05  # share of the disagreements by chance, up to which rows are copies


def groups_of_copies(condition: NDArray[Any], y: NDArray[Any]) -> NDArray[np.intp] | None:
    """The group (n,) of each pair, one for each distinct pair; None where no pairs are copies.

    Pairs may also be equal because values are few, as labels and counts are: the same conditions
    then come with other responses, too, and the same responses with other conditions. Pairs are
    taken for copies where one of the two hardly ever happens. With fewer than 20 distinct pairs,
    or where fewer than 2 % repeat others, nothing is told.

    Parameters
    ----------
    condition : ndarray of shape (n, p)
        Conditions.
    y : ndarray of shape (n, ...)
        Responses.
    """
    if condition.nbytes + y.nbytes > _MOST_BYTES:
        return None
    conditions, responses = _numbers_of(condition), _numbers_of(y)
    pairs = _numbers_of(np.stack([conditions, responses], axis=1))
    n_distinct = pairs.max() + 1
    if n_distinct < FEW_PAIRS or n_distinct > (1 - _FEWEST_COPIES) * len(pairs):
        return None
    is_copied = _tells(conditions, responses) or _tells(responses, conditions)
    return pairs if is_copied else None


def _numbers_of(rows: NDArray[Any]) -> NDArray[np.intp]:
    """A number for each row, from 0 on in order of appearance, the same one for equal rows."""
    if rows[:1].size == 0:
        return np.zeros(len(rows), np.intp)
    keys = row_keys(rows.reshape(len(rows), -1))
    _, first, kind = np.unique(keys, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[kind.reshape(-1)]


def _tells(one: NDArray[np.intp], other: NDArray[np.intp]) -> bool:
    """Whether rows that are equal in `one` are so in `other`, too, and not by chance."""
    order = np.random.default_rng(0).permutation(len(one))
    order = order[np.argsort(one[order], kind="stable")]
    one, other = one[order], other[order]
    differs = other[1:] != other[:-1]
    by_chance = 1 - np.square(np.bincount(other) / len(other)).sum()
    is_equal = one[1:] == one[:-1]
    return bool(is_equal.any() and differs[is_equal].mean() < _LEAST_DIFFERENT * by_chance)

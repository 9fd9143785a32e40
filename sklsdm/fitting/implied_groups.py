"""Pairs that belong together, though the user has not said so.

A join may double rows, rare pairs may have been oversampled, each of some subjects may have been
measured several times, or rows may be windows of one series that overlap. A pair that resembles one
that is learnt from tells little if it is held out: the more a fit knows the pairs by heart, the
better it looks. So such pairs are kept together, as a group of the user's is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from sklsdm.blocks import row_hashes
from sklsdm.functional.categorical import are_measured
from sklsdm.matchers.data import FEW_PAIRS

_MOST_BYTES = 1 << 28  # of the pairs, beyond which nobody looks for groups
_MOST_COLUMNS = 200  # of conditions, among which some may tell the subject
_SAME_ORDER = 0.95  # rank correlation, from which on two columns may be made of one number
_OFF_CURVE = 1e-3  # share of a square's variance, up to which it lies on a curve
_PAIRS_PER_CONDITION = 2  # on average, from which on measurements are repeated
_FEWEST_COPIES = 0.02  # share of the pairs; fewer hardly change what held-out pairs find
_LARGEST = 0.1  # group, as a share of the pairs
# In windows of a series so many columns or more repeat the next column of the row before.
_FEWEST_SHIFTED = 3
_EQUAL = 1 - 1e-5  # correlation with it from which on a column repeats it
_HARDLY_CHANGED = 1 - 1e-3  # with itself in the row before, above which that proves nothing
_SPANS = 20  # of a series, which are held out as groups
_LEAST_DIFFERENT = 0.05  # share of the disagreements by chance, up to which rows are copies


def implied_groups(condition: NDArray[Any], y: NDArray[Any]) -> NDArray[np.intp] | None:
    """The group (n,) of each pair; None where each stands for itself.

    Copies of a pair are a group. Pairs may also be equal because values are few, as labels and
    counts are: the same conditions then come with other responses, too, and the same responses
    with other conditions. Pairs are taken for copies where one of the two hardly ever happens.
    Fewer than 2 % that repeat others are left alone.

    Pairs of equal conditions are a group where conditions are measured
    (:func:`sklsdm.functional.categorical.are_measured`) and each occurs twice on average. They are
    then those of one subject, day or place, whose responses may have in common what x does not
    determine, and draws are asked for new ones. Where other columns differ, such as the time, two
    measured columns that are always equal together identify it, unless both are made of one number
    and lie in the same or the opposite order or on a conic, as its sine and cosine do.

    Where rows are windows of a series in its order, each holds the values of the one before, moved
    by a column. Neighbours tell nearly all of each other, and draws are asked for what comes later:
    twenty spans of the series are the groups.

    Fewer than 20 groups are ignored. Where more than a tenth of the pairs would be one group, such
    as those of an empty row, each of these stands for itself.

    Parameters
    ----------
    condition : ndarray of shape (n, p)
        Conditions.
    y : ndarray of shape (n, ...)
        Responses.
    """
    if condition.nbytes + y.nbytes > _MOST_BYTES:
        return None
    if _are_windows(condition):
        return np.arange(len(condition)) * _SPANS // len(condition)
    conditions, responses = _numbers_of(condition), _numbers_of(y)
    each = _without_large(conditions)
    subjects = each if _are_repeated_measurements(condition, each) else _subjects(condition)
    if subjects is not None:
        return subjects
    pairs = _without_large(_numbers_of(np.stack([conditions, responses], axis=1)))
    if not FEW_PAIRS <= pairs.max() + 1 <= (1 - _FEWEST_COPIES) * len(pairs):
        return None
    is_copied = _tells(conditions, responses) or _tells(responses, conditions)
    return pairs if is_copied else None


def _are_windows(condition: NDArray[Any]) -> bool:
    """Whether conditions (n, p) are windows of one series, in its order or against it."""
    if condition.ndim != 2 or len(condition) < 3 * _SPANS or condition.shape[1] > _MOST_COLUMNS:
        return False
    rows = condition.astype(np.float64)
    for windows in (rows, rows[:, ::-1]):
        before = windows[:-1, 1:]
        is_shifted = _correlations(windows[1:, :-1], before) >= _EQUAL
        changes = _correlations(windows[1:, 1:], before) <= _HARDLY_CHANGED
        are_levels = np.array([len(np.unique(column)) <= 2 for column in before.T], dtype=bool)
        if (is_shifted & changes & ~are_levels).sum() >= _FEWEST_SHIFTED:
            return True
    return False


def _correlations(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the columns of a with those of b, (p,); 0 for constant ones and those with NaN."""
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest one
        parts = [rows - rows.mean(axis=0) for rows in (a, b)]
        sizes = [np.sqrt(np.square(part).sum(axis=0)) for part in parts]
        product = sizes[0] * sizes[1]
        found = (parts[0] * parts[1]).sum(axis=0) / np.where(product > 0, product, 1.0)
    return np.nan_to_num(found)


def _subjects(condition: NDArray[Any]) -> NDArray[np.intp] | None:
    """Numbers (n,) of subjects by two measured columns that tell each other; None without such."""
    if condition.ndim != 2 or condition.shape[1] > _MOST_COLUMNS:
        return None
    known: dict[bytes, list[NDArray[Any]]] = {}  # columns by the pairs in which they are equal
    for column in condition.T:
        if len(np.unique(column)) > len(column) / _PAIRS_PER_CONDITION:
            continue
        numbers = _without_large(_numbers_of(column[:, None]))
        if _are_repeated_measurements(column[:, None], numbers):
            others = known.setdefault(numbers.tobytes(), [])
            if not all(_are_of_one_number(column, other) for other in others):
                return numbers
            others.append(column)
    return None


def _are_of_one_number(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether columns (n,) are in one order, or the opposite one, or on a parabola or ellipse."""
    known = np.isfinite(one) & np.isfinite(other)
    one, other = (_from_minus_one_to_one(column[known]) for column in (one, other))
    if len(one) < FEW_PAIRS or abs(spearmanr(one, other).statistic) >= _SAME_ORDER:
        return True
    return _is_on_conic(one, other) or _is_on_conic(other, one)


def _is_on_conic(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether the square of `other` (n,) follows from its other terms, as on a parabola."""
    square = np.square(other)
    terms = np.stack([np.ones(len(one)), one, np.square(one), other, one * other], axis=1)
    missed = square - terms @ np.linalg.lstsq(terms, square)[0]
    return bool(missed.var() <= _OFF_CURVE * square.var())


def _from_minus_one_to_one(column: NDArray[Any]) -> NDArray[np.float64]:
    """A column of which the largest number is 1 or -1, so that squares do not overflow."""
    found = column.astype(np.float64)
    return found / max(np.abs(found).max(initial=0.0), np.finfo(np.float64).tiny)


def _are_repeated_measurements(condition: NDArray[Any], numbers: NDArray[np.intp]) -> bool:
    """Whether conditions (n, p), whose distinct rows have these numbers (n,), repeat as such."""
    _, first = np.unique(numbers, return_index=True)
    if not FEW_PAIRS <= len(first) <= len(numbers) / _PAIRS_PER_CONDITION:
        return False
    rows = condition[first].reshape(len(first), -1)
    return are_measured(torch.from_numpy(rows.astype(np.float64)))


def _without_large(numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Numbers (n,) of groups, where each pair of a large group is one by itself."""
    is_large = (np.bincount(numbers) > _LARGEST * len(numbers))[numbers]
    own = numbers.max() + 1 + np.arange(len(numbers))
    _, found = np.unique(np.where(is_large, own, numbers), return_inverse=True)
    return found.reshape(-1)


def _numbers_of(rows: NDArray[Any]) -> NDArray[np.intp]:
    """A number for each row, from 0 on in order of appearance, the same one for equal rows."""
    if rows[:1].size == 0:
        return np.zeros(len(rows), np.intp)
    keys = row_hashes(rows + rows.dtype.type(0))  # -0 is 0
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

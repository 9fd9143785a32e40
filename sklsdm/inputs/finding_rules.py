"""The rules that responses follow exactly, found in a table of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from sklsdm.functional.even_steps import even_steps
from sklsdm.inputs.implied_values import find_implied_values
from sklsdm.inputs.orders import find_orders
from sklsdm.inputs.repeated import FEWEST_ROWS, RepeatedValues
from sklsdm.inputs.rules import (
    EQUAL_SUMS,
    UNSEEN,
    CommonTotal,
    KnownCombinations,
    LinearRelations,
    NaturalEnds,
    ResponseRule,
    SameValues,
    WholeNumbers,
)
from sklsdm.inputs.standardising import ColumnMoments

_ROWS_PER_OUTPUT = 3  # from which on linear relations are no chance
_DEPENDENT = 1e-6  # of an output's standard deviation that others leave; less is rounding
_LARGEST = 5.0  # of a relation's coefficients, in standard deviations; larger ones blow errors up
_MOST_OFF = 0.05  # of a sum, by which rounding its parts may move it
_MOST_ROUNDING = 0.02  # of the variance that a sum would have, were its parts independent
_DIGITS = 6  # after the point, of coefficients that are round numbers
_MOST_COMBINATIONS = 500
_ROWS_PER_COMBINATION = 5  # on average
_MISSING = 0.5  # of the share of missing combinations where one output determines another
_FLAGS_MISSING = 5  # responses, where all outputs have two values
_AROUND = 0.7  # of an output's spread that is left where it goes with a combination
_LEAST_AROUND = 0.01  # of its spread
_FEWEST_BEYOND = 5.0  # responses of a Gaussian law beyond an end that none of the others passes
_FEWEST_POINTS = 8  # outputs, from which on they may be points of a curve
_TOPS = (1.0, 100.0)  # of shares and of percents
_MOST_COMBINED = 64  # outputs of few values, of which each is tried beside each


def find_rules(
    rows: NDArray[np.float64], repeated: Sequence[RepeatedValues]
) -> tuple[ResponseRule, ...]:
    """The rules that all responses (n, q) follow, in the order in which draws are to keep them.

    Outputs of few `repeated` values are drawn as these, and then no sum is kept, unless its parts
    are whole numbers of steps, such as percents. Nor is an output of few values computed from
    others unless it is a sum of them, since it could get a value that it never has. Fewer than 20
    responses are not asked.
    """
    n_rows, n_outputs = rows.shape
    if n_rows < FEWEST_ROWS:
        return ()
    with np.errstate(over="ignore", invalid="ignore"):
        std = rows.std(axis=0)
    if not (np.isfinite(std).all() and std.any()):
        return ()
    few = [each.start for each in repeated if each.are_all]
    whole = _find_whole(rows, few)
    if n_outputs == 1:
        return whole
    varies = _varies(rows, std)
    combined = _find_combinations(rows, std, [column for column in few if varies[column]])
    same = SameValues(np.sort(rows[0])[::-1])
    if same.holds_for(rows):
        n_known = math.prod(len(each.rows) for each in combined)
        covered = sum(len(each.columns) for each in combined) == n_outputs
        return tuple(combined) if covered and n_known < same.n_orders else (same,)
    total = None if combined else _find_total(rows, std)
    if total is not None and (total.n_steps or not few):
        return (total,)
    groups = [set(each.columns.tolist()) for each in combined]
    implied = find_implied_values(rows, repeated)
    relations = _find_relations(rows, std, set(few), groups)
    free = varies.copy()  # outputs that are drawn, and not computed or drawn as one of few values
    free[few] = False
    if relations is not None:
        free[relations.followers] = False
    orders = find_orders(rows, np.flatnonzero(free), repeated)
    return (*combined, *implied, *orders, *whole, *(() if relations is None else (relations,)))


def find_ends(
    moments: ColumnMoments,
    n_rows: int,
    repeated: Sequence[RepeatedValues],
    rules: Sequence[ResponseRule],
    of_images: WholeNumbers | None = None,
) -> tuple[NaturalEnds, ...]:
    """The ends of amounts (0), shares (0 and 1) and percents (0 and 100) that responses have.

    An output has an end if no response lies beyond it, where five or more would if a Gaussian law
    had its mean and variance. It is not asked of outputs of few values or of known combinations, of
    those whose outermost value is one of the `repeated`, nor where other `rules` order values.
    Parts of a sum are all amounts. Where no output of eight or more passes 0, and it is the end of
    one or its outermost value that repeats, it is the end of all: some points of a curve are
    farther from it.
    Of images, only the channels of whole numbers are asked, and all pixels of one have an end.

    The moments are those of responses on the stretched axes of the repeated values.
    """
    if n_rows < FEWEST_ROWS or any(isinstance(rule, SameValues) for rule in rules):
        return ()
    are_parts = any(isinstance(rule, CommonTotal) for rule in rules)
    std = np.sqrt(moments.variance)
    n_channels = 0 if of_images is None else of_images.n_channels
    varies = std > 0 if of_images is None else (std > 0) & of_images.are_whole
    for rule in rules:
        if isinstance(rule, KnownCombinations):
            varies[rule.columns] = False
    places = _Outermost.of(moments, repeated)
    asked = {1: varies & ~places.low_repeats, -1: varies & ~places.high_repeats}
    is_amount, is_debt = places.low >= 0, places.high <= 0
    candidates = [(0.0, 1, is_amount), (0.0, -1, is_debt)]
    if not are_parts:
        candidates += [(top, -1, is_amount & (places.high <= top)) for top in _TOPS]
    ends = {side: np.full(len(std), np.nan) for side in (1, -1)}
    for end, side, is_inside in candidates:
        stretched = end if side > 0 else end + places.shift
        z = side * (stretched - moments.mean) / np.where(varies, std, 1.0)
        beyond = np.where(varies, n_rows * norm.cdf(z), 0.0)
        if n_channels:
            beyond = _by_channel(beyond, n_channels, np.sum)
        would_pass = are_parts | (beyond >= _FEWEST_BEYOND)
        has_end = is_inside & ((asked[side] & would_pass) | places.repeat(end, side))
        if n_channels:
            has_end = _by_channel(is_inside, n_channels, np.all)
            has_end &= _by_channel(asked[side] & would_pass, n_channels, np.any)
        elif end == 0 and len(std) >= _FEWEST_POINTS and is_inside.all() and has_end.any():
            has_end = is_inside
        ends[side][asked[side] & has_end] = end
    found = []
    for side, outermost in ((1, places.low), (-1, places.high)):
        columns = np.flatnonzero(np.isfinite(ends[side]))
        if len(columns) > 0:
            own = ends[side][columns]
            found.append(NaturalEnds(columns, own, side * (outermost[columns] - own), side))
    return tuple(found)


def _by_channel(
    values: NDArray[Any], n_channels: int, function: Callable[..., NDArray[Any]]
) -> NDArray[Any]:
    """What a function gives for each channel's pixels, at all of these; values have shape (q,)."""
    found = function(values.reshape(n_channels, -1), axis=1)
    return found.repeat(len(values) // n_channels)


class _Outermost(NamedTuple):
    """The outermost values of each output (q,) in its own units, and whether these repeat."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    low_repeats: NDArray[np.bool_]
    high_repeats: NDArray[np.bool_]
    shift: NDArray[np.float64]  # of the stretched axis, above all repeated values

    def repeat(self, end: float, side: int) -> NDArray[np.bool_]:
        """Which outputs have an end as outermost value that repeats."""
        if side > 0:
            return self.low_repeats & (self.low == end)
        return self.high_repeats & (self.high == end)

    @classmethod
    def of(cls, moments: ColumnMoments, repeated: Sequence[RepeatedValues]) -> _Outermost:
        """From moments on the stretched axes, which begin with the own units."""
        low, high = moments.low.copy(), moments.high.copy()
        shift = np.zeros(len(low))
        low_repeats, high_repeats = np.zeros((2, len(low)), dtype=bool)
        for each in repeated:
            own = each.columns
            low_repeats[own] = np.isinf(each.lower[0])
            high_repeats[own] = np.isinf(each.upper[-1])
            shift[own] = each.shifts[-1]
            low[own] = each.values[0] if low_repeats[own].all() else low[own]
            high[own] = each.values[-1] if high_repeats[own].all() else high[own] - each.shifts[-1]
        return cls(low, high, low_repeats, high_repeats, shift)


def _find_whole(rows: NDArray[np.float64], few: Sequence[int]) -> tuple[WholeNumbers, ...]:
    are_whole = (rows == np.rint(rows)).all(axis=0) & (np.ptp(rows, axis=0) > 0)
    are_whole[list(few)] = False
    return (WholeNumbers(are_whole),) if are_whole.any() else ()


def _find_combinations(
    rows: NDArray[np.float64], std: NDArray[np.float64], few: Sequence[int]
) -> list[KnownCombinations]:
    """Groups of outputs of few values that take part of their combinations only.

    An output joins the first group with which combinations are missing that would be many responses
    if it did not depend on the group: half as many as if one determined the other, or five of
    flags. Answers on a scale, and counts, lack combinations that are merely unlikely. Those that
    occur must be few, and those that occur once a hundredth of the responses at most: their share
    estimates that of combinations not seen yet (Good 1953). Outputs without a common value come
    first.
    """
    if len(few) > _MOST_COMBINED:
        return []
    groups: list[tuple[list[int], NDArray[np.intp]]] = []
    kinds, counts = {}, {}
    for column in few:
        _, own, counts[column] = np.unique(rows[:, column], return_inverse=True, return_counts=True)
        kinds[column] = own.reshape(-1)
    for column in sorted(few, key=lambda column: counts[column].max()):
        for place, (columns, kind) in enumerate(groups):
            flags = all(len(counts[each]) == 2 for each in (*columns, column))
            together = _combined(kind, kinds[column], flags)
            if together is not None:
                groups[place] = ([*columns, column], together)
                break
        else:
            groups.append(([column], kinds[column]))
    return [_combinations(rows, std, sorted(c), kind) for c, kind in groups if len(c) > 1]


def _combinations(
    rows: NDArray[np.float64], std: NDArray[np.float64], columns: list[int], kind: NDArray[np.intp]
) -> KnownCombinations:
    """The combinations, numbered by `kind` (n,), of some columns of responses (n, q)."""
    _, first, count = np.unique(kind, return_index=True, return_counts=True)
    means = np.zeros((len(count), rows.shape[1]))
    np.add.at(means, kind, rows)
    means /= count[:, None]
    around = np.sqrt(((rows - means[kind]) ** 2).sum(axis=0) / (len(rows) - len(count)))
    goes_with = _varies(rows, std) & (around <= _AROUND * std)
    goes_with[columns] = False
    judged = np.r_[columns, np.flatnonzero(goes_with)].astype(np.intp)
    part = judged[: len(columns)]
    known = rows[first][:, part] + 0.0
    scale = np.where(goes_with, np.maximum(around, _LEAST_AROUND * std), std)[judged]
    mean = rows.mean(axis=0)[judged]
    centres = (np.c_[known, means[:, judged[len(columns) :]]] - mean) / scale
    return KnownCombinations(part, known, judged, centres, mean, scale)


def _combined(
    one: NDArray[np.intp], other: NDArray[np.intp], flags: bool
) -> NDArray[np.intp] | None:
    """A number for each combination of two numbers (n,); None where few are missing."""
    n_rows = len(one)
    _, first, kind, count = np.unique(
        one * (other.max() + 1) + other, return_index=True, return_inverse=True, return_counts=True
    )
    most = min(_MOST_COMBINATIONS, n_rows // _ROWS_PER_COMBINATION)
    if len(count) > most or (count == 1).sum() > KnownCombinations.most_others * n_rows:
        return None
    shares = [np.bincount(numbers) / n_rows for numbers in (one, other)]
    # The share of rows with the missing combinations, if neither number depended on the other.
    missing = 1 - (shares[0][one[first]] * shares[1][other[first]]).sum()
    least = _FLAGS_MISSING / n_rows
    if not flags:  # at most that much is missing: where one number determines the other
        least = _MISSING * min(1 - np.square(each).sum() for each in shares)
    return kind.reshape(-1) if missing >= least else None


def _varies(rows: NDArray[np.float64], std: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which outputs vary by more than rounding."""
    return std > EQUAL_SUMS * np.abs(rows).max(axis=0)


def _find_total(rows: NDArray[np.float64], std: NDArray[np.float64]) -> CommonTotal | None:
    total = float(np.median(rows.sum(axis=1)))
    found = CommonTotal(total)
    if not 0 < total < np.inf:
        return None
    if not found.holds_for(rows):
        return _find_rounded_total(rows, total)
    # Where outputs are large and vary little, or are constant, equal sums are rounding: dividing by
    # them would move values that hardly vary.
    most = np.abs(rows.sum(axis=1) / total - 1).max()
    is_unseen = (most * np.abs(rows).max(axis=0) <= UNSEEN * std).all()
    if not is_unseen or not (std[rows.max(axis=0) > 0] > 0).all():
        return None
    return CommonTotal(total, _steps_of(total, rows))


def _find_rounded_total(rows: NDArray[np.float64], total: float) -> CommonTotal | None:
    """The sum of parts that are rounded each by itself, which moves it by half a step a part."""
    values = np.unique(np.append(rows, 0.0))
    number = even_steps(values) if values[0] == 0 else None
    if number is None:
        return None
    n_steps = round(total / values[-1] * number[-1])
    most_off = rows.shape[1] // 2
    found = CommonTotal(n_steps * float(values[-1]) / int(number[-1]), n_steps, most_off)
    is_rounding = rows.sum(axis=1).var() <= _MOST_ROUNDING * rows.var(axis=0).sum()
    is_small = 0 < most_off <= _MOST_OFF * n_steps
    return found if is_rounding and is_small and found.holds_for(rows) else None


def _steps_of(total: float, parts: NDArray[np.float64]) -> int:
    """How many equal steps a sum has of which all parts (n, q) are whole numbers; 0 without."""
    values = np.unique(np.append(parts.clip(min=0), [0.0, total]))
    number = even_steps(values)
    return 0 if number is None else int(number[-1])


def _find_relations(
    rows: NDArray[np.float64], std: NDArray[np.float64], few: set[int], groups: list[set[int]]
) -> LinearRelations | None:
    """Outputs that others determine; those that vary most follow, as totals do.

    Within one of the `groups` of columns, whose combinations are known, nothing needs to follow.
    """
    n_rows, n_outputs = rows.shape
    varying = np.flatnonzero(_varies(rows, std))
    if n_rows < _ROWS_PER_OUTPUT * n_outputs or len(varying) < 2:
        return None
    order = varying[np.argsort(std[varying], kind="stable")]
    mean = rows.mean(axis=0)
    standardised = (rows[:, order] - mean[order]) / std[order]
    # A column's own part of it, beside those that vary less, on the diagonal.
    own = np.abs(np.diag(np.linalg.qr(standardised, mode="r"))) / np.sqrt(n_rows)
    follows = own <= _DEPENDENT
    if not follows.any():
        return None
    known, others = order[~follows], order[follows]
    by_others, *_ = np.linalg.lstsq(standardised[:, ~follows], standardised[:, follows], rcond=None)
    by_others[np.abs(by_others) < _DEPENDENT] = 0.0
    matrix, offset, followers = np.eye(n_outputs), np.zeros(n_outputs), []
    for column, weights in zip(others, by_others.T, strict=True):
        coefficients = _rounded(weights * std[column] / std[known])
        is_sum = (coefficients >= 0).all()
        if np.abs(weights).max() > _LARGEST or (column in few and not is_sum):
            continue
        together = {int(column), *known[coefficients != 0].tolist()}
        if any(together <= group for group in groups):
            continue
        matrix[:, column] = 0.0
        matrix[known, column] = coefficients
        constant = mean[column] - mean[known] @ coefficients
        offset[column] = constant if abs(constant) > _DEPENDENT * std[column] else 0.0
        followers.append(column)
    found = LinearRelations(matrix, offset, std, np.array(followers, dtype=np.intp))
    return found if followers and found.holds_for(rows) else None


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values that are round numbers up to the error of a regression as such numbers."""
    close = np.round(values, _DIGITS)
    return np.where(
        np.abs(values - close) < _DEPENDENT * np.maximum(np.abs(values), 1), close, values
    )

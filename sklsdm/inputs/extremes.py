"""A look at the data before training: values so extreme that all others are lost beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import warn_user
from sklsdm.blocks import row_blocks
from sklsdm.inputs.missing_codes import find_missing_codes
from sklsdm.inputs.response_format import count_channels, flat_rows, some_rows

EXTREME = 1e6  # usual distances from the median, beyond which a value is extreme
# Of 20 numbers or more, one that makes most of its column's variance is extreme from this distance
# on, and so are a few that do together. (One of 500 hardly harmed from 100 usual distances, clearly
# from 200, docs/lessons.md.)
_FEWEST_NUMBERS, _FAR_ALONE, _MOST_VARIANCE = 20, 150.0, 0.9
_FEW = 0.05  # share of the values
_APART = 5.0  # times as far as the values next to them, of which there are fewer; else it is a tail
_FAR_BY_STD = 30.0  # standard deviations, within which no value is extreme
# Where one value makes so much, the standard deviation is more than three times that of the others,
# which is seldom below their usual distance.
_LEAST_SPREAD = 3.0
# Half-ranges of y from its middle, and the share of unpaired responses that must be farther out.
_FAR_OUTSIDE, _FEWEST_FAR = 10.0, 0.01
_MOST_CODES = 5  # that are named
_SAMPLED = 1 << 18  # numbers from which medians and usual distances are taken
_FEWEST_ROWS = 64  # of these, however many columns there are
_ROUNDING = 1e-12  # values that differ from the median by less, relatively, count as equal to it


def warn_of_extremes(
    parts: Mapping[str, Any],
    std: NDArray[np.float64] | None,
    names: Sequence[Any] | None = None,
) -> None:
    """Warn of values that are a million times as far from their column's median as is usual.

    150 times is enough for a value that makes 90 % of its column's variance, such as a mistyped
    one, or for a few such values together (a twentieth of them at most). Codes for missing values,
    such as -999, are named as such in tables.

    The usual distance is the median distance of the values that differ from the median: the
    median absolute deviation, and in a column of mostly zeros the size of what is not zero. It
    is taken from rows at even distances. A column in which all of them are equal is not judged.

    Also warns of rows of `Y_unpaired` that lie far outside the range of `y`, such as failed
    measurements, where they are a hundredth of the rows or more.

    Standardised by such data, all other values look alike to the networks. A value is only looked
    for where the standard deviation is so large that there may be one, so that data in files are
    not read once more.

    Parameters
    ----------
    parts : mapping of str to array of shape (n, ...)
        Arguments by name, None where they are absent: arrays, memmaps or rows of a Dataset.
    std : ndarray of shape (q,) or (1,), or None
        Standard deviations of the columns of all parts together; one for images, or one for each
        pixel: the pixels of a channel are judged together. None looks at every value.
    names : sequence, optional
        Names of the first columns, for the message.
    """
    given = {name: part for name, part in parts.items() if part is not None and len(part)}
    first = next(iter(given.values()))
    width, n_channels = math.prod(first.shape[1:]), count_channels(first)
    is_table = n_channels == 0
    n_rows = sum(map(len, given.values()))
    share = min(1.0, max(_FEWEST_ROWS, _SAMPLED // width) / n_rows)
    samples = {
        name: _columns(some_rows(part, math.ceil(share * len(part))), n_channels)
        for name, part in given.items()
    }
    if is_table and {"y", "Y_unpaired"} <= samples.keys():
        _warn_of_far_rows(samples["y"], samples["Y_unpaired"])
    codes = find_missing_codes(samples)[:_MOST_CODES] if is_table else []
    for code in codes:
        warn_user(code.message(() if names is None else names))
    usual = _usual_places(np.concatenate(list(samples.values())))
    if n_channels > 1:  # one for each pixel, as for a table's columns
        usual = usual.repeated(width // n_channels)
    n_values = n_rows if is_table else n_rows * (width // n_channels)
    limit = _limits(usual, std, n_values, [code.column for code in codes])
    if np.isinf(limit).all():
        return
    worst, count = _find_worst(given, usual, limit)
    if worst is not None:
        columns = list(() if names is None else names) if is_table and width > 1 else None
        warn_user(worst.message(count, columns))


class _UsualPlaces(NamedTuple):
    """Where the values of each column usually lie; all of shape (q,)."""

    middle: NDArray[np.float64]  # the median
    distance: NDArray[np.float64]  # from the median; infinite where all values are equal
    nearby: NDArray[np.float64]  # the distance within which no value is extreme
    few_are_far: NDArray[np.bool_]  # whether a few values make most of the variance

    def repeated(self, count: int) -> _UsualPlaces:
        """The same for so many columns in place of each."""
        middle, distance, nearby = (each.repeat(count) for each in self[:3])
        return _UsualPlaces(middle, distance, nearby, self.few_are_far.repeat(count))


def _usual_places(sample: NDArray[np.float64]) -> _UsualPlaces:
    """Where the values of the columns of rows (n, q) usually lie."""
    middle, distance = _middle_and_distance(sample)
    # Where most values nearly are one, such as around a spot of light, all others are far from it.
    with np.errstate(over="ignore", invalid="ignore"):
        nearby = min(_FAR_BY_STD, math.sqrt(len(sample)) / 2) * np.nanstd(sample, axis=0)
    few_are_far = _few_make_most_variance(sample, middle, distance)
    return _UsualPlaces(middle, distance, nearby, few_are_far)


def _limits(
    usual: _UsualPlaces, std: NDArray[np.float64] | None, n_values: int, with_codes: list[int]
) -> NDArray[np.float64]:
    """The distances (q,) from the median beyond which values are extreme; infinite where none is.

    Columns have `n_values` values each and the standard deviations `std`. Those `with_codes` for
    missing values have their warning already.
    """
    limit = np.maximum(EXTREME * usual.distance, usual.nearby)
    limit[with_codes] = np.inf
    if std is None:
        return limit
    of_most_variance = np.maximum(
        _FAR_ALONE * usual.distance, math.sqrt(_MOST_VARIANCE * n_values) * std
    )
    alone = np.where(usual.few_are_far, _FAR_ALONE * usual.distance, of_most_variance)
    alone[(std < _LEAST_SPREAD * usual.distance) | (n_values < _FEWEST_NUMBERS)] = np.inf
    # One value at the distance d from the median makes the standard deviation at least
    # d / (√n + 1), since mean and median are at most one standard deviation apart.
    limit[std * (math.sqrt(n_values) + 1) < limit] = np.inf
    return np.minimum(limit, alone)


def _few_make_most_variance(
    sample: NDArray[np.float64], middle: NDArray[np.float64], usual: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """In which columns of rows (n, q) a few values far from others make most of the variance."""
    with np.errstate(over="ignore", invalid="ignore"):
        times = np.nan_to_num(np.abs(sample - middle) / usual)
        is_far = times > _FAR_ALONE
        is_next = (times > _FAR_ALONE / _APART) & ~is_far
        squares = np.square(times)
        made = np.where(is_far, squares, 0.0).sum(axis=0) >= _MOST_VARIANCE * squares.sum(axis=0)
    are_apart = is_far.sum(axis=0) > is_next.sum(axis=0)
    return np.asarray(made & are_apart & (is_far.mean(axis=0) <= _FEW))


def _warn_of_far_rows(paired: NDArray[np.float64], unpaired: NDArray[np.float64]) -> None:
    """Warn of unpaired responses that lie ten times as far out as any paired one.

    If most do, unpaired and paired responses follow two laws, of which another warning tells.
    """
    if len(paired) < _FEWEST_NUMBERS:
        return
    low, high = paired.min(axis=0), paired.max(axis=0)
    half = np.where(high > low, (high - low) / 2, np.inf)
    times = np.abs(unpaired - (low + high) / 2) / half
    is_far = (times > _FAR_OUTSIDE).any(axis=1)
    share = is_far.mean()
    if not _FEWEST_FAR <= share <= 0.5:
        return
    row, column = np.unravel_index(times.argmax(), times.shape)
    warn_user(
        f"{share:.1%} of the rows of Y_unpaired lie far outside the range of y, such as one with "
        f"{unpaired[row, column]:.3g} in column {column}, where y has {low[column]:.3g} to "
        f"{high[column]:.3g}. The latent space is learnt from them, too, and then holds less of "
        f"the others. Remove them if they are mistaken, or set unpaired='none'."
    )


class _Extreme(NamedTuple):
    """A value far from all others, and where it is."""

    times: float  # its distance from the median, in usual distances
    name: str  # of the argument
    row: int
    column: int
    value: float

    def message(self, count: int, columns: list[Any] | None) -> str:
        """What to tell the user; `count` values are extreme.

        `columns` are names of the first columns. It is None where no column need be named.
        """
        where = f"row {self.row}"
        if columns is not None:
            has_name = self.column < len(columns)
            where += f", column {columns[self.column]!r}" if has_name else f", column {self.column}"
        back = "" if self.name == "X" else " (and the draws back)"
        return (
            f"{self.name} holds {self.value:g} in {where}, {self.times:.2g} times as far from the "
            f"median as values usually are ({count} such value{'s' if count > 1 else ''} in all). "
            f"Beside it all other values look alike to the networks, and draws may be useless. "
            f"Remove or clip such values, or transform them, for example by the logarithm{back}."
        )


def _find_worst(
    parts: Mapping[str, Any], usual: _UsualPlaces, limit: NDArray[np.float64]
) -> tuple[_Extreme | None, int]:
    """The most extreme value, if any is beyond its column's limit, and how many are.

    Parts are read in blocks.
    """
    worst, count = None, 0
    for name, part in parts.items():
        for rows in row_blocks(part):
            block = flat_rows(np.asarray(part[rows]))
            with np.errstate(over="ignore", invalid="ignore"):
                distance = np.nan_to_num(np.abs(block - usual.middle))
                times = np.where(distance > limit, distance / usual.distance, 0.0)
            count += int(np.count_nonzero(times))
            row, column = map(int, np.unravel_index(times.argmax(), times.shape))
            most = float(times[row, column])
            if most > (0.0 if worst is None else worst.times):
                worst = _Extreme(most, name, rows.start + row, column, float(block[row, column]))
    return worst, count


def _columns(rows: NDArray[np.float64], n_channels: int) -> NDArray[np.float64]:
    """Flat rows (n, q); of images, the channels are columns, whose pixels are judged together."""
    if n_channels == 0:
        return rows
    return rows.reshape(len(rows), n_channels, -1).transpose(0, 2, 1).reshape(-1, n_channels)


def _middle_and_distance(
    sample: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Medians of columns and the median distance of values that differ from them, both (q,).

    NaN are left out. The distance is infinite where no value differs.
    """
    nothing = np.zeros(sample.shape[1], dtype=np.intp)
    middle = _median_from(np.sort(sample, axis=0), nothing)
    distance = np.abs(sample - middle)
    distance[distance <= _ROUNDING * np.abs(middle)] = 0.0
    distance.sort(axis=0)
    return middle, _median_from(distance, (distance == 0).sum(axis=0))


def _median_from(ordered: NDArray[np.float64], start: NDArray[np.intp]) -> NDArray[np.float64]:
    """The (lower) median of each ordered column from row `start` on; infinite where none is left.

    NaN, which are ordered last, are left out.
    """
    stop = (~np.isnan(ordered)).sum(axis=0)
    place = np.minimum(start + np.maximum(stop - start - 1, 0) // 2, len(ordered) - 1)
    found = np.take_along_axis(ordered, place[None], axis=0)[0]
    return np.where(stop > start, found, np.inf)

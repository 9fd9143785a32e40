"""Values that many responses share, such as the zeros of rainfall or the numbers of a count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.functional.even_steps import even_steps
from sklsdm.inputs.moved import moved_once

FEWEST_ROWS = 20
_SHARE = 0.05  # of the responses, from which on a value counts as frequent
_FEWEST_EQUAL = 5  # responses with a frequent value, and times as many as with the median value
_ROWS_PER_VALUE = 5  # on average, in an output of few values; 2 where these are evenly spaced
_ROWS_PER_RARE_VALUE = 2  # on average, of those that are not frequent
_FEW_VALUES = 50  # which may lie anywhere; more of them must be evenly and densely spaced
_FEWEST_TO_FILL = 10  # evenly spaced values, from which on those between them belong to them
_FILLED = 10  # steps between neighbours, up to which the values between them do
_DENSE = 0.9  # share of neighbours that are so near
_CLEARLY_WIDER = 2.0  # times half the way to both neighbours, from which on an interval is widened
_MOST_OF_A_MAP = 10  # values of the pixels of a label map
_MOST_ODDS = 3.0  # of a frequent value, that widen its interval
_MOST_ODDS_OF_PIXELS = 0.25  # a wider interval would leave little of the greys (docs/lessons.md)
ROUNDING = 1e-6  # relative, within which a value is known
MOST_SEARCHED_OUTPUTS = 500  # of a table, whose values are looked at


@dataclass(frozen=True, eq=False)  # as `moved_once` needs it
class RepeatedValues:
    """The repeated values of an output, or of pixels, with intervals on a stretched axis.

    Draws of a network have a density, and never hit a value exactly. So the axis is stretched at a
    frequent value: other values move away from it, and whatever is drawn in between becomes this
    value. In an output that takes few values, the intervals of neighbours touch, so that each draw
    becomes one of them.
    """

    start: int  # the first column of flat rows that has them
    stop: int  # the column after the last one: an output has one, pixels of images have many
    values: NDArray[np.float64]  # (k,), ascending
    places: NDArray[np.float64]  # (k,), of the values on the stretched axis
    lower: NDArray[np.float64]  # (k,), ends of the intervals there; the outermost may be infinite
    upper: NDArray[np.float64]
    shifts: NDArray[np.float64]  # (k + 1,), by which values before, between and after are moved

    def stretch(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Values of any shape on the stretched axis."""
        following = np.searchsorted(self.values, values, side="right")
        last = np.maximum(following - 1, 0)
        is_repeated = (following > 0) & (self.values[last] == values)
        return np.where(is_repeated, self.places[last], values + self.shifts[following])

    @property
    def columns(self) -> slice:
        """The columns of flat rows that have them."""
        return slice(self.start, self.stop)

    @property
    def is_of_output(self) -> bool:
        """Whether one output has them, and not the pixels of images."""
        return self.stop - self.start == 1

    @cached_property
    def are_all(self) -> bool:
        """Whether the output takes no other values."""
        ends = np.isinf(self.lower[0]) and np.isinf(self.upper[-1])
        return bool(ends and np.array_equal(self.lower[1:], self.upper[:-1]))

    def interval(self, value: float) -> tuple[float, float, float]:
        """Place, lower and upper end of one of the values on the stretched axis."""
        place = np.searchsorted(self.values, value)
        return float(self.places[place]), float(self.lower[place]), float(self.upper[place])

    def with_borders(
        self, drawn: NDArray[np.float64], responses: NDArray[np.float64]
    ) -> RepeatedValues:
        """These values with borders below which as many draws (m,) lie as of the responses (n,).

        Draws are on the stretched axis. A border is moved no further than to a standard error of
        this share. Where an output takes few values it stays in the middle half of the way between
        two, so that a draw near a value becomes this value. The interval of a frequent value keeps
        its middle half, and gets at most a quarter of its width more on each side.
        """
        if not self.are_all:
            return self._with_borders_of_frequent(drawn, responses)
        kinds = np.searchsorted((self.values[1:] + self.values[:-1]) / 2, responses)
        share = np.bincount(kinds, minlength=len(self.values)).cumsum()[:-1] / len(responses)
        doubt = np.sqrt(share * (1 - share) / len(responses))
        low, high = np.quantile(drawn, np.clip([share - doubt, share + doubt], 0, 1))
        low = np.where(share - doubt > 0, low, -np.inf)  # draws say nothing of how far beyond
        high = np.where(share + doubt < 1, high, np.inf)
        gaps = np.diff(self.places)
        ends = np.clip(self.lower[1:], low, high)
        ends = np.clip(ends, self.places[:-1] + gaps / 4, self.places[1:] - gaps / 4)
        lower, upper = np.concatenate([[-np.inf], ends]), np.concatenate([ends, [np.inf]])
        return replace(self, lower=lower, upper=upper)

    def _with_borders_of_frequent(
        self, drawn: NDArray[np.float64], responses: NDArray[np.float64]
    ) -> RepeatedValues:
        """See `with_borders`: those of frequent values, beside which there are others."""
        half = np.diff(self.shifts) / 2
        middle = self.values + self.shifts[:-1] + half
        below = np.array([(responses < value).mean() for value in self.values])
        up_to = np.array([(responses <= value).mean() for value in self.values])
        ends = []
        for end, share, side in ((self.lower, below, -1), (self.upper, up_to, 1)):
            doubt = np.sqrt(share * (1 - share) / len(responses))
            low, high = np.quantile(drawn, np.clip([share - doubt, share + doubt], 0, 1))
            most = np.sort([middle + side * half / 2, middle + side * half * 1.5], axis=0)
            moved = np.clip(end, low, high).clip(*most)
            ends.append(np.maximum.accumulate(np.where(np.isfinite(end), moved, end)))
        return replace(self, lower=ends[0], upper=ends[1])

    def is_new(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of some values (n,) are none of the repeated ones, up to rounding."""
        after = np.clip(np.searchsorted(self.values, values), 1, len(self.values) - 1)
        near = np.stack([self.values[after - 1], self.values[after]])
        return np.abs(near - values).min(axis=0) > ROUNDING * np.abs(values)

    def restore(self, places: Tensor) -> Tensor:
        """Values for places of any shape on the stretched axis."""
        arrays = (self.values, self.lower, self.upper, self.shifts)
        values, lower, upper, shifts = moved_once(self, arrays, places)
        if self.are_all:
            return values[torch.bucketize(places, lower[1:], right=True)]
        following = torch.bucketize(places, lower, right=True)
        last = (following - 1).clamp_(min=0)
        inside = (following > 0) & (places <= upper[last])
        others = between(values, following, places - shifts[following])
        return torch.where(inside, values[last], others)


def between(values: Tensor, following: Tensor, others: Tensor) -> Tensor:
    """Other values than the repeated ones (k,), each before that numbered by `following`.

    Where the interval of a repeated value has become narrower, draws beside it would lie beyond the
    value. They are mirrored at it, up to the next one.
    """
    has_after, has_before = following > 0, following < len(values)
    after = values[(following - 1).clamp(min=0)]
    before = values[following.clamp(max=len(values) - 1)]
    upwards, downwards = 2 * after - others, 2 * before - others
    upwards = torch.where(has_before, torch.minimum(upwards, before), upwards)
    downwards = torch.where(has_after, torch.maximum(downwards, after), downwards)
    kept = torch.where(has_after & (others < after), upwards, others)
    return torch.where(has_before & (others > before), downwards, kept)


def find_repeated(rows: NDArray[np.float64]) -> tuple[RepeatedValues, ...]:
    """The repeated values of each column of responses (n, q) that has some.

    All values of a column are repeated if it takes few: half as many as there are responses at
    most, if they lie densely at multiples of one step, such as counts or rounded numbers; else 50,
    and half as many (a fifth, of uneven ones), of which the rare ones occur twice on average. From
    ten evenly spaced values on, those between near neighbours belong to them.
    Of other columns, frequent values are repeated: those of a twentieth of the responses or more,
    where other values are far rarer. Constant columns have none, nor have fewer than 20 responses.
    """
    if len(rows) < FEWEST_ROWS:
        return ()
    found = (_repeated_of(place, column) for place, column in enumerate(rows.T))
    return tuple(each for each in found if each is not None)


def find_in_images(rows: NDArray[np.float64], n_parts: int) -> tuple[RepeatedValues, ...]:
    """The repeated values of flat images (n, q), such as that of an empty background.

    The columns are divided into equal parts, such as the channels, each with values of its own.
    These are those of a twentieth of the pixels or more, where other values are far rarer; of whole
    numbers, which draws become by rounding, those alone that need more room. All are where there
    are ten or fewer, as in masks and label maps.
    """
    ends = np.linspace(0, rows.shape[1], n_parts + 1).astype(int).tolist()
    found = (_repeated_pixels(*part, rows[:, slice(*part)]) for part in pairwise(ends))
    return tuple(each for each in found if each is not None)


def _repeated_pixels(start: int, stop: int, pixels: NDArray[np.float64]) -> RepeatedValues | None:
    seen, counts = np.unique(pixels + 0.0, return_counts=True)
    if 2 <= len(seen) <= _MOST_OF_A_MAP and pixels.size >= _ROWS_PER_VALUE * len(seen):
        return _few(start, stop, seen, seen, np.zeros(len(seen)))
    stands_out = (counts >= _SHARE * pixels.size) & _are_far_more(counts)
    if len(seen) == 1 or not stands_out.any():
        return None
    widths = _widths(seen, counts, stands_out, _MOST_ODDS_OF_PIXELS)
    if (seen == np.rint(seen)).all():  # each has a step already, since draws become whole
        widths = np.where(widths >= _CLEARLY_WIDER, widths - 1, 0.0)
    return _frequent(start, stop, seen, widths) if widths.any() else None


def find_in_both(
    paired: NDArray[np.float64], others: NDArray[np.float64]
) -> tuple[RepeatedValues, ...]:
    """The repeated values of paired (n, q) and unpaired responses (N, q).

    A column has some where the paired ones have some. They are those of all responses, unless the
    unpaired ones are of another kind, such as numbers that were not rounded. Fewer than 20 paired
    ones are not asked.
    """
    together = find_repeated(np.concatenate([paired, others]))
    if len(paired) < FEWEST_ROWS or len(others) == 0:
        return together
    by_column = {each.start: each for each in together}
    found = []
    for own in find_repeated(paired):
        shared = by_column.get(own.start, own)
        found.append(shared if shared.are_all == own.are_all else own)
    return tuple(found)


def _repeated_of(place: int, column: NDArray[np.float64]) -> RepeatedValues | None:
    seen, counts = np.unique(column + 0.0, return_counts=True)  # -0 is 0
    if len(seen) == 1:
        return None
    is_frequent = counts >= max(_FEWEST_EQUAL, _SHARE * len(column))
    every = _values_of_few(seen, counts, is_frequent)
    if len(every) == 0:
        stands_out = is_frequent & _are_far_more(counts)
        if not stands_out.any():
            return None
        return _frequent(place, place + 1, seen, _widths(seen, counts, stands_out))
    if len(every) == 2:  # no other value needs room
        return _few(place, place + 1, every, seen, np.zeros(2))
    return _few(place, place + 1, every, seen, _widths(seen, counts, is_frequent))


def _are_far_more(counts: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which values have far more responses (k,) than the median value has."""
    return np.asarray(counts >= _FEWEST_EQUAL * np.median(counts))


def _widths(
    seen: NDArray[np.float64],
    counts: NDArray[np.intp],
    is_frequent: NDArray[np.bool_],
    most_odds: float = _MOST_ODDS,
) -> NDArray[np.float64]:
    """Widths (k,) of the intervals of values (k,), which are 0 where these are not frequent.

    The law is then as dense in an interval as it is outside of it. Where nearly all other responses
    have one value, the spread of those that are not frequent counts, or else of all values.
    """
    widths = np.zeros(len(seen))
    rare = _spread(seen[~is_frequent], counts[~is_frequent]) or float(seen[-1] - seen[0])
    for place in np.flatnonzero(is_frequent):
        others = np.delete(counts, place)
        spread = _spread(np.delete(seen, place), others) or rare
        widths[place] = min(counts[place] / others.sum(), most_odds) * spread
    return widths


def _spread(values: NDArray[np.float64], counts: NDArray[np.intp]) -> float:
    """The distance between the 10 and the 90 % quantile of values (k,) that occur so often."""
    if len(values) == 0:
        return 0.0
    low, high = np.quantile(np.repeat(values, counts), [0.1, 0.9])
    return float(high - low)


def _values_of_few(
    seen: NDArray[np.float64], counts: NDArray[np.intp], is_frequent: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """All values of an output that takes few, also those between them; else none.

    `seen` are the values of the responses, and `counts` how many have each.
    """
    n_rows = counts.sum()
    number = even_steps(seen)
    gaps = np.empty(0) if number is None else np.diff(number)
    is_dense = number is not None and (gaps <= _FILLED).mean() >= _DENSE
    rows_per_value = 2 if number is not None else _ROWS_PER_VALUE
    if len(seen) > n_rows / rows_per_value or (len(seen) > _FEW_VALUES and not is_dense):
        return seen[:0]
    rare = counts[~is_frequent]
    if not is_dense and rare.sum() < _ROWS_PER_RARE_VALUE * len(rare):
        return seen[:0]
    if number is None:
        return seen
    if len(seen) < _FEWEST_TO_FILL:
        return seen
    between = np.concatenate(
        [np.arange(1, gap) / gap if gap <= _FILLED else np.empty(0) for gap in gaps]
    )
    lengths = np.where(gaps <= _FILLED, gaps - 1, 0)
    start, end = np.repeat(seen[:-1], lengths), np.repeat(seen[1:], lengths)
    return np.sort(np.concatenate([seen, start + between * (end - start)]))


def _few(
    start: int,
    stop: int,
    values: NDArray[np.float64],
    seen: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> RepeatedValues:
    """All values of an output: intervals that touch, as wide as to half the way or as needed."""
    middle = (values[1:] + values[:-1]) / 2
    lower = np.concatenate([[2 * values[0] - middle[0]], middle])
    upper = np.concatenate([middle, [2 * values[-1] - middle[-1]]])
    needed = np.zeros(len(values))
    needed[np.searchsorted(values, seen)] = widths
    extra = np.where(needed >= _CLEARLY_WIDER * (upper - lower), needed - (upper - lower), 0.0)
    shifts = np.concatenate([[0.0], np.cumsum(extra)])
    lower, upper = lower + shifts[:-1], upper + shifts[1:]
    places = np.where(extra > 0, lower / 2 + upper / 2, values + shifts[1:])
    lower[0], upper[-1] = -np.inf, np.inf
    return RepeatedValues(start, stop, values, places, lower, upper, shifts)


def _frequent(
    start: int,
    stop: int,
    seen: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> RepeatedValues:
    """Some values of an output: intervals with room for other values between them."""
    is_frequent = widths > 0
    values, widths = seen[is_frequent], widths[is_frequent]
    shifts = np.concatenate([[0.0], np.cumsum(widths)])
    lower, upper = values + shifts[:-1], values + shifts[1:]
    places = lower / 2 + upper / 2
    if is_frequent[0]:
        lower[0] = -np.inf
    if is_frequent[-1]:
        upper[-1] = np.inf
    return RepeatedValues(start, stop, values, places, lower, upper, shifts)


def stretch_columns(
    repeated: Sequence[RepeatedValues], rows: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Flat rows (n, q) with the columns that have repeated values on their stretched axes."""
    if not repeated:
        return rows
    found = rows.copy()
    for each in repeated:
        found[:, each.columns] = each.stretch(found[:, each.columns])
    return found


def restore_columns(repeated: Sequence[RepeatedValues], rows: Tensor) -> Tensor:
    """Flat rows (n, q) back from the stretched axes."""
    if not repeated:
        return rows
    if repeated[0].columns == slice(0, rows.shape[1]):
        return repeated[0].restore(rows)
    columns = rows.T.contiguous()  # several times faster than columns of rows
    for each in repeated:
        columns[each.columns] = each.restore(columns[each.columns])
    return columns.T.contiguous()

"""Outputs that have one value wherever another output has one: no claim, and an amount of 0."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.inputs.repeated import FEWEST_ROWS, ROUNDING, RepeatedValues
from sklsdm.inputs.rules import RuleByOutput, as_constant

_FEWEST_EQUAL = 5  # responses with one value of an output, where another output has one value
_FEWEST_MISSING = 5  # of them that would have other values if the outputs were independent
_MOST_CHANCE = 1e-4  # that none of them has another value by chance
_MOST_LEADERS = 64  # outputs of which each is tried


@dataclass(frozen=True)
class AllOrNone:
    """Frequent values of some outputs, of which a draw on the stretched axes has all or none."""

    columns: NDArray[np.intp]  # (c,)
    middle: NDArray[np.float64]  # (c,), of the intervals on the stretched axes
    lower: NDArray[np.float64]  # (c,), their ends
    upper: NDArray[np.float64]
    radius: float

    def __call__(self, places: Tensor) -> Tensor:
        """Draws (n, q) inside all intervals, or outside of each."""
        own, middle, lower, upper = self._tensors(places)
        distances = _distances(own, middle, lower, upper)
        away = (own - middle).abs()
        upwards = ((own >= middle) | lower.isinf()) & upper.isfinite()
        beyond = torch.where(upwards, upper + away, lower - away)
        alone = torch.where(distances <= 1, beyond, own)
        together = distances.amax(dim=1, keepdim=True) <= self.radius
        columns = as_constant(self.columns, places.device)
        return places.index_copy(1, columns, torch.where(together, middle, alone))

    def distances(self, places: Tensor) -> Tensor:
        """Distances (n, c) of draws (n, q) from the middles, in units of the way to the ends."""
        return _distances(*self._tensors(places))

    def _tensors(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs (n, c) of draws, with middles, lower and upper ends (c,)."""
        middle, lower, upper = (
            as_constant(each, places.device).to(places)
            for each in (self.middle, self.lower, self.upper)
        )
        columns = as_constant(self.columns, places.device)
        return places.index_select(1, columns), middle, lower, upper


def _distances(places: Tensor, middle: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    away = places - middle
    return torch.where(away >= 0, away / (upper - middle), away / (lower - middle))


@dataclass(frozen=True)
class ImpliedValues(RuleByOutput):
    """A value of one output, the leader, that implies a value of each of some others.

    Draws of these followers get their implied values wherever the leader has its own. If all other
    responses of a follower lie on one side of its implied value, so do its other draws: those on
    the wrong side are reflected.

    Where leader and followers have these values only together, and all are frequent, a draw has all
    or none. It has all if no output is farther from the middle of its interval than `radius` times
    the way to the end. Otherwise an output inside its interval is moved out of it.
    """

    leader: int
    value: float
    followers: NDArray[np.intp]  # (f,), columns
    implied: NDArray[np.float64]  # (f,)
    occurs_elsewhere: NDArray[np.bool_]  # (f,), the implied value, where the leader has another
    sides: NDArray[np.float64]  # (f,), of other responses: 1 above, -1 below, 0 both
    radius: float = 1.0

    @property
    def text(self) -> str:
        return f"one value in each of columns {self.followers.tolist()} where column \
{self.leader} is {self.value:g}"

    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        away, is_implied, leads = self._compared(rows)
        may_stay = (self.occurs_elsewhere | ~is_implied) & (self.sides * away >= 0)
        return np.where(leads, is_implied, may_stay)

    def _for_some(self, kept: NDArray[np.bool_]) -> ImpliedValues:
        names = ("followers", "implied", "occurs_elsewhere", "sides")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def _compared(
        self, rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """How far followers are from their implied values, whether they have them, and whether the
        leader has its own, (n, 1)."""
        away = rows[:, self.followers] - self.implied
        is_implied = np.abs(away) <= ROUNDING * np.abs(self.implied)
        return away, is_implied, rows[:, [self.leader]] == self.value

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ImpliedValues | None:
        """The rule for the followers whose value is implied in other responses, too.

        It no longer says of a follower what its values in these contradict, where the leader has
        another value.
        """
        kept = np.ones(len(self.followers), dtype=bool)
        elsewhere, sides = self.occurs_elsewhere, self.sides
        for block in blocks:
            away, is_implied, leads = self._compared(block)
            kept = kept & (is_implied | ~leads).all(axis=0)
            elsewhere = elsewhere | (is_implied & ~leads).any(axis=0)
            is_beyond = ((sides * away < 0) & ~leads).any(axis=0)
            sides = np.where(is_beyond, 0, sides)
        found = replace(self, occurs_elsewhere=elsewhere, sides=sides)
        return found._for_some(kept) if kept.any() else None

    def allows(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        low, high = low[self.followers], high[self.followers]
        return bool(((low <= self.implied) & (self.implied <= high)).all())

    def intervals(
        self, repeated: Sequence[RepeatedValues]
    ) -> dict[int, tuple[float, float, float]]:
        """Middle, lower and upper end of the intervals of the values that occur only together.

        The keys are their columns; there are none where fewer than two are frequent.
        """
        only = ~self.occurs_elsewhere
        values = dict(zip(self.followers[only].tolist(), self.implied[only].tolist(), strict=True))
        values[self.leader] = self.value
        found = {
            each.start: each.interval(values[each.start])
            for each in repeated
            if each.start in values and values[each.start] in each.values
        }
        return found if len(found) > 1 else {}

    def settling(self, repeated: Sequence[RepeatedValues]) -> AllOrNone | None:
        intervals = self.intervals(repeated)
        if not intervals:
            return None
        middle, lower, upper = np.array([*intervals.values()]).T
        return AllOrNone(np.array([*intervals]), middle, lower, upper, self.radius)

    def with_radius(
        self, drawn: Tensor, responses: NDArray[np.float64], repeated: Sequence[RepeatedValues]
    ) -> ImpliedValues:
        """The rule with the radius within which as many draws lie as responses have its values.

        Draws (m, q) are on the stretched axes. The radius is a quarter at least and four at most.
        """
        settling = self.settling(repeated)
        if settling is None:
            return self
        distances = settling.distances(drawn).amax(dim=1)
        share = float((responses[:, self.leader] == self.value).mean())
        return replace(self, radius=float(distances.quantile(share).clamp(0.25, 4.0)))

    def keep(self, values: Tensor) -> Tensor:
        implied = as_constant(self.implied, values.device).to(values)
        sides = as_constant(self.sides, values.device).to(values)
        columns = as_constant(self.followers, values.device)
        own = values.index_select(1, columns)
        own = torch.where(sides * (own - implied) < 0, 2 * implied - own, own)
        leads = values[:, self.leader : self.leader + 1] == self.value
        return values.index_copy(1, columns, torch.where(leads, implied, own))


def find_implied_values(
    rows: NDArray[np.float64], repeated: Sequence[RepeatedValues]
) -> tuple[ImpliedValues, ...]:
    """The values of outputs of responses (n, q) that imply values of other outputs.

    Leaders are outputs with `repeated` values, first those that take few. Followers are those that
    do not take few values: the combinations of those that do are known. Fewer than 20 responses
    are not asked.
    """
    if len(rows) < FEWEST_ROWS:
        return ()
    few = {each.start for each in repeated if each.are_all}
    follows = np.ptp(rows, axis=0) > 0
    follows[list(few)] = False
    leaders = sorted(repeated, key=lambda each: (not each.are_all, each.start))[:_MOST_LEADERS]
    found: list[ImpliedValues] = []
    for leader in leaders:
        if _is_implied(leader, found):
            continue
        for value in leader.values:
            rule = _implied_by(rows, leader.start, float(value), follows)
            if rule is not None:
                found.append(rule)
    return tuple(found)


def _implied_by(
    rows: NDArray[np.float64], leader: int, value: float, follows: NDArray[np.bool_]
) -> ImpliedValues | None:
    """What one value of an output implies in the columns that may follow it."""
    leads = rows[:, leader] == value
    led = rows[leads]
    if len(led) < _FEWEST_EQUAL:
        return None
    columns = np.flatnonzero(follows & (np.ptp(led, axis=0) == 0))
    columns = columns[columns != leader]
    others, implied = rows[np.ix_(~leads, columns)], led[0, columns]
    elsewhere = others == implied
    share = (len(led) + elsewhere.sum(axis=0)) / len(rows)  # of responses with the implied value
    n_expected = len(led) * (1 - share)  # others where the leader leads, were they independent
    log_chance = len(led) * np.log(share)  # of none
    depend = (n_expected >= _FEWEST_MISSING) & (log_chance <= np.log(_MOST_CHANCE))
    if not depend.any():
        return None
    above, below = (others > implied).all(axis=0), (others < implied).all(axis=0)
    sides = above.astype(np.float64) - below
    found = (columns, implied, elsewhere.any(axis=0), sides)
    return ImpliedValues(leader, value, *(each[depend] for each in found))


def _is_implied(repeated: RepeatedValues, rules: Sequence[ImpliedValues]) -> bool:
    """Whether an output has all its repeated values only where another output implies them."""
    known = [
        value
        for rule in rules
        for value in rule.implied[(rule.followers == repeated.start) & ~rule.occurs_elsewhere]
    ]
    return set(repeated.values.tolist()) <= set(known)

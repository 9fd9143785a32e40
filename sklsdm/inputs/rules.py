"""Rules that all responses follow exactly, and that draws keep.

Networks follow a rule such as "the last output is the sum of the others" nearly, never exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import row_hashes
from sklsdm.inputs.repeated import ROUNDING, RepeatedValues

EQUAL_SUMS = 1e-5  # relative difference up to which sums are equal; float32 adds up to less
UNSEEN = 0.01  # of an output's standard deviation, by which keeping a rule may move its values


class ResponseRule(ABC):
    """What all responses follow, or all but a share of them."""

    most_others: ClassVar[float] = 0.0  # share of responses that may not follow it

    @property
    @abstractmethod
    def text(self) -> str:
        """What the outputs of each response have, in words."""

    @abstractmethod
    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of responses (n, q) follow it, up to rounding."""

    def allows(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        """Whether draws that follow it lie between two ends (q,), or can be clipped to them."""
        return True

    def settle(self, places: Tensor, repeated: Sequence[RepeatedValues]) -> Tensor:
        """Draws (n, q) on the stretched axes of `repeated` values that lie inside the intervals of
        those values only that the rule allows together."""
        return places

    @abstractmethod
    def keep(self, values: Tensor) -> Tensor:
        """Draws (n, q) that follow it."""

    def holds_in(self, blocks: Iterable[NDArray[np.float64]]) -> bool:
        """Whether responses follow it, which come in blocks (n, q)."""
        others, n_rows = 0, 0
        for block in blocks:
            others += int((~self.followed_by(block)).sum())
            n_rows += len(block)
            if others and not self.most_others:
                return False
        return others <= self.most_others * n_rows

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ResponseRule | None:
        """What other responses leave of the rule: all of it, or none, where it has no parts."""
        return self if self.holds_in(blocks) else None

    def holds_for(self, rows: NDArray[np.float64]) -> bool:
        """Whether responses (n, q) follow it."""
        return self.holds_in([rows])


@dataclass(frozen=True)
class CommonTotal(ResponseRule):
    """One sum of the outputs of each response, none of which is negative.

    Draws of the outputs are clipped at 0 and divided by their sum, which keeps zeros. Parts that
    are 0 in no response are above 0 before (:class:`NaturalEnds`).
    """

    value: float

    @property
    def text(self) -> str:
        return f"the sum {self.value:g}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        equal = np.abs(rows.sum(axis=1) - self.value) <= EQUAL_SUMS * self.value
        return np.asarray(equal & (rows.min(axis=1) >= -EQUAL_SUMS * self.value))

    def allows(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        return bool((low <= 0).all() and (high >= self.value).all())

    def keep(self, values: Tensor) -> Tensor:
        clipped = values.clamp(min=0)
        found = clipped.sum(dim=1, keepdim=True)
        scale = self.value / torch.where(found > 0, found, 1.0)
        outputs = torch.arange(values.shape[1], device=values.device)
        is_largest = outputs == values.argmax(dim=1, keepdim=True)
        return torch.where(found > 0, clipped * scale, self.value * is_largest.to(values.dtype))


@dataclass(frozen=True)
class ConstantPixels(ResponseRule):
    """Pixels that are equal in all images, such as an empty margin or a matrix's diagonal of 1."""

    is_constant: NDArray[np.bool_]  # (q,)
    values: NDArray[np.float64]  # (q,), those of an image

    @property
    def text(self) -> str:
        return f"{self.is_constant.sum()} pixels that were equal in all images"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(~self._differ(rows).any(axis=1))

    def _differ(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        differ = np.abs(rows - self.values) > EQUAL_SUMS * np.abs(self.values)
        return np.asarray(differ & self.is_constant)

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ConstantPixels:
        """The rule for those of the pixels that are constant in other images, too."""
        left = self.is_constant.copy()
        for block in blocks:
            left &= ~self._differ(block).any(axis=0)
        return ConstantPixels(left, self.values)

    def keep(self, values: Tensor) -> Tensor:
        constants = torch.as_tensor(self.values).to(values)
        is_constant = torch.as_tensor(self.is_constant, device=values.device)
        return torch.where(is_constant, constants, values)


@dataclass(frozen=True)
class SameValues(ResponseRule):
    """The same values in each response, in another order: one-hot rows, rankings.

    Draws get these values, the largest where the draw is largest.
    """

    values: NDArray[np.float64]  # (q,), the largest first

    @property
    def text(self) -> str:
        shown = ", ".join(f"{value:g}" for value in self.values[:5])
        return f"the values {shown}{', ...' if len(self.values) > 5 else ''} in some order"

    @property
    def n_orders(self) -> int:
        """In how many orders the values can stand."""
        _, counts = np.unique(self.values, return_counts=True)
        return math.factorial(len(self.values)) // math.prod(map(math.factorial, counts.tolist()))

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((np.sort(rows, axis=1)[:, ::-1] == self.values).all(axis=1))

    def allows(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        return bool((low <= self.values[-1]).all() and (high >= self.values[0]).all())

    def keep(self, values: Tensor) -> Tensor:
        order = values.topk(values.shape[1], dim=1).indices
        wanted = torch.as_tensor(self.values.copy()).to(values).expand_as(values)
        return torch.zeros_like(values).scatter(1, order, wanted)


@dataclass(frozen=True)
class ImpliedValues(ResponseRule):
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

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        away, is_implied, leads = self._compared(rows)
        may_stay = (self.occurs_elsewhere | ~is_implied) & (self.sides * away >= 0)
        return np.asarray(np.where(leads, is_implied, may_stay).all(axis=1))

    def _compared(
        self, rows: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
        """How far followers are from their implied values, whether they have them, and whether the
        leader has its own, (n, 1)."""
        away = rows[:, self.followers] - self.implied
        is_implied = np.abs(away) <= ROUNDING * np.abs(self.implied)
        return away, is_implied, rows[:, [self.leader]] == self.value

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ImpliedValues:
        left = np.ones(len(self.followers), dtype=bool)
        elsewhere, sides = self.occurs_elsewhere.copy(), self.sides.copy()
        for block in blocks:
            away, is_implied, leads = self._compared(block)
            left &= (is_implied | ~leads).all(axis=0)
            elsewhere |= (is_implied & ~leads).any(axis=0)
            sides[((sides * away < 0) & ~leads).any(axis=0)] = 0
        return replace(
            self,
            followers=self.followers[left],
            implied=self.implied[left],
            occurs_elsewhere=elsewhere[left],
            sides=sides[left],
        )

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

    def settle(self, places: Tensor, repeated: Sequence[RepeatedValues]) -> Tensor:
        intervals = self.intervals(repeated)
        if not intervals:
            return places
        columns = torch.as_tensor([*intervals], device=places.device)
        own = places.index_select(1, columns)
        middle, lower, upper = _numbers(intervals, own)
        distances = _distances(own, middle, lower, upper)
        away = (own - middle).abs()
        upwards = ((own >= middle) | lower.isinf()) & upper.isfinite()
        beyond = torch.where(upwards, upper + away, lower - away)
        alone = torch.where(distances <= 1, beyond, own)
        together = distances.amax(dim=1, keepdim=True) <= self.radius
        return places.index_copy(1, columns, torch.where(together, middle, alone))

    def with_radius(
        self, drawn: Tensor, responses: NDArray[np.float64], repeated: Sequence[RepeatedValues]
    ) -> ImpliedValues:
        """The rule with the radius within which as many draws lie as responses have its values.

        Draws (m, q) are on the stretched axes. The radius is a quarter at least and four at most.
        """
        intervals = self.intervals(repeated)
        own = drawn[:, list(intervals)]
        distances = _distances(own, *_numbers(intervals, own)).amax(dim=1)
        share = float((responses[:, self.leader] == self.value).mean())
        return replace(self, radius=float(distances.quantile(share).clamp(0.25, 4.0)))

    def keep(self, values: Tensor) -> Tensor:
        implied, sides = (torch.as_tensor(part).to(values) for part in (self.implied, self.sides))
        columns = torch.as_tensor(self.followers, device=values.device)
        own = values.index_select(1, columns)
        own = torch.where(sides * (own - implied) < 0, 2 * implied - own, own)
        leads = values[:, self.leader : self.leader + 1] == self.value
        return values.index_copy(1, columns, torch.where(leads, implied, own))


def _numbers(intervals: dict[int, tuple[float, float, float]], like: Tensor) -> Tensor:
    """Middles, lower and upper ends (3, c) of intervals."""
    return torch.tensor([*intervals.values()], dtype=torch.float64).to(like).T


def _distances(places: Tensor, middle: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Distances (n, c) from the middles (c,) of intervals, in units of the way to their ends."""
    away = places - middle
    return torch.where(away >= 0, away / (upper - middle), away / (lower - middle))


@dataclass(frozen=True)
class NaturalEnds(ResponseRule):
    """Outputs that never pass an end: amounts are not negative, shares lie between 0 and 1.

    Draws beyond the outermost response are moved in between it and the end, without a change of
    their order: they near the end along a curve, and do not pile up there.
    """

    columns: NDArray[np.intp]  # (c,)
    ends: NDArray[np.float64]  # (c,)
    near: NDArray[np.float64]  # (c,), distances of the outermost responses from the ends
    side: int  # where responses lie: 1 above the ends, -1 below

    @property
    def text(self) -> str:
        where = "below" if self.side > 0 else "above"
        return f"no value {where} {self.ends.tolist()} in columns {self.columns.tolist()}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((self.side * (rows[:, self.columns] - self.ends) >= 0).all(axis=1))

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> NaturalEnds:
        left = np.ones(len(self.columns), dtype=bool)
        for block in blocks:
            left &= (self.side * (block[:, self.columns] - self.ends) >= 0).all(axis=0)
        return NaturalEnds(self.columns[left], self.ends[left], self.near[left], self.side)

    def keep(self, values: Tensor) -> Tensor:
        columns = torch.as_tensor(self.columns, device=values.device)
        ends, near = (torch.as_tensor(part).to(values) for part in (self.ends, self.near))
        own = values.index_select(1, columns)
        inwards = self.side * (own - ends)
        share = inwards / torch.where(near > 0, near, 1.0)
        moved = near / (2 - share.clamp(max=1))
        own = torch.where(inwards < near, ends + self.side * moved, own)
        return values.index_copy(1, columns, own)


@dataclass(frozen=True)
class WholeNumbers(ResponseRule):
    """Outputs that are whole numbers, too many to be drawn as values that repeat."""

    are_whole: NDArray[np.bool_]  # (q,)

    @property
    def text(self) -> str:
        return f"whole numbers in columns {np.flatnonzero(self.are_whole).tolist()}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(((rows == np.rint(rows)) | ~self.are_whole).all(axis=1))

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> WholeNumbers:
        left = self.are_whole.copy()
        for block in blocks:
            left &= (block == np.rint(block)).all(axis=0)
        return WholeNumbers(left)

    def keep(self, values: Tensor) -> Tensor:
        are_whole = torch.as_tensor(self.are_whole, device=values.device)
        return torch.where(are_whole, values.round(), values)


@dataclass(frozen=True)
class LinearRelations(ResponseRule):
    """Outputs that follow exactly from others, by a line: a total beside its parts, a balance.

    Draws of these outputs are computed from those of the others.
    """

    matrix: NDArray[np.float64]  # (q, q), which gives responses themselves
    offset: NDArray[np.float64]  # (q,)
    scale: NDArray[np.float64]  # (q,), standard deviations
    followers: NDArray[np.intp]  # columns that follow from others

    @property
    def text(self) -> str:
        return f"columns {self.followers.tolist()} as a linear function of the others"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        error = np.abs(rows @ self.matrix + self.offset - rows)
        rounding = EQUAL_SUMS * (np.abs(rows) @ np.abs(self.matrix) + np.abs(self.offset))
        return np.asarray(((error <= rounding) & (error <= UNSEEN * self.scale)).all(axis=1))

    def keep(self, values: Tensor) -> Tensor:
        matrix, offset = (torch.as_tensor(part).to(values) for part in (self.matrix, self.offset))
        return values @ matrix + offset


@dataclass(frozen=True)
class KnownCombinations(ResponseRule):
    """Outputs that take few of the combinations of their values: places, a shop and its town.

    Draws of these outputs that are no such combination become the nearest one, in units of their
    standard deviations. Where other outputs go with the combination, such as the sales of a shop,
    their distances from its mean count as well, in units of the standard deviation around it. A
    hundredth of the responses may have other combinations: those that are merely unlikely may not
    occur either, and so a draw of a known one stays.
    """

    columns: NDArray[np.intp]  # (c,)
    rows: NDArray[np.float64]  # (k, c), the combinations
    judged: NDArray[np.intp]  # (c + o,), these columns and those that go with them
    centres: NDArray[np.float64]  # (k, c + o), standardised
    mean: NDArray[np.float64]  # (c + o,)
    scale: NDArray[np.float64]  # (c + o,)
    most_others: ClassVar[float] = 0.01

    @property
    def text(self) -> str:
        return f"one of {len(self.rows)} combinations of values in columns {self.columns.tolist()}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        known = np.unique(row_hashes(self.rows))
        return np.isin(row_hashes(rows[:, self.columns] + 0.0), known)

    def keep(self, values: Tensor) -> Tensor:
        known, centres, mean, scale = (
            torch.as_tensor(part).to(values)
            for part in (self.rows, self.centres, self.mean, self.scale)
        )
        columns, judged = (
            torch.as_tensor(part, device=values.device) for part in (self.columns, self.judged)
        )
        each, is_known = _nearest_by_column(values.index_select(1, columns), known)
        places = (values.index_select(1, judged) - mean) / scale
        nearest = (places @ centres.T - centres.square().sum(dim=1) / 2).argmax(dim=1)
        found = torch.where(is_known[:, None], each, known[nearest])
        return values.index_copy(1, columns, found)


def _nearest_by_column(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n, c) as the nearest ones in their columns of `known` (k, c), and which rows occur.

    A row is known by the sum of a random number for each of its values, modulo 2^64: two different
    ones have equal sums with a probability of 2^-64.
    """
    random = np.random.default_rng(0)
    found = []
    sums = torch.zeros(len(values), dtype=torch.int64, device=values.device)
    known_sums = torch.zeros(len(known), dtype=torch.int64, device=values.device)
    for column, own in zip(values.unbind(dim=1), known.unbind(dim=1), strict=True):
        levels, kind = own.unique(return_inverse=True)
        place = torch.bucketize(column.contiguous(), (levels[1:] + levels[:-1]) / 2)
        numbers = random.integers(-(2**63), 2**63, size=len(levels))
        number = torch.from_numpy(numbers).to(values.device)
        sums, known_sums = sums + number[place], known_sums + number[kind]
        found.append(levels[place])
    return torch.stack(found, dim=1), torch.isin(sums, known_sums)

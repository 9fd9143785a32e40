"""Rules that all responses follow exactly, and that draws keep.

Networks follow a rule such as "the last output is the sum of the others" nearly, never exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import row_hashes
from sklsdm.inputs.repeated import RepeatedValues

EQUAL_SUMS = 1e-5  # relative difference up to which sums are equal; float32 adds up to less
_OFF_STEP = 0.01  # of a step, within which a part lies at a whole number of them
UNSEEN = 0.01  # of an output's standard deviation, by which keeping a rule may move its values


def as_constant(numbers: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Numbers of a rule on the device; the rules of an ONNX graph have tensors for them."""
    return numbers if isinstance(numbers, Tensor) else torch.tensor(numbers.copy(), device=device)


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

    def settling(self, repeated: Sequence[RepeatedValues]) -> Callable[[Tensor], Tensor] | None:
        """What moves draws (n, q) on the stretched axes of `repeated` values into the intervals of
        those values only that the rule allows together; None where it has no part in this."""
        return None

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
        """What other responses leave of the rule: all of it, or None where they break it."""
        return self if self.holds_in(blocks) else None

    def holds_for(self, rows: NDArray[np.float64]) -> bool:
        """Whether responses (n, q) follow it."""
        return self.holds_in([rows])


class RuleByOutput(ResponseRule):
    """A rule that some outputs follow each by itself, so that others may stop to follow it."""

    @abstractmethod
    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each of these outputs follows it, (n, c), in responses (n, q)."""

    @abstractmethod
    def _for_some(self, kept: NDArray[np.bool_]) -> ResponseRule:
        """The rule for some of these outputs, as marked (c,)."""

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(self._follow(rows).all(axis=1))

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ResponseRule | None:
        """The rule for the outputs that follow it in other responses, too; None if none do."""
        kept = np.asarray(np.all([self._follow(block).all(axis=0) for block in blocks], axis=0))
        return self._for_some(kept) if kept.any() else None


@dataclass(frozen=True)
class CommonTotal(ResponseRule):
    """One sum of the outputs of each response, none of which is negative.

    Draws of the outputs are clipped at 0 and divided by their sum, which keeps zeros. Parts that
    are 0 in no response are above 0 before (:class:`NaturalEnds`). Where all parts are whole
    numbers of equal steps, such as percents, those of draws become so by the largest remainders.
    Parts that were rounded each by itself, such as percents of one decimal with sums of 99.9 to
    100.1, are so in draws, too.
    """

    value: float
    n_steps: int = 0  # that the sum has; 0 where parts are no whole numbers of steps
    most_off: int = 0  # steps by which a sum may differ, where parts are rounded

    @property
    def text(self) -> str:
        return f"the sum {self.value:g}{', up to rounding,' if self.most_off else ''}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        off = self.most_off / max(self.n_steps, 1)
        equal = np.abs(rows.sum(axis=1) - self.value) <= (off + EQUAL_SUMS) * self.value
        return np.asarray(equal & (rows.min(axis=1) >= -EQUAL_SUMS * self.value))

    def allows(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
        return bool((low <= 0).all() and (high >= self.value).all())

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> CommonTotal | None:
        """The sum where other responses have it, with its steps if their parts are such."""
        n_steps = self.n_steps
        for block in blocks:
            if not self.holds_for(block):
                return None
            places = block * (self.n_steps / self.value)
            n_steps = n_steps if (np.abs(places - np.rint(places)) < _OFF_STEP).all() else 0
        if self.most_off and not n_steps:
            return None
        return CommonTotal(self.value, n_steps, self.most_off)

    def keep(self, values: Tensor) -> Tensor:
        clipped = values.clamp(min=0)
        found = clipped.sum(dim=1, keepdim=True)
        scale = self.value / torch.where(found > 0, found, 1.0)
        outputs = torch.arange(values.shape[1], device=values.device)
        is_largest = outputs == values.argmax(dim=1, keepdim=True)
        parts = torch.where(found > 0, clipped * scale, self.value * is_largest.to(values.dtype))
        return self._in_steps(parts) if self.n_steps else parts

    def _in_steps(self, parts: Tensor) -> Tensor:
        """Parts (n, q) as whole numbers of steps: those with the largest remainders rounded up."""
        places = parts * (self.n_steps / self.value)
        if self.most_off:
            return places.round() * (self.value / self.n_steps)
        whole = places.floor()
        n_up = self.n_steps - whole.sum(dim=1, keepdim=True)
        order = (places - whole).topk(parts.shape[1], dim=1).indices
        goes_up = (torch.arange(parts.shape[1], device=parts.device) < n_up).to(parts.dtype)
        whole = whole + torch.zeros_like(whole).scatter(1, order, goes_up)
        return whole * self.value / self.n_steps


@dataclass(frozen=True)
class ConstantPixels(RuleByOutput):
    """Pixels that are equal in all images, such as an empty margin or a matrix's diagonal of 1."""

    is_constant: NDArray[np.bool_]  # (q,)
    values: NDArray[np.float64]  # (q,), those of an image

    @property
    def text(self) -> str:
        return f"{self.is_constant.sum()} pixels that were equal in all images"

    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        values = self.values[self.is_constant]
        differs = np.abs(rows[:, self.is_constant] - values) > EQUAL_SUMS * np.abs(values)
        return np.asarray(~differs)

    def _for_some(self, kept: NDArray[np.bool_]) -> ConstantPixels:
        return ConstantPixels(_marked_again(self.is_constant, kept), self.values)

    def keep(self, values: Tensor) -> Tensor:
        constants = as_constant(self.values, values.device).to(values)
        is_constant = as_constant(self.is_constant, values.device)
        return torch.where(is_constant, constants, values)


def _marked_again(marks: NDArray[np.bool_], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The marks (q,) of those c marked outputs that are kept, as said by `kept` (c,)."""
    found = np.zeros(len(marks), dtype=bool)
    found[np.flatnonzero(marks)[kept]] = True
    return found


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
        wanted = as_constant(self.values, values.device).to(values).expand_as(values)
        return torch.zeros_like(values).scatter(1, order, wanted)


@dataclass(frozen=True)
class NaturalEnds(RuleByOutput):
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

    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(self.side * (rows[:, self.columns] - self.ends) >= 0)

    def _for_some(self, kept: NDArray[np.bool_]) -> NaturalEnds:
        return NaturalEnds(self.columns[kept], self.ends[kept], self.near[kept], self.side)

    def keep(self, values: Tensor) -> Tensor:
        columns = as_constant(self.columns, values.device)
        ends = as_constant(self.ends, values.device).to(values)
        near = as_constant(self.near, values.device).to(values)
        own = values.index_select(1, columns)
        inwards = self.side * (own - ends)
        share = inwards / torch.where(near > 0, near, 1.0)
        moved = near / (2 - share.clamp(max=1))
        own = torch.where(inwards < near, ends + self.side * moved, own)
        return values.index_copy(1, columns, own)


@dataclass(frozen=True)
class WholeNumbers(RuleByOutput):
    """Outputs that are whole numbers, too many to be drawn as values that repeat.

    Of images, all pixels of a channel are, or none.
    """

    are_whole: NDArray[np.bool_]  # (q,)
    n_channels: int = 0  # of images

    @property
    def text(self) -> str:
        return f"whole numbers in columns {np.flatnonzero(self.are_whole).tolist()}"

    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        own = rows[:, self.are_whole]
        return np.asarray(own == np.rint(own))

    def narrowed_to(self, blocks: Iterable[NDArray[np.float64]]) -> ResponseRule | None:
        """The rule for the outputs that follow it in other responses, too; None if none do."""
        found = super().narrowed_to(blocks)
        if not self.n_channels or not isinstance(found, WholeNumbers):
            return found
        by_channel = found.are_whole.reshape(self.n_channels, -1).all(axis=1)
        are_whole = by_channel.repeat(len(self.are_whole) // self.n_channels)
        return WholeNumbers(are_whole, self.n_channels) if are_whole.any() else None

    def _for_some(self, kept: NDArray[np.bool_]) -> WholeNumbers:
        return WholeNumbers(_marked_again(self.are_whole, kept), self.n_channels)

    def keep(self, values: Tensor) -> Tensor:
        are_whole = as_constant(self.are_whole, values.device)
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
        matrix = as_constant(self.matrix, values.device).to(values)
        return values @ matrix + as_constant(self.offset, values.device).to(values)


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
            as_constant(part, values.device).to(values)
            for part in (self.rows, self.centres, self.mean, self.scale)
        )
        columns, judged = (as_constant(part, values.device) for part in (self.columns, self.judged))
        each, is_known = _nearest_by_column(values.index_select(1, columns), known)
        places = (values.index_select(1, judged) - mean) / scale
        nearest = (places @ centres.T - centres.square().sum(dim=1) / 2).argmax(dim=1)
        found = torch.where(is_known[:, None], each, known[nearest])
        return values.index_copy(1, columns, found)


def _nearest_by_column(values: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n, c) as the nearest in the columns of `known` (k, c), and which rows occur there."""
    found = []
    is_row = torch.ones((len(values), len(known)), dtype=torch.bool, device=values.device)
    for column, own in zip(values.unbind(dim=1), known.unbind(dim=1), strict=True):
        levels = own.sort().values
        place = torch.bucketize(column.contiguous(), (levels[1:] + levels[:-1]) / 2)
        found.append(levels[place])
        is_row = is_row & (found[-1][:, None] == own)
    return torch.stack(found, dim=1), is_row.any(dim=1)

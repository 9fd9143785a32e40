"""Rules that all responses follow exactly, and that draws keep.

Networks follow a rule such as "the last output is the sum of the others" nearly, never exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import row_hashes
from sklsdm.inputs.repeated import FEWEST_ROWS, RepeatedValues

_ROUNDING = 1e-5  # relative, up to which sums are equal; float32 adds up to less
_UNSEEN = 0.01  # of an output's standard deviation, by which keeping a rule may move its values
_ROWS_PER_OUTPUT = 3  # from which on linear relations are no chance
_DEPENDENT = 1e-6  # of an output's standard deviation that others leave; less is rounding
_LARGEST = 5.0  # of a relation's coefficients, in standard deviations; larger ones blow errors up
_DIGITS = 6  # after the point, of coefficients that are round numbers
_UNKNOWN = 0.01  # share of responses that may have another combination of values than the known
_MOST_COMBINATIONS = 500
_ROWS_PER_COMBINATION = 5  # on average
_MISSING = 0.5  # of the share of missing combinations where one output determines another
_FLAGS_MISSING = 5  # responses, where all outputs have two values
_AROUND = 0.7  # of an output's spread that is left where it goes with a combination
_LEAST_AROUND = 0.01  # of its spread
_MOST_COMBINED = 64  # outputs of few values, of which each is tried beside each


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

    def holds_for(self, rows: NDArray[np.float64]) -> bool:
        """Whether responses (n, q) follow it."""
        return self.holds_in([rows])


@dataclass(frozen=True)
class CommonTotal(ResponseRule):
    """One sum of the outputs of each response, none of which is negative.

    Draws of the outputs are clipped at 0 and divided by their sum, which keeps zeros.
    """

    value: float

    @property
    def text(self) -> str:
        return f"the sum {self.value:g}"

    def followed_by(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        equal = np.abs(rows.sum(axis=1) - self.value) <= _ROUNDING * self.value
        return np.asarray(equal & (rows.min(axis=1) >= -_ROUNDING * self.value))

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
        differ = np.abs(rows - self.values) > _ROUNDING * np.abs(self.values)
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
        rounding = _ROUNDING * (np.abs(rows) @ np.abs(self.matrix) + np.abs(self.offset))
        return np.asarray(((error <= rounding) & (error <= _UNSEEN * self.scale)).all(axis=1))

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
    most_others: ClassVar[float] = _UNKNOWN

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


def find_rules(
    rows: NDArray[np.float64], repeated: Sequence[RepeatedValues]
) -> tuple[ResponseRule, ...]:
    """The rules that all responses (n, q) follow, in the order in which draws are to keep them.

    Outputs of few `repeated` values are drawn as these, and then no sum is kept: both cannot be.
    Nor is an output of few values computed from others unless it is a sum of them, since it could
    get a value that it never has. Fewer than 20 responses are not asked, nor are those of one
    output.
    """
    n_rows, n_outputs = rows.shape
    if n_rows < FEWEST_ROWS or n_outputs < 2:
        return ()
    with np.errstate(over="ignore", invalid="ignore"):
        std = rows.std(axis=0)
    if not (np.isfinite(std).all() and std.any()):
        return ()
    few = [each.column for each in repeated if each.are_all and each.column is not None]
    varies = _varies(rows, std)
    combined = _find_combinations(rows, std, [column for column in few if varies[column]])
    same = SameValues(np.sort(rows[0])[::-1])
    if same.holds_for(rows):
        n_known = math.prod(len(each.rows) for each in combined)
        covered = sum(len(each.columns) for each in combined) == n_outputs
        return tuple(combined) if covered and n_known < same.n_orders else (same,)
    total = None if few else _find_total(rows, std)
    if total is not None:
        return (total,)
    groups = [set(each.columns.tolist()) for each in combined]
    relations = _find_relations(rows, std, set(few), groups)
    return (*combined, *(() if relations is None else (relations,)))


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
    if len(count) > most or (count == 1).sum() > _UNKNOWN * n_rows:
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
    return std > _ROUNDING * np.abs(rows).max(axis=0)


def _find_total(rows: NDArray[np.float64], std: NDArray[np.float64]) -> CommonTotal | None:
    total = float(np.median(rows.sum(axis=1)))
    found = CommonTotal(total)
    if not 0 < total < np.inf or not found.holds_for(rows):
        return None
    # Where outputs are large and vary little, or are constant, equal sums are rounding: dividing by
    # them would move values that hardly vary.
    most = np.abs(rows.sum(axis=1) / total - 1).max()
    is_unseen = (most * np.abs(rows).max(axis=0) <= _UNSEEN * std).all()
    return found if is_unseen and (std[rows.max(axis=0) > 0] > 0).all() else None


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

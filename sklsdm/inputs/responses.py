"""Responses of any source (array, memmap, torch Dataset) as flat, standardised rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm._validation import warn_user
from sklsdm.blocks import row_blocks, row_hashes, row_slices, rows_per_block, spread_rows
from sklsdm.inputs.finding_rules import find_ends, find_rules
from sklsdm.inputs.repeated import (
    MOST_SEARCHED_OUTPUTS,
    RepeatedValues,
    find_in_both,
    find_in_images,
    stretch_columns,
)
from sklsdm.inputs.response_format import (
    ResponseFormat,
    count_channels,
    flat_rows,
    holds_bytes,
    some_rows,
)
from sklsdm.inputs.rules import (
    ConstantPixels,
    KnownCombinations,
    ResponseRule,
    RuleByOutput,
    SameValues,
    WholeNumbers,
)
from sklsdm.inputs.standardising import (
    ColumnMoments,
    Standardiser,
    column_moments,
    fit_standardiser,
)
from sklsdm.randomness import RowStream, row_stream

_ROUNDING = 1e-6  # relative, of a constant
_NEW_VALUES = 0.01  # share of responses with values that an earlier fit did not know
# From so many images on they are not looked at for repeated values, and no network soon knows each.
MANY_IMAGES = 5000
# From so many on a critic learns codes that are small images, and sharpens their decoder.
ENOUGH_IMAGES = 250
_SOME_PIXELS = 1 << 18  # of paired images, and of unpaired ones, that are looked at
_FEWEST_IMAGES = 16  # whose pixels are
_DARK = 10  # largest byte of images that hardly show brightness
_MOST_SEARCHED = 20_000  # paired responses, and unpaired ones, among which values may repeat
MAX_REFERENCE = 2000  # paired responses kept for `score`, which compares draws with them


def _is_mostly_one(column: NDArray[np.float64]) -> bool:
    """Whether two thirds of a column's values or more are equal."""
    return bool(3 * np.unique(column, return_counts=True)[1].max() >= 2 * len(column))


def _raw_blocks(parts: Sequence[Any]) -> Iterator[NDArray[np.float64]]:
    """All rows of the arrays in `parts`, flat and in their own units, block by block."""
    for part in parts:
        for rows in row_blocks(part):
            yield flat_rows(np.asarray(part[rows]))


def _n_looked_at(images: Any) -> int:
    """Images whose pixels are looked at."""
    return max(_FEWEST_IMAGES, _SOME_PIXELS // math.prod(images.shape[1:]))


def _warn_of_dark_bytes(images: Any) -> None:
    """Warn of uint8 images that hold small numbers, such as masks: they are divided by 255."""
    if not holds_bytes(images):
        return
    largest = int(np.max(images[spread_rows(len(images), _n_looked_at(images))]))
    if largest <= _DARK:
        warn_user(
            f"y holds uint8 images with no value above {largest}, which are read as brightness "
            f"and drawn as floats of {largest}/255 at most. If the values are labels or a mask, "
            f"pass y.astype(float): draws then keep them."
        )


def _rows_with_new_values(
    part: Any, repeated: Sequence[RepeatedValues], most: int
) -> NDArray[np.float64]:
    """Rows of an array in which an output of few values has another; `most` or a few more."""
    found: list[NDArray[np.float64]] = []
    for block in _raw_blocks([part]):
        is_new = [each.is_new(block[:, each.start]) for each in repeated if each.are_all]
        found.append(block[np.any(is_new, axis=0)])
        if sum(map(len, found)) >= most:
            break
    return np.concatenate(found)


class Responses:
    """All responses as flat standardised rows, paired ones first; they are read in blocks.

    They are standardised by their own means and standard deviations, or as `form` says. With
    `exact_values` their repeated values are drawn exactly.
    """

    def __init__(
        self,
        paired: NDArray[Any],
        unpaired: Any,
        y_range: Any = None,
        form: ResponseFormat | None = None,
        *,
        exact_values: bool = True,
    ) -> None:
        named = {"y": paired, "Y_unpaired": unpaired}
        named = {name: part for name, part in named.items() if part is not None and len(part)}
        self._parts = list(named.values())
        self.n_paired = len(paired)
        if form is None:
            form = self._learn_form(paired, y_range, exact_values)
        else:
            self._check_constants(form)
            form = self._with_rules_that_hold(form)
            self._warn_of_new_values(form)
        self.format = form
        for name, part in named.items():
            self.format.check_range(name, part)

    def _learn_form(self, paired: NDArray[Any], y_range: Any, exact_values: bool) -> ResponseFormat:
        is_image = paired.ndim >= 3
        are_unsigned = all(part.dtype.kind == "u" for part in self._parts)
        if y_range is None and are_unsigned and not holds_bytes(paired):
            y_range = (0.0, None)
        repeated: tuple[RepeatedValues, ...] = ()
        rules: tuple[ResponseRule, ...] = ()
        if exact_values and is_image:
            repeated = self._find_in_images(paired) if len(self) < MANY_IMAGES else ()
        elif exact_values and math.prod(paired.shape[1:]) <= MOST_SEARCHED_OUTPUTS:
            repeated, rules = self._find_in_table()
        blocks = (stretch_columns(repeated, block) for block in _raw_blocks(self._parts))
        moments = column_moments(blocks)
        standardiser = moments.standardiser(count_channels(paired))
        if exact_values and is_image:
            whole = self._whole_numbers(moments, repeated)
            ends = [e for rule in whole for e in find_ends(moments, len(self), repeated, (), rule)]
            constant = self._constant_pixels(moments, standardiser)
            rules = (*ends, *constant, *whole)
            _warn_of_dark_bytes(self._parts[0])
        elif exact_values:
            rules = (*find_ends(moments, len(self), repeated, rules), *rules)
        return ResponseFormat(paired, standardiser, y_range, repeated, rules)

    def _constant_pixels(
        self, moments: ColumnMoments, standardiser: Standardiser
    ) -> tuple[ResponseRule, ...]:
        """The pixels that are equal in all images, unless all of a channel are."""
        is_constant = moments.are_constant & ~standardiser.constant
        if not is_constant.any():
            return ()
        return (ConstantPixels(is_constant, flat_rows(self._parts[0][:1])[0]),)

    def _whole_numbers(
        self, moments: ColumnMoments, repeated: Sequence[RepeatedValues]
    ) -> tuple[WholeNumbers, ...]:
        """The channels of images that hold whole numbers, such as counts; not those of few."""
        n_channels = count_channels(self._parts[0])
        varies = ~moments.are_constant.reshape(n_channels, -1).all(axis=1)
        asked = varies.repeat(len(moments.low) // n_channels)
        for each in repeated:
            asked[each.columns] &= not each.are_all
        rule: ResponseRule | None = WholeNumbers(asked, n_channels) if asked.any() else None
        some = flat_rows(self._parts[0][:_FEWEST_IMAGES])
        for blocks in ([some], _raw_blocks(self._parts)):
            rule = None if rule is None else rule.narrowed_to(blocks)
        return (rule,) if isinstance(rule, WholeNumbers) else ()

    def _find_in_images(self, paired: NDArray[Any]) -> tuple[RepeatedValues, ...]:
        """The repeated values of some images; of each channel, where these are of unlike scales."""
        n_images, n_channels = _n_looked_at(paired), count_channels(paired)
        some = np.concatenate([some_rows(part, n_images) for part in self._parts])
        means = fit_standardiser(iter([some]), n_channels=n_channels).mean
        return find_in_images(some, 1 if len(means) == 1 else n_channels)

    def _find_in_table(self) -> tuple[tuple[RepeatedValues, ...], tuple[ResponseRule, ...]]:
        """The repeated values of a sample of rows, and the rules that all rows follow.

        The sample has all of few values. Where rows have the same values in another order, these
        are drawn in an order, and no output has repeated values of its own. Nor have those whose
        combinations are known, unless two thirds of the responses or more have one value.
        """
        samples = [some_rows(part, _MOST_SEARCHED) for part in self._parts]
        n_rows = sum(map(len, samples))
        found = find_in_both(*self._paired_and_others(samples))
        if n_rows < len(self) and any(each.are_all for each in found):
            new = (_rows_with_new_values(part, found, _MOST_SEARCHED) for part in self._parts)
            samples = [np.concatenate(rows) for rows in zip(samples, new, strict=True)]
            found = find_in_both(*self._paired_and_others(samples))
        candidates = find_rules(np.concatenate(samples), found)
        narrowed = (rule.narrowed_to(_raw_blocks(self._parts)) for rule in candidates)
        rules = tuple(rule for rule in narrowed if rule is not None)
        if any(isinstance(rule, SameValues) for rule in rules):
            return (), rules
        combined = [r.columns for r in rules if isinstance(r, KnownCombinations)]
        known = set(np.concatenate(combined).tolist()) if combined else set()
        rows = np.concatenate(samples)
        kept = tuple(e for e in found if e.start not in known or _is_mostly_one(rows[:, e.start]))
        return kept, rules

    def _paired_and_others(
        self, parts: list[NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows of the paired responses and of the unpaired ones, either of which may be none."""
        n_paired = len(parts[0]) if self.n_paired else 0
        rows = np.concatenate(parts)
        return rows[:n_paired], rows[n_paired:]

    def _check_constants(self, form: ResponseFormat) -> None:
        """Raise if outputs vary that were constant when the format was learnt."""
        mean, constant = form.standardiser.mean, form.standardiser.constant
        if not constant.any():
            return
        for block in _raw_blocks(self._parts):
            moved = constant & (np.abs(block - mean) > _ROUNDING * np.abs(mean))
            if moved.any():
                columns = np.flatnonzero(moved.any(axis=0))[:10].tolist()
                raise ValueError(
                    f"Columns {columns} of the responses were constant in the fit that this one "
                    f"goes on from, and vary now: draws would repeat the constant. Fit anew with "
                    f"warm_start=False."
                )

    def _with_rules_that_hold(self, form: ResponseFormat) -> ResponseFormat:
        """The format with its rules narrowed; raises if one of all outputs together is broken.

        Images that go on may reach a margin that was empty in the first ones.
        """
        rules: list[ResponseRule] = []
        for rule in form.rules:
            narrowed = rule.narrowed_to(_raw_blocks(self._parts))
            if narrowed is not None:
                rules.append(narrowed)
            elif not isinstance(rule, RuleByOutput):
                raise ValueError(
                    f"Each response had {rule.text} in the fit that this one goes on from, and "
                    f"this does not hold now: draws would keep it. Fit anew with "
                    f"warm_start=False, or pass exact_values=False from the first fit on."
                )
        return form.with_rules(tuple(rules))

    def _warn_of_new_values(self, form: ResponseFormat) -> None:
        """Warn if an output that is drawn as one of few values takes others now."""
        few = [each for each in form.repeated if each.are_all and each.is_of_output]
        blocks = _raw_blocks(self._parts) if few else iter(())
        new = sum(
            np.array([each.is_new(block[:, each.start]).sum() for each in few]) for block in blocks
        )
        for each, count in zip(few, np.atleast_1d(new), strict=False):
            if count > _NEW_VALUES * len(self):
                warn_user(
                    f"Column {each.start} of the responses took few values in the fit that this "
                    f"one goes on from, {each.values[0]:g} to {each.values[-1]:g}, and {count} of "
                    f"{len(self)} are others now: draws still take only the known ones. Fit anew "
                    f"with warm_start=False, or pass exact_values=False from the first fit on."
                )

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    @property
    def width(self) -> int:
        """Number of outputs of one flattened response."""
        return self.format.width

    def some_paired(self, seed: int) -> NDArray[Any]:
        """Up to 2,000 paired responses (fewer if they are large), chosen at random, as given."""
        paired = self._parts[0]
        order = row_stream(seed, RowStream.REFERENCE).permutation(len(paired))
        chosen = np.sort(order[: self._most_kept])
        return np.array(paired[chosen])

    @property
    def _most_kept(self) -> int:
        """Responses that are held in memory at once: 2,000, or fewer if they are large."""
        return min(MAX_REFERENCE, 4 * rows_per_block(self.width))

    def some_of_both(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Paired and unpaired responses (n, q) and (N, q), or some of them, in their own units.

        All pixels of images are one column.
        """
        width = 1 if self.format.is_image else self.width
        paired, unpaired = (some_rows(part, self._most_kept) for part in self._parts)
        return paired.reshape(-1, width), unpaired.reshape(-1, width)

    def paired_std(self) -> NDArray[np.float64]:
        """Standard deviations (width,) of the paired responses; 1 for a constant output.

        All pixels of images share one, or all of a channel (:func:`fit_standardiser`).
        """
        blocks = _raw_blocks(self._parts[:1])
        scale = fit_standardiser(blocks, n_channels=count_channels(self._parts[0])).scale
        return np.broadcast_to(np.where(scale > 0, scale, 1.0), (self.width,)).copy()

    def blocks(self) -> Iterator[Tensor]:
        """All rows in order, in blocks of bounded size, on the CPU."""
        for block in _raw_blocks(self._parts):
            yield torch.from_numpy(self.format.standardise(block))

    def take(self, rows: NDArray[np.intp]) -> Tensor:
        """The rows at the given indices, in that order, on the CPU."""
        found = np.empty((len(rows), self.width), dtype=np.float32)
        offset = 0
        for part in self._parts:
            here = np.flatnonzero((rows >= offset) & (rows < offset + len(part)))
            order = here[np.argsort(rows[here], kind="stable")]
            for block in row_slices(len(order), self.width):
                chosen = order[block]
                found[chosen] = self.format.flatten(np.asarray(part[rows[chosen] - offset]))
            offset += len(part)
        return torch.from_numpy(found)

    def are_all_paired(self) -> bool:
        """Whether there are unpaired responses, all of which are copies of paired ones."""
        n_unpaired = len(self) - self.n_paired
        if not 0 < n_unpaired <= self.n_paired:
            return False
        known, left = np.unique(self.paired_hashes(), return_counts=True)
        kinds, count = np.unique(self._unpaired_hashes, return_counts=True)
        place = np.searchsorted(known, kinds).clip(max=len(known) - 1)
        return bool(((known[place] == kinds) & (count <= left[place])).all())

    def paired_hashes(self) -> NDArray[np.uint64]:
        """Hashes (n,) of the standardised paired responses (:func:`sklsdm.blocks.row_hashes`)."""
        return self._hashes(self._parts[:1])

    @cached_property
    def _unpaired_hashes(self) -> NDArray[np.uint64]:
        """Hashes (N,) of the unpaired ones: computed once, since each fold looks for copies."""
        return self._hashes(self._parts[1:])

    def _hashes(self, parts: Any) -> NDArray[np.uint64]:
        blocks = (row_hashes(self.format.standardise(block)) for block in _raw_blocks(parts))
        return np.concatenate([np.empty(0, np.uint64), *blocks])

    def unpaired_copies(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Indices of unpaired responses that equal standardised rows with these hashes.

        A hash given k times matches at most k of them. Users with all responses in one table pass
        the paired ones among the unpaired ones as well. The caller finds the copies of held-out
        responses here, to keep them out of training.
        """
        if len(hashes) == 0 or len(self) == self.n_paired:
            return np.arange(0)
        wanted, left = np.unique(hashes, return_counts=True)
        places = np.flatnonzero(np.isin(self._unpaired_hashes, wanted))
        kind = np.searchsorted(wanted, self._unpaired_hashes[places])
        order = np.argsort(kind, kind="stable")
        first = np.searchsorted(kind[order], kind[order], side="left")
        is_copy = np.arange(len(order)) - first < left[kind[order]]
        return self.n_paired + np.sort(places[order[is_copy]])

"""Responses of any shape and source (array, memmap, torch Dataset) as flat, standardised rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm._validation import warn_user
from sklsdm.blocks import row_blocks, row_hashes, row_slices, rows_per_block, spread_rows
from sklsdm.inputs.repeated import (
    MOST_SEARCHED_OUTPUTS,
    RepeatedValues,
    find_in_both,
    find_in_images,
    restore_columns,
    stretch_columns,
)
from sklsdm.inputs.rules import KnownCombinations, Rule, SameValues, find_rules
from sklsdm.inputs.standardising import Standardiser, fit_standardiser
from sklsdm.randomness import RowStream, row_stream

_FAR = 1e3  # standard deviations from the mean, within which draws lie
_ROUNDING = 1e-6  # relative, of a constant
_NEW_VALUES = 0.01  # share of responses with values that an earlier fit did not know
# From so many images on they are not looked at for repeated values, and no network soon knows each.
MANY_IMAGES = 5000
# From so many on a critic learns codes that are small images, and sharpens their decoder.
ENOUGH_IMAGES = 250
_SOME_PIXELS = 1 << 18  # of paired images, and of unpaired ones, that are looked at
_FEWEST_IMAGES = 16  # whose pixels are
_MOST_SEARCHED = 20_000  # paired responses, and unpaired ones, among which values may repeat
MAX_REFERENCE = 2000  # paired responses kept for `score`, which compares draws with them


class ResponseFormat:
    """Shape, dtype, range and standardisation of the responses, and the way back for draws.

    Columns that have `repeated` values are standardised on their stretched axes. Draws keep the
    `rules` that all responses follow, one after the other.
    """

    def __init__(
        self,
        y: NDArray[Any],
        standardiser: Standardiser,
        y_range: Any = None,
        repeated: tuple[RepeatedValues, ...] = (),
        rules: tuple[Rule, ...] = (),
    ) -> None:
        self.shape = tuple(int(side) for side in y.shape[1:])
        self.is_image = y.ndim >= 3
        self.is_bytes = holds_bytes(y)
        float_like = y.dtype in (np.dtype(np.float32), np.dtype(np.float16)) or self.is_bytes
        farthest = np.abs(standardiser.mean) + _FAR * standardiser.scale
        fits = farthest.max() < float(np.finfo(np.float32).max)
        self.dtype = np.dtype(np.float32 if float_like and fits else np.float64)
        self.standardiser = standardiser
        self.repeated = repeated
        self.range = range_ends((0.0, 1.0), y) if self.is_bytes else None
        if y_range is not None:
            given = range_ends(y_range, y)
            if self.range is not None and not _same_range(given, self.range):
                raise ValueError(
                    f"y_range must be None for uint8 images, which are drawn as floats in [0, 1], "
                    f"got {y_range!r}."
                )
            self.range = given
        self.rules = tuple(r for r in rules if self.range is None or r.allows(*self.range))

    @property
    def width(self) -> int:
        """Number of outputs of one flattened response."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(c, h, w) of one image; c is 1 if the images have shape (n, h, w)."""
        return self.shape if len(self.shape) == 3 else (1, *self.shape)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"repeated": (), "rules": ()} | state)  # unknown to version 0.1.0

    def flatten(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Raw responses (n, *shape) as standardised rows (n, width)."""
        return self.standardise(flat_rows(raw))

    def standardise(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardised rows (n, width) of flat rows in their own units."""
        return self.standardiser.forward(stretch_columns(self.repeated, rows))

    def restore(self, rows: Tensor) -> Tensor:
        """Standardised rows (n, width) in the responses' own units, flat.

        They are clipped to the range, and keep the rules.
        """
        if rows.device.type == "mps":  # MPS has no float64
            rows = rows.cpu()
        exact = rows.double() if self.dtype == np.float64 else rows
        mean, scale = self.standardiser.tensors(exact)
        values = self._clipped(restore_columns(self.repeated, (exact * scale).add_(mean)))
        for rule in self.rules:
            values = self._clipped(rule.keep(values))
        return values

    def _clipped(self, values: Tensor) -> Tensor:
        """Flat rows (n, width) in their own units, clipped to the range in place."""
        if self.range is None:
            return values
        if all((end == end[0]).all() for end in self.range):  # many times faster than by column
            low, high = (float(end[0]) for end in self.range)
            return values.clamp_(low, high)
        by_column = (torch.as_tensor(end).to(values) for end in self.range)
        return torch.clamp(values, *by_column)

    def inside(self, rows: Tensor) -> Tensor:
        """Standardised rows clipped to the range, if there is one."""
        return self.clipping(rows.device)(rows)

    def clipping(self, device: torch.device, leak: float = 0.0) -> Callable[[Tensor], Tensor]:
        """`inside` for many calls: the ends of the range are brought to the device once.

        A value outside keeps the share `leak` of its distance to the range. In training this
        leaves a gradient, which a clipped value does not have.
        """
        if self.range is None:
            return lambda rows: rows
        low, high = (
            torch.from_numpy(self.standardise(np.broadcast_to(end, (1, self.width)))).to(device)
            for end in self.range
        )
        return lambda rows: torch.lerp(rows.clamp(low, high), rows, leak)

    def check_range(self, name: str, raw: Any) -> None:
        """Raise if responses lie outside the range; they are read block by block."""
        if self.range is None or self.is_bytes:
            return
        count, first, example = 0, -1, 0.0
        for rows in row_blocks(raw):
            block = np.asarray(raw[rows]).reshape(rows.stop - rows.start, -1)
            kind = block.dtype if block.dtype.kind == "f" else np.dtype(np.float64)
            low, high = (end.astype(kind) for end in self.range)  # .1 as y rounds it
            outside = (block < low) | (block > high)
            if outside.any() and count == 0:
                row, column = np.argwhere(outside)[0]
                first, example = rows.start + row, block[row, column]
            count += int(outside.sum())
        if count:
            raise ValueError(
                f"{name} holds {count} value{'s' if count > 1 else ''} outside y_range, first "
                f"{example:g} in row {first}; correct the data or widen y_range."
            )


def range_ends(y_range: Any, y: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of `y_range` for each output of a flat row; None becomes infinite."""
    if isinstance(y_range, str) or not hasattr(y_range, "__len__") or len(y_range) != 2:
        raise TypeError(
            f"y_range must be None or a pair (low, high) of numbers, arrays or None, got "
            f"{y_range!r}."
        )
    ends = []
    for name, end, open_end in zip(("low", "high"), y_range, (-np.inf, np.inf), strict=True):
        try:
            values = np.asarray(open_end if end is None else end, dtype=np.float64)
            ends.append(np.array(np.broadcast_to(values, y.shape[1:])).ravel())
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"The {name} end of y_range must be a number, None, or an array that fits one "
                f"response of shape {y.shape[1:]}, got {end!r}."
            ) from error
    if not (ends[0] < ends[1]).all():
        raise ValueError(f"y_range must have low < high for every output, got {y_range!r}.")
    return ends[0], ends[1]


def _same_range(first: Any, second: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def flat_rows(raw: NDArray[Any]) -> NDArray[np.float64]:
    """Raw responses as float64 rows; uint8 images are scaled by 1/255 (:func:`holds_bytes`)."""
    rows = np.asarray(raw).reshape(len(raw), math.prod(raw.shape[1:])).astype(np.float64)
    return rows / 255.0 if holds_bytes(raw) else rows


def holds_bytes(array: NDArray[Any]) -> bool:
    """Whether an array holds images as bytes, which are drawn as floats in [0, 1]."""
    return array.ndim >= 3 and array.dtype == np.uint8


def some_rows(part: Any, count: int) -> NDArray[np.float64]:
    """So many rows of an array, or all, spread over it, flat and in their own units."""
    some = slice(None) if len(part) <= count else spread_rows(len(part), count)
    return flat_rows(np.asarray(part[some]))


def _raw_blocks(parts: Sequence[Any]) -> Iterator[NDArray[np.float64]]:
    """All rows of the arrays in `parts`, flat and in their own units, block by block."""
    for part in parts:
        for rows in row_blocks(part):
            yield flat_rows(np.asarray(part[rows]))


def _rows_with_new_values(
    part: Any, repeated: Sequence[RepeatedValues], most: int
) -> NDArray[np.float64]:
    """Rows of an array in which an output of few values has another; `most` or a few more."""
    found: list[NDArray[np.float64]] = []
    for block in _raw_blocks([part]):
        is_new = [each.is_new(block[:, each.column]) for each in repeated if each.are_all]
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
            self._check_rule(form)
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
        rules: tuple[Rule, ...] = ()
        if exact_values and not is_image and math.prod(paired.shape[1:]) <= MOST_SEARCHED_OUTPUTS:
            repeated, rules = self._find_exact()
        elif exact_values and is_image and len(self) < MANY_IMAGES:
            n_images = max(_FEWEST_IMAGES, _SOME_PIXELS // math.prod(paired.shape[1:]))
            some = [some_rows(part, n_images).ravel() for part in self._parts]
            repeated = find_in_images(np.concatenate(some))
        blocks = (stretch_columns(repeated, block) for block in _raw_blocks(self._parts))
        standardiser = fit_standardiser(blocks, shared=is_image)
        return ResponseFormat(paired, standardiser, y_range, repeated, rules)

    def _find_exact(self) -> tuple[tuple[RepeatedValues, ...], tuple[Rule, ...]]:
        """The repeated values of a sample of rows, and the rules that all rows follow.

        The sample has all of few values. Where rows have the same values in another order, these
        are drawn in an order, and no output has repeated values of its own. Nor have those whose
        combinations are known, unless a value is so frequent that its interval is widened.
        """
        samples = [some_rows(part, _MOST_SEARCHED) for part in self._parts]
        n_rows = sum(map(len, samples))
        found = find_in_both(*self._paired_and_others(samples))
        if n_rows < len(self) and any(each.are_all for each in found):
            new = (_rows_with_new_values(part, found, _MOST_SEARCHED) for part in self._parts)
            samples = [np.concatenate(rows) for rows in zip(samples, new, strict=True)]
            found = find_in_both(*self._paired_and_others(samples))
        rules = tuple(
            rule
            for rule in find_rules(np.concatenate(samples), found)
            if all(map(rule.holds_for, _raw_blocks(self._parts)))
        )
        if any(isinstance(rule, SameValues) for rule in rules):
            return (), rules
        combined = [r.columns for r in rules if isinstance(r, KnownCombinations)]
        known = set(np.concatenate(combined).tolist()) if combined else set()
        return tuple(e for e in found if e.column not in known or e.is_widened), rules

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

    def _check_rule(self, form: ResponseFormat) -> None:
        """Raise if responses followed a rule when the format was learnt, and do not now."""
        for rule in form.rules:
            if not all(map(rule.holds_for, _raw_blocks(self._parts))):
                raise ValueError(
                    f"Each response had {rule.text} in the fit that this one goes on from, and "
                    f"this does not hold now: draws would keep it. Fit anew with "
                    f"warm_start=False, or pass exact_values=False from the first fit on."
                )

    def _warn_of_new_values(self, form: ResponseFormat) -> None:
        """Warn if an output that is drawn as one of few values takes others now."""
        few = [each for each in form.repeated if each.are_all and each.column is not None]
        blocks = _raw_blocks(self._parts) if few else iter(())
        new = sum(
            np.array([each.is_new(block[:, each.column]).sum() for each in few]) for block in blocks
        )
        for each, count in zip(few, np.atleast_1d(new), strict=False):
            if count > _NEW_VALUES * len(self):
                warn_user(
                    f"Column {each.column} of the responses took few values in the fit that this "
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
        most = min(MAX_REFERENCE, 4 * rows_per_block(self.width))
        order = row_stream(seed, RowStream.REFERENCE).permutation(len(paired))
        chosen = np.sort(order[:most])
        return np.array(paired[chosen])

    def some_of_both(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Paired and unpaired responses (n, q) and (N, q), or some of them, in their own units.

        All pixels of images are one column.
        """
        width = 1 if self.format.is_image else self.width
        paired, unpaired = (some_rows(part, MAX_REFERENCE) for part in self._parts)
        return paired.reshape(-1, width), unpaired.reshape(-1, width)

    def paired_std(self) -> NDArray[np.float64]:
        """Standard deviations (width,) of the paired responses; 1 for a constant output.

        All pixels of images share one.
        """
        blocks = _raw_blocks(self._parts[:1])
        scale = fit_standardiser(blocks, shared=self.format.is_image).scale
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
        hashes = np.concatenate([row_hashes(block.numpy()) for block in self.blocks()])
        known, left = np.unique(hashes[: self.n_paired], return_counts=True)
        kinds, count = np.unique(hashes[self.n_paired :], return_counts=True)
        place = np.searchsorted(known, kinds).clip(max=len(known) - 1)
        return bool(((known[place] == kinds) & (count <= left[place])).all())

    def unpaired_copies(self, rows: NDArray[np.float32]) -> NDArray[np.intp]:
        """Indices of unpaired responses that equal one of the given standardised rows.

        A row given k times matches at most k of them. Users with all responses in one table pass
        the paired ones among the unpaired ones as well. The caller finds the copies of held-out
        responses here, to keep them out of training.
        """
        if len(rows) == 0 or len(self) == self.n_paired:
            return np.arange(0)
        wanted, left = np.unique(row_hashes(rows), return_counts=True)
        found, offset = [], 0
        for block in self.blocks():
            place = offset + np.flatnonzero(np.isin(row_hashes(block.numpy()), wanted))
            found.append(place[place >= self.n_paired])
            offset += len(block)
        places = np.concatenate(found)
        if len(places) == 0:
            return places
        kind = np.searchsorted(wanted, row_hashes(self.take(places).numpy()))
        order = np.argsort(kind, kind="stable")
        first = np.searchsorted(kind[order], kind[order], side="left")
        return np.sort(places[order[np.arange(len(order)) - first < left[kind[order]]]])

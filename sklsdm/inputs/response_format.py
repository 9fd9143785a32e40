"""Shape, units and rules of the responses, and arrays of them as flat rows of numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Set
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import row_blocks, spread_rows
from sklsdm.inputs.repeated import RepeatedValues, restore_columns, stretch_columns
from sklsdm.inputs.rules import ResponseRule
from sklsdm.inputs.standardising import Standardiser

_FAR = 1e3  # standard deviations from the mean, within which draws lie


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
        rules: tuple[ResponseRule, ...] = (),
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

    def with_rules(self, rules: tuple[ResponseRule, ...]) -> ResponseFormat:
        """The same format with other rules."""
        found = copy.copy(self)
        found.rules = rules
        return found

    def with_repeated(self, repeated: tuple[RepeatedValues, ...]) -> ResponseFormat:
        """The same format with other repeated values."""
        found = copy.copy(self)
        found.repeated = repeated
        return found

    def without_exact_values(self) -> ResponseFormat:
        """The format that restores rows on stretched axes, unrounded and unclipped."""
        found = self.with_rules(()).with_repeated(())
        found.range = None
        return found

    def flatten(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Raw responses (n, *shape) as standardised rows (n, width)."""
        return self.standardise(flat_rows(raw))

    def flat_blocks(self, raw: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        """What :meth:`flatten` gives, in blocks of bounded size."""
        return (self.flatten(np.asarray(raw[rows])) for rows in row_blocks(raw))

    def standardise(self, rows: NDArray[np.float64]) -> NDArray[np.float32]:
        """Standardised rows (n, width) of flat rows in their own units."""
        return self.standardiser.forward(stretch_columns(self.repeated, rows))

    def restore(self, rows: Tensor) -> Tensor:
        """Standardised rows (n, width) as :meth:`exact_values`."""
        if rows.device.type == "mps":  # MPS has no float64
            rows = rows.cpu()
        exact = rows.double() if self.dtype == np.float64 else rows
        mean, scale = self.standardiser.tensors(exact)
        return self.exact_values((exact * scale).add_(mean))

    def exact_values(self, places: Tensor) -> Tensor:
        """Flat rows (n, width) on the stretched axes in the responses' own units.

        They take repeated values, are clipped to the range, and keep the rules.
        """
        restore = partial(restore_columns, self.repeated)
        settlings = settlings_of(self.rules, self.repeated)
        return take_exact_values(places, settlings, restore, self.rules, self._clipped)

    def _clipped(self, values: Tensor) -> Tensor:
        """Flat rows (n, width) in their own units, clipped to the range in place."""
        if self.range is None:
            return values
        if all((end == end[0]).all() for end in self.range):  # many times faster than by column
            low, high = (float(end[0]) for end in self.range)
            return values.clamp_(low, high)
        by_column = (torch.tensor(end).to(values) for end in self.range)
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

    def check_bytes(self, name: str, raw: NDArray[Any]) -> None:
        """Raise if images are on another scale than those of fit (:func:`check_bytes`)."""
        check_bytes(name, raw, self.is_bytes)

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
    is_pair = hasattr(y_range, "__len__") and not isinstance(y_range, str | Mapping | Set)
    if not is_pair or len(y_range) != 2:
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


def settlings_of(
    rules: tuple[ResponseRule, ...], repeated: tuple[RepeatedValues, ...]
) -> tuple[Callable[[Tensor], Tensor], ...]:
    """What rules do to draws on the stretched axes of repeated values."""
    found = (rule.settling(repeated) for rule in rules)
    return tuple(each for each in found if each is not None)


def take_exact_values(
    places: Tensor,
    settlings: tuple[Callable[[Tensor], Tensor], ...],
    restore: Callable[[Tensor], Tensor],
    rules: tuple[ResponseRule, ...],
    clip: Callable[[Tensor], Tensor],
) -> Tensor:
    """Flat rows (n, width) on stretched axes as draws: the order in which all is applied.

    `restore` leads back from the stretched axes, and `clip` into the range. Rules settle what
    repeated values decide before these are taken, and are kept afterwards.
    """
    for settle in settlings:
        places = settle(places)
    values = clip(restore(places))
    for rule in rules:
        values = clip(rule.keep(values))
    return values


def flat_rows(raw: NDArray[Any]) -> NDArray[np.float64]:
    """Raw responses as float64 rows; uint8 images are scaled by 1/255 (:func:`holds_bytes`)."""
    rows = np.asarray(raw).reshape(len(raw), math.prod(raw.shape[1:])).astype(np.float64, order="C")
    return rows / 255.0 if holds_bytes(raw) else rows


def holds_bytes(array: NDArray[Any]) -> bool:
    """Whether an array holds images as bytes, which are drawn as floats in [0, 1]."""
    return array.ndim >= 3 and array.dtype == np.uint8


def count_channels(array: Any) -> int:
    """The number of channels of images (n, h, w) or (n, c, h, w); 0 for rows of numbers."""
    return int(array.shape[1]) if array.ndim == 4 else int(array.ndim == 3)


def check_bytes(name: str, array: NDArray[Any], were_bytes: bool) -> None:
    """Raise if images are bytes, divided by 255 when read, unless those of fit were, or else floats
    outside [0, 1] where those of fit were bytes."""
    if array.ndim < 3:
        return
    if array.dtype == np.uint8 and not were_bytes:
        raise ValueError(
            f"{name} must hold floats as in fit, got uint8 images, whose values would be divided "
            f"by 255: pass {name}.astype(float), or {name} / 255 if the images of fit lay in "
            f"[0, 1]."
        )
    if were_bytes and array.dtype != np.uint8 and not (0 <= array.min() <= array.max() <= 1):
        raise ValueError(
            f"{name} must be uint8 images as in fit, or floats in [0, 1], got {array.dtype} with "
            f"values from {array.min():g} to {array.max():g}."
        )


def some_rows(part: Any, count: int) -> NDArray[np.float64]:
    """So many rows of an array, or all, spread over it, flat and in their own units."""
    some = slice(None) if len(part) <= count else spread_rows(len(part), count)
    return flat_rows(np.asarray(part[some]))

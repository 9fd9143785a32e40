"""What the metrics share: checks of their arguments, and scoring in blocks of rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from sklsdm._validation import check_flag, check_numeric, shape_text
from sklsdm.blocks import row_blocks

Array = NDArray[Any]


def as_real(name: str, value: ArrayLike) -> Array:
    """``value`` as a finite array of float32 or float64, copied only where it must be."""
    array = check_numeric(name, value)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return array
    return array.astype(np.float64)


def as_float64(name: str, value: ArrayLike) -> Array:
    """A number or an array of them as finite float64, of at least one dimension."""
    return as_real(name, np.atleast_1d(np.asarray(value))).astype(np.float64)


def check_forecast(y_true: ArrayLike, draws: ArrayLike, fair: bool) -> tuple[Array, Array]:
    """Observed responses and draws, checked to fit each other."""
    check_flag("fair", fair)
    y, sample = as_real("y_true", y_true), as_real("draws", draws)
    check_rows_match(y, "draws", sample, "m")
    if fair and sample.shape[1] < 2:
        raise ValueError(
            f"draws must hold m >= 2 draws for each row with fair=True, got m = {sample.shape[1]}"
        )
    return y, sample


def check_rows_match(
    y: Array, name: str, other: Array, label: str, width: int | None = None
) -> None:
    """Raise unless ``other`` has shape (n, width, *y_shape); ``label`` is the width in words."""
    fits = other.ndim == y.ndim + 1 and other.shape[2:] == y.shape[1:] and len(other) == len(y)
    if not fits or (width is not None and other.shape[1] != width):
        wanted = shape_text(len(y), (label, *y.shape[1:]))
        raise ValueError(
            f"{name} must have shape {wanted} for y_true of shape {y.shape}, got {other.shape}"
        )


def check_same_outputs(first: str, a: Array, second: str, b: Array) -> None:
    """Raise unless two samples (n, ...) and (m, ...) have rows of one shape."""
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"{first} and {second} must agree in all dimensions but the first, got {a.shape} and "
            f"{b.shape}"
        )


def float64_rows(array: Array) -> Tensor:
    """Rows (n, q) as float64; copied from other types and from read-only memory, as torch needs."""
    rows = array.reshape(len(array), -1)
    return torch.from_numpy(np.require(rows, dtype=np.float64, requirements=["C", "W"]))


def score_rows(score: Callable[[Tensor, Tensor], Tensor], y: Array, sample: Array) -> Array:
    """``score(sample, y)`` of each row, on blocks of rows flattened to (k, m, q) and (k, q)."""
    per_row = np.empty(len(y))
    for rows in row_blocks(sample):
        target = float64_rows(y[rows])
        draws = float64_rows(sample[rows]).reshape(len(target), sample.shape[1], -1)
        per_row[rows] = score(draws, target).numpy()
    return per_row


def average_rows(per_row: Array, sample_weight: ArrayLike | None, average: bool) -> float | Array:
    """The mean of the rows' scores or, without ``average``, the scores themselves."""
    check_flag("average", average)
    if average:
        return weighted_mean(per_row, sample_weight)
    if sample_weight is not None:
        raise ValueError("sample_weight has no effect with average=False; give one of them only")
    return per_row


def weighted_mean(per_row: Array, sample_weight: ArrayLike | None) -> float:
    """The mean of the rows' scores (n,), weighted if weights are given."""
    if sample_weight is None:
        return float(per_row.mean())
    weight = as_real("sample_weight", sample_weight)
    if weight.shape != per_row.shape:
        raise ValueError(
            f"sample_weight must have shape {per_row.shape}, one for each row, got {weight.shape}"
        )
    if (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must not be negative nor zero in every row")
    return float(np.average(per_row, weights=weight / weight.max()))  # sums stay finite

"""Responses without conditions: their wrapper for cross-validation, and their checks."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import (
    check_column_names,
    check_response_shape,
    column_names,
    described,
    number_kind,
    shape_text,
    warn_user,
)
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.sources import Rows, is_dask_array, open_rows, spool


class Unpaired:
    """Responses without conditions, wrapped so that cross-validation does not split them.

    scikit-learn's searches silently split every array-like fit parameter that happens to have
    ``len(X)`` rows into folds. This wrapper has neither length nor shape, so every fold gets all
    of the responses.

    Parameters
    ----------
    data : array-like, memmap, str, Path, list of these, dask.array.Array or torch Dataset
        The unpaired responses, shaped like ``y`` after the first axis. Paths are those of ``.npy``
        files, which are read where they lie and in the given order; a search in other processes or
        on other machines then sends the paths alone (docs/scaling.md).

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm import Unpaired
    >>> Unpaired(np.zeros((300, 2)))
    Unpaired(ndarray of shape (300, 2))
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __repr__(self) -> str:
        size = ""
        if hasattr(self.data, "shape"):
            size = f" of shape {tuple(self.data.shape)}"
        elif hasattr(self.data, "__len__"):
            size = f" of length {len(self.data)}"
        return f"Unpaired({type(self.data).__name__}{size})"


def warn_if_sliced(value: Any, n_pairs: int) -> None:
    """Warn where cross-validation seems to have split unpaired responses with the pairs."""
    is_file = isinstance(value, str | Path)  # of which the length is that of its name
    if value is None or is_file or isinstance(value, Unpaired) or not hasattr(value, "__len__"):
        return
    if len(value) == n_pairs and _in_cross_validation():
        warn_user(
            f"Y_unpaired has as many rows as there are pairs to fit ({n_pairs}): scikit-learn's "
            f"cross-validation splits whatever has as many rows as X, so that a fold gets only "
            f"some of the unpaired responses. Pass sklsdm.Unpaired(Y_unpaired), which it leaves "
            f"whole."
        )


def _in_cross_validation() -> bool:
    """Whether scikit-learn's cross-validation has called, in this process."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "sklearn.model_selection._validation":
            return True
        frame = frame.f_back
    return False


def check_unpaired(value: Any, like: NDArray[Any], names: NDArray[Any] | None = None) -> Any:
    """`Y_unpaired` as rows to be read in blocks, checked against the paired responses `like`.

    `names` are those of the columns of y, where they have some. None stays None.
    """
    value = _unwrapped(value)
    return None if value is None else _like(_open(value, names), like)


def compute_once(value: Any) -> Any:
    """`Y_unpaired` for several fits: what a Dask array computes, in a temporary file for all."""
    inside = _unwrapped(value)
    if not is_dask_array(inside):
        return value
    rows = spool(inside)
    return Unpaired(rows) if isinstance(value, Unpaired) else rows


def check_block(
    value: Any, form: ResponseFormat | None, names: NDArray[Any] | None
) -> tuple[Any, NDArray[Any] | None]:
    """`Y_unpaired` as rows, where there are no paired responses, and the names of its columns.

    They are to go with responses in `form`, unless they are the first that are seen.
    """
    value = _unwrapped(value)
    if value is None:
        raise TypeError("Y_unpaired must be responses, got None.")
    found = column_names("Y_unpaired", value) if form is None else names
    rows = _open(value, names)
    if len(rows) < 2:
        raise ValueError(f"Y_unpaired must hold at least 2 responses, got {len(rows)}.")
    if form is None:
        return rows, found
    kind = np.dtype(np.uint8) if form.is_bytes else rows.dtype
    if not form.is_bytes and form.is_image and rows.dtype == np.uint8:
        kind = np.dtype(np.float64)  # bytes would be divided by 255
    return _like(rows, np.empty((0, *form.shape), kind)), found


def _unwrapped(value: Any) -> Any:
    while isinstance(value, Unpaired):
        value = value.data
    return value


def _open(value: Any, names: NDArray[Any] | None) -> Any:
    check_column_names("Y_unpaired", value, names)
    rows = open_rows(value)
    check_response_shape("Y_unpaired", rows)
    return rows


def _like(rows: Any, like: NDArray[Any]) -> Any:
    """The rows, if they have the shape and the kind of numbers of the responses `like`.

    Single numbers may come as (N,) or (N, 1), whatever y has.
    """
    if {tuple(rows.shape[1:]), like.shape[1:]} == {(), (1,)}:
        if isinstance(rows, Rows):
            rows.give_shape(like.shape[1:])
        else:
            rows = rows.reshape(len(rows), *like.shape[1:])
    if tuple(rows.shape[1:]) != tuple(like.shape[1:]):
        raise ValueError(
            f"Y_unpaired must have shape {shape_text('N', like.shape[1:])} to go with y, got "
            f"{tuple(rows.shape)}. {_how_to_shape(like.shape[1:], rows.shape[1:])}"
        )
    if number_kind(rows.dtype) != number_kind(like.dtype):
        raise ValueError(
            f"Y_unpaired must hold the same kind of numbers as y, but y holds "
            f"{described(like.dtype)} and Y_unpaired {described(rows.dtype)}. "
            f"{_how_to_convert(like, rows)}"
        )
    return rows


def _how_to_shape(wanted: tuple[int, ...], found: Sequence[int]) -> str:
    """How to give unpaired responses the shape of paired ones."""
    if math.prod(wanted) == math.prod(found):
        return f"Reshape it: Y_unpaired.reshape{(-1, *wanted)}."
    if len(wanted) > 1:
        return "Resize or crop the images to those of y."
    return "Pass the outputs of y, all of them and in their order."


def _how_to_convert(y: Any, unpaired: Any) -> str:
    """How to give both the same kind of numbers, without truncating or wrapping any."""
    if len(y.shape) >= 3 and np.uint8 in (y.dtype, unpaired.dtype):
        return "Pass both as bytes, or both as floats in [0, 1] (bytes divided by 255)."
    if unpaired.dtype.kind == "f":
        return "Convert one of them, for example y.astype(Y_unpaired.dtype)."
    return "Convert one of them, for example Y_unpaired.astype(y.dtype)."

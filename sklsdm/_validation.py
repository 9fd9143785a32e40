"""Checks on what users hand in; every message names the argument, what came and what is wanted."""

from __future__ import annotations

import functools
import inspect
import numbers
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_array

from sklsdm.blocks import row_blocks

_PACKAGE = str(Path(__file__).parent)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing at the line outside this package from which it was called."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def also_named(**aliases: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a method take arguments under other names too, which introspection does not see.

    ``also_named(X_paired="X")`` takes ``X_paired=`` for ``X``.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        places = list(inspect.signature(method).parameters)[1:]

        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            for alias, name in aliases.items():
                if alias in kwargs:
                    if name in kwargs or len(args) > places.index(name):
                        raise TypeError(
                            f"{method.__name__} got both {alias}= and {name}, which are one "
                            f"argument; give one of them."
                        )
                    kwargs[name] = kwargs.pop(alias)
            return method(self, *args, **kwargs)

        return wrapped

    return decorate


def check_integer(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """Return `value` as an int within [low, high], or raise naming the argument."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} ({type(value).__name__}).")
    number = int(value)
    if number < low or (high is not None and number > high):
        wanted = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {wanted}{why}, got {value}.")
    return number


def check_real(
    name: str,
    value: Any,
    low: float,
    high: float = np.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` as a finite float within [low, high], or raise naming the argument.

    `open_low` and `open_high` leave out the end itself.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} ({type(value).__name__}).")
    number = float(value)
    too_low = number <= low if open_low else number < low
    too_high = number >= high if open_high else number > high
    if not np.isfinite(number) or too_low or too_high:
        wanted = f"{'above' if open_low else 'at least'} {low:g}"
        if high != np.inf:
            wanted += f" and {'below' if open_high else 'at most'} {high:g}"
        raise ValueError(f"{name} must be {wanted}, got {value}.")
    return number


def check_choice(name: str, value: Any, known: Any) -> str:
    """Return `value` if it is one of the `known` names, or raise listing them."""
    if not isinstance(value, str) or value not in known:
        names = ", ".join(repr(k) for k in sorted(known))
        raise ValueError(f"{name}={value!r} is unknown; choose one of {names}.")
    return value


def shape_text(rows: str | int, shape: tuple[int | str, ...]) -> str:
    """A shape whose first axis is `rows`, as it is written in Python: (n, 2), (n,)."""
    sides = ", ".join(map(str, shape))
    return f"({rows}, {sides})" if shape else f"({rows},)"


@contextmanager
def errors_name(name: str) -> Iterator[None]:
    """Let the errors of scikit-learn's and NumPy's checks say which argument they are about."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if re.search(rf"\b{name}\b", text):
            raise
        if text.startswith("Complex data not supported"):
            text = "Complex data not supported, real numbers are wanted"  # it lists the data
        if text.startswith("could not convert string"):
            text += "; numbers are wanted: encode strings first (sklearn.preprocessing)"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {text}") from error


def check_same_rows(first: str, a: Any, second: str, b: Any) -> None:
    """Raise where two arguments differ in their number of rows."""
    if len(a) != len(b):
        raise ValueError(
            f"{first} and {second} must have as many rows as each other, but {first} has {len(a)} "
            f"and {second} has {len(b)}."
        )


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Raise if `array` holds NaN or inf; reads it block by block, so a memmap is never loaded."""
    if not np.issubdtype(array.dtype, np.floating):
        return
    n_nan = n_inf = 0
    first: int | None = None
    for rows in row_blocks(array):
        block = np.asarray(array[rows])
        bad = ~np.isfinite(block)
        if not bad.any():
            continue
        n_nan += int(np.isnan(block).sum())
        n_inf += int(np.isinf(block).sum())
        if first is None:
            first = rows.start + int(np.argmax(bad.reshape(len(block), -1).any(axis=1)))
    if first is not None:
        found = [f"{n} {kind}" for n, kind in ((n_nan, "NaN"), (n_inf, "inf")) if n]
        raise ValueError(
            f"Input {name} contains {' and '.join(found)}, first in row {first}. Every value must "
            f"be finite: drop or impute those rows (sklearn.impute) before the call."
        )


def without_torch(value: Any) -> Any:
    """A tensor, on whatever device and with or without gradients, as an array; others as is."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def check_levels(quantiles: Any) -> NDArray[np.float64]:
    """Quantile levels strictly between 0 and 1, as an array (k,)."""
    with errors_name("quantiles"):
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels strictly between 0 and 1, got {quantiles!r}.")
    return levels


def check_numeric(name: str, value: Any, *, min_rows: int = 1) -> NDArray[Any]:
    """Turn array-likes (lists, pandas, polars, tensors) into a finite, real numpy array."""
    value = without_torch(value)
    if value is None:
        raise ValueError(f"{name} is None: an array of numbers is required.")
    if isinstance(value, np.memmap):
        array: NDArray[Any] = value
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    else:
        with errors_name(name):
            array = check_array(
                value,
                dtype="numeric",
                ensure_2d=False,
                allow_nd=True,
                ensure_all_finite=False,
                ensure_min_samples=min_rows,
                input_name=name,
            )
    check_finite(name, array)
    return array


def check_response_shape(name: str, array: Any) -> None:
    """Responses are (n,), (n, q), (n, h, w) or (n, c, h, w) with something in every axis."""
    if len(array.shape) not in (1, 2, 3, 4) or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must have shape (n,), (n, q), (n, h, w) or (n, c, h, w), got {array.shape}."
        )
    check_channels_first(name, array)


def check_channels_first(name: str, array: Any) -> None:
    """Raise on images (n, h, w, c), which would be read as h channels of w × c pixels."""
    shape = tuple(array.shape)
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4:
        raise ValueError(
            f"{name} has shape {shape}, which looks like images with their channels last; wanted "
            f"is (n, c, h, w): pass numpy.transpose({name}, (0, 3, 1, 2))."
        )


def kind_of(dtype: np.dtype[Any]) -> str:
    """Name the kind of numbers: 'bytes' (uint8), 'integers' or 'floats'."""
    if dtype == np.uint8:
        return "bytes (uint8)"
    return "floats" if dtype.kind == "f" else "integers"

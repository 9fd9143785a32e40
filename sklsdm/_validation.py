"""Checks of user input. Every message names the argument, what was found and what is expected."""

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
from sklearn.utils.validation import check_array, column_or_1d

from sklsdm.blocks import row_blocks

_PACKAGE = str(Path(__file__).parent)


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the first calling line outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def check_groups(groups: Any, n_pairs: int) -> NDArray[np.intp] | None:
    """The group (n,) of each pair as a number from 0 on; None where there are no groups."""
    if groups is None:
        return None
    with named_in_errors("groups"):
        values = column_or_1d(groups)
    if len(values) != n_pairs:
        raise ValueError(
            f"groups must give one group for each of the {n_pairs} pairs, got {len(values)} values."
        )
    kinds, members = np.unique(values, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(
            f"groups must hold at least 2 different groups, to hold one out, got only {kinds[0]!r}."
        )
    return members


def also_named(**aliases: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a method accept an argument under a second name that its signature does not show.

    With ``also_named(X_paired="X")``, ``X_paired=`` may be passed in place of ``X``. scikit-learn,
    which reads the signature, still sees only ``X``.
    """

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        places = list(inspect.signature(method).parameters)[1:]

        @functools.wraps(method)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            for alias, name in aliases.items():
                if alias in kwargs:
                    if name in kwargs or len(args) > places.index(name):
                        raise TypeError(
                            f"{method.__name__} got both {alias}= and {name}=, two names of the "
                            f"same argument; pass only one of them."
                        )
                    kwargs[name] = kwargs.pop(alias)
            return method(self, *args, **kwargs)

        return wrapped

    return decorate


def check_integer(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """Return `value` as an int in [low, high]; the error names the argument and says `why`."""
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
    """Return `value` as a finite float in [low, high]; the error names the argument.

    `open_low` and `open_high` exclude that end of the interval.
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
    """The shape (rows, *shape) as Python writes it: "(n, 2)" or "(n,)"."""
    sides = ", ".join(map(str, shape))
    return f"({rows}, {sides})" if shape else f"({rows},)"


@contextmanager
def named_in_errors(name: str) -> Iterator[None]:
    """Put the argument's name in front of the errors that scikit-learn and NumPy raise inside."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = str(error)
        if re.search(rf"\b{name}\b", text):
            raise
        if text.startswith("Complex data not supported"):
            text = "Complex data not supported, pass real numbers"  # without the data it prints
        if text.startswith("could not convert string"):
            text += "; encode strings as numbers first (see sklearn.preprocessing)"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {text}") from error


def check_same_rows(first: str, a: Any, second: str, b: Any) -> None:
    """Raise if two arguments differ in their number of rows."""
    if len(a) != len(b):
        raise ValueError(
            f"{first} and {second} must have the same number of rows, but {first} has {len(a)} and "
            f"{second} has {len(b)}."
        )


def check_finite(
    name: str, array: NDArray[Any], *, allow_nan: bool = False, hint: str = ""
) -> None:
    """Raise if `array` holds inf, or NaN unless `allow_nan`; `hint` says what else may help.

    It is read in blocks, so a memmap is not loaded whole.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    n_nan = n_inf = 0
    first: int | None = None
    for rows in row_blocks(array):
        block = np.asarray(array[rows])
        bad = np.isinf(block) if allow_nan else ~np.isfinite(block)
        if not bad.any():
            continue
        n_nan += 0 if allow_nan else int(np.isnan(block).sum())
        n_inf += int(np.isinf(block).sum())
        if first is None:
            first = rows.start + int(np.argmax(bad.reshape(len(block), -1).any(axis=1)))
    if first is not None:
        found = [f"{n} {kind}" for n, kind in ((n_nan, "NaN"), (n_inf, "inf")) if n]
        raise ValueError(
            f"Input {name} contains {' and '.join(found)}, first in row {first}. Every value must "
            f"be finite: drop or impute those rows (sklearn.impute) before the call{hint}."
        )


def tensor_to_numpy(value: Any) -> Any:
    """A torch tensor, on any device and with or without gradients, as an array; else `value`."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def check_levels(quantiles: Any) -> NDArray[np.float64]:
    """Quantile levels strictly between 0 and 1, as an array (k,)."""
    with named_in_errors("quantiles"):
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels strictly between 0 and 1, got {quantiles!r}.")
    return levels


def check_numeric(name: str, value: Any) -> NDArray[Any]:
    """Turn an array-like (list, pandas, polars, tensor) into a numpy array of finite numbers."""
    value = tensor_to_numpy(value)
    if value is None:
        raise ValueError(f"{name} is None; pass an array of numbers.")
    if isinstance(value, np.memmap):
        array: NDArray[Any] = value
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}.")
    else:
        with named_in_errors(name):
            array = check_array(
                value,
                dtype="numeric",
                ensure_2d=False,
                allow_nd=True,
                ensure_all_finite=False,
                input_name=name,
            )
    check_finite(name, array)
    return array


def check_response_shape(name: str, array: Any) -> None:
    """Raise unless responses are (n,), (n, q), (n, h, w) or (n, c, h, w), each one not empty."""
    if len(array.shape) not in (1, 2, 3, 4) or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must have shape (n,), (n, q), (n, h, w) or (n, c, h, w), got {array.shape}."
        )
    check_channels_first(name, array)


def check_channels_first(name: str, array: Any) -> None:
    """Raise if images look like (n, h, w, c): they would be read as h channels of w × c pixels."""
    shape = tuple(array.shape)
    if len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 4:
        raise ValueError(
            f"{name} has shape {shape}, which looks like images with their channels last; pass "
            f"them as (n, c, h, w): numpy.transpose({name}, (0, 3, 1, 2))."
        )


def number_kind(dtype: np.dtype[Any]) -> str:
    """Name the kind of numbers for messages: "bytes (uint8)", "integers" or "floats"."""
    if dtype == np.uint8:
        return "bytes (uint8)"
    return "floats" if dtype.kind == "f" else "integers"

"""Checks of user input. Every message names the argument, what was found and what is expected."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import reprlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import walk_stack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._missing import is_scalar_nan
from sklearn.utils.validation import _get_feature_names, column_or_1d

from sklsdm.blocks import row_blocks
from sklsdm.distributed import is_first
from sklsdm.reading import (
    is_frame,
    is_integer,
    named_in_errors,
    read_numbers,
    read_plain,
    read_unmasked,
    refuse_lazy_frame,
)

_PACKAGE = f"{Path(__file__).parent}{os.sep}"
_MOST_SHOWN = 10  # columns in a message
LARGEST = 1e150  # of the numbers that are read: their squares, and sums of these, stay finite


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the line which called this package.

    Other packages, such as skorch, may have been called by ours and have called it in turn: what
    counts is the call that none of ours made. Of processes that fit together only the first one
    warns.
    """
    if not is_first():
        return
    level_of_user, frames = 1, walk_stack(sys._getframe())
    for level, (frame, _) in enumerate(frames, start=1):
        if frame.f_code.co_filename.startswith(_PACKAGE):
            level_of_user = level + 1
    warnings.warn(message, category, stacklevel=level_of_user)


def check_groups(groups: Any, n_pairs: int) -> NDArray[np.intp] | None:
    """The group (n,) of each pair as a number from 0 on; None where there are no groups."""
    if groups is None:
        return None
    with named_in_errors("groups"):
        plain = read_unmasked("groups", groups)
        if np.ndim(plain) > 1 and np.shape(plain)[1] != 1:
            raise ValueError(
                f"groups must have shape (n,), got {np.shape(plain)}; join several columns to one "
                f"label."
            )
        values = column_or_1d(plain)
        if len(values) != n_pairs:
            raise ValueError(
                f"groups must give one group for each of the {n_pairs} pairs, got {len(values)} "
                f"values."
            )
        if _has_missing(plain, values):
            raise ValueError("groups contains NaN or None; give every pair a group.")
        kinds, members = np.unique(values, return_inverse=True)
    if len(kinds) < 2:
        raise ValueError(
            f"groups must hold at least 2 different groups, to hold one out, got only "
            f"{kinds.tolist()[0]!r}."
        )
    return members


def _has_missing(given: Any, values: NDArray[Any]) -> bool:
    """Whether a column of labels, read as the array `values`, has missing ones."""
    if values.dtype.kind in "iub":
        return False
    if values.dtype.kind == "f":
        return bool(np.isnan(values).any())
    labels = np.asarray(given, dtype=object).ravel()  # NumPy makes None and NaN strings
    kinds = ("NoneType", "NAType", "NaTType")
    return any(type(label).__name__ in kinds or is_scalar_nan(label) for label in labels)


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


def _in_short(value: Any) -> str:
    """A value of a wrong type for a message: an array by its shape."""
    kind = type(value).__name__
    shape = getattr(value, "shape", None)  # of a class, a descriptor
    if isinstance(shape, tuple) and shape:
        return f"{kind} of shape {tuple(shape)}"
    return f"{reprlib.repr(value)} ({kind})"


def check_integer(name: str, value: Any, low: int, high: int | None = None, why: str = "") -> int:
    """Return `value` as an int in [low, high]; the error names the argument and says `why`."""
    if not is_integer(value):
        raise TypeError(f"{name} must be an integer, got {_in_short(value)}.")
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
        raise TypeError(f"{name} must be a number, got {_in_short(value)}.")
    number = float(value)
    too_low = number <= low if open_low else number < low
    too_high = number >= high if open_high else number > high
    if not np.isfinite(number) or too_low or too_high:
        wanted = "finite and " if np.isinf(number) else ""
        wanted += f"{'above' if open_low else 'at least'} {low:g}"
        if high != np.inf:
            wanted += f" and {'below' if open_high else 'at most'} {high:g}"
        raise ValueError(f"{name} must be {wanted}, got {value}.")
    return number


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is True or False; a string such as "no" would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {_in_short(value)}.")


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


def check_same_rows(first: str, a: Any, second: str, b: Any) -> None:
    """Raise if two arguments differ in their number of rows."""
    if len(a) != len(b):
        raise ValueError(
            f"{first} and {second} must have the same number of rows, but {first} has {len(a)} and "
            f"{second} has {len(b)}. Each row of one goes with the same row of the other: leave "
            f"out rows without a partner."
        )


def check_both_or_none(first: str, a: Any, second: str, b: Any) -> None:
    """Raise if one of two arguments that go together is None, and the other is not."""
    if (a is None) != (b is None):
        missing = first if a is None else second
        raise ValueError(f"{first} and {second} go together, but {missing} is None.")


def check_has_columns(name: str, value: Any) -> None:
    """Raise if the conditions have no axis of columns; scikit-learn's error prints all of them."""
    with named_in_errors(name):
        shape = value.shape if hasattr(value, "shape") else np.asarray(value).shape
    if len(shape) > 1:
        return
    wanted = f"{name} must have shape (n, p) or (n, c, h, w)"
    if not shape:
        raise ValueError(f"{wanted}, got one {type(value).__name__}.")
    raise ValueError(
        f"{wanted}, got {shape}. Reshape your data: numpy.reshape({name}, (-1, 1)) makes "
        f"{shape[0]} rows of one column, numpy.reshape({name}, (1, -1)) one row of {shape[0]} "
        f"columns."
    )


def check_finite(
    name: str,
    array: NDArray[Any],
    *,
    allow_nan: bool = False,
    hint: str = "",
    columns: Sequence[Any] | None = None,
) -> None:
    """Raise if `array` holds inf, NaN (unless `allow_nan`) or numbers beyond `LARGEST`.

    `hint` says what else may help against NaN; `columns` are names of the first columns. The array
    is read in blocks, so a memmap is not loaded whole.
    """
    if not np.issubdtype(array.dtype, np.floating):
        return
    n_nan = n_inf = 0
    first: int | None = None
    wrong = np.zeros(array.shape[1] if len(array.shape) == 2 else 0, dtype=bool)
    too_large: tuple[int, float] | None = None
    for rows in row_blocks(array):
        block = np.asarray(array[rows])
        if block.size == 0 or -LARGEST <= float(block.min()) <= float(block.max()) <= LARGEST:
            continue  # never true with NaN
        n_nan += 0 if allow_nan else int(np.isnan(block).sum())
        n_inf += int(np.isinf(block).sum())
        bad = np.isinf(block) if allow_nan else ~np.isfinite(block)
        if bad.any() and first is None:
            first = rows.start + int(np.argmax(bad.reshape(len(block), -1).any(axis=1)))
        if len(wrong):
            wrong |= bad.any(axis=0)
        large = (np.abs(block.astype(np.float64)) > LARGEST) & ~bad
        if large.any() and too_large is None:
            row = int(np.argmax(large.reshape(len(block), -1).any(axis=1)))
            too_large = rows.start + row, float(block[large][0])
    if first is not None:
        found = [f"{n} {kind}" for n, kind in ((n_nan, "NaN"), (n_inf, "inf")) if n]
        cure = f"drop or impute those rows (sklearn.impute) before the call{hint}"
        if n_nan == 0:
            cure = f"drop those rows, or put {'NaN or ' if allow_nan else ''}numbers in their place"
        wanted = "finite or NaN" if allow_nan else "finite"
        raise ValueError(
            f"Input {name} contains {' and '.join(found)}, first in row {first}"
            f"{_in_columns(wrong, columns)}. Every value must be {wanted}: {cure}."
        )
    if too_large is not None:
        raise ValueError(
            f"Input {name} contains numbers as large as {too_large[1]:g}, first in row "
            f"{too_large[0]}. Their squares are not finite, so that they cannot be standardised: "
            f"correct them, or divide {name} by a constant (at most {LARGEST:g} is allowed)."
        )


def _in_columns(wrong: NDArray[np.bool_], names: Sequence[Any] | None) -> str:
    """Which of several columns are marked (c,), by their names if they have some."""
    if len(wrong) < 2:
        return ""
    places = np.flatnonzero(wrong).tolist()
    shown = places
    if names is not None and places[-1] < len(names):
        shown = [names[place] for place in places]
    more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return f", in columns {shown[:_MOST_SHOWN]}{more}"


def check_float32(name: str, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Standardised rows (n, p); raises if float32, in which networks compute, cannot hold them."""
    if not np.isinf(rows).any():
        return rows
    row = int(np.argmax(np.isinf(rows).any(axis=1)))
    raise ValueError(
        f"Row {row} of {name} is so far from the values of fit that it has no finite value in "
        f"float32 once it is standardised; pass values like those of fit."
    )


def check_levels(quantiles: Any) -> NDArray[np.float64]:
    """Quantile levels strictly between 0 and 1, as an array (k,)."""
    with named_in_errors("quantiles"):
        plain = read_plain("quantiles", quantiles)
        levels = np.atleast_1d(np.asarray(plain, dtype=np.float64))
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels strictly between 0 and 1, got {quantiles!r}.")
    return levels


def check_numeric(name: str, value: Any) -> NDArray[Any]:
    """Turn an array-like (list, pandas, polars, tensor) into a numpy array of finite numbers."""
    if value is None:
        raise ValueError(f"{name} is None; pass an array of numbers.")
    array = read_numbers(name, value)
    columns = getattr(value, "columns", None)
    check_finite(name, array, columns=None if columns is None else list(columns))
    return array


def column_names(name: str, value: Any) -> NDArray[Any] | None:
    """Names of the columns of a DataFrame, if all of them are strings; else None."""
    check_unique_names(name, value)
    with named_in_errors(name):
        refuse_lazy_frame(value)
        return _get_feature_names(value) if hasattr(value, "columns") else None


def check_unique_names(name: str, value: Any) -> None:
    """Raise if several columns of a DataFrame have one name."""
    if not is_frame(value):
        return
    columns = list(value.columns)
    twice = list(dict.fromkeys(column for column in columns if columns.count(column) > 1))
    if twice:
        raise ValueError(
            f"{name} has several columns named {', '.join(map(repr, twice[:_MOST_SHOWN]))}; give "
            f"each a name of its own, or pass {name}.to_numpy(), which has no names."
        )


def check_column_names(name: str, value: Any, known: NDArray[Any] | None) -> None:
    """Raise if a DataFrame of responses has other columns than y, or in another order."""
    found = column_names(name, value)
    if found is None or known is None or np.array_equal(found, known):
        return
    if sorted(found) == sorted(known):
        wrong = f"Its columns are in another order; pass {name}[{known.tolist()}]."
    else:
        wrong = "Pass the same columns, in the same order."
    raise ValueError(
        f"{name} has columns {found.tolist()}, but y had columns {known.tolist()} in fit. {wrong}"
    )


def check_response_shape(name: str, array: Any) -> None:
    """Raise unless responses are (n,), (n, q), (n, h, w) or (n, c, h, w), each one not empty."""
    if len(array.shape) not in (1, 2, 3, 4) or 0 in array.shape[1:]:
        raise ValueError(
            f"{name} must have shape (n,), (n, q), (n, h, w) or (n, c, h, w), got "
            f"{tuple(array.shape)}. Responses of another shape can be flattened: "
            f"{name}.reshape(len({name}), -1)."
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


def described(dtype: np.dtype[Any]) -> str:
    """Kind and dtype of numbers: "floats (float64)"; that of bytes is named already."""
    kind = number_kind(dtype)
    return kind if dtype == np.uint8 else f"{kind} ({dtype})"

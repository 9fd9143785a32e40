"""Arrays of real numbers from whatever users pass: lists, tables, tensors, masked arrays."""

from __future__ import annotations

import numbers
import re
import reprlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_array

NUMBER_KINDS = "fiub"  # NumPy's kinds of real numbers: floats, integers, unsigned ones, booleans
_INSTEAD_OF_STRINGS = "encode strings as numbers first (see sklearn.preprocessing)"
_INSTEAD_OF_SPARSE = "A step of a Pipeline can do so itself, as OneHotEncoder(sparse_output=False)."
INSTEAD_OF_DATES = (
    "turn them into numbers first, such as days since the first one, or the month and the hour"
)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, of Python or NumPy; True and False are none."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool | np.bool_)


def is_frame(value: Any) -> bool:
    """Whether a value is a DataFrame of pandas or polars."""
    libraries = (sys.modules.get(name) for name in ("pandas", "polars"))
    return any(isinstance(value, getattr(library, "DataFrame", ())) for library in libraries)


@contextmanager
def named_in_errors(name: str) -> Iterator[None]:
    """Put the argument's name in front of errors that reading it raises.

    A TypeError stays one and all others become a ValueError: what users pass may raise anything
    when it is read.
    """
    try:
        yield
    except (NotFittedError, MemoryError):
        raise
    except Exception as error:
        text = str(error)
        ours = isinstance(error, TypeError | ValueError)
        if text.startswith("Sparse data was passed"):
            raise TypeError(f"{text} {_INSTEAD_OF_SPARSE}") from error
        if ours and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text):
            raise
        if text.startswith("Complex data not supported"):
            text = "Complex data not supported, pass real numbers"  # without the data it prints
        if text.startswith("could not convert string"):
            text += f"; {_INSTEAD_OF_STRINGS}"
        if "not compatible with arrays of bytes/strings" in text:
            text = (
                f"found an array of strings; {_INSTEAD_OF_STRINGS}, or call astype(float) if they "
                f"hold digits"
            )
        if not ours:
            text = f"reading it raised {type(error).__name__}: {text}"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {text}") from error


def tensor_to_numpy(value: Any) -> Any:
    """A torch tensor, on any device and with or without gradients, as an array; else `value`."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.is_meta:
        raise TypeError("the tensor is on the device 'meta', where it has a shape but no values")
    if value.layout != torch.strided:
        raise TypeError("sparse tensors are not supported; pass value.to_dense()")
    value = value.detach().cpu().resolve_conj().resolve_neg()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def read_plain(name: str, value: Any) -> Any:
    """`value` with tensors turned into arrays; raises for what would lose its meaning.

    That are the mask of a masked array, and dates, which NumPy would read as integers.
    """
    value = read_unmasked(name, value)
    _refuse_dates(name, value)
    return value


def read_unmasked(name: str, value: Any) -> Any:
    """`value` with tensors turned into arrays; raises if it holds masked values."""
    with named_in_errors(name):
        value = tensor_to_numpy(value)
        refuse_lazy_frame(value)
        if isinstance(value, list | tuple) and any(isinstance(v, torch.Tensor) for v in value):
            value = [tensor_to_numpy(member) for member in value]
        _refuse_parts(name, value)
        if getattr(getattr(value, "dtype", None), "names", None):
            raise TypeError(
                f"{name} is a structured array; pass a DataFrame, or the plain array that "
                f"numpy.lib.recfunctions.structured_to_unstructured({name}) gives"
            )
        if isinstance(value, np.ma.MaskedArray):
            n_masked = int(np.ma.count_masked(value))
            if n_masked:
                raise ValueError(
                    f"{name} holds {n_masked} masked values; drop or impute them before the call, "
                    f"or set them to NaN where NaN is allowed: numpy.ma.filled({name}, numpy.nan)."
                )
            value = np.ma.getdata(value)
    return value


def refuse_lazy_frame(value: Any) -> None:
    """Raise for a LazyFrame of polars, before it is asked for columns, of which polars warns."""
    if type(value).__name__ == "LazyFrame":
        raise TypeError("got a LazyFrame, which holds no values yet; pass what collect() gives")


def _refuse_parts(name: str, value: Any) -> None:
    """Raise for a list of tables or arrays of different shapes, which NumPy cannot stack."""
    shapes = {p.shape for p in value if hasattr(p, "shape")} if isinstance(value, list) else ()
    if len(shapes) > 1:
        shown = " and ".join(map(str, sorted(shapes)[:2]))
        raise TypeError(
            f"{name} is a list of {len(value)} arrays of different shapes, such as {shown}; put "
            f"their rows together: numpy.concatenate({name}), or pandas.concat({name}) for frames."
        )


def as_numbers(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array after conversion, if it holds real numbers; long doubles as float64."""
    _refuse_dates(name, array)
    if array.dtype.kind not in NUMBER_KINDS:
        odd = (value for value in array.flat if not isinstance(value, numbers.Real))
        example = next((f", such as {reprlib.repr(value)}" for value in odd), "")
        raise ValueError(
            f"{name} must hold real numbers, got dtype {array.dtype}{example}; "
            f"{_INSTEAD_OF_STRINGS}, and write missing values as NaN."
        )
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # an infinity is refused later, by name
            return array.astype(np.float64)
    return array


def read_numbers(name: str, value: Any) -> NDArray[Any]:
    """An array-like (list, pandas, polars, tensor) of any shape as an array of real numbers."""
    value = read_plain(name, value)
    if not isinstance(value, np.memmap):
        with named_in_errors(name):
            value = check_array(
                value,
                dtype="numeric",
                ensure_2d=False,
                allow_nd=True,
                ensure_all_finite=False,
                input_name=name,
            )
    return as_numbers(name, value)


def _refuse_dates(name: str, value: Any) -> None:
    if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M"):
        raise ValueError(f"{name} holds dates or times; {INSTEAD_OF_DATES}.")

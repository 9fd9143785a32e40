"""Arrays and settings of every kind, most of them bad, as what tests of bad input pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import torch
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset

from sklsdm import Unpaired

NUMBERS = [
    *(np.nan, np.inf, -np.inf, 1e39, -1e39, 1e300, -1e300, 1.7e308, 1e38, -1e30, 1e20),
    *(5e-324, 1e-200, 0.0, -1.0, 2**53, 1e12),
]
DTYPES = ["f2", "f4", "f8", "g", "i1", "i8", "u1", "u8", "?", "c8", "c16", "S3", "U3", "O"]
DTYPES += ["M8[ns]", "M8[D]", "m8[s]", ">f8", ">i4"]


class Items(Dataset):
    """A Dataset of the rows of a list or array; items that are errors are raised."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if isinstance(self.rows[index], Exception):
            raise self.rows[index]
        return self.rows[index]


class Unreadable:
    """Something like an array that raises `error` when it is read."""

    def __init__(self, error):
        self.error = error
        self.shape, self.dtype = (24, 2), np.dtype(float)

    def __len__(self):
        return 24

    def __array__(self, dtype=None, copy=None):
        raise self.error


def _masked(array):
    mask = np.zeros(np.shape(array), bool)
    mask.flat[:1] = True
    return np.ma.masked_array(array, mask)


def _meta(array):
    return torch.empty(np.shape(array), device="meta")


def names_of(array):
    return [f"c{place}" for place in range(np.shape(array)[1])]


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "ragged": lambda a: [*a.tolist(), [1.0]],
    "object": lambda a: a.astype(object),
    "huge integers": lambda a: np.full(a.shape, 10**400, dtype=object),
    "text within": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, "red", a),
    "frame": lambda a: pd.DataFrame(a, columns=names_of(a)),
    "frame without names": pd.DataFrame,
    "frame, swapped": lambda a: pd.DataFrame(a, columns=names_of(a)[::-1]),
    "frame with gaps": lambda a: pd.DataFrame(a, columns=names_of(a)).astype("Float64").mask(a > 1),
    "frame of text": lambda a: pd.DataFrame(a, columns=names_of(a)).astype(str),
    "frame of dates": lambda a: pd.DataFrame(a.astype("M8[ns]"), columns=names_of(a)),
    "polars": lambda a: pl.DataFrame(a, schema=names_of(a)),
    "series": lambda a: pd.Series(a[:, 0]),
    "sparse": scipy.sparse.csr_array,
    "sparse matrix": scipy.sparse.coo_matrix,
    "masked": _masked,
    "masked nowhere": np.ma.masked_array,
    "matrix": np.matrix,
    "structured": lambda a: np.zeros(len(a), dtype=[("a", float), ("b", int)]),
    "tensor": torch.from_numpy,
    "with gradients": lambda a: torch.from_numpy(a.astype(float)).requires_grad_(),
    "list with gradients": lambda a: list(torch.from_numpy(a.astype(float)).requires_grad_()),
    "meta": _meta,
    "list of meta": lambda a: list(_meta(a)),
    "bfloat16": lambda a: torch.from_numpy(a).bfloat16(),
    "sparse tensor": lambda a: torch.from_numpy(a).to_sparse(),
    "complex tensor": lambda a: torch.from_numpy(a.astype(complex)).conj(),
    "Dataset": Items,
    "empty Dataset": lambda a: Items([]),
    "Dataset of text": lambda a: Items(["red"] * len(a)),
    "Dataset of dates": lambda a: Items(a.astype("M8[D]")),
    "Dataset of complex": lambda a: Items(a + 1j),
    "Dataset of pairs": lambda a: Items([(row, 1) for row in a]),
    "Dataset of empty pairs": lambda a: Items([()] * len(a)),
    "Dataset of None": lambda a: Items([None] * len(a)),
    "Dataset of gradients": lambda a: Items(torch.from_numpy(a.astype(float)).requires_grad_()),
    "Dataset of meta": lambda a: Items(_meta(a)),
    "ragged Dataset": lambda a: Items([*a[:-1], a[0][:1]]),
    "Dataset that raises": lambda a: Items([*a[:-1], KeyError("no such file")]),
    "Dataset that raises at once": lambda a: Items([OSError("no such disk")] * len(a)),
    "loader": lambda a: DataLoader(Items(a)),
    "Unpaired": Unpaired,
    "Unpaired twice": lambda a: Unpaired(Unpaired(a)),
    "iterator": iter,
    "read-only": lambda a: np.frombuffer(np.ascontiguousarray(a).tobytes(), a.dtype).reshape(
        a.shape
    ),
    "reversed": lambda a: a[::-1, ::-1],
    "by columns": np.asfortranarray,
    "raises RuntimeError": lambda a: Unreadable(RuntimeError("out of luck")),
    "raises KeyError": lambda a: Unreadable(KeyError("missing")),
    "raises ValueError": lambda a: Unreadable(ValueError("out of luck")),
}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "no row": lambda a: a[:0],
    "one row": lambda a: a[:1],
    "two rows": lambda a: a[:2],
    "a row less": lambda a: a[:-1],
    "a number": lambda a: a.reshape(-1)[0],
    "no column": lambda a: a[:, :0],
    "a column": lambda a: a[:, :1],
    "first column": lambda a: a[:, 0],
    "a column more": lambda a: np.concatenate([a, a[:, :1]], axis=1),
    "an axis more": lambda a: a[..., None],
    "an axis before": lambda a: a[None],
    "two axes more": lambda a: a[:, None, None],
    "five axes": lambda a: a[:, None, None, None, None],
    "transposed": np.transpose,
    "twice": lambda a: np.concatenate([a, a]),
}


def _cast(array, dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if np.dtype(dtype).kind in "mM":
            return array.astype("i8").astype(dtype)
        return array.astype(dtype)


@st.composite
def changed(draw, good, containers=tuple(CONTAINERS)):
    """A good array changed in up to three ways; one that does not apply is left out."""
    value = np.array(good)
    for change in draw(st.lists(st.sampled_from(["content", "shape", "dtype"]), max_size=2)):
        value = _try(_change(draw, change), value)
    if draw(st.booleans()):
        value = _try(CONTAINERS[draw(st.sampled_from(containers))], value)
    return value


def _change(draw, change):
    if change == "shape":
        return SHAPES[draw(st.sampled_from(list(SHAPES)))]
    if change == "dtype":
        dtype = draw(st.sampled_from(DTYPES))
        return lambda a: _cast(a, dtype)
    number, kind = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(["one", "row", "all"]))
    how = draw(st.sampled_from(["is", "times", "plus"]))
    return lambda a: _spoilt(a, number, kind, how)


def _spoilt(array, number, kind, how):
    array = array.astype(np.float64)
    flat = array.reshape(len(array), -1)
    place = {"one": (0, 0), "row": (0, slice(None)), "all": (slice(None), slice(None))}[kind]
    new = {"is": flat * 0 + number, "times": flat * number, "plus": flat + number}[how]
    flat[place] = new[place]
    return array


def _try(change, value):
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return change(value)
    except Exception:  # the change does not fit what earlier ones made of the value
        return value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**30), 2**63, 2**64]),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, 0.0, 0.5, -0.5, 1.0, 1.5]),
    st.sampled_from([1j, b"x", "", "auto", "wgan", "red", "0", "\0"]),
    st.sampled_from([np.float32(0.5), np.int8(1), np.bool_(True), np.datetime64("2020-01-01")]),
)
OTHERS = st.sampled_from(
    [
        *((), [], {}, set(), [[]], [()], (None,), {"a": 1}, [1, 2], (1, "a"), ("a", None)),
        *(object(), object, int, len, lambda value: value, Ellipsis, range(3), slice(1), ...),
        *(np.array([]), np.array(1), np.array([1, 2]), np.array(["auto"]), np.array([[1.0]])),
        *(pd.Series([1, 2]), pd.DataFrame({"a": [1]}), torch.ones(2), torch.tensor(1), _meta([1])),
        *(torch.nn.Linear(1, 1), StandardScaler(), StandardScaler, torch.device("meta")),
        *(RuntimeError("none"), RuntimeError, np.random, np.dtype("f4"), np.float16),
    ]
)
anything = st.one_of(SCALARS, OTHERS, st.lists(SCALARS, max_size=3), st.tuples(SCALARS, SCALARS))


def loses_meaning(value: Any) -> bool:
    """Whether `value` holds masked values, dates, complex numbers or text."""
    value = value.data if isinstance(value, Unpaired) else value
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.count_masked(value))
    if isinstance(value, Items) and isinstance(value.rows, np.ndarray | list):
        value = np.asarray(value.rows) if len(value) else value
    if isinstance(value, pd.DataFrame):
        return any(getattr(dtype, "kind", "") in "mMc" for dtype in value.dtypes)
    return getattr(getattr(value, "dtype", None), "kind", "") in tuple("mMcSUV")


def shape_of(value):
    if hasattr(value, "shape"):
        return tuple(value.shape)
    return (len(value), *(shape_of(value[0]) if hasattr(value[0], "__len__") else ()))

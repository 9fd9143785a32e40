"""Bad input of every kind for every public method, and what may come of a call with it.

`CALLS` lists public methods with good arguments, `changed` turns a good argument into others (of
another dtype, shape, content or container), and `anything` gives settings of any type. A call must
end in a finite result of the promised shape or in a promised error that names the argument:
`fault_of` says in words where it does not.
"""

from __future__ import annotations

import copy
import functools
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import torch
from helpers import plain_regressor
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, Dataset

import sklsdm
from sklsdm import (
    DivergenceError,
    LSDMGenerator,
    SamplingEnsemble,
    Unpaired,
    make_sampling_pipeline,
    scorers,
)
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.encoders import ENCODERS
from sklsdm.matchers import MATCHERS

RNG = np.random.default_rng(0)
N = 24
X = RNG.normal(size=(N, 3))
Y = X[:, :2] + RNG.normal(size=(N, 2))
IMAGES = RNG.integers(0, 256, size=(N, 4, 4), dtype=np.uint8)
CONDITIONS = RNG.normal(size=(N, 1, 8, 8))  # conditions that are images
PROMISED = (ValueError, TypeError, DivergenceError)  # NotFittedError is a ValueError


# ------------------------------------------------------------------ values
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
        self.shape, self.dtype = (N, 2), np.dtype(float)

    def __len__(self):
        return N

    def __array__(self, dtype=None, copy=None):
        raise self.error


def _masked(array):
    mask = np.zeros(np.shape(array), bool)
    mask.flat[:1] = True
    return np.ma.masked_array(array, mask)


def _meta(array):
    return torch.empty(np.shape(array), device="meta")


def _names(array):
    return [f"c{place}" for place in range(np.shape(array)[1])]


CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "ragged": lambda a: [*a.tolist(), [1.0]],
    "object": lambda a: a.astype(object),
    "huge integers": lambda a: np.full(a.shape, 10**400, dtype=object),
    "text within": lambda a: np.where(np.arange(a.size).reshape(a.shape) == 1, "red", a),
    "frame": lambda a: pd.DataFrame(a, columns=_names(a)),
    "frame without names": pd.DataFrame,
    "frame, swapped": lambda a: pd.DataFrame(a, columns=_names(a)[::-1]),
    "frame with gaps": lambda a: pd.DataFrame(a, columns=_names(a)).astype("Float64").mask(a > 1),
    "frame of text": lambda a: pd.DataFrame(a, columns=_names(a)).astype(str),
    "frame of dates": lambda a: pd.DataFrame(a.astype("M8[ns]"), columns=_names(a)),
    "polars": lambda a: pl.DataFrame(a, schema=_names(a)),
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
        with np.errstate(all="ignore"):
            return change(value)
    except Exception:  # the change does not fit what earlier ones made of the value
        return value


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**30), 2**63, 2**64]),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -1e300, 1e-300, 0.0, 0.5, -0.5, 1.0, 1.5]),
    st.sampled_from([1j, b"x", "", "auto", "wgan", "red", "0", "/", "\0"]),
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


# ------------------------------------------------------------------ calls
@dataclass(frozen=True)
class Call:
    """A public method with good arguments by name, and the shape that its result then has."""

    model: str  # key of MODELS
    call: Callable[..., Any]
    good: dict[str, Any]
    shape: Callable[[dict[str, Any]], tuple[int, ...]]
    plain: dict[str, Any] = field(default_factory=dict)  # arguments that are no arrays


def quick(**params):
    """A regressor that is fitted in some hundredths of a second."""
    settings = {"matcher": "energy", "random_state": 0, "condition_encoder": "flatten"}
    est = plain_regressor(**settings | params)
    few = {"matcher__max_steps": 4, "matcher__n_steps": 2, "autoencoder__max_epochs": 1}
    few["condition_encoder__n_estimators"] = 50
    own = est.get_params()
    return est.set_params(**{name: number for name, number in few.items() if name in own})


def quick_generator():
    return LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=4)


def _named(array):
    return pd.DataFrame(array, columns=_names(array))


MODELS: dict[str, Callable[[], Any]] = {
    "numbers": lambda: quick(matcher="mdn").fit(X, Y[:, 0]),
    "vectors": lambda: quick().fit(X, Y, Y),
    "float32": lambda: quick(matcher="diffusion").fit(X, Y.astype(np.float32)),
    "codes": lambda: quick(matcher="flow", autoencoder="mlp", latent_dim=1).fit(X, Y),
    "tables": lambda: quick(condition_encoder="trees", matcher="wgan").fit(_named(X), _named(Y)),
    "waves": lambda: quick(condition_encoder="periodic").fit(X, Y),
    "raw": lambda: quick(scale_X=False).fit(X, Y),
    "bytes": lambda: quick(autoencoder="pca", latent_dim=3).fit(X, IMAGES, IMAGES),
    "generator": lambda: quick_generator().fit(Y),
    "pipeline": lambda: make_sampling_pipeline(StandardScaler(), quick()).fit(X, Y),
    "ensemble": lambda: SamplingEnsemble(quick(), n_estimators=2, random_state=0).fit(X, Y),
}
Y_OF = {"numbers": Y[:, 0], "bytes": IMAGES}
LATENT_DIM = {"numbers": 1, "codes": 1, "bytes": 3}  # 2 of all others
SHAPE_OF = {name: np.shape(Y_OF.get(name, Y))[1:] for name in MODELS}


@functools.cache
def model(name: str) -> Any:
    """The fitted model of this name, which no call may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MODELS[name]()


@functools.cache
def usual_draws(name: str) -> Any:
    return _draws(name)


def _draws(name: str) -> Any:
    if name == "generator":
        return model(name).sample(3, random_state=0)
    return model(name).sample(_named(X) if name == "tables" else X, 2, random_state=0)


def _count(rows):
    return rows.shape[0] if hasattr(rows, "shape") else len(rows)


def _shape(value):
    if hasattr(value, "shape"):
        return tuple(value.shape)
    return (len(value), *(_shape(value[0]) if hasattr(value[0], "__len__") else ()))


def _method(name):
    return lambda model, **arguments: getattr(model, name)(**arguments)


def _calls_with_conditions(name):
    tail = SHAPE_OF[name]
    seeds = {"random_state": 0}
    yield Call(
        *(
            name,
            _method("sample"),
            {"X": X},
            lambda a: (_count(a["X"]), int(a["n_samples"]), *tail),
        ),
        {"n_samples": 2, "batch_size": "auto", "out": None, **seeds},
    )
    yield Call(
        name, _method("predict"), {"X": X}, lambda a: (_count(a["X"]), *tail), {"n_draws": 8}
    )
    yield Call(
        *(name, _method("predict_quantiles"), {"X": X}),
        lambda a: (_count(a["X"]), np.size(a["quantiles"]), *tail),
        {"quantiles": [0.1, 0.9], "n_draws": 8},
    )
    yield Call(
        *(name, _method("predict_interval"), {"X": X}, lambda a: (_count(a["X"]), 2, *tail)),
        {"coverage": 0.8, "n_draws": 8},
    )
    if name != "pipeline":
        weights = {"sample_weight": np.ones(N)}
        yield Call(name, _method("score"), {"X": X, "y": Y_OF.get(name, Y)} | weights, lambda a: ())
    if name not in ("ensemble", "pipeline"):
        yield Call(
            *(name, _method("sample_latent"), {"X": X}),
            lambda a: (_count(a["X"]), int(a["n_samples"]), LATENT_DIM.get(name, 2)),
            {"n_samples": 2, "batch_size": 3, **seeds},
        )


def _calls_of_the_latent_space(name):
    y, tail, k = Y_OF.get(name, Y), SHAPE_OF[name], LATENT_DIM.get(name, 2)
    yield Call(name, _method("encode"), {"Y": y}, lambda a: (_count(a["Y"]), k))
    yield Call(name, _method("reconstruct"), {"Y": y}, lambda a: (_count(a["Y"]), *tail))
    codes = {"Z": RNG.normal(size=(N, k))}
    yield Call(name, _method("decode"), codes, lambda a: (*_shape(a["Z"])[:-1], *tail))


def _calls_of_functions():
    pairs, draws = {"X": X, "y": Y}, {"n_samples": 20, "random_state": 0}
    for name in ("vectors", "pipeline"):
        yield Call(
            *(name, sklsdm.sample, {"X": X}, lambda a: (_count(a["X"]), int(a["n_samples"]), 2)),
            {"n_samples": 2, "random_state": 0},
        )
    for scorer in (scorers.neg_energy_score, scorers.neg_crps, scorers.neg_sliced_wasserstein):
        yield Call("vectors", scorer, pairs, lambda a: (), draws)
    yield Call(
        "vectors", scorers.neg_coverage_error, pairs, lambda a: (), draws | {"coverage": 0.8}
    )
    yield Call("vectors", scorers.r2_flat, pairs, lambda a: ())


def _calls_that_fit():
    whole = {"X": X, "y": Y, "Y_unpaired": Y, "X_val": X, "y_val": Y, "groups": np.arange(N) % 5}
    yield Call("vectors", _method("fit"), whole, lambda a: ())
    yield Call("bytes", _method("fit"), {"X": X, "y": IMAGES, "Y_unpaired": IMAGES}, lambda a: ())
    yield Call("tables", _method("fit"), {"X": _named(X), "y": _named(Y)}, lambda a: ())
    yield Call("generator", _method("fit"), {"X": Y}, lambda a: ())


CALLS: list[Call] = [
    *(call for name in MODELS if name != "generator" for call in _calls_with_conditions(name)),
    *(c for name in MODELS if name != "ensemble" for c in _calls_of_the_latent_space(name)),
    Call(
        *("generator", _method("sample"), {}, lambda a: (int(a["n_samples"]), 2)),
        {"n_samples": 2, "batch_size": "auto", "out": None, "random_state": 0},
    ),
    Call("generator", _method("score"), {"X": Y}, lambda a: ()),
    *_calls_of_functions(),
]
FITS = list(_calls_that_fit())


@st.composite
def cases(draw, calls):
    """A call, the argument that is changed, and its new value."""
    call = draw(st.sampled_from(calls))
    name = draw(st.sampled_from([*call.good, *call.plain]))
    if name in call.plain:
        return call, name, draw(anything)
    # A first step of a pipeline, which is not ours, reads dates as numbers.
    left_out = ("dates", "masked") if call.model == "pipeline" else ()
    containers = [kind for kind in CONTAINERS if not any(word in kind for word in left_out)]
    known = call.good[name]
    if draw(st.integers(0, 9)) == 0:
        return call, name, draw(anything)
    return call, name, draw(changed(known, containers))


# ------------------------------------------------------------------ what came of it
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


def fault_of(
    name: str, value: Any, run: Callable[[], Any], shape: Callable[[], Any]
) -> tuple[str, str]:
    """How a call ended ("result" or the error's class), and what is wrong with that, if anything.

    `name` is the changed argument, now `value`; `shape` gives the shape of a result.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = run()
        except PROMISED as error:
            kind = type(error).__name__
            if isinstance(error, DivergenceError) or re.search(rf"\b{name}\b", str(error)):
                return kind, ""
            return kind, f"{kind} that does not name {name}: {error}"
        except Exception as error:
            return type(error).__name__, f"{type(error).__name__} is not promised: {error}"
    if loses_meaning(value):
        return "result", "a result, though the value cannot be read as numbers"
    numbers = np.asarray(found)
    if numbers.dtype.kind != "f" or not np.isfinite(numbers).all():
        return "result", f"a result that is not finite, of dtype {numbers.dtype}"
    if numbers.shape != tuple(shape()):
        return "result", f"a result of shape {numbers.shape}, not {tuple(shape())}"
    return "result", ""


def call_fault(call: Call, name: str, value: Any) -> tuple[str, str]:
    """`fault_of` a call with one argument replaced; the fitted model must draw as before."""
    arguments = call.good | call.plain | {name: value}
    if "X" in call.good and call.model == "tables" and name != "X":
        arguments["X"] = _named(X)
    ended, fault = fault_of(
        name,
        None if call.model == "pipeline" else value,  # its first step may read dates
        lambda: call.call(model(call.model), **arguments),
        lambda: call.shape(arguments),
    )
    return ended, fault or _changed_model(call.model)


def fit_fault(call: Call, name: str, value: Any) -> tuple[str, str]:
    """`fault_of` a fit with one argument replaced, on a model that is fitted already."""
    arguments = call.good | {name: value}
    given = [key for key in ("X_val", "y_val") if arguments.get(key, 0) is None]
    if given:
        arguments |= {"X_val": None, "y_val": None}

    def run():
        fresh = clone(model(call.model)).fit(**arguments)
        return fresh.sample(3) if call.model == "generator" else fresh.sample(arguments["X"])

    def shape():
        y = arguments["X" if call.model == "generator" else "y"]
        rows = 3 if call.model == "generator" else _count(arguments["X"])
        tail = _shape(y)[1:]
        return (rows, *(() if call.model == "generator" else (1,)), *tail)

    ended, fault = fault_of(name, None if name == "groups" else value, run, shape)
    if not fault and ended != "result":  # an estimator that is fitted stays what it was
        fitted = model(call.model)
        ended, fault = fault_of(name, None, lambda: fitted.fit(**arguments), shape)
        fault = fault if ended != "result" else "a second fit did what the first refused"
    return ended, fault or _changed_model(call.model)


def _changed_model(name: str) -> str:
    same = np.array_equal(_draws(name), usual_draws(name))
    return "" if same else "the fitted model draws otherwise than before"


# ------------------------------------------------------------------ settings
def _owners():
    """Estimators whose settings are tried, with the prefix of these settings and the data."""
    yield "regressor", quick, "", (X, Y, Y)
    yield "generator", quick_generator, "", (Y,)
    yield "ensemble", lambda: SamplingEnsemble(quick(), n_estimators=2), "", (X, Y)
    for name in MATCHERS:
        yield name, functools.partial(quick, matcher=name), "matcher__", (X, Y, Y)
    for name in AUTOENCODERS:
        images = name in ("conv", "feature-map")
        y = IMAGES if images else Y
        yield (
            name,
            functools.partial(quick, autoencoder=name, latent_dim="auto"),
            "autoencoder__",
            (X, y),
        )
    for name in ENCODERS:
        part = functools.partial(quick, condition_encoder=name)
        yield name, part, "condition_encoder__", (CONDITIONS if name == "conv" else X, Y)


OWNERS = {name: owner for name, *owner in _owners()}


def _settings_of(owner):
    make, prefix, _ = OWNERS[owner]
    for name in make().get_params():
        if name.startswith(prefix) and "__" not in name.removeprefix(prefix):
            yield owner, name


SETTINGS = [setting for owner in OWNERS for setting in _settings_of(owner)]
settings = st.tuples(st.sampled_from(SETTINGS), anything).map(lambda pair: (*pair[0], pair[1]))


@functools.cache
def fitted_owner(owner: str) -> Any:
    """The fitted estimator of this name, and its draws."""
    make, _, data = OWNERS[owner]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        est = make().fit(*data)
        return est, _sampled(est, data)


def _sampled(est: Any, data: Any) -> Any:
    if isinstance(est, LSDMGenerator):
        return est.sample(3, random_state=0)
    return est.sample(data[0], 2, random_state=0)


def settings_fault(owner: str, name: str, value: Any) -> tuple[str, str]:
    """`fault_of` a fit with this setting; a fitted estimator must draw as before if it fails."""
    (fitted, usual), data = fitted_owner(owner), OWNERS[owner][2]
    est = copy.deepcopy(fitted)

    def run():
        est.set_params(**{name: value}).fit(*data)
        return _sampled(est, data)

    ended, fault = fault_of(name, None, run, lambda: usual.shape)
    if not fault and ended != "result":
        same = np.array_equal(_sampled(est, data), usual)
        fault = "" if same else "the fitted estimator draws otherwise than before"
    return ended, fault

"""Every public method with good arguments, and what may come of a call with a bad one.

`CALLS` and `FITS` list the calls, `SETTINGS` the parameters of all estimators and parts. A call
must end in a finite result of the promised shape or in a promised error that names the argument,
and leave fitted estimators as they were: `call_fault`, `fit_fault` and `settings_fault` say in
words where this is not so.
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
from bad_values import CONTAINERS, anything, changed, loses_meaning, names_of, shape_of
from helpers import plain_regressor
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import (
    DivergenceError,
    LSDMGenerator,
    SamplingEnsemble,
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


# ------------------------------------------------------------------ calls
@dataclass(frozen=True)
class Call:
    """A public method with good arguments by name, and the shape that its result then has."""

    model: str  # key of MODELS
    call: Callable[..., Any]
    good: dict[str, Any]
    shape: Callable[[dict[str, Any]], tuple[int, ...]]
    plain: dict[str, Any] = field(default_factory=dict)  # arguments that are no arrays

    @property
    def name(self) -> str:
        return self.call.__name__


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
    return pd.DataFrame(array, columns=names_of(array))


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


def _method(name):
    def call(model, **arguments):
        return getattr(model, name)(**arguments)

    call.__name__ = name
    return call


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
    yield Call(name, _method("decode"), codes, lambda a: (*shape_of(a["Z"])[:-1], *tail))


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


def conformalize(model, **pairs):
    """Intervals for two conditions, of a copy that is calibrated by the pairs."""
    calibrated = copy.deepcopy(model).conformalize(**pairs)
    return calibrated.predict_interval(X[:2], 0.5, conformal=True)


def diagnose(model, **pairs):
    """A number of the diagnosis, which must have its page too."""
    found = model.diagnose(**pairs)
    assert len(str(found)) > 1000
    return np.float64(found.risk.stage_1)


def _calls_after_the_fit():
    for name in ("vectors", "bytes"):
        pairs, shape = {"X": X, "y": Y_OF.get(name, Y)}, (2, 2, *SHAPE_OF[name])
        yield Call(name, conformalize, pairs, lambda a, shape=shape: shape, {"n_draws": 8})
    yield Call("vectors", diagnose, {"X": X, "y": Y}, lambda a: (), {"random_state": 0})


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
    *_calls_after_the_fit(),
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
            if isinstance(error, DivergenceError) or re.search(rf"\b{name}(\b|__)", str(error)):
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
        tail = shape_of(y)[1:]
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
        own = name.startswith(prefix) and "__" not in name.removeprefix(prefix)
        if own and name != "n_jobs":  # which starts processes
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

"""Modes of torch and numpy that the caller has set change neither a fit nor a draw."""

import ast
import inspect
import pickle
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import plain_regressor, shorten_epochs, slow_but
from numpy.testing import assert_array_equal

import sklsdm
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.matchers import MATCHERS
from sklsdm.public_calls import on_one_fit


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "grad off": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: default_device("meta"),
    "device context": lambda: torch.device("meta"),
    "deterministic": deterministic,
    "numpy raises": lambda: np.errstate(all="raise"),
}
MOST = ("float64", "inference_mode", "autocast", "default device", "deterministic", "numpy raises")


@contextmanager
def all_modes():
    """The modes that go together, all at once."""
    with ExitStack() as stack:
        for name in MOST:
            stack.enter_context(MODES[name]())
        yield


def problem(images=False):
    """Pairs, and unpaired responses unless these are images."""
    random = np.random.default_rng(0)
    X = random.normal(size=(40, 2))
    if images:
        return X, random.random((40, 8, 8)).astype(np.float32), None
    return X, random.normal(size=(40, 3)), random.normal(size=(60, 3))


@pytest.fixture(autouse=True)
def short_epochs(monkeypatch):
    shorten_epochs(monkeypatch, 5)


def estimator(matcher="energy", autoencoder="identity", **params):
    """One whose fit takes a few steps."""
    est = plain_regressor(matcher=matcher, autoencoder=autoencoder, random_state=0, **params)
    est.set_params(matcher__max_steps=5)
    if "max_epochs" in AUTOENCODERS[autoencoder]().get_params():
        est.set_params(autoencoder__max_epochs=1)
    return est


def results(est, X, y):
    """What the public methods give for some rows, by name."""
    X, y = X[:5], y[:5]
    return {
        "sample": est.sample(X, 3, random_state=0),
        "sample_latent": est.sample_latent(X, 2, random_state=0),
        "predict": est.predict(X, n_draws=16),
        "predict_quantiles": est.predict_quantiles(X, n_draws=16),
        "score": est.score(X, y),
        "encode": est.encode(y),
        "reconstruct": est.reconstruct(y),
    }


def assert_same(found, expected):
    for name, value in expected.items():
        assert_array_equal(found[name], value, err_msg=name)


def assert_unmoved_by(mode, make, X, y, more):
    """A fit, draws, and a pickled copy in this mode give what they give outside, bit for bit."""
    est = make().fit(X, y, more)
    alone = results(est, X, y)
    packed = pickle.dumps(est)
    with mode():
        assert_same(results(est, X, y), alone)
        fitted = make().fit(X, y, more)
        loaded = pickle.loads(packed)
    assert_same(results(fitted, X, y), alone)
    assert_same(results(loaded, X, y), alone)


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_changes_nothing(mode):
    assert_unmoved_by(MODES[mode], lambda: estimator("transport", "mlp"), *problem())


@pytest.mark.parametrize("matcher", MATCHERS)
def test_modes_change_no_matcher(matcher):
    assert_unmoved_by(all_modes, lambda: estimator(matcher), *problem())


OTHERS = [name for name in AUTOENCODERS if name != "identity"]  # which is that of the tests above


@pytest.mark.parametrize("autoencoder", slow_but(set(OTHERS) - {"feature-map"}, OTHERS))
def test_modes_change_no_autoencoder(autoencoder):
    images = autoencoder in ("conv", "feature-map")
    matcher = "flow" if autoencoder == "feature-map" else "energy"
    assert_unmoved_by(all_modes, lambda: estimator(matcher, autoencoder), *problem(images))


@pytest.mark.parametrize("encoder", ["trees", "periodic", "lasso"])
@pytest.mark.usefixtures("small_forests")
def test_modes_change_no_condition_encoder(encoder):
    def make():
        return estimator().set_params(condition_encoder=encoder, unpaired="pair")

    assert_unmoved_by(all_modes, make, *problem())


def test_modes_change_no_generator():
    y = problem()[1]
    alone = sklsdm.LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=10)
    alone.fit(y)
    with all_modes():
        fitted = sklsdm.LSDMGenerator(**alone.get_params(deep=False)).fit(y)
        draws, score = fitted.sample(9, random_state=0), fitted.score(y)
    assert_array_equal(draws, alone.sample(9, random_state=0))
    assert score == alone.score(y)


def test_modes_change_no_ensemble():
    X, y, _ = problem()
    ensemble = sklsdm.SamplingEnsemble(estimator(), n_estimators=2, random_state=0).fit(X, y)

    def drawn():
        return {
            "sample": ensemble.sample(X, 3, random_state=0),
            "predict": ensemble.predict(X, n_draws=16),
            "score": ensemble.score(X, y),
        }

    alone = drawn()
    with all_modes():
        assert_same(drawn(), alone)


def test_modes_change_no_metric():
    _, y, more = problem()
    draws = np.random.default_rng(1).normal(size=(40, 8, 3))

    def scores():
        metrics = sklsdm.metrics
        forecasts = [metrics.energy_score, metrics.crps, metrics.variogram_score]
        samples = [metrics.energy_distance, metrics.mmd]
        found = [metric(y, draws) for metric in forecasts] + [metric(y, more) for metric in samples]
        return [*found, metrics.sliced_wasserstein(y, more, random_state=0)]

    alone = scores()
    with all_modes():
        assert scores() == alone


def test_modes_are_the_callers_again():
    """Also after an error."""
    X, y, _ = problem()
    est = estimator().fit(X, y)
    with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
        est.sample(X)
        with pytest.raises(ValueError, match="features"):
            est.sample(X[:, :1])
        assert torch.is_inference_mode_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.zeros(1).device.type == "meta"
    assert torch.is_grad_enabled()


# ------------------------------------------------------------------ for code that is still to come
PACKAGE = Path(sklsdm.__file__).parent
FACTORIES = {"empty", "eye", "full", "linspace", "logspace", "ones", "rand", "randn", "zeros"}


def test_every_new_tensor_names_its_dtype():
    """Otherwise it has the default dtype, which the caller may have set to another."""
    unnamed = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            is_factory = ast.unparse(node.func.value) == "torch" and node.func.attr in FACTORIES
            if is_factory and not any(word.arg == "dtype" for word in node.keywords):
                unnamed.append(f"{path.relative_to(PACKAGE)}:{node.lineno} torch.{node.func.attr}")
    assert unnamed == []


# Public methods that set parameters or learn, or that only pass their arguments on.
CHANGING = {
    "fit",
    "fit_unpaired",
    "conformalize",
    "set_params",
    "get_params",
    "get_metadata_routing",
}


@pytest.mark.parametrize(
    "kind", [sklsdm.LSDMRegressor, sklsdm.LSDMGenerator, sklsdm.SamplingEnsemble]
)
def test_public_methods_read_one_fit(kind):
    """Each has the decorator `on_one_fit`: it owns its modes, and a refit does not disturb it."""
    decorated = on_one_fit(len).__code__
    methods = {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if method.__module__.startswith("sklsdm.")
        and not name.startswith("_")
        and name not in CHANGING
    }
    assert "sample" in methods
    assert [name for name in methods if methods[name].__code__ is not decorated] == []

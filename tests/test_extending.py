"""The matchers and the autoencoder of docs/extending.md keep what those of the package keep."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch
from helpers import CPU, RUN, crescents_distance, matching_data, plain_regressor, two_sided
from numpy.testing import assert_array_equal
from sklearn.base import clone
from test_docs import ROOT, blocks
from test_layers import MODULES, check

from sklsdm import LSDMGenerator, load, save
from sklsdm.autoencoders import AUTOENCODERS, BaseAutoencoder
from sklsdm.matchers import MATCHERS, BaseMatcher, EnergyMatcher
from sklsdm.metrics import energy_distance
from sklsdm.parameters import Declared, learnt, parameter
from sklsdm.run import Stream

PAGE = ROOT / "docs" / "extending.md"
START = {"max_steps": 1, "lr": 1e-9}  # ridge regression with Gaussian noise, where training starts


def file_of(name):
    """The block of the page that is the file of this class."""
    (code,) = [code for _, _, code in blocks(PAGE) if f"class {name}(" in code]
    return code


def module_of(name, path):
    """The module that the page's file is when it is imported; pickles find it by its name."""
    module = types.ModuleType(path)
    sys.modules[path] = module
    exec(compile(file_of(name), str(PAGE), "exec"), vars(module))
    return module


MMDMatcher = module_of("MMDMatcher", "page_mmd").MMDMatcher
DenoisingAutoencoder = module_of("DenoisingAutoencoder", "page_denoising").DenoisingAutoencoder
GAUSSIAN = module_of("GaussianMatcher", "page_gaussian")
PARTS = {"matcher": MMDMatcher, "autoencoder": DenoisingAutoencoder}
BOTH = pytest.mark.parametrize("part", PARTS)


def tiny(part, **params):
    """An estimator with one part of the page and the cheapest other one; the last state draws."""
    matcher = MMDMatcher(max_steps=10) if part == "matcher" else EnergyMatcher(max_steps=10)
    autoencoder = "pca" if part == "matcher" else DenoisingAutoencoder(max_epochs=1)
    est = plain_regressor(3, matcher, autoencoder=autoencoder, random_state=0)
    return est.set_params(validation_fraction=0.0, **params)


def problem():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X @ rng.normal(size=(2, 10)) + rng.normal(size=(60, 10))
    return X[:30], y[:30], y[30:]


# ------------------------------------------------------------------ as the page says
@pytest.mark.parametrize(
    ("name", "path", "most"),
    [("MMDMatcher", "matchers.mmd", 75), ("DenoisingAutoencoder", "autoencoders.denoising", 60)],
)
def test_files_are_short_and_would_fit_into_the_package(name, path, most):
    code = file_of(name)
    assert len(code.splitlines()) <= most
    assert check(path, code, {*MODULES, path}) == []
    assert all(len(line) <= 100 for line in code.splitlines())


def test_a_row_in_the_table_gives_a_name(monkeypatch):
    monkeypatch.setitem(MATCHERS, "mmd", MMDMatcher)
    monkeypatch.setitem(AUTOENCODERS, "denoising", DenoisingAutoencoder)
    est = plain_regressor(3, "mmd", autoencoder="denoising", random_state=0)
    assert est.get_params()["matcher__bandwidths"] == MMDMatcher().bandwidths
    est.set_params(matcher__max_steps=2, autoencoder__max_epochs=1, autoencoder__noise=0.1)
    assert est.fit(*problem()).autoencoder_.noise == 0.1


# ------------------------------------------------------------------ fits
@pytest.mark.parametrize("use", ["latent", "match", "pair"])
@BOTH
def test_fit_and_draw(part, use):
    X, y, Y_unpaired = problem()
    est = tiny(part, unpaired=use).fit(X, y, Y_unpaired)
    draws = est.sample(X[:5], 3, random_state=0)
    assert draws.shape == (5, 3, 10)
    assert np.isfinite(draws).all()
    assert_array_equal(clone(est).fit(X, y, Y_unpaired).sample(X[:5], 3, random_state=0), draws)


@BOTH
def test_pairs_alone(part):
    X, y, _ = problem()
    est = tiny(part, unpaired="match").fit(X, y)
    assert est.predict(X[:5]).shape == (5, 10)
    assert len(est.history_[part]["train_loss"]) == 1
    assert isinstance(est.matcher_, BaseMatcher)
    assert isinstance(est.autoencoder_, BaseAutoencoder)


def test_unpaired_responses_change_what_the_matcher_learns():
    fits = [tiny("matcher", unpaired=use).fit(*problem()) for use in ("latent", "match")]
    draws = [est.sample(problem()[0], random_state=0) for est in fits]
    assert (draws[0] != draws[1]).any()


@BOTH
def test_pickles(part):
    X, *_ = problem()
    est = tiny(part).fit(*problem())
    found = pickle.loads(pickle.dumps(est))
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_a_network_of_ones_own_is_saved(tmp_path):
    X, y, Y_unpaired = problem()
    est = plain_regressor(3, GAUSSIAN.GaussianMatcher(max_steps=10), autoencoder="pca")
    est.set_params(random_state=0).fit(X, y, Y_unpaired)
    draws = est.sample(X, random_state=0)
    path = tmp_path / "gaussian.safetensors"
    save(est, path)
    with pytest.raises(ValueError, match="classes="):
        load(path, classes=[GAUSSIAN.GaussianMatcher])
    for found in (
        load(path, classes=[GAUSSIAN.GaussianMatcher, GAUSSIAN.GaussianNet]),
        pickle.loads(pickle.dumps(est)),
    ):
        assert_array_equal(found.sample(X, random_state=0), draws)


@BOTH
def test_image_conditions_and_checkpoints(part, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 1, 6, 6))
    y = problem()[1]
    plain = tiny(part).fit(X, y)
    resumable = tiny(part, checkpoint=tmp_path).fit(X, y)
    assert_array_equal(plain.sample(X[:3], random_state=0), resumable.sample(X[:3], random_state=0))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


# ------------------------------------------------------------------ parameters
OWN = {"matcher": ("bandwidths", (0.2,), ()), "autoencoder": ("noise", 0.1, -1.0)}


@BOTH
def test_parameters(part):
    name, good, bad = OWN[part]
    kind = PARTS[part]
    found = clone(kind().set_params(**{name: good}))
    assert found.get_params()[name] == getattr(found, name) == good
    assert repr(found) == f"{kind.__name__}({name}={good!r})"
    with pytest.raises(TypeError):
        kind(nonsense=1)
    est = tiny(part, **{f"{part}__{name}": bad})
    with pytest.raises(ValueError, match=f"^{part}__{name} must "):
        est.fit(*problem())
    with pytest.raises(ValueError, match=f"^{part}__lr must "):
        tiny(part, **{f"{part}__lr": 0.0}).fit(*problem())


@BOTH
def test_docstrings_list_inherited_parameters(part):
    text, params = PARTS[part].__doc__, PARTS[part]().get_params()
    assert {"lr", "batch_size", "callbacks", "n_iter_no_change"} < params.keys()
    assert [name for name in params if f"\n{name} : " not in text] == []
    order = [text.index(f"\n{title}\n---") for title in ("Parameters", "Attributes", "References")]
    assert order == sorted(order)
    assert "history_ : " in text


def test_inherited_defaults_are_changed_with_their_type():
    with pytest.raises(TypeError, match=r"write `lr: <type> = 0\.1`"):
        type("Silent", (MMDMatcher,), {"lr": 0.1})

    class Loud(MMDMatcher):
        lr: float = 0.1

    assert Loud().lr == 0.1


def test_types_in_docstrings_without_postponed_annotations():
    class Documented(Declared):
        """Something."""

        size: int | None = parameter(default=None, doc="Of it.")
        found_: int = learnt("What was found.")

    assert "size : int | None, default=None" in Documented.__doc__
    assert "found_ : int\n" in Documented.__doc__


def test_streams_of_ones_own():
    own, next_to_it, step = (
        torch.rand(3, generator=RUN.stream(number)) for number in (1000, 1001, Stream.MATCHER_STEPS)
    )
    assert (own != next_to_it).all()
    assert (own != step).all()
    assert max(Stream) < 1000


# ------------------------------------------------------------------ what they learn
@pytest.mark.slow
def test_matcher_finds_a_law_that_is_known():
    """y given x lies on either of two sides; energy distance of the residuals to that law."""
    X, y = two_sided()
    law = np.random.default_rng(1).choice([-1.0, 1.0], (2000, 1))
    law += 0.1 * np.random.default_rng(2).normal(size=law.shape)

    def distance(**params):
        est = plain_regressor(matcher=MMDMatcher(**params), random_state=0).fit(X, y)
        residual = est.sample(X, 3, random_state=0) - X
        return energy_distance(residual.reshape(-1, 1), law)

    assert distance(max_steps=250) < 0.2 * distance(**START)


def test_matcher_learns_from_codes_without_a_condition():
    alone, with_codes = (crescents_distance(MMDMatcher(max_steps=200), use) for use in (0, 1))
    assert with_codes < 0.8 * alone


def test_matcher_without_conditions():
    y = np.random.default_rng(0).choice([-1.0, 1.0], (300, 1)) * [1.0, 0.5]
    y += 0.1 * np.random.default_rng(1).normal(size=y.shape)
    trained, start = (
        LSDMGenerator(matcher=MMDMatcher(**params), random_state=0).fit(y).score(y)
        for params in ({"max_steps": 150}, START)
    )
    assert trained > 0.5 * start


def test_no_term_for_codes_without_a_weight():
    rows = torch.randn((40, 2), generator=torch.Generator().manual_seed(0))
    fits = [
        MMDMatcher(max_steps=5, unpaired_weight=0.0).fit(matching_data(rows, rows, codes), RUN)
        for codes in (rows, None)
    ]
    draws = [fit.draw(rows, torch.ones((40, fit.noise_dim_), device=CPU)) for fit in fits]
    assert_array_equal(*draws)


@pytest.mark.slow
def test_autoencoder_takes_noise_out():
    """Curves of one shape and random phase: nearer to the truth than with no noise added."""
    rng = np.random.default_rng(0)
    phase = rng.uniform(0, 2 * np.pi, (400, 1))
    truth = np.sin(phase + np.linspace(0, 9, 20)) + np.cos(2 * phase + np.linspace(0, 5, 20))
    noisy = truth + 0.4 * rng.normal(size=truth.shape)

    def error(noise):
        est = plain_regressor(4, EnergyMatcher(max_steps=1), random_state=0)
        autoencoder = DenoisingAutoencoder(noise=noise, max_epochs=10, widths=(128, 64))
        est.set_params(autoencoder=autoencoder)
        return np.square(est.fit(phase, noisy).reconstruct(noisy) - truth).mean()

    assert error(0.5) < 0.8 * error(0.0)
    assert error(0.0) < 0.05  # that of the noise is .16

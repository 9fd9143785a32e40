"""LSDMGenerator: the promises of the unconditional case, with every matcher."""

import pickle

import numpy as np
import pytest
from helpers import ALL_MATCHERS
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score

import sklsdm
from sklsdm import LSDMGenerator
from sklsdm.matchers import (
    MATCHERS,
    BaseMatcher,
    EnergyMatcher,
    TransportMatcher,
    WGANMatcher,
    transport,
)

DATA = np.random.default_rng(0).normal(size=(120, 3)) @ np.diag([1.0, 2.0, 0.5]) + 4


def tiny(matcher, **params):
    est = LSDMGenerator(matcher=matcher, random_state=0, **params)
    return est.set_params(matcher__max_steps=30)


@pytest.fixture(scope="module", params=list(MATCHERS))
def fitted(request):
    return tiny(request.param).fit(DATA)


def test_draws_have_the_shape_and_place_of_the_data(fitted):
    draws = fitted.sample(500, random_state=1)
    assert draws.shape == (500, 3)
    assert draws.dtype == np.float64
    assert_allclose(draws.mean(axis=0), DATA.mean(axis=0), atol=0.5)
    assert_allclose(draws.std(axis=0), DATA.std(axis=0), rtol=0.35)


def test_equal_seeds_give_equal_draws(fitted):
    draws = fitted.sample(50, random_state=1)
    again = clone(fitted).fit(DATA)
    assert_array_equal(again.sample(50, random_state=1), draws)
    assert_allclose(fitted.sample(50, random_state=1, batch_size=7), draws, rtol=1e-5, atol=1e-5)
    assert not np.array_equal(fitted.sample(50, random_state=2), draws)
    out = np.empty((50, 3))
    assert fitted.sample(50, random_state=1, out=out) is out
    assert_array_equal(out, draws)


def test_a_pickle_draws_the_same(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.sample(20, random_state=3), fitted.sample(20, random_state=3))


def test_score_is_higher_on_data_of_the_same_law(fitted):
    assert fitted.score(DATA) > fitted.score(DATA + 2) + 0.1


@ALL_MATCHERS
def test_images_come_back_as_images_in_range(matcher):
    images = np.random.default_rng(1).integers(0, 256, size=(60, 4, 4), dtype=np.uint8)
    draws = tiny(matcher, latent_dim=3, autoencoder="pca").fit(images).sample(9, random_state=0)
    assert draws.shape == (9, 4, 4)
    assert draws.min() >= 0
    assert draws.max() <= 1


def test_cross_validation_scores_it():
    assert cross_val_score(tiny("energy"), DATA, cv=2).max() < 0


def test_images_with_codes_that_are_images_get_a_critic_by_default(monkeypatch):
    monkeypatch.setattr(WGANMatcher, "fewest_code_images", 50)
    monkeypatch.setattr(LSDMGenerator, "_fit_stages", lambda *args: None)
    images = np.random.default_rng(1).integers(0, 256, size=(60, 16, 16), dtype=np.uint8)

    def kind(data, **params):
        est = LSDMGenerator(**params)
        est._learn(data, 0)
        return est._new_part("matcher")

    assert isinstance(kind(images), WGANMatcher)
    assert isinstance(kind(images[:40], autoencoder="feature-map"), WGANMatcher)
    for data, params in ((images[:40], {}), (images[:, 1:], {}), (DATA, {})):
        assert isinstance(kind(data, **params), TransportMatcher)
    assert isinstance(kind(images, latent_dim=3), TransportMatcher)
    assert isinstance(kind(images, matcher="energy"), EnergyMatcher)


@pytest.mark.slow
def test_a_default_fit_is_saved_refitted_and_goes_on(tmp_path):
    est = LSDMGenerator(random_state=0, warm_start=True).fit(DATA)
    assert isinstance(est.matcher_, TransportMatcher)
    assert est.matcher == "auto"
    draws = est.sample(9, random_state=0)
    sklsdm.save(est, tmp_path / "est.safetensors")
    same = sklsdm.load(tmp_path / "est.safetensors")
    assert_array_equal(same.sample(9, random_state=0), draws)
    assert_array_equal(clone(est).fit(DATA).sample(9, random_state=0), draws)
    same.fit(DATA)
    assert isinstance(same.matcher_, TransportMatcher)


@pytest.mark.slow
def test_the_critic_by_default_draws_images_goes_on_and_gives_way(monkeypatch):
    monkeypatch.setattr(BaseMatcher, "budget", lambda self, n_rows: 4)
    images = np.random.default_rng(1).integers(0, 256, size=(60, 16, 16), dtype=np.uint8)
    est = LSDMGenerator(autoencoder="feature-map", random_state=0).set_params(
        autoencoder__max_epochs=1
    )
    assert isinstance(est.fit(images).matcher_, WGANMatcher)
    assert est.sample(3, random_state=0).shape == (3, 16, 16)
    assert isinstance(est.set_params(warm_start=True).fit(images).matcher_, WGANMatcher)
    est.set_params(warm_start=False, autoencoder="pca")
    assert isinstance(est.fit(DATA).matcher_, TransportMatcher)


def test_parameters_of_a_matcher_that_is_not_named():
    est = LSDMGenerator()
    with pytest.raises(ValueError, match="matcher='auto' names none: pass matcher='transport'"):
        est.set_params(matcher__max_steps=3, latent_dim=2)
    assert est.latent_dim == "auto"
    assert est.set_params(matcher="wgan", matcher__max_steps=3).matcher.max_steps == 3
    assert est.set_params(matcher="auto").matcher == "auto"


def test_a_failed_fit_keeps_what_was_learnt():
    est = tiny("energy").fit(DATA)
    draws = est.sample(5, random_state=0)
    with pytest.raises(ValueError, match="X"):
        est.fit(np.where(DATA > 6, np.nan, DATA))
    assert_array_equal(est.sample(5, random_state=0), draws)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda est: est.sample(0), ValueError, "n_samples must be at least 1, got 0"),
        (lambda est: est.sample(2, batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda est: est.score(DATA[:, :2]), ValueError, "2 features, but LSDMGenerator"),
        (lambda est: clone(est).sample(1), NotFittedError, "not fitted"),
        (lambda est: clone(est).fit(DATA[:1]), ValueError, "at least 2 rows"),
    ],
)
def test_calls_that_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(tiny("energy").fit(DATA))


def test_images_need_no_transport_package(monkeypatch):
    """Where codes are images "auto" is "wgan"; POT may be missing there."""

    def missing():
        raise ImportError("pip install pot")

    monkeypatch.setattr(transport, "import_pot", missing)
    rng = np.random.default_rng(0)
    with monkeypatch.context() as patch:
        patch.setattr(LSDMGenerator, "_fit_stages", lambda *args: None)
        est = LSDMGenerator(autoencoder="feature-map")
        est._check_settings()
        est._learn(rng.normal(size=(30, 16, 16)), 0)
        assert isinstance(est._new_part("matcher"), WGANMatcher)
    with pytest.raises(ImportError, match="pot"):
        LSDMGenerator().fit(rng.normal(size=(30, 2)))


def test_score_does_not_depend_on_the_order_of_the_rows():
    data = np.sort(np.random.default_rng(0).normal(size=(5000, 1)), axis=0)
    est = tiny("energy").fit(data)
    shuffled = np.random.default_rng(1).permutation(data)
    assert est.score(data) == pytest.approx(est.score(shuffled), abs=0.02)

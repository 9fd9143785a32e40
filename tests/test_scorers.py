"""Scorers inside scikit-learn's searches, against estimators whose draws are known."""

import doctest
import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import plain_regressor
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklsdm import metrics, scorers

PROPER = [scorers.neg_energy_score, scorers.neg_crps, scorers.neg_sliced_wasserstein]
DRAWING = [*PROPER, scorers.neg_coverage_error]


class Gaussian(RegressorMixin, BaseEstimator):
    """Draws y = x + N(0, spread²) in two outputs; with `shuffle`, at another row's x."""

    def __init__(self, spread=0.5, shuffle=False):
        self.spread = spread
        self.shuffle = shuffle

    def fit(self, X, y, note=None):
        self.centre_ = X.mean(axis=0)
        self.note_ = note
        return self

    def predict(self, X):
        return np.asarray(X, dtype=float)

    def sample(self, X, n_samples=1, *, random_state=None):
        rng = np.random.default_rng(random_state)
        location = self.predict(X)
        if self.shuffle:
            location = location[rng.permutation(len(location))]
        shape = (len(location), n_samples, location.shape[1])
        return location[:, None] + self.spread * rng.normal(size=shape)


class Images(BaseEstimator):
    """Draws and predicts the given images, as floats in [0, 1], whatever X is."""

    def __init__(self, images=None):
        self.images = images

    def predict(self, X):
        return np.asarray(self.images)[: len(X)] / 255

    def sample(self, X, n_samples=1, *, random_state=None):
        return np.repeat(self.predict(X)[:, None], n_samples, axis=1)


@pytest.fixture(scope="module")
def pairs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    return X, X + 0.5 * rng.normal(size=X.shape)


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("scorer", DRAWING)
def test_grid_search_finds_the_true_spread(scorer, routing, pairs):
    with sklearn.config_context(enable_metadata_routing=routing):
        model = Gaussian().set_fit_request(note=True) if routing else Gaussian()
        search = GridSearchCV(model, {"spread": [0.1, 0.5, 1.5]}, scoring=scorer, cv=3)
        search.fit(*pairs, note="travels")
    assert search.best_params_ == {"spread": 0.5}
    assert search.best_estimator_.note_ == "travels"
    assert (search.cv_results_["mean_test_score"] <= 0).all()


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("scorer", [*DRAWING, scorers.r2_flat])
def test_cross_validation_scores_every_fold(scorer, routing, pairs):
    with sklearn.config_context(enable_metadata_routing=routing):
        found = cross_val_score(Gaussian(), *pairs, scoring=scorer, cv=3, error_score="raise")
    assert found.shape == (3,)
    assert np.isfinite(found).all()
    assert len(set(found)) == 3


def test_scorers_draw_through_a_pipeline(pairs):
    X, y = pairs
    model = make_pipeline(StandardScaler(), Gaussian()).fit(X, y)
    inside = Gaussian().fit(X, y)
    found = scorers.neg_energy_score(model, X, y)
    assert found == pytest.approx(scorers.neg_energy_score(inside, (X - X.mean(0)) / X.std(0), y))


def test_values_are_those_of_the_metrics(pairs):
    X, y = pairs
    draws = Gaussian().sample(X, 30, random_state=7)
    settings = {"n_samples": 30, "random_state": 7}
    expected = -metrics.energy_score(y, draws)
    assert scorers.neg_energy_score(Gaussian(), X, y, **settings) == expected
    assert scorers.neg_crps(Gaussian(), X, y, **settings) == -metrics.crps(y, draws)


@pytest.mark.parametrize("scorer", DRAWING)
def test_scores_repeat_and_follow_random_state(scorer, pairs):
    first = scorer(Gaussian(), *pairs)
    assert isinstance(first, float)
    assert scorer(Gaussian(), *pairs) == first


@pytest.mark.parametrize("scorer", PROPER)
def test_other_random_states_draw_anew(scorer, pairs):
    assert scorer(Gaussian(), *pairs, random_state=1) != scorer(Gaussian(), *pairs)


@pytest.mark.parametrize("scorer", [*DRAWING, scorers.r2_flat])
def test_scorers_pickle(scorer, pairs):
    assert pickle.loads(pickle.dumps(scorer)) is scorer
    if scorer is not scorers.r2_flat:
        few = pickle.loads(pickle.dumps(partial(scorer, n_samples=20)))
        assert few(Gaussian(), *pairs) == scorer(Gaussian(), *pairs, n_samples=20)


# ------------------------------------------------------------------ sliced Wasserstein
def test_sliced_wasserstein_punishes_ignoring_the_condition(pairs):
    """The shuffled model has the right marginal law of y, hence only the joint law tells."""
    right = scorers.neg_sliced_wasserstein(Gaussian(), *pairs)
    wrong = scorers.neg_sliced_wasserstein(Gaussian(shuffle=True), *pairs)
    assert wrong < 3 * right < 0


def test_sliced_wasserstein_does_not_see_units(pairs):
    class Scaled(Gaussian):
        def predict(self, X):
            return super().predict(X) / [10.0, 0.1]

        def sample(self, X, n_samples=1, *, random_state=None):
            return 1e3 * super().sample(X, n_samples, random_state=random_state)

    X, y = pairs
    plain = scorers.neg_sliced_wasserstein(Gaussian(), X, y)
    found = scorers.neg_sliced_wasserstein(Scaled(), X * [10.0, 0.1], 1e3 * y)
    assert found == pytest.approx(plain)


def test_sliced_wasserstein_takes_a_constant_column(pairs):
    X, y = pairs
    X = np.column_stack([X[:, 0], np.ones(len(X))])
    assert np.isfinite(scorers.neg_sliced_wasserstein(Gaussian(), X, y))


def test_sliced_wasserstein_names_an_unfit_condition(pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"X of shape \(n, p\).*\(150, 2, 1\)"):
        scorers.neg_sliced_wasserstein(Gaussian(), X[..., None], y)
    with pytest.raises(ValueError, match="X: found an array of strings"):
        scorers.neg_sliced_wasserstein(Gaussian(), X.astype(str), y)


# ------------------------------------------------------------------ coverage
@pytest.mark.parametrize(("coverage", "n_samples"), [(0.9, 19), (0.9, 40), (0.5, 30), (0.8, 100)])
def test_intervals_of_the_truth_cover_what_they_say(coverage, n_samples):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, 2))
    y = X + 0.5 * rng.normal(size=X.shape)
    found = scorers.neg_coverage_error(Gaussian(), X, y, coverage=coverage, n_samples=n_samples)
    assert -0.01 < found <= 0  # 4 standard errors


def test_both_too_wide_and_too_narrow_lose(pairs):
    narrow, right, wide = (
        scorers.neg_coverage_error(Gaussian(spread), *pairs, coverage=0.8)
        for spread in (0.1, 0.5, 2.5)
    )
    assert wide == pytest.approx(-0.2, abs=0.02)
    assert narrow < -0.4
    assert right > -0.05


def test_coverage_error_names_bad_settings(pairs):
    with pytest.raises(ValueError, match=r"coverage must be above 0 and below 1, got 90"):
        scorers.neg_coverage_error(Gaussian(), *pairs, coverage=90)
    with pytest.raises(ValueError, match=r"n_samples must be at least 19 .* got 18"):
        scorers.neg_coverage_error(Gaussian(), *pairs, n_samples=18)


# ------------------------------------------------------------------ images
def test_byte_images_are_compared_on_the_scale_of_the_draws():
    images = np.random.default_rng(0).integers(0, 256, size=(20, 4, 4), dtype=np.uint8)
    X = np.arange(20.0)[:, None]
    model = Images(images)
    assert scorers.neg_energy_score(model, X, images, n_samples=2) == pytest.approx(0, abs=1e-12)
    assert scorers.neg_crps(model, X, images, n_samples=2) == pytest.approx(0, abs=1e-12)
    assert scorers.neg_sliced_wasserstein(model, X, images) == pytest.approx(0, abs=1e-12)
    assert scorers.r2_flat(model, X, images) == 1.0


@pytest.mark.parametrize("scorer", [*DRAWING, scorers.r2_flat], ids=lambda each: each.__name__)
def test_columns_in_another_order_are_refused(scorer):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 2))
    y = pd.DataFrame(X + rng.normal(size=X.shape), columns=["u", "v"])
    est = make_pipeline(StandardScaler(), plain_regressor(matcher="energy", random_state=0))
    est = est.set_params(lsdmregressor__matcher__max_steps=5).fit(X, y)
    assert np.isfinite(scorer(est, X, y))
    with pytest.raises(ValueError, match=r"y has columns \['v', 'u'\], but y had"):
        scorer(est, X, y[["v", "u"]])


def test_r2_flat_weighs_outputs_by_variance():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(20, 2, 3), dtype=np.uint8)
    images[:, 0] //= 50
    y = images / 255 + 0.1 * rng.normal(size=images.shape)
    predicted = (images / 255).reshape(20, -1)
    expected = r2_score(y.reshape(20, -1), predicted, multioutput="variance_weighted")
    found = scorers.r2_flat(Images(images), np.zeros((20, 1)), y)
    assert found == pytest.approx(expected)
    assert abs(found - r2_score(y.reshape(20, -1), predicted)) > 0.01


def test_r2_flat_names_shapes_that_do_not_fit(pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"predict gave shape \(150, 2\) for y of shape \(150,\)"):
        scorers.r2_flat(Gaussian(), X, y[:, 0])


def test_examples_run():
    assert doctest.testmod(scorers).failed == 0

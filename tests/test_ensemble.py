"""Several fits whose draws are pooled."""

import pickle

import numpy as np
import pytest
import sklearn
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklsdm
from sklsdm import SamplingEnsemble, Unpaired, make_sampling_pipeline
from sklsdm.datasets import make_arms

ARMS = make_arms(120, random_state=0)
X, Y = ARMS.X[:60], ARMS.y[:60]


def single(**params):
    est = plain_regressor(matcher="energy", validation_fraction=0.0, **params)
    return est.set_params(matcher__max_steps=20)


@pytest.fixture(scope="module")
def fitted():
    return SamplingEnsemble(single(), 3, random_state=0).fit(X, Y, ARMS.y)


# ------------------------------------------------------------------ scikit-learn's checks
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        SamplingEnsemble(
            plain_regressor(matcher="diffusion").set_params(
                matcher__max_steps=5, matcher__n_steps=4
            ),
            2,
        )
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# ------------------------------------------------------------------ draws
def test_fits_that_see_other_columns_are_pooled():
    """Only a fit that learns from the pair with NaN sees a column that tells of it."""
    gappy = X.copy()
    gappy[7, 0] = np.nan
    est = plain_regressor(matcher="energy", condition_encoder="trees")
    est.set_params(matcher__max_steps=2, condition_encoder__n_estimators=50)
    est.set_params(condition_encoder__boosting=False, validation_fraction=0.3)
    est.set_params(condition_encoder__gaussian_process=False)  # which adds columns of its own
    pooled = SamplingEnsemble(est, 5, random_state=0).fit(gappy, Y)
    assert len({fit._n_condition_columns() for fit in pooled.estimators_}) == 2
    means = [fit.predict(gappy[:9], n_draws=200) for fit in pooled.estimators_]
    assert_allclose(pooled.predict(gappy[:9], n_draws=1000), np.mean(means, axis=0), atol=0.1)
    assert np.isfinite(pooled.score(gappy, Y))


def test_draws_come_from_the_fits_in_turn(fitted):
    draws = fitted.sample(X[:4], 7, random_state=0)
    assert draws.shape == (4, 7, 2)
    alone = [fit.sample(X[:4], 200, random_state=1) for fit in fitted.estimators_]
    spreads = [np.ptp(each.mean(axis=1)) for each in alone]
    assert len(set(spreads)) == 3  # the fits differ
    assert fitted.sample(X[:4], 2, random_state=0).shape == (4, 2, 2)  # fewer than fits


def test_equal_seeds_give_equal_draws_in_several_processes_too(fitted):
    draws = fitted.sample(X, 5, random_state=3)
    again = clone(fitted).set_params(n_jobs=2).fit(X, Y, ARMS.y)
    assert_array_equal(again.sample(X, 5, random_state=3), draws)
    assert not np.array_equal(fitted.sample(X, 5, random_state=4), draws)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).sample(X, 5, random_state=3), draws)
    out = np.empty((60, 5, 2))
    assert fitted.sample(X, 5, random_state=3, out=out) is out
    assert_array_equal(out, draws)


def test_settings_of_scikit_learn_reach_every_process():
    """Frames that a step of the pipeline gives have names, which fits remember."""
    steps = make_sampling_pipeline(StandardScaler(), single())
    with sklearn.config_context(transform_output="pandas"):
        pooled = SamplingEnsemble(steps, 2, n_jobs=2, random_state=0).fit(X, Y)
    for fit in pooled.estimators_:
        assert hasattr(fit[-1], "feature_names_in_")


def test_one_fit_is_the_fit():
    ensemble = SamplingEnsemble(single(), 1, random_state=0).fit(X, Y)
    (fit,) = ensemble.estimators_
    assert_allclose(ensemble.predict(X), fit.predict(X), rtol=1e-6)
    assert_allclose(ensemble.score(X, Y), fit.score(X, Y), rtol=1e-6)


# ------------------------------------------------------------------ forecasts
def test_forecasts_are_those_of_the_pooled_draws(fitted):
    means, stds = zip(
        *(fit.predict(X, return_std=True, n_draws=2048) for fit in fitted.estimators_),
        strict=True,
    )
    mean, std = fitted.predict(X, return_std=True, n_draws=6144)
    assert_allclose(mean, np.mean(means, axis=0), atol=0.01)
    wanted = np.sqrt(np.mean(np.square(stds), axis=0) + np.var(means, axis=0))
    assert_allclose(std, wanted, atol=0.01)
    low, high = np.moveaxis(fitted.predict_interval(X), 1, 0)
    assert ((low < mean) & (mean < high)).all()
    assert fitted.predict_quantiles(X, [0.1, 0.5, 0.9]).shape == (60, 3, 2)


def test_fewer_draws_than_fits_give_one_of_each(fitted):
    means = [fit.predict(X, n_draws=3) for fit in fitted.estimators_]
    assert fitted.predict(X, n_draws=1).shape == means[0].shape
    assert_array_equal(fitted.predict(X, n_draws=1), fitted.predict(X, n_draws=3))


def test_pooling_scores_better_than_the_fits_do_on_average():
    arms = make_arms(900, random_state=1)
    est = plain_regressor(matcher="diffusion").set_params(matcher__max_steps=300)
    ensemble = SamplingEnsemble(est, 3, random_state=0).fit(arms.X[:400], arms.y[:400])
    test = arms.X[400:], arms.y[400:]
    alone = [fit.score(*test) for fit in ensemble.estimators_]
    assert ensemble.score(*test) > np.mean(alone)


# ------------------------------------------------------------------ in scikit-learn
def test_pipelines_and_searches():
    inside = SamplingEnsemble(make_sampling_pipeline(StandardScaler(), single()), 2, random_state=0)
    inside.fit(100 * X, Y, Unpaired(ARMS.y))
    assert inside.sample(100 * X[:3], 4, random_state=0).shape == (3, 4, 2)
    around = make_sampling_pipeline(StandardScaler(), SamplingEnsemble(single(), 2))
    around.fit(X, Y, Y_unpaired=Unpaired(ARMS.y))
    assert sklsdm.sample(around, X[:3], 4).shape == (3, 4, 2)
    grid = {"estimator__matcher__n_draws": [2, 3], "n_estimators": [1, 2]}
    search = GridSearchCV(SamplingEnsemble(single(), random_state=0), grid, cv=2).fit(X, Y)
    assert search.best_score_ > -1
    assert sklsdm.sample(search, X[:3], 4).shape == (3, 4, 2)


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": StandardScaler()}, TypeError, r"estimator must be an LSDMRegressor"),
        ({"estimator": "wgan"}, TypeError, r"estimator must be an LSDMRegressor"),
        ({"n_estimators": 0}, ValueError, r"n_estimators must be at least 1, got 0"),
    ],
)
def test_bad_settings(params, error, message):
    with pytest.raises(error, match=message):
        SamplingEnsemble(single()).set_params(**params).fit(X, Y)


def test_a_failed_fit_keeps_what_was_learnt(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="NaN"):
        copy.fit(np.where(X > 0, np.nan, X), Y)
    assert_array_equal(copy.sample(X, 3, random_state=0), fitted.sample(X, 3, random_state=0))


def test_an_out_that_does_not_fit_is_refused_before_draws_are_made(monkeypatch):
    model = SamplingEnsemble(single(), n_estimators=2, random_state=0).fit(X, Y)
    monkeypatch.setattr("sklsdm.draws.drawing.Sampler.fill", None)
    with pytest.raises(ValueError, match=r"out must be .* shape \(.*, 1000000000"):
        model.sample(X, 10**9, out=np.empty((3, 3)))


def test_pairs_have_their_second_names():
    plain = SamplingEnsemble(single(), n_estimators=2, random_state=0).fit(X, Y)
    named = clone(plain).fit(X_paired=X, Y_paired=Y)
    assert_array_equal(named.predict(X[:3]), plain.predict(X[:3]))
    piped = make_sampling_pipeline(single(random_state=0)).fit(X_paired=X, Y_paired=Y)
    assert_array_equal(piped.predict(X[:3]), single(random_state=0).fit(X, Y).predict(X[:3]))


def test_a_warm_start_that_copies_would_lose_is_refused():
    single = plain_regressor(matcher="energy", warm_start=True)
    for model in (SamplingEnsemble(single), SamplingEnsemble(make_sampling_pipeline(single))):
        with pytest.raises(ValueError, match="warm_start=True has no effect in SamplingEnsemble"):
            model.fit(X, Y)

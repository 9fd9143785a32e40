"""Inside scikit-learn: Pipelines, searches, cross-validation, routing, drawing through them."""

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import sklsdm
from sklsdm import (
    DistributionShiftWarning,
    LSDMRegressor,
    SamplingPipeline,
    Unpaired,
    make_sampling_pipeline,
    scorers,
)
from sklsdm.matchers import EnergyMatcher

RNG = np.random.default_rng(0)
X = 50 + 10 * RNG.normal(size=(60, 3))
Y = (X[:, :2] - 50) / 10 + 0.5 * RNG.normal(size=(60, 2))
Y_UNPAIRED = Y[RNG.permutation(60)] + 0.1  # as many rows as there are pairs
CURVES = Y @ RNG.normal(size=(2, 12)) + 0.1 * RNG.normal(size=(60, 12))

MAKERS = pytest.mark.parametrize("make", [make_pipeline, make_sampling_pipeline])


@pytest.fixture
def routing(request):
    with sklearn.config_context(enable_metadata_routing=request.param):
        yield request.param


ROUTED = pytest.mark.parametrize("routing", [False, True], ids=["plain", "routed"], indirect=True)


def quick(matcher="energy", **params):
    est = plain_regressor(matcher=matcher, random_state=0)
    return est.set_params(**{"matcher__max_steps": 20, **params})


def spell(routing, prefix="lsdmregressor__", **extras):
    """The spelling of fit's extras that a plain Pipeline takes."""
    return extras if routing else {prefix + key: value for key, value in extras.items()}


class Spy(LSDMRegressor):
    """Writes down what reached `fit`."""

    seen = ()

    def fit(self, X, y, Y_unpaired=None, *, X_val=None, y_val=None):
        type(self).seen.append((len(X), Y_unpaired, X_val))
        return super().fit(X, y, Y_unpaired, X_val=X_val, y_val=y_val)


@pytest.fixture
def spy():
    Spy.seen = []
    chosen = {"condition_encoder": "flatten", "unpaired": "match"}  # not compared in each fit
    return Spy(matcher=EnergyMatcher(max_steps=10, widths=(32, 32)), random_state=0, **chosen)


# ------------------------------------------------------------------ pipelines
@ROUTED
@MAKERS
def test_a_pipeline_is_the_estimator_on_transformed_conditions(make, routing):
    model = make(StandardScaler(), quick(scale_X=False))
    model.fit(X, Y, **spell(routing, Y_unpaired=Y_UNPAIRED))
    scaled = StandardScaler().fit_transform(X)
    est = quick(scale_X=False).fit(scaled, Y, Y_UNPAIRED)
    assert_array_equal(model.predict(X), est.predict(scaled))
    assert model.score(X, Y) == est.score(scaled, Y)
    drawn = est.sample(scaled, 3, random_state=0)
    assert_array_equal(sklsdm.sample(model, X, 3, random_state=0), drawn)
    few = sklsdm.sample(model, X, 3, random_state=0, batch_size=5)
    assert_allclose(few, drawn, rtol=1e-4, atol=1e-5)


@ROUTED
@pytest.mark.parametrize("prefix", ["", "lsdmregressor__"])
def test_sampling_pipeline_has_the_methods(prefix, routing):
    model = make_sampling_pipeline(StandardScaler(), quick())
    model.fit(X, Y, **spell(False, prefix, Y_unpaired=Y_UNPAIRED))
    scaled, est = StandardScaler().fit_transform(X), model[-1]
    assert est.n_unpaired_ == 60
    for method in ("predict", "predict_quantiles", "predict_interval"):
        assert_array_equal(getattr(model, method)(X), getattr(est, method)(scaled))
    for method in ("sample", "sample_latent"):
        found = getattr(model, method)(X, 2, random_state=0)
        assert_array_equal(found, getattr(est, method)(scaled, 2, random_state=0))
    codes = model.encode(Y)
    assert_array_equal(codes, est.encode(Y))
    assert_array_equal(model.decode(codes), model.reconstruct(Y))
    out = np.empty((60, 2, 2))
    assert model.sample(X, 2, out=out) is out


def test_sampling_pipeline_is_a_pipeline():
    model = SamplingPipeline([("scale", StandardScaler()), ("draw", quick())])
    copied = clone(model).set_params(draw__matcher__max_steps=7, scale__with_mean=False)
    assert type(copied) is SamplingPipeline
    assert copied["draw"].matcher.max_steps == 7
    assert not copied["scale"].with_mean
    copied.fit(X, Y)
    assert copied["draw"].matcher_.n_steps_ == 7
    alone = make_sampling_pipeline(quick()).fit(X, Y)
    assert_array_equal(alone.predict(X), quick().fit(X, Y).predict(X))


def test_sampling_pipeline_stays_usable_after_a_failed_fit():
    model = make_sampling_pipeline(StandardScaler(), quick()).fit(X, Y)
    before = model.sample(X, random_state=0)
    with pytest.raises(ValueError, match="y contains"):
        model.fit(10 * X, np.full_like(Y, np.nan))
    with pytest.raises(ValueError, match="X_val and y_val go together"):
        model.fit(10 * X, Y, X_val=X)
    assert_array_equal(model.sample(X, random_state=0), before)


def test_conditions_of_many_kinds():
    """Labels, numbers and text in one table, each column through its own transformer."""
    table = pd.DataFrame(X, columns=["u", "v", "w"]).assign(
        colour=np.where(X[:, 0] > 50, "red", "blue"), digit=RNG.integers(10, size=60)
    )
    encode = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    columns = ColumnTransformer(
        [("scale", StandardScaler(), ["u", "v"]), ("encode", encode, ["colour", "digit"])]
    )
    model = make_sampling_pipeline(columns, quick()).fit(table, Y)
    assert model[-1].n_features_in_ == 2 + 2 + table["digit"].nunique()
    assert model.sample(table[:4], 3).shape == (4, 3, 2)
    named = columns.set_output(transform="pandas")
    model = make_pipeline(named, quick()).fit(table, Y)
    assert list(model[-1].feature_names_in_[:2]) == ["scale__u", "scale__v"]
    assert sklsdm.sample(model, table[:4]).shape == (4, 1, 2)
    labels = make_pipeline(OneHotEncoder(sparse_output=False), quick()).fit(table[["colour"]], Y)
    assert sklsdm.sample(labels, table[["colour"]][:4], 2).shape == (4, 2, 2)


# ------------------------------------------------------------------ validation pairs
@ROUTED
def test_sampling_pipeline_transforms_the_validation_pairs(routing, spy):
    make_sampling_pipeline(StandardScaler(), spy).fit(X, Y, X_val=X[:9] + 5, y_val=Y[:9])
    ((_, _, found),) = Spy.seen
    assert_allclose(found, StandardScaler().fit(X).transform(X[:9] + 5))


@ROUTED
def test_a_plain_pipeline_does_not_and_fit_warns(routing, spy):
    extras = spell(routing, "spy__", X_val=X[:9], y_val=Y[:9])
    with pytest.warns(DistributionShiftWarning, match="SamplingPipeline"):
        make_pipeline(StandardScaler(), spy).fit(X, Y, **extras)
    assert_array_equal(Spy.seen[0][2], X[:9])


def test_a_plain_pipeline_can_be_told_to(spy):
    with sklearn.config_context(enable_metadata_routing=True):
        model = Pipeline([("scale", StandardScaler()), ("spy", spy)], transform_input=["X_val"])
        model.fit(X, Y, X_val=X[:9], y_val=Y[:9])
    assert_allclose(Spy.seen[0][2], StandardScaler().fit(X).transform(X[:9]))


# ------------------------------------------------------------------ unpaired responses in folds
@ROUTED
@MAKERS
def test_unpaired_reaches_every_fold_whole(make, routing, spy):
    """As many unpaired responses as pairs: a plain array is cut with the folds, silently."""
    model = make(StandardScaler(), spy)
    extras = spell(routing, "spy__", Y_unpaired=Unpaired(Y_UNPAIRED))
    cross_val_score(model, X, Y, cv=3, params=extras, error_score="raise")
    assert [rows for rows, *_ in Spy.seen] == [40, 40, 40]
    for _, unpaired, _ in Spy.seen:
        assert unpaired.data is Y_UNPAIRED
    Spy.seen.clear()
    extras = spell(routing, "spy__", Y_unpaired=Y_UNPAIRED)
    cross_val_score(model, X, Y, cv=3, params=extras, error_score="raise")
    assert [len(unpaired) for _, unpaired, _ in Spy.seen] == [40, 40, 40]


@ROUTED
def test_unpaired_travels_through_searches(routing, spy):
    grid = {"spy__matcher__lr": [1e-3, 1e-2]}
    search = GridSearchCV(make_pipeline(StandardScaler(), spy), grid, cv=2)
    search.fit(X, Y, **spell(routing, "spy__", Y_unpaired=Unpaired(Y_UNPAIRED)))
    assert [rows for rows, *_ in Spy.seen] == [30, 30, 30, 30, 60]
    assert all(unpaired.data is Y_UNPAIRED for _, unpaired, _ in Spy.seen)
    assert search.best_estimator_[-1].n_unpaired_ == 60
    bare = GridSearchCV(spy, {"matcher__lr": [1e-3]}, cv=2)
    bare.fit(X, Y, Y_unpaired=Unpaired(Y_UNPAIRED))
    assert bare.best_estimator_.n_unpaired_ == 60


# ------------------------------------------------------------------ searches
def test_grid_over_nested_parameters_of_names():
    est = plain_regressor(autoencoder="pca", random_state=0).set_params(matcher="wgan")
    grid = {
        "latent_dim": [1, 3],
        "matcher__n_critic": [1, 2],
        "matcher__gradient_penalty": [0.0, 5.0],
        "matcher__penalty": ["two-sided"],
        "matcher__max_steps": [5],
        "matcher__widths": [(32, 32)],
        "matcher__critic_widths": [(32, 32)],
        "matcher__start": ["linear"],  # of so few pairs there is else no critic
    }
    # With 18 pairs a fold, none is held out: the last state is kept, not perhaps the start.
    search = GridSearchCV(est, grid, cv=2, error_score="raise").fit(X[:36], CURVES[:36])
    found = search.cv_results_["mean_test_score"]
    assert found.shape == (8,)
    assert len(np.unique(found)) == 8  # every setting acts
    assert search.best_params_["latent_dim"] == 3
    assert est.matcher == "wgan"
    best = search.best_estimator_
    assert best.matcher_.n_critic == search.best_params_["matcher__n_critic"]
    drawn = sklsdm.sample(search, X[:4], 2, random_state=0)
    assert_array_equal(drawn, best.sample(X[:4], 2, random_state=0))


@pytest.mark.slow
def test_grid_over_matchers():
    est = make_sampling_pipeline(StandardScaler(), plain_regressor(random_state=0))
    grid = [
        {
            "lsdmregressor__matcher": ["wgan"],
            "lsdmregressor__matcher__n_critic": [1, 2],
            "lsdmregressor__matcher__max_steps": [20],
        },
        {
            "lsdmregressor__matcher": ["energy", EnergyMatcher(n_draws=2)],
            "lsdmregressor__matcher__max_steps": [20],
        },
    ]
    search = GridSearchCV(est, grid, cv=2, error_score="raise").fit(X, Y)
    assert len(np.unique(search.cv_results_["mean_test_score"])) == 4
    assert search.best_estimator_.sample(X, 2).shape == (60, 2, 2)
    assert sklsdm.sample(search, X, 2).shape == (60, 2, 2)


def test_halving_over_the_budget():
    est = plain_regressor(matcher="energy", random_state=0)
    search = HalvingGridSearchCV(
        est,
        {"matcher__lr": [1e-4, 1e-3, 1e-2, 3.0]},
        resource="matcher__max_steps",
        min_resources=10,
        max_resources=40,
        factor=2,
        cv=2,
        random_state=0,
    ).fit(X, Y)
    assert search.n_resources_ == [10, 20, 40]
    assert search.best_estimator_.matcher_.n_steps_ == 40
    assert sklsdm.sample(search, X, 2).shape == (60, 2, 2)


@pytest.mark.parametrize("backend", slow_but({"threading"}, ["threading", "loky"]))
def test_two_workers_find_what_one_does(backend):
    grid = {"latent_dim": [1, 2]}
    with joblib.parallel_config(backend):
        one, two = (
            GridSearchCV(
                quick(autoencoder="pca"), grid, cv=2, n_jobs=n_jobs, error_score="raise"
            ).fit(X, Y, Y_unpaired=Unpaired(Y_UNPAIRED))
            for n_jobs in (1, 2)
        )
    for key in ("split0_test_score", "split1_test_score"):
        assert_array_equal(one.cv_results_[key], two.cv_results_[key])
    assert str(one.best_params_) == str(two.best_params_)
    assert_array_equal(one.predict(X), two.predict(X))


@ROUTED
@pytest.mark.parametrize("scorer", [scorers.neg_energy_score, scorers.neg_crps])
def test_scorers_choose(scorer, routing):
    """A search over a Pipeline ranks the estimator that saw X above the one that could not."""
    model = make_pipeline(StandardScaler(), quick())
    grid = {"standardscaler": ["passthrough", Blindfold()]}
    search = GridSearchCV(model, grid, scoring=scorer, cv=2, error_score="raise")
    search.fit(X, Y, **spell(routing, Y_unpaired=Unpaired(Y_UNPAIRED)))
    assert search.best_index_ == 0
    assert search.best_score_ < 0
    assert search.score(X, Y) == scorer(search.best_estimator_, X, Y)


class Blindfold(TransformerMixin, BaseEstimator):
    """Hides the conditions."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.zeros_like(X)

    def __sklearn_is_fitted__(self):
        return True


def test_several_scorers_at_once():
    scoring = {"energy": scorers.neg_energy_score, "images": scorers.r2_flat, "r2": "r2"}
    found = cross_validate(quick(), X, Y, cv=KFold(3), scoring=scoring, error_score="raise")
    assert (found["test_energy"] < 0).all()
    assert_allclose(found["test_images"], found["test_r2"], atol=0.05)


# ------------------------------------------------------------------ what cannot draw
def test_models_that_cannot_draw():
    with pytest.raises(TypeError, match=r"LinearRegression cannot draw.*Pipeline.*search"):
        sklsdm.sample(LinearRegression().fit(X, Y), X)
    with pytest.raises(TypeError, match="LinearRegression cannot draw"):
        sklsdm.sample(make_pipeline(StandardScaler(), LinearRegression()).fit(X, Y), X)
    search = GridSearchCV(quick(), {"matcher__max_steps": [5]}, cv=2, refit=False).fit(X, Y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        sklsdm.sample(search, X)
    for model in (make_pipeline(StandardScaler(), quick()), make_sampling_pipeline(quick())):
        with pytest.raises(sklearn.exceptions.NotFittedError):
            sklsdm.sample(model, X)
        with pytest.raises(sklearn.exceptions.NotFittedError):
            sklsdm.sample(RandomizedSearchCV(model, {}), X)


@pytest.mark.parametrize(
    ("steps", "error", "message"),
    [
        ([], ValueError, "steps must end in an estimator that draws"),
        ([("only", "passthrough")], TypeError, "'only' is 'passthrough'"),
        ([("a", LinearRegression()), ("b", LSDMRegressor())], TypeError, "LinearRegression"),
        ([("a", LinearRegression())], TypeError, "last step must be an estimator that draws"),
    ],
)
def test_steps_that_cannot_draw(steps, error, message):
    with pytest.raises(error, match=message):
        SamplingPipeline(steps).fit(X, Y)


def test_unpaired_responses_given_twice():
    pipe = make_sampling_pipeline(StandardScaler(), LSDMRegressor())
    with pytest.raises(ValueError, match="are the same; pass one"):
        pipe.fit(X, Y, Y_unpaired=Y, lsdmregressor__Y_unpaired=Y)

"""LSDMRegressorCV, and the candidates that it recommends."""

import pickle
import warnings
from typing import ClassVar

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    ParameterGrid,
    ShuffleSplit,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklsdm
from sklsdm import (
    LSDMRegressor,
    LSDMRegressorCV,
    SamplingEnsemble,
    Unpaired,
    make_sampling_pipeline,
    scorers,
)
from sklsdm.datasets import make_arms, make_pinwheel

ARMS = make_arms(400, random_state=0)
X, Y = ARMS.X[:60], ARMS.y[:60]
RNG = np.random.default_rng(0)
SHORT = {"matcher__max_steps": [40], "matcher__widths": [(32, 32)]}
ENERGY = {"matcher": ["energy"], "matcher__noise_scale": [1.0], **SHORT}
# The second candidate sees conditions through so much noise that it is clearly worse.
GRID = {**ENERGY, "matcher__condition_noise": [0.0, 5.0]}
SIGNAL = X @ RNG.normal(size=(X.shape[1], 2)) + 0.1 * RNG.normal(size=(60, 2))


def short(**params):
    given = {"estimator": plain_regressor(), "candidates": GRID, "n_estimators": 2, "cv": 2}
    given |= {"random_state": 0, **params}
    return LSDMRegressorCV(**given)


class Spy(LSDMRegressor):
    """Stores what `fit` gets, in a list of the class."""

    seen: ClassVar = []

    def fit(self, X, y, Y_unpaired=None, *, X_val=None, y_val=None, groups=None):
        self.seen.append({"X": X, "Y_unpaired": Y_unpaired, "X_val": X_val, "groups": groups})
        return super().fit(X, y, Y_unpaired, X_val=X_val, y_val=y_val, groups=groups)


@pytest.fixture
def seen():
    Spy.seen.clear()
    return Spy.seen


@pytest.fixture(scope="module")
def fitted():
    return short().fit(X, SIGNAL)


# ------------------------------------------------------------------ scikit-learn's checks
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        short(
            candidates={**ENERGY, "matcher__max_steps": [5]},
            cv=ShuffleSplit(1, test_size=0.3, random_state=0),
        )
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_parameters_are_nested_and_stored_as_given():
    model = LSDMRegressorCV(plain_regressor("auto", "energy"), candidates=GRID)
    params = model.get_params(deep=True)
    assert (
        params["estimator__matcher__max_steps"]
        == params["estimator"].get_params(deep=True)["matcher__max_steps"]
    )
    assert params["candidates"] is GRID
    model.set_params(estimator__matcher__max_steps=7, n_estimators=3)
    assert model.estimator.matcher.max_steps == 7
    assert clone(model).n_estimators == 3


# ------------------------------------------------------------------ the search
def test_the_best_mean_score_is_chosen_and_fitted_several_times(fitted):
    means = fitted.cv_results_["mean_test_score"]
    assert means.shape == (2,)
    assert fitted.best_index_ == np.argmax(means)
    assert fitted.best_score_ == means.max() > means.min() + 0.02
    assert fitted.best_params_ == fitted.cv_results_["params"][fitted.best_index_]
    assert fitted.best_params_["matcher__condition_noise"] == 0.0
    assert [fit.matcher.condition_noise for fit in fitted.estimators_] == [0.0, 0.0]
    assert fitted.sample(X[:3], 5, random_state=0).shape == (3, 5, 2)
    assert fitted.predict_interval(X[:3]).shape == (3, 2, 2)
    assert fitted.score(X, SIGNAL) > 0.4
    assert fitted.n_features_in_ == X.shape[1]


def test_afterwards_it_is_the_ensemble_of_the_best(fitted):
    best = plain_regressor().set_params(**fitted.best_params_)
    ensemble = SamplingEnsemble(best, 2, random_state=0).fit(X, SIGNAL)
    draws = fitted.sample(X, 4, random_state=1)
    assert_array_equal(ensemble.sample(X, 4, random_state=1), draws)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).sample(X, 4, random_state=1), draws)


@pytest.mark.parametrize("scoring", [None, scorers.neg_crps])
def test_results_are_those_of_a_grid_search(scoring):
    cv = KFold(2, shuffle=True, random_state=3)
    grid = [GRID, {"matcher": ["mdn"], **SHORT}]
    ours = short(candidates=grid, cv=cv, scoring=scoring, n_estimators=1).fit(X, SIGNAL)
    seed = int(np.random.default_rng(0).integers(2**31 - 1, size=2)[1])  # the first is the fit's
    theirs = GridSearchCV(
        plain_regressor(random_state=seed), grid, cv=cv, scoring=scoring, refit=False
    ).fit(X, SIGNAL)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name in ours.cv_results_:
        if name.endswith("test_score"):
            assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-6)
        if name.startswith("param"):
            assert list(ours.cv_results_[name]) == list(theirs.cv_results_[name])
    assert ours.best_params_ == theirs.best_params_


@pytest.mark.parametrize("backend", slow_but({"threading"}, ["threading", "loky"]))
def test_equal_seeds_give_equal_draws_in_several_workers_too(fitted, backend):
    with joblib.parallel_config(backend):
        again = short(n_jobs=2).fit(X, SIGNAL)
    assert_array_equal(again.cv_results_["mean_test_score"], fitted.cv_results_["mean_test_score"])
    draws = fitted.sample(X, 4, random_state=1)
    assert_array_equal(again.sample(X, 4, random_state=1), draws)
    other = short(random_state=1).fit(X, SIGNAL)
    assert not np.array_equal(other.sample(X, 4, random_state=1), draws)


# ------------------------------------------------------------------ splits
def test_groups_are_never_split_and_reach_the_candidates(seen):
    groups = np.repeat(np.arange(12), 5)
    model = short(
        estimator=Spy(condition_encoder="flatten", unpaired="match"),
        candidates={**GRID, "matcher__condition_noise": [0.0]},
        cv="auto",
    )
    model.fit(X, SIGNAL, groups=groups)
    assert len(seen) == 3 + 2
    for given in seen[:3]:
        rows = np.flatnonzero((X[:, None] == given["X"]).all(axis=2).any(axis=1))
        fitted_on = np.unique(groups[rows])
        assert len(rows) == 5 * len(fitted_on) == 40
        assert_array_equal(np.bincount(given["groups"])[fitted_on], 5)
    assert [len(np.unique(given["groups"])) for given in seen[3:]] == [12, 12]


def test_two_groups_are_enough(seen):
    short(estimator=Spy(condition_encoder="flatten", unpaired="match"), cv="auto").fit(
        X, SIGNAL, groups=np.arange(60) % 2
    )
    assert [given["groups"] is None for given in seen] == 4 * [True] + 2 * [False]


@pytest.mark.parametrize(("n_pairs", "n_fits"), [(999, 3), (1000, 1)])
@pytest.mark.parametrize("grouped", [False, True])
def test_auto_is_three_folds_of_few_pairs_and_one_split_of_many(n_pairs, n_fits, grouped, seen):
    x = RNG.normal(size=(n_pairs, 1))
    groups = np.arange(n_pairs) % 50 if grouped else None
    grid = {**ENERGY, "matcher__max_steps": [1]}
    model = short(
        estimator=Spy(condition_encoder="flatten", unpaired="match"),
        candidates=grid,
        cv="auto",
        n_estimators=1,
    )
    model.fit(x, x[:, 0], groups=groups)
    sizes = [len(given["X"]) for given in seen]
    expected = [n_pairs * 4 // 5] if n_fits == 1 else [n_pairs * 2 // 3] * 3
    assert_allclose(sizes[:-1], expected, atol=20)
    assert sizes[-1] == n_pairs


def test_validation_pairs_replace_the_folds(seen):
    X_val, y_val = X[40:], SIGNAL[40:]
    model = short(estimator=Spy(condition_encoder="flatten", unpaired="match"), cv=3).fit(
        X[:40], SIGNAL[:40], X_val=X_val, y_val=y_val
    )
    assert [len(given["X"]) for given in seen] == [40] * 4  # two candidates, two fits of the best
    assert [given["X_val"] is None for given in seen] == [True, True, False, False]
    best = plain_regressor().set_params(**model.best_params_)
    seed = int(np.random.default_rng(0).integers(2**31 - 1, size=3)[2])
    score = best.set_params(random_state=seed).fit(X[:40], SIGNAL[:40]).score(X_val, y_val)
    assert_allclose(model.best_score_, score, rtol=1e-6)


def test_unpaired_responses_reach_all_fits_whole(seen):
    unpaired = SIGNAL + 0.01  # as many as there are pairs
    short(estimator=Spy(condition_encoder="flatten", unpaired="match")).fit(X, SIGNAL, unpaired)
    assert len(seen) == 6
    assert all(given["Y_unpaired"] is unpaired for given in seen)


# ------------------------------------------------------------------ pipelines
@pytest.mark.parametrize("routing", [False, True])
def test_around_and_inside_pipelines(routing):
    extras = {"Y_unpaired": Unpaired(SIGNAL)}
    with sklearn.config_context(enable_metadata_routing=routing):
        inside = short(estimator=make_sampling_pipeline(StandardScaler(), plain_regressor()))
        inside.fit(100 * X, SIGNAL, **extras)
        prefix = "lsdmregressor__"
        assert set(inside.best_params_) == {prefix + name for name in GRID}
        assert inside.estimators_[0][-1].matcher.condition_noise == 0.0
        assert inside.sample(100 * X[:3], 4).shape == (3, 4, 2)
        around = make_sampling_pipeline(StandardScaler(), short(n_estimators=1))
        around.fit(X, SIGNAL, **extras)
        assert sklsdm.sample(around, X[:3], 4).shape == (3, 4, 2)
        plain = make_pipeline(StandardScaler(), short(n_estimators=1))
        step = "" if routing else "lsdmregressorcv__"
        plain.fit(X, SIGNAL, **{step + name: value for name, value in extras.items()})
        assert sklsdm.sample(plain, X[:3], 4).shape == (3, 4, 2)
        assert plain[-1].estimators_[0].n_unpaired_ == 60


def test_a_pipeline_of_a_frame_and_settings_of_any_step():
    frame = pd.DataFrame({"a": X[:, 0], "b": RNG.choice(["u", "v", "w"], 60)})
    head = make_column_transformer((OneHotEncoder(), ["b"]), remainder="passthrough")
    pipe = make_sampling_pipeline(head, StandardScaler(), plain_regressor())
    grid = {**GRID, "standardscaler__with_std": [True], "lsdmregressor__scale_X": [False]}
    model = short(estimator=pipe, candidates=grid).fit(frame, SIGNAL)
    assert model.estimators_[0][-1].scale_X is False
    assert list(model.feature_names_in_) == ["a", "b"]
    auto = short(estimator=pipe, candidates="auto")
    pairs = sklsdm.search._check_pairs(pipe, frame, SIGNAL, {})
    names = {name for each in auto._grid(pipe, pairs) for name in each}
    assert all(name.startswith("lsdmregressor__") for name in names)


# ------------------------------------------------------------------ failures and bad input
BROKEN = {"matcher": ["wgan"], "matcher__critic": ["none"]}


def test_candidates_that_fail_are_left_out_with_a_warning():
    with pytest.warns(FitFailedWarning, match=r"1 of 3 candidates failed .*'none'"):
        model = short(candidates=[BROKEN, GRID]).fit(X, SIGNAL)
    assert np.isnan(model.cv_results_["mean_test_score"][0])
    assert_array_equal(model.cv_results_["rank_test_score"], [3, 1, 2])
    assert model.best_index_ == 1


def test_where_all_fail_the_error_names_the_first_failure():
    with pytest.raises(ValueError, match=r"All 1 candidates failed: the first.*critic='none'"):
        short(candidates=BROKEN).fit(X, SIGNAL)


def nothing(estimator, X, y):
    return float("nan")


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"cv": 61}, ValueError, "cv=61 folds need as many pairs, got 60"),
        ({"cv": 1}, ValueError, "cv must be at least 2"),
        ({"cv": "kfold"}, ValueError, "kfold"),
        ({"candidates": []}, ValueError, "at least one grid"),
        ({"candidates": "all"}, ValueError, "candidates must be a grid or 'auto', got 'all'"),
        ({"candidates": ["energy"]}, TypeError, "candidates must be a dict of lists"),
        ({"candidates": {"matchr": ["energy"]}}, ValueError, "Invalid parameter 'matchr'"),
        ({"estimator": StandardScaler()}, TypeError, "estimator must be an LSDMRegressor"),
        ({"n_estimators": 0}, ValueError, "n_estimators must be at least 1"),
        ({"verbose": -1}, ValueError, "verbose must be at least 0"),
        ({"scoring": "bogus"}, ValueError, "bogus"),
        ({"scoring": ["r2"]}, TypeError, "scoring must be None, the name of a score or a callable"),
        ({"cv": []}, ValueError, "cv must give at least one split"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be a number of processes"),
        ({"scoring": nothing}, ValueError, "All 2 candidates failed.*NaN"),
        ({"estimator": plain_regressor(store_reference=False)}, ValueError, "sklsdm.scorers"),
    ],
)
def test_bad_settings(params, error, message):
    with pytest.raises(error, match=message):
        short(**params).fit(X, SIGNAL)


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"groups": np.arange(60) % 2}, "cv=3 folds need as many groups, got 2"),
        ({"groups": np.arange(59)}, "one group for each of the 60 pairs"),
        ({"X_val": X}, "go together, but y_val is None"),
        ({"Y_unpaired": np.zeros((9, 3))}, "Y_unpaired must have shape"),
        ({"X_val": X[:, :1], "y_val": SIGNAL}, r"X_val must have shape \(n, 2\) like X, got"),
        ({"X_val": X, "y_val": SIGNAL[:9]}, "same number of rows"),
    ],
)
def test_bad_extras(extras, message):
    with pytest.raises(ValueError, match=message):
        short(cv=3).fit(X, SIGNAL, **extras)


@pytest.mark.parametrize("name", ["X_val", "y_val"])
def test_a_nan_among_the_pairs_to_judge_by_is_named(name):
    extras = {"X_val": X.copy(), "y_val": SIGNAL.copy()}
    extras[name][3] = np.nan
    with pytest.raises(ValueError, match=f"Input {name} contains . NaN, first in row 3"):
        short().fit(X, SIGNAL, **extras)


def test_two_pairs_cannot_be_split():
    with pytest.raises(ValueError, match="at least 3 pairs"):
        short(cv="auto").fit(X[:2], SIGNAL[:2])


def test_a_failed_fit_keeps_what_was_learnt(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="NaN"):
        copy.fit(np.where(X > 0, np.nan, X), SIGNAL)
    assert copy.best_score_ == fitted.best_score_
    assert_array_equal(copy.sample(X, 3, random_state=0), fitted.sample(X, 3, random_state=0))


# ------------------------------------------------------------------ progress
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_verbose_tells_how_many_fits_and_what_is_left(capfd, verbose):
    short(verbose=verbose).fit(X, SIGNAL)
    out, err = capfd.readouterr()
    assert out == ""
    if not verbose:
        assert err == ""
        return
    first, *tried, best, one, two = [
        line.removeprefix("LSDMRegressorCV") for line in err.splitlines()
    ]
    assert first == ": 2 candidates on 2 splits: 4 fits, then 2 of the best"
    fits = [line for line in tried if line.startswith(", candidates: fit ")]
    assert len(fits) == 4
    assert ", best_score=" in fits[1]
    assert all(line.endswith(" left") for line in fits[:-1])
    told = [line for line in tried if line not in fits]  # of each candidate
    assert len(told) == 2 * (verbose - 1)
    assert all("/2: " in line and "'matcher__condition_noise': " in line for line in told)
    assert best.startswith(": best: ")
    assert "'matcher__condition_noise': 0.0" in best
    assert one.startswith(": fit 1/2")
    assert two == ": fit 2/2"


# ------------------------------------------------------------------ candidates
def values(grid, name):
    return {value for each in grid for value in each.get(name, [])}


def test_candidates_for_tables():
    grid = sklsdm.candidates(ARMS.X, ARMS.y)
    assert values(grid, "matcher") == {"diffusion", "energy", "mdn", "wgan"}
    assert values(grid, "condition_encoder") == {"flatten", "trees"}
    assert len(ParameterGrid(grid)) == 8
    few = sklsdm.candidates(ARMS.X[:99], ARMS.y[:99])
    assert values(few, "condition_encoder") == {"flatten"}
    wide = sklsdm.candidates(ARMS.X, RNG.normal(size=(400, 9)))
    assert "mdn" not in values(wide, "matcher")


@pytest.mark.slow
def test_candidates_where_values_are_missing_are_trees():
    gappy = ARMS.X.copy()
    gappy[3, 0] = np.nan
    for n_pairs in (50, 400):
        grid = sklsdm.candidates(gappy[:n_pairs], ARMS.y[:n_pairs])
        assert values(grid, "condition_encoder") == {"trees"}
        assert all("condition_encoder" in each for each in grid)
    assert LSDMRegressorCV().__sklearn_tags__().input_tags.allow_nan
    assert not short().__sklearn_tags__().input_tags.allow_nan
    grid = {**ENERGY, "condition_encoder": ["flatten", "trees"]}
    with pytest.warns(FitFailedWarning, match="NaN"):
        model = short(candidates=grid).fit(gappy[:60], SIGNAL)
    assert model.best_params_["condition_encoder"] == "trees"


def test_candidates_of_quick_waves_know_their_frequency():
    waves = make_pinwheel(1500, random_state=0)
    assert "periodic" in values(sklsdm.candidates(waves.X, waves.y), "condition_encoder")


def test_candidates_for_labels_and_images():
    labels = sklsdm.candidates(np.eye(5)[np.arange(100) % 5], RNG.random((100, 8, 8)))
    assert labels == [
        {"matcher": ["diffusion", "wgan", "energy"], "condition_encoder": ["flatten"]}
    ]
    images = sklsdm.candidates(RNG.random((30, 1, 8, 8)), RNG.random((30, 8, 8)))
    assert values(images, "matcher") == {"wgan", "diffusion", "energy"}
    assert values(images, "condition_encoder") == {"conv"}
    with pytest.raises(ValueError, match="X must have shape"):
        sklsdm.candidates(RNG.random((30, 8, 8)), RNG.random(30))


def test_candidates_take_frames_with_categories():
    columns = {"a": ARMS.X[:, 0], "b": RNG.choice(["u", "v"], 400)}
    table = pd.DataFrame(columns).astype({"b": "category"})
    expected = {"flatten", "trees"}
    for frame in (table, pl.DataFrame(columns)):
        assert values(sklsdm.candidates(frame, ARMS.y), "condition_encoder") == expected
    table["c"] = pd.array([None, *range(399)], dtype="Int64")
    assert values(sklsdm.candidates(table, ARMS.y), "condition_encoder") == {"trees"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (ARMS.X[:100], ARMS.y[:100]),
        (np.eye(4)[np.arange(40) % 4], RNG.normal(size=(40, 2))),
        (RNG.random((24, 1, 8, 8)), RNG.normal(size=(24, 3))),
    ],
    ids=["table", "labels", "images"],
)
def test_every_candidate_can_be_fitted(x, y):
    grid = [{**each, "matcher__max_steps": [2]} for each in sklsdm.candidates(x, y)]
    search = GridSearchCV(plain_regressor(random_state=0), grid, cv=2, error_score="raise")
    assert np.isfinite(search.fit(x, y).cv_results_["mean_test_score"]).all()


@pytest.mark.filterwarnings("ignore")
def test_candidates_can_be_halved():
    grid = [{**each, "matcher__max_steps": [2]} for each in sklsdm.candidates(X, Y)]
    est = plain_regressor(random_state=0)
    search = HalvingGridSearchCV(est, grid, cv=2, factor=6, random_state=0).fit(X, Y)
    assert search.best_params_["matcher"] in values(grid, "matcher")


def test_one_line(monkeypatch, small_forests):
    """Without settings it tries the recommended candidates, here with small budgets."""

    def shortened(X, y):
        few = {"matcher__max_steps": [2], "unpaired": ["match"], "condition_encoder": ["flatten"]}
        return [{**each, **few} for each in sklsdm.candidates(X, y)]

    monkeypatch.setattr(sklsdm.search, "candidates", shortened)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklsdm.NotImprovedWarning)
        model = LSDMRegressorCV().fit(X, Y, Unpaired(ARMS.y))
    assert len(model.cv_results_["params"]) == 6
    assert len(model.estimators_) == 5

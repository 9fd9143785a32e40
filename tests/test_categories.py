"""Columns of categories in X, which condition_encoder="trees" takes and the others refuse."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from helpers import ONE_FIT, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import get_tags

from sklsdm import LSDMRegressor, SamplingEnsemble, make_sampling_pipeline
from sklsdm.encoders import TreesConditionEncoder
from sklsdm.inputs.categories import MOST_LEVELS, CategoryColumns, find_categories

pytestmark = pytest.mark.usefixtures("small_forests_everywhere")

TOWNS = ["Bern", "Lyon", "Turin"]
MEANS = {"Bern": -3.0, "Lyon": 0.0, "Turin": 3.0}


def table(n=150, seed=0):
    """A town that decides the mean, a number with gaps, a flag and a string of no effect."""
    random = np.random.default_rng(seed)
    town = random.choice(TOWNS, n)
    height = random.normal(size=n)
    y = np.array([MEANS[name] for name in town]) + 0.3 * random.normal(size=n)
    height[::9] = np.nan
    X = pd.DataFrame(
        {
            "town": pd.Categorical(town),
            "height": height,
            "flag": random.uniform(size=n) < 0.5,
            "kind": random.choice(["a", "b"], n),
        }
    )
    return X, y


def short(encoder="trees", **params):
    est = LSDMRegressor(matcher="energy", condition_encoder=encoder, random_state=0, **params)
    return small(est).set_params(matcher__max_steps=40, **ONE_FIT)


@pytest.fixture(scope="module")
def fitted(small_forests_everywhere):
    return short().fit(*table())


# ------------------------------------------------------------------ what is learnt
def test_a_category_decides_the_mean(fitted):
    X, y = table(60, seed=1)
    means = fitted.sample(X, 50, random_state=0).mean(axis=1)
    for town, mean in MEANS.items():
        assert abs(means[X["town"] == town].mean() - mean) < 0.5
    assert fitted.score(X, y) > 0.5
    assert fitted.predict(X).shape == (60,)


def test_names_and_number_of_columns_are_those_of_the_frame(fitted):
    X, _ = table(5)
    assert fitted.n_features_in_ == 4
    assert list(fitted.feature_names_in_) == ["town", "height", "flag", "kind"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(X[["height", "town", "flag", "kind"]])
    with pytest.raises(ValueError, match=r"Feature names seen at fit time, yet now missing"):
        fitted.predict(X[["town", "height"]])


def test_columns_become_numbers_then_levels():
    X, _ = table(20)
    X.loc[3, "town"] = None
    columns = CategoryColumns.learn(X, find_categories("X", X))
    found = columns.read(short(), X, columns.places, "X", reset=True)
    town = pd.get_dummies(X["town"], dummy_na=True)
    kind = pd.get_dummies(X["kind"])
    wanted = np.column_stack([X["height"], X["flag"], town, kind]).astype(float)
    assert_array_equal(found, wanted)
    assert found[3, 5] == 1  # missing is a level of its own


def test_rare_levels_of_a_long_column_are_pooled():
    levels = np.repeat([f"level {number:02}" for number in range(40)], range(1, 41))
    X = pd.DataFrame({"long": levels})
    columns = CategoryColumns.learn(X, (0,))
    found = columns.read(short(), X, (0,), "X", reset=True)
    assert found.shape == (len(X), MOST_LEVELS)
    assert_array_equal(found.sum(axis=1), 1)
    assert found[0, -1] == 1  # the rarest
    with pytest.warns(UserWarning, match=r"column 'long'.*'level 99'.*one of the rare levels"):
        unseen = columns.read(short(), pd.DataFrame({"long": ["level 99"]}), (0,), "X", reset=True)
    assert_array_equal(unseen, found[:1])


# ------------------------------------------------------------------ tables as they come
def test_strings_that_never_repeat_warn():
    """Dates that were read from a file as strings, say."""
    X, y = table(60)
    X["day"] = pd.date_range("2026-01-01", periods=60).astype(str)
    with pytest.warns(UserWarning, match=r"60 different strings in column 'day' .*'2026-01-01'"):
        short().set_params(matcher__max_steps=2).fit(X, y)


@pytest.mark.parametrize("repeats", [2, 4])
def test_strings_that_repeat_do_not_warn(repeats):
    X = pd.DataFrame({"kind": [f"{number}" for number in range(40)] * repeats})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CategoryColumns.learn(X, (0,))


@pytest.mark.parametrize("library", ["pandas", "polars", "numpy"])
def test_pairs_without_any_condition_warn(library):
    X, y = table(60)
    X["kind"] = X["kind"].astype(object)
    X = X[["height", "kind"]]
    X.loc[:6, ["height", "kind"]] = None
    if library == "numpy":
        X = np.repeat(X[["height"]].to_numpy(), 2, axis=1)
        n_empty = int(np.isnan(X[:, 0]).sum())
    else:
        n_empty = 7
        X = pl.from_pandas(X) if library == "polars" else X
    with pytest.warns(UserWarning, match=rf"missing values in {n_empty} of 60 rows.*Y_unpaired"):
        short().set_params(matcher__max_steps=2).fit(X, y)


def test_a_missing_value_in_the_only_column_does_not_warn():
    X, y = table(60)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing values in")
        short().set_params(matcher__max_steps=2).fit(X[["height"]], y)


# ------------------------------------------------------------------ unseen and missing levels
@pytest.mark.parametrize(("level", "shown"), [("Oslo", "'Oslo'"), (None, "a missing value")])
def test_an_unseen_level_warns_and_draws(fitted, level, shown):
    X = table(6)[0].assign(town=["Bern", level] * 3)
    message = rf"X holds levels in column 'town' that X had not in fit: {shown}\. .*all zeros"
    with pytest.warns(UserWarning, match=message) as caught:
        draws = fitted.sample(X, 2, random_state=0)
    assert np.isfinite(draws).all()
    assert [warning.filename for warning in caught] == [__file__]


def test_missing_categories_are_learnt():
    X, y = table()
    X["town"] = X["town"].where(X["town"] != "Turin")
    est = short().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        means = est.predict(X)
    assert means[X["town"].isna()].mean() > means[X["town"] == "Lyon"].mean() + 2


def test_levels_are_the_same_in_every_dtype():
    X, y = table(60)
    X["town"] = pd.Categorical(X["town"].map({"Bern": 1, "Lyon": 2, "Turin": 3}).astype(int))
    est = short().fit(X, y)
    wanted = est.sample(X, 2, random_state=0)
    for dtype in (int, float, str, object):
        again = X.assign(town=X["town"].astype(dtype))
        assert_array_equal(est.sample(again, 2, random_state=0), wanted)


# ------------------------------------------------------------------ frames of all kinds
@pytest.mark.parametrize("kind", ["categorical", "enum", "string"])
def test_polars_gives_the_draws_of_pandas(fitted, kind):
    X, y = table()
    dtype = {"categorical": pl.Categorical, "enum": pl.Enum(TOWNS), "string": pl.String}[kind]
    strings = {"town": X["town"].to_list(), "kind": X["kind"].to_list()}
    numbers = {name: X[name].to_numpy() for name in ("height", "flag")}
    same = pl.DataFrame(strings | numbers, schema_overrides={"town": dtype}).select(X.columns)
    est = short().fit(same, y)
    wanted = fitted.sample(X, 2, random_state=0)
    assert_array_equal(est.sample(same, 2, random_state=0), wanted)
    assert_array_equal(fitted.sample(same, 2, random_state=0), wanted)


def test_gaps_of_flags_and_integers_are_nan():
    X, y = table(60)
    X["flag"] = X["flag"].astype("boolean").mask(X.index % 5 == 0)
    X["count"] = pd.array([None, *range(1, 60)], dtype="Int64")
    est = short().fit(X, y)
    assert list(np.flatnonzero(est.condition_encoder_.gappy_ < 3)) == [0, 1, 2]
    assert np.isfinite(est.sample(X, 2)).all()


def test_a_frame_of_categories_alone_and_names_that_are_numbers():
    X, y = table(60)
    alone = X[["town"]].set_axis([0], axis=1)
    est = short(validation_fraction=0.0).fit(alone, y)
    assert est.n_features_in_ == 1
    assert not hasattr(est, "feature_names_in_")
    assert np.isfinite(est.sample(alone[:3], 2)).all()
    with pytest.raises(ValueError, match=r"0 sample"):
        est.sample(alone[:0])


def test_a_frame_of_numbers_gives_the_draws_of_its_array():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 3)), random.normal(size=60)
    wanted = short().fit(X, y).sample(X, 2, random_state=0)
    named = pd.DataFrame(X, columns=list("abc"))
    assert_array_equal(short().fit(named, y).sample(named, 2, random_state=0), wanted)
    by_hand = TreesConditionEncoder().fit_transform(X.astype(np.float32), y[:, None], 0)
    assert by_hand.shape == (60, 6)  # columns of X, a forest, a regression and boosting


# ------------------------------------------------------------------ who takes and who refuses
def test_tags():
    for encoder, takes in (("trees", True), (TreesConditionEncoder(), True), ("auto", False)):
        for est in (short(encoder), SamplingEnsemble(short(encoder))):
            tags = get_tags(est).input_tags
            assert (tags.categorical, tags.allow_nan) == (takes, takes)


@pytest.mark.parametrize("encoder", ["auto", "flatten", "periodic", "lasso"])
def test_others_refuse_categories_and_say_what_to_write(encoder):
    X, y = table(40)
    message = rf"columns \['town', 'kind'\], but condition_encoder='{encoder}' .*='trees'"
    with pytest.raises(ValueError, match=message) as caught:
        short(encoder).fit(X.fillna({"height": 0}), y)
    advice = str(caught.value).partition("encode them first: ")[2].removesuffix(".")
    names = {
        "make_sampling_pipeline": make_sampling_pipeline,
        "make_column_transformer": make_column_transformer,
        "OneHotEncoder": OneHotEncoder,
        "LSDMRegressor": lambda: short(encoder),
    }
    model = eval(advice, names).fit(X.fillna({"height": 0}), y)
    assert np.isfinite(model.sample(X.fillna({"height": 0}), 2)).all()


def test_columns_that_change_their_kind(fitted):
    X, y = table(40)
    with pytest.raises(ValueError, match=r"X holds categories in columns \['flag'\], which held n"):
        fitted.predict(X.assign(flag="yes"))
    with pytest.raises(TypeError, match=r"X must be a DataFrame as in fit.*\['town', 'kind'\].*nd"):
        fitted.predict(X.to_numpy())
    numbers = X[["height"]].fillna(0)
    est = short("auto").fit(numbers, y)
    with pytest.raises(ValueError, match=r"X holds categories in columns \['height'\], which held"):
        est.sample(numbers.assign(height="high"))


DATES = pd.date_range("2020-01-01", periods=40)
REFUSED = {
    "dates": (DATES, r"X holds dates or times in columns \['new'\]; turn them into numbers"),
    "durations": (DATES - DATES[0], r"X holds dates or times in columns \['new'\]"),
    "periods": (DATES.to_period("M"), r"X holds dates or times in columns \['new'\]"),
    "date objects": (DATES.date, r"X holds dates or times in columns \['new'\]"),
    "mixed": (["a", 1] * 20, r"X mixes strings with other values in columns \['new'\]"),
    "bytes": ([b"a", b"b"] * 20, r"X holds neither numbers nor strings in columns \['new'\]"),
    "lists": ([[1, 2]] * 40, r"X holds neither numbers nor strings in columns \['new'\]"),
    "nothing": ([np.nan] * 40, r"X holds nothing but NaN in columns \['new'\]"),
    "no level": (pd.Categorical([None] * 40), r"X holds nothing but missing .* \['new'\]"),
    "inf": ([np.inf] * 40, r"X contains 40 inf"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_columns_that_are_refused(case):
    values, message = REFUSED[case]
    X, y = table(40)
    with pytest.raises(ValueError, match=message):
        short().fit(X.assign(new=values), y)


@pytest.mark.parametrize(
    "X", [np.array([["a"], ["b"]] * 20), [["a", 1.0]] * 40, [[None, 1.0], [2.0, 1.0]] * 20]
)
def test_strings_in_arrays_are_refused_with_what_reads_them(X):
    y = np.arange(40.0)
    with pytest.raises(ValueError, match=r"from a DataFrame: pass pandas\.DataFrame\(X\)"):
        short().fit(X, y)
    frame = pd.DataFrame(X).infer_objects()
    assert np.isfinite(short().fit(frame, y).sample(frame[:3])).all()


def test_dates_are_refused_in_arrays_and_polars_and_by_all_encoders():
    X, y = np.zeros((40, 1)), np.arange(40.0)
    with pytest.raises(ValueError, match=r"X holds dates or times; turn"):
        short("auto").fit(DATES.to_numpy()[:, None], y)
    with pytest.raises(ValueError, match=r"X holds dates or times in columns \['new'\]"):
        short("auto").fit(pl.DataFrame({"a": X[:, 0], "new": DATES.to_numpy()}), y)


def test_a_column_of_nan_is_named_without_categories_too():
    X = pd.DataFrame({"a": np.arange(40.0), "gone": np.nan})
    with pytest.raises(ValueError, match=r"X holds nothing but NaN in columns \['gone'\]"):
        short().fit(X, np.arange(40.0))


# ------------------------------------------------------------------ where frames travel
@pytest.mark.slow
def test_validation_pairs_groups_and_checkpoints(tmp_path):
    (X, y), (X_val, y_val) = table(90), table(30, seed=1)
    groups = np.arange(90) // 3
    est = short(checkpoint=tmp_path).fit(X, y, X_val=X_val, y_val=y_val, groups=groups)
    assert np.isfinite(est.history_["matcher"]["valid_multiscale_score"]).all()
    with pytest.warns(UserWarning, match=r"X_val holds levels in column 'kind'.*'c'"):
        short().fit(X, y, X_val=X_val.assign(kind="c"), y_val=y_val)
    with pytest.raises(ValueError, match=r"groups must give one group .* 90 pairs, got 30"):
        short().fit(X, y, groups=groups[:30])


@pytest.mark.parametrize("use", ["match", "pair"])
def test_unpaired_responses(use):
    X, y = table(120)
    est = short(unpaired=use).fit(X[:60], y[:60], y[60:])
    assert np.isfinite(est.sample(X, 2)).all()


def test_copies_draw_the_same(fitted):
    X, y = table()
    wanted = fitted.sample(X, 2, random_state=0)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).sample(X, 2, random_state=0), wanted)
    assert_array_equal(clone(fitted).fit(X, y).sample(X, 2, random_state=0), wanted)


def test_a_refit_on_numbers_forgets_the_categories(fitted):
    X, y = table()
    est = pickle.loads(pickle.dumps(fitted))
    with pytest.raises(ValueError, match="nothing but missing"):
        est.fit(X.assign(kind=pd.Categorical([None] * len(X))), y)
    assert est.n_features_in_ == 4
    numbers = X[["height"]].to_numpy()
    assert est.fit(numbers, y).sample(numbers, 2).shape == (len(X), 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
@pytest.mark.filterwarnings("ignore:One or more of the test scores")
def test_a_search_over_encoders_picks_the_one_that_takes_them():
    X, y = table(90)
    grid = {"condition_encoder": ["auto", "trees"]}
    search = GridSearchCV(short(), grid, cv=2).fit(X, y)
    assert search.best_params_ == {"condition_encoder": "trees"}
    assert_array_equal(np.isnan(search.cv_results_["mean_test_score"]), [True, False])
    assert search.predict(X).shape == (90,)


@pytest.mark.slow
def test_pipelines_and_ensembles():
    (X, y), (X_val, y_val) = table(90), table(30, seed=1)
    scale = make_column_transformer(
        ("passthrough", ["town", "kind"]), remainder="drop", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    model = make_sampling_pipeline(scale, short()).fit(X, y, X_val=X_val, y_val=y_val)
    assert list(model[-1].feature_names_in_) == ["town", "kind"]
    assert model.sample(X, 2).shape == (90, 2)
    ensemble = SamplingEnsemble(short(), 2, random_state=0).fit(X, y, groups=np.arange(90) // 3)
    assert list(ensemble.feature_names_in_) == list(X.columns)
    assert ensemble.sample(X, 4).shape == (90, 4)
    assert_allclose(ensemble.predict(X)[X["town"] == "Turin"].mean(), 3, atol=0.5)

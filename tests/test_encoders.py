"""Condition encoders: what the networks of stage 2 see of X."""

import pickle

import numpy as np
import pytest
from helpers import ONE_FIT, small
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklsdm
from sklsdm import LSDMRegressor, SamplingEnsemble, make_sampling_pipeline, metrics
from sklsdm.datasets import make_pinwheel, share_near_a_blade
from sklsdm.encoders import (
    ENCODERS,
    AutoConditionEncoder,
    BaseConditionEncoder,
    LassoConditionEncoder,
    PeriodicConditionEncoder,
    TreesConditionEncoder,
    boosting,
    trees,
)
from sklsdm.fitting.holding_out import hold_out_pairs

FOR_ROWS = [name for name in ENCODERS if name != "conv"]


def waves(n=300, seed=0):
    """Steps in the first column, waves in the second, a binary third; two outputs."""
    random = np.random.default_rng(seed)
    X = random.uniform(-1, 1, (n, 3))
    X[:, 2] = X[:, 2] > 0
    mean = np.c_[np.sign(X[:, 0]) * (1 + X[:, 2]), np.sin(6 * X[:, 1])]
    return X, mean + 0.1 * random.normal(size=(n, 2))


def short(encoder, **params):
    est = LSDMRegressor(matcher="energy", condition_encoder=encoder, random_state=0, **params)
    return small(est).set_params(matcher__max_steps=20)


# ------------------------------------------------------------------ every encoder
@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize("name", FOR_ROWS)
def test_it_fits_draws_travels_and_repeats_itself(name):
    X, y = waves(80)
    est = short(name, validation_fraction=0.0).fit(X, y, y)
    draws = est.sample(X[:5], 3, random_state=1)
    assert draws.shape == (5, 3, 2)
    assert_array_equal(pickle.loads(pickle.dumps(est)).sample(X[:5], 3, random_state=1), draws)
    assert_array_equal(clone(est).fit(X, y, y).sample(X[:5], 3, random_state=1), draws)
    assert_allclose(est.predict(X[3:5]), est.predict(X)[3:5], rtol=1e-4, atol=1e-5)
    assert np.isfinite(est.score(X, y))


@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize("name", FOR_ROWS)
@pytest.mark.parametrize("use", ["match", "pair"])
def test_unpaired_responses_go_with_it(name, use):
    X, y = waves(80)
    est = short(name, unpaired=use).fit(X[:40], y[:40], y[40:])
    assert np.isfinite(est.sample(X[:5], 3, random_state=1)).all()


@pytest.mark.usefixtures("small_forests")
def test_validation_pairs_pass_through_it():
    X, y = waves(80)
    est = short("trees").fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    assert np.isfinite(est.history_["matcher"]["valid_multiscale_score"]).all()


@pytest.mark.usefixtures("small_forests")
def test_grids_reach_its_settings():
    X, y = waves(80)
    grid = {"condition_encoder__n_estimators": [50, 60]}
    search = GridSearchCV(short("trees").set_params(**ONE_FIT), grid, cv=2).fit(X, y)
    found = search.best_estimator_.condition_encoder_
    assert len(found.forest_.estimators_) == search.best_params_["condition_encoder__n_estimators"]


# ------------------------------------------------------------------ lasso
def wide_law(n, n_columns=120, seed=0):
    """Two outputs that follow four of many columns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_columns)).astype(np.float32)
    mean = np.c_[x[:, 0] - x[:, 1], x[:, 2] + x[:, 3]]
    return x, mean + 0.5 * rng.normal(size=(n, 2))


def test_the_lasso_keeps_the_columns_that_matter():
    x, codes = wide_law(150)
    encoder = LassoConditionEncoder()
    found = encoder.fit_transform(x, codes, 0)
    kept = encoder.columns_[~encoder.left_out_]
    assert {0, 1, 2, 3} <= set(kept.tolist())
    assert len(kept) < 30
    assert found.shape == (150, len(encoder.columns_))
    drawn = encoder.transform(x)
    assert found.dtype == drawn.dtype == np.float32
    assert_array_equal(drawn[:, ~encoder.left_out_], x[:, kept])
    assert not drawn[:, encoder.left_out_].any()


def test_pairs_are_seen_with_columns_that_others_chose():
    """A column chosen by chance goes with the codes that chose it, and not with those of a fold."""
    x, codes = wide_law(80, 400)
    encoder = LassoConditionEncoder()
    apart = encoder.fit_transform(x, codes, 0)
    chance = encoder.columns_ > 3
    own = encoder.transform(x)[:, chance & ~encoder.left_out_]
    assert own.shape[1] >= 2
    errors = codes - np.c_[x[:, 0] - x[:, 1], x[:, 2] + x[:, 3]]

    def explained(columns):
        return 1 - lstsq_error(columns, errors) / np.square(errors - errors.mean(axis=0)).sum()

    by_chance = explained(x[:, encoder.columns_[chance & ~encoder.left_out_]])
    assert explained(apart[:, chance & ~encoder.left_out_]) < 0.6 * by_chance


def lstsq_error(columns, target):
    design = np.c_[np.ones(len(columns)), columns]
    return np.square(target - design @ np.linalg.lstsq(design, target, rcond=None)[0]).sum()


@pytest.mark.parametrize(
    "codes", [np.zeros((40, 2)), np.random.default_rng(1).normal(size=(40, 1))]
)
def test_all_columns_stay_where_the_lasso_keeps_none(codes):
    x = wide_law(40, 30)[0]
    encoder = LassoConditionEncoder()
    assert_array_equal(encoder.fit_transform(x, codes, 0), x)
    assert_array_equal(encoder.transform(x[:3]), x[:3])


@pytest.mark.parametrize(
    ("shape", "offered"),
    [((100, 20), True), ((100, 19), False), ((101, 20), False), ((99, 50), False)],
)
def test_auto_tries_the_lasso_on_many_columns(shape, offered):
    x, codes = wide_law(*shape)
    assert ("lasso" in AutoConditionEncoder().candidates(x, codes, 0)) == offered


@pytest.mark.slow
@pytest.mark.usefixtures("small_forests")
def test_auto_takes_the_lasso_where_few_columns_matter():
    x, y = wide_law(150, 90)
    budget = {"matcher": "mdn", "matcher__max_steps": 100, "random_state": 0}
    est = LSDMRegressor().set_params(**budget).fit(x, y)
    assert type(est.condition_encoder_) is LassoConditionEncoder
    plain = LSDMRegressor(condition_encoder="flatten").set_params(**budget).fit(x, y)
    new = wide_law(400, 90, seed=1)
    assert est.score(*new) > plain.score(*new) + 0.1


# ------------------------------------------------------------------ periodic
def test_waves_stand_beside_the_columns():
    rows = np.c_[np.linspace(-2, 2, 9), np.arange(9) % 2].astype(np.float32)
    encoder = PeriodicConditionEncoder((1.0, 4.0))
    found = encoder.fit_transform(rows, rows, 0)
    assert found.dtype == np.float32
    x = rows[:, :1]
    assert_allclose(
        found, np.c_[rows, np.sin(x), np.cos(x), np.sin(4 * x), np.cos(4 * x)], atol=1e-6
    )
    assert_array_equal(encoder.transform(rows[2:4]), found[2:4])


def test_frequencies_are_found_where_the_law_waves():
    """The pinwheel's blades repeat every 2 / 15 of x, which has a standard deviation of .577."""
    pinwheel = make_pinwheel(2000, random_state=0)
    std = pinwheel.X.std()
    encoder = PeriodicConditionEncoder()
    noise = np.random.default_rng(0).normal(size=(2000, 1))
    binary = np.arange(2000)[:, None] % 2
    rows = np.c_[pinwheel.X / std, noise, binary].astype(np.float32)
    assert encoder.fit_transform(rows, pinwheel.y / pinwheel.y.std(axis=0), 0).shape == (2000, 5)
    ((place, frequency),) = encoder.waves_
    assert place == 0
    assert abs(frequency - 15 * np.pi * std) < 0.3


def test_waves_do_not_depend_on_the_order_of_many_rows():
    """Of many rows some are looked at: the first ones of a sorted table show no whole wave."""
    x = np.sort(np.random.default_rng(0).normal(size=(20_000, 1)), axis=0).astype(np.float32)
    encoder = PeriodicConditionEncoder()
    encoder.fit_transform(x, np.sin(4 * x), 0)
    ((_, frequency),) = encoder.waves_
    assert frequency == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("law", ["nothing", "trend", "jump", "few values"])
def test_no_frequencies_are_found_where_there_are_none(law):
    random = np.random.default_rng(0)
    x = random.normal(size=(1000, 1))
    if law == "few values":
        x = np.round(x)
    mean = {"nothing": 0 * x, "trend": x + x**2, "jump": np.sign(x), "few values": np.sin(3 * x)}
    codes = mean[law] + 0.3 * random.normal(size=(1000, 1))
    encoder = PeriodicConditionEncoder()
    assert_array_equal(encoder.fit_transform(x.astype(np.float32), codes, 0), x.astype(np.float32))


@pytest.mark.slow
def test_a_pinwheel_is_followed():
    pinwheel, test = make_pinwheel(2000, random_state=0), make_pinwheel(300, random_state=1)
    est = LSDMRegressor(matcher="diffusion", condition_encoder="periodic", random_state=0)
    est.set_params(matcher__max_steps=6000).fit(pinwheel.X, pinwheel.y)
    assert share_near_a_blade(test.X, est.sample(test.X, 20, random_state=0)) > 0.85


# ------------------------------------------------------------------ trees
@pytest.fixture(scope="module")
def full_trees():
    """200 rows, their codes, an encoder with all its trees, and what is learnt from."""
    rows, codes = (part.astype(np.float32) for part in waves(200))
    encoder = TreesConditionEncoder(gaussian_process=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boosting, "_MOST_TREES", 100)
        return rows, codes, encoder, encoder.fit_transform(rows, codes, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("groups", [[0, 1], [0, 1, 1, 1, 1]], ids=["two pairs", "two groups"])
def test_a_single_pair_is_learnt_from_without_warnings(groups):
    """Ridge regression has no error of a pair that is left out, since no pair remains."""
    X, y = waves(len(groups))
    rows, codes = X.astype(np.float32), y - y.mean(axis=0)
    encoder = TreesConditionEncoder(boosting=False, gaussian_process=False)
    seen = encoder.fit_encode(rows, codes, 0, np.array(groups))
    by_line = seen[1:, -2:]  # learnt from the first pair alone
    assert_allclose(by_line, np.broadcast_to(codes[0], by_line.shape), rtol=1e-6)
    assert np.isfinite(encoder.encode(rows + 1)).all()


@pytest.mark.parametrize("learner", ["forest", "linear", "boosting"])
def test_pairs_are_predicted_by_what_did_not_see_them(learner, full_trees):
    rows, codes, encoder, learnt_from = full_trees
    first = {"forest": 3, "linear": 5, "boosting": 7}[learner]
    columns = slice(first, first + 2)
    learnt_from = learnt_from[:, columns]
    drawn_with = encoder.transform(rows)[:, columns]
    fresh = waves(200, seed=1)
    error = np.square(learnt_from - codes).mean()
    new = np.square(encoder.transform(fresh[0].astype(np.float32))[:, columns] - fresh[1]).mean()
    assert_allclose(drawn_with, learnt_from, rtol=1e-5)
    whole = getattr(encoder, f"{learner}_")
    seen = np.square(whole.predict(rows)[:, :2] - codes).mean()
    assert seen < {"forest": 0.3, "linear": 0.99, "boosting": 0.7}[learner] * error
    # The mean over ten folds' boosters, which have other errors each, is better than each of them.
    assert 0.7 < error / new < (3.0 if learner == "boosting" else 1.6)


@pytest.mark.slow
def test_boosting_is_bounded_in_time():
    X, _ = waves(100)
    codes = np.random.default_rng(0).normal(size=(100, 20))
    rows = X.astype(np.float32)
    encoder = TreesConditionEncoder(n_components=5, gaussian_process=False)
    boosted, quick = 3 + 5 + 8 + 2 * 8, 3 + 5 + 8  # columns, forest, ridge, boosting
    assert encoder.fit_transform(rows, codes, 0).shape == (100, boosted)
    assert encoder.transform(rows[:7]).shape == (7, boosted)
    assert encoder.for_trials().fit_transform(rows, codes, 0).shape == (100, quick)
    assert encoder.fit_transform(rows[:49], codes[:49], 0).shape == (49, quick)  # too few pairs
    assert boosting.boosted_components(10_000, 100, 20) == 4
    assert boosting.boosted_components(10_000, 784, 20) == 0


@pytest.mark.slow
@pytest.mark.parametrize("n_pairs", [2, 3, 6, 49, 50, 99, 100])
def test_few_pairs_are_enough(n_pairs):
    """Down to two; more dimensions of the codes than pairs; spreads from 100 pairs on."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(n_pairs, 20)).astype(np.float32)
    codes = random.normal(size=(n_pairs, 12))
    encoder = TreesConditionEncoder()
    found = encoder.fit_transform(rows, codes, 0)
    assert np.isfinite(found).all()
    assert_array_equal(encoder.transform(rows), found)
    found = encoder.set_params(gaussian_process=False).fit_transform(rows, codes, 0)
    few = min(8, n_pairs - 1)
    boosted = 0 if n_pairs < 50 else 8 if n_pairs < 100 else 16
    assert found.shape[1] == (20 if n_pairs < 50 else 0) + 12 + few + boosted


@pytest.mark.usefixtures("small_forests")
def test_trials_with_a_group_of_three_pairs():
    X, y = waves(60)
    groups = np.repeat([0, 1], [57, 3])
    est = short("trees").fit(X, y, groups=groups)
    assert np.isfinite(est.sample(X[:2], 2, random_state=0)).all()
    rows = X[:3].astype(np.float32)
    assert np.isfinite(TreesConditionEncoder().fit_transform(rows, y[:3], 0, groups[:3])).all()


def test_boosting_tells_where_codes_spread():
    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, (1000, 2)).astype(np.float32)
    wide = X[:, :1] > 0
    encoder = TreesConditionEncoder(passthrough=False, gaussian_process=False)
    encoder.fit_transform(X, np.where(wide, 1.0, 0.1) * random.normal(size=(1000, 1)), 0)
    spread = encoder.transform(X + np.float32(1e-4))[:, -1]  # of rows that it has not seen
    assert np.quantile(spread[wide[:, 0]], 0.05) > np.quantile(spread[~wide[:, 0]], 0.95)


@pytest.mark.slow
def test_many_columns_stand_back_for_the_predictions(monkeypatch):
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, 17)).astype(np.float32)
    rows[::5, 0] = np.nan
    predictions = 1 + 1 + 2  # forest, ridge, boosting, of one code
    for passthrough, columns in (("auto", 0), (True, 18), (False, 0)):
        encoder = TreesConditionEncoder(passthrough=passthrough, gaussian_process=False)
        found = encoder.fit_transform(rows, random.normal(size=(100, 1)), 0)
        assert found.shape == encoder.transform(rows).shape == (100, columns + predictions)
    enough = random.normal(size=(256, 16)).astype(np.float32)  # 16 pairs for each column
    few = TreesConditionEncoder().fit_transform(enough, random.normal(size=(256, 1)), 0)
    assert_array_equal(few[:, :16], enough)
    monkeypatch.setattr(boosting, "_MOST_NUMBERS", 1600)  # the forest alone is no match for them
    encoder = TreesConditionEncoder(gaussian_process=False)
    assert encoder.fit_transform(rows, random.normal(size=(100, 1)), 0).shape == (100, 18 + 2)
    with pytest.raises(ValueError, match=r"passthrough must be .*got 'some'"):
        short("trees").set_params(condition_encoder__passthrough="some").fit(*waves(60))


@pytest.mark.parametrize(("n_pairs", "passes"), [(40, False), (47, False), (48, True)])
def test_columns_of_few_pairs_stand_back_for_the_predictions(n_pairs, passes):
    rows = np.random.default_rng(0).normal(size=(n_pairs, 3)).astype(np.float32)
    encoder = TreesConditionEncoder(gaussian_process=False, boosting=False)
    found = encoder.fit_transform(rows, rows[:, :1], 0)
    assert encoder.passes_columns_ is passes
    assert found.shape == encoder.transform(rows).shape == (n_pairs, 3 * passes + 2)


@pytest.mark.parametrize(("n_pairs", "passes"), [(60, True), (45, False)])
def test_short_fits_see_the_columns_where_the_final_fit_does(n_pairs, passes):
    x, y = waves(n_pairs)
    columns = np.repeat(x[:, :1], 3, axis=1).astype(np.float32)
    encoders = AutoConditionEncoder().candidates(columns, y.reshape(n_pairs, -1), 0)
    short = encoders["trees"].for_trials().set_params(gaussian_process=False)
    short.fit_transform(columns[:30], y[:30].reshape(30, -1), 0)
    assert short.passes_columns_ is passes


@pytest.mark.slow
def test_many_columns_that_say_a_little_each_are_learnt():
    """From 400 pairs: a linear law of forty columns."""
    random = np.random.default_rng(0)
    X = random.normal(size=(900, 40))
    y = X @ random.normal(size=(40, 2)) / 3 + 0.3 * random.normal(size=(900, 2))
    scores = {}
    for encoder in ("flatten", "trees"):
        est = LSDMRegressor(matcher="energy", condition_encoder=encoder, random_state=0)
        est.set_params(matcher__max_steps=300).fit(X[:400], y[:400])
        scores[encoder] = est.score(X[400:], y[400:])
    assert scores["trees"] > scores["flatten"] - 0.01


@pytest.mark.usefixtures("small_forests")
def test_equal_conditions_get_the_mean_of_their_predictions():
    X, y = waves(100)
    rows = np.repeat(X.astype(np.float32), 2, axis=0)
    rows[5] = np.nan
    codes = np.repeat(y, 2, axis=0) + np.random.default_rng(0).normal(size=(200, 2))
    encoder = TreesConditionEncoder()
    learnt_from = encoder.fit_transform(rows, codes, 0)
    found = encoder.transform(rows)
    assert_allclose(found[:2, 3:], [learnt_from[:2, 3:].mean(axis=0)] * 2, rtol=1e-5)
    assert_allclose(found[5], learnt_from[5], rtol=1e-5)
    assert np.abs(encoder.transform(rows + np.float32(1e-3)) - found)[:, 4:].max() > 0.1


def test_a_forest_on_many_pairs_stays_small(monkeypatch):
    """With a tenth of the usual bound: fewer trees at first, from there on larger leaves."""
    monkeypatch.setattr(trees, "_TREES_TIMES_ROWS", 50_000)
    random = np.random.default_rng(0)
    found = {}
    for n_pairs in (200, 500, 1000, 3000):
        rows, codes = random.normal(size=(n_pairs, 4)), random.normal(size=(n_pairs, 1))
        encoder = TreesConditionEncoder(boosting=False, gaussian_process=False)
        encoder.fit_transform(rows.astype(np.float32), codes, 0)
        forest = encoder.forest_
        found[n_pairs] = len(forest.estimators_), forest.min_samples_leaf, pickle.dumps(encoder)
    assert [trees for trees, _, _ in found.values()] == [200, 100, 50, 50]
    assert [leaf for _, leaf, _ in found.values()] == [1, 1, 1, 3]
    assert len(found[3000][2]) < 1.1 * len(found[1000][2]) < 6e6


@pytest.mark.slow
def test_trees_help_where_the_law_has_steps():
    (X, y), (X_new, y_new) = waves(400), waves(400, seed=1)
    scores = {}
    for name in ("flatten", "trees"):
        est = LSDMRegressor(matcher="energy", condition_encoder=name, random_state=0)
        est.set_params(matcher__max_steps=200).fit(X, y)
        scores[name] = metrics.energy_score(y_new, est.sample(X_new, 50, random_state=0))
    assert scores["trees"] < 0.9 * scores["flatten"]


@pytest.mark.slow
def test_trees_take_nan():
    (X, y), (X_new, y_new) = waves(400), waves(400, seed=1)
    random = np.random.default_rng(0)
    gaps, gaps_new = (np.where(random.uniform(size=x.shape) < 0.2, np.nan, x) for x in (X, X_new))
    gaps[:, 1] = X[:, 1]  # a column that is whole in training may have gaps later
    est = LSDMRegressor(matcher="energy", condition_encoder="trees", random_state=0)
    est.set_params(matcher__max_steps=200)
    assert est.__sklearn_tags__().input_tags.allow_nan
    est.fit(gaps, y, X_val=gaps_new[:50], y_val=y_new[:50])
    assert np.isfinite(est.sample(gaps_new, 5, random_state=0)).all()
    assert 0.1 < est.score(gaps_new, y_new) < est.fit(X, y).score(X_new, y_new)


def test_others_refuse_nan_and_name_the_encoder_that_takes_them():
    X, y = waves(40)
    X[3, 1] = np.nan
    est = short("auto")
    assert not est.__sklearn_tags__().input_tags.allow_nan
    with pytest.raises(ValueError, match=r"X contains 1 NaN, first in row 3.*encoder='trees'"):
        est.fit(X, y)
    with pytest.raises(ValueError, match=r"X contains 1 inf"):
        short("trees").fit(np.where(np.isnan(X), np.inf, X), y)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"X holds nothing but NaN in columns \[1\]"):
        short("trees").fit(X, y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("small_forests")
@parametrize_with_checks([short("trees").set_params(matcher__max_steps=5, **ONE_FIT)])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def grouped(n_groups=40, size=10, seed=0):
    """Pairs of one group have nearly the same condition and one shift of their response."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), size)
    X = random.normal(size=(n_groups, 2))[groups] + 0.001 * random.normal(size=(len(groups), 2))
    shift = random.normal(size=(n_groups, 1))[groups]
    return X, X[:, :1] + shift + 0.1 * random.normal(size=(len(groups), 1)), groups


def test_trees_do_not_tell_one_of_a_group_of_another(monkeypatch):
    monkeypatch.setattr(boosting, "_MOST_TREES", 60)
    monkeypatch.setattr(boosting, "_MANY_FOLDS", 5)
    X, y, groups = grouped(30, 6)
    rows = X.astype(np.float32)
    forest_linear_boosting = slice(2, 5)
    encoder = TreesConditionEncoder(gaussian_process=False)
    alone = encoder.fit_transform(rows, y, 0)[:, forest_linear_boosting]
    together = encoder.fit_transform(rows, y, 0, groups)[:, forest_linear_boosting]
    assert (np.square(alone - y).mean(axis=0)[[0, 2]] < 0.1).all()  # the others give it away
    assert (np.square(together - y).mean(axis=0) > 0.7).all()


@pytest.mark.usefixtures("small_forests")
@pytest.mark.parametrize("n_groups", [2, 3, 4, 5, 7])
def test_few_groups_are_enough(n_groups):
    """Where some groups are held out, fewer are left than there are folds."""
    X, y, groups = grouped(n_groups, 60 // n_groups)
    est = short("trees").fit(X, y, groups=groups)
    assert np.isfinite(est.sample(X[:3], 2)).all()


@pytest.mark.usefixtures("small_forests")
def test_groups_are_held_out_whole():
    X, y, groups = grouped()
    order = np.random.default_rng(1).permutation(len(y))
    est = short("trees")
    for seed in range(5):
        held = hold_out_pairs(len(y), 0.1, seed, groups[order])
        assert 80 <= len(held) <= 90  # a fifth, of 40 groups
        out = np.isin(groups[order], groups[order][held])
        assert_array_equal(np.flatnonzero(out), held)
    names = np.array([f"storm {group}" for group in groups])
    fitted = est.fit(X[order], y[order], groups=names[order])
    assert np.isfinite(fitted.sample(X[:3], 2)).all()


@pytest.mark.parametrize(("n_groups", "share"), [(20, 0.2), (80, 0.2), (125, 0.16), (200, 0.1)])
def test_of_few_groups_more_are_held_out(n_groups, share):
    groups = np.repeat(np.arange(n_groups), 1000 // n_groups)
    held = hold_out_pairs(len(groups), 0.1, 0, groups)
    assert share * len(groups) <= len(held) <= share * len(groups) + 1000 // n_groups
    assert len(hold_out_pairs(len(groups), 0.0, 0, groups)) == 0


def test_of_groups_of_one_pair_no_more_are_held_out():
    assert len(hold_out_pairs(60, 0.1, 0, np.arange(60))) == 6
    nearly = np.minimum(np.arange(60), 55)
    assert len(hold_out_pairs(60, 0.1, 0, nearly)) <= 10


def test_of_many_pairs_twenty_groups_are_held_out():
    groups = np.repeat(np.arange(100), 1000)
    for few, n_held in [(groups, 20), (np.repeat(np.arange(2000), 50), 40), (groups[:30_000], 6)]:
        held = hold_out_pairs(len(few), 0.1, 0, few)
        assert len(np.unique(few[held])) == n_held
        assert_array_equal(np.flatnonzero(np.isin(few, few[held])), held)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(39), r"groups must give one group for each of the 40 pairs, got 39 values"),
        (np.zeros(40), r"groups must hold at least 2 different groups"),
        (np.zeros((40, 2)), r"groups"),
    ],
)
def test_bad_groups(groups, message):
    X, y = waves(40)
    with pytest.raises(ValueError, match=message):
        short("flatten").fit(X, y, groups=groups)


@pytest.mark.usefixtures("small_forests")
def test_groups_pass_through_pipelines_and_ensembles():
    X, y, groups = grouped(10, 6)
    model = make_sampling_pipeline(StandardScaler(), short("trees")).fit(X, y, groups=groups)
    assert sklsdm.sample(model, X[:3], 2).shape == (3, 2, 1)
    ensemble = SamplingEnsemble(short("trees"), 2).fit(X, y, groups=groups)
    assert ensemble.sample(X[:3], 2).shape == (3, 2, 1)


# ------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        ("forest", ValueError, r"condition_encoder='forest' is unknown; choose one of 'auto'"),
        (3, TypeError, r"condition_encoder must be one of .*BaseConditionEncoder object, got 3"),
        (TreesConditionEncoder(n_estimators=2), ValueError, r"condition_encoder__n_estimators"),
        (TreesConditionEncoder(min_samples_leaf="x"), ValueError, r"encoder__min_samples_leaf"),
        (PeriodicConditionEncoder((1, -2)), ValueError, r"condition_encoder__frequencies"),
        ("conv", ValueError, r"condition_encoder='conv' needs images X"),
    ],
)
def test_bad_settings(encoder, error, message):
    X, y = waves(40)
    with pytest.raises(error, match=message):
        short("flatten").set_params(condition_encoder=encoder).fit(X, y)


def test_encoders_document_their_parameters():
    for kind in ENCODERS.values():
        assert issubclass(kind, BaseConditionEncoder)
        for name in kind().get_params():
            assert f"\n{name} : " in kind.__doc__


def test_trees_are_no_candidate_where_codes_are_images():
    rng = np.random.default_rng(0)
    condition, codes = rng.normal(size=(60, 3)).astype(np.float32), rng.normal(size=(60, 4))
    found = AutoConditionEncoder().candidates(condition, codes, 0, are_images=True)
    assert list(found) == ["flatten"]
    assert "trees" in AutoConditionEncoder().candidates(condition, codes, 0)

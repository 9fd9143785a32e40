"""Conformal intervals: coverage on exchangeable pairs, ties, limits, and every way to get them."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import (
    LSDMGenerator,
    LSDMRegressorCV,
    SamplingEnsemble,
    blocks,
    make_sampling_pipeline,
)
from sklsdm.datasets import make_arms
from sklsdm.draws.conformal import calibrate, conformal_intervals, conformal_rank, fewest_pairs
from sklsdm.draws.seen import share_seen

ARMS = make_arms(400, random_state=0)
FIT, CALIBRATE, TEST = slice(0, 60), slice(60, 160), slice(160, 400)


class FixedBank:
    """Draws x + spread * noise, the same noise for all rows; cheap, and as wrong as asked for."""

    def __init__(self, width, spread=1.0, decimals=None):
        self.width, self.spread, self.decimals, self.n_passes = width, spread, decimals, 1

    def draws_with_shared_noise(self, condition, n_draws):
        noise = np.random.default_rng(0).normal(size=(n_draws, self.width)) * self.spread
        draws = condition[:, None] + noise
        if self.decimals is not None:
            draws = draws.round(self.decimals)
        for start in range(0, len(condition), 7):
            rows = slice(start, min(start + 7, len(condition)))
            yield rows, torch.from_numpy(draws[rows])


def coverage_of(bank, responses, n_pairs, coverage, joint, n_sets=200):
    """Mean coverage by output (joint: of all), over sets of calibration pairs and a new one."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(n_sets):
        x = rng.normal(size=(n_pairs + 4, bank.width)).astype(np.float32)
        y = responses(rng, x)
        calibration = calibrate(bank, x[4:], y[4:], np.ones(bank.width), 50)
        found = conformal_intervals(bank, x[:4], calibration, coverage, joint, None)
        each = (found[:, 0] <= y[:4]) & (y[:4] <= found[:, 1])
        inside.append(each.all(axis=1)[:, None] if joint else each)
    return np.mean(inside, axis=(0, 1))


# ------------------------------------------------------------------ coverage
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("spread", [0.2, 5.0])
@pytest.mark.parametrize(("n_pairs", "coverage"), [(9, 0.9), (19, 0.8), (40, 0.5)])
def test_coverage_is_in_the_finite_sample_band(spread, joint, n_pairs, coverage):
    # Draws too narrow and too wide; responses with a spread that x changes.
    found = coverage_of(
        FixedBank(3, spread),
        lambda rng, x: x + np.exp(0.5 * x) * rng.normal(size=x.shape),
        n_pairs,
        coverage,
        joint,
    )
    exact = conformal_rank(n_pairs, coverage) / (n_pairs + 1)  # where scores have no ties
    assert coverage <= exact <= coverage + 1 / (n_pairs + 1)
    # 200 sets; four new pairs of one set share its calibration.
    assert np.abs(found - exact).max() < 4 * np.sqrt(exact * (1 - exact) / 200)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("decimals", [None, 0])
def test_repeated_values_are_covered_at_least(joint, decimals):
    found = coverage_of(
        FixedBank(2, 0.8, decimals),
        lambda rng, x: rng.poisson(1.0, size=x.shape).astype(float) + np.round(x),
        19,
        0.8,
        joint,
    )
    assert (found >= 0.8 - 4 * np.sqrt(0.8 * 0.2 / 200)).all()


def test_the_interval_is_the_smallest_that_covers_the_ranked_pair():
    bank, rng = FixedBank(1), np.random.default_rng(0)
    x = np.zeros((19, 1), dtype=np.float32)
    y = rng.normal(scale=3, size=(19, 1))
    calibration = calibrate(bank, x, y, np.ones(1), 64)
    for coverage in (0.1, 0.5, 0.8, 0.95):
        low, high = conformal_intervals(bank, x[:1], calibration, coverage, False, None)[0, :, 0]
        # All conditions are equal: as many pairs lie inside as the rank says.
        assert ((low <= y) & (y <= high)).sum() == conformal_rank(19, coverage)
        nearer = np.abs(np.stack([y - low, y - high])).min()
        assert nearer < 1e-3  # one of them on an end


def test_wider_coverage_gives_wider_intervals_and_the_median_is_inside():
    bank, rng = FixedBank(2), np.random.default_rng(0)
    x = rng.normal(size=(60, 2)).astype(np.float32)
    calibration = calibrate(bank, x, x + rng.normal(size=x.shape), np.ones(2), 51)
    found = [conformal_intervals(bank, x, calibration, c, False, None) for c in (0.05, 0.5, 0.95)]
    for inner, outer in pairwise(found):
        assert (inner[:, 0] >= outer[:, 0]).all()
        assert (inner[:, 1] <= outer[:, 1]).all()
    draws = np.concatenate([d.numpy() for _, d in bank.draws_with_shared_noise(x, 51)])
    median = np.median(draws, axis=1)
    assert ((found[0][:, 0] <= median) & (median <= found[0][:, 1])).all()


def test_one_draw_is_enough():
    bank, rng = FixedBank(1, spread=0.0), np.random.default_rng(0)
    x = rng.normal(size=(99, 1)).astype(np.float32)
    y = x + rng.normal(size=x.shape)
    calibration = calibrate(bank, x, y, np.ones(1), 1)
    found = conformal_intervals(bank, x, calibration, 0.9, False, None)
    assert ((found[:, 0] <= y) & (y <= found[:, 1])).mean() == pytest.approx(0.9, abs=0.011)


def test_ranks_and_numbers_of_pairs():
    assert [conformal_rank(n, 0.9) for n in (8, 9, 19, 99)] == [9, 9, 18, 90]
    for coverage in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999):
        least = fewest_pairs(coverage)
        assert conformal_rank(least, coverage) <= least
        assert conformal_rank(least - 1, coverage) > least - 1


# ------------------------------------------------------------------ estimators
def single(**params):
    est = plain_regressor(matcher="energy", random_state=0, **params)
    return est.set_params(matcher__max_steps=20)


def inside(found, y):
    """Whether each output lies in its interval, (n, q)."""
    found = found.reshape(len(found), 2, -1)
    flat = y.reshape(len(y), -1)
    return (found[:, 0] <= flat) & (flat <= found[:, 1])


# Twenty steps are few.
pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")

MODELS = {
    "single": lambda: single(),
    "pipeline": lambda: make_sampling_pipeline(StandardScaler(), single()),
    "ensemble": lambda: SamplingEnsemble(single(), 2, random_state=0),
    "search": lambda: LSDMRegressorCV(
        single(), n_estimators=2, candidates={"matcher__max_steps": [10, 20]}, cv=2, random_state=0
    ),
    "pipeline around": lambda: make_sampling_pipeline(
        StandardScaler(), SamplingEnsemble(single(), 2, random_state=0)
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_every_model_with_intervals(kind):
    model = MODELS[kind]().fit(ARMS.X[FIT], ARMS.y[FIT])
    assert model.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], n_draws=64) is model
    for joint in (False, True):
        found = model.predict_interval(ARMS.X[TEST], 0.9, conformal=True, joint=joint)
        assert found.shape == (240, 2, 2)
        assert found.dtype == np.float64
        covered = inside(found, ARMS.y[TEST])
        share = covered.all(axis=1).mean() if joint else covered.mean(axis=0)
        # 100 calibration pairs: the coverage of one calibration has a standard deviation of .03.
        assert np.all(np.abs(share - 0.9) < 0.12)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(
        again.predict_interval(ARMS.X[TEST], conformal=True),
        model.predict_interval(ARMS.X[TEST], conformal=True),
    )


@pytest.mark.parametrize("kind", ["single", "ensemble"])
def test_a_new_fit_drops_the_calibration(kind):
    model = MODELS[kind]().fit(ARMS.X[FIT], ARMS.y[FIT])
    model.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], n_draws=8)
    with pytest.raises(ValueError):
        model.fit(ARMS.X[FIT], None)
    model.predict_interval(ARMS.X[TEST], conformal=True)  # a failed fit changes nothing
    with pytest.raises(NotFittedError, match="call conformalize"):
        model.fit(ARMS.X[FIT], ARMS.y[FIT]).predict_interval(ARMS.X[TEST], conformal=True)
    with pytest.raises(NotFittedError):
        clone(model).conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE])


@pytest.fixture(scope="module")
def fitted():
    model = single().fit(ARMS.X[FIT], ARMS.y[FIT])
    return model.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], n_draws=64)


def test_intervals_are_deterministic_and_do_not_depend_on_blocks(fitted, monkeypatch):
    found = fitted.predict_interval(ARMS.X[TEST], conformal=True, joint=True)
    assert_array_equal(fitted.predict_interval(ARMS.X[TEST], conformal=True, joint=True), found)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**15)
    other = clone(fitted).fit(ARMS.X[FIT], ARMS.y[FIT])
    other.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], n_draws=64)
    np.testing.assert_allclose(
        other.predict_interval(ARMS.X[TEST], conformal=True, joint=True), found, atol=1e-4
    )


def test_the_other_methods_do_not_change(fitted):
    plain = single().fit(ARMS.X[FIT], ARMS.y[FIT])
    for name, arguments in (("predict_interval", {"n_draws": 64}), ("sample", {"random_state": 0})):
        first, second = (getattr(each, name)(ARMS.X, **arguments) for each in (plain, fitted))
        assert_array_equal(first, second)


@pytest.mark.parametrize(
    "shape",
    [(), (1,), (12,), (4, 4), (3, 4, 4)],
    ids=["number", "column", "curve", "grey", "colour"],
)
def test_responses_of_every_shape(shape):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(260, 1))
    noise = rng.normal(size=(260, *shape))
    y = X.reshape(-1, *[1] * len(shape)) + noise if shape else X[:, 0] + noise
    model = single(autoencoder="pca" if len(shape) > 1 else "auto").fit(X[:60], y[:60])
    model.conformalize(X[60:160], y[60:160], n_draws=32)
    found = model.predict_interval(X[160:], 0.9, conformal=True, joint=True)
    assert found.shape == (100, 2, *shape)
    assert abs(inside(found, y[160:]).all(axis=1).mean() - 0.9) < 0.15


def test_images_of_bytes_and_ranges_are_clipped_and_covered():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(260, 1))
    level = 128 + 60 * X[:, 0, None, None] + 80 * rng.normal(size=(260, 4, 4))
    images = np.clip(level, 0, 255).astype(np.uint8)
    model = single(autoencoder="pca").fit(X[:60], images[:60])
    model.conformalize(X[60:160], images[60:160], n_draws=32)
    found = model.predict_interval(X[160:], conformal=True, joint=True)
    assert found.min() == 0
    assert found.max() == 1
    assert inside(found, images[160:] / 255).all(axis=1).mean() > 0.75
    amounts = np.maximum(X[:, 0] + rng.normal(size=260), 0)  # half of them 0
    model = single(y_range=(0, None)).fit(X[:60], amounts[:60])
    found = model.conformalize(X[60:160], amounts[60:160], 64).predict_interval(
        X[160:], conformal=True
    )
    assert found.min() == 0
    assert inside(found, amounts[160:]).mean() > 0.78


def test_integers_under_labels_keep_their_coverage():
    # Few labels and few values: ends fall on values that many new pairs have.
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 1500)
    X, y = np.eye(3)[label], rng.poisson(1.0 + label)
    model = single().fit(X[:100], y[:100])
    shares = []
    for start in range(100, 500, 100):
        part = slice(start, start + 100)
        found = model.conformalize(X[part], y[part], n_draws=64)
        found = found.predict_interval(X[500:], conformal=True)
        shares.append(inside(found, y[500:]).mean())
    assert np.mean(shares) > 0.88


@pytest.mark.filterwarnings("ignore:Columns")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_constant_outputs_stay_constant(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 1))
    y = np.column_stack([X[:, 0] + rng.normal(size=200), np.full(200, 0.1)]).astype(dtype)
    model = single().fit(X[:60], y[:60]).conformalize(X[60:120], y[60:120], n_draws=32)
    found = model.predict_interval(X[120:], conformal=True)
    np.testing.assert_allclose(found[:, :, 1], 0.1, atol=1e-7)
    assert inside(found, y[120:])[:, 1].all()


# ------------------------------------------------------------------ through wrappers
@pytest.mark.parametrize(
    "wrap",
    [
        lambda: make_pipeline(StandardScaler(), single()),
        lambda: GridSearchCV(
            make_pipeline(StandardScaler(), single()),
            {"lsdmregressor__matcher__max_steps": [5]},
            cv=2,
        ),
        lambda: make_pipeline(StandardScaler(), SamplingEnsemble(single(), 2, random_state=0)),
    ],
    ids=["pipeline", "search", "ensemble"],
)
def test_wrappers_of_scikit_learn(wrap):
    model = wrap().fit(ARMS.X[FIT], ARMS.y[FIT])
    pipeline = getattr(model, "best_estimator_", model)
    with pytest.raises(NotFittedError, match="needs a calibration"):
        sklsdm.predict_interval(model, ARMS.X, conformal=True)
    assert sklsdm.conformalize(model, ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], 64) is model
    found = sklsdm.predict_interval(model, ARMS.X[TEST], conformal=True)
    scaled = pipeline[:-1].transform(ARMS.X[TEST])
    assert_array_equal(found, pipeline[-1].predict_interval(scaled, conformal=True))
    assert np.abs(inside(found, ARMS.y[TEST]).mean(axis=0) - 0.9).max() < 0.12


def test_models_without_intervals_to_calibrate_are_named():
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(ARMS.y)
    with pytest.raises(TypeError, match="LSDMGenerator draws without conditions"):
        sklsdm.conformalize(generator, ARMS.X, ARMS.y)
    positive = np.exp(ARMS.y)
    other_units = TransformedTargetRegressor(single(), func=np.log, inverse_func=np.exp)
    model = make_pipeline(other_units).fit(ARMS.X[FIT], positive[FIT])
    with pytest.raises(TypeError, match="Conformal intervals are calibrated in the units"):
        sklsdm.conformalize(model, ARMS.X[CALIBRATE], positive[CALIBRATE])


# ------------------------------------------------------------------ training pairs
@pytest.mark.parametrize("kind", ["single", "ensemble"])
def test_training_pairs_warn(kind):
    model = MODELS[kind]().fit(ARMS.X[FIT], ARMS.y[FIT])
    with pytest.warns(UserWarning, match=r"100% of these responses .* too narrow") as caught:
        model.conformalize(ARMS.X[FIT], ARMS.y[FIT], n_draws=8)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE], n_draws=8)
        model.conformalize(ARMS.X[30:100], ARMS.y[30:100], n_draws=8)  # 30 of these are seen
    bare = single(store_reference=False).fit(ARMS.X[FIT], ARMS.y[FIT])
    bare.conformalize(ARMS.X[FIT], ARMS.y[FIT], n_draws=8)  # nothing to compare with


def test_share_of_seen_responses_where_few_are_kept_or_they_repeat():
    y = np.random.default_rng(0).normal(size=(4000, 1)).astype(np.float32)
    kept = y[::4]
    assert share_seen(kept, 4000, y[:1000]) == 1
    assert share_seen(kept, 4000, np.concatenate([y[:1000], 5 + y[:1000]])) == pytest.approx(0.5)
    assert share_seen(kept, 4000, y[:1000] + 5) == 0
    assert share_seen(y.round(1), 4000, y[:1000].round(1)) == 0
    # 1,000 of them hardly repeat; 100 times as many would.
    assert share_seen(y[:1000].round(4), 100_000, y[1000:].round(4)) == 0


# ------------------------------------------------------------------ what is refused
def test_too_few_pairs_say_how_many_are_needed():
    model = single().fit(ARMS.X[FIT], ARMS.y[FIT])
    model.conformalize(ARMS.X[:8], ARMS.y[:8], n_draws=8)
    with pytest.raises(
        ValueError,
        match=r"coverage=0.9 needs at least 9 pairs in conformalize, "
        r"got 8: .* a coverage of at most 0.889",
    ):
        model.predict_interval(ARMS.X, 0.9, conformal=True)
    model.predict_interval(ARMS.X, 8 / 9, conformal=True)
    model.conformalize(ARMS.X[:9], ARMS.y[:9], n_draws=8).predict_interval(
        ARMS.X[:2], 0.9, conformal=True
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"joint": True}, ValueError, "joint=True needs conformal=True"),
        ({"conformal": "yes"}, TypeError, "conformal must be True or False"),
        ({"conformal": True, "joint": 2}, TypeError, "joint must be True or False"),
        ({"conformal": True, "n_draws": 65}, ValueError, "n_draws must be None or 64"),
        ({"conformal": True, "n_draws": 0}, ValueError, "n_draws must be at least 1"),
        ({"conformal": True, "coverage": 1.0}, ValueError, "coverage must be"),
    ],
)
def test_bad_arguments(fitted, arguments, error, message):
    with pytest.raises(error, match=message):
        fitted.predict_interval(ARMS.X, **arguments)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (ARMS.X[:9], ARMS.y[:8], "same number of rows"),
        (ARMS.X[:9], ARMS.y[:9, 0], "y must have shape"),
        (ARMS.X[:9, :0], ARMS.y[:9], "X"),
        (ARMS.X[:9], np.full((9, 2), np.nan), "y contains 18 NaN"),
        (ARMS.X[:9], None, "y is None"),
    ],
)
def test_bad_pairs_leave_the_calibration(fitted, X, y, message):
    before = fitted._calibration_
    with pytest.raises(ValueError, match=message):
        fitted.conformalize(X, y)
    assert fitted._calibration_ is before


def test_a_fit_that_is_replaced_meanwhile_gives_its_calibration_to_no_other(monkeypatch):
    est = single().fit(ARMS.X[FIT], ARMS.y[FIT])

    def replaced_meanwhile(*args):
        est.fit(ARMS.X[FIT], -ARMS.y[FIT])
        return calibrate(*args)

    monkeypatch.setattr("sklsdm.draws.forecasts.calibrate", replaced_meanwhile)
    with pytest.raises(RuntimeError, match="fitted again, by another thread"):
        est.conformalize(ARMS.X[CALIBRATE], ARMS.y[CALIBRATE])
    assert est._calibration_ is None

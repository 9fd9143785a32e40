"""Copies of pairs, and pairs of one subject, are held out together; equal labels are not."""

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal

from sklsdm import LSDMRegressor, LSDMRegressorCV
from sklsdm.fitting import implied_groups as module
from sklsdm.fitting.implied_groups import implied_groups
from sklsdm.functional.categorical import are_labels
from sklsdm.search import _check_pairs

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(200, 2)).astype(np.float32), RANDOM.normal(size=(200, 3))
AGE, SEX = RANDOM.integers(20, 60, (3000, 1)), RANDOM.integers(0, 2, (3000, 1))
FEW = np.hstack([AGE, SEX]).astype(np.float32)


def partition(numbers):
    """Which rows belong together."""
    return {frozenset(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)}


@pytest.mark.parametrize(
    "rows",
    [
        np.tile(np.arange(200), 3),
        np.concatenate([np.arange(200), np.arange(20)]),
        np.random.default_rng(1).integers(0, 200, 200),  # as for a bag
    ],
)
@pytest.mark.parametrize(
    "y",
    [
        Y,
        (Y > 0).astype(float),
        np.where(Y > 0.5, Y, 0.0)[:, 0],
        (99 * Y.reshape(200, 3, 1) % 256).astype(np.uint8),
    ],
)
def test_copies_are_found(rows, y):
    found = implied_groups(X[rows], y[rows])
    assert partition(found) == partition(rows)
    assert sorted(set(found)) == list(range(len(set(rows))))


def test_copies_of_labelled_pairs_are_found():
    """Conditions that come with several responses, all of it twice."""
    x, y = np.repeat(np.arange(50.0)[:, None], 4, axis=0), Y
    assert partition(implied_groups(np.tile(x, (2, 1)), np.tile(y, (2, 1)))) == partition(
        np.tile(np.arange(200), 2)
    )


@pytest.mark.parametrize("times", [2, 4, 9])
def test_repeated_measurements_are_found(times):
    """Of subjects with the same x each time, whose numbers are given or not."""
    subjects = np.repeat(np.arange(200 // times), times)
    x = X[subjects]
    assert partition(implied_groups(x, Y[: len(x)])) == partition(subjects)
    assert not are_labels(torch.from_numpy(x))


def test_pairs_of_a_large_group_stand_for_themselves():
    """Such as an empty row that many have in common, be it beside subjects."""
    subjects = np.concatenate([np.zeros(60, int), np.repeat(np.arange(1, 36), 4)])
    x = X[subjects]
    x[:60] = np.array([0.0, -0.0])[RANDOM.integers(0, 2, 60), None]
    found = implied_groups(x, Y)
    assert partition(found[60:]) == partition(subjects[60:])
    assert len(set(found[:60])) == 60
    twice = np.vstack([0 * X, X, X]), np.vstack([0 * Y, Y, Y])
    assert len(partition(implied_groups(*twice))) == 400


def test_missing_and_huge_numbers_of_subjects():
    subjects = np.repeat(np.arange(40), 5)
    x = np.hstack([RANDOM.normal(size=(200, 1)), X[subjects].astype(np.float64)])
    assert partition(implied_groups(1e160 * x, Y)) == partition(subjects)
    x[:10, 1:] = np.nan  # of two subjects
    assert len(set(implied_groups(x, Y)[10:])) == 38
    x[10:, 2] = np.nan
    assert implied_groups(x, Y) is None


@pytest.mark.parametrize("others", [1, 3])
def test_subjects_are_found_beside_columns_that_change(others):
    subjects = np.repeat(np.arange(40), 5)
    time = np.random.default_rng(1).normal(size=(200, others)).astype(np.float32)
    x = np.hstack([time, X[subjects]])
    assert partition(implied_groups(x, Y)) == partition(subjects)
    one = x[:, :-1]  # a single column may be rounded
    assert implied_groups(one, Y) is None
    assert implied_groups(np.hstack([one, one[:, -1:], np.exp(-one[:, -1:])]), Y) is None
    hour = 2 * np.pi * subjects[:, None] / 37
    wave = np.hstack([np.sin(hour), 3 * np.cos(hour) + 1]).astype(np.float32)
    assert implied_groups(np.hstack([time, wave]), Y) is None
    turned = wave @ np.array([[0.6, 0.8], [-0.8, 0.6]], np.float32)
    assert implied_groups(np.hstack([time, turned]), Y) is None
    number = one[:, -1:]
    for powers in [(1, 2), (2, 1), (1, 2, 3)]:
        assert implied_groups(np.hstack([time, *(number**power for power in powers)]), Y) is None
    rounded = np.round(RANDOM.lognormal(size=(2000, 6)), 1)  # all of whose values are frequent
    assert implied_groups(rounded, RANDOM.normal(size=2000)) is None


@pytest.mark.parametrize(
    "x",
    [
        np.eye(30)[RANDOM.integers(0, 30, 600)],
        RANDOM.integers(0, 60, (600, 1)),  # numbers of classes
        RANDOM.choice([0.1, 0.5, 2.0, 7.3, 8.1], size=(600, 2)),  # doses
        np.stack([RANDOM.integers(0, 2, 600), RANDOM.integers(18, 40, 600)], axis=1),
        np.empty((600, 0)),
    ],
)
def test_labels_are_no_measurements(x):
    x = x.astype(np.float32)
    for rows in (x, (x - x.mean(axis=0)) / x.std(axis=0)):
        assert are_labels(torch.from_numpy(rows))
        assert implied_groups(rows, RANDOM.normal(size=600)) is None


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (np.repeat(np.arange(50.0)[:, None], 4, axis=0), Y),  # replicates
        (np.vstack([X, X[:80]]), np.vstack([Y, Y[80:160]])),  # most conditions occur once
        (X, np.repeat(Y[:50], 4, axis=0)),
        (np.vstack([X, X[:1]]), np.vstack([Y, Y[:1]])),  # a single copy
        (np.vstack([0 * X, np.repeat(X[:60], 2, axis=0)]), RANDOM.normal(size=320)),  # empty rows
        (np.tile(X[:10], (9, 1)), np.tile(Y[:10], (9, 1))),  # too few to tell
        (FEW, RANDOM.poisson(2, 3000)),
        (FEW, np.sort(RANDOM.poisson(2, 3000))),
        (FEW, (RANDOM.random(3000) < 0.02).astype(float)),  # rarely anything else
        (FEW, (RANDOM.random(3000) < 0.05 + 0.9 * SEX[:, 0]).astype(float)),
        (FEW, np.where(RANDOM.random(3000) < 0.5, RANDOM.normal(size=3000), 0.0)),
        (FEW[:, :0], RANDOM.poisson(2, 3000)),
    ],
)
def test_equal_pairs_are_no_copies(x, y):
    assert implied_groups(x, y) is None


def windows_of(series, width):
    return np.lib.stride_tricks.sliding_window_view(series, width)


def test_windows_of_a_series_are_held_out_in_spans():
    series = np.cumsum(np.random.default_rng(0).normal(size=224)) * 0.3
    rows = windows_of(series, 25)
    x, y = rows[:, :24], rows[:, 24:]
    standardised = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    spans = np.arange(200) * 20 // 200
    for given in (x, standardised, standardised[:, ::-1], np.c_[x, np.arange(200) % 7]):
        assert_array_equal(implied_groups(given, y), spans)
    shuffled = np.random.default_rng(1).permutation(200)
    assert implied_groups(x[shuffled], y[shuffled]) is None
    levels = np.eye(10)[np.arange(200) % 10]  # of a category that repeats in turn
    assert implied_groups(np.c_[levels, rows[:, :1]], y) is None
    steady = np.linspace(0, 1, 200)[:, None] * [1.0, 2.0, 3.0, 4.0, 5.0]  # columns of one trend
    assert implied_groups(steady, y) is None


def test_of_too_many_bytes_nothing_is_looked_for(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 100)
    assert implied_groups(np.tile(X, (2, 1)), np.tile(Y, (2, 1))) is None


def test_a_fit_keeps_copies_together():
    """Equal to the same fit with the copies as groups."""
    x, y = np.tile(X, (2, 1)), np.tile(X[:, :1] + 0.3 * Y[:, :1], (2, 1))

    def draws(**groups):
        est = plain_regressor(matcher="energy", random_state=0)
        est.set_params(matcher__max_steps=20, matcher__widths=(8,))
        return est.fit(x, y, **groups).sample(X[:5], 3, random_state=0)

    _, numbers = np.unique(X[:, 0], return_inverse=True)
    copied = draws()
    assert not np.array_equal(copied, draws(groups=np.arange(400)))
    groups = implied_groups(x, y)
    assert partition(groups) == partition(np.tile(numbers, 2))
    np.testing.assert_array_equal(copied, draws(groups=groups))


def test_a_search_keeps_copies_together():
    x, y = np.tile(X, (2, 1)), np.tile(Y[:, 0], 2)
    single = plain_regressor(matcher="mdn", random_state=0)
    for kept, held in LSDMRegressorCV(single)._splits(_check_pairs(single, x, y, {}), 0):
        assert not {tuple(row) for row in x[kept]} & {tuple(row) for row in x[held]}


@pytest.mark.slow
def test_copies_do_not_ruin_a_fit():
    """Draws of a default fit for copied pairs cover as those of a fit for the pairs do."""
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 3))
    y = x[:, 0] + 0.5 * random.normal(size=300)
    fresh = random.normal(size=(500, 3))
    truth = fresh[:, 0] + 0.5 * random.normal(size=500)
    est = LSDMRegressor(random_state=0).fit(np.tile(x, (3, 1)), np.tile(y, 3))
    low, high = est.predict_interval(fresh).T
    assert 0.84 < ((truth >= low) & (truth <= high)).mean() < 0.96


@pytest.mark.slow
def test_repeated_measurements_do_not_ruin_a_fit():
    """Responses of a subject have in common what x does not tell; new subjects differ in it."""
    random = np.random.default_rng(0)

    def measured(n_subjects, times):
        x, own = random.normal(size=(n_subjects, 2)), random.normal(size=n_subjects)
        subject = np.repeat(np.arange(n_subjects), times)
        return x[subject], (x[:, 0] + own)[subject] + 0.3 * random.normal(size=len(subject))

    fresh, truth = measured(500, 1)
    est = LSDMRegressor(matcher="diffusion", random_state=0).fit(*measured(80, 6))
    low, high = est.predict_interval(fresh).T
    assert 0.8 < ((truth >= low) & (truth <= high)).mean() < 0.97
    assert est.score(fresh, truth) > 0.1

"""Pairs that repeat others are held out together; equal pairs of few values are not copies."""

import numpy as np
import pytest
from helpers import plain_regressor

from sklsdm import LSDMRegressor, LSDMRegressorCV
from sklsdm.fitting import copies
from sklsdm.fitting.copies import groups_of_copies
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
    found = groups_of_copies(X[rows], y[rows])
    assert partition(found) == partition(rows)
    assert sorted(set(found)) == list(range(len(set(rows))))


def test_copies_of_replicates_are_found():
    """Conditions that come with several responses, all of it twice."""
    x, y = np.repeat(X[:50], 4, axis=0), Y
    assert partition(groups_of_copies(np.tile(x, (2, 1)), np.tile(y, (2, 1)))) == partition(
        np.tile(np.arange(200), 2)
    )


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X, Y),
        (np.repeat(X[:50], 4, axis=0), Y),  # replicates
        (X, np.repeat(Y[:50], 4, axis=0)),
        (np.vstack([X, X[:1]]), np.vstack([Y, Y[:1]])),  # a single copy
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
    assert groups_of_copies(x, y) is None


def test_of_too_many_bytes_nothing_is_looked_for(monkeypatch):
    monkeypatch.setattr(copies, "_MOST_BYTES", 100)
    assert groups_of_copies(np.tile(X, (2, 1)), np.tile(Y, (2, 1))) is None


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
    groups = groups_of_copies(x, y)
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

"""Classifier two-sample tests and coverage by neighbours: their level, power and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import binomtest
from sklearn.tree import DecisionTreeClassifier

from sklsdm.datasets import make_arms
from sklsdm.metrics import (
    classifier_test,
    conditional_classifier_test,
    dependence_test,
    expected_neighbour_coverage,
    neighbour_coverage,
)

TREE = DecisionTreeClassifier(min_samples_leaf=3, random_state=0)  # overfits, on purpose


def truth(seed):
    arms = make_arms(120, random_state=seed)
    draws = arms.sample(arms.X, 4, random_state=1000 + seed)
    return conditional_classifier_test(arms.X, arms.y, draws, classifier=TREE, random_state=seed)


def one_law(seed):
    a, b = (np.random.default_rng(seed).normal(size=(90, 2)) for seed in (seed, 1000 + seed))
    return classifier_test(a, b[:60], classifier=TREE, random_state=seed)


def with_ties(seed):
    a, b = np.random.default_rng(seed).integers(3, size=(2, 90))
    return classifier_test(a, b, classifier=TREE, random_state=seed)


def independent(seed):
    X, y = np.random.default_rng(seed).normal(size=(2, 120, 1))
    return dependence_test(X, y, n_shuffles=4, classifier=TREE, random_state=seed)


@pytest.mark.parametrize("made", [truth, one_law, with_ties, independent])
def test_the_level_is_kept_by_a_classifier_that_overfits(made):
    """Over 100 samples; in cross-validation such a classifier rejects twice as often."""
    p_values = np.array([made(seed).p_value for seed in range(100)])
    for level in (0.05, 0.25):
        assert binomtest(int((p_values < level).sum()), 100, level).pvalue > 1e-3


@pytest.mark.slow
def test_what_ignores_x_is_seen_and_where():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 1))
    y = np.where(X[:, 0] > 0, X[:, 0] + 0.05 * rng.normal(size=400), rng.normal(size=400))
    draws = np.where(X > 0, rng.normal(size=(400, 3)), rng.normal(size=(400, 3)))
    found = conditional_classifier_test(X, y, draws, random_state=0)
    assert found.p_value < 1e-6
    assert found.interval[0] < found.auc < found.interval[1]
    assert found.ranks[X[found.rows, 0] > 0].mean() > 0.7
    assert found.ranks[X[found.rows, 0] < 0].mean() < 0.65
    assert dependence_test(X, y, random_state=0).p_value < 1e-6
    assert len(np.unique(found.rows)) == len(found.rows) == 267


def test_equal_seeds_give_equal_results():
    first, second = truth(3), truth(3)
    assert first.auc == second.auc
    assert_array_equal(first.ranks, second.ranks)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dependence_test(np.zeros((10, 1)), np.zeros(10)), "y needs at least 24 rows"),
        (
            lambda: dependence_test(np.zeros((30, 1)), np.zeros(31)),
            "X must have a row",
        ),
        (lambda: classifier_test(np.zeros((30, 1)), np.zeros((30, 2))), "a and b must agree"),
        (
            lambda: conditional_classifier_test(
                np.zeros((30, 1)), np.zeros(30), np.zeros((30, 2, 1))
            ),
            "draws must have shape",
        ),
        (lambda: neighbour_coverage(np.zeros(4), np.zeros(4)), "n_neighbors must be between"),
        (lambda: neighbour_coverage(np.zeros(9), np.zeros((9, 2))), "y_true and draws must agree"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------ coverage by neighbours
@pytest.mark.parametrize("dim", [1, 5])
def test_expected_coverage_holds_in_every_dimension(dim):
    rng = np.random.default_rng(0)
    found = [
        neighbour_coverage(rng.normal(size=(80, dim)), rng.normal(size=(60, dim)), n_neighbors=2)
        for _ in range(150)
    ]
    assert abs(np.mean(found) - expected_neighbour_coverage(80, 60, 2)) < 0.01


def test_a_missing_mode_is_not_covered():
    rng = np.random.default_rng(0)
    side = rng.integers(2, size=200)
    y = 10 * side + rng.normal(size=200)
    covered = neighbour_coverage(y, rng.normal(size=200), average=False)
    assert not covered[side == 1].any()
    assert covered[side == 0].mean() > 0.9


def test_infinite_conditions_are_named():
    y, draws = np.zeros((40, 1)), np.zeros((40, 3, 1))
    X = np.full((40, 1), np.inf)
    with pytest.raises(ValueError, match="X contains 40 inf"):
        conditional_classifier_test(X, y, draws)

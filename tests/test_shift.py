"""Do the unpaired responses follow the law of the paired ones? Level, power, and the warning."""

import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from helpers import plain_regressor, shorten_epochs
from scipy.stats import binom
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklsdm import DistributionShiftWarning, LSDMRegressor, LSDMRegressorCV, Unpaired, shift
from sklsdm.shift import FIT_LEVEL, LEFT_OUT, compare_some, differing_column, shift_between

LAWS = {
    "normal": lambda rng, n: rng.normal(size=(n, 3)),
    "counts": lambda rng, n: rng.poisson(1.0, size=(n, 1)),
    "coin": lambda rng, n: rng.integers(0, 2, size=(n, 1)),
    "heavy-tailed": lambda rng, n: rng.standard_cauchy(size=(n, 2)),
}
DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def without_class(missing, n_pairs, seed=0):
    """Rows of `n_pairs` digits that are not of one class, and of all other digits."""
    order = np.random.default_rng(seed).permutation(len(DIGITS))
    pairs = order[LABELS[order] != missing][:n_pairs]
    return pairs, np.setdiff1d(order, pairs)


def assert_level(p_values, levels):
    """No level is exceeded by more than chance allows, one time in 10,000."""
    for level in levels:
        most = binom.ppf(1 - 1e-4, len(p_values), level)
        assert (np.asarray(p_values) <= level).sum() <= most


# ------------------------------------------------------------------ what is said of columns
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda y: y * [1, 1000, 1],
            r"In column 1 the median is (\d.\d*) in y and \1e\+03 in Y_unp",
        ),
        (lambda y: y * [1, 1, -1], r"In column 2 the median is (\S+) in y and -\1 in Y_unpaired"),
        (lambda y: y[:, [1, 0, 2]], r"In column . the median is"),
        (
            lambda y: y + [0, 0, 2],
            r"In column 2 the median is 1?[09]\S* in y and 1[12]\S* in Y_unpaired",
        ),
        (lambda y: y * [3, 1, 1], r"In column 0 .* distance from it 0\.\d+ and [12]\.\d+\.$"),
        (lambda y: y, "^$"),
    ],
)
def test_the_column_that_differs_is_named(change, message):
    y = np.random.default_rng(0).normal([0, 5, 10], size=(500, 3))
    assert re.search(message, differing_column(y, change(y)))


def test_of_one_column_no_number_is_said():
    y = np.random.default_rng(0).normal(size=(500, 1))
    assert differing_column(y, y + 9).startswith(" The median is ")
    assert differing_column(0 * y, y) == ""  # nothing is usual


# ------------------------------------------------------------------ the test itself
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("copies", [False, True])
def test_level_holds_under_one_law(law, copies):
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(150):
        paired, unpaired = LAWS[law](rng, 25), LAWS[law](rng, 60)
        if copies:  # all responses of a table among the unpaired ones
            unpaired = np.concatenate([paired, unpaired])
        p_values.append(shift_between(paired, unpaired, rng).p_value)
    assert_level(p_values, [FIT_LEVEL, 0.01, 0.05, 0.2, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
def test_stated_level(law):
    rng = np.random.default_rng(1)
    p_values = []
    for _ in range(3000):
        paired, unpaired = LAWS[law](rng, 30), LAWS[law](rng, 70)
        p_values.append(shift_between(paired, unpaired, rng).p_value)
    assert_level(p_values, [FIT_LEVEL, 0.01, 0.05, 0.2, 0.5])


@pytest.mark.parametrize(
    ("paired", "unpaired"),
    [
        (lambda z: z + 0.7, lambda z: z),
        (lambda z: 2 * z, lambda z: z),
        (lambda z: np.abs(z), lambda z: z),
        (lambda z: np.round(z), lambda z: z),
    ],
    ids=["location", "spread", "half missing", "rounded"],
)
def test_shifts_are_found(paired, unpaired):
    rng = np.random.default_rng(0)
    found = shift_between(
        paired(rng.normal(size=(200, 2))), unpaired(rng.normal(size=(500, 2))), rng
    )
    assert found.is_clear
    assert 0 < found.strength <= 1
    assert found.statistic > 0
    assert "do not follow one law" in str(found)


def test_missing_classes_are_found_and_named():
    codes = PCA(20, random_state=0).fit_transform(DIGITS)
    for missing in (0, 6):
        pairs, rest = without_class(missing, 250)
        found = shift_between(codes[pairs], codes[rest[:1000]], np.random.default_rng(0))
        assert found.is_clear
        assert found.unpaired_share > 0.05 > 0.01 > found.paired_share
        assert (LABELS[rest[list(found.examples)]] == missing).all()


def test_samples_apart_have_full_strength():
    rng = np.random.default_rng(0)
    found = shift_between(rng.normal(size=(50, 2)), 100 + rng.normal(size=(50, 2)), rng)
    assert found.strength == 1
    assert found.is_clear


def test_tiny_and_constant_samples():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (1, 30), (2, 3)):
        assert not shift_between(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)), rng).is_clear
    assert shift_between(np.ones((40, 2)), np.ones((60, 2)), rng).p_value == 1


def test_equal_seeds_give_equal_results():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 2)), rng.normal(size=(90, 2))
    first, second = (shift_between(a, b, np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert pickle.loads(pickle.dumps(first)) == first


def test_few_rows_of_many_are_read_and_examples_are_theirs(monkeypatch):
    monkeypatch.setattr(shift, "MAX_ROWS", 80)
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(3000, 2))
    codes[200::2] += 9  # half of the unpaired rows
    compared = compare_some(torch.from_numpy(codes), np.ones(2), 200, np.arange(150, 220), 0)
    found = compared.found
    assert found.is_clear
    assert found.unpaired_share == pytest.approx(0.5, abs=0.2)
    assert all(place % 2 == 0 and place >= 20 for place in found.examples)
    everything = np.arange(200)
    assert compare_some(torch.from_numpy(codes), np.ones(2), 200, everything, 0) is None


# ------------------------------------------------------------------ the warning in `fit`
def quick(**params):
    est = plain_regressor(matcher="energy", **{"unpaired": "latent", "random_state": 0, **params})
    return est.set_params(matcher__max_steps=2)


def fit_and_count(est, *args, **kwargs):
    """The number of warnings of a shift that `fit` gives."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        est.fit(*args, **kwargs)
    return sum(issubclass(each.category, DistributionShiftWarning) for each in seen)


@pytest.mark.parametrize("kind", ["vectors", "images"])
def test_fit_warns_of_a_missing_class(kind, monkeypatch):
    shorten_epochs(monkeypatch, 10)
    y = DIGITS if kind == "vectors" else DIGITS.reshape(-1, 8, 8).astype(np.float32)
    pairs, rest = without_class(0, 250)
    est = quick(autoencoder="pca", latent_dim=20)
    if kind == "images":
        est = quick(autoencoder="conv").set_params(autoencoder__max_epochs=1)
    X = np.eye(10)[LABELS]
    with pytest.warns(DistributionShiftWarning, match=r"unpaired='latent'.*unpaired='none'"):
        est.fit(X[pairs], y[pairs], y[rest])
    found = est.unpaired_shift_
    assert found.is_clear
    assert (LABELS[rest[list(found.examples)]] == 0).all()
    assert pickle.loads(pickle.dumps(est)).unpaired_shift_ == found


def left_out_of(est, monkeypatch, X, y, unpaired):
    """The unpaired responses that stage 2 does not use, numbered from 0."""
    found = []
    compare = LSDMRegressor._compare_laws

    def note(self, *args):
        found.append(compare(self, *args))
        return found[-1]

    monkeypatch.setattr(LSDMRegressor, "_compare_laws", note)
    with pytest.warns(DistributionShiftWarning) as caught:
        est.fit(X, y, unpaired)
    says_so = any(LEFT_OUT in str(each.message) for each in caught)
    assert says_so == (len(found[0].left_out) > 0)
    return found[0].left_out - len(y)


def test_a_class_without_pairs_is_left_out(monkeypatch):
    pairs, rest = without_class(0, 250)
    X, known = np.eye(10)[LABELS[pairs]], DIGITS[pairs]
    est = quick(autoencoder="pca", latent_dim=20, unpaired="auto")
    left_out = left_out_of(est, monkeypatch, X, known, DIGITS[rest])
    is_missing = LABELS[rest] == 0
    assert is_missing[left_out].mean() > 0.97
    assert len(left_out) > 0.9 * is_missing.sum()
    asked = quick(autoencoder="pca", latent_dim=20, unpaired="match")
    assert len(left_out_of(asked, monkeypatch, X, known, DIGITS[rest])) == 0


def test_where_laws_are_apart_nothing_is_left_out(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 1)), rng.normal(size=(60, 2))
    assert len(left_out_of(quick(unpaired="auto"), monkeypatch, X, y, y + 30)) == 0


@pytest.mark.usefixtures("small_forests")
def test_one_warning_a_fit_whatever_it_compares():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 1)), rng.normal(size=(60, 2))
    est = LSDMRegressor(matcher="energy", random_state=0).set_params(matcher__max_steps=2)
    assert fit_and_count(est, X, y, y + 3) == 1
    assert est.held_out_scores_  # uses were compared
    model = LSDMRegressorCV(candidates={"matcher__max_steps": [1, 2]}, cv=2, n_estimators=1)
    model.set_params(estimator=quick(unpaired="match"), random_state=0)
    assert fit_and_count(model, X, y, Unpaired(y + 3)) == 1


@pytest.mark.parametrize("autoencoder", ["identity", "mlp"])
def test_fits_stay_silent_under_one_law(autoencoder):
    rng = np.random.default_rng(0)
    p_values = []
    for seed in range(4):
        y = rng.normal(size=(100, 20)).astype(np.float32)
        est = quick(autoencoder=autoencoder, random_state=seed)
        if autoencoder == "mlp":
            est.set_params(autoencoder__max_epochs=2, latent_dim=5)
        assert fit_and_count(est, rng.normal(size=(40, 1)), y[:40], y[40:]) == 0
        p_values.append(est.unpaired_shift_.p_value)
    assert np.mean(p_values) > 0.2


@pytest.mark.slow
def test_what_stage_1_remembers_does_not_count():
    rng = np.random.default_rng(0)
    p_values = []
    for seed in range(60):  # a tenth of the pairs, and of the others, are not learnt from
        y = rng.normal(size=(200, 100)).astype(np.float32)
        est = quick(autoencoder="mlp", latent_dim=20, random_state=seed)
        est.set_params(autoencoder__max_epochs=60, autoencoder__lr=0.01)
        fit_and_count(est, rng.normal(size=(100, 1)), y[:100], y[100:])
        p_values.append(est.unpaired_shift_.p_value)
    assert_level(p_values, [FIT_LEVEL, 0.05, 0.2])


def test_where_nothing_is_compared():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 1)), rng.normal(size=(40, 2))
    for params, extras in (
        ({}, {}),
        ({"unpaired": "none"}, {"Y_unpaired": y + 9}),
        ({}, {"Y_unpaired": y + 9, "groups": np.arange(40) // 4}),
    ):
        est = quick(**params)
        assert fit_and_count(est, X, y, **extras) == 0
        assert est.unpaired_shift_ is None


def test_draws_are_those_without_the_test(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 1)), rng.normal(size=(40, 2))
    draws = quick().fit(X, y, y[::-1] + 0.1).sample(X, 3, random_state=0)
    monkeypatch.setattr("sklsdm.regressor.compare_some", lambda *args: None)
    np.testing.assert_array_equal(
        quick().fit(X, y, y[::-1] + 0.1).sample(X, 3, random_state=0), draws
    )

"""Unpaired responses that tell their conditions."""

import numpy as np
import pytest
import torch
from helpers import shorten_epochs
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from sklsdm import LSDMRegressor
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.fitting import reverse_regression
from sklsdm.fitting.reverse_regression import recover_conditions
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import DiffusionMatcher, WGANMatcher


def halves(images):
    """Means of 2 x 2 pixels: what super-resolution starts from."""
    return images.reshape(len(images), 4, 2, 4, 2).mean(axis=(2, 4))


@pytest.fixture(scope="module")
def digits():
    return (load_digits().images / 16).astype(np.float32)


def standardised(condition, n_pairs):
    flat = condition.reshape(len(condition), -1)
    return ((flat - flat[:n_pairs].mean()) / flat[:n_pairs].std()).astype(np.float32)


def test_coarse_views_are_told(digits):
    truth = standardised(halves(digits), 100)
    found = recover_conditions(truth[:100], Responses(digits[:100], digits[100:]), seed=0)
    assert found.r2 > 0.95
    assert_array_equal(found.rows, np.arange(100, len(digits)))
    assert np.square(found.condition - truth[100:]).mean() < 0.05


def test_conditions_keep_the_noise_that_they_have(digits):
    rng = np.random.default_rng(0)
    clean = standardised(halves(digits), 400)
    noisy = clean + 0.1 * rng.normal(size=clean.shape).astype(np.float32)
    found = recover_conditions(noisy[:400], Responses(digits[:400], digits[400:]), seed=0)
    assert np.std(found.condition - clean[400:]) == pytest.approx(0.15, abs=0.06)


def wide(n, rng, n_factors=3):
    """Responses of 60 numbers that hang on a few, and those few."""
    factors = rng.normal(size=(n, n_factors))
    return factors @ rng.normal(size=(n_factors, 60)), factors


@pytest.mark.parametrize(
    "condition",
    [
        lambda few, rng: few[:, :1] + rng.normal(size=(len(few), 1)),
        lambda few, rng: np.c_[few[:, :2], rng.normal(size=len(few))],  # one column of three
    ],
    ids=["noisy", "one column"],
)
def test_what_responses_do_not_tell_stays_untold(condition):
    rng = np.random.default_rng(0)
    y, few = wide(600, rng)
    x = condition(few, rng)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    found = recover_conditions(x[:300], Responses(y[:300], y[300:]), seed=0)
    assert found.r2 < 0.9
    assert len(found.rows) == len(found.condition) == 0


def test_what_no_line_finds_is_told_by_a_kernel():
    """The distance of two factors: ridge regression of it on the responses explains nothing."""
    y, few = wide(900, np.random.default_rng(0))
    x = np.abs(few[:, :1] - few[:, 1:2]).astype(np.float32)
    x = (x - x.mean()) / x.std()
    found = recover_conditions(x[:300], Responses(y[:300], y[300:]), seed=0)
    assert found.r2 > 0.9
    assert np.square(found.condition - x[300:]).mean() < 0.15
    ridge = Ridge().fit(y[:300], x[:300, 0])
    assert ridge.score(y[300:], x[300:, 0]) < 0.1


def test_kernels_learn_from_some_of_many_pairs(monkeypatch):
    monkeypatch.setattr(reverse_regression, "_MOST_KERNELS", 150)
    y, few = wide(500, np.random.default_rng(0))
    x = np.abs(few[:, :1]).astype(np.float32)
    found = recover_conditions(x[:400], Responses(y[:400], y[400:]), seed=0)
    assert found.r2 > 0.8
    assert len(found.rows) in (0, 100)


@pytest.mark.parametrize("case", ["few pairs", "missing", "constant", "large", "few outputs"])
def test_where_it_is_not_tried(case, monkeypatch):
    y, few = wide(60, np.random.default_rng(0))
    x = few[:, :2].astype(np.float32)
    n_pairs = 19 if case == "few pairs" else 40
    if case == "missing":
        x[3, 0] = np.nan
    if case == "constant":
        x[:] = 1.0
    if case == "large":
        monkeypatch.setattr(reverse_regression, "_MOST_NUMBERS", 239)
    if case == "few outputs":
        y = y[:, :50]
    assert recover_conditions(x[:n_pairs], Responses(y[:n_pairs], y[n_pairs:]), seed=0) is None


def test_pairs_of_a_group_are_not_predicted_from_each_other():
    """Each response comes ten times, and its condition has nothing to do with it."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    y = rng.normal(size=(20, 60))[groups]
    x = rng.normal(size=(20, 1))[groups].astype(np.float32)
    responses = Responses(y, y[:5])
    assert recover_conditions(x, responses, seed=0).r2 > 0.9
    assert recover_conditions(x, responses, 0, groups).r2 < 0.5


def test_of_very_many_responses_some_get_a_condition(monkeypatch):
    y, few = wide(1040, np.random.default_rng(0))
    monkeypatch.setattr(reverse_regression, "_MOST_RECOVERED_NUMBERS", 200)
    x = few[:, :2].astype(np.float32)
    found = recover_conditions(x[:40], Responses(y[:40], y[40:]), seed=0)
    assert len(found.rows) == 100
    assert np.diff(found.rows).max() < 20
    assert 40 <= found.rows[0] < 50
    assert 1030 <= found.rows[-1] < 1040
    assert np.abs(found.condition - few[found.rows, :2]).max() < 1e-3


def test_constant_columns_change_nothing_and_few_values_are_kept():
    rng = np.random.default_rng(0)
    y, few = wide(400, rng)
    y += 0.3 * rng.normal(size=y.shape)
    x = np.c_[few[:, 0], np.clip(np.round(2 * few[:, 1]), -4, 4)].astype(np.float32)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    responses = Responses(y[:100], y[100:])
    found = recover_conditions(x[:100], responses, seed=0)
    beside = np.c_[x, np.zeros((400, 5), np.float32)]
    again = recover_conditions(beside[:100], responses, seed=0)
    assert again.r2 == pytest.approx(found.r2)
    assert set(found.condition[:, 1]) <= set(x[:100, 1])
    assert len(set(found.condition[:, 0])) == 300
    assert_array_equal(again.condition[:, 2:], 0)


def test_columns_of_a_label_stay_one_hot():
    rng = np.random.default_rng(0)
    y, few = wide(400, rng)
    label = np.eye(3)[np.digitize(few[:, 0], [-0.5, 0.5])]
    x = np.c_[label, few[:, 1:2]].astype(np.float32)
    responses = Responses(y[:200], y[200:])
    assert len(recover_conditions(x[:200], responses, seed=0).rows) == 0
    found = recover_conditions(x[:200], responses, seed=0, may_be_vague=True)
    assert len(found.rows) == 200
    assert_array_equal(np.sort(found.condition[:, :3], axis=1), [[0, 0, 1]] * 200)
    assert (found.condition[:, :3] == label[200:]).all(axis=1).mean() > 0.6
    assert np.square(found.condition[:, 3] - few[200:, 1]).mean() < 0.01


def test_copies_of_paired_responses_are_left_out():
    y, few = wide(100, np.random.default_rng(0))
    x = few.astype(np.float32)
    found = recover_conditions(x[:40], Responses(y[:40], y), seed=0)
    assert_array_equal(found.rows, 40 + np.arange(40, 100))


# ------------------------------------------------------------------ in fits
def quick(max_steps=300, **settings):
    model = LSDMRegressor(matcher="diffusion", random_state=0, **settings)
    return model.set_params(autoencoder__max_epochs=5, matcher__max_steps=max_steps)


@pytest.fixture
def short_epochs(monkeypatch):
    """Where nothing needs to be learnt."""
    shorten_epochs(monkeypatch, 20)


@pytest.mark.usefixtures("short_epochs")
def test_super_resolution_pairs_every_image(digits):
    model = quick(20).fit(halves(digits)[:60, None], digits[:60], digits[60:500])
    assert model.unpaired_ == "pair"
    assert model.n_pseudo_pairs_ == 440
    assert model.reverse_r2_ > 0.9


@pytest.mark.slow
def test_super_resolution_is_better_with_every_image(digits):
    low = halves(digits)[:, None]
    split = low[:60], digits[:60], digits[60:1400]
    model = quick().fit(*split)
    assert model.unpaired_ == "pair"
    assert model.n_pseudo_pairs_ == 1340
    assert model.reverse_r2_ > 0.9
    known = quick(unpaired="latent").fit(*split)
    assert known.reverse_r2_ is None
    test = low[1400:], digits[1400:]
    assert model.score(*test) > known.score(*test) + 0.02


@pytest.mark.usefixtures("short_epochs")
def test_held_out_responses_are_not_told(digits, monkeypatch):
    """Whoever has all responses in one table passes those of the pairs among the unpaired ones."""
    seen, fit = [], DiffusionMatcher.fit

    def noted(self, data, run):
        seen.append(data)
        return fit(self, data, run)

    monkeypatch.setattr(DiffusionMatcher, "fit", noted)
    model = quick(20, unpaired="pair", validation_fraction=0.25)
    model.fit(halves(digits)[:80, None], digits[:80], digits)
    data = seen[-1]
    assert data.n_pseudo == len(digits) - 80
    assert len(data.held_latent) == len(data.held_condition) == 20 + 171
    assert torch.cdist(data.held_latent, data.latent).min() > 0


@pytest.mark.usefixtures("short_epochs")
def test_responses_of_another_law_are_not_paired_unasked(digits):
    with pytest.warns(DistributionShiftWarning):
        model = quick(20).fit(halves(digits)[:60, None], digits[:60], 1 - digits[60:1000])
    assert model.reverse_r2_ > 0.9
    assert model.unpaired_ != "pair"


@pytest.mark.usefixtures("short_epochs")
def test_in_groups_nothing_is_paired_unasked(digits):
    """The laws are not compared then, so that a difference would go unseen."""
    model = quick(20).fit(
        halves(digits)[:60, None], digits[:60], digits[60:900], groups=np.arange(60)
    )
    assert model.reverse_r2_ > 0.9
    assert model.unpaired_shift_ is None
    assert model.unpaired_ != "pair"


@pytest.mark.usefixtures("small_forests")
def test_trees_take_conditions_that_are_told():
    y, few = wide(400, np.random.default_rng(0))
    model = LSDMRegressor(
        3, "mdn", autoencoder="pca", condition_encoder="trees", unpaired="pair", random_state=0
    )
    model.set_params(matcher__max_steps=100).fit(few[:60], y[:60], y[60:])
    assert model.n_pseudo_pairs_ == 340
    assert model.score(few, y) > 0.5


def test_labels_are_not_regressed():
    X = np.eye(2)[np.arange(60) % 2]
    y = X + np.random.default_rng(0).normal(size=X.shape) / 10
    assert quick(20, unpaired="pair").fit(X[:30], y[:30], y[30:]).reverse_r2_ is None


def test_vague_conditions_are_of_use_up_to_a_point():
    rng = np.random.default_rng(0)
    y, few = wide(600, rng)
    x = np.c_[few[:, :1], few[:, 1:2] + rng.normal(size=(600, 1)), rng.normal(size=(600, 1))]
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    responses = Responses(y[:300], y[300:])
    found = recover_conditions(x[:300], responses, seed=0, may_be_vague=True)
    assert found.r2 < 0.1  # of the last column
    assert len(found.rows) == 300
    assert np.corrcoef(found.condition.T)[0, 1:] == pytest.approx(0, abs=0.2)
    assert found.condition.std(axis=0) == pytest.approx(1, abs=0.15)
    alone = recover_conditions(x[:300, 1:], responses, seed=0, may_be_vague=True)
    assert len(alone.rows) == 0


def bars(n, rng):
    """Images of a bar of some height, which is their number, at some place."""
    height, place = rng.uniform(2, 10, n), rng.integers(12, size=n)
    rows, columns = np.arange(12)[:, None], np.arange(12)
    images = (rows < height[:, None, None]) & (columns == place[:, None, None])
    return height[:, None], images + 0.05 * rng.normal(size=(n, 12, 12))


def small_images():
    model = LSDMRegressor("auto", WGANMatcher(max_steps=20, channels=8), random_state=0)
    return model.set_params(autoencoder="feature-map", autoencoder__max_epochs=2)


@pytest.mark.usefixtures("short_epochs")
@pytest.mark.parametrize("vague", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_images_by_numbers_are_paired(vague):
    """Short fits cannot tell uses of codes that are images apart; some pairs do not teach them."""
    rng = np.random.default_rng(0)
    X, y = bars(400, rng)
    X = X + vague * 3 * rng.normal(size=X.shape)
    model = small_images().fit(X[:60], y[:60], y[60:])
    assert model.unpaired_ == "pair"
    assert model.n_pseudo_pairs_ == 340
    assert (model.reverse_r2_ < 0.4) == vague
    assert model.matcher_.best_step_ == model.matcher_.n_steps_


@pytest.mark.slow
@pytest.mark.usefixtures("short_epochs")
def test_images_by_numbers_of_another_law_are_not_paired():
    X, y = bars(400, np.random.default_rng(0))
    model = small_images()
    with pytest.warns(DistributionShiftWarning):
        model.fit(X[:60], y[:60], 3 - y[60:])
    assert model.unpaired_ == "latent"

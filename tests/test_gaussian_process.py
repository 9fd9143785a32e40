"""The Gaussian process of the condition encoder "trees": predictions of pairs by other pairs."""

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

import sklsdm
from sklsdm.encoders import TreesConditionEncoder, gaussian_process
from sklsdm.encoders.gaussian_process import CrossFittedGaussianProcess
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.encoders.matern import MaternKernel, negative_log_likelihood

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)).astype(np.float32)
SMOOTH = np.column_stack([np.sin(2 * X[:, 0]) * X[:, 1], X[:, 2] ** 2])
NOISY = SMOOTH + 0.05 * RNG.normal(size=SMOOTH.shape)
MEANS = [np.broadcast_to(NOISY.mean(axis=0), NOISY.shape)]  # of a model that knows nothing


@pytest.mark.parametrize("size", [1, 3])
def test_left_out_pairs_are_predicted_by_the_others(size):
    """The inverse of the kernel's matrix gives what a process without their group predicts."""
    rows, values, members = X[:30].astype(float), NOISY[:30, 0], np.arange(30) // size
    inverse = MaternKernel(1.5, 0.1, np.array([0.7, 1.0, 2.0])).inverse(rows)
    held = np.arange(6, 18)
    errors = gaussian_process._left_out(inverse, inverse @ values, members, held)
    same = ConstantKernel(1.5) * Matern([0.7, 1.0, 2.0], nu=2.5) + WhiteKernel(0.1)
    for row, error in zip(held, errors, strict=True):
        others = members != members[row]
        model = GaussianProcessRegressor(same, optimizer=None).fit(rows[others], values[others])
        assert_allclose(error, values[row] - model.predict(rows[row : row + 1])[0], atol=1e-8)


@pytest.mark.parametrize("scales", [[0.7], [0.7, 1.0, 2.0]], ids=["one", "each"])
def test_likelihood_and_gradient_are_those_of_scikit_learn(scales):
    rows, values = X[:40].astype(float), NOISY[:40, 0]
    kernel = ConstantKernel(1.5) * Matern(scales, nu=2.5) + WhiteKernel(0.1)
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(rows, values)
    expected, by_scale_last = model.log_marginal_likelihood(kernel.theta, eval_gradient=True)
    loss, gradient = negative_log_likelihood(np.log([1.5, 0.1, *scales]), rows, values)
    assert_allclose(-loss, expected)
    height, *of_scales, noise = by_scale_last
    assert_allclose(-gradient, [height, noise, *of_scales])


def test_the_kernel_chosen_is_as_likely_as_scikit_learns():
    values = (NOISY[:, 0] - NOISY[:, 0].mean()) / NOISY[:, 0].std()
    rows = X.astype(float)
    _, chosen = MaternKernel.most_likely(rows, values, (1, 3))
    first = ConstantKernel() * Matern(np.full(3, np.sqrt(3.0)), nu=2.5) + WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(first, random_state=0).fit(rows, values)
    ours = np.log([chosen.height, chosen.noise, *chosen.scales])
    loss, _ = negative_log_likelihood(ours, rows, values)
    assert -loss > theirs.log_marginal_likelihood_value_ - 0.5


@pytest.mark.parametrize("n", [30, pytest.param(60, marks=pytest.mark.slow)])
def test_noise_is_not_predicted(n):
    for seed in range(3):
        random = np.random.default_rng(seed)
        codes = random.normal(size=(n, 4))
        line = CrossFittedRidge(8).fit_predict(X[:n], codes, seed, None)
        process = CrossFittedGaussianProcess(8)
        assert process.fit_predict(X[:n], codes, seed, None, [line]).shape == (n, 0)


def test_columns_that_do_not_matter_cost_little():
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 22)).astype(np.float32)
    law = np.column_stack([np.sin(2 * rows[:, 0]) + rows[:, 1] ** 2, np.cos(2 * rows[:, 0])])
    process = CrossFittedGaussianProcess(8)
    process.fit_predict(rows[:150], law[:150], 0, None, [np.zeros((150, 2))])
    assert_array_equal(process.columns_, [0, 1])
    lost = np.square(process.predict(rows[150:]) - law[150:]).mean(axis=0)
    assert (lost < 0.1 * law.var(axis=0)).all()


def test_a_kernel_is_chosen_without_the_fold_that_it_predicts(monkeypatch):
    seen = []
    choose = gaussian_process._Pairs.kernels

    def spy(self, values, kept=None):
        seen.append(kept)
        return choose(self, values, kept)

    monkeypatch.setattr(gaussian_process._Pairs, "kernels", spy)
    CrossFittedGaussianProcess(8).fit_predict(
        X, NOISY[:, :1], 0, np.arange(120) // 4, [MEANS[0][:, :1]]
    )
    by_folds = [kept for kept in seen if kept is not None]
    assert len(by_folds) == 5
    for kept in by_folds:
        assert 0 < len(kept) < 120
        assert not np.isin(np.setdiff1d(np.arange(120), kept) // 4, kept // 4).any()


def test_smooth_laws_are_followed_and_new_rows_too():
    process = CrossFittedGaussianProcess(8)
    predicted = process.fit_predict(X, NOISY, 0, None, MEANS)
    assert_array_equal(process.columns_, [0, 1])
    left = np.square(predicted - NOISY).mean(axis=0) / NOISY.var(axis=0)
    assert (left < 0.05).all()
    new = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    law = np.column_stack([np.sin(2 * new[:, 0]) * new[:, 1], new[:, 2] ** 2])
    assert (np.square(process.predict(new) - law).mean(axis=0) / law.var(axis=0) < 0.2).all()


def test_what_others_predict_as_well_is_left_out():
    others = [np.column_stack([NOISY[:, 0] + 0.01, MEANS[0][:, 1]])]
    process = CrossFittedGaussianProcess(8)
    assert process.fit_predict(X, NOISY, 0, None, others).shape == (120, 1)
    assert_array_equal(process.columns_, [1])
    assert process.predict(X[:7]).shape == (7, 1)
    nothing = CrossFittedGaussianProcess(8)
    noise = RNG.normal(size=(120, 1))
    assert nothing.fit_predict(X, noise, 0, None, [0 * noise + noise.mean()]).shape == (120, 0)
    assert nothing.predict(X[:7]).shape == (7, 0)


@pytest.mark.parametrize("codes", [np.ones((30, 2)), np.ones((30, 2)) * [[1.0, 2.0]]])
def test_constant_codes_need_no_process(codes):
    process = CrossFittedGaussianProcess(8)
    assert process.fit_predict(X[:30], codes, 0, None, [0 * codes]).shape == (30, 0)


def test_it_learns_from_a_bounded_number_of_pairs_of_whole_groups(monkeypatch):
    monkeypatch.setattr(gaussian_process, "_MOST_ROWS", 50)
    groups = np.arange(120) // 7
    process = CrossFittedGaussianProcess(8)
    predicted = process.fit_predict(X, NOISY, 0, groups, MEANS)
    assert predicted.shape == (120, len(process.columns_))
    used = np.isin(X[:, 0], process.rows_[:, 0].astype(np.float32))
    assert 40 < used.sum() <= 50
    assert not np.isin(groups[used], groups[~used]).any()


def test_of_groups_too_large_to_learn_from_none_or_the_others_are_used(monkeypatch):
    monkeypatch.setattr(gaussian_process, "_MOST_ROWS", 50)
    large_and_small = np.maximum(np.arange(120) - 80, 0) // 2  # of 82 pairs, then of two each
    process = CrossFittedGaussianProcess(8)
    assert len(process.fit_predict(X, NOISY, 0, large_and_small, MEANS)) == 120
    assert len(process.rows_) == 38
    for groups in (np.arange(120) // 60, np.minimum(np.arange(120) // 100, 1)):
        nothing = CrossFittedGaussianProcess(8)
        assert nothing.fit_predict(X, NOISY, 0, groups, MEANS).shape == (120, 0)
        assert nothing.predict(X[:3]).shape == (3, 0)


def test_the_encoder_passes_it_on_and_files_keep_it(tmp_path):
    encoder = TreesConditionEncoder(n_estimators=50, boosting=False)
    est = plain_regressor(matcher="energy", condition_encoder=encoder, random_state=0)
    est.set_params(matcher__max_steps=20).fit(X, NOISY)
    assert_array_equal(est.condition_encoder_.process_.columns_, [0, 1])
    new = X[:5] + np.float32(0.1)
    draws = est.sample(new, 3, random_state=0)
    sklsdm.save(est, tmp_path / "fit.sklsdm")
    assert_array_equal(sklsdm.load(tmp_path / "fit.sklsdm").sample(new, 3, random_state=0), draws)


def test_equal_labels_stay_equal():
    """So that stage 2 still knows them as labels, and tells those of unpaired responses."""
    labels = np.eye(3, dtype=np.float32)[np.arange(60) % 3]
    codes = RNG.normal(size=(60, 2)) + labels[:, :2]
    encoder = TreesConditionEncoder()
    encoded = encoder.fit_encode(labels, codes, 0)
    assert len(np.unique(encoded, axis=0)) == 3
    assert_array_equal(encoder.encode(labels), encoded)


def test_shares_are_those_of_least_squares():
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 50))
    shares = gaussian_process._shares(np.array([first, second]))
    assert_allclose(shares.sum(), 1.0)
    tried = np.linspace(0, 1, 1001)
    losses = np.square(tried[:, None] * first + (1 - tried[:, None]) * second).mean(axis=1)
    assert abs(shares[0] - tried[losses.argmin()]) < 0.002
    assert_array_equal(gaussian_process._shares(np.array([first, 3 * first])), [1.0, 0.0])
    assert_array_equal(gaussian_process._shares(np.array([first, first])), [1.0, 0.0])
    assert_array_equal(gaussian_process._shares(np.array([first])), [1.0])


def test_two_kernels_predict_together():
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 3)).astype(np.float32)
    law = np.sin(2 * rows[:, :1]) + 0.3 * np.sin(3 * rows.sum(axis=1, keepdims=True))
    process = CrossFittedGaussianProcess(8)
    predicted = process.fit_predict(rows, law, 0, None, [np.zeros((200, 1))])
    assert_array_equal(process.places_, [0, 0])
    assert (process.scales_[0] == process.scales_[0, 0]).all()
    assert len(np.unique(process.scales_[1])) == 3
    # All pairs, that itself among them, predict it nearly as well as the others alone did.
    assert np.square(process.predict(rows) - law).mean() <= np.square(predicted - law).mean()

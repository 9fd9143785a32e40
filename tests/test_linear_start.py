"""Ridge regression with the errors of pairs that it has not seen, and what few pairs draw by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, LeaveOneOut, cross_val_predict

from sklsdm import LSDMRegressor, TrainingDisplay
from sklsdm.fitting import pairing
from sklsdm.matchers import EnergyMatcher, MatchingData, WGANMatcher, linear_start
from sklsdm.matchers import base as matchers_base
from sklsdm.matchers.linear_start import with_errors_of_new_pairs
from sklsdm.metrics import interval_coverage
from sklsdm.ridge import RIDGE_PENALTIES
from sklsdm.run import Run
from sklsdm.starting import started


def linear_law(n, p, seed, noise=1.0):
    """Conditions (n, p) and two responses (n, 2) that follow them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, p))
    y = x[:, :2] + 0.5 * x[:, 2:4] + noise * random.normal(size=(n, 2))
    return x, y


def data_of(x, y, **more):
    """What stage 2 learns from, with nothing held out."""
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    return MatchingData(x, y, x[:0], y[:0], **more)


def moved(x, y, **more):
    """Codes (n, k) as stage 2 learns them."""
    return with_errors_of_new_pairs(data_of(x, y, **more)).latent.numpy()


@pytest.mark.parametrize(("n", "p"), [(40, 6), (30, 45)], ids=["few columns", "many columns"])
def test_errors_are_those_of_a_regression_without_the_pair(n, p, monkeypatch):
    monkeypatch.setattr(linear_start, "_MOST_MOVED", np.inf)
    x, y = linear_law(n, p, 0)
    seen = RidgeCV(alphas=RIDGE_PENALTIES).fit(x, y)
    expected = y - cross_val_predict(Ridge(seen.alpha_), x, y, cv=LeaveOneOut())
    assert_allclose(moved(x, y) - seen.predict(x), expected, atol=1e-8)


def test_no_error_is_believed_to_be_more_than_twice_what_it_is():
    x, y = linear_law(30, 4, 0)
    x[0] = 1e4  # this pair decides the regression alone
    seen = RidgeCV(alphas=RIDGE_PENALTIES).fit(x, y).predict(x)
    ratio = (moved(x, y) - seen) / (y - seen)
    assert_allclose(ratio[0], 2, rtol=1e-6)
    assert ratio[1:].max() < 1.5


def test_equal_columns_of_any_size_are_no_error():
    x, y = linear_law(40, 3, 0)
    x = 1e9 * np.hstack([x, x, x])
    ratio = (moved(x, y) - y) / y
    assert np.isfinite(ratio).all()


def test_what_stays_as_it_is():
    x, y = linear_law(5000, 4, 0)
    assert_allclose(moved(x, y), y, atol=0.02)  # many pairs
    x, y = linear_law(40, 16, 0)
    assert_array_equal(moved(x[:, :0], y), y)
    assert_array_equal(moved(x[:1], y[:1]), y[:1])
    assert_array_equal(moved(x, y, n_pseudo=3), y)
    assert_array_equal(moved(x, y, image_shape=(1, 4, 4)), y)
    assert not pairing._ConditionMixture.corrects_for_leverage


def test_codes_are_moved_once_also_for_the_diffusion_at_which_a_generator_starts(monkeypatch):
    seen = []

    def noted(data):
        seen.append(data.latent)
        return with_errors_of_new_pairs(data)

    monkeypatch.setattr(matchers_base, "with_errors_of_new_pairs", noted)
    data = data_of(*(part.astype("float32") for part in linear_law(40, 6, 0)))
    WGANMatcher(max_steps=20).fit(data, Run(torch.device("cpu"), 0))
    assert len(seen) == 2  # the diffusion's and the critic's
    assert_array_equal(seen[0], data.latent)
    assert_array_equal(seen[1], data.latent)


@pytest.mark.parametrize("which", ["first", "trial", "labels with unpaired codes", "going on"])
def test_when_the_critic_must_beat_its_start(which):
    x, y = (torch.as_tensor(part.astype("float32")) for part in linear_law(40, 6, 0))
    run = Run(torch.device("cpu"), 0, is_trial=which == "trial")
    data = data_of(x, y)
    if which == "labels with unpaired codes":
        data = data_of(torch.eye(4).repeat(10, 1), y, codes=torch.cat([y, y + 1]))
    matcher = WGANMatcher(max_steps=20)
    earlier = WGANMatcher(max_steps=20).fit(data, run) if which == "going on" else None
    with started(matcher, earlier, "matcher__"):
        assert matcher._plan(data, run).doubt == (2.0 if which == "first" else None)


def test_of_few_held_out_pairs_the_critic_must_convince_more():
    x, y = (torch.as_tensor(part.astype("float32")) for part in linear_law(60, 6, 0))
    run = Run(torch.device("cpu"), 0)
    for n, doubt in ((19, 2.0), (20, 1.0)):
        data = MatchingData(x[20:], y[20:], x[:n], y[:n])
        assert WGANMatcher()._plan(data, run).doubt == doubt


@pytest.mark.parametrize(("size", "doubt"), [(1, 1.0), (10, np.inf), (30, np.inf)])
def test_of_few_groups_no_critic_is_trained(size, doubt):
    x, y = (torch.as_tensor(part.astype("float32")) for part in linear_law(60, 6, 0))
    groups = torch.arange(30) // size
    data = MatchingData(x[30:], y[30:], x[:30], y[:30], groups=groups + 30, held_groups=groups)
    run = Run(torch.device("cpu"), 0)
    matcher = WGANMatcher(max_steps=20)
    assert matcher._plan(data, run).doubt == doubt
    matcher.fit(data, run)
    assert ("train_loss" in matcher.history_) == np.isfinite(doubt)


@pytest.mark.slow
@pytest.mark.parametrize("matcher", slow_but(["mdn"], ["wgan", "diffusion", "mdn", "energy"]))
def test_few_pairs_of_many_columns_draw_widely_enough(matcher):
    """Draws of 60 pairs with 25 columns are wrong by more than at these pairs, and say so."""
    x, y = linear_law(1060, 25, 2)
    est = LSDMRegressor(matcher=matcher, condition_encoder="flatten", random_state=0)
    est.fit(x[:60], y[:60])
    interval = est.predict_interval(x[60:], 0.9)
    assert interval_coverage(y[60:], interval) == pytest.approx(0.9, abs=0.05)


def test_the_start_draws_as_widely_as_the_regression_errs_where_columns_outnumber_pairs():
    """Which is more than twice as far as it errs at the pairs that it has seen."""
    x, y = linear_law(530, 60, 0, noise=0.05)
    few = data_of(x[:30].astype("float32"), y[:30].astype("float32"))
    matcher = EnergyMatcher(max_steps=1, lr=1e-9).fit(few, Run(torch.device("cpu"), 0))
    seen = RidgeCV(alphas=RIDGE_PENALTIES).fit(x[:30], y[:30])
    off = (y[30:] - seen.predict(x[30:])).std(axis=0)
    noise = torch.randn((2000, matcher.noise_dim_), generator=torch.Generator().manual_seed(0))
    drawn = matcher.draw(few.condition[:1].expand(2000, -1), noise).std(dim=0).numpy()
    assert_allclose(drawn, off, rtol=0.35)
    assert 2 * (y[:30] - seen.predict(x[:30])).std() < 0.65 * off.min()


def test_one_pair_that_decides_alone_does_not_blow_up_the_start():
    x, y = linear_law(30, 4, 0)
    x[0] = 1e4
    ridge = linear_start._Ridge(data_of(x, y))
    assert np.abs(ridge.bounded_errors()).max() <= 3.001 * np.abs(y).max()


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 17])
def test_fewer_than_twenty_pairs_get_no_critic(n):
    """None are held out, and so nothing would stop it from learning them by heart."""
    x, y = linear_law(n + 500, 4, 0)
    est = LSDMRegressor(random_state=0).fit(x[:n], y[:n])
    assert "train_loss" not in est.history_["matcher"]  # that of the critic
    assert interval_coverage(y[n:], est.predict_interval(x[n:])) > 0.7
    TrainingDisplay.from_estimator(est)
    further = est.set_params(warm_start=True).fit(x[:n], y[:n])
    assert "train_loss" not in further.history_["matcher"]
    assert further.matcher_.n_steps_ > 0
    more = further.fit(x[:60], y[:60])  # starts as a first fit of them does
    assert more.matcher_.diffusion_steps_ > 0
    assert "train_loss" in more.history_["matcher"]


def test_copies_of_a_pair_are_left_out_with_it():
    """Else the errors of doubled pairs look small, and draws are too narrow."""
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(40, 15)), rng.normal(size=(40, 2))
    plain = linear_start._Ridge(data_of(x, z)).bounded_errors()
    doubled = linear_start._Ridge(data_of(np.tile(x, (3, 1)), np.tile(z, (3, 1)))).bounded_errors()
    penalised = np.square(doubled[:40]).mean() / np.square(plain).mean()
    assert penalised == pytest.approx(1, abs=0.15)
    few = linear_start._Ridge(data_of(np.tile(x, (2, 1))[:41], np.tile(z, (2, 1))[:41]))
    assert_allclose(few.bounded_errors()[40], few.bounded_errors()[0])
    labels = np.tile(np.eye(2), (20, 1))
    ridge = linear_start._Ridge(data_of(labels, labels))  # equal, but no copies
    assert (np.abs(ridge.errors) < 1.1 * np.abs(ridge.residuals)).all()


def grouped_law(sizes, p, seed):
    """Pairs of subjects, of which each has so many, and what those of one have in common."""
    random = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    x, y = linear_law(len(groups), p, seed)
    x[:, 4:] = random.normal(size=(len(sizes), p - 4))[groups]  # what tells the subject
    return x, y + random.normal(size=(len(sizes), 2))[groups], torch.from_numpy(groups)


@pytest.mark.parametrize(
    ("sizes", "p"),
    [([1, 1, 2, 2, 3, 5, 2, 4], 6), ([12, 1, 9, 20, 9], 5), ([4] * 6, 40)],
    ids=["small groups", "large groups", "many columns"],
)
def test_errors_are_those_of_a_regression_without_the_group(sizes, p, monkeypatch):
    x, y, groups = grouped_law(sizes, p, 0)
    ridge = linear_start._Ridge(data_of(x, y, groups=groups))
    left_out = LeaveOneGroupOut()
    errors = {
        penalty: y
        - cross_val_predict(Ridge(penalty, solver="svd"), x, y, groups=groups, cv=left_out)
        for penalty in RIDGE_PENALTIES
    }
    best = min(errors, key=lambda penalty: np.square(errors[penalty]).mean())
    assert_allclose(ridge.errors, errors[best], rtol=1e-5, atol=1e-7)


def test_codes_of_a_large_group_are_not_moved_as_if_it_had_been_left_out():
    """Regression without most pairs errs in its slope, which is no noise."""
    x, y, _ = grouped_law([41] + 19 * [1], 6, 0)
    groups = torch.arange(60).sub(40).clamp(min=0)
    assert_allclose(moved(x, y, groups=groups), moved(x, y))


def test_the_start_draws_as_widely_as_it_errs_at_new_groups():
    """What pairs of a subject have in common is not known of a new one, though columns tell it."""
    *parts, groups = grouped_law([8] * 115, 16, 0)
    x, y = (torch.from_numpy(part.astype("float32")) for part in parts)
    few = groups < 15
    data = data_of(x[few], y[few])
    with_groups = replace(data, groups=groups[few])
    covered = []
    for each in (data, with_groups):
        matcher = EnergyMatcher(max_steps=1, lr=1e-9).fit(each, Run(torch.device("cpu"), 0))
        noise = torch.randn((800 * 64, matcher.noise_dim_), generator=torch.Generator())
        draws = matcher.draw(x[~few], noise).view(800, 64, 2)
        low, high = draws.quantile(torch.tensor([0.05, 0.95]), dim=1)
        inside = (low <= y[~few]) & (y[~few] <= high)
        covered.append(float(inside.float().mean()))
    assert covered[0] < 0.7
    assert covered[1] > 0.8

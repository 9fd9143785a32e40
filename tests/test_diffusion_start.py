"""Generators that start at the draws of a diffusion (`start="diffusion"`)."""

from unittest.mock import Mock

import numpy as np
import pytest
import torch
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback

from sklsdm import NotImprovedWarning
from sklsdm.datasets import make_arms
from sklsdm.displays import TrainingDisplay
from sklsdm.matchers import FGANMatcher, MatchingData, WGANMatcher
from sklsdm.matchers.diffusion_start import StartingDiffusion
from sklsdm.matchers.distillation import draws_to_learn
from sklsdm.run import Run, Stream

RUN = Run(torch.device("cpu"), 0)
SMALL = {"widths": (64, 64), "critic_widths": (16,)}


def two_modes(n, seed=0):
    """Codes near -1 or 1, whatever the condition."""
    random = torch.Generator().manual_seed(seed)
    condition = torch.randn((n, 1), generator=random)
    side = torch.randint(2, (n, 1), generator=random) * 2.0 - 1
    return condition, side + 0.1 * torch.randn((n, 1), generator=random)


def data(n=600, seed=0, held=None):
    held_condition, held_latent = two_modes(200, seed + 1) if held is None else held
    return MatchingData(*two_modes(n, seed), held_condition, held_latent)


def near_a_mode(matcher):
    """Share of the draws within 0.4 of -1 or 1."""
    random = torch.Generator().manual_seed(9)
    noise = torch.randn((2000, matcher.noise_dim_), generator=random)
    draws = matcher.draw(torch.zeros(2000, 1), noise)
    return ((draws.abs() - 1).abs() < 0.4).float().mean().item()


@pytest.mark.parametrize("kind", slow_but({WGANMatcher}, [WGANMatcher, FGANMatcher]))
def test_what_the_generator_learns_before_the_critic(kind):
    """After one step of the critic, draws lie in the two modes; from "linear" they do not."""
    tiny = SMALL | {"lr": 1e-9, "max_steps": 400, "n_iter_no_change": 1}
    started = kind(start="diffusion", **tiny).fit(data(), RUN)
    assert near_a_mode(started) > 0.9
    assert near_a_mode(kind(start="linear", **tiny).fit(data(), RUN)) < 0.7
    assert started.best_score_[0] < started.start_score_[0] - started.start_score_[1]
    assert started.best_step_ > 0
    assert len(started.history_["start_train_loss"]) == 4
    assert started.history_["start_train_loss"][-1] < 0.2 * started.history_["start_train_loss"][0]


@pytest.mark.slow
def test_the_noise_is_that_of_the_diffusion():
    """Equal noise gives equal draws, up to the regression's error."""
    found = WGANMatcher(**SMALL, lr=1e-9, max_steps=400, n_iter_no_change=1).fit(data(), RUN)
    diffusion = StartingDiffusion(widths=SMALL["widths"], max_steps=1200).fit(data(), RUN)
    assert found.noise_dim_ == diffusion.noise_dim_ == 1
    noise = torch.linspace(-1.5, 1.5, 200)[:, None]
    condition = torch.zeros(200, 1)
    draws = found.draw(condition, noise / found.noise_scale_)
    off = (draws - diffusion.draw(condition, noise)).abs()
    assert off.mean() < 0.15


@pytest.mark.parametrize(
    "matcher",
    [WGANMatcher(start="linear", max_steps=100), WGANMatcher(noise_dim=1, max_steps=100)],
    ids=["asked for", "less noise than codes"],
)
def test_where_it_starts_at_ridge_regression(matcher):
    X, y = np.random.default_rng(0).normal(size=(2, 80, 2))
    est = plain_regressor(matcher=matcher, random_state=0, validation_fraction=0).fit(X, y)
    assert est.matcher_.n_steps_ == 100
    assert "start_train_loss" not in est.history_["matcher"]


def test_draws_that_held_out_pairs_find_worse_are_not_learnt():
    """The held-out codes lie between the modes that the pairs have."""
    condition = torch.zeros(200, 1)
    held = condition, 0.05 * torch.randn((200, 1), generator=torch.Generator().manual_seed(3))
    found = WGANMatcher(**SMALL, lr=1e-9, critic_lr=1e-9, max_steps=200).fit(data(held=held), RUN)
    assert found.best_step_ == 0
    assert found.best_score_ == found.start_score_


def test_the_training_display_shows_both_parts(monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 20)
    arms = make_arms(300, random_state=0)
    est = plain_regressor(matcher="wgan", random_state=0).set_params(matcher__max_steps=100)
    losses, scores = TrainingDisplay.from_estimator(est.fit(arms.X, arms.y)).content
    found = est.matcher_
    assert_allclose(scores.steps, 20 * np.arange(1, len(scores.steps) + 1))
    assert scores.steps[-1] == losses.steps[-1] == found.n_steps_
    assert losses.steps[0] == 120
    (curve,) = scores.curves.values()
    assert found.best_step_ > 0
    assert_allclose(curve[scores.steps == found.best_step_], found.best_score_[0], rtol=1e-4)


def test_a_warm_start_goes_on_with_the_critic():
    arms = make_arms(200, random_state=0)
    est = plain_regressor(matcher="wgan", random_state=0, warm_start=True, validation_fraction=0)
    est.set_params(matcher__max_steps=20).fit(arms.X, arms.y)
    assert est.matcher_.n_steps_ == 40
    est.fit(arms.X, arms.y)
    assert est.matcher_.n_steps_ == 20


def interrupted_diffusion(monkeypatch):
    """Let every diffusion end as if by Ctrl-C, with what it has learnt until then."""
    whole = StartingDiffusion.fit

    def interrupted(self, *args):
        whole(self, *args).interrupted_ = True
        return self

    monkeypatch.setattr(StartingDiffusion, "fit", interrupted)


def wgan(**params):
    est = plain_regressor(matcher="wgan", random_state=0, **params)
    return est.set_params(matcher__max_steps=100)


def test_what_an_interrupted_diffusion_has_learnt_is_kept(monkeypatch):
    interrupted_diffusion(monkeypatch)
    arms = make_arms(400, random_state=0)
    est = wgan()
    with pytest.raises(KeyboardInterrupt):
        est.fit(arms.X, arms.y)
    assert est.interrupted_
    found = est.matcher_
    assert found.best_step_ == found.n_steps_ == 100  # of the regression; no critic
    assert found.best_score_[0] < found.start_score_[0]
    assert found.diffusion_steps_ == 300
    assert np.isfinite(est.sample(arms.X[:3], 4, random_state=0)).all()
    losses, held_out = TrainingDisplay.from_estimator(est).content
    assert losses.steps[-1] == held_out.steps[-1] == 100


def test_an_interrupt_while_the_diffusion_draws_leaves_what_it_has_learnt(monkeypatch):
    asked = []

    def interrupted_once(*args, **kwargs):
        asked.append(args)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return draws_to_learn(*args, **kwargs)

    monkeypatch.setattr("sklsdm.matchers.diffusion_start.draws_to_learn", interrupted_once)
    arms = make_arms(400, random_state=0)
    est = wgan().set_params(matcher__max_steps=400)
    with pytest.raises(KeyboardInterrupt):
        est.fit(arms.X, arms.y)
    assert est.interrupted_
    assert 0 < est.matcher_.best_step_ <= est.matcher_.n_steps_ == 100  # a quarter, no critic


def test_a_warm_start_makes_up_for_a_start_that_was_interrupted(monkeypatch):
    monkeypatch.setattr(
        "sklsdm.matchers.diffusion_start.draws_to_learn", Mock(side_effect=KeyboardInterrupt)
    )
    arms = make_arms(400, random_state=0)
    est = wgan(warm_start=True)
    with pytest.warns(NotImprovedWarning), pytest.raises(KeyboardInterrupt):
        est.fit(arms.X, arms.y)
    assert est.interrupted_
    assert est.matcher_.n_steps_ == 0
    monkeypatch.undo()
    est.fit(arms.X, arms.y)
    assert len(est.matcher_.history_["start_train_loss"]) == 1


def test_draws_that_are_not_finite_or_far_are_not_learnt(monkeypatch):
    def broken(condition, noise):
        draws = torch.zeros(len(noise), 1)
        draws[::3], draws[1::3] = torch.nan, 1e5
        return draws

    run_plan = WGANMatcher(max_steps=100)._plan(data(), RUN)
    batches = draws_to_learn(broken, data(), run_plan, numbers_per_draw=1, batch_size=64)
    assert len(batches.rows) == 6400 // 3
    (batch,) = next(iter(batches))
    assert torch.equal(batch.latent, torch.zeros(64, 1))
    monkeypatch.setattr(
        StartingDiffusion, "draw", lambda self, x, noise: torch.full_like(noise, torch.nan)
    )
    found = WGANMatcher(**SMALL, max_steps=20).fit(data(), RUN)
    assert found.n_steps_ == 20  # the critic's, from ridge regression on


def test_conditions_are_not_repeated():
    """They may be images; draws and noise are bounded by what the steps see."""
    few = data(50)
    plan = WGANMatcher(max_steps=100)._plan(few, RUN)
    batches = draws_to_learn(
        lambda x, noise: x[:, :1] + 100 * noise, few, plan, numbers_per_draw=1, batch_size=32
    )
    assert batches.condition is few.condition
    assert len(batches.rows) <= 100 * 32
    (batch,) = next(iter(batches))
    assert batch.condition.shape == (32, 1)
    expected = batch.condition + 100 * batch.noise
    assert torch.equal(batch.latent, expected)  # each draw has its own condition and noise


class BreakOff(Callback):
    armed = True

    def on_epoch_begin(self, net, **kwargs):
        if self.armed and len(net.history) == 2:
            raise RuntimeError


def test_a_fit_broken_off_resumes_with_the_draws_that_were_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 20)
    arms = make_arms(150, random_state=0)

    def fit(folder):
        est = plain_regressor(
            matcher="wgan", random_state=0, checkpoint=folder, validation_fraction=0
        )
        est.set_params(matcher__max_steps=60, matcher__callbacks=[BreakOff()])
        return est.fit(arms.X, arms.y)

    with pytest.raises(RuntimeError):
        fit(tmp_path)
    (folder,) = tmp_path.iterdir()
    assert {"diffusion.state", "distillation.state"} <= {path.name for path in folder.iterdir()}
    monkeypatch.setattr(BreakOff, "armed", False)
    resumed, whole = fit(tmp_path), fit(None)
    draws = [est.sample(arms.X[:5], 3, random_state=0) for est in (resumed, whole)]
    assert_array_equal(*draws)
    assert resumed.matcher_.best_step_ == whole.matcher_.best_step_ == 120


def test_equal_streams_of_equal_fits():
    """The diffusion and the generator use the same streams; a second fit gives the same."""
    first, second = (WGANMatcher(**SMALL, max_steps=40).fit(data(200), RUN) for _ in range(2))
    noise = torch.randn((20, 1), generator=RUN.stream(Stream.LOOKS))
    assert torch.equal(*(m.draw(torch.zeros(20, 1), noise) for m in (first, second)))


def test_a_fit_resumes_from_ctrl_c_in_the_diffusion_as_if_unbroken(tmp_path, monkeypatch):
    """What was learnt in short, of a diffusion that was not at its end, is not gone on from."""
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 20)
    arms = make_arms(150, random_state=0)
    est = wgan(checkpoint=tmp_path).set_params(matcher__max_steps=60)
    whole = wgan().set_params(matcher__max_steps=60).fit(arms.X, arms.y)
    with monkeypatch.context() as patch:
        interrupted_diffusion(patch)
        with pytest.raises(KeyboardInterrupt):
            est.fit(arms.X, arms.y)
    assert est.interrupted_
    est.fit(arms.X, arms.y)
    draws = [each.sample(arms.X[:5], 3, random_state=0) for each in (est, whole)]
    assert_array_equal(*draws)

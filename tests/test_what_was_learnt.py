"""How far training got is told: the state that is kept, its score, the start's, and a warning."""

import copy
import warnings

import numpy as np
import pytest
import torch
from helpers import RUN, plain_regressor, slow_but
from skorch.callbacks import Callback

from sklsdm import LSDMGenerator, LSDMRegressor, NotImprovedWarning
from sklsdm.datasets import make_arms
from sklsdm.encoders import FlattenConditionEncoder, TreesConditionEncoder
from sklsdm.matchers import (
    MATCHERS,
    DiffusionMatcher,
    EnergyMatcher,
    MatchingData,
    MDNMatcher,
    WGANMatcher,
)
from sklsdm.modules import ConvGenerator
from sklsdm.owner import warn_if_not_improved


def noise(n=80):
    random = np.random.default_rng(0)
    return random.normal(size=(n, 2)), random.normal(size=(n, 2))


def fitted(matcher, X, y, steps, **params):
    est = plain_regressor(matcher=matcher, random_state=0, **params)
    return est.set_params(matcher__max_steps=steps).fit(X, y)


def test_a_fit_that_keeps_its_start_warns():
    """On Gaussian noise, where the start is the truth, at a rate that can only harm."""
    matcher = EnergyMatcher(lr=0.1)
    with pytest.warns(NotImprovedWarning, match=r"learnt nothing.*'diffusion'") as caught:
        est = fitted(matcher, *noise(60), 100)
    assert caught[0].filename == __file__
    assert est.matcher_.best_step_ == 0
    assert est.matcher_.best_score_ == est.matcher_.start_score_


def advice_for(matcher, encoder):
    matcher.start_score_, matcher.best_step_ = [1.0, 0.1], 0
    with pytest.warns(NotImprovedWarning) as caught:
        warn_if_not_improved(matcher, encoder)
    return str(caught[0].message)


def test_the_advice_applies_to_the_estimator_and_its_matcher():
    for kind, other in ((MDNMatcher, "mdn"), (DiffusionMatcher, "diffusion")):
        text = advice_for(kind(), FlattenConditionEncoder())
        assert f"'{other}'" not in text
        assert "learns from few pairs" in text
        assert "condition_encoder='trees'" in text
    tried = WGANMatcher()
    assert "'diffusion' or 'mdn'" in advice_for(tried, FlattenConditionEncoder())
    tried.diffusion_steps_ = 300
    assert "'mdn' learns" in advice_for(tried, FlattenConditionEncoder())
    assert "condition_encoder" not in advice_for(MDNMatcher(), TreesConditionEncoder())
    text = advice_for(MDNMatcher(), None)  # of an LSDMGenerator
    assert "a Gaussian law" in text
    assert "pair" not in text
    assert "condition" not in text
    tried.network_ = ConvGenerator(0, (1, 4, 4), 8, 8)
    assert "a network that has learnt nothing" in advice_for(tried, None)
    tried.network_ = torch.nn.Linear(2, 2)  # of a user's matcher
    text = advice_for(tried, FlattenConditionEncoder())
    assert "a network that has learnt nothing" in text
    assert "ridge" not in text


@pytest.mark.parametrize(
    "matcher", slow_but(["wgan", "energy", "diffusion", "mdn"], list(MATCHERS))
)
def test_scores_of_the_start_and_of_what_is_kept(matcher, monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 25)
    arms = make_arms(300, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotImprovedWarning)
        found = fitted(matcher, arms.X, arms.y, 100).matcher_
    assert 0 <= found.best_step_ <= found.n_steps_
    (best, best_error), (start, start_error) = found.best_score_, found.start_score_
    assert best <= start + start_error
    assert 0 < best_error < 1
    if found.best_step_:
        values = [v for k, v in found.history_.items() if k.endswith("valid_loss")]
        values = np.concatenate(values)  # of `wgan` the regression's, too
        assert np.isclose(values, best).any()


def test_the_energy_score_may_choose_the_state():
    arms = make_arms(300, random_state=0)
    est = plain_regressor(
        matcher=EnergyMatcher(held_out_score="energy", max_steps=200), random_state=0
    )
    found = est.fit(arms.X, arms.y).matcher_
    assert np.isclose(found.history_["valid_energy_score"], found.best_score_[0]).any()
    with pytest.raises(ValueError, match="matcher__held_out_score='crps' is unknown"):
        est.set_params(matcher__held_out_score="crps").fit(arms.X, arms.y)


def test_a_fit_that_learns_does_not_warn():
    arms = make_arms(600, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotImprovedWarning)
        est = fitted("diffusion", arms.X, arms.y, 400)
    assert est.matcher_.best_step_ > 0


def test_without_held_out_pairs_nothing_is_claimed():
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotImprovedWarning)
        found = fitted("energy", *noise(), 20, validation_fraction=0.0).matcher_
    assert found.best_step_ == found.n_steps_
    assert found.best_score_ is found.start_score_ is None


def test_autoencoders_tell_it_too():
    X, y = np.random.default_rng(0).normal(size=(60, 1)), np.random.default_rng(1).normal(size=60)
    y = np.c_[np.cos(y), np.sin(y), y]
    est = plain_regressor(1, "energy", autoencoder="mlp", random_state=0, validation_fraction=0.2)
    est.set_params(matcher__max_steps=5, autoencoder__max_epochs=3).fit(X, y)
    found = est.autoencoder_
    assert found.best_score_[0] <= found.start_score_[0]


def test_the_generator_tells_it_too():
    model = LSDMGenerator(matcher=EnergyMatcher(lr=0.1, max_steps=100), random_state=0)
    with pytest.warns(NotImprovedWarning, match="the held-out rows"):
        model.fit(noise()[1])
    assert model.matcher_.best_step_ == 0


def test_a_resumed_fit_tells_the_same(tmp_path):
    class Stop(Callback):
        armed = True

        def on_epoch_begin(self, net, **kwargs):
            if self.armed and len(net.history) == 2:
                raise RuntimeError

    arms = make_arms(300, random_state=0)

    def fit(folder):
        est = plain_regressor(matcher="diffusion", random_state=0, checkpoint=folder)
        est.set_params(matcher__max_steps=300, matcher__callbacks=[Stop()])
        return est.fit(arms.X, arms.y).matcher_

    with pytest.raises(RuntimeError):
        fit(tmp_path)
    Stop.armed = False
    resumed, whole = fit(tmp_path), fit(None)
    for name in ("best_step_", "best_score_", "start_score_"):
        assert getattr(resumed, name) == getattr(whole, name)


def test_a_narrow_generator_gets_more_noise():
    """A generator with half the spread of the codes is widened; one with their spread is not."""
    random = torch.Generator().manual_seed(0)
    condition = torch.randn((400, 1), generator=random)
    latent = condition + torch.randn((400, 1), generator=random)
    data = MatchingData(
        condition=condition[:200],
        latent=latent[:200],
        held_condition=condition[200:],
        held_latent=latent[200:],
    )
    matcher = EnergyMatcher(max_steps=2).fit(data, RUN)  # ridge regression, more or less
    noise = torch.randn((5000, matcher.noise_dim_), generator=random)
    few = data.condition[:1].expand(5000, 1)
    for spread, low, high in ((0.6, 1.5, 1.6), (1.0, 1.0, 1.1)):
        narrow = copy.deepcopy(matcher)
        with torch.no_grad():
            narrow.network_.spread.weight.mul_(spread)
        narrow.choose_noise_scale([narrow.for_held_out(data)], RUN)
        assert low <= narrow.noise_scale_ <= high
        assert 0.85 < float(narrow.draw(few, noise).std()) < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("n_columns", [6, 30])
def test_claims_that_are_zero_as_often_as_not_keep_their_zeros(n_columns):
    """The fourth of these outputs has two modes of equal weight, which are hard to find."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, n_columns))
    common = 0.8 * rng.normal(size=(1200, 1))
    slope, start = np.array([1.0, -0.8, 0.5, 0.0]), np.array([-0.5, -1.0, 0.3, 0.0])
    hit = rng.random((1200, 4)) < 1 / (1 + np.exp(-(x[:, :1] * slope + common + start)))
    size = np.exp(0.5 * x[:, 1:2] + 0.6 * common) * (rng.pareto(2.5, size=(1200, 4)) + 1)
    y = np.log1p(hit * size * [100, 30, 50, 20])
    est = LSDMRegressor(matcher="diffusion", condition_encoder="flatten", random_state=0)
    draws = est.fit(x, y).sample(x, 10, random_state=0)
    assert np.abs((draws == 0).mean(axis=(0, 1)) - (y == 0).mean(axis=0)).max() < 0.06
    assert ((draws > 0) & (draws < 2)).mean() < 0.03  # no claim is so small

"""Forecasts: how many draws they take, and what more draws change."""

import warnings

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_array_equal

from sklsdm import make_sampling_pipeline
from sklsdm.datasets import make_arms
from sklsdm.draws import drawing
from sklsdm.functional.diffusion import SAMPLERS
from sklsdm.matchers import DiffusionMatcher

ARMS = make_arms(60, random_state=0)


@pytest.fixture(scope="module", params=["energy", "diffusion", "flow"])
def est(request):
    model = plain_regressor(matcher=request.param, random_state=0).set_params(matcher__max_steps=5)
    return model.fit(ARMS.X, ARMS.y)


@pytest.fixture
def counted(monkeypatch):
    """The numbers of draws for each condition that are asked for."""
    seen = []
    banked = drawing.Sampler.draws_with_shared_noise

    def noted(self, condition, n_draws):
        seen.append(n_draws)
        return banked(self, condition, n_draws)

    monkeypatch.setattr(drawing.Sampler, "draws_with_shared_noise", noted)
    return seen


def test_as_many_draws_as_asked_for(est, counted):
    est.predict(ARMS.X, n_draws=8)
    est.predict(ARMS.X, True, 16)
    est.predict_quantiles(ARMS.X, [0.5], n_draws=32)
    est.predict_interval(ARMS.X, n_draws=64)
    assert counted == [8, 16, 32, 64]


def test_fewer_by_default_where_a_draw_takes_many_passes(est, counted):
    est.predict(ARMS.X)
    est.predict_quantiles(ARMS.X)
    assert counted == [256, 1024 if est.matcher_.n_passes == 1 else 256]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_passes_of_a_draw_are_counted(sampler):
    matcher = DiffusionMatcher(sampler, n_steps=3, max_steps=1)
    est = plain_regressor(matcher=matcher, random_state=0).fit(ARMS.X, ARMS.y)
    calls = []
    est.matcher_.network_.register_forward_hook(lambda *args: calls.append(1))
    est.sample(ARMS.X[:3], 1, random_state=0)
    assert len(calls) == est.matcher_.n_passes


def test_more_draws_come_nearer(est):
    many = est.predict(ARMS.X[:5], n_draws=4096)
    errors = [np.abs(est.predict(ARMS.X[:5], n_draws=n) - many).mean() for n in (8, 512)]
    assert errors[1] < 0.5 * errors[0]


def test_one_draw_is_its_own_mean(est):
    with warnings.catch_warnings():  # SciPy warns of numbers that are no power of two
        warnings.simplefilter("error")
        assert est.predict(ARMS.X[:3], n_draws=100).shape == (3, 2)
    mean, std = est.predict(ARMS.X[:3], return_std=True, n_draws=1)
    assert_array_equal(std, np.zeros_like(mean))


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.5, TypeError), ("9", TypeError)])
def test_bad_numbers_are_refused_by_name(est, value, error):
    for forecast in (est.predict, est.predict_quantiles, est.predict_interval):
        with pytest.raises(error, match="n_draws must be"):
            forecast(ARMS.X, n_draws=value)


def test_what_is_neither_true_nor_false_is_refused_by_name(est):
    with pytest.raises(TypeError, match=r"return_std must be True or False, got 'no' \(str\)"):
        est.predict(ARMS.X, return_std="no")
    with pytest.raises(TypeError, match="return_std must be True or False, got ndarray of shape"):
        est.predict(ARMS.X, ARMS.y)  # `predict` takes no responses


def test_pipelines_hand_it_on(counted):
    model = make_sampling_pipeline(plain_regressor(matcher="energy"))
    model.set_params(lsdmregressor__matcher__max_steps=5).fit(ARMS.X, ARMS.y)
    model.predict(ARMS.X, n_draws=8)
    model.predict_interval(ARMS.X, n_draws=16)
    assert counted == [8, 16]

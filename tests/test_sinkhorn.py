"""Sinkhorn plans and divergences against closed forms; the matcher."""

import math

import numpy as np
import ot
import pytest
import torch
from helpers import assert_draws_are_two_sided, normal, plain_regressor, two_sided
from scipy.stats import norm
from torch.testing import assert_close

from sklsdm.functional.transport import (
    condition_scale,
    sinkhorn_divergence,
    sinkhorn_plan,
    sinkhorn_self_plan,
    squared_cost,
)
from sklsdm.matchers import SinkhornMatcher

EXACT = {"rtol": 1e-9, "atol": 1e-9}


def test_squared_cost():
    a, b = normal(4, 3), normal(5, 3, seed=1)
    assert_close(squared_cost(a, b), torch.cdist(a, b).square(), **EXACT)
    assert squared_cost(a, a).min() >= 0


def test_conditions_are_scaled_to_a_mean_squared_distance_of_two():
    condition = normal(200, 5) * torch.tensor([1.0, 2.0, 0.0, 0.5, 3.0])
    scaled = condition_scale(condition) * condition
    assert squared_cost(scaled, scaled).mean().item() == pytest.approx(2)
    assert condition_scale(torch.ones(4, 2)) == 0
    assert condition_scale(torch.empty(4, 0)) == 0


def test_plan_keeps_the_masses():
    cost = squared_cost(normal(30, 2), 1 + normal(20, 2, seed=1))
    plan = sinkhorn_plan(cost, 0.3)
    assert (plan >= 0).all()
    assert_close(plan.sum(dim=0), torch.full((20,), 1 / 20).double(), atol=1e-3, rtol=0)
    assert_close(plan.sum(dim=1), torch.full((30,), 1 / 30).double(), atol=1e-3, rtol=0)


def test_plan_is_that_of_pot():
    cost = squared_cost(normal(30, 2), 1 + normal(20, 2, seed=1))
    wanted = ot.sinkhorn(ot.unif(30), ot.unif(20), cost.numpy(), 0.3, stopThr=1e-12)
    assert_close(sinkhorn_plan(cost, 0.3, n_iter=2000), torch.from_numpy(wanted), **EXACT)


@pytest.mark.parametrize("epsilon", [0.02, 0.3, 10.0])
def test_plan_between_a_sample_and_itself(epsilon):
    cost = squared_cost(normal(30, 2), normal(30, 2))
    plan = sinkhorn_self_plan(cost, epsilon)
    assert_close(plan, plan.T, **EXACT)
    assert_close(plan.sum(dim=0), torch.full((30,), 1 / 30).double(), atol=1e-7, rtol=0)
    assert_close(plan, sinkhorn_plan(cost, epsilon, n_iter=20_000), atol=1e-5, rtol=0)


def test_plan_of_a_vast_epsilon_is_the_product():
    plan = sinkhorn_plan(squared_cost(normal(6, 2), normal(5, 2, seed=1)), 1e6)
    assert_close(plan, torch.full((6, 5), 1 / 30).double(), rtol=1e-4, atol=0)


def test_plan_of_a_tiny_epsilon_sorts():
    """Costs 1,000 times epsilon would underflow without logarithms."""
    a, b = normal(8, 1), 5 * normal(8, 1, seed=1)
    plan = sinkhorn_plan(squared_cost(a, b), 1e-2, n_iter=5000)
    wanted = torch.zeros(8, 8).double()
    wanted[a[:, 0].argsort(), b[:, 0].argsort()] = 1 / 8
    assert_close(plan, wanted, atol=1e-3, rtol=0)


def test_divergence_of_a_sample_and_itself_is_zero():
    a = normal(20, 3)
    assert sinkhorn_divergence(a, a[torch.arange(19, -1, -1)], 0.5, n_iter=1000).abs() < 1e-6
    assert sinkhorn_divergence(a, normal(20, 3, seed=1), 0.5) > 0.01


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 20.0])
def test_divergence_of_a_moved_sample_is_the_squared_way(epsilon):
    a, way = normal(30, 2), torch.tensor([1.5, -0.5]).double()
    found = sinkhorn_divergence(a, a + way, epsilon, n_iter=1000)
    assert found.item() == pytest.approx(way.square().sum().item(), rel=1e-3)


def entropic_cost(mean, variance_a, variance_b, epsilon):
    """OT_ε of N(0, a) and N(mean, b) (Janati et al. 2020, arXiv 2006.02572, equation 11)."""
    half = epsilon / 2
    d = math.sqrt(4 * variance_a * variance_b + half**2)
    entropy = half * (1 - math.log(2 * half)) + half * math.log(d + half)
    return mean**2 + variance_a + variance_b - d + entropy


def test_divergence_between_gaussians():
    quantiles = norm.ppf((np.arange(500) + 0.5) / 500)
    a = torch.from_numpy(quantiles)[:, None]
    b = 0.7 + 0.5 * a
    epsilon = 0.5
    found = sinkhorn_divergence(a, b, epsilon, n_iter=1000).item()
    selves = entropic_cost(0, 1, 1, epsilon) + entropic_cost(0, 0.25, 0.25, epsilon)
    wanted = entropic_cost(0.7, 1, 0.25, epsilon) - selves / 2
    assert found == pytest.approx(wanted, rel=0.01)
    without = sinkhorn_divergence(a, b, epsilon, n_iter=1000, constant=False).item()
    constant = found - without
    assert constant == pytest.approx(-entropic_cost(0, 1, 1, epsilon) / 2, rel=0.02)


def test_gradient_is_that_of_the_value():
    a, b = normal(12, 2), normal(10, 2, seed=1).requires_grad_(True)
    sinkhorn_divergence(a, b, 2.0, n_iter=2000, constant=False).backward()
    step = 1e-4 * torch.eye(2).double()[0]
    with torch.no_grad():
        ahead, back = b.clone(), b.clone()
        ahead[3] += step
        back[3] -= step
        values = [sinkhorn_divergence(a, c, 2.0, n_iter=2000) for c in (ahead, back)]
    assert b.grad[3, 0].item() == pytest.approx(((values[0] - values[1]) / 2e-4).item(), rel=1e-2)


# ------------------------------------------------------------------ the matcher
@pytest.mark.parametrize(
    ("max_steps", "lr", "batch_size", "most_between"),
    [(300, 1e-2, 64, 0.3), pytest.param(900, 5e-3, 128, 0.2, marks=pytest.mark.slow)],
)
def test_fitted_law(max_steps, lr, batch_size, most_between):
    """Small batches are cheap, and find part of the way.

    After 300 steps with batches of 128 the share is .183 with a standard deviation of .019 over
    seeds, also with plans that have converged; after 900 it is .16 to .18.
    """
    X, y = two_sided()
    matcher = SinkhornMatcher(max_steps=max_steps, lr=lr, widths=(64, 64), batch_size=batch_size)
    est = plain_regressor(matcher=matcher, random_state=0).fit(X, y)
    assert_draws_are_two_sided(est, X, most_between)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0}, "epsilon must be above 0, got 0"),
        ({"condition_weight": -1.0}, "condition_weight must be at least 0, got -1.0"),
        ({"n_draws": 0}, "n_draws must be at least 1, got 0"),
    ],
)
def test_bad_options(options, message):
    X, y = two_sided(30)
    with pytest.raises(ValueError, match=message):
        plain_regressor(matcher=SinkhornMatcher(**options)).fit(X, y)

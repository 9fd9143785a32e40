"""Denoising diffusion: formulas, samplers and the learnt score against a law that is known."""

import numpy as np
import pytest
import torch
from helpers import (
    RUN,
    crescents_distance,
    matching_data,
    normal,
    plain_regressor,
    seeded,
    two_sided,
)

from sklsdm import LSDMGenerator
from sklsdm.functional.categorical import distinct_rows, draw_index
from sklsdm.functional.diffusion import (
    SAMPLERS,
    denoise,
    denoising_residual,
    noise_columns,
    noise_levels,
    solve,
)
from sklsdm.functional.scores import energy_distance
from sklsdm.matchers.diffusion import DiffusionMatcher

ODE_SAMPLERS = ("ddim", "heun", "multistep")


# ------------------------------------------------------------------ a mixture that is known
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-1.2, 0.5], [0.9, -0.4]], dtype=torch.float64)
SPREAD = 0.4


def draw_mixture(n, seed=0):
    picked = torch.multinomial(WEIGHTS, n, replacement=True, generator=seeded(seed))
    return MEANS[picked] + SPREAD * normal(n, 2, seed=seed + 1)


def exact_denoiser(noised, sigma):
    """E[u | u + σ·n] under the mixture, by Bayes' rule."""
    variance = SPREAD**2 + sigma**2
    gaps = noised[:, None] - MEANS
    log_share = WEIGHTS.log() - gaps.square().sum(dim=2) / (2 * variance)
    shares = log_share.softmax(dim=1)[..., None]
    each = MEANS + SPREAD**2 / variance * gaps
    return (shares * each).sum(dim=1)


# ------------------------------------------------------------------ formulas
def no_field(point, time):
    return torch.zeros_like(point)


def test_without_a_field_the_denoiser_is_that_of_a_standard_normal():
    point, sigma = normal(5, 3), torch.tensor([[0.1], [0.5], [1.0], [3.0], [9.0]]).double()
    expected = point / (1 + sigma**2)
    torch.testing.assert_close(denoise(no_field, point, sigma), expected)


def test_the_residual_is_the_denoiser_error_in_units_of_the_output():
    def field(point, time):
        return point.sin() + time

    clean, noise = normal(6, 2), normal(6, 2, seed=1)
    sigma = normal(6, 1, seed=2).exp()
    error = denoise(field, clean + sigma * noise, sigma) - clean
    expected = error * (1 + sigma**2).sqrt() / sigma
    torch.testing.assert_close(denoising_residual(field, clean, noise, sigma), expected)


def test_levels_fall_from_the_highest_to_zero():
    levels = noise_levels(7, 0.02, 8.0, like=normal(1))
    assert len(levels) == 8
    assert levels.diff().max() < 0
    torch.testing.assert_close(levels[[0, -2, -1]], torch.tensor([8.0, 0.02, 0.0]).double())
    torch.testing.assert_close(noise_levels(1, 0.02, 8.0, like=levels)[0], levels[0])


# ------------------------------------------------------------------ samplers
def sampled(sampler, n_steps, n=4000, seed=5):
    noise = normal(n, noise_columns(sampler, n_steps, 2), seed=seed)
    levels = noise_levels(n_steps, 0.01, 12.0, like=noise).view(-1, 1, 1)
    return solve(exact_denoiser, noise, 2, levels, sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samplers_reach_the_law_of_an_exact_denoiser(sampler):
    draws, real, fresh = sampled(sampler, 60), draw_mixture(4000, 7), draw_mixture(4000, 17)
    between_real = energy_distance(fresh, real).item()
    assert energy_distance(draws, real).item() < between_real + 2e-3
    left = (draws[:, 0] < 0).double().mean().item()
    assert left == pytest.approx((real[:, 0] < 0).double().mean().item(), abs=0.03)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("heun", 2), ("multistep", 2)])
def test_order_of_the_ode_samplers(sampler, order):
    """Twice the steps leave about 2^-order of the error."""
    best = sampled("heun", 800, n=300)
    coarse, fine = [(sampled(sampler, n, n=300) - best).abs().mean().item() for n in (40, 80)]
    assert 0.6 * 2**order < coarse / fine < 1.8 * 2**order


def test_only_the_ancestral_sampler_takes_noise_on_the_way():
    assert [noise_columns(s, 5, 2) for s in ODE_SAMPLERS] == [2, 2, 2]
    assert noise_columns("ancestral", 5, 2) == 10
    noise = normal(50, 10)
    levels = noise_levels(5, 0.02, 8.0, like=noise).view(-1, 1, 1)
    for sampler in SAMPLERS:
        draws = solve(exact_denoiser, noise, 2, levels, sampler)
        for column in range(noise.shape[1]):
            other = noise.clone()
            other[:, column] += 1
            moved = not torch.equal(solve(exact_denoiser, other, 2, levels, sampler), draws)
            assert moved == (column < noise_columns(sampler, 5, 2))


# ------------------------------------------------------------------ the learnt score
@pytest.fixture(scope="module")
def learnt():
    """A fit of z = x·(1, 1) + mixture, x = ±1, with the side x on which the mixture is turned."""
    side = torch.where(normal(6000, 1, seed=40) > 0, 1.0, -1.0).double()
    latent = side * (draw_mixture(6000, 3) + 1)
    matcher = DiffusionMatcher(max_steps=1000, n_iter_no_change=None)
    return matcher.fit(matching_data(side, latent, n_held=200), RUN)


@pytest.mark.slow
@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0, 3.0])
def test_the_learnt_score_is_that_of_the_mixture(learnt, side, sigma):
    """Score of the noised residual L⁻¹(z − A·x − b), which is a mixture of Gaussians too."""
    network = learnt.network_
    condition = torch.full((2000, 1), side)
    clean = network.residual(condition, (side * (draw_mixture(2000, 11) + 1)).float())
    noised = (clean + sigma * normal(2000, 2, seed=12)).requires_grad_(True)

    white = network.whitener.double()
    means = network.residual(condition[:2], (side * (MEANS + 1)).float()).double()
    covariance = SPREAD**2 * white @ white.T + sigma**2 * torch.eye(2)
    components = torch.distributions.MultivariateNormal(means, covariance)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(WEIGHTS), components
    )
    (score,) = torch.autograd.grad(mixture.log_prob(noised).sum(), noised)

    with torch.no_grad():
        features = network.features(condition)
        level = torch.full((1, 1), sigma)
        point = noised.float()
        found = denoise(lambda v, t: network(features, v, t), point, level)
        found = (found - point) / sigma**2
    error = (found - score).square().mean() / score.square().mean()
    assert error < 0.04


def test_the_draws_follow_the_law_given_each_condition(learnt):
    for side in (1.0, -1.0):
        noise = normal(3000, 2, seed=21, dtype=torch.float32)
        draws = learnt.draw(torch.full((3000, 1), side), noise).double()
        real = side * (draw_mixture(3000, 23) + 1)
        other = side * (draw_mixture(3000, 33) + 1)
        assert energy_distance(draws, real) < energy_distance(other, real) + 0.01
        assert energy_distance(draws, -real) > 0.5


# ------------------------------------------------------------------ codes without a condition
def test_indices_are_drawn_with_softmax_probability():
    weights = torch.tensor([0.6, 0.3, 0.1, 0.0])
    picked = draw_index(weights.log().expand(20_000, -1) + 50.0, seeded())
    shares = picked.bincount(minlength=4) / len(picked)
    torch.testing.assert_close(shares, weights, atol=0.015, rtol=0)


def test_distinct_rows_come_with_their_shares():
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    found, log_shares = distinct_rows(rows)
    pairs = zip(found.tolist(), log_shares.exp().tolist(), strict=True)
    shares = {tuple(row): share for row, share in pairs}
    assert shares == pytest.approx({(1.0, 0.0): 0.75, (0.0, 1.0): 0.25})


def test_codes_without_conditions_teach_the_law_given_each():
    """Two crescents, 15 pairs each, and 1,000 points that do not say which they are of."""
    matcher = DiffusionMatcher(max_steps=300, n_steps=12)
    without_codes = crescents_distance(matcher, with_codes=False)
    assert crescents_distance(matcher, with_codes=True) < 0.6 * without_codes


# ------------------------------------------------------------------ bad parameters
@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"n_steps": 0}, ValueError, r"matcher__n_steps must be at least 1, got 0"),
        ({"n_steps": 2.5}, TypeError, r"matcher__n_steps must be an integer, got 2\.5"),
        ({"sampler": "euler"}, ValueError, r"matcher__sampler='euler'.*'ancestral'.*'multistep'"),
        ({"sigma_min": 0.0}, ValueError, r"matcher__sigma_min must be above 0, got 0"),
        (
            {"sigma_max": 0.01},
            ValueError,
            r"matcher__sigma_max must be above matcher__sigma_min=0\.02, got 0\.01",
        ),
        ({"sigma_min": 9.0}, ValueError, r"matcher__sigma_min=9\.0, got 8\.0"),
        ({"sigma_min": 6.0}, ValueError, r"sigma_max must be above sigma_min=6\.0, got 5\.0"),
        ({"log_sigma_std": 0.0}, ValueError, r"matcher__log_sigma_std must be above 0"),
    ],
)
def test_bad_parameters(params, kind, message):
    est = plain_regressor(matcher=DiffusionMatcher(**params))
    with pytest.raises(kind, match=message):
        est.fit(np.zeros((30, 1)), np.arange(30.0))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_through_the_regressor(sampler):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1))
    y = X @ np.ones((1, 2)) + 0.1 * rng.normal(size=(60, 2))
    est = plain_regressor(
        matcher=DiffusionMatcher(sampler, n_steps=12, max_steps=20), random_state=0
    )
    est.fit(X, y)
    assert est.matcher_.noise_dim_ == noise_columns(sampler, 12, 2)
    draws = est.sample(X, 50, random_state=0)
    error = np.abs(draws.mean(axis=1) - X).mean()  # the fit starts from least squares
    assert error < 0.1
    assert np.corrcoef(est.predict(X)[:, 0], X[:, 0])[0, 1] > 0.99


@pytest.mark.parametrize(
    ("params", "wanted", "n_passes"),
    [
        ({}, (8, 0.04, 5.0), 8),
        ({"sampler": "ddim"}, (16, 0.02, 8.0), 16),
        ({"sampler": "heun"}, (16, 0.02, 8.0), 31),
        ({"n_steps": 5, "sigma_min": 0.1}, (5, 0.1, 5.0), 5),
    ],
)
def test_schedule(params, wanted, n_passes):
    matcher = DiffusionMatcher(max_steps=1, widths=(4,), **params)
    X, y = two_sided(30)
    est = plain_regressor(matcher=matcher, validation_fraction=0, random_state=0)
    fitted = est.fit(X, y).matcher_
    assert fitted.schedule_ == wanted
    assert fitted.n_passes == n_passes


def test_levels_are_checked_against_the_schedule_in_use():
    """6 is above the highest level of short draws, and below that of codes that are images."""
    images = np.random.default_rng(0).uniform(size=(24, 8, 8))
    est = LSDMGenerator(matcher=DiffusionMatcher(sigma_min=6.0, max_steps=1, channels=8))
    est.set_params(autoencoder="feature-map", autoencoder__max_epochs=1, random_state=0)
    assert est.fit(images).matcher_.schedule_ == (16, 6.0, 8.0)

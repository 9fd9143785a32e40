"""Mixture densities: formulas against torch's distributions, and fits against known laws."""

import math

import numpy as np
import pytest
import torch
from helpers import RUN, crescents_distance, matching_data, normal, plain_regressor

from sklsdm.functional.mixtures import draw_mixture, log_density
from sklsdm.functional.scores import energy_distance
from sklsdm.matchers.base import Plan
from sklsdm.matchers.likelihood import LikelihoodObjective
from sklsdm.matchers.mdn import MDNMatcher
from sklsdm.modules import MixtureDensity


def some_mixture():
    """Log weights (2, 3), means (2, 3, 2) and factors of precisions (2, 3, 2, 2)."""
    log_weights = normal(2, 3).log_softmax(dim=1)
    precision = normal(2, 3, 2, 2, seed=2).tril(-1)
    precision = precision + torch.diag_embed(normal(2, 3, 2, seed=3).mul(0.5).exp())
    return log_weights, 2 * normal(2, 3, 2, seed=1), precision


def as_distribution(log_weights, means, precision):
    components = torch.distributions.MultivariateNormal(
        means, precision_matrix=precision.mT @ precision
    )
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=log_weights), components
    )


# ------------------------------------------------------------------ formulas
def test_log_density_is_that_of_the_mixture():
    mixture, points = some_mixture(), normal(2, 2, seed=5)
    expected = as_distribution(*mixture).log_prob(points)
    torch.testing.assert_close(log_density(points, *mixture), expected)


def test_log_density_broadcasts_points_against_mixtures():
    mixture, points = some_mixture(), normal(5, 1, 2, seed=5)
    found = log_density(points, *mixture)
    assert found.shape == (5, 2)
    for point, row in zip(points, found, strict=True):
        torch.testing.assert_close(row, log_density(point.expand(2, -1), *mixture))


def test_draws_have_the_moments_and_shares_of_the_mixture():
    log_weights, means, precision = (part[:1] for part in some_mixture())
    n = 40_000
    many = [part.expand(n, *part.shape[1:]) for part in (log_weights, means, precision)]
    draws = draw_mixture(*many, normal(n, 3, seed=7))
    law = as_distribution(log_weights, means, precision)
    torch.testing.assert_close(draws.mean(dim=0), law.mean[0], atol=0.05, rtol=0)
    covariance = torch.linalg.inv(precision.mT @ precision)
    weights = log_weights.exp()[..., None]
    second = (weights[..., None] * (covariance + means[..., None] * means[..., None, :])).sum(1)[0]
    torch.testing.assert_close(draws.mT @ draws / n, second, atol=0.2, rtol=0.05)


def test_the_first_column_picks_the_component():
    log_weights = torch.tensor([[0.2, 0.5, 0.3]]).double().log().expand(6, -1)
    means = torch.arange(3.0).double()[None, :, None].expand(6, -1, 1)
    precision = torch.full((6, 3, 1, 1), 1e6).double()
    levels = torch.tensor([1e-9, 0.199, 0.201, 0.699, 0.701, 1 - 1e-9]).double()
    first = torch.special.ndtri(levels)
    noise = torch.stack([first, torch.zeros(6).double()], dim=1)
    draws = draw_mixture(log_weights, means, precision, noise)
    assert draws[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
    noise[:, 0] = torch.tensor([40.0, -40.0, 9, -9, 6, -6])
    assert draw_mixture(log_weights, means, precision, noise)[:, 0].tolist() == [2, 0] * 3


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("n_components", [1, 5])
def test_the_network_starts_near_the_standard_normal(n_components, full):
    random = torch.Generator().manual_seed(0)
    network = MixtureDensity(2, 3, n_components, full, (16,), generator=random)
    _, _, precision = network(normal(4, 2, dtype=torch.float32))
    assert precision.shape == (4, n_components, 3, 3)
    assert precision.triu(1).abs().max() == 0
    assert (precision.tril(-1).abs().max() > 0) == full
    noise = normal(4000, 4, seed=1, dtype=torch.float32)
    rows = [part[:1].expand(4000, *part.shape[1:]) for part in network(torch.zeros(1, 2))]
    draws = draw_mixture(*rows, noise)
    assert draws.mean(dim=0).abs().max() < 0.4
    assert 0.5 < draws.std(dim=0).min() < draws.std(dim=0).max() < 1.6


# ------------------------------------------------------------------ what is learnt
def known_pairs(n, seed):
    """z | x ~ ½ N(m, C) + ½ N(−m, C) with m = (1, x) and correlated C; and −E ln p(z | x)."""
    x = normal(n, 1, seed=seed).tanh()
    means = torch.cat([torch.ones_like(x), x], dim=1)
    factor = torch.tensor([[0.3, 0.0], [0.24, 0.1]], dtype=torch.float64)
    sign = torch.where(normal(n, 1, seed=seed + 1) > 0, 1.0, -1.0)
    latent = sign * means + normal(n, 2, seed=seed + 2) @ factor.T
    precision = torch.linalg.inv(factor).expand(n, 2, 2, 2)
    law = torch.full((n, 2), math.log(0.5)), torch.stack([means, -means], dim=1), precision
    return x, latent, -log_density(latent, *law).mean().item()


def neg_log_likelihood(network, condition, latent):
    with torch.no_grad():
        residual = network.residual(condition.float(), latent.float())
        log_scale = torch.linalg.slogdet(network.whitener).logabsdet
        return -(log_density(residual, *network(condition.float())) + log_scale).mean().item()


@pytest.mark.slow
def test_the_fit_reaches_the_likelihood_of_the_truth():
    condition, latent, _ = known_pairs(2000, 0)
    fresh_condition, fresh_latent, entropy = known_pairs(4000, 10)
    matcher = MDNMatcher(4, max_steps=800, n_iter_no_change=None)
    matcher.fit(matching_data(condition, latent, n_held=100), RUN)
    found = neg_log_likelihood(matcher.network_, fresh_condition, fresh_latent)
    assert entropy - 0.02 < found < entropy + 0.1
    noise = normal(4000, matcher.noise_dim_, seed=3, dtype=torch.float32)
    draws = matcher.draw(fresh_condition.float(), noise).double()
    joint = torch.cat([fresh_condition, draws], dim=1)
    real = torch.cat(known_pairs(4000, 20)[:2], dim=1)
    assert energy_distance(joint, real).item() < 0.02


def test_the_marginal_is_the_mean_over_conditions():
    """With 2/3 of the pairs at one x, p(z) = 2/3 p(z | x₀) + 1/3 p(z | x₁)."""
    condition = torch.tensor([[0.0], [0.0], [1.0]])
    data = matching_data(condition, torch.zeros(3, 2), codes=torch.zeros(3, 2))
    random = torch.Generator().manual_seed(0)
    plan = Plan(RUN, random, 3, 1, 1, 16, 1.0, 0.0)
    network = MixtureDensity(1, 2, 3, True, (8,), generator=random)
    codes = normal(5, 2, dtype=torch.float32)
    found = LikelihoodObjective(data, plan)._marginal(network, codes)
    each = [
        log_density(codes, *(part.expand(5, *part.shape[1:]) for part in network(x[None])))
        for x in (condition[0], condition[2])
    ]
    expected = (2 / 3 * each[0].exp() + 1 / 3 * each[1].exp()).log()
    torch.testing.assert_close(found, expected)


def test_codes_without_conditions_teach_the_law_given_each():
    """Two crescents, 15 pairs each, and 1,000 points that do not say which they are of."""
    matcher = MDNMatcher(max_steps=300)
    without_codes = crescents_distance(matcher, with_codes=False)
    assert crescents_distance(matcher, with_codes=True) < 0.6 * without_codes


# ------------------------------------------------------------------ bad parameters
@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"n_components": 0}, ValueError, r"matcher__n_components must be at least 1, got 0"),
        ({"covariance": "tied"}, ValueError, r"matcher__covariance='tied'.*'diagonal'.*'full'"),
    ],
)
def test_bad_parameters(params, kind, message):
    est = plain_regressor(matcher=MDNMatcher(**params))
    with pytest.raises(kind, match=message):
        est.fit(np.zeros((30, 1)), np.arange(30.0))


def test_responses_on_a_line_do_not_break_the_fit():
    """Equal responses under equal conditions: the density would grow without bound."""
    X = np.repeat(np.arange(3.0), 20)[:, None]
    y = np.hstack([X, 2 * X])
    est = plain_regressor(matcher=MDNMatcher(max_steps=200), random_state=0).fit(X, y)
    draws = est.sample(X[[0, 20, 40]], 50, random_state=0)
    assert np.abs(draws.mean(axis=1) - y[[0, 20, 40]]).max() < 0.3

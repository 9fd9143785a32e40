"""f-divergences: conjugates, variational bounds between Gaussians, and the matcher."""

import math

import numpy as np
import pytest
import torch
from helpers import assert_draws_are_two_sided, plain_regressor, seeded, two_sided
from scipy.integrate import quad
from scipy.stats import norm
from torch.testing import assert_close

from sklsdm.functional.divergences import DIVERGENCES, donsker_varadhan_bound, variational_bound
from sklsdm.matchers import FGANMatcher
from sklsdm.matchers.fgan import KNOWN, critic_loss, generator_loss

ALL = pytest.mark.parametrize("name", list(DIVERGENCES))
# Values t in the domain of each conjugate.
DOMAINS = {
    "kl": (-4.0, -0.2),
    "reverse-kl": (-3.0, 2.0),
    "js": (-2.0, 0.3),
    "pearson": (-1.9, 3.0),
    "hellinger": (-3.0, 0.9),
}
# P = N(0, 1) is the law of the data, Q = N(MEAN, SD²) that of the draws.
MEAN, SD = 0.7, 1.2


def linspace(low, high, n=9):
    return torch.linspace(low, high, n, dtype=torch.float64)


def points(law, n=200_001):
    """Midpoints of n pieces of equal probability: their mean is an integral."""
    return torch.from_numpy(law.ppf((np.arange(n) + 0.5) / n))


P, Q = norm(0, 1), norm(MEAN, SD)
REAL, DRAWN = points(P), points(Q)


def log_ratio(x):
    """Of the density of P to that of Q."""
    return -x.square() / 2 + (x - MEAN).square() / (2 * SD**2) + math.log(SD)


# The critic's value at which the bound is tight, from ln(p/q).
BEST_VALUE = {
    "kl": lambda r: r,
    "reverse-kl": lambda r: 1 + r,
    "js": lambda r: r,
    "pearson": lambda r: 2 * (r.exp() - 1),
    "hellinger": lambda r: r / 2,
}


def jensen_shannon():
    def integrand(x):
        p, q = P.pdf(x), Q.pdf(x)
        return p * np.log(2 * p / (p + q)) / 2 + q * np.log(2 * q / (p + q)) / 2

    return quad(integrand, -8, 9)[0]


ANALYTIC = {
    "kl": (SD**2 + MEAN**2 - 1) / 2 - math.log(SD),
    "reverse-kl": (1 + MEAN**2) / (2 * SD**2) - 0.5 + math.log(SD),
    "js": jensen_shannon(),
    "pearson": SD**2 / math.sqrt(2 * SD**2 - 1) * math.exp(MEAN**2 / (2 * SD**2 - 1)) - 1,
    "hellinger": 2 - 2 * math.sqrt(2 * SD / (1 + SD**2)) * math.exp(-(MEAN**2) / (4 * (1 + SD**2))),
}


@ALL
def test_conjugate_is_the_supremum(name):
    divergence, t = DIVERGENCES[name], linspace(*DOMAINS[name])
    u = torch.logspace(-5, 3, 400_001, dtype=torch.float64)
    for value in t:
        found = (value * u - divergence.f(u)).max()
        assert_close(divergence.conjugate(value), found, rtol=1e-6, atol=1e-6)


@ALL
def test_derivative_attains_it(name):
    """Fenchel's equality: f*(f'(u)) = u f'(u) − f(u); and f' is the derivative of f."""
    divergence = DIVERGENCES[name]
    u = torch.logspace(-2, 1, 9, dtype=torch.float64).requires_grad_(True)
    (slope,) = torch.autograd.grad(divergence.f(u).sum(), u)
    assert_close(slope, divergence.derivative(u))
    assert_close(divergence.conjugate(slope), u * slope - divergence.f(u))
    assert divergence.f(torch.ones(1)).item() == pytest.approx(0, abs=1e-7)


@ALL
def test_activation_rises_within_the_domain(name):
    divergence = DIVERGENCES[name]
    t = divergence.activation(linspace(-6, 6, 101))
    assert (t.diff() > 0).all()
    most = {"kl": 0, "js": math.log(2) / 2, "hellinger": 1}.get(name, math.inf)
    assert t.max() < most
    v = linspace(-6, 6)
    both = divergence.conjugate(divergence.activation(v))
    assert_close(divergence.conjugate_at_value(v), both, rtol=1e-6, atol=1e-9)


@ALL
def test_far_values_stay_finite(name):
    v = torch.tensor([-60.0, 60.0], requires_grad=True)
    loss = DIVERGENCES[name].conjugate_at_value(v).sum() - DIVERGENCES[name].activation(v).sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(v.grad).all()


@ALL
def test_bound_at_the_best_critic_is_the_divergence(name):
    divergence, best = DIVERGENCES[name], BEST_VALUE[name]
    ratio = log_ratio(REAL)[::5000]
    assert_close(divergence.activation(best(ratio)), divergence.derivative(ratio.exp()))
    bound = variational_bound(best(log_ratio(REAL)), best(log_ratio(DRAWN)), divergence)
    assert bound.item() == pytest.approx(ANALYTIC[name], rel=2e-3)


@ALL
def test_bound_at_other_critics_is_lower(name):
    divergence, best = DIVERGENCES[name], BEST_VALUE[name]
    real, drawn = best(log_ratio(REAL)), best(log_ratio(DRAWN))
    for change in (torch.sin, lambda x: 0.2 * x, lambda x: 0 * x + 0.3):
        bound = variational_bound(
            real + 0.3 * change(REAL), drawn + 0.3 * change(DRAWN), divergence
        )
        assert bound < ANALYTIC[name] - 1e-4


def test_donsker_varadhan_bound():
    real, drawn = log_ratio(REAL), log_ratio(DRAWN)
    best = donsker_varadhan_bound(real, drawn)
    assert best.item() == pytest.approx(ANALYTIC["kl"], rel=2e-3)
    shifted = donsker_varadhan_bound(real + 5, drawn + 5)
    assert_close(shifted, best)
    other = (real + 0.3 * REAL.sin(), drawn + 0.3 * DRAWN.sin())
    weaker = variational_bound(*other, DIVERGENCES["kl"])
    assert weaker < donsker_varadhan_bound(*other) < best
    far = donsker_varadhan_bound(torch.tensor([-500.0, 500.0]), torch.zeros(2))
    assert far.item() == pytest.approx(-500 + math.log(2))


def test_kl_is_the_objective_of_gcds():
    """With D = −v: E D(X, H) − E exp D(X, Y), up to the constant 1."""
    v_real, v_drawn = torch.randn(50, generator=seeded()), torch.randn(50, generator=seeded())
    bound = variational_bound(v_real, v_drawn, DIVERGENCES["kl"])
    assert_close(bound, (-v_drawn).mean() - (-v_real).exp().mean() + 1)


@pytest.mark.parametrize("name", KNOWN)
def test_generator_lowers_what_the_critic_raises(name):
    real, drawn = torch.randn(6, 1, generator=seeded()), torch.randn(6, 3, generator=seeded())
    divergence = DIVERGENCES.get(name)
    drawn.requires_grad_(True)
    (of_critic,) = torch.autograd.grad(critic_loss(real, drawn, divergence), drawn)
    (of_generator,) = torch.autograd.grad(generator_loss(real, drawn, divergence), drawn)
    assert_close(of_generator, -of_critic)
    if name != "pearson":  # its conjugate falls where the critic is below -2
        assert (of_generator <= 0).all()


# ------------------------------------------------------------------ the matcher
@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_fitted_law(name):
    X, y = two_sided()
    matcher = FGANMatcher(name, max_steps=1200, widths=(64, 64), critic_widths=(64, 64))
    est = plain_regressor(matcher=matcher, random_state=0).fit(X, y)
    assert_draws_are_two_sided(est, X)


@pytest.mark.parametrize("name", KNOWN)
def test_every_divergence_trains_both_players(name):
    X, y = two_sided(60)
    matcher = FGANMatcher(name, max_steps=20)
    est = plain_regressor(matcher=matcher, random_state=0, validation_fraction=0.0).fit(X, y)
    assert np.isfinite(est.sample(X, 3)).all()
    for loss in ("train_loss", "train_critic_loss"):
        assert np.isfinite(est.history_["matcher"][loss]).all()


def test_unknown_divergence():
    X, y = two_sided(30)
    with pytest.raises(ValueError, match=r"'wasserstein' is unknown.*'hellinger'.*'kl-dv'"):
        plain_regressor(matcher=FGANMatcher("wasserstein")).fit(X, y)
    with pytest.raises(ValueError, match="gradient_penalty must be at least 0"):
        plain_regressor(matcher=FGANMatcher(gradient_penalty=-1)).fit(X, y)

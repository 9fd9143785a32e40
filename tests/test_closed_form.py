"""Fitted laws against laws that are known."""

import numpy as np
import pytest
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose

from sklsdm import metrics
from sklsdm.datasets import make_arms, make_gcds
from sklsdm.matchers import MATCHERS, EnergyMatcher

# Steps on 1,500 pairs of the arms problem, and the share of what there is to gain (from ignoring
# X to knowing the law) that must be reached with them. Half of what was seen, or less.
ARMS = {"wgan": (2500, 0.5), "energy": (600, 0.2)}


def fit(matcher, X, y, Y_unpaired=None, *, max_steps, **params):
    est = plain_regressor(matcher=matcher, random_state=0, **params)
    return est.set_params(matcher__max_steps=max_steps).fit(X, y, Y_unpaired)


@pytest.mark.slow
@pytest.mark.parametrize("matcher", ARMS)
def test_arms(matcher):
    """Three modes whose mean does not depend on x: what models the mean alone gains nothing."""
    max_steps, wanted = ARMS[matcher]
    train, test = make_arms(1500, random_state=0), make_arms(2000, random_state=1)
    est = fit(matcher, train.X, train.y, max_steps=max_steps)
    marginal = np.broadcast_to(train.y[:500], (2000, 500, 2))
    candidates = {
        "model": est.sample(test.X, 100, random_state=0),
        "oracle": test.sample(test.X, 100, random_state=2),
        "marginal": marginal,
    }
    found = {name: metrics.energy_score(test.y, draws) for name, draws in candidates.items()}
    skill = (found["marginal"] - found["model"]) / (found["marginal"] - found["oracle"])
    assert wanted < skill < 1.1


@pytest.mark.parametrize("matcher", slow_but(set(MATCHERS) - {"sinkhorn"}, MATCHERS))
def test_linear_gaussian(matcher):
    """y = 2 + A x + N(0, C): mean, standard deviations and correlation of the draws."""
    rng = np.random.default_rng(0)
    coef = np.array([[1.0, 0.5], [-0.7, 1.2], [0.0, 0.8]])
    cov = np.array([[0.5, 0.3], [0.3, 0.4]])

    def law(n_rows):
        X = rng.normal(size=(n_rows, 3))
        return X, 2 + X @ coef + rng.multivariate_normal(np.zeros(2), cov, size=n_rows)

    X, y = law(800)
    X_new, _ = law(150)
    est = fit(matcher, X, y, max_steps=100)
    mean, std = est.predict(X_new, return_std=True)
    truth = 2 + X_new @ coef
    assert np.sqrt(np.square(mean - truth).mean()) < 0.15  # the outputs' own spread is 1.5
    assert_allclose(std.mean(axis=0), np.sqrt(np.diag(cov)), rtol=0.12)
    errors = est.sample(X_new, 200, random_state=0) - truth[:, None]
    assert_allclose(np.cov(errors.reshape(-1, 2).T), cov, atol=0.12)


@pytest.mark.slow
def test_spread_that_depends_on_x():
    """Problem T4: y = ±x with probability one half each, plus noise: mean 0, spread near |x1|."""
    train, test = make_gcds("T4", 2000, random_state=0), make_gcds("T4", 500, random_state=1)
    est = fit(EnergyMatcher(), train.X, train.y, max_steps=500)
    mean, std = est.predict(test.X, return_std=True)
    assert np.square(mean - test.mean(test.X)).mean() < 0.05
    assert np.square(std - test.std(test.X)).mean() < 0.05
    assert np.var(test.std(test.X)) > 0.3  # a constant spread would miss by this much


@pytest.mark.parametrize(
    "matcher", slow_but(set(MATCHERS) - {"sinkhorn", "fgan", "wgan"}, MATCHERS)
)
def test_unpaired_responses_put_the_marginal_law_right(matcher):
    """18 pairs from the lower half of two classes; 2,000 responses show the law as it is.

    With "match" the draws' law follows theirs, and the classes stay apart.
    """
    rng = np.random.default_rng(0)
    label = rng.integers(2, size=2000)
    centre = np.where(label == 1, 1, -1)[:, None] * [2.0, 1.0]
    y = centre + rng.normal(size=centre.shape)
    lower = y[:, 1] < centre[:, 1]
    pairs = np.concatenate([np.flatnonzero(lower & (label == k))[:9] for k in (0, 1)])
    both = np.repeat(np.eye(2), 1000, axis=0)
    distance, right = {}, {}
    for use in ("latent", "match"):
        data = np.eye(2)[label[pairs]], y[pairs], np.delete(y, pairs, axis=0)
        est = fit(matcher, *data, max_steps=250, unpaired=use, autoencoder="identity")
        draws = est.sample(both, random_state=0)[:, 0]
        distance[use] = metrics.energy_distance(draws, y)
        right[use] = np.mean((draws[:, 0] > 0) == (both[:, 1] == 1))
    assert distance["match"] < 0.7 * distance["latent"]
    assert right["match"] > 0.85  # of .977


@pytest.mark.parametrize("autoencoder", slow_but(["pca"], ["pca", "mlp"]))
def test_unpaired_responses_find_the_subspace(autoencoder):
    """Images with three strong directions of twenty: the best error is the others' variance."""
    rng = np.random.default_rng(0)
    spread = np.r_[3, 2, 1, np.full(17, 0.2)]
    turn = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    y, fresh = (
        ((rng.normal(size=(n, 20)) * spread) @ turn.T).reshape(n, 4, 5) for n in (1500, 1000)
    )
    floor = np.square(spread[3:]).sum()
    error = {}
    for name, unpaired in (("few", None), ("all", y[30:])):
        est = plain_regressor(3, matcher="energy", autoencoder=autoencoder, random_state=0)
        est.set_params(matcher__max_steps=1)
        if autoencoder == "mlp":
            est.set_params(autoencoder__max_epochs=20)
        est.fit(y[:30, :1, 0], y[:30], unpaired)
        error[name] = np.square(est.reconstruct(fresh) - fresh).sum(axis=(1, 2)).mean()
    assert 0.9 * floor < error["all"] < 1.1 * floor
    assert error["all"] < 0.9 * error["few"]

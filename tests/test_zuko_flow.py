"""The spline flow of zuko as a matcher: the contract of every matcher, and its density."""

import pickle
import sys

import numpy as np
import pytest
import torch
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.matchers import ZukoFlowMatcher
from sklsdm.modules import SplineFlow

pytest.importorskip("zuko")

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
Y = np.column_stack([X[:, 0] + RNG.exponential(size=60), X[:, 1] + RNG.normal(size=60)])
MORE = Y[RNG.integers(60, size=80)] + 0.1 * RNG.normal(size=(80, 2))


def make(kind=plain_regressor, callbacks=None, **settings):
    matcher = ZukoFlowMatcher(
        n_transforms=2, n_bins=4, widths=(16,), max_steps=20, callbacks=callbacks
    )
    return kind(matcher=matcher, random_state=0, **settings)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def density(n_conditions=2, latent_dim=2, seed=0):
    found = SplineFlow(n_conditions, latent_dim, 2, 4, (16,), generator=seeded(seed))
    generator = seeded(1)
    with torch.no_grad():  # far from the identity
        for parameter in found.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return found.eval()


@pytest.fixture(scope="module")
def fitted():
    return make().fit(X, Y, MORE)


# ------------------------------------------------------------------ the density
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_the_density_has_mass_one(latent_dim):
    grid = torch.linspace(-9, 9, 2001 if latent_dim == 1 else 301)
    points = torch.cartesian_prod(*[grid] * latent_dim).view(-1, latent_dim)
    with torch.no_grad():
        log_prob = density(latent_dim=latent_dim).log_prob(torch.ones(len(points), 2), points)
    mass = log_prob.double().exp().sum() * (grid[1] - grid[0]) ** latent_dim
    assert_allclose(mass, 1.0, atol=5e-3)


def test_draws_follow_the_density():
    """Noise that is carried to a code and back is the noise; so both are of one law."""
    flow, noise, condition = density(), torch.randn(50, 2, generator=seeded()), torch.ones(50, 2)
    with torch.no_grad():
        codes = flow(condition, noise)
        back, log_slope = flow._transform(condition).call_and_ladj(flow.residual(condition, codes))
        expected = torch.distributions.Normal(0, 1).log_prob(noise).sum(dim=1) + log_slope
        assert_allclose(back, noise, atol=1e-3)
        assert_allclose(flow.log_prob(condition, codes), expected, atol=2e-3)


def test_conditions_and_codes_broadcast():
    flow, rows, codes = density(), torch.randn(5, 2, generator=seeded()), torch.zeros(3, 1, 2)
    with torch.no_grad():
        found = flow.log_prob(rows, codes)
        assert found.shape == (3, 5)
        assert_allclose(found[1], flow.log_prob(rows, torch.zeros(5, 2)), rtol=1e-5)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    first, second = (SplineFlow(2, 2, 2, 4, (16,), generator=seeded(3)) for _ in range(2))
    other = SplineFlow(2, 2, 2, 4, (16,), generator=seeded(4))
    SplineFlow(2, 2, 2, 4, (16,))
    assert torch.equal(torch.get_rng_state(), state)
    same = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    differ = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in differ)


@pytest.mark.slow
def test_a_skewed_law_is_learnt():
    """Draws of a shifted exponential have its skewness, which ridge regression lacks."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 1))
    y = x[:, 0] + rng.exponential(size=600)
    matcher = ZukoFlowMatcher(n_transforms=1, max_steps=300, widths=(32,), lr=5e-3)
    est = plain_regressor(matcher=matcher, random_state=0).fit(x, y)
    draws = est.sample(np.zeros((1, 1)), 4000, random_state=0)[0]
    skewness = ((draws - draws.mean()) ** 3).mean() / draws.std() ** 3
    assert 1.0 < skewness < 3.5  # that of the law is 2
    assert_allclose(np.quantile(draws, [0.1, 0.5, 0.9]), [0.105, 0.693, 2.303], atol=0.3)


# ------------------------------------------------------------------ the contract
@pytest.mark.parametrize("y", [Y, Y[:, 0], RNG.integers(0, 255, (60, 4, 4)).astype(np.uint8)])
def test_shapes(y):
    settings = {"latent_dim": 2, "autoencoder": "pca"} if y.ndim > 2 else {}
    draws = make(**settings).fit(X, y).sample(X[:7], 3, random_state=0)
    assert draws.shape == (7, 3, *y.shape[1:])
    assert np.isfinite(draws).all()


def test_equal_seeds_give_equal_draws_in_any_batches(fitted):
    again = make().fit(X, Y, MORE)
    draws = fitted.sample(X, 5, random_state=0)
    assert_array_equal(draws, again.sample(X, 5, random_state=0))
    assert_allclose(draws, fitted.sample(X, 5, random_state=0, batch_size=7), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("use", ["match", *slow_but([], ["pair", "auto"])])
def test_unpaired_responses(use):
    assert make(unpaired=use).fit(X, Y, MORE).sample(X[:3]).shape == (3, 1, 2)


def test_without_conditions():
    assert make(LSDMGenerator).fit(Y).sample(5).shape == (5, 2)


def test_copies(fitted, tmp_path):
    draws = fitted.sample(X, 2, random_state=0)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).sample(X, 2, random_state=0), draws)
    sklsdm.save(fitted, tmp_path / "a.safetensors")
    loaded = sklsdm.load(tmp_path / "a.safetensors")
    assert_array_equal(loaded.sample(X, 2, random_state=0), draws)
    assert clone(fitted).get_params()["matcher__n_bins"] == 4


class Stops(Callback):
    """An error in the second epoch."""

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            raise ZeroDivisionError


def test_a_fit_that_was_killed_goes_on(fitted, tmp_path, monkeypatch):
    monkeypatch.setattr("sklsdm.matchers.base.EPOCH_STEPS", 5)
    whole = make().fit(X, Y).sample(X, random_state=0)
    est = make(callbacks=[Stops()], checkpoint=tmp_path)
    with pytest.raises(ZeroDivisionError):
        est.fit(X, Y)
    monkeypatch.setattr(Stops, "on_epoch_end", Callback.on_epoch_end)
    assert_array_equal(est.fit(X, Y).sample(X, random_state=0), whole)


def test_parameters_of_a_search(fitted):
    search = GridSearchCV(make(), {"matcher__n_transforms": [1, 2]}, cv=2).fit(X, Y)
    assert search.best_params_["matcher__n_transforms"] in (1, 2)
    assert fitted.matcher_.n_passes == 4  # transforms times latent dimensions


@pytest.mark.parametrize(
    ("settings", "message"), [({"n_bins": 1}, "n_bins"), ({"n_transforms": 0}, "n_transforms")]
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=f"matcher__{message} must be at least"):
        LSDMRegressor(matcher=ZukoFlowMatcher(**settings)).fit(X, Y)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(ImportError, match=r"pip install 'sklsdm\[zuko\]'"):
        make().fit(X, Y)

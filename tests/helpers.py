"""What several test files use: random numbers, small problems whose law is known, slow marks."""

import numpy as np
import pytest
import torch

from sklsdm import LSDMRegressor
from sklsdm.functional.scores import energy_distance
from sklsdm.matchers import MATCHERS, MatchingData
from sklsdm.run import Run

CPU = torch.device("cpu")
RUN = Run(CPU, 0)

ALL_MATCHERS = pytest.mark.parametrize("matcher", list(MATCHERS))


def plain_regressor(*args, **params):
    """An LSDMRegressor that chooses neither its encoder nor its use of unpaired responses.

    Each choice costs many short fits, and most tests are about something else.
    """
    return LSDMRegressor(*args, **{"condition_encoder": "flatten", "unpaired": "match", **params})


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    """Standard normal numbers, in double precision where formulas are compared."""
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def rows(n, k, seed=0):
    """n rows of k standard normal numbers, in the precision that networks take."""
    return normal(n, k, seed=seed, dtype=torch.float32)


def slow_but(fast, names):
    """The names as pytest parameters: those not in `fast` are marked slow."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in names]


def matching_data(condition, latent, codes=None, n_held=0):
    """What a matcher's fit takes. The first `n_held` pairs are held out; condition may be None."""
    if condition is None:
        condition = latent.new_empty((len(latent), 0))
    condition, latent = condition.float(), latent.float()
    return MatchingData(
        condition=condition[n_held:],
        latent=latent[n_held:],
        held_condition=condition[:n_held],
        held_latent=latent[:n_held],
        codes=None if codes is None else codes.float(),
        image_shape=None,
    )


# ------------------------------------------------------------------ y = x ± 1
def two_sided(n=600, seed=0, slope=1.0):
    """y = slope * x ± 1 with a little noise: y given x has two modes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x, slope * x[:, 0] + rng.choice([-1, 1], n) + 0.1 * rng.normal(size=n)


def assert_draws_are_two_sided(est, X, most_between=0.2):
    """The draws of an estimator follow the law of `two_sided`.

    At most the share `most_between` of them lies between the two sides. It is .38 under the
    Gaussian of the same spread, where training starts.
    """
    residual = est.sample(X, 20, random_state=0) - X
    assert abs(residual.mean()) < 0.2
    assert 0.8 < residual.std() < 1.2
    assert (np.abs(residual) < 0.5).mean() < most_between


# ------------------------------------------------------------------ two crescents
def crescents_distance(matcher, with_codes):
    """Energy distance, summed over two crescents, of a matcher's draws from fresh points.

    It is fitted to 30 pairs of a point and its crescent, with five more held out. With `with_codes`
    it also sees about 1,000 points without their crescent.
    """
    rng = np.random.default_rng(0)
    side = rng.choice([-1.0, 1.0], 3000)
    angle = rng.uniform(0, np.pi, 3000)
    points = np.stack([side * (np.sin(angle) * 1.5 + 0.3), np.cos(angle) * 1.5], axis=1)
    points += 0.1 * rng.normal(size=points.shape)
    latent = torch.from_numpy((points - points.mean(axis=0)) / points.std(axis=0))
    condition = torch.from_numpy(side[:, None])
    codes = latent[:1030] if with_codes else None
    matcher.fit(matching_data(condition[:35], latent[:35], codes, n_held=5), RUN)
    draws = matcher.draw(condition[1000:].float(), rows(2000, matcher.noise_dim_, seed=1)).double()
    fresh = side[1000:]
    return sum(
        energy_distance(draws[fresh == s], latent[1000:][fresh == s]).item() for s in (-1.0, 1.0)
    )

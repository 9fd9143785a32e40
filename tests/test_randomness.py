"""One meaning of random_state: what it may be, what each kind gives, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from helpers import plain_regressor, small
from numpy.testing import assert_array_equal
from sklearn.base import clone

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.datasets import make_arms, make_eight_gaussians
from sklsdm.matchers import EnergyMatcher
from sklsdm.metrics import sliced_wasserstein
from sklsdm.randomness import as_generator, draw_seed
from sklsdm.scorers import neg_crps

ARMS = make_arms(60, random_state=0)
KINDS = {
    "int": lambda seed: seed,
    "numpy int": np.int64,
    "RandomState": np.random.RandomState,
    "Generator": np.random.default_rng,
}


def short(estimator, **params):
    est = small(estimator(matcher="energy", autoencoder="identity", **params))
    est.set_params(matcher__max_steps=5)
    if estimator is LSDMRegressor:  # which would compare encoders
        est.set_params(condition_encoder="flatten")
    return est


REGRESSOR = short(LSDMRegressor, random_state=0).fit(ARMS.X, ARMS.y)
GENERATOR = short(LSDMGenerator, random_state=0).fit(ARMS.y)


def fit_and_draw(random_state):
    return short(LSDMRegressor, random_state=random_state).fit(ARMS.X, ARMS.y).predict(ARMS.X)


def fit_and_draw_unconditional(random_state):
    model = short(LSDMGenerator, random_state=random_state).fit(ARMS.y)
    return model.sample(5, random_state=0)


TAKERS = {
    "LSDMRegressor.sample": lambda r: REGRESSOR.sample(ARMS.X, random_state=r),
    "LSDMRegressor.sample_latent": lambda r: REGRESSOR.sample_latent(ARMS.X, random_state=r),
    "LSDMGenerator.sample": lambda r: GENERATOR.sample(5, random_state=r),
    "sample": lambda r: sklsdm.sample(REGRESSOR, ARMS.X, random_state=r),
    "scorer": lambda r: neg_crps(REGRESSOR, ARMS.X, ARMS.y, random_state=r),
    "LSDMRegressor.fit": fit_and_draw,
    "LSDMGenerator.fit": fit_and_draw_unconditional,
    "make_arms": lambda r: make_arms(5, random_state=r).y,
    "make_eight_gaussians": lambda r: make_eight_gaussians(5, random_state=r).y,
    "Problem.sample": lambda r: ARMS.sample(ARMS.X, random_state=r),
    "sliced_wasserstein": lambda r: sliced_wasserstein(ARMS.X, ARMS.y, random_state=r),
    "as_generator": lambda r: as_generator(r).random(),
    "draw_seed": draw_seed,
}
ALL_TAKERS = pytest.mark.parametrize("taker", TAKERS.values(), ids=TAKERS)


@ALL_TAKERS
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_equal_seeds_give_equal_results(taker, kind):
    first = taker(kind(3))
    assert_array_equal(taker(kind(3)), first)
    assert np.any(taker(kind(4)) != first)


@ALL_TAKERS
@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_a_state_moves_on_from_call_to_call(taker, kind):
    state = kind(3)
    assert np.any(taker(state) != taker(state))


@ALL_TAKERS
def test_none_is_fresh_and_leaves_the_global_state_alone(taker):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert np.any(taker(None) != taker(None))
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@ALL_TAKERS
@pytest.mark.parametrize(
    "junk", ["seven", 1.0, True, [1, 2], np.random, np.random.SeedSequence(0), np.random.PCG64(0)]
)
def test_anything_else_is_refused_by_name(taker, junk):
    message = (
        r"(?s)random_state must be an integer, a numpy\.random\.RandomState, a "
        rf"numpy\.random\.Generator or None, got .*\({type(junk).__name__}\)"
    )
    with pytest.raises(TypeError, match=message):
        taker(junk)


@ALL_TAKERS
@pytest.mark.parametrize("seed", [-1, 2**32])
def test_an_integer_out_of_range_is_refused(taker, seed):
    with pytest.raises(ValueError, match=rf"random_state must be between 0 and .*got {seed}\."):
        taker(seed)


def test_an_integer_is_the_seed_itself():
    assert draw_seed(7) == draw_seed(np.uint32(7)) == 7
    assert draw_seed(2**32 - 1) == 2**32 - 1
    assert as_generator(7).random() == np.random.default_rng(7).random()


def test_a_generator_is_used_itself():
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng


def test_a_clone_starts_from_the_generator_as_it_was():
    model = short(LSDMRegressor, random_state=np.random.default_rng(0))
    copy = clone(model)
    first = model.fit(ARMS.X, ARMS.y).predict(ARMS.X)
    assert_array_equal(copy.fit(ARMS.X, ARMS.y).predict(ARMS.X), first)
    assert np.any(model.fit(ARMS.X, ARMS.y).predict(ARMS.X) != first)


# ------------------------------------------------------------------ global states stay as they are
def test_unpickling_moves_no_global_random_state():
    """A stochastic decoder is built anew before its state is loaded; nothing is drawn for that."""
    y = np.random.default_rng(0).normal(size=(60, 10))
    est = plain_regressor(3, EnergyMatcher(max_steps=2), autoencoder="dpa", random_state=0)
    est.set_params(autoencoder__max_epochs=1, autoencoder__widths=(8,))
    saved = pickle.dumps(est.fit(np.zeros((60, 1)), y))
    before = torch.get_rng_state()
    copy = pickle.loads(saved)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(
        copy.sample(np.zeros((2, 1)), 3, random_state=0),
        est.sample(np.zeros((2, 1)), 3, random_state=0),
    )

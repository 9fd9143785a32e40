"""Outputs that stand in one order in all responses: draws keep it."""

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal

import sklsdm
from sklsdm.inputs.orders import OrderedOutputs, find_orders
from sklsdm.inputs.responses import Responses

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 2))
PATHS = np.cumsum(RNG.normal(size=(200, 30)), axis=1) + 10 * X[:, [0]]
# As prices are written: the first, the highest, the lowest and the last of a day.
PRICES = np.c_[PATHS[:, 0], PATHS.max(axis=1), PATHS.min(axis=1), PATHS[:, -1]]
CURVES = np.cumsum(RNG.gamma(0.3, size=(200, 100)), axis=1)
ALL = np.arange(4)


def orders_of(rows):
    return [rule for rule in Responses(rows, None).format.rules if isinstance(rule, OrderedOutputs)]


def are_in_order(prices):
    first, highest, lowest, last = np.moveaxis(prices, -1, 0)
    return (lowest <= np.minimum(first, last)) & (np.maximum(first, last) <= highest)


def test_all_pairs_in_order_are_in_a_chain():
    (rule,) = orders_of(PRICES)
    assert {tuple(chain.tolist()) for chain in rule.chains} == {(2, 0, 1), (2, 3, 1)}
    drawn = rule.keep(torch.from_numpy(RNG.normal(size=(1000, 4)))).numpy()
    assert are_in_order(drawn).all()


@pytest.mark.parametrize("falls", [False, True])
def test_a_curve_that_never_falls_or_never_rises_is_one_chain(falls):
    curves = CURVES[:, ::-1] if falls else CURVES
    (rule,) = orders_of(curves)
    (chain,) = rule.chains
    assert_array_equal(chain, np.arange(100)[:: -1 if falls else 1])
    kept = rule.keep(torch.from_numpy(curves[:, RNG.permutation(100)].copy()))
    assert_array_equal(kept.numpy(), curves)


def test_what_is_in_order_stays_as_it_is():
    (rule,) = orders_of(PRICES)
    assert_array_equal(rule.keep(torch.from_numpy(PRICES)).numpy(), PRICES)


def test_orders_that_are_no_evidence_are_not_kept():
    noise = RNG.normal(size=(200, 3))
    assert find_orders(noise, np.arange(3)) == ()
    far = noise + [0.0, 20.0, 40.0]  # no draw would be in another order
    assert find_orders(far, np.arange(3)) == ()
    scaled = np.exp(noise[:, :2]) * [1.0, 1000.0]  # of other units, and so never in another order
    assert find_orders(scaled, np.arange(2)) == ()
    gains = np.where(RNG.random(200) < 0.5, 0.0, 20 + np.exp(noise[:, 0]))
    losses = np.where(gains == 0, -9.0, noise[:, 1])  # only the repeated values are in order
    assert orders_of(np.c_[losses, gains]) == []
    broken = PRICES.copy()
    broken[7, 1] = broken[7, 0] - 1  # "highest" is below "first" once
    assert (2, 0, 1) not in {
        tuple(chain.tolist()) for rule in orders_of(broken) for chain in rule.chains
    }


def test_orders_beside_frequent_values_are_kept():
    dry = RNG.random(200) < 0.3
    rain = np.where(dry[:, None], 0.0, np.sort(RNG.gamma(1.0, size=(200, 2)), axis=1))
    (rule,) = orders_of(rain)
    assert_array_equal(rule.chains, [[0, 1]])


def test_outputs_of_few_values_and_sums_are_in_no_chain():
    parts = RNG.gamma(0.5, size=(200, 2))
    flags = RNG.integers(0, 2, size=(200, 1))
    assert orders_of(np.c_[parts, parts.sum(axis=1)]) == []  # a sum is computed from its parts
    assert orders_of(np.c_[flags, flags + RNG.integers(0, 3, size=(200, 1)), PATHS[:, 0]]) == []


def test_draws_keep_orders_and_files_do_too(tmp_path):
    est = plain_regressor(matcher="mdn", random_state=0).set_params(matcher__max_steps=50)
    est.fit(X, PRICES)
    drawn = est.sample(X[:50], 40, random_state=1)
    assert are_in_order(drawn).all()
    free = sklsdm.LSDMRegressor(**est.get_params(deep=False)).set_params(exact_values=False)
    assert not are_in_order(free.fit(X, PRICES).sample(X[:50], 40, random_state=1)).all()
    sklsdm.save(est, tmp_path / "model")
    loaded = sklsdm.load(tmp_path / "model")
    assert_array_equal(loaded.sample(X[:50], 40, random_state=1), drawn)


def test_a_further_fit_keeps_the_chains_that_still_hold():
    (rule,) = orders_of(PRICES)
    late = PRICES.copy()
    late[0, 3] = late[0, 1] + 1
    narrowed = rule.narrowed_to([late])
    assert [chain.tolist() for chain in narrowed.chains] == [[2, 0, 1]]
    assert rule.narrowed_to([-PRICES]) is None

"""Draws keep rules that all responses follow: sums, rankings, totals, known combinations."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import sklsdm
from sklsdm import LSDMGenerator
from sklsdm.inputs.finding_rules import find_rules
from sklsdm.inputs.implied_values import ImpliedValues, find_implied_values
from sklsdm.inputs.repeated import find_repeated
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.rules import (
    CommonTotal,
    ConstantPixels,
    KnownCombinations,
    LinearRelations,
    NaturalEnds,
    SameValues,
    WholeNumbers,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(400, 2))
LOGITS = X @ RANDOM.normal(size=(2, 4)) + RANDOM.normal(size=(400, 4))
PARTS = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
SOME_ZERO = np.where(PARTS < 0.1, 0.0, PARTS)
SOME_ZERO /= SOME_ZERO.sum(axis=1, keepdims=True)
ONE_HOT = np.eye(4)[LOGITS.argmax(axis=1)]


COSTS = np.exp(LOGITS[:, :2] / 2)
BALANCE = np.c_[COSTS[:, 0], COSTS.sum(axis=1), COSTS[:, 1]]  # profit, revenue, cost
COUNTS = RANDOM.poisson(3 * COSTS)
TOTAL = np.c_[COUNTS, COUNTS.sum(axis=1)]
RANKS = LOGITS.argsort(axis=1).argsort(axis=1) + 1.0


SHOP = LOGITS.argmax(axis=1)
PLACES = np.array([[0.0, 3.0], [1.0, 1.0], [2.5, 0.0], [2.5, 2.0]])[SHOP]  # where shops are
SALES = 10 * SHOP + RANDOM.normal(size=400)


CLAIMS = RANDOM.poisson(np.exp(X[:, 0] - 0.5))
AMOUNT = np.where(CLAIMS > 0, 50 * CLAIMS * np.exp(0.5 * RANDOM.normal(size=400)), 0.0)
POINT = RANDOM.random(400) < 1 / (1 + np.exp(2 - X[:, 1]))
WITH_POINT = np.where(POINT[:, None], [0.3, -0.2, 5.0], LOGITS[:, :3])


def rules_of(rows):
    return find_rules(np.asarray(rows, float), find_repeated(np.asarray(rows, float)))


def rule_of(rows):
    (found,) = rules_of(rows)
    return found


@pytest.mark.parametrize(
    "rows",
    [
        PARTS,
        100 * SOME_ZERO,
        PARTS.astype(np.float32),
        np.c_[PARTS, np.zeros(400)],
        np.c_[PARTS[:, :3] + 1e-17, 1 - PARTS[:, :3].sum(axis=1) - 1e-17],
        np.c_[PARTS[:200, :2], 1 - PARTS[:200, :2].sum(axis=1), np.full(200, -1e-17)],
    ],
)
def test_parts_have_a_total(rows):
    found = rule_of(rows)
    assert isinstance(found, CommonTotal)
    assert_allclose(found.value, rows[0].sum(), rtol=1e-6)


@pytest.mark.parametrize("rows", [3 * ONE_HOT, RANKS, RANKS**2])
def test_rows_have_the_same_values(rows):
    found = rule_of(rows)
    assert isinstance(found, SameValues)
    assert_array_equal(found.values, np.sort(rows[0])[::-1])


@pytest.mark.parametrize(
    ("rows", "followers"),
    [
        (BALANCE, [1]),  # of three, that which varies most
        (BALANCE.astype(np.float32), [1]),
        (100 + 1e4 * BALANCE, [1]),
        (TOTAL, [2]),
        (np.c_[TOTAL, LOGITS[:, 0], 1 - 2 * LOGITS[:, 0]], [2, 4]),
        (PARTS - PARTS.mean(axis=0), [int(PARTS.std(axis=0).argmax())]),
        (np.c_[LOGITS, LOGITS[:, 1]], [4]),  # a column twice
        (np.c_[32 + 1.8 * LOGITS[:, 0], LOGITS[:, 0]], [0]),
    ],
)
def test_outputs_that_follow_from_others_are_found(rows, followers):
    found = rule_of(rows)
    assert isinstance(found, LinearRelations)
    assert sorted(found.followers.tolist()) == followers
    kept = found.keep(torch.from_numpy(np.asarray(rows, float)))
    assert_allclose(kept, rows, rtol=1e-5, atol=1e-5 * rows.std())


def test_coefficients_are_round_where_they_can_be():
    values = RANDOM.normal(size=(5, 3))
    kept = rule_of(BALANCE).keep(torch.from_numpy(values)).numpy()
    assert_array_equal(kept[:, 1], values[:, 0] + values[:, 2])


# Six answers from 1 to 5 by one trait, of which opposite ones may not occur together.
ANSWERS = (LOGITS[:, :1] + 0.8 * RANDOM.normal(size=(400, 6))).round().clip(-2, 2) + 3
VISITS = RANDOM.poisson(2, 400)


@pytest.mark.parametrize(
    "rows",
    [
        LOGITS,
        PARTS[:, :3],
        PARTS[:19],
        np.round(20 * PARTS) @ np.eye(4) + [5, 0, 0, 0],
        np.c_[COUNTS, RANDOM.poisson(3, 400)],
        RANDOM.integers(2, size=(400, 2)),  # all combinations occur
        RANDOM.integers(20, size=(400, 2)),  # some do not by chance
        ANSWERS,
        np.c_[VISITS + RANDOM.poisson(2, 400) > 4, VISITS],
        PLACES[:19],
        (LOGITS @ RANDOM.normal(size=(4, 30)))[:80],  # few rows
        np.c_[BALANCE[:, 0] + 1e-3 * LOGITS[:, 3], COSTS],  # nearly
        np.ones((300, 1)),
        np.zeros((300, 2)),
        np.c_[1e6 + LOGITS[:, 0], PARTS[:, 0]],  # large numbers that vary little
        np.c_[1.7e9 + 16000 * PARTS[:, 0], 30 * PARTS[:, 1]],
        PARTS * (1 + 1e-4 * RANDOM.random((400, 1))),
    ],
)
def test_others_have_none(rows):
    assert rules_of(rows) == ()


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        (PLACES, [[0, 1]]),
        (np.c_[PLACES, LOGITS], [[0, 1]]),
        (np.c_[LOGITS[:, 0], PLACES[:, 1], COUNTS, PLACES[:, 0]], [[1, 4]]),
        (np.c_[ONE_HOT, ONE_HOT[::-1]], [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (ONE_HOT + 2 * ONE_HOT[:, [3, 0, 1, 2]], [[0, 1, 2, 3]]),  # a third of the orders
        (np.c_[SHOP, ONE_HOT, ONE_HOT @ [5.0, 5.0, 9.0, 7.5]], [[0, 1, 2, 3, 4, 5]]),
    ],
)
def test_known_combinations_are_found(rows, groups):
    found = rules_of(rows)
    assert all(isinstance(each, KnownCombinations) for each in found)
    assert [sorted(each.columns.tolist()) for each in found] == groups
    kept = torch.from_numpy(rows.astype(float))
    noisy = kept + 0.05 * torch.from_numpy(RANDOM.normal(size=rows.shape)) * kept.std(dim=0)
    for each in found:
        assert each.holds_for(rows)
        assert_array_equal(each.keep(kept), kept)
        assert_array_equal(each.keep(noisy)[:, each.columns], kept[:, each.columns])
        others = np.setdiff1d(np.arange(rows.shape[1]), each.columns)
        assert_array_equal(each.keep(noisy)[:, others], noisy[:, others])


def test_an_output_that_goes_with_the_combination_helps_to_tell_it():
    alone = rule_of(np.c_[PLACES, LOGITS[:, 0]])
    beside = rule_of(np.c_[PLACES, SALES])
    assert alone.judged.tolist() == [0, 1]
    assert beside.judged.tolist() == [0, 1, 2]
    between = torch.tensor([[2.5, 1.1, 20.0], [2.5, 0.9, 30.0]], dtype=torch.float64)
    assert alone.keep(between)[:, 1].tolist() == [2.0, 0.0]
    assert beside.keep(between)[:, 1].tolist() == [0.0, 2.0]


def test_a_known_combination_stays_whatever_goes_with_it():
    """Sales of another place may be rare, but they are the place's own spread."""
    found = rule_of(np.c_[PLACES, SALES])
    rows = torch.from_numpy(np.c_[PLACES, SALES[::-1]])
    assert_array_equal(found.keep(rows), rows)


def test_a_constant_beside_them_changes_nothing():
    found = rule_of(np.c_[PLACES, np.full(400, 0.1) + 1e-17 * SHOP, np.full(400, 7.0)])
    assert found.judged.tolist() == [0, 1]
    assert np.isfinite(found.centres).all()


def test_a_hundredth_of_the_responses_may_have_another_combination():
    rows = np.tile(PLACES, (3, 1))
    found = rule_of(rows)
    rows[::101] += 0.5
    assert found.holds_for(rows)
    assert len(rule_of(rows).rows) == 8
    rows[::90] += 0.25
    assert not found.holds_for(rows)


def test_a_total_of_combined_outputs_still_holds():
    rows = np.c_[PLACES, LOGITS[:, :2], LOGITS[:, :2].sum(axis=1)]
    first, second = rules_of(rows)
    assert isinstance(first, KnownCombinations)
    assert isinstance(second, LinearRelations)
    draws = fitted(rows).sample(X, random_state=0)[:, 0]
    assert {tuple(row) for row in draws[:, :2]} <= {tuple(row) for row in PLACES}
    assert_allclose(draws[:, 2:4].sum(axis=1), draws[:, 4], atol=1e-4)


def fitted(y, max_steps=100, **params):
    est = plain_regressor(matcher="mdn", random_state=0, **params)
    return est.set_params(matcher__max_steps=max_steps).fit(X, y)


@pytest.mark.parametrize(
    ("y", "y_range"),
    [
        *[(y, y_range) for y in (PARTS, SOME_ZERO) for y_range in (None, (0, 1), (0, None))],
        (SOME_ZERO.astype(np.float32), (0, 1)),
    ],
)
def test_draws_keep_the_total(y, y_range):
    est = fitted(y, y_range=y_range)
    draws = est.sample(X, 10, random_state=0)
    assert draws.dtype == y.dtype
    assert_allclose(draws.sum(axis=-1), 1, rtol=1e-5)
    assert draws.min() >= 0
    assert abs((draws == 0).mean() - (y == 0).mean()) < 0.1
    assert_allclose(est.reconstruct(y), y, atol=1e-5)


def test_draws_of_one_hot_rows_are_one_hot():
    est = fitted(ONE_HOT)
    draws = est.sample(X, 10, random_state=0)
    assert_array_equal(np.sort(draws, axis=-1), np.broadcast_to([0, 0, 0, 1], draws.shape))
    assert_allclose(draws.mean(axis=(0, 1)), ONE_HOT.mean(axis=0), atol=0.06)
    assert_array_equal(est.reconstruct(ONE_HOT), ONE_HOT)
    rare = np.eye(4)[np.minimum(LOGITS.argmax(axis=1), 1 + (np.arange(400) % 12 == 0))]
    rare = rare[:, :3]
    drawn = fitted(rare).sample(X, 10, random_state=0).mean(axis=(0, 1))
    assert_allclose(drawn, rare.mean(axis=0), atol=0.06)


def has_total(responses):
    return any(isinstance(rule, CommonTotal) for rule in responses.format.rules)


def whole_parts(n_steps):
    """Parts of so many steps, with the last one as what the others leave."""
    others = np.floor(n_steps * PARTS[:, :3])
    return np.c_[others, n_steps - others.sum(axis=1)]


PERCENTS = whole_parts(100)


@pytest.mark.parametrize("y", [PERCENTS, 5 * whole_parts(20), whole_parts(1000) / 1000])
def test_draws_of_whole_parts_are_whole_and_keep_the_total(y):
    est = fitted(y)
    draws = est.sample(X, 10, random_state=0).reshape(-1, 4)
    step = np.diff(np.unique(y)).min()
    assert_allclose(draws.sum(axis=1), y[0].sum(), rtol=1e-9)
    assert_allclose(draws / step, np.rint(draws / step), atol=1e-6)
    assert draws.min() >= 0
    assert_array_equal(est.reconstruct(y), y)


def test_parts_that_are_rounded_each_by_itself_are_so_in_draws():
    y = (100 * PARTS).round(1)
    assert len(np.unique(y.sum(axis=1).round(1))) > 2
    (rule,) = [each for each in rules_of(y) if isinstance(each, CommonTotal)]
    assert (rule.n_steps, rule.most_off) == (1000, 2)
    assert_allclose(rule.value, 100)
    draws = fitted(y).sample(X, 10, random_state=0).reshape(-1, 4)
    assert draws.min() >= 0
    assert_allclose(draws, draws.round(1), atol=1e-6)
    assert np.abs(draws.sum(axis=1) - 100).max() < 0.21
    assert rule.narrowed_to([y, 100 * PARTS]) is None
    assert not any(isinstance(each, CommonTotal) for each in rules_of(y[:, :3]))
    (of_whole,) = rules_of((100 * PARTS).round())
    assert of_whole == CommonTotal(100.0, n_steps=100, most_off=2)


def test_the_largest_remainders_are_rounded_up():
    parts = torch.tensor([[29.6, 30.3, 40.1], [0.0, 0.4, 0.6], [-5.0, 2.0, 1.0]])
    kept = CommonTotal(100.0, n_steps=100).keep(parts)
    assert_array_equal(kept, [[30, 30, 40], [0, 40, 60], [0, 67, 33]])
    assert_array_equal(CommonTotal(100.0, n_steps=20).keep(parts)[2], [0, 65, 35])


def test_steps_are_given_up_where_other_parts_have_none():
    (rule,) = [each for each in rules_of(PERCENTS) if isinstance(each, CommonTotal)]
    assert rule.n_steps == 100
    assert rule.narrowed_to([PERCENTS, 100 * PARTS]) == CommonTotal(100.0)
    assert rule.narrowed_to([PERCENTS, 99 * PARTS]) is None


def test_without_exact_values_or_with_another_range_they_do_not():
    free = fitted(PARTS, exact_values=False).sample(X, random_state=0)
    assert free.min() < 0
    assert not has_total(Responses(PARTS, None, y_range=(0.0, 0.999)))
    assert not has_total(Responses(PARTS, 1.1 * PARTS))
    assert Responses(PARTS.reshape(-1, 2, 2), None).format.rules == ()
    assert has_total(Responses(PARTS, PARTS[:30]))


def test_every_row_is_asked():
    rows = np.tile(PARTS, (300, 1))
    assert has_total(Responses(rows, None))
    rows[77_777] *= 2
    assert not has_total(Responses(rows, None))


@pytest.mark.parametrize("other", [100 * ONE_HOT, PARTS], ids=["other values", "not one-hot"])
def test_a_further_fit_refuses_another_rule(other):
    est = fitted(ONE_HOT, warm_start=True).fit(X, ONE_HOT[::-1])
    before = est.sample(X[:5], random_state=0)
    with pytest.raises(ValueError, match="had the values 1, 0, 0, 0 in some order in the fit"):
        est.fit(X, other)
    assert_array_equal(est.sample(X[:5], random_state=0), before)


def test_a_further_fit_refuses_new_combinations():
    est = fitted(PLACES, warm_start=True).fit(X, PLACES[::-1])
    with pytest.raises(
        ValueError, match=r"had one of 4 combinations of values in columns \[0, 1\]"
    ):
        est.fit(X, np.c_[PLACES[:, 0], PLACES[::-1, 1]])


def test_a_value_that_fills_a_wide_interval_keeps_it():
    """Many zeros, beside which another output is 0 too."""
    amount = np.where(X[:, 0] > -1, 0.0, SHOP + 1.0)
    rows = np.c_[amount, np.where(amount == 0, 0.0, 2.0)]
    form = Responses(rows, None).format
    assert isinstance(form.rules[0], KnownCombinations)
    assert [each.start for each in form.repeated] == [0, 1]
    draws = fitted(rows).sample(X, 5, random_state=0)
    assert form.rules[0].holds_for(draws.reshape(-1, 2))
    assert abs((draws[..., 0] == 0).mean() - (amount == 0).mean()) < 0.12


def test_where_no_part_is_positive_the_largest_has_all():
    below = torch.tensor([[-3.0, -1.0, -2.0, -4.0]])
    assert_array_equal(CommonTotal(1.0).keep(below), [[0, 1, 0, 0]])
    form = Responses(PARTS, None).format
    found = form.restore(torch.from_numpy(form.standardiser.forward(below.numpy())))
    assert_allclose(found.sum(axis=1), 1)
    assert found.min() > 0


@pytest.mark.parametrize("y", [SOME_ZERO, ONE_HOT, RANKS / 10, BALANCE, np.c_[PLACES, SALES]])
def test_saved_and_exported_draws_are_the_same(y, tmp_path):
    est = fitted(y)
    sklsdm.save(est, tmp_path / "model")
    loaded = sklsdm.load(tmp_path / "model")
    assert_array_equal(loaded.sample(X, random_state=0), est.sample(X, random_state=0))
    graph, _ = pytest.importorskip("sklsdm.onnx.export").graph_of(est)
    seeded = torch.Generator().manual_seed(0)
    noise = torch.randn(400, sum(est._sampler().noise_dims), generator=seeded)
    draws = graph(torch.from_numpy(X.astype(np.float32)), noise).detach().numpy()
    rules = est._response_format_.rules
    assert len(rules) > 0
    assert all(rule.holds_for(draws.astype(np.float64)) for rule in rules)
    assert abs((draws == 0).mean() - (y == 0).mean()) < 0.1


@pytest.mark.parametrize(
    "y", [BALANCE, TOTAL, RANKS, PLACES], ids=["balance", "total", "ranks", "places"]
)
def test_draws_follow_the_rule(y):
    est = fitted(y)
    draws = est.sample(X, 20, random_state=0)
    rows = draws.reshape(-1, draws.shape[-1])
    assert [rule.holds_for(rows) for rule in est._response_format_.rules] in ([True], [True, True])
    assert_allclose(draws.mean(axis=(0, 1)), y.mean(axis=0), atol=0.25 * y.std())
    assert_allclose(est.reconstruct(y), y, atol=1e-5)


def test_a_range_comes_before_a_relation():
    """Draws stay in their range, also where an output that follows from others would leave it."""
    est = fitted(TOTAL, y_range=(0, TOTAL.max()))
    draws = est.sample(X, 50, random_state=0)
    assert draws.max() <= TOTAL.max()
    assert ((draws[..., :2].sum(axis=-1) == draws[..., 2]) | (draws[..., 2] == TOTAL.max())).all()


def test_without_conditions():
    est = LSDMGenerator(matcher="mdn", random_state=0).set_params(matcher__max_steps=100)
    draws = est.fit(PARTS).sample(500, random_state=0)
    assert_allclose(draws.sum(axis=1), 1, rtol=1e-9)


def test_few_other_combinations_are_counted_over_all_blocks():
    """A last block of few rows, or few unpaired ones, does not decide."""
    known = np.repeat([[0.0, 0], [1, 2], [2, 1]], 200, axis=0)
    (rule,) = Responses(known, None).format.rules
    assert isinstance(rule, KnownCombinations)
    new = np.array([[0.0, 1]])
    assert rule.holds_in(iter([known, new]))
    assert not rule.holds_in(iter([known, new.repeat(7, axis=0)]))
    Responses(known, np.concatenate([new, known[:20]]), form=Responses(known, None).format)


# ------------------------------------------------------------------ implied values
def test_a_value_implies_those_of_other_outputs():
    (rule,) = rules_of(np.c_[AMOUNT, CLAIMS])
    assert isinstance(rule, ImpliedValues)
    assert (rule.leader, rule.value, rule.followers, rule.sides) == (1, 0, [0], [1])
    (rule,) = rules_of(WITH_POINT)
    assert_array_equal(rule.followers, [1, 2])
    assert_array_equal(rule.implied, [-0.2, 5.0])
    other = WITH_POINT[~POINT][:, 1:] - rule.implied
    assert_array_equal(
        rule.sides, np.where((other > 0).all(axis=0), 1.0, 0.0) - (other < 0).all(axis=0)
    )


def test_values_that_imply_others_by_chance_are_not_kept():
    zeros = np.where(RANDOM.random((400, 2)) < 0.93, 0.0, RANDOM.normal(size=(400, 2)))
    few = np.where(RANDOM.random(400) < 0.01, 1.0, zeros[:, 0])
    assert rules_of(np.c_[few, zeros[:, 1]]) == ()
    assert rules_of(np.c_[CLAIMS, LOGITS[:, 0]]) == ()


def test_an_implied_value_may_occur_elsewhere():
    rain = np.maximum(LOGITS[:, 0], 0.0)
    (rule,) = rules_of(np.c_[rain, np.where(rain > 0, np.maximum(LOGITS[:, 1], 0), 0.0)])
    assert (rule.leader, rule.followers, rule.occurs_elsewhere) == (0, [1], [True])


@pytest.mark.parametrize(
    ("y", "is_at"),
    [
        (np.c_[CLAIMS, AMOUNT], lambda y: np.stack([y[..., 0] == 0, y[..., 1] == 0])),
        (WITH_POINT, lambda y: np.moveaxis(y == [0.3, -0.2, 5.0], -1, 0)),
    ],
    ids=["no claim, no amount", "a whole row"],
)
def test_draws_have_implied_values_together(tmp_path, y, is_at):
    est = fitted(y, max_steps=500)
    draws = est.sample(X, 20, random_state=0)
    found = is_at(draws)
    assert (found == found[0]).all()
    assert abs(found[0].mean() - is_at(y)[0].mean()) < 0.05
    assert draws[..., 1].min() >= (0 if y.shape[1] == 2 else -np.inf)
    sklsdm.save(est, tmp_path / "model")
    again = sklsdm.load(tmp_path / "model").sample(X, 20, random_state=0)
    assert_array_equal(again, draws)


def test_draws_near_one_of_two_values_have_both_or_none():
    repeated = find_repeated(WITH_POINT[:, :2])
    (rule,) = find_implied_values(WITH_POINT[:, :2], repeated)
    middle = torch.tensor([middle for middle, _, _ in rule.intervals(repeated).values()])
    half = torch.tensor([upper - middle for middle, _, upper in rule.intervals(repeated).values()])
    away = torch.tensor([[0.9, -0.9], [0.9, 1.5], [-1.5, 0.2], [3.0, 3.0]])
    form = Responses(WITH_POINT[:, :2], None).format
    values = form.exact_values((middle + away * half).double())
    assert_allclose(values[0], [0.3, -0.2])
    assert not np.isin(values[1:], [0.3, -0.2]).any()
    expected = torch.tensor([[0.9, 0.5], [-0.5, 0.2], [2.0, 2.0]]) * half
    assert_allclose(values[1:] - torch.tensor([0.3, -0.2]), expected, atol=1e-6)
    wider = replace(rule, radius=2.0)
    assert_allclose(form.with_rules((wider,)).exact_values(middle + away * half)[1], [0.3, -0.2])


def test_as_many_draws_have_values_together_as_responses():
    y = WITH_POINT[:, :2]
    repeated = find_repeated(y)
    (rule,) = find_implied_values(y, repeated)
    form = Responses(y, None).format
    places = form.standardise(y) * form.standardiser.scale + form.standardiser.mean
    blurred = torch.from_numpy(places + 0.15 * RANDOM.normal(size=(400, 2)))
    found = rule.with_radius(blurred, y, repeated)
    assert found.radius > 1
    drawn = form.with_rules((found,)).exact_values(blurred)[:, 0]
    assert (drawn == 0.3).sum() == pytest.approx(POINT.sum(), abs=2)


# ------------------------------------------------------------------ ends and whole numbers
AMOUNTS = np.exp(0.7 * LOGITS)
SHARES = 1 / (1 + np.exp(-LOGITS[:, :2]))


def ends_of(rows):
    found = [r for r in Responses(rows, None).format.rules if isinstance(r, NaturalEnds)]
    return {(c, e, r.side) for r in found for c, e in zip(r.columns, r.ends, strict=True)}


def test_amounts_shares_and_percents_have_ends():
    assert ends_of(AMOUNTS[:, :1]) == {(0, 0.0, 1)}
    assert ends_of(-AMOUNTS[:, :1]) == {(0, 0.0, -1)}
    assert ends_of(np.c_[AMOUNTS[:, 0], SHARES, 100 * SHARES[:, 0] ** 2]) >= {
        (0, 0.0, 1),
        (1, 0.0, 1),
        (1, 1.0, -1),
        (2, 0.0, 1),
        (2, 1.0, -1),
        (3, 0.0, 1),
    }
    assert ends_of(100 * SHARES) == {(0, 0.0, 1), (0, 100.0, -1), (1, 0.0, 1), (1, 100.0, -1)}
    assert ends_of(LOGITS) == set()
    assert ends_of(10 + LOGITS) == set()  # far from 0: nothing would lie below it
    assert Responses(AMOUNTS, None, exact_values=False).format.rules == ()


CAPPED = np.minimum(AMOUNTS[:, 0], np.median(AMOUNTS[:, 0]))
NONE_OR_SHARE = np.where(X[:, 0] > 0.5, 0.0, SHARES[:, 0])
PADDED = np.where(X[:, 0] > 1.2, 0.5, SHARES[:, 0])


@pytest.mark.parametrize(
    ("column", "ends"),
    [
        (CAPPED, {(0, 0.0, 1)}),
        (NONE_OR_SHARE, {(0, 1.0, -1)}),
        (-100 * NONE_OR_SHARE, set()),
        (PADDED, {(0, 0.0, 1), (0, 1.0, -1)}),
        (NONE_OR_SHARE - 0.3, set()),
        (np.where(X[:, 0] > 0.5, 0.0, LOGITS[:, 0]), set()),
    ],
    ids=["capped", "zeros", "below", "inside", "negative", "zeros in between"],
)
def test_outputs_with_frequent_values_have_the_other_ends(column, ends):
    rows = np.c_[column, LOGITS[:, 0]]
    assert ends_of(rows) == ends
    form = Responses(rows, None).format
    assert len(form.repeated) == 1
    stretched = form.without_exact_values()
    kept = form.restore(torch.from_numpy(form.flatten(rows)))
    assert_allclose(kept, rows, atol=1e-6)
    far = torch.linspace(-9, 9, 200)[:, None].expand(-1, 2)
    drawn = form.restore(far)[:, 0]
    assert (drawn.diff() >= 0).all()
    for _, end, side in ends:
        assert (side * (drawn - end) >= 0).all()
        assert (side * (stretched.restore(far)[:, 0] - end)).min() < 0


def test_draws_beyond_an_end_are_moved_inside_in_their_order():
    form = Responses(SHARES, None).format
    draws = torch.linspace(-2, 3, 101, dtype=torch.float64)[:, None].expand(-1, 2)
    found = form.exact_values(draws)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found.diff(dim=0) >= 0).all()
    low, high = (torch.from_numpy(end) for end in (SHARES.min(axis=0), SHARES.max(axis=0)))
    inside = ((draws >= low) & (draws <= high)).all(dim=1)
    assert_array_equal(found[inside], draws[inside])
    assert len(found[:, 0].unique()) > 60


def test_amounts_are_drawn_as_amounts_and_whole_numbers_as_whole(tmp_path):
    y = np.c_[AMOUNTS[:, 0], np.rint(1000 * AMOUNTS[:, 1])]
    est = plain_regressor(matcher="mdn", random_state=0).set_params(matcher__max_steps=20)
    draws = est.fit(X, y).sample(X, 20, random_state=0)
    assert draws.min() >= 0
    assert_array_equal(draws[..., 1], np.rint(draws[..., 1]))
    plain = clone(est).set_params(exact_values=False).fit(X, y).sample(X, 20, random_state=0)
    assert (plain < 0).mean() > 0.01
    inside = plain[..., 0] >= y[:, 0].min()
    assert_array_equal(draws[inside][:, 0], plain[inside][:, 0])
    sklsdm.save(est, tmp_path / "model")
    again = sklsdm.load(tmp_path / "model").sample(X, 20, random_state=0)
    assert_array_equal(again, draws)


def test_parts_that_are_never_zero_are_not_drawn_as_zero():
    """Of parts with one sum: clipping alone draws zeros, of which logarithms are infinite."""
    parts = np.random.default_rng(0).gamma([3.0, 4.0, 5.0, 2.0], size=(300, 4))
    parts[::3, 3] = 0
    parts /= parts.sum(axis=1, keepdims=True)
    assert {(0, 0.0, 1), (1, 0.0, 1), (2, 0.0, 1)} == ends_of(parts)  # zeros of the fourth repeat
    est = plain_regressor(matcher="mdn", random_state=0).set_params(matcher__max_steps=20)
    draws = est.fit(parts[:, :1], parts).sample(parts[:, :1], 30, random_state=0)
    assert_allclose(draws.sum(axis=-1), 1)
    assert draws[..., :3].min() > 1e-4
    assert (draws[..., 3] == 0).mean() > 0.1


def test_all_points_of_a_curve_have_the_end_that_some_have():
    bell = np.sin(np.linspace(0.01, np.pi - 0.01, 40))
    y = bell * np.random.default_rng(0).gamma(4, 0.25, size=(100, 1))
    curves = y * np.exp(0.3 * np.random.default_rng(1).normal(size=y.shape)) + 2 * bell
    curves[:, :3] = np.maximum(curves[:, :3] - 0.2, 0)
    assert {column for column, *_ in ends_of(curves)} > set(range(5, 35))
    below = np.c_[curves, np.random.default_rng(2).normal(size=100)]
    assert {column for column, *_ in ends_of(below)}.isdisjoint(range(10, 30))


def test_whole_numbers_of_one_output_are_found():
    (rule,) = rules_of(np.rint(1000 * AMOUNTS[:, :1]))
    assert isinstance(rule, WholeNumbers)
    assert rules_of(1000 * AMOUNTS[:, :1]) == ()


def test_a_further_fit_frees_what_passes_an_end():
    est = plain_regressor(matcher="energy", random_state=0, warm_start=True)
    est.set_params(matcher__max_steps=5).fit(X, np.rint(1000 * AMOUNTS[:, :2]))
    assert len(est._response_format_.rules) == 2
    y = np.rint(1000 * AMOUNTS[:, :2])
    y[3] = -5.5, 3.5
    est.fit(X, y)
    (ends,) = est._response_format_.rules
    assert_array_equal(ends.columns, [1])


BY_OUTPUT = [
    ConstantPixels(np.array([True, False]), np.array([2.0, 0.0])),
    ImpliedValues(0, 2.0, np.array([1]), np.ones(1), np.zeros(1, bool), np.zeros(1)),
    NaturalEnds(np.array([0]), np.zeros(1), np.ones(1), 1),
    WholeNumbers(np.array([True, False])),
]


@pytest.mark.parametrize("rule", BY_OUTPUT, ids=lambda rule: type(rule).__name__)
def test_a_rule_that_no_output_follows_any_more_is_dropped(rule):
    follow = np.array([[2.0, 1.0], [2.0, 1.0]])
    broken = np.array([[2.0, 5.0], [-0.5, 5.0]])
    assert rule.holds_for(follow)
    assert rule.narrowed_to([follow, follow]).holds_for(follow)
    assert rule.narrowed_to([follow, broken]) is None


def test_a_further_fit_frees_what_is_implied_no_longer():
    y = np.c_[CLAIMS, AMOUNT, np.where(CLAIMS > 0, LOGITS[:, 0], -9.0)].astype(float)
    est = plain_regressor(matcher="energy", random_state=0, warm_start=True)
    est.set_params(matcher__max_steps=5).fit(X, y)
    (rule,) = est._response_format_.rules
    assert_array_equal(rule.followers, [1, 2])
    assert_array_equal(rule.sides, [1, 1])
    y[np.flatnonzero(CLAIMS == 0)[3], 2] = 0.5
    y[np.flatnonzero(CLAIMS > 0)[3], 1] = -5.0  # a refund
    est.fit(X, y)
    (rule,) = est._response_format_.rules
    assert_array_equal(rule.followers, [1])
    assert_array_equal(rule.sides, [0])

"""Flow matching: couplings and integration against closed forms, and what the flow draws."""

import itertools

import numpy as np
import pytest
import torch
from helpers import RUN, crescents_distance, matching_data, normal, plain_regressor

from sklsdm.functional.flow import SAMPLERS, couple, flow_residual, integrate
from sklsdm.functional.scores import energy_distance
from sklsdm.matchers import MatchingData
from sklsdm.matchers.distillation import draws_to_learn
from sklsdm.matchers.flow import FlowMatcher


# ------------------------------------------------------------------ formulas
def test_the_straight_path_leaves_no_residual():
    noise, target = normal(6, 3), normal(6, 3, seed=1)
    time = torch.rand((6, 1), generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def velocity(point, at):
        torch.testing.assert_close(point, (1 - time) * noise + time * target)
        return target - noise

    assert flow_residual(velocity, target, noise, time).abs().max() < 1e-12


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_order_of_the_samplers(sampler, order):
    """On u' = (A + t)·u, whose solution is exp(A + ½)·u at time 1."""
    matrix = torch.tensor([[0.3, -1.0], [0.8, -0.2]], dtype=torch.float64)
    start = normal(4, 2)
    exact = start @ torch.linalg.matrix_exp(matrix + 0.5 * torch.eye(2)).T

    def velocity(point, time):
        return point @ matrix.T + time * point

    coarse, fine = [
        (integrate(velocity, start, n, sampler) - exact).abs().max().item() for n in (20, 40)
    ]
    assert coarse < 0.2
    assert 0.8 * 2**order < coarse / fine < 1.25 * 2**order


def test_the_coupling_is_the_cheapest_assignment():
    noise, target, condition = normal(6, 2), normal(6, 2, seed=1), normal(6, 1, seed=2)
    for weight in (0.0, 0.7):

        def cost(order, weight=weight):
            rows = list(order)
            far = (condition - condition[rows]).square().mean(dim=1)
            return ((target - noise[rows]).square().sum(dim=1) + weight * far).sum().item()

        best = min(itertools.permutations(range(6)), key=cost)
        found = couple(noise, target, condition, weight, size=6)
        torch.testing.assert_close(found, noise[list(best)])


def test_noise_stays_within_its_block_and_its_condition():
    noise, target = normal(40, 2), normal(40, 2, seed=1)
    condition = (normal(40, 1, seed=2) > 0).double()
    found = couple(noise, target, condition, weight=1e4, size=16)
    origin = torch.cdist(found, noise).argmin(dim=1)
    assert sorted(origin.tolist()) == list(range(40))
    assert torch.equal(origin // 16, torch.arange(40) // 16)
    assert torch.equal(condition[origin], condition)
    assert (origin != torch.arange(40)).any()
    free = couple(noise, target, condition, weight=0.0, size=40)
    assert (condition[torch.cdist(free, noise).argmin(dim=1)] != condition).any()


def test_without_conditions_it_is_plain_transport():
    noise, target = normal(10, 2), normal(10, 2, seed=1)
    nothing, same = noise[:, :0], torch.zeros(10, 1, dtype=torch.float64)
    found = couple(noise, target, nothing, 5.0, size=10)
    torch.testing.assert_close(found, couple(noise, target, same, 5.0, size=10))


# ------------------------------------------------------------------ what is learnt
def two_modes(n, seed):
    """z = x + (±1, ±½) with even odds, plus a little noise; x ~ N(0, 1)."""
    x = normal(n, 1, seed=seed)
    sign = torch.where(normal(n, 1, seed=seed + 1) > 0, 1.0, -1.0)
    shift = sign * torch.tensor([1.0, 0.5], dtype=torch.float64)
    return x, x + shift + 0.15 * normal(n, 2, seed=seed + 2)


@pytest.fixture(scope="module")
def fits():
    data = matching_data(*two_modes(1500, 0), n_held=100)
    common = {"max_steps": 400, "n_iter_no_change": None}
    return {
        "conditional-ot": FlowMatcher(**common).fit(data, RUN),
        "independent": FlowMatcher("independent", **common).fit(data, RUN),
        "distilled": FlowMatcher(distil=True, **common).fit(data, RUN),
    }


def distance(matcher, n_steps=None, n=2500):
    """Energy distance between (x, draw) and (x, z) of fresh pairs."""
    condition, real = two_modes(n, 50)
    given, _ = two_modes(n, 60)
    before = matcher.n_steps
    matcher.n_steps = before if n_steps is None else n_steps
    draws = matcher.draw(given.float(), normal(n, 2, seed=70, dtype=torch.float32)).double()
    matcher.n_steps = before
    joint = torch.cat([given, draws], dim=1), torch.cat([condition, real], dim=1)
    return energy_distance(*joint).item()


@pytest.mark.slow
def test_draws_follow_the_law_given_the_condition(fits):
    same_law = energy_distance(*(torch.cat(two_modes(2500, s), dim=1) for s in (50, 90))).item()
    for matcher in fits.values():
        assert distance(matcher) < same_law + 0.02


@pytest.mark.slow
def test_coupled_paths_are_straight_enough_for_one_step(fits):
    straight, curved = distance(fits["conditional-ot"], 1), distance(fits["independent"], 1)
    assert straight < 0.6 * curved  # .51, and .44 to .54 after 1,500 steps


@pytest.mark.slow
def test_a_distilled_flow_draws_in_one_pass_near_the_draws_of_its_teacher(fits):
    student, teacher = fits["distilled"], fits["conditional-ot"]
    condition, _ = two_modes(1000, 80)
    noise = normal(1000, 2, seed=81, dtype=torch.float32)
    calls = []
    hook = student.network_.register_forward_hook(lambda *args: calls.append(1))
    found = student.draw(condition.float(), noise)
    hook.remove()
    assert len(calls) == 1
    taught = teacher.draw(condition.float(), noise)
    off = (found - taught).norm(dim=1).median()
    teacher.n_steps, kept = 1, teacher.n_steps
    teacher.sampler, sampler = "euler", teacher.sampler
    off_undistilled = (teacher.draw(condition.float(), noise) - taught).norm(dim=1).median()
    teacher.n_steps, teacher.sampler = kept, sampler
    assert off < 0.5 * off_undistilled
    assert "distil_train_loss" in student.history_
    assert student.history_["distil_train_loss"][-1] < student.history_["distil_train_loss"][0]


@pytest.mark.slow
def test_codes_without_conditions_teach_the_law_given_each():
    """Two crescents, 15 pairs each, and 1,000 points that do not say which they are of."""
    matcher = FlowMatcher(max_steps=300)
    without_codes = crescents_distance(matcher, with_codes=False)
    assert crescents_distance(matcher, with_codes=True) < 0.6 * without_codes


# ------------------------------------------------------------------ bad parameters
@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"n_steps": 0}, ValueError, r"matcher__n_steps must be at least 1, got 0"),
        ({"coupling": "ot"}, ValueError, r"matcher__coupling='ot'.*'conditional-ot'"),
        ({"coupling_weight": -1}, ValueError, r"matcher__coupling_weight must be at least 0"),
        ({"coupling_size": 1}, ValueError, r"matcher__coupling_size must be at least 2, got 1"),
        ({"sampler": "rk4"}, ValueError, r"matcher__sampler='rk4'.*'euler'.*'heun'.*'midpoint'"),
        ({"distil": "yes"}, TypeError, r"matcher__distil must be True or False, got 'yes'"),
    ],
)
def test_bad_parameters(params, kind, message):
    est = plain_regressor(matcher=FlowMatcher(**params))
    with pytest.raises(kind, match=message):
        est.fit(np.zeros((30, 1)), np.arange(30.0))


def test_residuals_to_learn_are_held_against_residuals(monkeypatch):
    """At 60 one is far off the codes, but not off the residuals, which reach as far as 3."""
    condition = torch.linspace(-1, 1, 200)[:, None]
    latent = condition + 0.1 * normal(200, 1).float()
    none = torch.empty((0, 1))
    learnt = []

    def noted(*args, **kwargs):
        learnt.append(draws_to_learn(*args, **kwargs))
        return learnt[0]

    monkeypatch.setattr("sklsdm.matchers.flow.draws_to_learn", noted)
    monkeypatch.setattr(FlowMatcher, "_residual", lambda self, x, noise: 60 + 0 * noise)
    matcher = FlowMatcher(max_steps=1, widths=(8,), distil=True)
    matcher.fit(MatchingData(condition, latent, none, none), RUN)
    assert (learnt[0].drawn == 60).all()
    assert len(learnt[0].drawn) > 0


@pytest.mark.parametrize("distil", [False, True])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_through_the_regressor(sampler, distil):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 1))
    y = X @ np.ones((1, 2)) + 0.1 * rng.normal(size=(60, 2))
    matcher = FlowMatcher(sampler=sampler, distil=distil, max_steps=20)
    est = plain_regressor(matcher=matcher, random_state=0).fit(X, y)
    draws = est.sample(X, 50, random_state=0)
    assert np.abs(draws.mean(axis=1) - X).mean() < 0.1  # the fit starts from least squares


def test_passes_are_told_before_the_fit():
    assert FlowMatcher(n_steps=5).n_passes == 10

"""Adversarial losses, penalties and critics against closed forms; the matcher's options."""

import math

import pytest
import torch
from helpers import (
    assert_draws_are_two_sided,
    plain_regressor,
    rows,
    slow_but,
    two_sided,
)
from torch import nn
from torch.testing import assert_close

from sklsdm.batches import PairBatch
from sklsdm.functional import critic_losses
from sklsdm.functional.penalties import flatness_penalty, gradient_penalty, input_gradient
from sklsdm.matchers import WGANMatcher
from sklsdm.matchers.adversarial import AdversarialObjective, View
from sklsdm.matchers.diffusion_start import StartingDiffusion
from sklsdm.modules import (
    Critic,
    Critics,
    GroupSort,
    GroupSortCritic,
    OrthonormalLinear,
    SlopePenalty,
    slope_penalty,
)


# ------------------------------------------------------------------ losses
def test_wasserstein_losses():
    real, drawn = torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0, 4.0], [2.0, 6.0]])
    assert critic_losses.wasserstein_critic_loss(real, drawn).item() == 3 - 2
    assert critic_losses.wasserstein_generator_loss(real, drawn).item() == -3


def test_relativistic_losses():
    real, drawn = rows(5, 1), rows(5, 3, seed=1)
    found = critic_losses.relativistic_critic_loss(real, drawn)
    assert_close(found, (1 + (drawn - real).exp()).log().mean())
    shift = 1000 * torch.arange(5.0)[:, None]  # what depends on x alone cancels
    assert_close(critic_losses.relativistic_critic_loss(real + shift, drawn + shift), found)
    swapped = critic_losses.relativistic_critic_loss(-real, -drawn)
    assert_close(critic_losses.relativistic_generator_loss(real, drawn), swapped)
    assert critic_losses.relativistic_critic_loss(real, real).item() == pytest.approx(math.log(2))
    far = critic_losses.relativistic_critic_loss(torch.zeros(1, 1), torch.full((1, 1), 500.0))
    assert far.item() == 500


# ------------------------------------------------------------------ penalties
@pytest.mark.parametrize("slope", [0.25, 3.0])
def test_penalties_of_a_linear_critic(slope):
    points = rows(7, 4).requires_grad_(True)
    direction = torch.tensor([0.6, 0.0, -0.8, 0.0])
    found = input_gradient(slope * points @ direction, points)
    two = gradient_penalty(found, one_sided=False)
    one = gradient_penalty(found, one_sided=True)
    assert two.item() == pytest.approx((slope - 1) ** 2, rel=1e-5)
    assert one.item() == pytest.approx(max(slope - 1, 0) ** 2, rel=1e-5, abs=1e-10)
    assert flatness_penalty(found).item() == pytest.approx(slope**2 / 2, rel=1e-5)


class Bowl(nn.Module):
    """f(x, z) = ‖z‖²/2 + 3·sum(x)·z₁: its slope in z is z + 3·sum(x)·e₁."""

    def features(self, condition):
        return condition

    def forward(self, features, latent):
        return self.mlp(torch.cat([features, latent], dim=1)).squeeze(-1)

    def mlp(self, points):
        x, z = points[:, :2].sum(dim=1), points[:, 2:]
        return (z.square().sum(dim=1) / 2 + 3 * x * z[:, 0])[:, None]


def slopes(features, latent, joint):
    total = features.sum(dim=1)
    in_z = latent + 3 * total[:, None] * torch.eye(latent.shape[1])[0]
    squared = in_z.square().sum(dim=1)
    return squared + 2 * (3 * latent[:, 0]).square() if joint else squared


@pytest.mark.parametrize("joint", [False, True])
def test_r1_and_r2(joint):
    features, real, drawn = rows(6, 2), rows(6, 3, seed=1), rows(6, 3, seed=2)
    penalty = SlopePenalty("flat", 0.4, joint)
    found = penalty(Bowl(), features, real, drawn, torch.zeros(6, 1))
    both = slopes(features, real, joint).mean() + slopes(features, drawn, joint).mean()
    assert_close(found, 0.4 / 2 * both)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", ["one-sided", "two-sided"])
def test_penalty_between_real_and_drawn(kind, joint):
    features, real, drawn = rows(6, 2), rows(6, 3, seed=1), rows(6, 3, seed=2)
    uniform = torch.linspace(0, 1, 6)[:, None]
    found = SlopePenalty(kind, 10.0, joint)(Bowl(), features, real, drawn, uniform)
    between = real + uniform * (drawn - real)
    excess = slopes(features, between, joint).sqrt() - 1
    if kind == "one-sided":
        excess = excess.clamp(min=0)
    assert_close(found, 10 * excess.square().mean())


@pytest.mark.parametrize("activation", ["leaky_relu", "relu", "silu"])
@pytest.mark.parametrize("widths", [(), (16,), (16, 12, 8)])
@pytest.mark.parametrize("shape", [(0, None), (3, None), (64, (1, 8, 8))])
def test_written_out_slopes_are_those_of_autograd(activation, widths, shape):
    """Values, and the gradients of a penalty on them, also those of a condition's convolutions."""
    n_columns, image_shape = shape
    random = torch.Generator().manual_seed(0)
    critic = Critic(n_columns, 4, widths, activation, image_shape, random).double()
    assert critic.mlp.is_piecewise_linear == (activation != "silu")
    condition, latent = rows(30, n_columns).double(), rows(30, 4, seed=1).double()

    def gradients(slopes):
        loss = gradient_penalty(slopes, one_sided=False) + flatness_penalty(slopes)
        return torch.autograd.grad(loss, list(critic.parameters()), allow_unused=True)

    found = critic.slopes(critic.features(condition), latent)
    points = latent.clone().requires_grad_(True)
    wanted = input_gradient(critic(critic.features(condition), points), points)
    assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert wanted.abs().max() > 0.01
    for ours, theirs in zip(gradients(found), gradients(wanted), strict=True):
        theirs = 0 if theirs is None else theirs  # no graph leads to it, or zeros do
        ours = 0 if ours is None else ours
        difference = torch.as_tensor(ours - theirs)
        assert_close(difference, torch.zeros_like(difference), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["wgan", "r3gan"])
def test_the_generator_sees_real_codes_only_where_its_loss_does(loss):
    matcher = WGANMatcher(loss=loss)
    matcher.settings_ = {"loss": loss, "gradient_penalty": 1.0, "image_critic": False}
    _, of_generator = matcher._losses()
    objective = AdversarialObjective(
        *matcher._losses(), matcher._penalty(), 0.0, 2, 0.0, matcher._is_relativistic()
    )
    critic = Critic(2, 3, (8,), generator=torch.Generator().manual_seed(0))
    features, real, drawn = rows(5, 2), rows(5, 3, seed=1), rows(10, 3, seed=2)
    repeated = features.repeat_interleave(2, dim=0)
    wanted = of_generator(critic(features, real)[:, None], critic(repeated, drawn).view(5, 2))
    assert_close(objective._against(View(critic, features, real, drawn)), wanted)


# ------------------------------------------------------------------ critics by construction
def train(layer, inputs, n_steps=20):
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for _ in range(n_steps):
        optimizer.zero_grad()
        layer(inputs).square().sum(dim=-1).sin().sum().backward()
        optimizer.step()


@pytest.mark.parametrize(("n_in", "n_out"), [(3, 8), (8, 3), (6, 6), (5, 1), (1, 5)])
def test_weights_stay_orthonormal(n_in, n_out):
    layer = OrthonormalLinear(n_in, n_out, torch.Generator().manual_seed(0))
    before = layer.weight().detach()
    train(layer, rows(20, n_in))
    weight = layer.weight().detach()
    assert weight.shape == (n_out, n_in)
    product = weight @ weight.T if n_out <= n_in else weight.T @ weight
    assert_close(product, torch.eye(min(n_in, n_out)), atol=1e-5, rtol=0)
    assert (weight - before).abs().max() > 0.01


def test_group_sort_permutes():
    found = GroupSort()(torch.tensor([[3.0, -1.0, 2.0, 5.0]]))
    assert found.tolist() == [[3.0, 5.0, 2.0, -1.0]]


@pytest.mark.parametrize("joint", [False, True])
def test_group_sort_critic_has_no_slope_above_one(joint):
    random = torch.Generator().manual_seed(0)
    critic = GroupSortCritic(2, 3, (16, 16), generator=random, joint=joint)
    features, latent = 3 * rows(200, 2), 3 * rows(200, 3, seed=1)
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        (critic(features, latent) * latent[:, 0].sin()).mean().backward()
        optimizer.step()
    points = torch.cat([features, latent], dim=1).requires_grad_(True)
    values = critic(points[:, :2], points[:, 2:])
    (gradient,) = torch.autograd.grad(values.sum(), points)
    steepest = gradient[:, 2:].norm(dim=1).max()
    assert 0.5 < steepest < 1 + 1e-5
    assert (gradient.norm(dim=1).max() < 1 + 1e-5) == joint


def test_group_sort_critic_finds_the_distance_of_two_laws():
    """W1 of a law and itself moved by μ is |μ|; the dual value of a critic never exceeds it."""
    shift = torch.tensor([1.2, -0.5])
    critic = GroupSortCritic(0, 2, (16, 16), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(critic.parameters(), lr=0.01)
    points, nothing = rows(500, 2), torch.empty(500, 0)
    for _ in range(150):
        optimizer.zero_grad()
        gap = critic(nothing, points + shift).mean() - critic(nothing, points).mean()
        (-gap).backward()
        optimizer.step()
    assert 0.97 * shift.norm() < gap < shift.norm() + 1e-4


# ------------------------------------------------------------------ the objective
class Line(nn.Module):
    """H(x, η) = η, so that draws are the noise."""

    def forward(self, condition, noise):
        return noise


def objective(n_draws, weight=0.0, unpaired_weight=0.0, energy_weight=0.0):
    return AdversarialObjective(
        critic_losses.wasserstein_critic_loss,
        critic_losses.wasserstein_generator_loss,
        SlopePenalty("one-sided", weight),
        unpaired_weight,
        n_draws,
        energy_weight,
    )


def batch(n_draws, other=None):
    noise = rows(5 * n_draws, 3, seed=3)
    return PairBatch(rows(5, 2), rows(5, 3, seed=1), noise, torch.full((5, 1), 0.5), other)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_critics_see_all_draws_of_a_condition(n_draws):
    part = batch(n_draws)
    critic = Critic(2, 3, (8,), generator=torch.Generator().manual_seed(0))
    repeated = part.condition.repeat_interleave(n_draws, dim=0)
    real, drawn = critic(part.condition, part.latent), critic(repeated, part.noise)
    players_ = Critics(critic, None)
    found = objective(n_draws).critic_loss(Line(), players_, part)
    assert_close(found, drawn.mean() - real.mean())
    assert_close(objective(n_draws).generator_loss(Line(), players_, part), -drawn.mean())


def test_marginal_critic_weighs_in():
    part = batch(1, other=rows(5, 3, seed=4))
    random = torch.Generator().manual_seed(0)
    joint, marginal = Critic(2, 3, (8,), generator=random), Critic(0, 3, (8,), generator=random)
    nothing = torch.empty(5, 0)
    alone = objective(1).generator_loss(Line(), Critics(joint, None), part)
    both = objective(1, unpaired_weight=0.3).generator_loss(Line(), Critics(joint, marginal), part)
    assert_close(both, alone - 0.3 * marginal(nothing, part.noise).mean())
    alone = objective(1).critic_loss(Line(), Critics(joint, None), part)
    both = objective(1).critic_loss(Line(), Critics(joint, marginal), part)
    gap = marginal(nothing, part.noise).mean() - marginal(nothing, part.other).mean()
    assert_close(both, alone + gap)


def test_the_energy_score_of_the_draws_weighs_in():
    """Of two draws a, b for a target t it is (‖a − t‖ + ‖b − t‖ − ‖a − b‖) / 2."""
    part = batch(2)
    critics = Critics(Critic(2, 3, (8,), generator=torch.Generator().manual_seed(0)), None)
    alone = objective(2).generator_loss(Line(), critics, part)
    both = objective(2, energy_weight=0.7).generator_loss(Line(), critics, part)
    first, second = part.noise[::2], part.noise[1::2]
    gaps = (first - part.latent, second - part.latent, first - second)
    near, far, apart = (gap.norm(dim=1) for gap in gaps)
    assert_close(both, alone + 0.7 * ((near + far - apart) / 2).mean())
    without, with_it = (
        objective(2, energy_weight=weight).critic_loss(Line(), critics, part)
        for weight in (0.0, 0.7)
    )
    assert_close(with_it, without, rtol=0, atol=0)


# ------------------------------------------------------------------ the matcher
OPTIONS = [
    {"loss": "wgan"},
    {"loss": "wgan", "penalty": "two-sided", "penalty_on": "joint", "n_draws": 2},
    {"loss": "r3gan", "gradient_penalty": 0.2},
    {"critic": "groupsort"},
    {"critic": "groupsort", "loss": "r3gan", "penalty_on": "joint"},
]


@pytest.mark.parametrize(
    "options", slow_but(OPTIONS[:1], OPTIONS), ids=lambda o: "-".join(map(str, o.values()))
)
def test_fitted_law(options):
    X, y = two_sided()
    matcher = WGANMatcher(max_steps=400, widths=(64, 64), critic_widths=(64, 64), **options)
    est = plain_regressor(matcher=matcher, random_state=0).fit(X, y)
    assert_draws_are_two_sided(est, X)


def test_group_sort_computes_no_penalty(monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("a penalty was computed")

    monkeypatch.setattr(slope_penalty, "gradient_penalty", never)
    monkeypatch.setattr(slope_penalty, "flatness_penalty", never)
    X, y = two_sided(60)
    for loss in ("wgan", "r3gan"):
        matcher = WGANMatcher(critic="groupsort", loss=loss, max_steps=3, start="linear")
        plain_regressor(matcher=matcher, random_state=0).fit(X, y)
        with pytest.raises(AssertionError, match="a penalty"):
            plain_regressor(matcher=WGANMatcher(loss=loss, max_steps=3, start="linear")).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "gan"}, "loss='gan' is unknown; choose one of 'auto', 'r3gan', 'wgan'"),
        ({"critic": "conv"}, "critic='conv' is unknown; choose one of 'groupsort', 'mlp'"),
        ({"critic": "groupsort", "critic_widths": (64, 33)}, r"even numbers .* got \(64, 33\)"),
        ({"critic": "groupsort", "critic_widths": ()}, "one or more even numbers"),
        ({"n_draws": 0}, "n_draws must be at least 1, got 0"),
        (
            {"n_draws": 1, "energy_weight": 2.5},
            r"matcher__n_draws must be at least 2 with matcher__energy_weight=2\.5",
        ),
        ({"lr": "fast"}, r"matcher__lr must be float > 0 or 'auto', got 'fast'"),
        ({"energy_weight": -1.0}, "energy_weight must be at least 0"),
    ],
)
def test_bad_options(options, message):
    X, y = two_sided(30)
    with pytest.raises(ValueError, match=message):
        plain_regressor(matcher=WGANMatcher(**options)).fit(X, y)


def test_uses_are_compared_by_the_diffusion_at_which_it_starts():
    """Short fits of a critic took "match" where it harmed: it only learnt faster."""
    found = WGANMatcher(max_steps=200, condition_noise=0.1).for_trials(2)
    assert isinstance(found, StartingDiffusion)
    assert (found.max_steps, found.condition_noise) == (600, 0.1)
    plain = WGANMatcher(start="linear")
    assert plain.for_trials(2) is plain
    narrow = WGANMatcher(noise_dim=1)  # too few for the diffusion's draws
    assert narrow.for_trials(2) is narrow

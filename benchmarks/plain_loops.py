"""Training steps of stage 1 and of every matcher as one writes them in torch by hand.

Each takes one of our nets, from which it has networks, optimizers and averaged parameters, and a
batch. The settings are the matchers' defaults, written out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklsdm.functional.divergences import DIVERGENCES, variational_bound
from sklsdm.functional.transport import import_pot

Step = Callable[[Any, Any], None]


def descend(optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


@torch.no_grad()
def average(net: Any) -> None:
    """The moving average of the parameters."""
    torch._foreach_lerp_(net.averaged_, list(net.module_.parameters()), 0.005)


def reconstruction_step(net: Any, batch: Any) -> None:
    """Stage 1."""
    (rows,) = batch
    descend(net.optimizer_, (net.module_(rows) - rows).square().mean())


def own_loss_step(net: Any, step: Any) -> None:
    """A matcher without a critic, by its own loss."""
    (batch,) = step
    descend(net.optimizer_, net.criterion_(net.module_, batch))
    average(net)


# ------------------------------------------------------------------ energy score
def energy_score(draws: Tensor, target: Tensor) -> Tensor:
    """Mean over rows, for draws (n, m, q) and targets (n, q)."""
    m = draws.shape[1]
    within = torch.cdist(draws, draws).sum(dim=(1, 2)) / (m * (m - 1))
    return ((draws - target[:, None]).norm(dim=2).mean(dim=1) - within / 2).mean()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    n, m = len(a), len(b)
    within = torch.cdist(a, a).sum() / (n * (n - 1)) + torch.cdist(b, b).sum() / (m * (m - 1))
    return 2 * torch.cdist(a, b).mean() - within


def energy_step(net: Any, step: Any) -> None:
    """Four draws for each pair."""
    (batch,) = step
    repeated = batch.condition.repeat_interleave(4, dim=0)
    draws = net.module_(repeated, batch.noise).view(len(batch.latent), 4, -1)
    loss = energy_score(draws, batch.latent)
    if batch.other is not None:
        weight = net.criterion_.unpaired_weight
        loss = loss + weight * energy_distance(draws[:, 0], batch.other)
    descend(net.optimizer_, loss)
    average(net)


# ------------------------------------------------------------------ critics
def squared_slopes(critic: Any, features: Tensor, points: Tensor) -> Tensor:
    points = points.requires_grad_(True)
    values = critic(features, points)
    (gradient,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    return gradient.square().sum(dim=1)


def wgan_critic_loss(
    critic: Any, features: Tensor, real: Tensor, drawn: Tensor, n_draws: int, uniform: Tensor
) -> Tensor:
    """Wasserstein's loss and the one-sided penalty."""
    repeated = features.repeat_interleave(n_draws, dim=0)
    values = critic(torch.cat([features, repeated]), torch.cat([real, drawn]))
    loss = values[len(real) :].mean() - values[: len(real)].mean()
    between = torch.lerp(real, drawn[::n_draws], uniform)
    excess = (squared_slopes(critic, features, between) + 1e-12).sqrt() - 1
    return loss + excess.clamp(min=0).square().mean()


def fgan_critic_loss(
    critic: Any, features: Tensor, real: Tensor, drawn: Tensor, n_draws: int, uniform: Tensor
) -> Tensor:
    """Minus the bound of the KL divergence, and R1 + R2 of weight 0.2."""
    values = critic(torch.cat([features, features]), torch.cat([real, drawn]))
    bound = variational_bound(values[: len(real)], values[len(real) :], DIVERGENCES["kl"])
    both = squared_slopes(critic, torch.cat([features] * 2), torch.cat([real, drawn]))
    return 0.2 * both.mean() - bound


def adversarial_step(
    net: Any, step: Any, critic_loss: Any, generator_loss: Any, n_draws: int, energy_weight: float
) -> None:
    """Steps of the critics, then one of the generator."""
    generator, critics = net.module_, net.critic_
    *critic_batches, last = step

    def draw(batch: Any) -> Tensor:
        return generator(batch.condition.repeat_interleave(n_draws, dim=0), batch.noise)

    def players(batch: Any) -> list[tuple[Any, Tensor, Tensor, float]]:
        found = [(critics.joint, batch.condition, batch.latent, 1.0)]
        if batch.other is not None:
            nothing = batch.condition[:, :0]
            found.append((critics.marginal, nothing, batch.other, net.criterion_.unpaired_weight))
        return found

    for batch in critic_batches:
        with torch.no_grad():
            drawn = draw(batch)
        losses = [
            critic_loss(critic, features, real, drawn, n_draws, batch.uniform)
            for critic, features, real, _ in players(batch)
        ]
        descend(net.critic_optimizer_, torch.stack(losses).sum())
    critics.requires_grad_(False)
    drawn = draw(last)
    loss = drawn.new_zeros(())
    for critic, features, _, weight in players(last):
        repeated = features.repeat_interleave(n_draws, dim=0)
        loss = loss + weight * generator_loss(critic(repeated, drawn))
    if energy_weight:
        draws = drawn.view(len(last.latent), n_draws, -1)
        loss = loss + energy_weight * energy_score(draws, last.latent)
    descend(net.optimizer_, loss)
    critics.requires_grad_(True)
    average(net)


def wgan_step(net: Any, step: Any) -> None:
    """One critic step, two draws for each pair, the energy score with weight 2.5."""
    adversarial_step(net, step, wgan_critic_loss, lambda values: -values.mean(), 2, 2.5)


def fgan_step(net: Any, step: Any) -> None:
    """One critic step, one draw for each pair."""

    def generator_loss(values: Tensor) -> Tensor:
        return -DIVERGENCES["kl"].conjugate_at_value(values).mean()

    adversarial_step(net, step, fgan_critic_loss, generator_loss, 1, 0.0)


# ------------------------------------------------------------------ Sinkhorn
def entropic_cost(a: Tensor, b: Tensor, epsilon: float) -> Tensor:
    """By POT, with its test of convergence."""
    cost = torch.cdist(a, b).square()
    exact = cost.detach().double()
    weights = [exact.new_full((n,), 1 / n) for n in cost.shape]
    method = "sinkhorn" if exact.max() < 300 * epsilon else "sinkhorn_log"
    plan = (
        import_pot()
        .sinkhorn(
            *weights,
            exact,
            epsilon,
            method=method,
            numItermax=200,
            stopThr=1e-3 / len(b) ** 0.5,
            warn=False,
        )
        .to(cost.dtype)
    )
    return (plan * cost).sum() + epsilon * torch.xlogy(plan, plan * plan.numel()).sum()


def sinkhorn_step(net: Any, step: Any) -> None:
    """One draw for each pair."""
    (batch,) = step
    settings = net.criterion_

    def divergence(real: Tensor, drawn: Tensor) -> Tensor:
        own = entropic_cost(drawn, drawn, settings.epsilon)
        return entropic_cost(real, drawn, settings.epsilon) - own / 2

    drawn = net.module_(batch.condition, batch.noise)
    scaled = settings.scale * batch.condition
    real = torch.cat([scaled, batch.latent], dim=1)
    loss = divergence(real, torch.cat([scaled, drawn], dim=1))
    if batch.other is not None:
        loss = loss + settings.unpaired_weight * divergence(batch.other, drawn)
    descend(net.optimizer_, loss)
    average(net)


STEPS: dict[str, Step] = {
    "wgan": wgan_step,
    "fgan": fgan_step,
    "energy": energy_step,
    "sinkhorn": sinkhorn_step,
    "diffusion": own_loss_step,
    "flow": own_loss_step,
    "transport": own_loss_step,
    "mdn": own_loss_step,
}

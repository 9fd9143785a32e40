"""Distillation: a network learns by regression to draw in one pass what a sampler draws in many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.blocks import rows_per_block
from sklsdm.matchers.base import MatchingData, Plan
from sklsdm.noise import standard_normal
from sklsdm.run import Stage

DISTILLATION = Stage("stage 2 (distillation)", "distillation.state", "Lower the matcher's lr")

# Draws of the sampler that are learnt: so many at least; fewer where codes are images. Of more
# pairs than `_MOST_PAIRS`, only so many teach.
_DRAWS, _DRAWS_OF_IMAGES, _MOST_PAIRS = 1 << 15, 1 << 12, 1 << 17

# One-step draws (b, k) of a module for conditions (b, p) and noise (b, d).
OneStep = Callable[[Any, Tensor, Tensor], Tensor]


class DistillationObjective:
    """Mean squared difference of one-step draws from the sampler's, for the same noise.

    The columns of `batch.latent` are noise (b, `noise_dim`) and the sampler's draws, side by side.
    """

    def __init__(self, draw: OneStep, noise_dim: int) -> None:
        self.draw = draw
        self.noise_dim = noise_dim

    def __call__(self, module: Any, batch: PairBatch) -> Tensor:
        noise, drawn = batch.latent[:, : self.noise_dim], batch.latent[:, self.noise_dim :]
        return (self.draw(module, batch.condition, noise) - drawn).square().mean()


@torch.no_grad()
def draws_to_learn(
    sample: Callable[[Tensor, Tensor], Tensor],
    data: MatchingData,
    plan: Plan,
    *,
    numbers_per_draw: int,
    batch_size: int,
) -> PairBatches:
    """Batches of the pairs' conditions, noise and what `sample(condition, noise)` gives for them.

    `numbers_per_draw` bounds how many draws are made at once.
    """
    n_draws = _DRAWS if data.code_shape is None else _DRAWS_OF_IMAGES
    condition = data.condition
    if len(condition) > _MOST_PAIRS:
        order = torch.randperm(len(condition), generator=plan.random, device=plan.random.device)
        condition = condition[order[:_MOST_PAIRS]]
    condition = condition.repeat(-(-n_draws // len(condition)), 1)
    shape = (len(condition), plan.noise_dim)
    noise = standard_normal(shape, plan.random)
    size = rows_per_block(2 * numbers_per_draw)
    parts = zip(condition.split(size), noise.split(size), strict=True)
    drawn = torch.cat([sample(*part) for part in parts])
    return PairBatches(
        condition,
        torch.cat([noise, drawn], dim=1),
        None,
        batch_size=batch_size,
        n_steps=plan.epoch_steps,
        noise_dim=0,
        random=plan.random,
    )

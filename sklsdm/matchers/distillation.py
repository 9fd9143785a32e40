"""Distillation: a network learns by regression to draw in one pass what a sampler draws in many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor

from sklsdm.batches import PairBatch
from sklsdm.blocks import rows_per_block
from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.nets import FARTHEST, distances_of, range_of
from sklsdm.noise import standard_normal

# Draws of the sampler that are learnt: one for each pair, but no more than the steps can see.
_DRAWS = 1 << 15  # of fewer pairs so many all the same,
_DRAWS_OF_IMAGES = 1 << 12  # or so many, where codes are images
_MOST_DRAWS = 1 << 17
_MOST_NUMBERS = 1 << 26  # in the draws and their noise

# One-step draws (b, k) of a module for conditions (b, p) and noise (b, d).
OneStep = Callable[[Any, Tensor, Tensor], Tensor]


class DistillationObjective:
    """Mean squared difference of one-step draws, `batch.latent`, from the sampler's."""

    recordable: ClassVar[bool] = True

    def __init__(self, draw: OneStep) -> None:
        self.draw = draw

    def __call__(self, module: Any, batch: PairBatch) -> Tensor:
        drawn = self.draw(module, batch.condition, batch.noise)
        return (drawn - batch.latent).square().mean()


class TaughtBatches:
    """Batches of draws with their noise and conditions, taken with replacement.

    Of draw i the condition is row `rows[i]` of `condition`, so that conditions, which may be
    images, are not repeated.
    """

    def __init__(
        self,
        condition: Tensor,
        rows: Tensor,
        noise: Tensor,
        drawn: Tensor,
        *,
        batch_size: int,
        n_steps: int,
        random: torch.Generator,
    ) -> None:
        self.condition = condition
        self.rows, self.noise, self.drawn = rows, noise, drawn
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.random = random

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[list[PairBatch]]:
        shape = (self.n_steps, self.batch_size)
        device = self.random.device
        for chosen in torch.randint(
            len(self.rows), shape, generator=self.random, device=device
        ).unbind():
            condition = self.condition[self.rows[chosen]]
            uniform = condition.new_empty((len(chosen), 0))
            yield [PairBatch(condition, self.drawn[chosen], self.noise[chosen], uniform, None)]


@torch.no_grad()
def draws_to_learn(
    sample: Callable[[Tensor, Tensor], Tensor],
    data: MatchingData,
    plan: Plan,
    *,
    numbers_per_draw: int,
    batch_size: int,
) -> TaughtBatches:
    """What `sample(condition, noise)` gives for the pairs' conditions, as batches.

    `data.latent` are rows of the kind that it gives: codes, or their residuals. Draws that are not
    finite, or far off these, are left out. `numbers_per_draw` bounds how many draws are made at
    once.
    """
    n_pairs = len(data.condition)
    seen = plan.n_epochs * plan.epoch_steps * batch_size
    most = min(_MOST_DRAWS, seen, _MOST_NUMBERS // (plan.noise_dim + data.latent_dim))
    fewest = _DRAWS if data.code_shape is None else _DRAWS_OF_IMAGES
    n_draws = max(batch_size, min(max(n_pairs, fewest), most))
    order = torch.randperm(n_pairs, generator=plan.random, device=plan.random.device)
    rows = order.repeat(-(-n_draws // n_pairs))[:n_draws]
    noise = standard_normal((n_draws, plan.noise_dim), plan.random)
    size = rows_per_block(2 * numbers_per_draw + data.condition_dim)
    parts = zip(rows.split(size), noise.split(size), strict=True)
    drawn = torch.cat([sample(data.condition[which], each) for which, each in parts])
    near = distances_of(drawn, *range_of(data.latent)) <= FARTHEST  # NaN is not
    return TaughtBatches(
        data.condition,
        rows[near],
        noise[near],
        drawn[near],
        batch_size=batch_size,
        n_steps=plan.epoch_steps,
        random=plan.random,
    )

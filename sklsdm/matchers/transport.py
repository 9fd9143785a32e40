"""Matching by optimal transport from a Gaussian start: minimisation only, no critic (LSOT)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.functional.transport import exact_plan, import_pot, squared_cost
from sklsdm.matchers.base import BaseMatcher, MatchingData, Plan, start_linear
from sklsdm.modules import PotentialGenerator
from sklsdm.nets import SingleNet

COSTS = ("quadratic", "l1")
SOLVERS = ("auto", "dual", "map")
MOST_DUAL_DIMS = 4
import os
POW=float(os.environ.get("POW","2"))


class TransportBatch(NamedTuple):
    """Rows of an exact plan: starts, where they go, and the price of being there."""

    condition: Tensor  # (b, p)
    noise: Tensor  # (b, k)
    start: Tensor  # (b, k)
    goal: Tensor  # (b, k): the code that the plan sends the start to
    potential: Tensor  # (b,): dual potential at the start, its sign such that its slope leads on
    other: Tensor | None  # (b, k): codes of all responses, where stage 2 uses them


class TransportBatches:
    def __init__(
        self,
        data: MatchingData,
        codes: Tensor | None,
        module: Any,
        *,
        cost: str,
        condition_weight: float,
        plan_size: int,
        batch_size: int,
        n_steps: int,
        random: torch.Generator,
    ) -> None:
        self.data = data
        self.codes = codes
        self.module = module
        self.cost = cost
        self.condition_weight = condition_weight
        self.plan_size = plan_size
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.random = random

    def __len__(self) -> int:
        return self.n_steps

    def _indices(self, n_rows: int, *shape: int) -> Tensor:
        return torch.randint(n_rows, shape, generator=self.random, device=self.random.device)

    def _cost(self, condition, start, x, z):
        if self.cost == "l1":
            cost = torch.cdist(start, z, p=1.0)
        else:
            cost = squared_cost(start, z) / 2
        if condition.shape[1] and self.condition_weight > 0:
            apart = squared_cost(condition, x)
            cost = cost + self.condition_weight / 2 * apart
        return cost

    def _starts(self, n):
        i = self._indices(len(self.data.condition), n)
        condition = self.data.condition[i]
        noise = torch.randn((n, self.data.latent.shape[1]), generator=self.random, device=self.random.device)
        with torch.no_grad():
            start = self.module.start(condition, noise)
        return condition, noise, start

    def _plan(self):
        n_pairs = len(self.data.latent)
        if n_pairs > self.plan_size or not hasattr(self, 'target'):
            target = torch.randperm(n_pairs, generator=self.random, device=self.random.device)
            self.target = target[: self.plan_size]
            self.v, self.count = 0., 0
        if self.count < 8:
            c, _, s = self._starts(self.plan_size)
            v, _ = exact_plan(self._cost(c, s, self.data.condition[self.target], self.data.latent[self.target]))
            self.v = (self.v * self.count + v) / (self.count + 1)
            self.count += 1

    def __iter__(self) -> Iterator[TransportBatch]:
        self._plan()
        x, z = self.data.condition[self.target], self.data.latent[self.target]
        for step in range(self.n_steps):
            other = None
            if self.codes is not None:
                other = self.codes[self._indices(len(self.codes), self.batch_size)]
            c, noise, s = self._starts(self.batch_size)
            u, j = (self._cost(c, s, x, z) - self.v).min(dim=1)
            yield TransportBatch(c, noise, s, z[j], -u, other)


class DualObjective:
    def __init__(self, slope_weight: float, unpaired_weight: float) -> None:
        self.slope_weight = slope_weight
        self.unpaired_weight = unpaired_weight

    def __call__(self, module: Any, batch: TransportBatch) -> Tensor:
        value, slope, lengths = module.potential(batch.condition, batch.start)
        move = batch.goal - batch.start
        loss = (value - value.mean() - (batch.potential - batch.potential.mean())).square().mean()
        wanted = move if lengths is None else move.sign()
        loss = loss + self.slope_weight * (slope - wanted).square().sum(dim=1).pow(POW/2).mean()
        if lengths is not None:
            loss = loss + (lengths - move.abs()).square().sum(dim=1).mean()
        if batch.other is not None and self.unpaired_weight > 0:
            drawn = batch.start + (slope if lengths is None else slope * lengths)
            loss = loss + self.unpaired_weight * transport_loss(drawn, batch.other)
        return loss


class MapObjective:
    def __init__(self, cost: str, unpaired_weight: float) -> None:
        self.cost = cost
        self.unpaired_weight = unpaired_weight

    def __call__(self, module: nn.Module, batch: TransportBatch) -> Tensor:
        drawn = module(batch.condition, batch.noise)
        miss = drawn - batch.goal
        miss = miss.abs() if self.cost == "l1" else miss.square()
        loss = miss.sum(dim=1).pow(POW/2).mean()
        if batch.other is not None and self.unpaired_weight > 0:
            loss = loss + self.unpaired_weight * transport_loss(drawn, batch.other)
        return loss


def transport_loss(drawn: Tensor, codes: Tensor) -> Tensor:
    _, column = exact_plan(squared_cost(drawn.detach(), codes))
    return (drawn - codes[column]).square().sum(dim=1).mean()


class TransportMatcher(BaseMatcher):
    def __init__(
        self,
        solver: str = "auto",
        cost: str = "quadratic",
        *,
        condition_weight: float | str = 4.,
        plan_size: int = 2048,
        slope_weight: float = 1.0,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "silu",
        noise_dim: int | str = "auto",
        max_steps: int = 3000,
        lr: float = 2e-3,
        batch_size: int = 256,
        ema_decay: float = 0.995,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.solver = solver
        self.cost = cost
        self.condition_weight = condition_weight
        self.plan_size = plan_size
        self.slope_weight = slope_weight
        self.widths = widths
        self.activation = activation
        self.noise_dim = noise_dim
        self.max_steps = max_steps
        self.lr = lr
        self.batch_size = batch_size
        self.ema_decay = ema_decay
        self.unpaired_weight = unpaired_weight
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        import_pot()

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim

    def _solver(self, latent_dim: int) -> str:
        if self.solver == "auto":
            return "dual" if latent_dim <= MOST_DUAL_DIMS else "map"
        return self.solver

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        if self._solver(data.latent.shape[1]) == "map":
            return super()._module(data, plan)
        generator = PotentialGenerator(
            data.condition.shape[1],
            data.latent.shape[1],
            plan.noise_dim,
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.generator(10, torch.device("cpu")),
            with_lengths=self.cost == "l1",
        )
        start_linear(generator, data.condition, data.latent)
        return generator

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> SingleNet:
        module.mean.requires_grad_(False)
        module.spread.requires_grad_(False)
        if self._solver(data.latent.shape[1]) == "map":
            objective = partial(MapObjective, self.cost, plan.unpaired_weight)
        else:
            objective = partial(DualObjective, self.slope_weight, plan.unpaired_weight)
        return SingleNet(module, criterion=objective, **self._net_settings(plan))

    def _batches(self, data: MatchingData, plan: Plan) -> TransportBatches:
        module=self._module(data,plan)
        return TransportBatches(
            data,
            data.codes if plan.unpaired_weight > 0 else None,
            module,
            cost=self.cost,
            condition_weight=self.condition_weight,
            plan_size=self.plan_size,
            batch_size=plan.batch_size,
            n_steps=plan.epoch_steps,
            random=plan.random,
        )

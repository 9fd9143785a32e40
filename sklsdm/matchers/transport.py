"""Matching by optimal transport from a Gaussian start (LSOT): a minimisation, no critic."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sklsdm.batches import PairBatch
from sklsdm.functional.assignment import assign
from sklsdm.functional.transport import (
    condition_scale,
    exact_plan,
    import_pot,
    squared_cost,
    transport_cost,
)
from sklsdm.matchers.base import BaseMatcher, Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.generators import started_generator
from sklsdm.modules import ConditionalGenerator, PotentialGenerator
from sklsdm.nets import HeldOutScore
from sklsdm.noise import standard_normal
from sklsdm.parameters import at_least, integer, one_of, parameter
from sklsdm.run import Stream

_MAX_DUAL_DIMS = 4  # latent dimensions up to which solver="auto" is "dual"
_N_PLANS = 4  # exact plans in all, shared out among the blocks of codes
_CODES_PER_START = 4  # most codes in a block, for each start of a plan


class CodePotentials:
    """Dual potentials of the pairs' codes, which send any start to a code, its goal.

    The pairs are split at random into blocks of at most 4 `plan_size`. Exact plans transport
    `plan_size` fresh starts (x, s) each to the codes of a block; the block's potential v is the
    mean of their dual potentials. The goal of a start is the code z of a block with the least
    cost − v(z), and that minimum is the start's own potential.
    """

    def __init__(
        self,
        module: Any,
        data: MatchingData,
        cost: str,
        condition_weight: float,
        plan_size: int,
        random: torch.Generator,
    ) -> None:
        self.cost = cost
        # The mean squared distance of two codes is 2 per dimension, that of scaled conditions 2.
        self.scale = (
            condition_scale(data.condition) * (condition_weight * data.latent.shape[1]) ** 0.5
        )
        n_pairs, most = len(data.latent), _CODES_PER_START * plan_size
        # Without conditions one block has codes enough. With several, whose potentials differ a
        # little, the borders between modes would be blurred.
        n_blocks = -(-n_pairs // most) if data.condition.shape[1] else 1
        size = min(n_pairs // n_blocks, most)
        order = torch.randperm(n_pairs, generator=random, device=random.device)
        blocks = order[: n_blocks * size].view(n_blocks, size)
        self.condition, self.latent = data.condition[blocks], data.latent[blocks]
        self.potential = torch.stack(
            [
                self._solve(block, module, plan_size, max(1, _N_PLANS // n_blocks), random)
                for block in range(n_blocks)
            ]
        )

    def _solve(
        self, block: int, module: Any, n_starts: int, n_plans: int, random: torch.Generator
    ) -> Tensor:
        """The potential of a block's codes, averaged over `n_plans` exact plans."""
        condition, latent = self.condition[block], self.latent[block]
        total = latent.new_zeros(len(latent))
        for _ in range(n_plans):
            rows = torch.randint(len(latent), (n_starts,), generator=random, device=random.device)
            noise = standard_normal((n_starts, latent.shape[1]), random)
            with torch.no_grad():
                start = module.start(condition[rows], noise)
            cost = self._cost(condition[rows], start, condition, latent)
            total += exact_plan(cost)[0]
        return total / n_plans

    def _cost(self, condition: Tensor, start: Tensor, to: Tensor, latent: Tensor) -> Tensor:
        """Costs from starts (b, k) at `condition` to codes (m, k) at the conditions `to`."""
        cost = transport_cost(start, latent, self.cost)
        if condition.shape[1] and self.scale > 0:
            cost = cost + squared_cost(self.scale * condition, self.scale * to) / 2
        return cost

    @torch.no_grad()
    def goals(self, condition: Tensor, start: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
        """Goals (b, k) of the starts, and the starts' potentials (b,).

        `choice`, a number in [0, 1), picks the block.
        """
        block = (choice * len(self.latent)).long().view(1)
        # An index of one entry stays on the device, while a single number would be read from it.
        latent, seen, potentials = (
            part.index_select(0, block)[0] for part in (self.latent, self.condition, self.potential)
        )
        cost = self._cost(condition, start, seen, latent)
        potential, column = (cost - potentials).min(dim=1)
        return latent[column], potential


class TransportObjective:
    """Mean squared distance of draws from the goals of their starts.

    Added to it, times `unpaired_weight`, is that of draws from codes of the batch to which they
    are assigned.
    """

    recordable: ClassVar[bool] = True

    def __init__(self, potentials: CodePotentials, unpaired_weight: float) -> None:
        self.potentials = potentials
        self.unpaired_weight = unpaired_weight

    def __call__(self, module: Any, batch: PairBatch) -> Tensor:
        start = module.start(batch.condition, batch.noise)
        goal, potential = self.potentials.goals(batch.condition, start, batch.uniform[0, 0])
        loss, drawn = self._loss(module, batch, start, goal, potential)
        if batch.other is not None:
            partner = assign(squared_cost(drawn.detach(), batch.other))
            distance = (drawn - batch.other[partner]).square().sum(dim=1).mean()
            loss = loss + self.unpaired_weight * distance
        return loss

    def _loss(
        self, module: Any, batch: PairBatch, start: Tensor, goal: Tensor, potential: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean squared distance from the goals, and the draws (b, k)."""
        drawn = module(batch.condition, batch.noise)
        return (drawn - goal).square().sum(dim=1).mean(), drawn


class DualObjective(TransportObjective):
    """Regression of φ on minus the dual potential, and of its slope on the way to the goal.

    φ and its slope belong to a :class:`PotentialGenerator`.
    """

    def __init__(
        self, potentials: CodePotentials, unpaired_weight: float, slope_weight: float
    ) -> None:
        super().__init__(potentials, unpaired_weight)
        self.slope_weight = slope_weight

    def _loss(
        self, module: Any, batch: PairBatch, start: Tensor, goal: Tensor, potential: Tensor
    ) -> tuple[Tensor, Tensor]:
        value, slope, lengths = module.potential(batch.condition, start)
        way = goal - start
        # The variance, since potentials are known up to a constant.
        loss = (value + potential).var(correction=0)
        wanted = way if lengths is None else way.sign()
        loss = loss + self.slope_weight * (slope - wanted).square().sum(dim=1).mean()
        if lengths is None:
            return loss, start + slope
        loss = loss + (lengths - way.abs()).square().sum(dim=1).mean()
        return loss, start + slope * lengths


class TransportMatcher(BaseMatcher):
    r"""Match by optimal transport to the codes from N(Ax + b, Σ), their ridge regression on x.

    .. math:: \max_{u, v} E u(X, S) + E v(X, Z) \quad \text{with} \quad
        u(x, s) + v(x', z) \le c(s, z) + \frac{w}{2} \|x - x'\|^2,

    is solved exactly on large batches (POT); S is a start drawn from that law and Z a pair's code.
    The potential v of the codes then gives any start s its goal and its own potential u. With the
    quadratic cost :math:`c = \frac12 \|s - z\|^2` the map is :math:`H = s + ∇_s φ(x, s)`, where a
    network φ(x, s) is regressed on −u. Codes without a condition add the mean squared distance
    of a batch's draws from as many of all codes, along an exact assignment that ignores x.

    When to use: without conditions (latent space optimal transport), or with few columns in X.
    Separate modes stay separate and keep their shares. In many dimensions with few pairs the plan
    leads to the pairs' codes themselves: use another matcher there. Cost: up to four plans of
    2,048 starts (about a second each), then steps without a critic. With the solver "dual" a draw
    takes a backward pass.

    References
    ----------
    Liu, Guo, Lei, Shu, Yau, Samaras & Gu 2018, "Latent space optimal transport for generative
    models" (arXiv 1809.05964); Liu, Gu & Samaras 2019, "Wasserstein GAN with quadratic transport
    cost" (ICCV) for the map read off a regressed potential; An, Guo, Lei, Luo, Yau & Gu 2020,
    "AE-OT" (ICLR) for semi-discrete potentials in latent space.
    """

    solver: str = parameter(
        default="auto",
        rule=one_of("auto", "dual", "map"),
        doc="""How the map is learnt. "dual" regresses the potential and takes its slope as the map.
        "map" regresses a generator on the goals: no longer the slope of a potential, but it works
        in more dimensions. "auto" is "dual" up to four latent dimensions, "map" above.""",
        kw_only=False,
    )
    cost: str = parameter(
        default="quadratic",
        rule=one_of("quadratic", "l1"),
        doc=r"""Cost c. With "l1", :math:`\|s - z\|_1`, the potential's slope gives only the
        direction in every dimension, and further outputs of the network give the lengths.""",
        kw_only=False,
    )
    condition_weight: float = parameter(
        default=5.0,
        rule=at_least(0.0),
        doc="""Weight of the condition in the cost: with 1, two random conditions are as far apart
        as two random codes. A larger weight separates conditions better but narrows the draws, a
        smaller one blurs what depends on x.""",
    )
    plan_size: int = parameter(
        default=2048,
        rule=integer(1),
        doc="""Starts in one plan, which goes to at most four times as many codes. Time grows with
        the square or faster.""",
    )
    slope_weight: float = parameter(
        default=0.3,
        rule=at_least(0.0),
        doc="""Weight of the regression of the potential's slope, beside that of its value. Used by
        the solver "dual".""",
    )
    lr: float = 5e-3

    def _check_further(self, prefix: str) -> None:
        import_pot()

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim  # a start is a point of the latent space

    def _is_dual(self, latent_dim: int) -> bool:
        """Whether the map is the slope of a potential."""
        if self.solver == "auto":
            return latent_dim <= _MAX_DUAL_DIMS
        return self.solver == "dual"

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        if not self._is_dual(data.latent_dim):
            return started_generator(ConditionalGenerator, self, data, plan)
        with_lengths = self.cost == "l1"
        return started_generator(PotentialGenerator, self, data, plan, with_lengths=with_lengths)

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> TransportObjective:
        for path in (module.mean, module.spread):  # the potentials hold for these starts only
            path.requires_grad_(False)
        potentials = CodePotentials(
            module.to(plan.run.device),
            data,
            self.cost,
            self.condition_weight,
            self.plan_size,
            plan.run.stream(Stream.TRANSPORT_PLANS),
        )
        if self._is_dual(data.latent_dim):
            return DualObjective(potentials, plan.unpaired_weight, self.slope_weight)
        return TransportObjective(potentials, plan.unpaired_weight)

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        return super()._held_out(objective, data, plan) if data.condition_dim else None

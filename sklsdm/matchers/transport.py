"""Matching by optimal transport from a Gaussian start: minimisation only, no critic (LSOT)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sklsdm.batches import PairBatch
from sklsdm.functional.transport import (
    condition_scale,
    exact_plan,
    import_pot,
    squared_cost,
    transport_cost,
)
from sklsdm.matchers.base import BaseMatcher, MatchingData, Plan, start_linear
from sklsdm.modules import ConditionalGenerator, PotentialGenerator
from sklsdm.nets import HeldOutScore
from sklsdm.parameters import at_least, integer, one_of, parameter
from sklsdm.run import Stream

MOST_DUAL_DIMS = 4
N_PLANS = 4
CODES_PER_START = 4


class CodePotentials:
    """Dual potentials of the pairs' codes, which tell any start where it goes.

    The pairs are dealt into blocks of at most `plan_size`. For each block the potential v of its
    codes is the mean over exact plans between that many fresh starts (x_i, s) and the block: a
    dual solution to all of those starts together. A start then goes to the code of the block
    with the least c − v, and that minimum is its own potential.
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
        # Squared distances of codes average 2 per dimension, those of scaled conditions 2 in all.
        self.scale = (
            condition_scale(data.condition) * (condition_weight * data.latent.shape[1]) ** 0.5
        )
        n_pairs, most = len(data.latent), CODES_PER_START * plan_size
        # Potentials of two blocks differ a little. Without conditions, where that would blur the
        # borders between modes, codes beyond one block are not needed.
        n_blocks = -(-n_pairs // most) if data.condition.shape[1] else 1
        size = min(n_pairs // n_blocks, most)
        order = torch.randperm(n_pairs, generator=random, device=random.device)
        blocks = order[: n_blocks * size].view(n_blocks, size)
        self.condition, self.latent = data.condition[blocks], data.latent[blocks]
        self.potential = torch.stack(
            [
                self._solve(block, module, plan_size, max(1, N_PLANS // n_blocks), random)
                for block in range(n_blocks)
            ]
        )

    def _solve(
        self, block: int, module: Any, n_starts: int, n_plans: int, random: torch.Generator
    ) -> Tensor:
        condition, latent = self.condition[block], self.latent[block]
        total = latent.new_zeros(len(latent))
        for _ in range(n_plans):
            rows = torch.randint(len(latent), (n_starts,), generator=random, device=random.device)
            noise = torch.randn((n_starts, latent.shape[1]), generator=random, device=random.device)
            with torch.no_grad():
                start = module.start(condition[rows], noise)
            cost = self._cost(condition[rows], start, condition, latent)
            total += exact_plan(cost)[0]
        return total / n_plans

    def _cost(self, condition: Tensor, start: Tensor, to: Tensor, latent: Tensor) -> Tensor:
        cost = transport_cost(start, latent, self.cost)
        if condition.shape[1] and self.scale > 0:
            cost = cost + squared_cost(self.scale * condition, self.scale * to) / 2
        return cost

    @torch.no_grad()
    def goals(self, condition: Tensor, start: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (b, k) that the starts go to, and the starts' potentials (b,).

        `choice`, a number in [0, 1), picks the block.
        """
        block = (choice * len(self.latent)).long()
        latent = self.latent[block]
        cost = self._cost(condition, start, self.condition[block], latent)
        potential, column = (cost - self.potential[block]).min(dim=1)
        return latent[column], potential


class TransportObjective:
    """What a map loses that misses the goals of its starts, or the law of all codes."""

    def __init__(self, potentials: CodePotentials, unpaired_weight: float) -> None:
        self.potentials = potentials
        self.unpaired_weight = unpaired_weight

    def __call__(self, module: Any, batch: PairBatch) -> Tensor:
        start = module.start(batch.condition, batch.noise)
        goal, price = self.potentials.goals(batch.condition, start, batch.mix[0, 0])
        loss, drawn = self._loss(module, batch, start, goal, price)
        if batch.other is not None:
            _, column = exact_plan(squared_cost(drawn.detach(), batch.other))
            miss = (drawn - batch.other[column]).square().sum(dim=1).mean()
            loss = loss + self.unpaired_weight * miss
        return loss

    def _loss(
        self, module: Any, batch: PairBatch, start: Tensor, goal: Tensor, price: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mean squared miss, and the draws (b, k)."""
        drawn = module(batch.condition, batch.noise)
        return (drawn - goal).square().sum(dim=1).mean(), drawn


class DualObjective(TransportObjective):
    """Regression of a potential and its slope on the dual potential and the way to the goal."""

    def __init__(
        self, potentials: CodePotentials, unpaired_weight: float, slope_weight: float
    ) -> None:
        super().__init__(potentials, unpaired_weight)
        self.slope_weight = slope_weight

    def _loss(
        self, module: Any, batch: PairBatch, start: Tensor, goal: Tensor, price: Tensor
    ) -> tuple[Tensor, Tensor]:
        value, slope, lengths = module.potential(batch.condition, start)
        way = goal - start
        # The slope of minus the dual potential leads on; potentials are known up to a constant.
        loss = (value + price).var(correction=0)
        wanted = way if lengths is None else way.sign()
        loss = loss + self.slope_weight * (slope - wanted).square().sum(dim=1).mean()
        if lengths is None:
            return loss, start + slope
        loss = loss + (lengths - way.abs()).square().sum(dim=1).mean()
        return loss, start + slope * lengths


class TransportMatcher(BaseMatcher):
    r"""Match by optimal transport from N(Ax + b, Σ), the ridge regression of the codes, to them.

    .. math:: \max_{u, v} E u(X, S) + E v(X, Z) \quad \text{with} \quad
        u(x, s) + v(x', z) \le c(s, z) + \frac{w}{2} \|x - x'\|^2,

    is solved exactly on large batches (POT); the potentials of the codes then tell any start s
    its goal and its own potential. With the quadratic cost :math:`c = \frac12 \|s - z\|^2` a
    network φ(x, s) regressed on −u gives the map explicitly, :math:`H = s + ∇_s φ(x, s)`: a
    minimisation, no adversary. Codes without a condition add the mean squared way from draws to all
    codes by the unconditional plan of the batch.

    When to use: without conditions (latent space optimal transport), or with few; separate modes
    stay separate and keep their shares. In many dimensions with few pairs the plan leads to the
    pairs' codes themselves; use another matcher there. Cost: up to four plans of 2,048 starts
    (about a second each), then steps without a critic; draws by "dual" take a backward pass.

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
        doc=""""dual" reads the map off the potential, "map" regresses a network on the goals:
        no longer a gradient, but it holds in more dimensions. "auto" is "dual" up to four
        latent dimensions.""",
        kw_only=False,
    )
    cost: str = parameter(
        default="quadratic",
        rule=one_of("quadratic", "l1"),
        doc=r"""Cost c. With "l1", :math:`\|s - z\|_1`, the potential's slope gives the direction in
        every coordinate and a second output of the network the length.""",
        kw_only=False,
    )
    condition_weight: float = parameter(
        default=5.0,
        rule=at_least(0.0),
        doc="""Cost of carrying a start to the code of another condition: with 1, two random
        conditions are as far apart as two random codes. More holds the conditions apart and
        narrows the draws, less blurs what depends on x.""",
    )
    plan_size: int = parameter(
        default=2048,
        rule=integer(1),
        doc="Starts, and most codes, in one plan. Time grows with its square or faster.",
    )
    slope_weight: float = parameter(
        default=0.3,
        rule=at_least(0.0),
        doc="""Weight of the slope's regression beside the potential's ("dual").""",
    )
    lr: float = 5e-3

    def _check_further(self, prefix: str) -> None:
        import_pot()

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim  # starts lie where the codes lie

    def _reads_off(self, latent_dim: int) -> bool:
        """Whether the map is read off the dual potential."""
        if self.solver == "auto":
            return latent_dim <= MOST_DUAL_DIMS
        return self.solver == "dual"

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        reads_off = self._reads_off(data.latent_dim)
        kind: Any = PotentialGenerator if reads_off else ConditionalGenerator
        module = kind(
            data.condition_dim,
            data.latent_dim,
            plan.noise_dim,
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.weights(Stream.MATCHER_WEIGHTS),
            **({"with_lengths": self.cost == "l1"} if reads_off else {}),
        )
        start_linear(module, data.condition, data.latent)
        return module

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> TransportObjective:
        for path in (module.mean, module.spread):  # the plans are made for these starts
            path.requires_grad_(False)
        potentials = CodePotentials(
            module.to(plan.run.device),
            data,
            self.cost,
            self.condition_weight,
            self.plan_size,
            plan.run.stream(Stream.TRANSPORT_PLANS),
        )
        if self._reads_off(data.latent_dim):
            return DualObjective(potentials, plan.unpaired_weight, self.slope_weight)
        return TransportObjective(potentials, plan.unpaired_weight)

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        return super()._held_out(objective, data, plan) if data.condition_dim else None

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        return module(condition, noise)

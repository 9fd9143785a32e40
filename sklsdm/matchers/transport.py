"""Matching by optimal transport from a Gaussian start: minimisation only, no critic (LSOT)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.batches import PairBatch
from sklsdm.functional.transport import (
    condition_scale,
    exact_plan,
    import_pot,
    squared_cost,
    transport_cost,
)
from sklsdm.matchers.base import BaseMatcher, MatchingData, Plan, start_linear
from sklsdm.modules import PotentialGenerator
from sklsdm.nets import SingleNet

COSTS = ("quadratic", "l1")
SOLVERS = ("auto", "dual", "map")
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

    def __call__(self, module: Any, batches: list[PairBatch]) -> Tensor:
        (batch,) = batches
        start = module.start(batch.condition, batch.noise)
        goal, price = self.potentials.goals(batch.condition, start, batch.mix[0, 0])
        loss, drawn = self._loss(module, batch, start, goal, price)
        if batch.other is not None and self.unpaired_weight > 0:
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
    minimisation, no adversary.

    When to use: without conditions (latent space optimal transport), or with few; separate modes
    stay separate and keep their shares. In many dimensions with few pairs the plan leads to the
    pairs' codes themselves; use another matcher there. Cost: up to four plans of 2,048 starts
    (about a second each), then steps without a critic; draws by "dual" take a backward pass.

    Parameters
    ----------
    solver : {"auto", "dual", "map"}, default="auto"
        "dual" reads the map off the potential, "map" regresses a network on the goals: no longer
        a gradient, but it holds in more dimensions. "auto" is "dual" up to four latent
        dimensions.
    cost : {"quadratic", "l1"}, default="quadratic"
        Cost c. With "l1", :math:`\|s - z\|_1`, the potential's slope gives the direction in every
        coordinate and a second output of the network the length.
    condition_weight : float >= 0, default=5.0
        Cost of carrying a start to the code of another condition: with 1, two random conditions
        are as far apart as two random codes. More holds the conditions apart and narrows the
        draws, less blurs what depends on x.
    plan_size : int, default=2048
        Starts, and most codes, in one plan. Time grows with its square or faster.
    slope_weight : float >= 0, default=0.3
        Weight of the slope's regression beside the potential's ("dual").
    widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the network.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between its layers.
    noise_dim : int or "auto", default="auto"
        Starts have the dimension of the codes: no other number is taken.
    max_steps : int, default=3000
        Most steps; no more than 10 for each code learnt from are taken.
    lr : float, default=5e-3
        Initial rate of Adam; falls to zero along half a cosine.
    batch_size : int, default=256
        Starts in one step (no more than there are pairs, at least 16).
    ema_decay : float in [0, 1), default=0.995
        Of the moving average of the network's parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of the mean squared way from draws to all
        codes by the unconditional plan of the batch. "auto" is the unpaired share, N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a lower energy score of held-out pairs. Without
        conditions nothing is held out: the last state is kept.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Liu, Guo, Lei, Shu, Yau, Samaras & Gu 2018, "Latent space optimal transport for generative
    models" (arXiv 1809.05964); Liu, Gu & Samaras 2019, "Wasserstein GAN with quadratic transport
    cost" (ICCV) for the map read off a regressed potential; An, Guo, Lei, Luo, Yau & Gu 2020,
    "AE-OT" (ICLR) for semi-discrete potentials in latent space.
    """

    def __init__(
        self,
        solver: str = "auto",
        cost: str = "quadratic",
        *,
        condition_weight: float = 5.0,
        plan_size: int = 2048,
        slope_weight: float = 0.3,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "leaky_relu",
        noise_dim: int | str = "auto",
        max_steps: int = 3000,
        lr: float = 5e-3,
        batch_size: int = 256,
        ema_decay: float = 0.995,
        condition_noise: float = 0.0,
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
        self.condition_noise = condition_noise
        self.unpaired_weight = unpaired_weight
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        check_choice("matcher__solver", self.solver, SOLVERS)
        check_choice("matcher__cost", self.cost, COSTS)
        check_real("matcher__condition_weight", self.condition_weight, 0.0)
        check_integer("matcher__plan_size", self.plan_size, 1)
        check_real("matcher__slope_weight", self.slope_weight, 0.0)
        import_pot()

    def _noise_dim(self, latent_dim: int) -> int:
        if self.noise_dim not in ("auto", latent_dim):
            raise ValueError(
                f"matcher__noise_dim must be 'auto' or the latent dimension, {latent_dim}, with "
                f"matcher='transport', whose starts lie in the latent space; got "
                f"{self.noise_dim!r}."
            )
        return latent_dim

    def _reads_off(self, latent_dim: int) -> bool:
        """Whether the map is read off the dual potential."""
        if self.solver == "auto":
            return latent_dim <= MOST_DUAL_DIMS
        return self.solver == "dual"

    def _plan(self, data: MatchingData, run: Any) -> Plan:
        plan = super()._plan(data, run)
        return plan if data.condition.shape[1] else replace(plan, score=None)

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        if not self._reads_off(data.latent.shape[1]):
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
        for path in (module.mean, module.spread):  # the plans are made for these starts
            path.requires_grad_(False)
        potentials = CodePotentials(
            module.to(plan.run.device),
            data,
            self.cost,
            self.condition_weight,
            self.plan_size,
            plan.run.generator(13),
        )
        objective: Any = partial(TransportObjective, potentials, plan.unpaired_weight)
        if self._reads_off(data.latent.shape[1]):
            objective = partial(DualObjective, potentials, plan.unpaired_weight, self.slope_weight)
        return SingleNet(module, criterion=objective, **self._net_settings(plan))

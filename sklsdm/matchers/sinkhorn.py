"""Matching by the Sinkhorn divergence: optimal transport between batches, no critic."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.transport import condition_scale, sinkhorn_divergence
from sklsdm.matchers.base import Plan, several_draws
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.generators import GeneratorMatcher
from sklsdm.parameters import above, at_least, integer, parameter


class SinkhornObjective:
    """Sinkhorn divergence between pairs and draws, plus `unpaired_weight` times that of the codes.

    The first is between (scale · x, z) and (scale · x, H), the second between all codes and H.
    """

    recordable: ClassVar[bool] = True

    def __init__(self, epsilon: float, scale: float, n_draws: int, unpaired_weight: float) -> None:
        self.epsilon = epsilon
        self.scale = scale
        self.n_draws = n_draws
        self.unpaired_weight = unpaired_weight

    def __call__(self, generator: nn.Module, batch: PairBatch) -> Tensor:
        repeated = batch.condition.repeat_interleave(self.n_draws, dim=0)
        drawn = several_draws(generator, batch.condition, batch.noise)
        real_points = torch.cat([self.scale * batch.condition, batch.latent], dim=1)
        drawn_points = torch.cat([self.scale * repeated, drawn], dim=1)
        loss = self._divergence(real_points, drawn_points)
        if batch.other is not None:
            loss = loss + self.unpaired_weight * self._divergence(batch.other, drawn)
        return loss

    def _divergence(self, real: Tensor, drawn: Tensor) -> Tensor:
        return sinkhorn_divergence(real, drawn, self.epsilon, constant=False)


class SinkhornMatcher(GeneratorMatcher):
    r"""Match the joint law of (X, H(X, η)) to that of (X, E(Y)) in Sinkhorn divergence.

    .. math:: S_ε(P, Q) = OT_ε(P, Q) - \tfrac12 OT_ε(P, P) - \tfrac12 OT_ε(Q, Q),

    entropic optimal transport with the cost :math:`\|z - z'\|^2 + w \|x - x'\|^2`; the last two
    terms remove the bias due to ε. S lies between optimal transport (ε → 0) and a kernel
    distance (ε → ∞) and is 0 only for equal laws. Its estimate from n points has an error of order
    n^(-1/2). Each step computes it between a batch of pairs and draws for the same conditions, and
    takes the gradient with the plans held fixed.

    Codes without a condition add the divergence between draws and all codes.

    When to use: for few latent dimensions, where no critic is wanted. Cost: two plans of
    `batch_size` points a step, together some 330 products of a square matrix with a vector.

    References
    ----------
    Feydy, Séjourné, Vialard, Amari, Trouvé & Peyré 2019 (arXiv 1810.02733), equation 3; Genevay,
    Peyré & Cuturi 2018 (arXiv 1706.00292) for generators trained with it.
    """

    epsilon: float = parameter(
        default=0.1,
        rule=above(0.0),
        doc="""Entropic regularisation ε, as a share of the mean squared distance of two codes.
        Smaller values resolve finer shapes, take more iterations and have a larger error on small
        batches.""",
        kw_only=False,
    )
    condition_weight: float = parameter(
        default=4.0,
        rule=at_least(0.0),
        doc="""Weight of the condition in the cost: with 1, two random conditions are as far apart
        as two random codes. A larger weight separates conditions better, but then hardly any two
        pairs of a batch have nearly the same x, and draws narrow towards the conditional mean.""",
        kw_only=False,
    )
    n_draws: int = parameter(
        default=1,
        rule=integer(1),
        doc="Draws for each condition in one step. More make the steps less noisy and slower.",
    )
    max_steps: int = 2000
    lr: float = 2e-3
    ema_decay: float = 0.99

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> SinkhornObjective:
        return SinkhornObjective(
            self.epsilon * 2 * data.latent_dim,  # codes are standardised
            condition_scale(data.condition) * (self.condition_weight * data.latent_dim) ** 0.5,
            self.n_draws,
            plan.unpaired_weight,
        )

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, n_draws=self.n_draws)

"""Matching by the energy score, a strictly proper score: no critic is needed."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.scores import energy_distance, energy_score
from sklsdm.matchers.base import Plan, several_draws
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.generators import GeneratorMatcher
from sklsdm.parameters import integer, parameter


class EnergyObjective:
    """Mean energy score of `n_draws` draws for each pair, plus a distance to all codes.

    That is the energy distance between draws and all codes, times `unpaired_weight`.
    """

    recordable: ClassVar[bool] = True

    def __init__(self, n_draws: int, unpaired_weight: float) -> None:
        self.n_draws = n_draws
        self.unpaired_weight = unpaired_weight

    def __call__(self, generator: nn.Module, batch: PairBatch) -> Tensor:
        draws = several_draws(generator, batch.condition, batch.noise)
        grouped = draws.view(len(batch.latent), self.n_draws, -1)
        loss = energy_score(grouped, batch.latent).mean()
        if batch.other is not None:
            loss = loss + self.unpaired_weight * energy_distance(grouped[:, 0], batch.other)
        return loss


class EnergyMatcher(GeneratorMatcher):
    r"""Match by the energy score, :math:`E\|z-h\| - \frac12 E\|h-h'\|`.

    z is the code of a pair, h and h' are independent draws H(x, η) at its x. Codes without a
    condition add the energy distance between draws and all codes.

    When to use: for a stable fit and good calibration of single outputs. Modes that lie close are
    blurred. Cost: one small batch of draws a step, no critic.

    References
    ----------
    Gneiting & Raftery 2007, JASA 102, equation 22; Shen & Meinshausen 2023, "Engression"
    (arXiv 2307.00835), equation 3.
    """

    n_draws: int = parameter(
        default=4,
        rule=integer(2),
        doc="Draws for each pair in one step. More make the steps less noisy and slower.",
        kw_only=False,
    )

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> EnergyObjective:
        if plan.unpaired_weight > 0 and plan.batch_size == 1:
            raise ValueError(
                "matcher__batch_size must be at least 2 where unpaired codes are matched, got 1: "
                "the distance of two samples needs two draws."
            )
        return EnergyObjective(self.n_draws, plan.unpaired_weight)

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, n_draws=self.n_draws)

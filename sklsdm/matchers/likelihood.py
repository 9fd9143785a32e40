"""Base of the matchers that learn a density of the codes by maximum likelihood."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.categorical import distinct_rows
from sklsdm.matchers.base import BaseMatcher, Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.nets import HeldOutScore
from sklsdm.noise import standard_uniform

_MATCHED_ROWS = 64  # codes of a batch at which p(z) is evaluated
_SCORED_ROWS = 256  # held-out pairs whose densities are taken at once
_CANDIDATES = 128  # conditions of the pairs over which p(z | x) is averaged for it


class LikelihoodObjective:
    """−ln p(z | x) at the pairs, plus −ln p(z) at all codes, times `unpaired_weight`.

    p(z) is the mean of p(z | x) over the conditions of the pairs. The density has a method
    `log_prob(condition, latent)`, for codes (..., k) and conditions (m, p) that broadcast.
    """

    recordable: ClassVar[bool] = True

    def __init__(self, data: MatchingData, plan: Plan) -> None:
        self.weight = plan.unpaired_weight
        self.random = plan.random
        if self.weight > 0:
            self.conditions, self.log_shares = distinct_rows(data.condition)

    def __call__(self, density: Any, batch: PairBatch) -> Tensor:
        loss = -density.log_prob(batch.condition, batch.latent).mean()
        if batch.other is not None:
            loss = loss - self.weight * self._marginal(density, batch.other[:_MATCHED_ROWS]).mean()
        return loss

    def _marginal(self, density: Any, latent: Tensor) -> Tensor:
        """ln p(z), (b,), at codes (b, k)."""
        order = standard_uniform((len(self.conditions),), self.random).argsort()
        some = order[:_CANDIDATES]
        rows, log_shares = self.conditions[some], self.log_shares[some].log_softmax(dim=0)
        return (log_shares + density.log_prob(rows, latent[:, None])).logsumexp(dim=1)


class LikelihoodMatcher(BaseMatcher):
    """A matcher whose network has a method `log_prob`; a subclass makes it, and draws from it."""

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> LikelihoodObjective:
        return LikelihoodObjective(data, plan)

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        if len(data.held_latent) == 0:
            return None

        @torch.no_grad()
        def loss(density: Any) -> Tensor:
            pairs = (data.held_condition, data.held_latent)
            blocks = zip(*(part.split(_SCORED_ROWS) for part in pairs), strict=True)
            return -torch.cat([density.log_prob(*block) for block in blocks])

        return HeldOutScore("valid_loss", loss, data.held_groups)

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, noise_dim=0)

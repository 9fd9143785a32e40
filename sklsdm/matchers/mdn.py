"""Maximum likelihood of a mixture of Gaussians given the condition: the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklsdm._validation import check_choice, check_integer
from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.imputation import distinct_rows
from sklsdm.functional.mixtures import draw_mixture, log_density
from sklsdm.matchers.base import BaseMatcher, MatchingData, Plan, start_linear
from sklsdm.modules import MixtureDensity
from sklsdm.nets import SingleNet

COVARIANCES = ("diagonal", "full")
_MATCHED_ROWS = 64
_CANDIDATES = 128


class LikelihoodObjective:
    """−ln p(z | x) of the pairs, and −ln of its mean over x at codes without a condition."""

    def __init__(self, data: MatchingData, plan: Plan) -> None:
        self.weight = plan.unpaired_weight
        self.random = plan.random
        if self.weight > 0:
            self.conditions, self.log_shares = distinct_rows(data.condition)

    def __call__(self, density: MixtureDensity, batches: list[PairBatch]) -> Tensor:
        (batch,) = batches
        residual = density.residual(batch.condition, batch.latent)
        loss = -log_density(residual, *density(batch.condition)).mean()
        if batch.other is not None:
            loss = loss - self.weight * self._marginal(density, batch.other[:_MATCHED_ROWS]).mean()
        return loss

    def _marginal(self, density: MixtureDensity, latent: Tensor) -> Tensor:
        """ln mean p(z | x) over conditions of the pairs, (b,), for codes (b, k)."""
        order = torch.rand(
            len(self.conditions), generator=self.random, device=self.random.device
        ).argsort()
        some = order[:_CANDIDATES]
        rows, log_shares = self.conditions[some], self.log_shares[some].log_softmax(dim=0)
        residual = density.residual(rows, latent[:, None])
        return (log_shares + log_density(residual, *density(rows))).logsumexp(dim=1)


@torch.no_grad()
def _held_out_loss(data: MatchingData, density: MixtureDensity) -> Tensor:
    """−ln p(z | x) of the held-out pairs, (v,)."""
    residual = density.residual(data.held_condition, data.held_latent)
    return -log_density(residual, *density(data.held_condition))


class MDNMatcher(BaseMatcher):
    r"""Mixture density network in latent space: the baseline by maximum likelihood.

    .. math:: p(z | x) = \sum_c w_c(x) N(z; μ_c(x), (P_c(x)^T P_c(x))^{-1}),

    with all parameters from one network and z the whitened residual from ridge regression on x.

    When to use: few latent dimensions and smooth laws, where it is hard to beat; components
    cannot bend, so thin curved supports are covered by chains of them. Cost: one small backward
    pass a step, no critic; a draw takes one pass.

    Parameters
    ----------
    n_components : int, default=10
        Gaussians in the mixture.
    covariance : {"full", "diagonal"}, default="full"
        Shape of each.
    widths : sequence of int, default=(128, 128)
        Hidden widths of the network.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between its layers.
    max_steps : int, default=3000
        Most steps; no more than 10 for each code learnt from are taken.
    lr : float, default=3e-4
        Initial rate of Adam; falls to zero along half a cosine.
    batch_size : int, default=256
        Pairs in one step (no more than there are, at least 16).
    ema_decay : float in [0, 1), default=0.995
        Of the moving average of the parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of the likelihood of codes without a
        condition under the mean of p(z | x) over the pairs' x. "auto" is the unpaired share,
        N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a higher likelihood of held-out pairs.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Bishop 1994, "Mixture density networks" (NCRG/94/004); Williams 1996, "Using neural networks
    to model conditional multivariate densities" (Neural Computation 8) for the precisions.
    """

    noise_dim = "auto"

    def __init__(
        self,
        n_components: int = 10,
        covariance: str = "full",
        *,
        widths: Sequence[int] = (128, 128),
        activation: str = "leaky_relu",
        max_steps: int = 3000,
        lr: float = 3e-4,
        batch_size: int = 256,
        ema_decay: float = 0.995,
        condition_noise: float = 0.0,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance = covariance
        self.widths = widths
        self.activation = activation
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
        check_integer("matcher__n_components", self.n_components, 1)
        check_choice("matcher__covariance", self.covariance, COVARIANCES)

    def _module(self, data: MatchingData, plan: Plan) -> MixtureDensity:
        density = MixtureDensity(
            data.condition.shape[1],
            data.latent.shape[1],
            self.n_components,
            self.covariance == "full",
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.generator(10, torch.device("cpu")),
        )
        start_linear(density, data.condition, data.latent, shrink=True)
        return density

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> SingleNet:
        objective = LikelihoodObjective(data, plan)
        if plan.score is not None:
            plan = replace(plan, score=partial(_held_out_loss, data), monitor="valid_loss")
        return SingleNet(module, criterion=lambda: objective, **self._net_settings(plan))

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, noise_dim=0)

    def _noise_dim(self, latent_dim: int) -> int:
        return 1 + latent_dim

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        # The draws for one x come side by side: the network is asked once for them all.
        if condition.shape[1] > 0:
            distinct, row = condition.unique_consecutive(dim=0, return_inverse=True)
        else:
            distinct, row = condition[:1], condition.new_zeros(len(condition), dtype=torch.long)
        log_weights, means, precision = (part[row] for part in module(distinct))
        return module.latent(condition, draw_mixture(log_weights, means, precision, noise))

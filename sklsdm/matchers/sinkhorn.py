"""Matching by the Sinkhorn divergence: optimal transport between batches, no critic."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm._validation import check_integer, check_real
from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.transport import condition_scale, import_pot, sinkhorn_divergence
from sklsdm.matchers.base import BaseMatcher, MatchingData, Plan
from sklsdm.nets import SingleNet


class SinkhornObjective:
    """Sinkhorn divergence of (x, z) and (x, H), plus that of all codes and H.

    `scale` multiplies x in the cost, the squared distance of (scale · x, z).
    """

    def __init__(self, epsilon: float, scale: float, n_draws: int, unpaired_weight: float) -> None:
        self.epsilon = epsilon
        self.scale = scale
        self.n_draws = n_draws
        self.unpaired_weight = unpaired_weight

    def __call__(self, generator: nn.Module, batches: list[PairBatch]) -> Tensor:
        (batch,) = batches
        repeated = batch.condition.repeat_interleave(self.n_draws, dim=0)
        drawn = generator(repeated, batch.noise)
        real_points = torch.cat([self.scale * batch.condition, batch.latent], dim=1)
        drawn_points = torch.cat([self.scale * repeated, drawn], dim=1)
        loss = self._divergence(real_points, drawn_points)
        if batch.other is not None and self.unpaired_weight > 0:
            loss = loss + self.unpaired_weight * self._divergence(batch.other, drawn)
        return loss

    def _divergence(self, real: Tensor, drawn: Tensor) -> Tensor:
        return sinkhorn_divergence(real, drawn, self.epsilon, constant=False)


class SinkhornMatcher(BaseMatcher):
    r"""Match the joint law of (X, H(X, η)) to that of (X, E(Y)) in Sinkhorn divergence.

    .. math:: S_ε(P, Q) = OT_ε(P, Q) - \tfrac12 OT_ε(P, P) - \tfrac12 OT_ε(Q, Q),

    entropic optimal transport with the cost :math:`\|z - z'\|^2 + w \|x - x'\|^2`, freed of
    its bias. It lies between optimal transport (ε → 0) and a kernel distance (ε → ∞), is 0 only
    for equal laws, and its estimate from n points errs by n^(-1/2). Each step computes it between
    a batch of pairs and draws for the same conditions; the gradient follows the plans.

    When to use: few latent dimensions and no critic wanted. Cost: two plans of `batch_size`
    points a step, each some fifty products of a square matrix with a vector.

    Parameters
    ----------
    epsilon : float > 0, default=0.1
        Regularisation, as a share of the mean squared distance of two codes. Smaller sees finer
        shapes, takes more iterations and errs more on small batches.
    condition_weight : float >= 0, default=4.0
        Share of the condition in the cost: with 1, two random conditions are as far apart as two
        random codes. More separates conditions, but then hardly two pairs of a batch meet, and
        the draws narrow towards the conditional mean.
    n_draws : int, default=1
        Draws for each condition in one step.
    widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the generator.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between its layers.
    noise_dim : int or "auto", default="auto"
        Dimension of the noise; "auto" is the latent dimension, at least 8.
    max_steps : int, default=2000
        Most steps; no more than 10 for each code learnt from are taken.
    lr : float, default=2e-3
        Initial rate of Adam; falls to zero along half a cosine.
    batch_size : int, default=256
        Pairs in one step (no more than there are, at least 16). Time grows with its square.
    ema_decay : float in [0, 1), default=0.99
        Of the moving average of the generator's parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of the Sinkhorn divergence between draws and
        all codes. "auto" is the unpaired share, N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a lower energy score of held-out pairs.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Feydy, Séjourné, Vialard, Amari, Trouvé & Peyré 2019 (arXiv 1810.02733), equation 3; Genevay,
    Peyré & Cuturi 2018 (arXiv 1706.00292) for generators trained with it.
    """

    def __init__(
        self,
        epsilon: float = 0.1,
        condition_weight: float = 4.0,
        *,
        n_draws: int = 1,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "leaky_relu",
        noise_dim: int | str = "auto",
        max_steps: int = 2000,
        lr: float = 2e-3,
        batch_size: int = 256,
        ema_decay: float = 0.99,
        condition_noise: float = 0.0,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.condition_weight = condition_weight
        self.n_draws = n_draws
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
        check_real("matcher__epsilon", self.epsilon, 0.0, open_low=True)
        check_real("matcher__condition_weight", self.condition_weight, 0.0)
        check_integer("matcher__n_draws", self.n_draws, 1)
        import_pot()

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> SingleNet:
        latent_dim = data.latent.shape[1]
        return SingleNet(
            module,
            criterion=partial(
                SinkhornObjective,
                self.epsilon * 2 * latent_dim,  # codes are standardised
                condition_scale(data.condition) * (self.condition_weight * latent_dim) ** 0.5,
                self.n_draws,
                plan.unpaired_weight,
            ),
            **self._net_settings(plan),
        )

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, n_draws=self.n_draws)

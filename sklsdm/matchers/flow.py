"""Matching by conditional flow matching: noise carried to codes along nearly straight paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.flow import SAMPLERS, couple, flow_residual, integrate
from sklsdm.matchers.base import Field, FieldMatcher, FieldObjective, MatchingData, Plan
from sklsdm.modules import TimeConditionedField
from sklsdm.nets import SingleNet, Stage, history_arrays
from sklsdm.nets.run import Run

COUPLINGS = ("conditional-ot", "independent")
_TAUGHT = 1 << 15  # draws of the flow from which its one-step form learns
_BLOCK = 1 << 13
_DISTILLATION = Stage("stage 3 (distillation)", "stage-3.pt", "the matcher's lr")


class FlowObjective(FieldObjective):
    """Regression of the velocity u − n at a uniform time, noise and codes coupled or not."""

    def __init__(
        self, data: MatchingData, plan: Plan, coupling_weight: float | None, coupling_size: int
    ) -> None:
        super().__init__(data, plan)
        self.coupling_weight = coupling_weight
        self.coupling_size = coupling_size

    def errors(
        self, field: Field, condition: Tensor, target: Tensor, noise: Tensor, uniform: Tensor
    ) -> Tensor:
        if self.coupling_weight is not None:
            noise = couple(noise, target, condition, self.coupling_weight, self.coupling_size)
        return flow_residual(field, target, noise, uniform)

    def misfit(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        time = 1 / (1 + sigma)
        return (time * flow_residual(field, target, noise, time)).square().sum(dim=1)


class DistillationObjective:
    """Mean square of what one Euler step misses of the residuals (b, k) taught for noise (b, k)."""

    def __call__(self, field: TimeConditionedField, batches: list[PairBatch]) -> Tensor:
        (batch,) = batches
        noise, taught = batch.latent.chunk(2, dim=1)
        found = integrate(partial(field, field.features(batch.condition)), noise, 1, "euler")
        return (found - taught).square().mean()


class FlowMatcher(FieldMatcher):
    r"""Conditional flow matching: learn the velocity that carries noise to the codes given x.

    .. math:: E\|v(z_t, t; x) - (z_1 - z_0)\|^2, \quad z_t = (1 - t) z_0 + t z_1,

    with noise z0 and codes z1 (whitened residuals from ridge regression on x), coupled within the
    batch by exact assignment under the cost :math:`\|z_0 - z_1\|^2 + w \|x_0 - x_1\|^2`.

    When to use: as `diffusion`, with straighter paths and so fewer steps a draw. Cost: one small
    backward pass a step, plus the assignment; a draw takes up to 2 `n_steps` passes.

    Parameters
    ----------
    coupling : {"conditional-ot", "independent"}, default="conditional-ot"
        How noise and codes are paired in training.
    n_steps : int, default=8
        Steps of the integration from noise to codes.
    coupling_weight : float >= 0, default=10.0
        w above; 0 ignores x, which is biased under conditions.
    coupling_size : int, default=64
        Rows among which an assignment is sought.
    sampler : {"midpoint", "heun", "euler"}, default="midpoint"
        Integration rule of a draw.
    distil : bool, default=False
        Whether the network, once fitted, is trained on to give in one Euler step what it gave in
        `n_steps`. Draws then take one pass; fitting takes about twice as long.
    widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the velocity field.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between the layers.
    max_steps : int, default=3000
        Most steps; no more than 10 for each code learnt from are taken.
    lr : float, default=2e-3
        Initial rate of Adam; falls to zero along half a cosine.
    batch_size : int, default=256
        Pairs in one step (no more than there are, at least 16).
    ema_decay : float in [0, 1), default=0.995
        Of the moving average of the parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of codes without a condition, to which the
        field's own p(x | z) gives one of those of the pairs. "auto" is the unpaired share,
        N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a lower error on held-out pairs.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Lipman et al. 2023 (arXiv 2210.02747), equation 23; Cheng & Schwing 2025 (arXiv 2503.10636)
    for the coupling; Liu, Gong & Liu 2023 (arXiv 2209.03003), section 2.2, for `distil`.
    """

    def __init__(
        self,
        coupling: str = "conditional-ot",
        n_steps: int = 8,
        *,
        coupling_weight: float = 10.0,
        coupling_size: int = 64,
        sampler: str = "midpoint",
        distil: bool = False,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "leaky_relu",
        max_steps: int = 3000,
        lr: float = 2e-3,
        batch_size: int = 256,
        ema_decay: float = 0.995,
        condition_noise: float = 0.0,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.coupling = coupling
        self.n_steps = n_steps
        self.coupling_weight = coupling_weight
        self.coupling_size = coupling_size
        self.sampler = sampler
        self.distil = distil
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
        check_choice("matcher__coupling", self.coupling, COUPLINGS)
        check_real("matcher__coupling_weight", self.coupling_weight, 0.0)
        check_integer("matcher__coupling_size", self.coupling_size, 2)
        check_choice("matcher__sampler", self.sampler, SAMPLERS)
        if not isinstance(self.distil, bool):
            raise TypeError(f"matcher__distil must be True or False, got {self.distil!r}.")

    def fit(self, data: MatchingData, run: Run) -> FlowMatcher:
        self.distilled_ = False
        super().fit(data, run)
        if self.distil and not self.interrupted_:
            self._distil(data, run)
        return self

    def _distil(self, data: MatchingData, run: Run) -> None:
        """Train the network on to give in one Euler step what it gave in `n_steps`."""
        random = run.generator(30)
        plan = replace(self._plan(data, run), random=random)
        condition = data.condition.repeat(-(-_TAUGHT // len(data.condition)), 1)
        dim = data.latent.shape[1]
        noise = torch.randn((len(condition), dim), generator=random, device=random.device)
        with torch.no_grad():
            parts = zip(condition.split(_BLOCK), noise.split(_BLOCK), strict=True)
            taught = torch.cat([self._residual(x, n) for x, n in parts])
        self.distilled_ = True
        net = SingleNet(
            self.network_,
            criterion=DistillationObjective,
            **self._net_settings(plan, _DISTILLATION),
        )
        net.fit(
            PairBatches(
                condition,
                torch.cat([noise, taught], dim=1),
                None,
                batch_size=self.batch_size,
                n_steps=plan.epoch_steps,
                noise_dim=0,
                random=random,
            )
        )
        self.network_ = net.module_.eval()
        self.interrupted_ = net.interrupted_
        self.history_ |= {f"distil_{k}": v for k, v in history_arrays(net.history).items()}

    def _residual(self, condition: Tensor, noise: Tensor) -> Tensor:
        field = partial(self.network_, self.network_.features(condition))
        return integrate(field, noise, self.n_steps, self.sampler)

    def _objective(self, data: MatchingData, plan: Plan) -> FlowObjective:
        weight = self.coupling_weight if self.coupling == "conditional-ot" else None
        return FlowObjective(data, plan, weight, self.coupling_size)

    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        if self.distilled_:
            return integrate(field, noise, 1, "euler")
        return integrate(field, noise, self.n_steps, self.sampler)

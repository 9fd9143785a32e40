"""Matching by conditional flow matching: noise carried to codes along nearly straight paths."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from sklsdm.functional.flow import SAMPLERS, couple, flow_residual, integrate
from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.distillation import DistillationObjective, draws_to_learn
from sklsdm.matchers.field import Field, FieldMatcher, FieldObjective
from sklsdm.modules import TimeConditionedField
from sklsdm.nets import SingleNet, history_arrays
from sklsdm.parameters import at_least, flag, integer, learnt, one_of, parameter
from sklsdm.run import Run, Stream
from sklsdm.stages import DISTILLATION


class FlowObjective(FieldObjective):
    """Regression of the velocity u − n at a uniform time.

    With `coupling_weight` None, noise and codes are paired at random.
    """

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

    def nll_integrand(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        time = 1 / (1 + sigma)  # where noise and target have the ratio (1 − t) / t = σ
        return (time * flow_residual(field, target, noise, time)).square().sum(dim=1)


def _one_euler_step(field: TimeConditionedField, condition: Tensor, noise: Tensor) -> Tensor:
    """Residuals (b, k) from noise (b, k) in one step of the flow."""
    return integrate(partial(field, field.features(condition)), noise, 1, "euler")


class FlowMatcher(FieldMatcher):
    r"""Conditional flow matching: learn the velocity that carries noise to the codes given x.

    .. math:: E\|v(z_t, t; x) - (z_1 - z_0)\|^2, \quad z_t = (1 - t) z_0 + t z_1,

    with noise z0 and codes z1 (whitened residuals from ridge regression on x, unless codes are
    images). Noise and codes of a batch are paired by the assignment of least cost
    :math:`\|z_0 - z_1\|^2 + \frac{w}{p} \|x_0 - x_1\|^2`, for x with p columns. A code without a
    condition is learnt with the condition of a pair, drawn from the p(x | z) that the field itself
    implies (with `guidance`, without any).

    When to use: as `diffusion`, and with `distil` for draws in one pass. Cost: one small backward
    pass a step, plus the assignment; a draw takes 2 `n_steps` passes (`n_steps` with "euler"),
    twice as many with `guidance`.

    References
    ----------
    Lipman et al. 2023 (arXiv 2210.02747), equation 23; Cheng & Schwing 2025 (arXiv 2503.10636)
    for the coupling; Liu, Gong & Liu 2023 (arXiv 2209.03003), section 2.2, for `distil`.
    """

    coupling: str = parameter(
        default="conditional-ot",
        rule=one_of("conditional-ot", "independent"),
        doc="""How noise and codes are paired in training: by the assignment above, which makes the
        paths straighter, or at random ("independent").""",
        kw_only=False,
    )
    n_steps: int = parameter(default=8, doc="Steps of a draw. More are more exact and slower.")
    coupling_weight: float = parameter(
        default=10.0,
        rule=at_least(0.0),
        doc="""Weight w of the condition in that assignment. Larger values let fewer rows swap their
        noise; with 0 the assignment ignores x, and draws given x are biased.""",
    )
    coupling_size: int = parameter(
        default=64,
        rule=integer(2),
        doc="Rows in one assignment. More give straighter paths and take longer.",
    )
    sampler: str = parameter(
        default="midpoint",
        rule=one_of(*SAMPLERS),
        doc="""Integration rule of a draw: "euler" takes one pass a step, "heun" and "midpoint" are
        of second order and take two.""",
    )
    distil: bool = parameter(
        default=False,
        rule=flag(),
        doc="""Whether the fitted network is trained further, until one Euler step gives what
        `n_steps` gave before. Draws then take one pass; fitting takes about twice as long.
        `n_steps_`, `best_step_` and the scores are those of the flow before that.""",
    )
    lr: float = 2e-3
    distilled_: bool = learnt("Whether draws take one step.")

    def fit(self, data: MatchingData, run: Run) -> FlowMatcher:
        self.distilled_ = False
        super().fit(data, run)
        if self.distil and not self.interrupted_:
            self._distil(data, run)
        return self

    def _distil(self, data: MatchingData, run: Run) -> None:
        """Train the network further, to give in one Euler step what it gave in `n_steps`."""
        plan = replace(self._plan(data, run), random=run.stream(Stream.DISTILLATION))
        with torch.no_grad():
            residuals = self.network_.residual(data.condition, data.latent)
        batches = draws_to_learn(
            self._residual,
            replace(data, latent=residuals),
            plan,
            numbers_per_draw=self.numbers_per_draw_,
            batch_size=plan.batch_size,
        )
        self.distilled_ = True
        self.guidance_ = 0.0  # what is taught is guided already
        held_out = self._score_of_draws(data, plan)
        objective = DistillationObjective(_one_euler_step)
        net = SingleNet(
            self.network_,
            criterion=lambda: objective,
            **self._net_settings(data, plan, DISTILLATION, held_out),
        )
        net.fit(batches)
        self.network_ = net.module_.eval()
        self.interrupted_ = net.interrupted_
        self.far_share_ = net.far_share_
        self.history_ |= {f"distil_{k}": v for k, v in history_arrays(net.history).items()}

    def _passes_of_steps(self) -> int:
        if getattr(self, "distilled_", False):
            return 1
        return self.n_steps * (1 if self.sampler == "euler" else 2)

    def _residual(self, condition: Tensor, noise: Tensor) -> Tensor:
        field = self._field(self.network_, self.network_.features(condition))
        return integrate(field, noise, self.n_steps, self.sampler)

    def _field_objective(self, data: MatchingData, plan: Plan) -> FlowObjective:
        weight = self.coupling_weight if self.coupling == "conditional-ot" else None
        return FlowObjective(data, plan, weight, self.coupling_size)

    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        if self.distilled_:
            return integrate(field, noise, 1, "euler")
        return integrate(field, noise, self.n_steps, self.sampler)

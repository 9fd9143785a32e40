"""Base of the matchers that learn a vector field and draw by following it from noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.blocks import rows_per_block
from sklsdm.functional.categorical import distinct_rows, draw_index
from sklsdm.inputs.responses import MANY_IMAGES
from sklsdm.matchers.base import HELD_OUT_DRAWS, MAX_SCORED, BaseMatcher, Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.linear_start import start_linear
from sklsdm.modules import ConvField, TimeConditionedField, in_turn, widest_output
from sklsdm.nets import HeldOutScore
from sklsdm.noise import standard_normal, standard_uniform
from sklsdm.parameters import at_least, integer, learnt, multiple_of, or_auto, parameter
from sklsdm.run import Run, Stream

Field = Callable[[Tensor, Tensor], Tensor]  # of points (b, k) and times (b, 1) or (1, 1)

_IMPUTED_ROWS = 32  # codes of a batch that get a condition
_CANDIDATES = 32  # conditions of the pairs from which each is drawn
_N_LEVELS = 4  # noise levels at which a likelihood is estimated
_LOG_SIGMA_RANGE = (-2.0, 1.0)  # ln σ over which it is integrated
_GUIDANCE_OF_LABELS = 0.75
_MOST_CODE_IMAGES = 128  # in one step
_FORGOTTEN = 0.15  # share of the conditions that training leaves out where draws are guided


class FieldObjective(ABC):
    """Mean squared error of a field on the pairs, and on codes whose conditions are imputed.

    Where draws are guided, a code z without a condition teaches the field that knows no x.
    Elsewhere it gets the condition of a pair, drawn from p(x | z) ∝ p(x) p(z | x) with the
    field's own likelihood p(z | x). This is stochastic EM: it fits the mixture of p(z | x) over
    the pairs' x to all codes, and each code is learnt with a condition that is plausible for it.
    """

    recordable: bool = True

    def __init__(self, data: MatchingData, plan: Plan) -> None:
        self.weight = plan.unpaired_weight
        self.random = plan.random
        self._levels = torch.arange(_N_LEVELS, device=plan.random.device)
        self.forgotten = 0.0  # share of the conditions that a training step leaves out
        if self.weight > 0:
            self.conditions, self.log_shares = distinct_rows(data.condition)

    @abstractmethod
    def errors(
        self, field: Field, condition: Tensor, target: Tensor, noise: Tensor, uniform: Tensor
    ) -> Tensor:
        """Field minus target, (b, k), at points made of noise (b, k) and uniform numbers (b, 1)."""

    @abstractmethod
    def nll_integrand(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Estimate (b,) at σ of the function whose integral over ln σ is −ln p(target) + constant.

        It is ‖D − target‖² / σ², where D denoises target + σ·noise.
        """

    def __call__(self, field: TimeConditionedField, batch: PairBatch) -> Tensor:
        condition, latent, noise, uniform, other = batch
        known = None
        if self.forgotten > 0:
            known = self._uniform(len(condition), 1) >= self.forgotten
        if other is None:
            return self._errors_by_row(field, condition, latent, noise, uniform, known).mean()
        other = other[:_IMPUTED_ROWS]
        if known is None:
            conditions_of_other = self._impute(field, other)
        else:
            conditions_of_other = condition.new_zeros(len(other), condition.shape[1])
            known = torch.cat([known, known.new_zeros(len(other), 1)])
        errors = self._errors_by_row(
            field,
            torch.cat([condition, conditions_of_other]),
            torch.cat([latent, other]),
            torch.cat([noise, self._normal(other)]),
            torch.cat([uniform, self._uniform(len(other), 1)]),
            known,
        )
        of_pairs, of_other = errors.split([len(latent), len(other)])
        return of_pairs.mean() + self.weight * of_other.mean()

    def _errors_by_row(
        self,
        field: TimeConditionedField,
        condition: Tensor,
        latent: Tensor,
        noise: Tensor,
        uniform: Tensor,
        known: Tensor | None = None,
    ) -> Tensor:
        """Mean squared errors (b,) for codes (b, k) and their conditions (b, p).

        Rows where `known` (b, 1) is False are taken to have no condition.
        """
        target = field.residual(condition, latent)
        features = field.features(condition)
        if known is not None:
            features = features * known
        field_given_x = partial(field, features)
        return self.errors(field_given_x, condition, target, noise, uniform).square().mean(dim=1)

    def held_out_loss(self, data: MatchingData, random: torch.Generator) -> HeldOutScore | None:
        """Mean squared error at each held-out pair, always with the same noises and times.

        Each pair is seen with 16 noises, at evenly spread times (or quantiles of σ). This loss
        varies less than a score of draws.
        """
        if len(data.held_latent) == 0:
            return None
        condition = data.held_condition[:MAX_SCORED].repeat(HELD_OUT_DRAWS, 1)
        latent = data.held_latent[:MAX_SCORED].repeat(HELD_OUT_DRAWS, 1)
        noise = standard_normal(latent.shape, random)
        count = torch.arange(HELD_OUT_DRAWS, dtype=torch.float32, device=latent.device)
        times = (count + 0.5) / HELD_OUT_DRAWS
        uniform = times.repeat_interleave(len(latent) // HELD_OUT_DRAWS)[:, None]

        parts = (condition, latent, noise, uniform)

        @torch.no_grad()
        def loss(field: TimeConditionedField) -> Tensor:
            one = [part[:1] for part in parts]
            widest = widest_output([field], lambda: self._errors_by_row(field, *one))
            size = rows_per_block(2 * widest)
            blocks = zip(*(part.split(size) for part in parts), strict=True)
            errors = torch.cat([self._errors_by_row(field, *block) for block in blocks])
            return errors.view(HELD_OUT_DRAWS, -1).mean(dim=0)

        return HeldOutScore("valid_loss", loss, data.held_groups)

    @torch.no_grad()
    def _impute(self, field: TimeConditionedField, latent: Tensor) -> Tensor:
        """Conditions (b, p) for codes (b, k): those of pairs, drawn from p(x | z)."""
        some = self._uniform(len(self.conditions)).argsort()[:_CANDIDATES]
        rows, n_rows = self.conditions[some], len(some)
        target = field.residual(rows, latent[:, None])
        field_given_x = partial(field, field.features(rows).repeat(len(latent), 1))
        low, high = _LOG_SIGMA_RANGE
        width = (high - low) / _N_LEVELS
        log_weight = self.log_shares[some].expand(len(latent), -1)
        levels = low + width * (self._levels + self._uniform(1))
        for sigma in levels.double().exp().to(latent.dtype).view(-1, 1, 1):
            noise = self._normal(latent).repeat_interleave(n_rows, dim=0)
            integrand = self.nll_integrand(field_given_x, target.flatten(0, 1), noise, sigma)
            log_weight = log_weight - width * integrand.view(len(latent), n_rows)
        return rows[draw_index(log_weight, self.random)]

    def _normal(self, like: Tensor) -> Tensor:
        return standard_normal(like.shape, self.random)

    def _uniform(self, *shape: int) -> Tensor:
        return standard_uniform(shape, self.random)


class FieldMatcher(BaseMatcher):
    """A matcher that learns a vector field over (u, t) and draws by following it from noise.

    u is the whitened residual of the code from ridge regression (`TimeConditionedField`), or the
    code itself where codes are images (`ConvField`). A subclass gives the loss of the field
    (`_field_objective`) and the way to follow it (`_follow`). `FieldObjective` says what is done
    with codes that have no condition.
    """

    n_steps: int | str = parameter(default=8, rule=integer(1), doc="Steps of a draw.")

    fewest_code_images = MANY_IMAGES

    channels: int = parameter(
        default=64,
        rule=multiple_of(8),
        doc="""Channels of the convolutions, a multiple of 8, where codes are images
        (`autoencoder="feature-map"`); `widths` and `activation` are not used then, and a step
        takes at most 128 pairs.""",
    )

    guidance: float | str = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""Where codes are images: how much further draws follow x than the field does, by the
        difference between the field given x and one that knows no x, times this. 0 gives the law
        as it was learnt; more makes draws of a class more typical and less diverse, and
        takes two passes a step. "auto" is 0.75 where conditions are labels, else 0. Without
        conditions it has no effect. Ho & Salimans 2022 (arXiv 2207.12598), equation 6.""",
    )
    guidance_: float = learnt("The guidance in use.")

    def fit(self, data: MatchingData, run: Run) -> FieldMatcher:
        self.guidance_ = 0.0
        if data.code_shape is not None and (data.condition != data.condition[:1]).any():
            labels = data.are_labels
            usual = _GUIDANCE_OF_LABELS if labels else 0.0
            self.guidance_ = usual if self.guidance == "auto" else float(self.guidance)
        super().fit(data, run)
        return self

    def _plan(self, data: MatchingData, run: Run) -> Plan:
        plan = super()._plan(data, run)
        if data.code_shape is None:
            return plan
        return replace(plan, batch_size=min(plan.batch_size, _MOST_CODE_IMAGES))

    @property
    def n_passes(self) -> int:
        return self._passes_of_steps() * (2 if getattr(self, "guidance_", 0.0) > 0 else 1)

    def _passes_of_steps(self) -> int:
        """Passes of the network in all steps of a draw, without guidance."""
        return int(self.n_steps)

    @abstractmethod
    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        """Residuals (b, dim) from noise (b, noise_dim)."""

    def _module(self, data: MatchingData, plan: Plan) -> TimeConditionedField | ConvField:
        random = plan.run.weights(Stream.MATCHER_WEIGHTS)
        if data.code_shape is not None:
            return ConvField(
                data.condition_dim,
                data.code_shape,
                self.channels,
                image_shape=data.image_shape,
                generator=random,
            )
        field = TimeConditionedField(
            data.condition_dim,
            data.latent_dim,
            self.widths,
            self.activation,
            data.image_shape,
            random,
        )
        start_linear(field, data, invertible=True)
        return field

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> FieldObjective:
        objective = self._field_objective(data, plan)
        objective.forgotten = _FORGOTTEN if self.guidance_ > 0 else 0.0
        return objective

    @abstractmethod
    def _field_objective(self, data: MatchingData, plan: Plan) -> FieldObjective:
        """The loss of the field."""

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        # The field's own loss varies less. But of a class with few pairs it likes a field best
        # that hardly knows the class yet, where draws are better later (docs/lessons.md).
        only_pairs = data.codes is None and data.n_pseudo == 0 and data.condition_dim > 0
        if only_pairs and data.code_shape is None and data.are_labels:
            return self._score_of_draws(data, plan)
        return objective.held_out_loss(data, plan.run.stream(Stream.MATCHER_HELD_OUT))

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, noise_dim=data.latent_dim)

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        features = in_turn(module.features(condition), len(noise))
        residual = self._follow(self._field(module, features), noise, module.dim)
        return module.latent(condition, residual)

    def _field(self, module: Any, features: Tensor) -> Field:
        """The field given features (b, f) of conditions, guided if that is asked for."""
        given = partial(module, features)
        if self.guidance_ == 0:
            return given
        free = partial(module, torch.zeros_like(features))

        def guided(points: Tensor, time: Tensor) -> Tensor:
            return torch.lerp(free(points, time), given(points, time), 1 + self.guidance_)

        return guided

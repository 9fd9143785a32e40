"""What every matcher does: learn H(x, η) so that (X, H) follows the law of (X, E(Y))."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import RidgeCV
from torch import Tensor

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.imputation import are_labels, distinct_rows, draw_index
from sklsdm.functional.scores import energy_score
from sklsdm.modules import (
    ACTIVATIONS,
    ConditionalGenerator,
    Critic,
    Critics,
    ModuleHolder,
    TimeConditionedField,
)
from sklsdm.nets import (
    AdversarialNet,
    CallbackHolder,
    HeldOutScore,
    SingleNet,
    Stage,
    TrainingNet,
    check_callbacks,
    default_callbacks,
    history_arrays,
)
from sklsdm.nets.run import Run

EPOCH_STEPS = 100
STEPS_PER_ROW = 10
_MATCHING = Stage("stage 2 (matching)", "stage-2.pt", "the matcher's lr")
_HELD_OUT_DRAWS = 16
_MAX_HELD_OUT = 256
_TOLERANCE = 1.0  # of the held-out score where unpaired codes keep the law in shape, as few
# held-out pairs tell less than they do
# Imputation of conditions: codes and candidate conditions a step, noise levels of a likelihood.
_IMPUTED_ROWS = 32
_CANDIDATES = 32
_N_LEVELS = 4
_LOG_SIGMA_RANGE = (-2.0, 1.0)

Field = Callable[[Tensor, Tensor], Tensor]  # of points (b, k) and times (b, 1) or (1, 1)


@dataclass(frozen=True)
class MatchingData:
    """What stage 2 learns from, standardised and on the device."""

    condition: Tensor  # (n, p)
    latent: Tensor  # (n, k): codes of the pairs, those of pseudo-pairs last
    held_condition: Tensor  # (v, p): pairs kept apart to choose the state; v may be 0
    held_latent: Tensor  # (v, k)
    codes: Tensor | None  # (n + N, k): codes of all responses, where stage 2 uses them
    image_shape: tuple[int, ...] | None  # (c, h, w) of an image condition, flattened in the rows
    n_pseudo: int = 0  # pairs whose condition is a guess


class BaseMatcher(CallbackHolder, ModuleHolder, BaseEstimator, ABC):
    """Stage 2. A subclass says which module to train, in which net, on which batches.

    The template is `fit`: `_plan`, `_module`, `_net`, `_batches`; `_draw` turns a trained module,
    conditions and noise into codes.

    Attributes
    ----------
    noise_dim_ : int
        Numbers of noise that one draw takes.
    network_ : torch.nn.Module
        The trained network (H, for one-step matchers), with the averaged parameters of the best
        epoch.
    n_steps_ : int
        Steps trained.
    interrupted_ : bool
        Whether Ctrl-C ended training.
    history_ : dict of str to ndarray
        Losses and held-out score by epoch.
    callbacks_ : list of skorch callbacks
        Those of `callbacks` that were called, in their order, without their names.
    """

    widths: Sequence[int]
    activation: str
    noise_dim: int | str
    max_steps: int
    lr: float
    batch_size: int
    ema_decay: float
    condition_noise: float
    unpaired_weight: float | str
    n_iter_no_change: int | None
    callbacks: Sequence[Any] | None

    _auto_weight = 1.0  # of codes without a condition, over their share
    noise_dim_: int
    network_: Any
    n_steps_: int
    interrupted_: bool
    history_: dict[str, NDArray[np.float64]]
    callbacks_: list[Any]

    def validate(self) -> None:
        """Raise on a parameter out of its range."""
        for width in self.widths:
            check_integer("matcher__widths", width, 1)
        check_choice("matcher__activation", self.activation, ACTIVATIONS)
        if self.noise_dim != "auto":
            check_integer("matcher__noise_dim", self.noise_dim, 1)
        check_integer("matcher__max_steps", self.max_steps, 1)
        check_real("matcher__lr", self.lr, 0.0, open_low=True)
        check_integer("matcher__batch_size", self.batch_size, 1)
        check_real("matcher__ema_decay", self.ema_decay, 0.0, 0.999999)
        check_real("matcher__condition_noise", self.condition_noise, 0.0)
        if self.unpaired_weight != "auto":
            check_real("matcher__unpaired_weight", self.unpaired_weight, 0.0)
        if self.n_iter_no_change is not None:
            check_integer("matcher__n_iter_no_change", self.n_iter_no_change, 1)
        check_callbacks(self.callbacks, type(self).__name__)

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        """The network to train: H(x, η), started at ridge regression with Gaussian noise."""
        generator = ConditionalGenerator(
            data.condition.shape[1],
            data.latent.shape[1],
            plan.noise_dim,
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.generator(10, torch.device("cpu")),
        )
        start_linear(generator, data.condition, data.latent)
        return generator

    @abstractmethod
    def _net(self, module: Any, data: MatchingData, plan: Plan) -> TrainingNet:
        """The net that trains `module`."""

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        """The batches to train it on, one epoch long."""
        return self._pair_batches(data, plan)

    def _pair_batches(self, data: MatchingData, plan: Plan, **settings: Any) -> PairBatches:
        """Batches as planned, but for `settings`."""
        return PairBatches(
            data.condition,
            data.latent,
            data.codes if plan.unpaired_weight > 0 else None,
            batch_size=plan.batch_size,
            n_steps=plan.epoch_steps,
            random=plan.random,
            condition_noise=self.condition_noise,
            **{"noise_dim": plan.noise_dim} | settings,
        )

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        """Codes (b, k) drawn by `module` for conditions (b, p) and noise (b, noise_dim)."""
        return module(condition, noise)

    def _noise_dim(self, latent_dim: int) -> int:
        """Numbers of noise that one draw takes."""
        return max(8, latent_dim) if self.noise_dim == "auto" else int(self.noise_dim)

    def fit(self, data: MatchingData, run: Run) -> BaseMatcher:
        """Train on the pairs (and, where given, all codes)."""
        plan = self._plan(data, run)
        net = self._net(self._module(data, plan), data, plan)
        net.fit(self._batches(data, plan))
        self.noise_dim_ = plan.noise_dim
        self.network_ = net.module_.eval()
        self.interrupted_ = net.interrupted_
        self.history_ = history_arrays(net.history)
        self.callbacks_ = check_callbacks(self.callbacks, type(self).__name__)
        self.n_steps_ = int(sum(row.get("train_batch_count", 0) for row in net.history))
        return self

    @torch.no_grad()
    def draw(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Standardised codes (b, k) for conditions (b, p) and noise (b, noise_dim_)."""
        return self._draw(self.network_, condition, noise)

    def _plan(self, data: MatchingData, run: Run) -> Plan:
        n_pairs = len(data.latent)
        noise_dim = self._noise_dim(data.latent.shape[1])
        n_rows = n_pairs if data.codes is None else len(data.codes)
        budget = min(self.max_steps, STEPS_PER_ROW * n_rows)
        steps = min(EPOCH_STEPS, budget)
        watched = len(data.held_latent) > 0
        weight = 0.0
        if data.codes is not None:
            extra = max(0, len(data.codes) - n_pairs)  # pairs may be repeated
            auto = self._auto_weight * extra / len(data.codes)
            weight = auto if self.unpaired_weight == "auto" else float(self.unpaired_weight)
        guarded = weight > 0 or data.n_pseudo > 0
        return Plan(
            run=run,
            random=run.generator(11),
            noise_dim=noise_dim,
            n_epochs=max(1, budget // steps),
            epoch_steps=steps,
            batch_size=min(self.batch_size, max(16, n_pairs)),
            unpaired_weight=weight,
            score=self._held_out_score(data, run, noise_dim) if watched else None,
            tolerance=_TOLERANCE if guarded and are_labels(data.condition) else 0.0,
        )

    def _held_out_score(
        self,
        data: MatchingData,
        run: Run,
        noise_dim: int,
    ) -> Callable[[Any], Tensor]:
        """Energy scores of draws for the held-out pairs, always with the same noise."""
        latent = data.held_latent[:_MAX_HELD_OUT]
        repeated = data.held_condition[:_MAX_HELD_OUT].repeat_interleave(_HELD_OUT_DRAWS, dim=0)
        noise = torch.randn(
            (len(repeated), noise_dim), generator=run.generator(12), device=latent.device
        )

        @torch.no_grad()
        def score(module: Any) -> Tensor:
            draws = self._draw(module, repeated, noise)
            grouped = draws.view(len(latent), _HELD_OUT_DRAWS, -1)
            return energy_score(grouped, latent)

        return score

    def _net_settings(self, plan: Plan, stage: Stage = _MATCHING) -> dict[str, Any]:
        """Arguments that every matcher's net shares."""
        return {
            "optimizer": torch.optim.Adam,
            "optimizer__fused": True,
            "lr": self.lr,
            "max_epochs": plan.n_epochs,
            "ema_decay": self.ema_decay,
            "random": plan.random,
            "device": str(plan.run.device),
            "verbose": 0,
            "callbacks": default_callbacks(
                stage,
                run=plan.run,
                held_out=None if plan.score is None else HeldOutScore(plan.monitor, plan.score),
                patience=self.n_iter_no_change,
                users=self.callbacks,
                tolerance=plan.tolerance,
            ),
        }


@dataclass(frozen=True)
class Plan:
    """Settings of one stage-2 training, resolved against the data."""

    run: Run
    random: torch.Generator
    noise_dim: int
    n_epochs: int
    epoch_steps: int
    batch_size: int
    unpaired_weight: float
    score: Callable[[Any], Tensor] | None  # of the module, by held-out pair; lower is better
    tolerance: float  # in choosing the state, in standard errors of that score
    monitor: str = "valid_energy_score"  # the name of `score` in the history


class AdversarialMatcher(BaseMatcher):
    """A matcher whose generator learns against critics: of the pairs and, maybe, of all codes.

    A subclass says what the two players lose (`_objective`), and may bring its own critics.
    """

    n_critic: int
    n_draws: int
    critic_widths: Sequence[int]
    critic_lr: float
    betas: tuple[float, float]
    _auto_weight = 2.0

    def validate(self) -> None:
        super().validate()
        check_integer("matcher__n_critic", self.n_critic, 1)
        check_integer("matcher__n_draws", self.n_draws, 1)
        for width in self.critic_widths:
            check_integer("matcher__critic_widths", width, 1)
        check_real("matcher__critic_lr", self.critic_lr, 0.0, open_low=True)
        for beta in self.betas:
            check_real("matcher__betas", beta, 0.0, 0.999999)

    @abstractmethod
    def _objective(self, plan: Plan) -> Callable[[], Any]:
        """What makes the `AdversarialObjective` of this training."""

    def _critic(
        self,
        condition_dim: int,
        latent_dim: int,
        image_shape: tuple[int, ...] | None,
        random: torch.Generator,
    ) -> Any:
        """A critic f(x, z), or f(z) where `condition_dim` is 0."""
        return Critic(
            condition_dim, latent_dim, self.critic_widths, self.activation, image_shape, random
        )

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> AdversarialNet:
        random = plan.run.generator(20, torch.device("cpu"))
        latent_dim = data.latent.shape[1]
        joint = self._critic(data.condition.shape[1], latent_dim, data.image_shape, random)
        matches_codes = plan.unpaired_weight > 0
        marginal = self._critic(0, latent_dim, None, random) if matches_codes else None
        return AdversarialNet(
            module,
            Critics(joint, marginal),
            criterion=self._objective(plan),
            optimizer__betas=tuple(self.betas),
            critic_optimizer=torch.optim.Adam,
            critic_optimizer__lr=self.critic_lr,
            critic_optimizer__betas=tuple(self.betas),
            critic_optimizer__fused=True,
            **self._net_settings(plan),
        )

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, per_step=self.n_critic + 1, n_draws=self.n_draws)


class FieldMatcher(BaseMatcher):
    """A matcher that learns a vector field over (u, t) and draws by following it from noise.

    u is the whitened residual of the code from ridge regression (`TimeConditionedField`). A
    subclass says what the field loses (`_objective`) and how it is followed (`_follow`).
    """

    noise_dim = "auto"  # follows from the latent dimension and the sampler
    n_steps: int

    def validate(self) -> None:
        super().validate()
        check_integer("matcher__n_steps", self.n_steps, 1)

    def _module(self, data: MatchingData, plan: Plan) -> TimeConditionedField:
        field = TimeConditionedField(
            data.condition.shape[1],
            data.latent.shape[1],
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.generator(10, torch.device("cpu")),
        )
        start_linear(field, data.condition, data.latent, shrink=True)
        return field

    @abstractmethod
    def _objective(self, data: MatchingData, plan: Plan) -> FieldObjective:
        """What the field loses on a batch."""

    @abstractmethod
    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        """Residuals (b, dim) from noise (b, noise_dim)."""

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> SingleNet:
        objective = self._objective(data, plan)
        if plan.score is not None:
            loss = objective.held_out_loss(data, plan.run.generator(12))
            plan = replace(plan, score=loss, monitor="valid_loss")
        return SingleNet(module, criterion=lambda: objective, **self._net_settings(plan))

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        return self._pair_batches(data, plan, noise_dim=data.latent.shape[1])

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        field = partial(module, module.features(condition))
        residual = self._follow(field, noise, len(module.intercept))
        return module.latent(condition, residual)


class FieldObjective(ABC):
    """Mean squared error of a field on the pairs, and on codes whose conditions it imputes.

    A code z without a condition gets one of those of the pairs, drawn from p(x | z) ∝ p(x) p(z | x)
    with the field's own likelihood p(z | x): stochastic EM for the likelihood of all codes under
    the mixture of p(z | x) over x. The mixture's law then is theirs, and their x differ.
    """

    def __init__(self, data: MatchingData, plan: Plan) -> None:
        self.weight = plan.unpaired_weight
        self.random = plan.random
        if self.weight > 0:
            self.conditions, self.log_shares = distinct_rows(data.condition)

    @abstractmethod
    def errors(
        self, field: Field, condition: Tensor, target: Tensor, noise: Tensor, uniform: Tensor
    ) -> Tensor:
        """What the field is off by (b, k) at points given by noise and uniform numbers."""

    @abstractmethod
    def misfit(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """Derivative (b,) by ln σ, at a ratio of noise to signal σ, of −ln p(target)."""

    def __call__(self, field: TimeConditionedField, batches: list[PairBatch]) -> Tensor:
        (batch,) = batches
        condition, latent, noise, uniform, other = batch
        if other is not None:
            other = other[:_IMPUTED_ROWS]
            condition = torch.cat([condition, self._impute(field, other)])
            latent = torch.cat([latent, other])
            noise = torch.cat([noise, self._normal(other)])
            uniform = torch.cat([uniform, self._uniform(len(other), 1)])
        target = field.residual(condition, latent)
        bound = partial(field, field.features(condition))
        errors = self.errors(bound, condition, target, noise, uniform).square().mean(dim=1)
        paired, imputed = errors.split([len(batch.latent), len(errors) - len(batch.latent)])
        loss = paired.mean()
        return loss if other is None else loss + self.weight * imputed.mean()

    def held_out_loss(
        self, data: MatchingData, random: torch.Generator
    ) -> Callable[[TimeConditionedField], Tensor]:
        """Mean squared errors by held-out pair, always with the same noise and all times.

        Drawn anew for each pair many times over, they vary less than a score of draws.
        """
        condition = data.held_condition[:_MAX_HELD_OUT].repeat(_HELD_OUT_DRAWS, 1)
        latent = data.held_latent[:_MAX_HELD_OUT].repeat(_HELD_OUT_DRAWS, 1)
        noise = torch.randn(latent.shape, generator=random, device=latent.device)
        times = (torch.arange(_HELD_OUT_DRAWS, device=latent.device) + 0.5) / _HELD_OUT_DRAWS
        uniform = times.repeat_interleave(len(latent) // _HELD_OUT_DRAWS)[:, None]

        @torch.no_grad()
        def loss(field: TimeConditionedField) -> Tensor:
            target = field.residual(condition, latent)
            bound = partial(field, field.features(condition))
            errors = self.errors(bound, condition, target, noise, uniform)
            return errors.square().mean(dim=1).view(_HELD_OUT_DRAWS, -1).mean(dim=0)

        return loss

    @torch.no_grad()
    def _impute(self, field: TimeConditionedField, latent: Tensor) -> Tensor:
        """A condition (b, p) of the pairs for each code (b, k), drawn from p(x | z)."""
        some = self._uniform(len(self.conditions)).argsort()[:_CANDIDATES]
        rows, n_rows = self.conditions[some], len(some)
        target = field.residual(rows, latent[:, None])
        bound = partial(field, field.features(rows).repeat(len(latent), 1))
        low, high = _LOG_SIGMA_RANGE
        width = (high - low) / _N_LEVELS
        log_weight = self.log_shares[some].expand(len(latent), -1)
        for level in (low + width * (torch.arange(_N_LEVELS) + self._uniform(1))).tolist():
            noise = self._normal(latent).repeat_interleave(n_rows, dim=0)
            sigma = latent.new_full((1, 1), math.exp(level))
            misfit = self.misfit(bound, target.flatten(0, 1), noise, sigma)
            log_weight = log_weight - width * misfit.view(len(latent), n_rows)
        return rows[draw_index(log_weight, self.random)]

    def _normal(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.random, device=like.device)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.random, device=self.random.device)


def start_linear(
    generator: Any,
    condition: Tensor,
    latent: Tensor,
    shrink: bool = False,
) -> None:
    """Set the linear path to ridge regression with its residual covariance.

    `shrink` draws the covariance towards its mean variance, so that it can be inverted.
    """
    x, z = condition.double().cpu().numpy(), latent.double().cpu().numpy()
    coef, intercept = np.zeros((z.shape[1], x.shape[1])), z.mean(axis=0)
    if x.shape[1]:
        ridge = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit(x, z)
        coef, intercept = ridge.coef_.reshape(coef.shape), np.atleast_1d(ridge.intercept_)
    residual = z - x @ coef.T - intercept
    covariance = np.atleast_2d(np.cov(residual.T))
    if shrink:
        share = len(covariance) / (len(z) + len(covariance))
        mean_variance = np.trace(covariance) / len(covariance) + 1e-6
        covariance = (1 - share) * covariance + share * mean_variance * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1]
    factor = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    generator.set_linear(
        torch.as_tensor(coef), torch.as_tensor(intercept), torch.as_tensor(factor.copy())
    )

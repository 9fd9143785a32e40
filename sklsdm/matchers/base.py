"""Base of the matchers: they learn H(x, η) such that (X, H(X, η)) has the law of (X, E(Y))."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from sklsdm.batches import PairBatches
from sklsdm.functional.scores import energy_score, multiscale_score
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.linear_start import with_errors_of_new_pairs
from sklsdm.matchers.noise_scale import HeldOut
from sklsdm.modules import ACTIVATIONS, in_turn, widest_output
from sklsdm.nets import (
    Adam,
    HeldOutScore,
    Look,
    SingleNet,
    TrainingNet,
    default_callbacks,
    range_of,
)
from sklsdm.noise import standard_normal
from sklsdm.parameters import (
    at_least,
    between,
    integer,
    learnt,
    one_of,
    or_auto,
    parameter,
    sequence_of,
)
from sklsdm.parts import TrainedPart
from sklsdm.run import Run, Stream
from sklsdm.stages import MATCHING, Stage

EPOCH_STEPS = 100  # steps of an epoch, after which scores, callbacks and checkpoints run
_STEPS_PER_ROW = 10  # most steps for each code that stage 2 learns from
HELD_OUT_DRAWS = 16  # draws, or noises of a field, for each held-out pair
FEW_HELD_OUT = 20  # pairs; fewer do not choose the noise's scale alone, and tell little of a state
MAX_SCORED = 256  # held-out pairs that are scored after an epoch
_LOOKED_AT = 256  # draws in a look after an epoch, where one pass of the network gives them,
_SLOW_LOOKED_AT = 64  # ... where they take several passes,
_IMAGES_LOOKED_AT = 8  # ... and where codes are images
_LOOKED_AT_IN_THE_END = 16  # times as many as where one pass gives them


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
    tolerance: float  # standard errors by which the state kept may be worse than the best
    doubt: float | None = None  # ... by which it must be better than the start; None: not at all


class Prepared(NamedTuple):
    """What came of a training of the module that went before its own."""

    net: TrainingNet | None = None  # that trained it; None where nothing did
    interrupted: bool = False  # by Ctrl-C, which ends the whole fit
    is_enough: bool = False  # whether the module's own training is left out


class BaseMatcher(TrainedPart, ABC):
    """Base of all matchers, with the same `fit` for each.

    A subclass says which module is trained (`_module`), which loss it minimises (`_objective`)
    and on which batches (`_batches`), and how the trained module turns conditions and noise into
    codes (`_draw`). docs/extending.md has an example.
    """

    widths: Sequence[int] = parameter(
        default=(128, 128, 128),
        rule=sequence_of(integer(1)),
        doc="Hidden widths of the network that draws.",
    )
    activation: str = parameter(
        default="leaky_relu", rule=one_of(*ACTIVATIONS), doc="Activation between the layers."
    )
    max_steps: int = parameter(
        default=3000,
        rule=integer(1),
        doc="""Largest number of training steps; from 100 on rounded down to a multiple of 100.
        No more than 10 are taken for each code that stage 2 learns from.""",
    )
    batch_size: int = parameter(
        default=256,
        doc="""Pairs in one step, drawn with replacement. It is lowered to the number of pairs, but
        not below 16, where there are fewer.""",
    )
    ema_decay: float = parameter(
        default=0.995,
        rule=between(0.0, 1.0),
        doc="""Decay of the moving average of the network's parameters, from which draws are made.
        Closer to 1 averages over more steps.""",
    )
    condition_noise: float = parameter(
        default=0.0,
        rule=at_least(0.0),
        doc="""Standard deviation of the Gaussian noise added to x in every training step, in units
        of the columns' own (`scale_X`). Raise it where pairs are few, or where X has many columns
        that say nearly the same.""",
    )
    unpaired_weight: float | str = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""With `unpaired="match"` or "pair", the weight of the term for codes without a
        condition in the loss (described above); 0 leaves it out. "auto" is the unpaired share,
        N / (n + N).""",
    )
    noise_dim_: int = learnt("How many standard normal numbers one draw takes.")
    network_: Any = learnt(
        """The trained network (H itself, for one-step matchers), with the averaged parameters of
        the state that was kept.""",
        "torch.nn.Module",
    )
    numbers_per_draw_: int = learnt(
        "Most numbers that a layer holds for one draw; bounds how many are made at once."
    )
    interrupted_: bool = learnt("Whether Ctrl-C ended training.")

    _stage: ClassVar[Stage] = MATCHING
    corrects_for_leverage: ClassVar[bool] = True  # of ridge regression, by pairs that are left out
    # From so many images on it learns codes that are images; infinite without a network for them.
    fewest_code_images: ClassVar[float] = math.inf

    def fit(self, data: MatchingData, run: Run) -> BaseMatcher:
        """Train on the pairs (and, where given, all codes)."""
        plan = self._plan(data, run)
        module = self._at_start("network_", self._module(data, plan))
        goes_on = self._was_trained_before and not data.are_too_few_numbers
        ready = Prepared() if goes_on else self._prepare(module, data, plan)
        if self.corrects_for_leverage:
            data = with_errors_of_new_pairs(data)
        if ready.interrupted or ready.is_enough:
            plan = replace(plan, n_epochs=0)
        net = self._net(module, data, plan)
        net.fit(self._batches(data, plan))
        self.noise_dim_ = plan.noise_dim
        self.network_ = net.module_.eval()
        one = data.condition[:1], data.latent.new_zeros((1, plan.noise_dim))
        self.numbers_per_draw_ = widest_output([self.network_], lambda: self.draw(*one))
        self.interrupted_ = net.interrupted_ or ready.interrupted
        self._note_training(net, ready.net)
        return self

    @property
    def n_passes(self) -> int:
        """Passes of the network that one draw takes."""
        return 1

    def keeps_only_sure_labels(self, data: MatchingData) -> bool:
        """Whether only sure labels of unpaired codes are learnt, and other codes without one.

        Otherwise all are, with all pairs and to the last step.
        """
        return True

    @torch.no_grad()
    def draw(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Standardised codes (b m, k) for conditions (b, p) and noise (b m, noise_dim_).

        The m draws of one condition follow each other. What depends on the condition alone is
        computed once for them.
        """
        return several_draws(self.network_, condition, noise, self._draw)

    # ------------------------------------------------------------------ set by subclasses
    @abstractmethod
    def _module(self, data: MatchingData, plan: Plan) -> Any:
        """The network to train."""

    @abstractmethod
    def _noise_dim(self, latent_dim: int) -> int:
        """How many standard normal numbers one draw takes."""

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        """Codes (b, k) drawn by `module` for conditions (b, p) and noise (b, noise_dim).

        By default they are what the module gives for both. A network with `takes_several` gets
        noise (b m, noise_dim), for m draws of each in turn.
        """
        return module(condition, noise)

    @abstractmethod
    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> Any:
        """What training minimises: a callable that gives the loss of a module and a batch.

        It is called as ``objective(module, batch)`` with a `PairBatch` and returns a scalar
        tensor. `module` is that of `_module`; `plan.unpaired_weight` is the weight of the term of
        codes without a condition (`batch.other`, which is None where the weight is 0).
        """

    def _prepare(self, module: Any, data: MatchingData, plan: Plan) -> Prepared:
        """Train a new module on something else first."""
        return Prepared()

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        """The batches of one epoch."""
        return self._pair_batches(data, plan)

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        """The score of held-out pairs by which the state is chosen; None keeps the last state."""
        return self._score_of_draws(data, plan)

    # ------------------------------------------------------------------ shared
    def for_held_out(self, data: MatchingData) -> HeldOut:
        """The held-out pairs, which this fitted matcher has not seen, with what draws for them."""
        draw = partial(several_draws, self.network_, draw=self._draw)
        condition, latent = data.held_condition[:MAX_SCORED], data.held_latent[:MAX_SCORED]
        groups = None if data.held_groups is None else data.held_groups[:MAX_SCORED]
        return HeldOut(draw, self.noise_dim_, condition, latent, groups)

    def _score_of_draws(
        self, data: MatchingData, plan: Plan, kind: str = "multiscale"
    ) -> HeldOutScore | None:
        """Scores of draws for the held-out pairs, always with the same noise."""
        if len(data.held_latent) == 0:
            return None
        latent = data.held_latent[:MAX_SCORED]
        condition = data.held_condition[:MAX_SCORED]
        random = plan.run.stream(Stream.MATCHER_HELD_OUT)
        noise = standard_normal((HELD_OUT_DRAWS * len(latent), plan.noise_dim), random)
        score_of = {"energy": energy_score, "multiscale": multiscale_score}[kind]

        @torch.no_grad()
        def score(module: Any) -> Tensor:
            draws = several_draws(module, condition, noise, self._draw)
            return score_of(draws.view(len(latent), HELD_OUT_DRAWS, -1), latent)

        return HeldOutScore(f"valid_{kind}_score", score, data.held_groups)

    def _auto_weight(self, unpaired_share: float) -> float:
        """`unpaired_weight="auto"`, given the share of codes without a condition."""
        return unpaired_share

    @property
    def step_limit(self) -> int:
        """`max_steps`, or the number that "auto" stands for."""
        return self.max_steps

    def budget(self, n_rows: int) -> int:
        """Most training steps on so many codes."""
        return min(self.step_limit, _STEPS_PER_ROW * n_rows)

    def for_trials(self, latent_dim: int) -> BaseMatcher:
        """The matcher that is fitted where only a choice is made: this one by default."""
        return self

    def _plan(self, data: MatchingData, run: Run) -> Plan:
        n_pairs = len(data.latent)
        budget = self.budget(n_pairs if data.codes is None else len(data.codes))
        steps = min(EPOCH_STEPS, budget)
        weight = 0.0
        if data.codes is not None and self.unpaired_weight == "auto":
            n_unpaired = max(0, len(data.codes) - n_pairs)  # `latent` may repeat pairs
            weight = self._auto_weight(n_unpaired / len(data.codes))
        elif data.codes is not None:
            weight = float(self.unpaired_weight)
        # With labels and unpaired codes, the latest state within a standard error of the best is
        # kept: few held-out pairs cannot tell such states apart, and unpaired codes keep the law
        # from narrowing onto the pairs. Without unpaired codes this did harm (docs/lessons.md).
        uses_unpaired = weight > 0 or data.n_pseudo > 0
        return Plan(
            run=run,
            random=run.stream(Stream.MATCHER_STEPS),
            noise_dim=self._noise_dim(data.latent_dim),
            n_epochs=max(1, budget // steps),
            epoch_steps=steps,
            batch_size=min(self.batch_size, max(16, n_pairs)),
            unpaired_weight=weight,
            tolerance=1.0 if uses_unpaired and data.are_labels else 0.0,
        )

    def _pair_batches(self, data: MatchingData, plan: Plan, **settings: Any) -> PairBatches:
        """The batches of the plan, with `settings` in place of its own."""
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

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> TrainingNet:
        """The net that trains `module`."""
        objective = self._objective(module, data, plan)
        return SingleNet(
            module,
            criterion=lambda: objective,
            **self._net_settings(data, plan, self._stage, self._held_out(objective, data, plan)),
        )

    def _net_settings(
        self, data: MatchingData, plan: Plan, stage: Stage, held_out: HeldOutScore | None
    ) -> dict[str, Any]:
        """Arguments that the nets of all matchers share."""
        return {
            "optimizer": Adam,
            "lr": self.lr,
            "max_epochs": plan.n_epochs,
            "ema_decay": self.ema_decay,
            "random": plan.random,
            "device": str(plan.run.device),
            "verbose": 0,
            "callbacks": default_callbacks(
                stage,
                run=plan.run,
                held_out=held_out,
                patience=self.n_iter_no_change,
                users=self.callbacks,
                tolerance=plan.tolerance,
                doubt=plan.doubt,
                look=self._look(data, plan),
            ),
        }

    def _look(self, data: MatchingData, plan: Plan) -> Look:
        """A look at a few draws for conditions of the pairs, always with the same noise."""
        random = plan.run.stream(Stream.LOOKS)
        most = _LOOKED_AT if data.code_shape is None else _IMAGES_LOOKED_AT
        n_rows = most if self.n_passes == 1 else min(most, _SLOW_LOOKED_AT)
        n_final = n_rows if plan.run.is_trial else _LOOKED_AT_IN_THE_END * most
        device = data.latent.device
        rows = torch.randint(len(data.condition), (n_final,), generator=random, device=device)
        condition = data.condition[rows]
        shape = (n_final, plan.noise_dim)
        noise = standard_normal(shape, random)
        known = (data.latent, data.held_latent, *(() if data.codes is None else (data.codes,)))

        def draws(module: Any, count: int) -> Tensor:
            blocks = zip(condition[:count].split(most), noise[:count].split(most), strict=True)
            return torch.cat([self._draw(module, *block) for block in blocks])

        return Look(
            draws,
            *range_of(*known),
            what="draws",
            n_rows=n_rows,
            n_final=n_final,
        )


def several_draws(
    module: Any,
    condition: Tensor,
    noise: Tensor,
    draw: Callable[[Any, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Draws (b m, k) for conditions (b, p) and noise (b m, d), those of each one in turn.

    They are those of ``draw(module, condition, noise)``, or of the module itself. Conditions are
    repeated for it, unless it says by `takes_several` that it does that itself.
    """
    if not getattr(module, "takes_several", False):
        condition = in_turn(condition, len(noise))
    return module(condition, noise) if draw is None else draw(module, condition, noise)

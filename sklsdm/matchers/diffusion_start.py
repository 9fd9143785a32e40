"""Where a generator may start: at the draws of a diffusion, which it learns by regression."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

from torch import Tensor

from sklsdm.matchers.base import Plan, Prepared
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.diffusion import DiffusionMatcher
from sklsdm.matchers.distillation import (
    DistillationObjective,
    TaughtBatches,
    draws_to_learn,
)
from sklsdm.nets import Adam, HeldOutScore, SingleNet, default_callbacks
from sklsdm.run import Stream
from sklsdm.stages import STARTING_DIFFUSION, STARTING_DISTILLATION, Stage

# Steps of the diffusion for each step that the generator may take.
STEPS_OF_DIFFUSION = 3
_RATE, _BATCH_SIZE = 5e-3, 128  # of the regression
_SHORTENED = 4  # times fewer steps of the regression after Ctrl-C


class StartingDiffusion(DiffusionMatcher):
    """The diffusion whose draws a generator learns before its own training."""

    lr: float = 1.5e-3
    _stage: ClassVar[Stage] = STARTING_DIFFUSION


def learn_draws(
    generator: Any,
    diffusion: StartingDiffusion,
    data: MatchingData,
    plan: Plan,
    held_out: HeldOutScore | None,
    ema_decay: float,
) -> Prepared:
    """Fit `diffusion` to the data and let `generator` learn what it draws for equal noise.

    The state of the generator is the last one that `held_out` finds worse than the best by no more
    than a standard error; the state before the first step counts, too. Of a diffusion that learnt
    nothing, or gives no finite draws, nothing is learnt. After Ctrl-C, in the diffusion or while it
    draws, its best state is still learnt, in a quarter of the steps; another Ctrl-C ends that.
    (Luhman & Luhman 2021, arXiv 2101.02388.)
    """
    diffusion.fit(data, plan.run)
    interrupted = diffusion.interrupted_
    if diffusion.best_step_ == 0:
        return Prepared(None, interrupted)
    plan = replace(plan, random=plan.run.stream(Stream.DISTILLATION))
    batches = None if interrupted else _draws_of(diffusion, data, plan)
    if batches is None:
        interrupted = True
        plan = replace(plan, n_epochs=math.ceil(plan.n_epochs / _SHORTENED))
        batches = _draws_of(diffusion, data, plan)
    if batches is None or len(batches.rows) == 0:
        return Prepared(None, interrupted)
    if interrupted:
        # A fit that resumes this one goes on with the diffusion, from whose end it must learn anew.
        plan = replace(plan, run=replace(plan.run, checkpoint=None))
    net = _net(generator, plan, held_out, ema_decay)
    net.fit(batches)
    return Prepared(net, interrupted or net.interrupted_)


def _draws_of(diffusion: StartingDiffusion, data: MatchingData, plan: Plan) -> TaughtBatches | None:
    """What the fitted diffusion draws, as batches; None after Ctrl-C."""

    def sample(condition: Tensor, noise: Tensor) -> Tensor:
        return diffusion.draw(condition, noise[:, : diffusion.noise_dim_])

    try:
        return draws_to_learn(
            sample,
            data,
            plan,
            numbers_per_draw=diffusion.numbers_per_draw_,
            batch_size=_BATCH_SIZE,
        )
    except KeyboardInterrupt:
        return None


def _net(generator: Any, plan: Plan, held_out: HeldOutScore | None, ema_decay: float) -> SingleNet:
    """The net that trains the generator by regression on draws."""
    objective = DistillationObjective(lambda module, x, noise: module(x, noise))
    return SingleNet(
        generator,
        criterion=lambda: objective,
        optimizer=Adam,
        lr=_RATE,
        max_epochs=plan.n_epochs,
        ema_decay=ema_decay,
        random=plan.random,
        device=str(plan.run.device),
        verbose=0,
        callbacks=default_callbacks(
            STARTING_DISTILLATION, run=plan.run, held_out=held_out, tolerance=1.0
        ),
    )

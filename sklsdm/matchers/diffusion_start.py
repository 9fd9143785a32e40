"""Where a generator may start: at the draws of a diffusion, which it learns by regression."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

from sklsdm.matchers.base import Plan, Prepared
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.diffusion import DiffusionMatcher
from sklsdm.matchers.distillation import (
    DISTILLATION,
    DistillationObjective,
    draws_to_learn,
)
from sklsdm.nets import Adam, HeldOutScore, SingleNet, default_callbacks
from sklsdm.run import Stage, Stream

# Steps of the diffusion for each step that the generator may take.
STEPS_OF_DIFFUSION = 3
_RATE, _BATCH_SIZE = 5e-3, 128  # of the regression
_SHORTENED = 4  # times fewer steps of the regression after Ctrl-C
_ADVICE = "Set the matcher's start='linear'"


class StartingDiffusion(DiffusionMatcher):
    """The diffusion whose draws a generator learns before its own training."""

    lr: float = 1.5e-3
    _stage: ClassVar[Stage] = Stage("stage 2 (diffusion)", "diffusion.state", _ADVICE)


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
    full = replace(plan, random=plan.run.stream(Stream.DISTILLATION))
    in_short = replace(full, n_epochs=math.ceil(full.n_epochs / _SHORTENED))
    for plan in [in_short] if interrupted else [full, in_short]:
        try:
            batches = draws_to_learn(
                lambda condition, noise: diffusion.draw(
                    condition, noise[:, : diffusion.noise_dim_]
                ),
                data,
                plan,
                numbers_per_draw=diffusion.numbers_per_draw_,
                batch_size=_BATCH_SIZE,
            )
            break
        except KeyboardInterrupt:
            interrupted = True
    else:
        return Prepared(None, True)
    if len(batches.rows) == 0:
        return Prepared(None, interrupted)
    objective = DistillationObjective(lambda module, x, noise: module(x, noise))
    stage = replace(DISTILLATION, advice=_ADVICE)
    # A fit that resumes this one goes on with the diffusion, from whose end it must learn anew.
    run = replace(plan.run, checkpoint=None) if interrupted else plan.run
    net = SingleNet(
        generator,
        criterion=lambda: objective,
        optimizer=Adam,
        lr=_RATE,
        max_epochs=plan.n_epochs,
        ema_decay=ema_decay,
        random=plan.random,
        device=str(plan.run.device),
        verbose=0,
        callbacks=default_callbacks(stage, run=run, held_out=held_out, tolerance=1.0),
    )
    net.fit(batches)
    return Prepared(net, interrupted or net.interrupted_)

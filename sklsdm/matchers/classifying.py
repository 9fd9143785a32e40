"""The training of a classifier that tells labels from codes or images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.matchers.base import EPOCH_STEPS
from sklsdm.nets import AdamW, SingleNet, default_callbacks
from sklsdm.run import Run
from sklsdm.stages import Stage


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: which stage of a fit that is, and the settings of AdamW."""

    stage: Stage
    lr: float
    n_steps: int
    batch_size: int
    ema_decay: float = 0.99  # of the moving average of its parameters; 0 takes the last ones


def fit_classifier(
    classifier: Any,
    objective: Callable[[nn.Module, PairBatch], Tensor],
    seen: tuple[Tensor, Tensor, Tensor | None],
    recipe: Recipe,
    random: torch.Generator,
    run: Run,
    *,
    noise_dim: int = 0,
) -> Any:
    """The classifier, fitted; `seen` are labels (n,), their responses, and all responses or None.

    The objective finds the labels in a batch as `condition`, their responses as `latent`, some of
    all responses as `other`, and `noise` (b, noise_dim). Ctrl-C raises KeyboardInterrupt.
    """
    epoch_steps = min(EPOCH_STEPS, recipe.n_steps)
    net = SingleNet(
        classifier,
        criterion=lambda: objective,
        optimizer=AdamW,
        lr=recipe.lr,
        max_epochs=recipe.n_steps // epoch_steps,
        ema_decay=recipe.ema_decay,
        random=random,
        device=str(run.device),
        verbose=0,
        callbacks=default_callbacks(recipe.stage, run=run),
    )
    net.fit(
        PairBatches(
            *seen,
            batch_size=recipe.batch_size,
            n_steps=epoch_steps,
            noise_dim=noise_dim,
            random=random,
        )
    )
    if net.interrupted_:
        raise KeyboardInterrupt
    return net.module_.eval()

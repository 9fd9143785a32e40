"""The training of a classifier that tells labels from codes or images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.matchers.base import EPOCH_STEPS
from sklsdm.nets import AdamW, SingleNet, default_callbacks
from sklsdm.run import Run, Stage


def fit_classifier(
    classifier: Any,
    objective: Callable[[nn.Module, PairBatch], Tensor],
    seen: tuple[Tensor, Tensor, Tensor | None],
    stage: Stage,
    random: torch.Generator,
    run: Run,
    *,
    lr: float,
    n_steps: int,
    batch_size: int,
    noise_dim: int,
    ema_decay: float = 0.0,
) -> Any:
    """The classifier, fitted; `seen` are labels (n,), their responses, and all responses or None.

    Ctrl-C raises KeyboardInterrupt.
    """
    epoch_steps = min(EPOCH_STEPS, n_steps)
    net = SingleNet(
        classifier,
        criterion=lambda: objective,
        optimizer=AdamW,
        lr=lr,
        max_epochs=n_steps // epoch_steps,
        ema_decay=ema_decay,
        random=random,
        device=str(run.device),
        verbose=0,
        callbacks=default_callbacks(stage, run=run),
    )
    net.fit(
        PairBatches(
            *seen,
            batch_size=batch_size,
            n_steps=epoch_steps,
            noise_dim=noise_dim,
            random=random,
        )
    )
    if net.interrupted_:
        raise KeyboardInterrupt
    return net.module_.eval()

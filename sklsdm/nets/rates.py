"""Learning rates: our schedule, and how it gives way to a scheduler of the user's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skorch.callbacks import Callback, LRScheduler

from sklsdm.nets.base import TrainingNet


class CosineRate(Callback):
    """Rates fall from their initial values to zero along half a cosine.

    `spared` names optimizers whose rates somebody else moves.
    """

    def __init__(self, spared: Sequence[str] = ()) -> None:
        self.spared = spared

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        for group in groups(net, self.spared):
            group.setdefault("initial_lr", group["lr"])

    def on_epoch_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        done = (len(net.history) - 1) / net.max_epochs
        for group in groups(net, self.spared):
            group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * done))


def our_rate(users: Sequence[Callback]) -> CosineRate:
    """Our schedule beside the user's callbacks.

    skorch's LRScheduler moves the rate of `net.optimizer_`, so where there is one, ours leaves
    that optimizer alone. A critic's optimizer keeps our schedule.
    """
    theirs = any(isinstance(callback, LRScheduler) for callback in users)
    return CosineRate(spared=("optimizer",) if theirs else ())


def groups(net: TrainingNet, spared: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Parameter groups of all optimizers but those `spared`."""
    names = [name for name in net._optimizers if name not in spared]
    return [group for name in names for group in getattr(net, name + "_").param_groups]


def halve_rates(net: TrainingNet) -> None:
    """Halve every rate, and the rates from which schedules start."""
    for group in groups(net):
        for name in group.keys() & {"lr", "initial_lr"}:
            group[name] = group[name] / 2
    for _, callback in net.callbacks_:
        if isinstance(callback, LRScheduler) and hasattr(callback.lr_scheduler_, "base_lrs"):
            scheduler = callback.lr_scheduler_
            scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]

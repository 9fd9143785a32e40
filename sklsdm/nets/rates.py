"""Learning rates: the built-in schedule, which leaves room for a scheduler of the user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from skorch.callbacks import Callback, LRScheduler

from sklsdm.nets.base import TrainingNet


class CosineRate(Callback):
    """Let learning rates fall from their initial values to zero along half a cosine.

    `spared` names optimizers whose rates are left alone.
    """

    def __init__(self, spared: Sequence[str] = ()) -> None:
        self.spared = spared

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        for group in parameter_groups(net, self.spared):
            group.setdefault("initial_lr", group["lr"])

    def on_epoch_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        done = (len(net.history) - 1) / net.max_epochs
        for group in parameter_groups(net, self.spared):
            group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * done))


def built_in_schedule(users: Sequence[Callback]) -> CosineRate:
    """The built-in schedule, for use beside the user's callbacks.

    skorch's LRScheduler sets the rate of `net.optimizer_`. If the user passes one, the built-in
    schedule leaves that optimizer alone, and sets only the rate of a critic's optimizer.
    """
    has_scheduler = any(isinstance(callback, LRScheduler) for callback in users)
    return CosineRate(spared=("optimizer",) if has_scheduler else ())


def parameter_groups(net: TrainingNet, spared: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Parameter groups of all optimizers except those in `spared`."""
    moved = [optimizer for name, optimizer in net.optimizers.items() if name not in spared]
    return [group for optimizer in moved for group in optimizer.param_groups]


def rates_by_name(net: TrainingNet) -> list[tuple[str, float]]:
    """Learning rates of all optimizers, by the names of the settings: lr, critic_lr."""
    return [
        (f"{name.removesuffix('optimizer')}lr", group["lr"])
        for name, optimizer in net.optimizers.items()
        for group in optimizer.param_groups
    ]


def halve_rates(net: TrainingNet) -> None:
    """Halve all learning rates, and the initial rates that schedules compute later ones from."""
    for group in parameter_groups(net):
        for name in group.keys() & {"lr", "initial_lr"}:
            group[name] = group[name] / 2
    for _, callback in net.callbacks_:
        if isinstance(callback, LRScheduler) and hasattr(callback.lr_scheduler_, "base_lrs"):
            scheduler = callback.lr_scheduler_
            scheduler.base_lrs = [rate / 2 for rate in scheduler.base_lrs]

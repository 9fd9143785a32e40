"""Recovery from training that becomes non-finite."""

from __future__ import annotations

import logging
import math
from typing import Any

from skorch.callbacks import Callback

from sklsdm.exceptions import DivergenceError
from sklsdm.nets.base import TrainingNet
from sklsdm.nets.rates import halve_rates, parameter_groups
from sklsdm.run import Stage

_LOG = logging.getLogger("sklsdm")


class DivergenceGuard(Callback):
    """After a non-finite epoch, return to the last finite one, halve the learning rates, go on.

    An epoch is finite if its losses and the parameters after its last step are. After `retries`
    such attempts a DivergenceError is raised; so it is if training ends without any finite epoch.
    """

    remembers = ("n_retries_", "n_good_", "last_good_")

    def __init__(self, stage: Stage, retries: int = 3) -> None:
        self.stage = stage
        self.retries = retries

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        self.n_retries_ = 0
        self.n_good_ = 0
        self.last_good_ = net.snapshot()

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if all(map(math.isfinite, _losses(net).values())) and net.is_finite():
            self.last_good_ = net.snapshot()
            self.n_good_ += 1
            return
        if self.n_retries_ == self.retries:
            raise self._error(net)
        self.n_retries_ += 1
        net.restore(self.last_good_)
        halve_rates(net)
        self.last_good_ = net.snapshot()
        _LOG.warning(
            "%s: training became non-finite; back to the last good epoch at half the learning rate",
            self.stage.title,
        )

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.n_retries_ and not self.n_good_ and not net.interrupted_:
            raise self._error(net)  # all epochs are used up before all retries are

    def _error(self, net: TrainingNet) -> DivergenceError:
        steps = sum(net.history[:, "train_batch_count"])
        named = ", ".join(f"{name}={value:g}" for name, value in _losses(net).items())
        rates = ", ".join(f"{group['lr']:.2g}" for group in parameter_groups(net))
        return DivergenceError(
            f"{self.stage.title}: training became non-finite at step {steps} ({named}), even after "
            f"{self.n_retries_} retries from the last good state, each at half the learning rate "
            f"(now {rates}). {self.stage.advice}, "
            f"and look for extreme values in the data."
        )


def _losses(net: TrainingNet) -> dict[str, float]:
    """Losses of the last epoch."""
    return {name: value for name, value in net.history[-1].items() if name.endswith("loss")}

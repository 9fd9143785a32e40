"""Recovery from training that diverges: it becomes non-finite, or what it gives is far off."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from skorch.callbacks import Callback

from sklsdm.exceptions import DivergenceError
from sklsdm.nets.base import TrainingNet
from sklsdm.nets.looks import FARTHEST, Look
from sklsdm.nets.rates import halve_rates, rates_by_name
from sklsdm.stages import Stage

_RETRIES = 3  # returns to the last good epoch
_FARTHER = 10  # times as far off as at the start, where that is far off
# Share of the rows looked at in the end that may be far off: fewer are told of by a warning.
MOST_FAR = 0.05

_LOG = logging.getLogger("sklsdm")


class DivergenceGuard(Callback):
    """After a bad epoch, return to the last good one, halve the learning rates, go on.

    An epoch is good if its losses and the parameters after its last step are finite, and a few
    rows that the (averaged) network then gives are finite and not far off. Where training starts
    far off, it may come near: rows may then be up to ten times as far off as at the start. After
    three returns the next bad epoch is a DivergenceError; so it is if training ends without
    any good epoch. A user's callback may end training within an epoch; that state is looked at
    too.

    Parameters
    ----------
    stage : Stage
        The training run, for messages.
    look : Look or None, default=None
        A look at what the network gives; None looks at losses and parameters only.
    is_trial : bool, default=False
        Whether the training belongs to a short fit, whose returns are not told at default settings.
    """

    remembers = ("n_retries_", "n_good_", "last_good_", "last_bad_", "limit_")

    def __init__(self, stage: Stage, look: Look | None = None, *, is_trial: bool = False) -> None:
        self.stage = stage
        self.look = look
        self.is_trial = is_trial

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        self.n_retries_ = 0
        self.n_good_ = 0
        self.last_bad_ = math.nan  # distance after the last bad epoch
        self.last_good_ = net.snapshot()
        start = self._distance(net)
        self.limit_ = max(FARTHEST, _FARTHER * start if math.isfinite(start) else 0.0)

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        distance = self._distance(net)
        if all(map(math.isfinite, _losses(net).values())) and self._is_good(distance):
            self.last_good_ = net.snapshot()
            self.n_good_ += 1
            return
        if self.n_retries_ == _RETRIES:
            raise self._error(net, distance)
        self.n_retries_ += 1
        net.restore(self.last_good_)
        halve_rates(net)
        self.last_good_ = net.snapshot()
        self.last_bad_ = distance
        _LOG.log(
            logging.INFO if self.is_trial else logging.WARNING,
            "%s: training diverged; back to the last good epoch at half the learning rate",
            self.stage.title,
        )

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.n_retries_ and not self.n_good_ and not net.interrupted_:
            raise self._error(net, self.last_bad_)  # epochs are used up before retries are
        if not self._is_good(self._distance(net)):
            net.restore(self.last_good_)  # training was ended within an epoch

    def _distance(self, net: TrainingNet) -> float:
        """How far off the network's rows are; NaN if a parameter is not finite."""
        far = torch.zeros((), dtype=torch.float32, device=net.device)
        if self.look is not None:
            net.module_.eval()
            with net.averaged() as module:
                far = self.look.farthest(module)
        return net.agreed(far.masked_fill(~net.is_finite(), math.nan)).item()

    def _is_good(self, distance: float) -> bool:
        return distance <= self.limit_  # NaN is not

    def _error(self, net: TrainingNet, distance: float) -> DivergenceError:
        found = [f"{name}={value:g}" for name, value in _losses(net).items()]
        if self.look is not None:
            found.append(_described(self.look, distance))
        retries = "1 retry" if self.n_retries_ == 1 else f"{self.n_retries_} retries"
        rates = ", ".join(f"{name}={rate:.2g}" for name, rate in rates_by_name(net))
        return DivergenceError(
            f"{self.stage.title}: training diverged at step {net.n_steps_taken} "
            f"({', '.join(found)}), even after {retries} from the last good state, each at half "
            f"the learning rate (now {rates}). {self.stage.advice}, and look for extreme values in "
            f"the data."
        )


class FinalLook(Callback):
    """Look at more rows of the kept state; store the share that is far off as `net.far_share_`.

    It must run after the state to keep is in place. Where more than `MOST_FAR` of the rows are far
    off or not finite, it raises a DivergenceError: training started far off, because of extreme
    data, and did not come near.
    """

    def __init__(self, stage: Stage, look: Look) -> None:
        self.stage = stage
        self.look = look

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        net.module_.eval()
        distances = self.look.distances(net.module_, self.look.n_final)
        share = (~(distances <= FARTHEST)).to(distances).mean()
        net.far_share_, farthest = torch.stack([share, distances.amax()]).tolist()
        if net.far_share_ <= MOST_FAR or net.interrupted_ or net.max_epochs == 0:
            return
        raise DivergenceError(
            f"{self.stage.title}: no good state was reached in {net.n_steps_taken} steps "
            f"({_described(self.look, farthest)} in the state of step {net.choice_.step}). "
            f"Networks need numbers of moderate size: remove, clip or transform extreme values in "
            f"the data, and leave scale_X=True. If that is not it: {self.stage.advice}."
        )


def _described(look: Look, distance: float) -> str:
    """What was seen, in words."""
    if not math.isfinite(distance):
        return f"{look.what} or parameters that are not finite"
    return f"{look.what} up to {distance:.2g} half-ranges of the data from their middle"


def _losses(net: TrainingNet) -> dict[str, float]:
    """Losses of the last epoch."""
    return {name: value for name, value in net.history[-1].items() if name.endswith("loss")}

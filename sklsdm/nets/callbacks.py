"""Callbacks: held-out score, best state, divergence guard, rate schedule, progress bar."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

from skorch.callbacks import Callback

from sklsdm.exceptions import DivergenceError
from sklsdm.nets.base import StopTraining, TrainingNet
from sklsdm.nets.checkpoint import Checkpoint
from sklsdm.nets.run import Run

_LOG = logging.getLogger("sklsdm")


class DivergenceGuard(Callback):
    """Roll back to the last finite epoch, halve the rates and go on; give up after `retries`.

    An epoch is finite where its losses are, and the parameters after its last step. `setting`
    names the rate in the error.
    """

    remembers = ("n_retries_", "n_good_", "last_good_")

    def __init__(self, stage: str, setting: str = "lr", retries: int = 3) -> None:
        self.stage = stage
        self.setting = setting
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
        for group in _groups(net):
            for name in group.keys() & {"lr", "initial_lr"}:
                group[name] = group[name] / 2
        self.last_good_ = net.snapshot()
        _LOG.warning("%s: non-finite loss; rolled back and halved the rates", self.stage)

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.n_retries_ and not self.n_good_ and not net.interrupted_:
            raise self._error(net)  # the budget ended before the retries did

    def _error(self, net: TrainingNet) -> DivergenceError:
        steps = sum(net.history[:, "train_batch_count"])
        named = ", ".join(f"{name}={value:g}" for name, value in _losses(net).items())
        rates = ", ".join(f"{group['lr']:.2g}" for group in _groups(net))
        return DivergenceError(
            f"{self.stage}: training became non-finite at step {steps} ({named}), also after "
            f"{self.n_retries_} retries from the last good state, each at half the rate (now "
            f"{rates}). Lower {self.setting} or raise the regularisation of that stage, and look "
            f"for extreme values in the data."
        )


class CosineRate(Callback):
    """Every optimizer's rate falls from its own initial value to zero along half a cosine."""

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        for group in _groups(net):
            group.setdefault("initial_lr", group["lr"])

    def on_epoch_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        done = (len(net.history) - 1) / net.max_epochs
        for group in _groups(net):
            group["lr"] = group["initial_lr"] * 0.5 * (1 + math.cos(math.pi * done))


class HeldOutScore(Callback):
    """Record `score(module)` as `name` after each epoch, on the averaged parameters."""

    def __init__(self, name: str, score: Callable[[Any], float]) -> None:
        self.name = name
        self.score = score

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        net.module_.eval()
        with net.averaged() as module:
            net.history.record(self.name, self.score(module))


class KeepBest(Callback):
    """Keep the (averaged) parameters of the epoch with the lowest `monitor`.

    Without a monitor the last epoch is kept. Training stops after `patience` epochs without an
    improvement (None: never stops early). The state before the first step takes part where
    `initial_score` is given.
    """

    remembers = ("best_", "n_stale_", "state_")

    def __init__(
        self,
        monitor: str | None,
        patience: int | None = None,
        initial_score: Callable[[Any], float] | None = None,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.initial_score = initial_score

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        self.best_ = math.inf
        self.n_stale_ = 0
        self.state_: dict[str, Any] | None = None
        if self.initial_score is not None:
            net.module_.eval()
            self._keep(net, self.initial_score(net.module_))

    def _keep(self, net: TrainingNet, value: float) -> None:
        self.best_ = value
        with net.averaged() as module:
            self.state_ = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.monitor is None:
            return
        value = net.history[-1, self.monitor]
        self.n_stale_ += 1
        if value < self.best_:
            self._keep(net, value)
            self.n_stale_ = 0
        if self.patience is not None and self.n_stale_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.state_ is None:
            self._keep(net, math.nan)
        net.module_.load_state_dict(self.state_)


class Progress(Callback):
    """A progress bar over the epochs of one stage, with its losses and held-out score."""

    def __init__(self, stage: str) -> None:
        self.stage = stage

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, desc=self.stage, unit="epoch", dynamic_ncols=True)

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        shown = {
            key.removeprefix("train_"): f"{value:.4g}"
            for key, value in net.history[-1].items()
            if key.endswith(("loss", "score"))
        }
        self.bar_.set_postfix(shown, refresh=False)
        self.bar_.update()

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        self.bar_.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "bar_"}


def default_callbacks(
    stage: str,
    setting: str,
    *,
    monitor: str | None,
    score: Callable[[Any], float] | None,
    patience: int | None,
    users: Sequence[Any] | None,
    run: Run,
) -> list[tuple[str, Callback]]:
    """Our callbacks and the users', in the order in which they must run.

    Users' see the epoch's losses and held-out score, and run before the state is chosen.
    """
    callbacks: list[tuple[str, Callback]] = [
        ("rate", CosineRate()),
        ("divergence", DivergenceGuard(stage, setting)),
    ]
    if monitor is not None and score is not None:
        callbacks.append(("held_out", HeldOutScore(monitor, score)))
    callbacks += users or []
    if run.verbose:
        callbacks.append(("progress", Progress(stage)))
    callbacks.append(("best", KeepBest(monitor, patience, score if monitor else None)))
    if run.checkpoint is not None:
        name = stage.partition(" (")[0].replace(" ", "-")
        callbacks.append(("checkpoint", Checkpoint(run.checkpoint / f"{name}.pt")))
    return callbacks


def _losses(net: TrainingNet) -> dict[str, float]:
    """Losses of the last epoch."""
    return {name: value for name, value in net.history[-1].items() if name.endswith("loss")}


def _groups(net: TrainingNet) -> list[dict[str, Any]]:
    return [g for name in net._optimizers for g in getattr(net, name + "_").param_groups]

"""Callbacks: held-out score, best state, divergence guard, rate schedule, progress bar."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from skorch.callbacks import Callback
from torch import Tensor

from sklsdm.exceptions import DivergenceError
from sklsdm.nets.base import StopTraining, TrainingNet
from sklsdm.nets.checkpoint import Checkpoint
from sklsdm.run import Run

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
    """Take `score(module)` after each epoch, on the averaged parameters, and record its mean.

    The score is (v,), one number for each held-out row, or (1,); lower is better.
    """

    def __init__(self, name: str, score: Callable[[Any], Tensor]) -> None:
        self.name = name
        self.score = score

    def rows(self, net: TrainingNet) -> Tensor:
        """The score of the net as it is."""
        net.module_.eval()
        with net.averaged() as module:
            return self.score(module)

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        self.rows_ = self.rows(net)
        net.history.record(self.name, self.rows_.mean().item())


class KeepBest(Callback):
    """Keep the latest (averaged) parameters whose held-out score is not worse than the best.

    The state before the first step takes part. Worse is what exceeds the best by more than
    `tolerance` standard errors of the mean difference by row: few rows tell little, and where
    little can go wrong the better trained of states that they cannot tell apart is preferred.
    Training stops after `patience` epochs that were all worse (None: never early). Without a
    score the last epoch is kept.
    """

    remembers = ("best_", "n_stale_", "state_")

    def __init__(
        self,
        held_out: HeldOutScore | None = None,
        patience: int | None = None,
        tolerance: float = 0.0,
    ) -> None:
        self.held_out = held_out
        self.patience = patience
        self.tolerance = tolerance

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        self.best_: Tensor | None = None
        self.n_stale_ = 0
        self.state_: dict[str, Any] | None = None
        if self.held_out is not None:
            self._judge(net, self.held_out.rows(net))

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.held_out is None:
            return
        self._judge(net, self.held_out.rows_)
        if self.patience is not None and self.n_stale_ >= self.patience:
            raise StopTraining

    def _judge(self, net: TrainingNet, rows: Tensor) -> None:
        self.n_stale_ += 1
        if self.best_ is None or is_as_good(rows, self.best_, self.tolerance):
            self._keep(net)
            self.n_stale_ = 0
        if self.best_ is None or rows.mean() < self.best_.mean():
            self.best_ = rows

    def _keep(self, net: TrainingNet) -> None:
        with net.averaged() as module:
            self.state_ = {k: v.detach().clone() for k, v in module.state_dict().items()}

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.state_ is None:
            self._keep(net)
        net.module_.load_state_dict(self.state_)


def is_as_good(rows: Tensor, best: Tensor, tolerance: float = 1.0) -> bool:
    """Whether scores (v,) exceed the best ones by at most `tolerance` standard errors."""
    excess = rows - best
    error = excess.std() / len(excess) ** 0.5 if len(excess) > 1 else excess.new_zeros(())
    return bool(excess.mean() <= tolerance * error)


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


@dataclass(frozen=True)
class Stage:
    """One training of a fit."""

    title: str
    file: str
    advice: str


def default_callbacks(
    stage: Stage,
    *,
    run: Run,
    held_out: HeldOutScore | None = None,
    patience: int | None = None,
    users: Sequence[Any] | None = None,
    tolerance: float = 0.0,
) -> list[tuple[str, Callback]]:
    """Our callbacks and the users', in the order in which they must run.

    Users' see the epoch's losses and held-out score, and run before the state is chosen.
    """
    callbacks: list[tuple[str, Callback]] = [
        ("rate", CosineRate()),
        ("divergence", DivergenceGuard(stage.title, stage.advice)),
    ]
    if held_out is not None:
        callbacks.append(("held_out", held_out))
    callbacks += users or []
    if run.verbose:
        callbacks.append(("progress", Progress(stage.title)))
    callbacks.append(("best", KeepBest(held_out, patience, tolerance)))
    if run.checkpoint is not None:
        callbacks.append(("checkpoint", Checkpoint(run.checkpoint / stage.file)))
    return callbacks


def _losses(net: TrainingNet) -> dict[str, float]:
    """Losses of the last epoch."""
    return {name: value for name, value in net.history[-1].items() if name.endswith("loss")}


def _groups(net: TrainingNet) -> list[dict[str, Any]]:
    return [g for name in net._optimizers for g in getattr(net, name + "_").param_groups]

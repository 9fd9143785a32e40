"""The held-out score of each epoch, and which state is kept by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from skorch.callbacks import Callback
from torch import Tensor

from sklsdm.nets.base import StopTraining, TrainingNet


class HeldOutScore(Callback):
    """Take `score(module)` after each epoch, on the averaged parameters, and record its mean.

    The score is (v,), one number for each held-out row, or (1,); lower is better. Its mean also
    stands in the history as "valid_loss", which is what skorch's callbacks look for.
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
        mean = self.rows_.mean().item()
        for name in dict.fromkeys((self.name, "valid_loss")):
            net.history.record(name, mean)


class BestSoFar(Callback):
    """Record "<name>_best" for losses and scores: whether this epoch's is the lowest so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        for name in self.names:
            *earlier, value = net.history[:, name]
            finite = [before for before in earlier if math.isfinite(before)]
            is_best = math.isfinite(value) and all(value < before for before in finite)
            net.history.record(f"{name}_best", is_best)


class KeepBest(Callback):
    """Keep the latest (averaged) parameters whose held-out score is not worse than the best.

    The state before the first step takes part. Worse is what exceeds the best by more than
    `tolerance` standard errors of the mean difference by row: few rows tell little, and where
    little can go wrong the better trained of states that they cannot tell apart is preferred.
    Training stops after `patience` epochs that were all worse (None: never early). Without a
    score the last epoch is kept.
    """

    remembers = ("best_", "n_stale_", "state_", "start_", "kept_")

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
        self.start_: list[float] | None = None
        self.kept_: dict[str, Any] = {}
        if self.held_out is not None:
            rows = self.held_out.rows(net)
            self.start_ = _mean_and_error(rows)
            self._judge(net, rows)

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.held_out is None:
            return
        self._judge(net, self.held_out.rows_)
        if self.patience is not None and self.n_stale_ >= self.patience:
            raise StopTraining

    def _judge(self, net: TrainingNet, rows: Tensor) -> None:
        self.n_stale_ += 1
        if self.best_ is None or is_as_good(rows, self.best_, self.tolerance):
            self._keep(net, rows)
            self.n_stale_ = 0
        if self.best_ is None or rows.mean() < self.best_.mean():
            self.best_ = rows

    def _keep(self, net: TrainingNet, rows: Tensor | None = None) -> None:
        with net.averaged() as module:
            self.state_ = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.kept_ = {
            "step": sum(row.get("train_batch_count", 0) for row in net.history),
            "score": None if rows is None else _mean_and_error(rows),
        }

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.state_ is None:
            self._keep(net)
        net.module_.load_state_dict(self.state_)
        net.choice_ = Choice(self.kept_["step"], self.kept_["score"], self.start_)


class Choice(NamedTuple):
    """Which state of a training was kept, by which score; scores are [mean, standard error]."""

    step: int  # steps trained until then; 0 is the start
    score: list[float] | None  # None where nothing was held out
    start: list[float] | None  # the score of the state before the first step


def _mean_and_error(rows: Tensor) -> list[float]:
    """The mean of a score by held-out row and its standard error (0 where there is one row)."""
    error = rows.std().item() / len(rows) ** 0.5 if len(rows) > 1 else 0.0
    return [rows.mean().item(), error]


def is_as_good(rows: Tensor, best: Tensor, tolerance: float = 1.0) -> bool:
    """Whether scores (v,) exceed the best ones by at most `tolerance` standard errors."""
    excess = rows - best
    error = excess.std() / len(excess) ** 0.5 if len(excess) > 1 else excess.new_zeros(())
    return bool(excess.mean() <= tolerance * error)

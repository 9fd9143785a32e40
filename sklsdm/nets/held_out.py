"""The score on held-out rows after each epoch, and the choice of the state to keep by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from skorch.callbacks import Callback
from torch import Tensor

from sklsdm.nets.base import StopTraining, TrainingNet


class HeldOutScore(Callback):
    """Compute `score(module)` with the averaged parameters after each epoch; record its mean.

    `score` returns a tensor (v,) with one number for each held-out row, or (1,); lower is better.
    The mean is recorded under `name` and as "valid_loss", which skorch's callbacks monitor.
    """

    def __init__(self, name: str, score: Callable[[Any], Tensor]) -> None:
        self.name = name
        self.score = score

    def by_row(self, net: TrainingNet) -> Tensor:
        """The scores (v,) with the current averaged parameters."""
        net.module_.eval()
        with net.averaged() as module:
            return net.agreed(self.score(module))

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        self.by_row_ = self.by_row(net)
        mean = self.by_row_.mean().item()
        for name in dict.fromkeys((self.name, "valid_loss")):
            net.history.record(name, mean)


class BestSoFar(Callback):
    """Record "<name>_best" for losses and scores: whether this epoch has the lowest so far."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        for name in self.names:
            *earlier, value = net.history[:, name]
            finite = [before for before in earlier if math.isfinite(before)]
            is_best = math.isfinite(value) and all(value < before for before in finite)
            net.history.record(f"{name}_best", is_best)


class KeepBest(Callback):
    """Keep the latest (averaged) parameters whose held-out score is as good as the best.

    The parameters before the first step are a candidate too. A score is as good as the best if its
    mean is higher by at most `tolerance` standard errors of the difference, row by row. With few
    held-out rows the lowest score is mostly chance, so a tolerance above 0 prefers the state that
    trained longer among those that the rows cannot tell apart.

    Training stops after `patience` epochs in a row that were worse (None: never). Without
    `held_out` the state after the last epoch is kept. With `doubt` the start is kept in the end
    unless the other state is better by more than so many standard errors.
    """

    remembers = ("best_", "n_stale_", "state_", "start_", "kept_", "kept_scores_", "first_")

    def __init__(
        self,
        held_out: HeldOutScore | None = None,
        patience: int | None = None,
        tolerance: float = 0.0,
        doubt: float | None = None,
    ) -> None:
        self.held_out = held_out
        self.patience = patience
        self.tolerance = tolerance
        self.doubt = doubt

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        self.best_: Tensor | None = None
        self.n_stale_ = 0
        self.state_: dict[str, Any] | None = None
        self.start_: list[float] | None = None
        self.kept_: dict[str, Any] = {}
        self.kept_scores_: Tensor | None = None
        self.first_: tuple[Tensor, dict[str, Any], dict[str, Any]] | None = None
        if self.held_out is not None:
            scores = self.held_out.by_row(net)
            self._judge(net, scores)
            self.start_ = _mean_and_error(scores)
            if self.doubt is not None:
                assert self.state_ is not None
                self.first_ = scores, self.state_, self.kept_

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.held_out is None:
            return
        self._judge(net, self.held_out.by_row_)
        if self.patience is not None and self.n_stale_ >= self.patience:
            raise StopTraining

    def _judge(self, net: TrainingNet, scores: Tensor) -> None:
        self.n_stale_ += 1
        if self.best_ is None or is_as_good(scores, self.best_, self.tolerance):
            self._keep(net, scores)
            self.n_stale_ = 0
        if self.best_ is None or scores.mean() < self.best_.mean():
            self.best_ = scores

    def _keep(self, net: TrainingNet, rows: Tensor | None = None) -> None:
        with net.averaged() as module:
            self.state_ = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.kept_ = {
            "step": net.n_steps_taken,
            "score": None if rows is None else _mean_and_error(rows),
        }
        self.kept_scores_ = rows

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.state_ is None:
            self._keep(net)
        if self.first_ is not None and self.doubt is not None:
            scores, state, kept = self.first_
            assert self.kept_scores_ is not None
            if is_as_good(scores, self.kept_scores_, self.doubt):
                self.state_, self.kept_ = state, kept
        net.module_.load_state_dict(self.state_)
        net.choice_ = KeptState(self.kept_["step"], self.kept_["score"], self.start_)


class KeptState(NamedTuple):
    """Which state of a training was kept, by which score; scores are [mean, standard error]."""

    step: int  # steps trained until then; 0 is the start
    score: list[float] | None  # None where nothing was held out
    start: list[float] | None  # the score of the state before the first step


def _mean_and_error(rows: Tensor) -> list[float]:
    """The mean of a score by held-out row and its standard error (0 where there is one row)."""
    error = rows.std().item() / len(rows) ** 0.5 if len(rows) > 1 else 0.0
    return [rows.mean().item(), error]


def is_as_good(scores: Tensor, best: Tensor, tolerance: float = 1.0) -> bool:
    """Whether the mean of `scores` is above that of `best` by at most `tolerance` standard errors.

    Both are (v,), for the same rows; the standard error is that of their mean difference. With one
    row it counts as 0.
    """
    excess = scores - best
    error = excess.std() / len(excess) ** 0.5 if len(excess) > 1 else excess.new_zeros(())
    return math.isinf(tolerance) or bool(excess.mean() <= tolerance * error)

"""The score on held-out rows after each epoch, and the choice of the state to keep by it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from scipy.stats import norm, t
from skorch.callbacks import Callback
from torch import Tensor

from sklsdm.nets.base import StopTraining, TrainingNet

_MANY = 100  # rows, by which a standard error is known well


class HeldOutScore(Callback):
    """Compute `score(module)` with the averaged parameters after each epoch; record its mean.

    `score` returns a tensor (v,) with one number for each held-out row, or (1,); lower is better.
    Where rows come in `groups`, there is one for each group, see :func:`by_group`. The mean is
    recorded under `name` and as "valid_loss", which skorch's callbacks monitor.
    """

    def __init__(
        self, name: str, score: Callable[[Any], Tensor], groups: Tensor | None = None
    ) -> None:
        self.name = name
        self.score = score
        self.groups = groups

    def scores(self, net: TrainingNet) -> Tensor:
        """The scores with the current averaged parameters, one for each row or group."""
        net.module_.eval()
        with net.averaged() as module:
            return by_group(net.agreed(self.score(module)), self.groups)

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        self.scores_ = self.scores(net)
        mean = self.scores_.mean().item()
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
    mean is higher by at most `tolerance` standard errors of the difference, row by row, or group by
    group. With few held-out rows the lowest score is mostly chance, so a tolerance above 0 prefers
    the state that trained longer among those that the rows cannot tell apart.

    Training stops after `patience` epochs in a row that were worse (None: never). Without
    `held_out` the state after the last epoch is kept. With `doubt` the start is kept in the end
    unless the other state is better by more than so many standard errors.
    """

    # States are dicts (`_state_of`), None without `held_out`. That of the start has no weights
    # where `doubt` is None, since nobody returns to them.
    remembers = ("best_scores_", "n_stale_", "kept_", "start_")

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
        self.best_scores_: Tensor | None = None  # those with the lowest mean so far
        self.n_stale_ = 0  # epochs since a state was kept
        self.kept_: dict[str, Any] | None = None
        self.start_: dict[str, Any] | None = None
        if self.held_out is not None:
            self.start_ = self.kept_ = _state_of(net, self.held_out.scores(net))
            self.best_scores_ = self.kept_["scores"]
            if self.doubt is None:
                self.start_ = self.kept_ | {"weights": None}

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        if self.held_out is None:
            return
        assert self.best_scores_ is not None
        scores = self.held_out.scores_
        self.n_stale_ += 1
        if is_as_good(scores, self.best_scores_, self.tolerance):
            self.kept_ = _state_of(net, scores)
            self.n_stale_ = 0
        if scores.mean() < self.best_scores_.mean():
            self.best_scores_ = scores
        if self.patience is not None and self.n_stale_ >= self.patience:
            raise StopTraining

    def on_train_end(self, net: TrainingNet, **kwargs: Any) -> None:
        kept, start = self.kept_ or _state_of(net), self.start_
        if start is not None and self.doubt is not None:
            kept = start if is_as_good(start["scores"], kept["scores"], self.doubt) else kept
        net.module_.load_state_dict(kept["weights"])
        start_scores = None if start is None else start["scores"]
        net.choice_ = KeptState(
            kept["step"], _mean_and_error(kept["scores"]), _mean_and_error(start_scores)
        )


def _state_of(net: TrainingNet, scores: Tensor | None = None) -> dict[str, Any]:
    """The present state of a training: its step, averaged weights, and held-out scores (v,).

    (A plain dict, since checkpoints hold it.)
    """
    with net.averaged() as module:
        weights = {name: value.detach().clone() for name, value in module.state_dict().items()}
    return {"step": net.n_steps_taken, "scores": scores, "weights": weights}


class KeptState(NamedTuple):
    """Which state of a training was kept, by which score; scores are [mean, standard error]."""

    step: int  # steps trained until then; 0 is the start
    score: list[float] | None  # None where nothing was held out
    start: list[float] | None  # the score of the state before the first step


def _mean_and_error(scores: Tensor | None) -> list[float] | None:
    """The mean of scores (v,) and its standard error, which is 0 for a single one."""
    if scores is None:
        return None
    error = scores.std().item() / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    return [scores.mean().item(), error]


def by_group(scores: Tensor, groups: Tensor | None) -> Tensor:
    """One number for each group of rows, (g,), whose mean is that of all scores (v,).

    Rows of one group depend on each other: how certain their mean is follows from these numbers.
    Each is the sum of the group's scores, times g / v. Only the first v of the `groups` count; None
    leaves the scores as they are.
    """
    if groups is None or len(scores) == 0:
        return scores
    kinds, place = groups[: len(scores)].unique(return_inverse=True)
    sums = scores.new_zeros(len(kinds)).index_add(0, place, scores)
    return sums * (len(kinds) / len(scores))


def is_as_good(scores: Tensor, best: Tensor, tolerance: float = 1.0) -> bool:
    """Whether the mean of `scores` is above that of `best` by at most `tolerance` standard errors.

    Both are (v,), for the same rows or groups; the standard error is that of their mean difference.
    With one row it counts as 0. Of few rows it is uncertain itself: the tolerance is then the
    quantile of Student's t distribution in place of that of the normal distribution.
    """
    if math.isinf(tolerance):
        return True
    excess, n_rows = scores - best, len(scores)
    if n_rows < 2 or tolerance == 0:
        return bool(excess.mean() <= 0)
    most = tolerance if n_rows > _MANY else t.isf(norm.sf(tolerance), n_rows - 1)
    return bool(excess.mean() <= most * excess.std() / n_rows**0.5)

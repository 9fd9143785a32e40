"""The trials of a search: candidates fitted on some pairs and judged by others, as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing

from sklsdm._validation import warn_user
from sklsdm.forwarding import unwrap
from sklsdm.owner import without_advice

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class TrialPairs:
    """The pairs and whatever else `fit` was given, checked."""

    X: Any
    y: NDArray[Any]
    groups: NDArray[np.intp] | None
    Y_unpaired: Any
    X_val: Any
    y_val: Any

    def to_fit(self, rows: Rows) -> dict[str, Any]:
        """Arguments of `fit`: some pairs, and all unpaired responses."""
        given = {"X": _safe_indexing(self.X, rows), "y": self.y[rows]}
        if self.Y_unpaired is not None:
            given["Y_unpaired"] = self.Y_unpaired
        if self.groups is not None and len(np.unique(self.groups[rows])) > 1:
            given["groups"] = self.groups[rows]
        return given

    def to_score(self, rows: Rows | None) -> tuple[Any, Any]:
        """The pairs to judge by."""
        if rows is None:
            return self.X_val, self.y_val
        return _safe_indexing(self.X, rows), self.y[rows]


class Trial(NamedTuple):
    """One candidate on one split; the score is NaN where it failed, and `error` says why."""

    score: float
    fit_time: float
    score_time: float
    error: str


def try_candidate(
    model: Any, pairs: TrialPairs, train: Rows, test: Rows | None, scoring: Any
) -> Trial:
    """Fit a candidate on some pairs and judge it by others."""
    start = time.perf_counter()
    fitted = start
    score, error = np.nan, ""
    model = clone(model)
    try:
        # A candidate that learnt nothing has a low score, and the fits of the best tell of
        # unpaired responses of another law; the user need not hear of each trial.
        with without_advice():
            model.fit(**pairs.to_fit(train))
        fitted = time.perf_counter()
        if test is None:
            _check_conditions("X_val", model, pairs.X_val)
        score = float(check_scoring(model, scoring=scoring)(model, *pairs.to_score(test)))
        if np.isnan(score):
            error = "a score of NaN"
    except Exception as failure:  # whatever it is, the other candidates may do
        error = f"{type(failure).__name__}: {failure}"
    end = time.perf_counter()
    return Trial(score, fitted - start, end - fitted, error)


def _check_conditions(name: str, model: Any, X: Any) -> None:
    """Raise, with the argument's name, where a fitted candidate does not take these conditions."""
    estimator, transformed = unwrap(model, X)
    estimator._check_X(transformed, name=name)


def report_failures(
    settings: Sequence[dict[str, Any]], tried: Sequence[Trial], means: NDArray[np.float64]
) -> None:
    """Raise if no candidate has a score, and warn of those that have none."""
    n_failed = int(np.isnan(means).sum())
    if n_failed == 0:
        return
    place = next(place for place, trial in enumerate(tried) if trial.error)
    n_splits = len(tried) // len(settings)
    first = f"the first, {settings[place // n_splits]}, with {tried[place].error}"
    if n_failed == len(settings):
        raise ValueError(f"All {n_failed} candidates failed: {first}")
    warn_user(
        f"{n_failed} of {len(settings)} candidates failed and were left out: {first}",
        FitFailedWarning,
    )


def as_table(
    settings: Sequence[dict[str, Any]], tried: Sequence[Trial], n_splits: int
) -> dict[str, Any]:
    """Scores and times by candidate, with the keys of `GridSearchCV.cv_results_`."""
    shape = (len(settings), n_splits)
    table: dict[str, Any] = {}
    for name in ("fit_time", "score_time"):
        seconds = np.array([getattr(trial, name) for trial in tried]).reshape(shape)
        table |= {f"mean_{name}": seconds.mean(axis=1), f"std_{name}": seconds.std(axis=1)}
    for name in dict.fromkeys(name for each in settings for name in each):
        values = np.empty(len(settings), dtype=object)
        for place, each in enumerate(settings):
            values[place] = each.get(name)
        absent = [name not in each for each in settings]
        table[f"param_{name}"] = np.ma.MaskedArray(values, mask=absent)
    table["params"] = list(settings)
    scores = np.array([trial.score for trial in tried]).reshape(shape)
    table |= {f"split{place}_test_score": column for place, column in enumerate(scores.T)}
    means = scores.mean(axis=1)
    order = np.where(np.isnan(means), np.inf, -means)  # those that failed come last
    table |= {"mean_test_score": means, "std_test_score": scores.std(axis=1)}
    table["rank_test_score"] = rankdata(order, method="min").astype(np.int32)
    return table

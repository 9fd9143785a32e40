"""Columns of the conditions that the lasso selects, for tables of which few columns matter."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import MultiTaskLasso, MultiTaskLassoCV

from sklsdm.blocks import spread_rows
from sklsdm.encoders.base import BaseConditionEncoder, Groups, Rows
from sklsdm.encoders.folds import folds, principal
from sklsdm.parameters import integer, learnt, parameter

_N_FOLDS = 5
_STRENGTHS = np.logspace(0, -2.5, 30)  # of the penalty, as shares of that which leaves no column
_MAX_ITER = 2000
_MOST_ROWS = 2000  # pairs that the lasso sees


class LassoConditionEncoder(BaseConditionEncoder):
    """Leave out the columns of the conditions that the lasso leaves out.

    The lasso regresses the codes on all columns, and keeps a column for all of their dimensions or
    for none (the multi-task lasso). Of the penalties whose squared error in cross-validation is
    within a standard error of the lowest, the largest is taken, which keeps the fewest columns. If
    it keeps none, all columns stay.

    A column that was kept by chance goes with the codes of the pairs that it was chosen by, and
    draws would be too sure. So the pairs are divided into five folds, and those of a fold are seen
    with the columns that the lasso keeps for the other folds; the rest of their columns are 0.

    When to use: hundreds of columns, of which few matter, and some hundred pairs: there the
    networks of stage 2 learn chance relations to all the others. Not where codes depend on a column
    only by its square, or by another relation that no line shows. Cost: some seconds.

    References
    ----------
    Tibshirani 1996, "Regression shrinkage and selection via the lasso"; Obozinski, Taskar & Jordan
    2010, "Joint covariate selection and joint subspace selection for multiple classification
    problems"; Hastie, Tibshirani & Friedman 2009, "The Elements of Statistical Learning", section
    7.10, for the rule of one standard error.
    """

    n_components: int = parameter(
        default=10,
        rule=integer(1),
        doc="Codes of more dimensions are represented by so many principal components.",
    )

    columns_: NDArray[np.intp] = learnt("Columns that stay for the pairs of some fold, in order.")
    left_out_: NDArray[np.bool_] = learnt(
        "Which of them the lasso leaves out of all pairs: they are 0 in other conditions."
    )

    def fit_transform(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        target = principal(codes.astype(np.float64), self.n_components, seed)
        selected = _select(condition, target, seed, groups)
        if not selected.any():
            self.columns_ = np.arange(condition.shape[1])
            self.left_out_ = np.zeros(condition.shape[1], dtype=bool)
            return condition
        apart = np.zeros(condition.shape, dtype=bool)
        for kept, held in folds(len(condition), _N_FOLDS, seed, groups):
            own = None if groups is None else groups[kept]
            apart[held] = _select(condition[kept], target[kept], seed, own)
        self.columns_ = np.flatnonzero(selected | apart.any(axis=0))
        self.left_out_ = ~selected[self.columns_]
        return np.where(apart, condition, 0)[:, self.columns_].astype(np.float32)

    def transform(self, condition: Rows) -> Rows:
        return np.where(self.left_out_, np.float32(0), condition[:, self.columns_])


def _select(x: Rows, target: NDArray[np.float64], seed: int, groups: Groups) -> NDArray[np.bool_]:
    """Which columns of conditions (n, p) the lasso keeps, (p,), to tell the codes (n, k)."""
    some = spread_rows(len(x), _MOST_ROWS)
    groups = groups if groups is None else groups[some]
    x, target = x[some].astype(np.float64), target[some]
    spread = target.std(axis=0)
    target = (target - target.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    most = np.linalg.norm((x - x.mean(axis=0)).T @ target, axis=1).max() / len(x)
    if most == 0:
        return np.zeros(x.shape[1], dtype=bool)
    splits = folds(len(x), _N_FOLDS, seed, groups)
    search = MultiTaskLassoCV(alphas=most * _STRENGTHS, cv=splits, max_iter=_MAX_ITER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the smallest penalties
        search.fit(x, target)
        lasso = MultiTaskLasso(_within_one_error(search), max_iter=_MAX_ITER).fit(x, target)
    return np.any(lasso.coef_ != 0, axis=0)


def _within_one_error(search: MultiTaskLassoCV) -> float:
    """The largest penalty with an error within a standard error of the lowest one."""
    errors = search.mse_path_.mean(axis=1)  # (penalties, folds); the largest penalty comes first
    best = int(errors.argmin())
    doubt = search.mse_path_[best].std(ddof=1) / np.sqrt(search.mse_path_.shape[1])
    return float(search.alphas_[np.flatnonzero(errors <= errors[best] + doubt)[0]])

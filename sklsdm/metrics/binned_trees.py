"""Boosted trees on columns that are binned before, all borders of a column at once."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier

from sklsdm.metrics.base import Array

_N_BINS = 255  # as many as the trees take


class BinnedTreesClassifier(ClassifierMixin, BaseEstimator):
    """Gradient boosting of weighted rows; columns may hold NaN.

    scikit-learn's trees bin each column by weighted quantiles, and look for each of its 254 borders
    anew: with many columns that takes several times as long as all trees. Columns of bins have so
    few values that they are left as they are.

    Parameters
    ----------
    n_trees : int
        How many trees.
    min_samples_leaf, max_features, random_state
        Those of :class:`sklearn.ensemble.HistGradientBoostingClassifier`.
    """

    def __init__(
        self, n_trees: int, *, min_samples_leaf: int, max_features: float, random_state: int
    ) -> None:
        self.n_trees = n_trees
        self.min_samples_leaf = min_samples_leaf
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, X: Array, y: NDArray[np.intp], sample_weight: Array) -> Self:
        self.borders_ = [_borders(column, sample_weight) for column in X.T]
        self.trees_ = HistGradientBoostingClassifier(
            max_iter=self.n_trees,
            early_stopping=False,
            min_samples_leaf=self.min_samples_leaf,
            max_features=self.max_features,
            random_state=self.random_state,
        ).fit(self._bins(X), y, sample_weight)
        self.classes_ = self.trees_.classes_
        return self

    def predict_proba(self, X: Array) -> Array:
        """Probabilities (n, classes)."""
        return self.trees_.predict_proba(self._bins(X))

    def _bins(self, X: Array) -> Array:
        """How many borders are below each number, (n, p); NaN stays."""
        found = np.array(X, dtype=np.float64)
        for column, borders in zip(found.T, self.borders_, strict=True):
            known = ~np.isnan(column)
            column[known] = np.searchsorted(borders, column[known])
        return found


def _borders(column: Array, weight: Array) -> Array:
    """Between the bins of a column: weighted quantiles, or all values where they are few."""
    order = np.argsort(column, kind="stable")[: len(column) - np.isnan(column).sum()]
    values = column[order]
    distinct = np.unique(values)
    if len(distinct) <= _N_BINS:
        return (distinct[1:] + distinct[:-1]) / 2
    up_to = weight[order].cumsum()
    places = np.searchsorted(up_to, np.linspace(0, up_to[-1], _N_BINS + 1)[1:-1])
    return np.unique(values[places])

"""A classifier of (x, y) that also sees waves of x, for laws that turn quickly with x."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from sklsdm.diagnosis.base import Array
from sklsdm.encoders import PeriodicConditionEncoder
from sklsdm.metrics.classifier import default_classifier


class WaveClassifier(ClassifierMixin, BaseEstimator):
    """Gradient boosting on x, y and the sines and cosines of x that the observed y follow.

    Trees alone need thousands of pairs to see a law that turns many times over the range of x.
    The frequencies are found as in :class:`sklsdm.encoders.PeriodicConditionEncoder`, in the
    observed rows that the classifier learns from. Where there are none it is the default
    classifier of :func:`sklsdm.metrics.conditional_classifier_test`.

    Parameters
    ----------
    n_conditions : int
        Columns of x, which come before those of y.
    seed : int
        Of the search for frequencies, and of the trees.
    """

    def __init__(self, n_conditions: int, seed: int = 0) -> None:
        self.n_conditions = n_conditions
        self.seed = seed

    def fit(self, X: Array, y: Array, sample_weight: Array) -> Self:
        observed = X[y == 1]
        self.mean_ = np.nan_to_num(np.nanmean(observed, axis=0))
        std = np.nan_to_num(np.nanstd(observed, axis=0))
        self.scale_ = np.where(std > 0, std, 1.0)
        condition, values = self._split(observed)
        self.waves_ = PeriodicConditionEncoder()
        self.waves_.fit_transform(condition, values, self.seed)
        self.trees_ = default_classifier(self.seed).fit(self._features(X), y, sample_weight)
        self.classes_ = self.trees_.classes_
        return self

    def predict_proba(self, X: Array) -> Array:
        """Probabilities (n, 2) of drawn and observed."""
        return self.trees_.predict_proba(self._features(X))

    def predict(self, X: Array) -> Array:
        """The more probable class (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def _split(self, rows: Array) -> tuple[Array, Array]:
        standard = np.nan_to_num((rows - self.mean_) / self.scale_).astype(np.float32)
        return standard[:, : self.n_conditions], standard[:, self.n_conditions :]

    def _features(self, rows: Array) -> Any:
        waves = self.waves_.transform(self._split(rows)[0])[:, self.n_conditions :]
        return np.column_stack([rows, waves])

"""Columns of few values, such as the label beside a number, drawn by what a regression says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import pairwise_distances

from sklsdm.blocks import row_slices

_FEW = 10  # values of a column
_MOST_COMBINATIONS = 1000
_SHARPNESS = np.logspace(-2, 3, 21)  # among which that of the choice is chosen


@dataclass(frozen=True)
class FewValues:
    """Combinations of values that some columns have in the pairs.

    Given a prediction, a combination has a probability in proportion to its share of the pairs
    times exp(-s d²), with its squared distance d² from the prediction. The sharpness s is that
    under which predictions of left-out pairs find their own combinations most probable. So
    columns of one label stay one-hot, and a label is drawn as surely as it can be told.

    Attributes
    ----------
    columns : ndarray of shape (k,)
    values : ndarray of shape (c, k)
    log_shares : ndarray of shape (c,)
    sharpness : float
    """

    columns: NDArray[np.intp]
    values: NDArray[np.float32]
    log_shares: NDArray[np.float64]
    sharpness: float

    @classmethod
    def learn(
        cls,
        columns: NDArray[np.intp],
        condition: NDArray[np.float32],
        predicted: NDArray[np.float64],
    ) -> FewValues:
        """From conditions (n, p), and predictions (n, p) of pairs that were left out."""
        values, own, counts = np.unique(
            condition[:, columns], axis=0, return_inverse=True, return_counts=True
        )
        log_shares = np.log(counts / counts.sum())
        distance = _distance(predicted[:, columns], values)
        places = np.arange(len(own)), own.ravel()

        def likelihood(sharpness: float) -> float:
            logits = log_shares - sharpness * distance
            return float((logits[places] - np.logaddexp.reduce(logits, axis=1)).mean())

        return cls(columns, values, log_shares, max(_SHARPNESS, key=likelihood))

    def draw(
        self, predicted: NDArray[np.float64], random: np.random.Generator
    ) -> NDArray[np.float32]:
        """A combination (m, k) for each prediction (m, p)."""
        found = np.empty((len(predicted), len(self.columns)), dtype=np.float32)
        for rows in row_slices(len(predicted), len(self.values)):
            distance = _distance(predicted[rows][:, self.columns], self.values)
            logits = self.log_shares - self.sharpness * distance
            # The largest after Gumbel noise has the probability that its logit stands for.
            found[rows] = self.values[(logits + random.gumbel(size=logits.shape)).argmax(axis=1)]
        return found


def find_few_values(
    condition: NDArray[np.float32], predicted: NDArray[np.float64]
) -> list[FewValues]:
    """Columns of up to ten values: all together or, with very many combinations, one by one."""
    few = [len(np.unique(column)) <= _FEW for column in condition.T]
    columns = np.flatnonzero(few)
    if len(columns) == 0:
        return []
    n_combinations = len(np.unique(condition[:, columns], axis=0))
    sets = [columns] if n_combinations <= _MOST_COMBINATIONS else list(columns[:, None])
    return [FewValues.learn(together, condition, predicted) for together in sets]


def _distance(rows: NDArray[np.float64], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distances (n, c)."""
    found: NDArray[np.float64] = pairwise_distances(rows, values, metric="sqeuclidean")
    return found

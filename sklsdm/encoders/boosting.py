"""Gradient boosting's predictions of the codes, out of fold for the pairs that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor

from sklsdm.encoders.base import Groups, Rows
from sklsdm.encoders.folds import MOST_COMPONENTS, Split, folds, principal

# With more folds boosters learn from more of the pairs, and their mean is better. There are ten
# where pairs times columns times components are no more than this.
_FEW_FOLDS, _MANY_FOLDS, _QUICK = 5, 10, 500_000
_MOST_TREES = 300  # of one booster
# Pairs times columns times components: beyond, boosting would take longer than the networks.
_MOST_NUMBERS = 4_000_000
_LEAVES = (31, 127)  # least and most of one tree: one for each `_PAIRS_OF_A_LEAF` pairs
_PAIRS_OF_A_LEAF = 100
_FEWEST_FOR_SPREAD = 100  # pairs; of fewer, residuals are too few to tell where they are large

_Boosters = list[list[HistGradientBoostingRegressor]]  # of each fold, those of all components


class CrossFittedBoosting:
    """Boosted trees for each fold of the pairs, which do not learn from that fold.

    They predict the codes and, from 100 pairs on, how far off these predictions are: the spread of
    the codes about them. A pair is predicted by boosters that did not learn from it, a new
    condition by the mean over all folds. The fold only tells each booster when to stop, so that all
    other pairs are learnt from. Codes with more than `n_components` dimensions are predicted by
    their first principal components.

    Attributes
    ----------
    boosters_ : list of list of HistGradientBoostingRegressor
        For each fold those of all components.
    spread_boosters_ : list of list of HistGradientBoostingRegressor
        For each fold those of the absolute residuals of all components, over their mean. Empty
        with fewer than 100 pairs.
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def fit_predict(
        self, condition: Rows, codes: NDArray[np.float64], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Out-of-fold predictions of codes and spreads, (n, 2r), or of codes alone, (n, r).

        Pairs of one group are in one fold.
        """
        codes = principal(codes, self.n_components, seed)
        n_folds = _MANY_FOLDS if condition.size * codes.shape[1] <= _QUICK else _FEW_FOLDS
        splits = folds(len(codes), n_folds, seed, groups)
        mean = _booster(len(codes), seed)
        self.boosters_, predicted = _cross_fit(mean, condition, codes, splits)
        self.spread_boosters_: _Boosters = []
        if len(codes) < _FEWEST_FOR_SPREAD:
            return predicted
        residuals = np.abs(codes - predicted)
        spreads = residuals / np.maximum(residuals.mean(axis=0), 1e-12) - 1.0
        # Residuals are noisier than codes: smaller trees, more slowly.
        slow = _booster(len(codes), seed).set_params(
            learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=20
        )
        self.spread_boosters_, spread = _cross_fit(slow, condition, spreads, splits)
        return np.hstack([predicted, spread])

    def predict(self, condition: Rows) -> NDArray[np.float64]:
        """Predictions for new conditions, of the same columns."""
        spread: _Boosters = getattr(self, "spread_boosters_", [])  # files of before have none
        return np.hstack(
            [
                np.mean([_predict(of_fold, condition) for of_fold in boosters], axis=0)
                for boosters in (self.boosters_, spread)
                if boosters
            ]
        )


def boosted_components(n_pairs: int, n_columns: int, n_codes: int) -> int:
    """How many components of the codes boosting predicts; 0 where it would take too long."""
    affordable = _MOST_NUMBERS // max(1, n_pairs * n_columns)
    return min(MOST_COMPONENTS, n_codes, affordable)


def _booster(n_pairs: int, seed: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=_MOST_TREES,
        max_leaf_nodes=int(np.clip(n_pairs // _PAIRS_OF_A_LEAF, *_LEAVES)),
        early_stopping=True,
        n_iter_no_change=15,
        max_features=0.5,
        min_samples_leaf=5,
        random_state=seed,
    )


def _cross_fit(
    booster: HistGradientBoostingRegressor,
    condition: Rows,
    codes: NDArray[np.float64],
    splits: Sequence[Split],
) -> tuple[_Boosters, NDArray[np.float64]]:
    """Boosters of each split, and what they predict for the pairs held out from them."""
    boosters: _Boosters = []
    predicted = np.empty(codes.shape)
    for kept, held in splits:
        fitted = [clone(booster) for _ in codes.T]
        for each, code in zip(fitted, codes.T, strict=True):
            each.fit(condition[kept], code[kept], X_val=condition[held], y_val=code[held])
        boosters.append(fitted)
        predicted[held] = _predict(fitted, condition[held])
    return boosters, predicted


def _predict(
    boosters: Sequence[HistGradientBoostingRegressor], condition: Rows
) -> NDArray[np.float64]:
    return np.column_stack([booster.predict(condition) for booster in boosters])

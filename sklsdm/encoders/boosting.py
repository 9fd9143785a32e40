"""Gradient boosting's predictions of the codes, out of fold for the pairs that it learns from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupKFold, KFold

from sklsdm.encoders.base import Groups, Rows

_N_FOLDS = 5
_MOST_TREES = 300  # of one booster
_MOST_COMPONENTS = 8  # of the codes that are predicted, each by boosters of its own
# Pairs times columns times components: beyond, boosting would take longer than the networks.
_MOST_NUMBERS = 4_000_000
_LEAVES = (31, 127)  # least and most of one tree: one for each `_PAIRS_OF_A_LEAF` pairs
_PAIRS_OF_A_LEAF = 100
_FEWEST_FOR_STOPPING = 20  # pairs; with fewer, a tenth of them cannot tell when to stop


class CrossFittedBoosting:
    """Boosted trees for each fold of the pairs, which do not learn from that fold.

    A pair is predicted by the boosters that did not see it, a new condition by the mean over all
    folds. Codes with more than `n_components` dimensions are predicted by their first principal
    components.

    Attributes
    ----------
    boosters_ : list of list of HistGradientBoostingRegressor
        For each fold those of all components.
    components_ : PCA or None
        The principal components of the codes, where they are more than `n_components`.
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def fit_predict(
        self, condition: Rows, codes: NDArray[np.float64], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Out-of-fold predictions (n, r); pairs of one group are in one fold."""
        self.components_ = None
        if codes.shape[1] > self.n_components:
            self.components_ = PCA(self.n_components, random_state=seed).fit(codes)
            codes = self.components_.transform(codes)
        self.boosters_ = []
        predicted = np.empty(codes.shape)
        for kept, held in folds(len(codes), seed, groups):
            fitted = [_booster(len(kept), seed) for _ in codes.T]
            for booster, code in zip(fitted, codes[kept].T, strict=True):
                booster.fit(condition[kept], code)
            self.boosters_.append(fitted)
            predicted[held] = _predict(fitted, condition[held])
        return predicted

    def predict(self, condition: Rows) -> NDArray[np.float64]:
        """Predictions (n, r) for new conditions."""
        return np.mean([_predict(fitted, condition) for fitted in self.boosters_], axis=0)


def boosted_components(n_pairs: int, n_columns: int, n_codes: int) -> int:
    """How many components of the codes boosting predicts; 0 where it would take too long."""
    affordable = _MOST_NUMBERS // max(1, n_pairs * n_columns)
    return min(_MOST_COMPONENTS, n_codes, affordable)


def are_several(groups: Groups) -> bool:
    """Whether pairs come in groups; of a single one, there is no other to learn from."""
    return groups is not None and len(np.unique(groups)) > 1


def folds(
    n_pairs: int, seed: int, groups: Groups
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The pairs that are kept and those that are held out, for each fold; groups stay whole."""
    if groups is None or not are_several(groups):
        return list(KFold(_N_FOLDS, shuffle=True, random_state=seed).split(np.empty(n_pairs)))
    n_folds = min(_N_FOLDS, len(np.unique(groups)))
    return list(GroupKFold(n_folds).split(np.empty(n_pairs), groups=groups))


def _booster(n_pairs: int, seed: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=_MOST_TREES,
        max_leaf_nodes=int(np.clip(n_pairs // _PAIRS_OF_A_LEAF, *_LEAVES)),
        early_stopping=n_pairs >= _FEWEST_FOR_STOPPING,
        n_iter_no_change=15,
        max_features=0.5,
        min_samples_leaf=10,
        random_state=seed,
    )


def _predict(boosters: list[HistGradientBoostingRegressor], condition: Rows) -> NDArray[np.float64]:
    return np.column_stack([booster.predict(condition) for booster in boosters])

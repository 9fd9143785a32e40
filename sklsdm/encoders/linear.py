"""Ridge regression's predictions of the codes, out of fold for the pairs that it learns from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict

from sklsdm.encoders.base import Groups
from sklsdm.encoders.folds import folds, principal
from sklsdm.ridge import RIDGE_PENALTIES

_N_FOLDS = 5


class CrossFittedRidge:
    """Ridge regression of the codes on the conditions.

    A pair is predicted by a regression that did not see its fold, a new condition by that of all
    pairs. Where only one pair is left to learn from, its codes are the prediction. Codes with more
    than `n_components` dimensions are predicted by their first principal components.

    Attributes
    ----------
    coef_ : ndarray of shape (p, r)
    intercept_ : ndarray of shape (r,)
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    def fit_predict(
        self, condition: NDArray[Any], codes: NDArray[np.float64], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Out-of-fold predictions (n, r); pairs of one group are in one fold."""
        codes = principal(codes, self.n_components, seed)
        ridge = RidgeCV(alphas=RIDGE_PENALTIES)
        splits = folds(len(codes), _N_FOLDS, seed, groups)
        with np.errstate(invalid="ignore"):  # the error of a penalty, where one pair is learnt from
            predicted = cross_val_predict(ridge, condition, codes, cv=splits)
        ridge.fit(condition, codes)
        self.coef_ = np.atleast_2d(ridge.coef_).T
        self.intercept_ = np.atleast_1d(ridge.intercept_)
        return predicted.reshape(codes.shape)

    def predict(self, condition: NDArray[Any]) -> NDArray[np.float64]:
        """Predictions (n, r) for new conditions."""
        return condition @ self.coef_ + self.intercept_

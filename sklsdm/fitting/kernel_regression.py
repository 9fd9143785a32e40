"""Predictions by kernel ridge regression, out of fold for the rows that it learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV, cross_val_predict

from sklsdm.blocks import row_slices
from sklsdm.encoders.base import Groups
from sklsdm.encoders.folds import folds
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.modules.classifiers import Cells

_N_FOLDS = 5
_PENALTIES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
# Of the Gaussian kernel exp(-w |a - b|^2 / d), where d is the rows' mean squared distance.
_SHARPNESS = [0.1, 0.3, 1.0, 3.0]


class CrossFittedByColumn:
    """Each column of the target by ridge regression or by that with a kernel, whichever errs less.

    Attributes
    ----------
    by_kernel_ : ndarray of bool, shape (r,)
        Which columns are predicted with a kernel.
    """

    def __init__(self, n_columns: int, image_shape: Sequence[int] | None = None) -> None:
        self.linear = CrossFittedRidge(n_columns)
        self.kernel = CrossFittedKernelRidge(image_shape)

    def fit_predict(
        self, rows: NDArray[np.float64], target: NDArray[np.float64], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Out-of-fold predictions (n, r) of the target; rows of one group are in one fold."""
        found = [
            each.fit_predict(rows, target, seed, groups) for each in (self.linear, self.kernel)
        ]
        by_line, by_kernel = (np.square(each - target).mean(axis=0) for each in found)
        self.by_kernel_ = by_kernel < by_line
        return np.where(self.by_kernel_, found[1], found[0])

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions (n, r) for new rows."""
        return np.where(self.by_kernel_, self.kernel.predict(rows), self.linear.predict(rows))


class CrossFittedKernelRidge:
    """Ridge regression with a Gaussian kernel: it finds what no line does, such as a slant.

    Penalty and width of the kernel are those with the lowest squared error of left-out rows. Of
    images of `image_shape` (c, h, w), flat in the rows, it also sees the edges and the light of
    cells (:class:`Cells`), which tell more of what an image shows.
    """

    def __init__(self, image_shape: Sequence[int] | None = None) -> None:
        self.cells = None if image_shape is None else Cells(image_shape)
        self.sizes = [1.0, 1.0]  # of rows and of what is seen in their cells

    def fit_predict(
        self, rows: NDArray[np.float64], target: NDArray[np.float64], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Out-of-fold predictions (n, r) of the target; rows of one group are in one fold."""
        splits = folds(len(rows), _N_FOLDS, seed, groups)
        parts = self._parts(rows)
        self.sizes = [max(np.sqrt(part.var(axis=0).sum()), 1e-12) for part in parts]
        rows = self._seen(rows)
        distance = 2 * max(float(rows.var(axis=0).sum()), 1e-12)
        widths = [sharpness / distance for sharpness in _SHARPNESS]
        search = GridSearchCV(
            KernelRidge(kernel="rbf"),
            {"alpha": _PENALTIES, "gamma": widths},
            scoring="neg_mean_squared_error",
            cv=splits,
        )
        self._mean = target.mean(axis=0)  # far from all rows a kernel predicts 0
        self._fitted = search.fit(rows, target - self._mean).best_estimator_
        predicted = cross_val_predict(self._fitted, rows, target - self._mean, cv=splits)
        return predicted.reshape(target.shape) + self._mean

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Predictions (n, r) for new rows."""
        found = self._fitted.predict(self._seen(rows))
        return found.reshape(len(rows), -1) + self._mean

    def _parts(self, rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """The rows and, of images, what is seen in their cells."""
        if self.cells is None:
            return [rows]
        blocks = (
            self.cells(torch.from_numpy(rows[some])).flatten(start_dim=1).numpy()
            for some in row_slices(len(rows), self.cells.numbers_per_image)
        )
        return [rows, np.concatenate(list(blocks))]

    def _seen(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the kernel compares: parts of equal variance, side by side."""
        parts = zip(self._parts(rows), self.sizes, strict=False)
        return np.concatenate([part / size for part, size in parts], axis=1)

"""A Gaussian process's predictions of the codes, for each pair by the other pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sklsdm.blocks import row_slices
from sklsdm.encoders.base import Groups
from sklsdm.encoders.folds import Split, are_several, folds, principal

Array = NDArray[np.float64]

_MOST_ROWS = 1500  # pairs from which a process predicts
_MOST_TO_TUNE = 250  # of them, by which its kernel is chosen
_MOST_STEPS = 40  # of that choice
_MOST_SCALES = 40  # columns times processes, up to which each column may have its own length scale
_FOLDS, _FOLDS_OF_MANY, _MANY = 5, 2, 400  # folds, and the pairs from which there are fewer
_SMOOTHNESS = 2.5  # of the Matérn kernel: draws of the process have two derivatives
# Bounds in standard deviations of columns (length scales) and codes, the latter squared.
_SCALES, _HEIGHTS, _NOISES = (1e-2, 1e3), (1e-2, 1e3), (1e-6, 10.0)
_FIRST_NOISE = 0.1
_BETTER = 0.95  # of the squared error of other models: from there on a process is worth it


class CrossFittedGaussianProcess:
    """A Gaussian process for each dimension of the codes: it follows smooth laws from few pairs.

    The numbers of its Matérn kernel (height, noise and length scales) have the largest marginal
    likelihood of some of the pairs. There is one length scale for all columns or, where that
    predicts better, one for each. A new condition is predicted by the process of all pairs. A pair
    is predicted by that of all others, or of all that are not of its group, with a kernel that was
    chosen without the pair's fold: a kernel that was chosen by the pair, too, tells its code too
    well. Codes with more than `n_components` dimensions are predicted by their first principal
    components. Those that other models predict about as well are left out.

    Attributes
    ----------
    rows_ : ndarray of shape (m, p)
        The conditions from which it predicts: all, or some 1,500 at random.
    columns_ : ndarray of shape (r,)
        Which dimensions or components are predicted.
    scales_ : ndarray of shape (r, p)
        Length scales of each process.
    weights_ : ndarray of shape (m, r)
        Of the kernel between a new condition and `rows_`.
    mean_ : ndarray of shape (r,)
        What is predicted far from all rows.

    References
    ----------
    Rasmussen & Williams 2006, "Gaussian processes for machine learning", equations 5.9 (marginal
    likelihood) and 5.12 (predictions without a pair, here without a group).
    """

    def __init__(self, n_components: int) -> None:
        self.n_components = n_components

    @np.errstate(under="ignore")  # the kernel of rows far apart is 0
    def fit_predict(
        self,
        condition: NDArray[Any],
        codes: NDArray[Any],
        seed: int,
        groups: Groups,
        others: Sequence[Array],
    ) -> Array:
        """Predictions (n, r) of the codes of each pair by other pairs.

        `others` are predictions (n, k), or of the principal components, by other models.
        """
        codes = principal(codes.astype(np.float64), self.n_components, seed)
        random = np.random.default_rng(seed)
        members = _members(groups, len(codes))
        own = _whole_groups(members, random)
        self.rows_ = condition[own]
        if len(np.unique(members[own])) < 2:  # groups are too large to be predicted by others
            return self._keep([], [], [], condition, codes)
        pairs = _Pairs.of(
            condition[own].astype(np.float64), None if groups is None else groups[own], random, seed
        )
        n_columns, n_codes = condition.shape[1], codes.shape[1]
        widths = [1, n_columns] if 1 < n_columns <= _MOST_SCALES / n_codes else [1]
        known = np.square([each - codes for each in others])[:, own].mean(axis=1).min(axis=0)
        columns, scales, weights, left_out = [], [], [], []
        for column, values in enumerate(codes[own].T):
            mean, spread = values.mean(), values.std()
            if known[column] == 0 or spread == 0:
                continue
            target = (values - mean) / spread
            found = {width: pairs.left_out(target, width) for width in widths}
            width = min(found, key=lambda each: np.square(found[each]).mean())
            if spread**2 * np.square(found[width]).mean() >= _BETTER * known[column]:
                continue
            kernel = pairs.kernel(target, width)
            columns.append(column)
            scales.append(np.broadcast_to(kernel.scales, n_columns))
            weights.append(spread * kernel.height * kernel.weights(pairs.rows, target)[1])
            left_out.append(values - spread * found[width])
        predicted = self._keep(columns, scales, weights, condition, codes[own])
        predicted[own] = np.array(left_out).reshape(len(columns), len(own)).T
        return predicted

    def _keep(
        self,
        columns: list[int],
        scales: list[Array],
        weights: list[Array],
        condition: NDArray[Any],
        codes: Array,
    ) -> Array:
        """Keep the processes of some columns of the codes; what they predict for `condition`."""
        self.columns_ = np.array(columns, dtype=np.intp)
        self.mean_ = codes[:, self.columns_].mean(axis=0)
        self.scales_ = np.array(scales).reshape(len(columns), condition.shape[1])
        self.weights_ = np.array(weights).reshape(len(columns), len(self.rows_)).T
        return self.predict(condition)

    @np.errstate(under="ignore")
    def predict(self, condition: NDArray[Any]) -> Array:
        """Predictions (n, r) for new conditions."""
        found = np.empty((len(condition), len(self.mean_)))
        own = self.rows_.astype(np.float64)
        for rows in row_slices(len(condition), 4 * len(own)):
            block = condition[rows].astype(np.float64)
            for column, scales in enumerate(self.scales_):
                kernel = Matern(scales, nu=_SMOOTHNESS)(block, own)
                found[rows, column] = kernel @ self.weights_[:, column]
        return found + self.mean_


@dataclass(frozen=True)
class _Kernel:
    """height * Matérn(scales) + noise, the kernel of a process."""

    height: float
    scales: Array  # one for each column, or one alone
    noise: float

    def weights(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """The inverse (m, m) of the matrix with noise, and its product with values (m,)."""
        matrix = self.height * Matern(self.scales, nu=_SMOOTHNESS)(rows)
        matrix[np.diag_indices(len(rows))] += self.noise
        inverse = cho_solve(cho_factor(matrix), np.eye(len(rows)))
        return inverse, inverse @ values


@dataclass(frozen=True)
class _Pairs:
    """The pairs from which a process predicts, their groups and folds, and an order at random."""

    rows: Array
    members: NDArray[np.intp]
    splits: Sequence[Split]
    order: NDArray[np.intp]

    @classmethod
    def of(cls, condition: Array, groups: Groups, random: np.random.Generator, seed: int) -> _Pairs:
        n = len(condition)
        n_folds = _FOLDS if n < _MANY else _FOLDS_OF_MANY
        return cls(
            condition,
            _members(groups, n),
            folds(n, n_folds, seed, groups),
            random.permutation(n),
        )

    def left_out(self, values: Array, width: int) -> Array:
        """Errors (m,) at pairs that are predicted by those of other groups.

        The kernel is chosen without the fold of the pair.
        """
        errors = np.empty(len(values))
        for kept, held in self.splits:
            kernel = self.kernel(values, width, kept)
            inverse, weights = kernel.weights(self.rows, values)
            errors[held] = _left_out(inverse, weights, self.members, held)
        return errors

    def kernel(self, values: Array, width: int, kept: NDArray[np.intp] | None = None) -> _Kernel:
        """The kernel of the largest marginal likelihood of some of the pairs `kept`."""
        order = self.order if kept is None else self.order[np.isin(self.order, kept)]
        some = order[:_MOST_TO_TUNE]
        scales = np.full(width, np.sqrt(self.rows.shape[1]))
        first = ConstantKernel(1.0, _HEIGHTS) * Matern(scales, _SCALES, nu=_SMOOTHNESS)
        process = GaussianProcessRegressor(
            first + WhiteKernel(_FIRST_NOISE, _NOISES), optimizer=_few_steps, random_state=0
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a number that is at its bound
            found = process.fit(self.rows[some], values[some]).kernel_
        return _Kernel(
            float(found.k1.k1.constant_value),
            np.atleast_1d(found.k1.k2.length_scale),
            float(found.k2.noise_level),
        )


def _members(groups: Groups, n_pairs: int) -> NDArray[np.intp]:
    """The group of each pair, counted from 0; itself where pairs do not come in groups."""
    if groups is None or not are_several(groups):
        return np.arange(n_pairs)
    return np.unique(groups, return_inverse=True)[1]


def _whole_groups(members: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.intp]:
    """Rows of at most 1,500 pairs, in order: of groups (n,) at random, all that still fit in."""
    if len(members) <= _MOST_ROWS:
        return np.arange(len(members))
    sizes, left = np.bincount(members), _MOST_ROWS
    chosen = np.zeros(len(sizes), dtype=bool)
    for group in random.permutation(len(sizes)):
        if sizes[group] <= left:
            chosen[group] = True
            left -= sizes[group]
    return np.flatnonzero(chosen[members])


def _few_steps(loss: Callable[..., Any], start: Array, bounds: Array) -> tuple[Array, float]:
    """An optimiser for scikit-learn's process, of fewer steps than its own."""
    found = minimize(
        loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": _MOST_STEPS}
    )
    return found.x, found.fun


def _left_out(
    inverse: Array, weights: Array, members: NDArray[np.intp], held: NDArray[np.intp]
) -> Array:
    """Errors at the pairs `held`, of whole groups, each predicted without the others of its group.

    `inverse` (m, m) is that of the kernel's matrix with noise, `weights` (m,) its product with the
    values of all pairs.
    """
    _, place, counts = np.unique(members[held], return_inverse=True, return_counts=True)
    errors = weights[held] / np.diag(inverse)[held]
    for group in np.flatnonzero(counts > 1):
        here = place == group
        rows = held[here]
        errors[here] = np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows])
    return errors

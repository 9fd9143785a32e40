"""A Gaussian process's predictions of the codes, for each pair by the other pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sklsdm.blocks import row_slices
from sklsdm.encoders.base import Groups
from sklsdm.encoders.folds import Split, are_several, folds, principal
from sklsdm.encoders.matern import MaternKernel, matern

Array = NDArray[np.float64]

_MOST_ROWS = 1500  # pairs from which a process predicts
_MOST_TO_TUNE = 250  # of them, by which its kernel is chosen
_MOST_SCALES = 100  # columns, up to which each may have its own length scale
_FOLDS, _FOLDS_OF_MANY, _MANY = 5, 2, 400  # folds, and the pairs from which there are fewer
_FEWEST_ROWS, _FEWEST_GROUPS = 20, 5  # by which a process can be judged
# A process is worth it where its squared error is below this share of that of other models, by
# more than so many standard errors.
_BETTER, _STANDARD_ERRORS = 0.95, 1


class CrossFittedGaussianProcess:
    """A Gaussian process for each dimension of the codes: it follows smooth laws from few pairs.

    The numbers of its Matérn kernel (height, noise and length scales) have the largest marginal
    likelihood of some of the pairs. Two kernels, with one length scale for all columns and with one
    for each, predict together: each has the share with which pairs left out are predicted best. A
    new condition is predicted by the process of all pairs. A pair is predicted by that of all
    others, or of all that are not of its group, with a kernel that was chosen without the pair's
    fold: a kernel that was chosen by the pair, too, tells its code too well. Codes with more than
    `n_components` dimensions are predicted by their first principal components. Those that other
    models predict about as well are left out.

    Attributes
    ----------
    rows_ : ndarray of shape (m, p)
        The conditions from which it predicts: all, or some 1,500 at random.
    columns_ : ndarray of shape (r,)
        Which dimensions or components are predicted.
    places_ : ndarray of shape (k,)
        Which of the r predictions each of the k kernels has a share in.
    scales_ : ndarray of shape (k, p)
        Length scales of each kernel.
    weights_ : ndarray of shape (m, k)
        Of each kernel between a new condition and `rows_`, times its share.
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
        n_groups = len(np.unique(members[own]))
        if len(own) < _FEWEST_ROWS or n_groups < _FEWEST_GROUPS:
            return self._keep([], [], condition, codes)
        n_folds = _FOLDS if len(own) < _MANY else _FOLDS_OF_MANY
        pairs = _Pairs(
            condition[own].astype(np.float64),
            members[own],
            folds(len(own), n_folds, seed, None if groups is None else groups[own]),
            random.permutation(len(own)),
        )
        n_columns = condition.shape[1]
        mean_alone = np.broadcast_to(codes.mean(axis=0), codes.shape)
        known = _least_squares([(each - codes)[own] for each in (*others, mean_alone)])
        columns: list[int] = []
        left_out: list[Array] = []
        kernels: list[_Kernel] = []
        for column, values in enumerate(codes[own].T):
            mean, spread = values.mean(), values.std()
            if spread == 0 or not known[:, column].any():
                continue
            target = (values - mean) / spread
            errors = pairs.left_out(target, known[:, column] / spread**2)
            if errors is None:
                continue
            shares = _shares(errors)
            for kernel, share in zip(pairs.kernels(target), shares, strict=True):
                if share > 0:
                    by_row = kernel.height * kernel.inverse(pairs.rows) @ target
                    scales = np.broadcast_to(kernel.scales, n_columns)
                    kernels.append(_Kernel(len(columns), scales, spread * share * by_row))
            columns.append(column)
            left_out.append(values - spread * shares @ errors)
        predicted = self._keep(columns, kernels, condition, codes[own])
        predicted[own] = np.array(left_out).reshape(len(columns), len(own)).T
        return predicted

    def _keep(
        self,
        columns: list[int],
        kernels: list[_Kernel],
        condition: NDArray[Any],
        codes: Array,
    ) -> Array:
        """Keep the kernels of some columns of the codes; what they predict for `condition`."""
        self.columns_ = np.array(columns, dtype=np.intp)
        self.mean_ = codes[:, self.columns_].mean(axis=0)
        self.places_ = np.array([each.place for each in kernels], dtype=np.intp)
        scales, weights = [each.scales for each in kernels], [each.weights for each in kernels]
        self.scales_ = np.array(scales).reshape(len(kernels), condition.shape[1])
        self.weights_ = np.array(weights).reshape(len(kernels), len(self.rows_)).T
        return self.predict(condition)

    @np.errstate(under="ignore")
    def predict(self, condition: NDArray[Any]) -> Array:
        """Predictions (n, r) for new conditions."""
        found = np.tile(self.mean_, (len(condition), 1))
        own = self.rows_.astype(np.float64)
        for rows in row_slices(len(condition), 4 * len(own)):
            block = condition[rows].astype(np.float64)
            for place, scales, weights in zip(
                self.places_, self.scales_, self.weights_.T, strict=True
            ):
                found[rows, place] += matern(block, own, scales) @ weights
        return found


class _Kernel(NamedTuple):
    """A kernel's length scales (p,) and weights (m,), and the prediction that it has a share in."""

    place: int
    scales: Array
    weights: Array


@dataclass(frozen=True)
class _Pairs:
    """The pairs from which a process predicts, their groups and folds, and an order at random."""

    rows: Array
    members: NDArray[np.intp]
    splits: Sequence[Split]
    order: NDArray[np.intp]

    @property
    def numbers_of_scales(self) -> tuple[int, ...]:
        """The number of length scales of each kernel."""
        n_columns = self.rows.shape[1]
        return (1, n_columns) if 1 < n_columns <= _MOST_SCALES else (1,)

    def left_out(self, values: Array, known: Array) -> Array | None:
        """Errors (k, m) of each kernel at pairs that are predicted by those of other groups.

        The kernels are chosen without the fold of the pair. None where the process is not worth it:
        `known` (m,) are squared errors of another model. Where it is clearly worse after some
        folds, the others are spared.
        """
        errors = np.full((len(self.numbers_of_scales), len(values)), np.nan)
        for kept, held in self.splits:
            for own, kernel in zip(errors, self.kernels(values, kept), strict=True):
                inverse = kernel.inverse(self.rows)
                own[held] = _left_out(inverse, inverse @ values, self.members, held)
            done = np.isfinite(errors[0])
            squares = _least_squares(errors[:, done, None])[:, 0]
            gains = known[done] - squares
            doubt = _STANDARD_ERRORS * gains.std() / np.sqrt(len(np.unique(self.members[done])))
            if gains.mean() < -doubt:
                return None
        is_worth_it = squares.mean() < _BETTER * known.mean() and gains.mean() > doubt
        return errors if is_worth_it else None

    def kernels(self, values: Array, kept: NDArray[np.intp] | None = None) -> list[MaternKernel]:
        """The kernels of the largest marginal likelihood of some of the pairs `kept`."""
        order = self.order if kept is None else self.order[np.isin(self.order, kept)]
        some = order[:_MOST_TO_TUNE]
        return MaternKernel.most_likely(self.rows[some], values[some], self.numbers_of_scales)


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


def _least_squares(errors: Sequence[Array] | Array) -> Array:
    """Squared errors (m, k) of whichever model has the least for each of k columns."""
    squares = np.square(errors)
    best = squares.mean(axis=1).argmin(axis=0)
    return squares[best, :, np.arange(len(best))].T


def _shares(errors: Array) -> Array:
    """Shares (k,) of one or two models in a prediction, by errors (k, m): those of least squares.

    The error of the prediction is the sum of errors times shares, which lie in [0, 1] and add up
    to 1.
    """
    if len(errors) == 1:
        return np.ones(1)
    first, second = errors
    apart = np.square(second - first).sum()
    share = (second - first) @ second / apart if apart > 0 else 1.0
    return np.array([share, 1 - share]).clip(0, 1)


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

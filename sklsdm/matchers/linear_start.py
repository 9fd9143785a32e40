"""Where generators, fields and densities start: ridge regression with Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.blocks import row_hashes
from sklsdm.functional.categorical import are_measured
from sklsdm.matchers.data import MatchingData
from sklsdm.ridge import RIDGE_PENALTIES

# Codes that networks learn are moved no further than to twice their error: of more columns than
# pairs, errors at pairs left out are many times as large, and harm as targets.
_MOST_MOVED = 2.0
_ROUNDING = 1e-12  # as a share of the largest eigenvalue
_LEAST_LEFT = 1e-9  # of a residual, where a pair or its group decides the regression alone
_MOST_ERROR = 3.0  # standard deviations of a code, by which a pair that is left out may be off


def start_linear(module: Any, data: MatchingData, *, invertible: bool = False) -> None:
    """Set the linear path of a module to ridge regression with the covariance of its errors.

    These are errors at pairs that are left out, with all of their group: those at pairs that the
    regression has seen are too small where pairs are few. `invertible` shrinks the covariance
    towards a multiple of the identity, so that it can be inverted also where pairs are few or codes
    do not vary.
    """
    ridge = _Ridge(data)
    errors = ridge.bounded_errors()
    covariance = np.atleast_2d(np.cov(errors.T))
    if invertible:
        share = len(covariance) / (len(errors) + len(covariance))
        mean_variance = np.trace(covariance) / len(covariance) + 1e-6
        covariance = (1 - share) * covariance + share * mean_variance * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1]
    factor = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    module.set_linear(
        torch.as_tensor(ridge.coef),
        torch.as_tensor(ridge.intercept),
        torch.as_tensor(factor.copy()),
    )


def with_errors_of_new_pairs(data: MatchingData) -> MatchingData:
    """The data with codes as far from ridge regression as if it had not seen them, at most twice.

    A network that learns from these does not take the small errors of a regression of few pairs on
    many columns for those of new pairs, and draws as widely as these need. Of many pairs the codes
    hardly change. Codes or conditions that are images, and pairs with guessed conditions among
    them, stay as they are.
    """
    if not data.are_vectors or data.n_pseudo > 0 or len(data.latent) < 2:
        return data
    # By pairs also where they come in groups: what is left without a large group errs in its slope,
    # and codes moved by that teach another law (docs/lessons.md).
    ridge = _Ridge(replace(data, groups=None))
    most = _MOST_MOVED * np.abs(ridge.residuals)
    moved = ridge.fitted + np.clip(ridge.errors, -most, most)
    return replace(data, latent=torch.as_tensor(moved).to(data.latent))


class _Ridge:
    """Ridge regression of codes on conditions.

    It has `residuals` (n, k) at the pairs that it has seen, and `errors` (n, k) at each pair if it
    is left out with all its group, or with all its copies.
    """

    def __init__(self, data: MatchingData) -> None:
        x, z = (part.cpu().double().numpy() for part in (data.condition, data.latent))
        groups = _copies(x, z) if data.groups is None else data.groups.cpu().numpy()
        solution = _Solution.of(x - x.mean(axis=0), z - z.mean(axis=0), _by_size(groups))
        penalty = min(RIDGE_PENALTIES, key=solution.error_left_out)
        self.coef = solution.coef(penalty).T
        self.intercept = z.mean(axis=0) - self.coef @ x.mean(axis=0)
        self.fitted = x @ self.coef.T + self.intercept
        self.residuals = z - self.fitted
        self.errors = solution.errors(penalty) if x.shape[1] else self.residuals
        self._most = np.maximum(np.abs(self.residuals), _MOST_ERROR * z.std(axis=0))

    def bounded_errors(self) -> NDArray[np.float64]:
        """The errors (n, k); a pair that decides the regression alone may be off by any amount."""
        return np.clip(self.errors, -self._most, self._most)


@dataclass(frozen=True)
class _Solution:
    """Ridge regression of centred codes (n, k) on centred conditions (n, p), for all penalties.

    One eigendecomposition of XᵀX (of XXᵀ where columns are more than pairs) serves all of them
    (Golub, Heath & Wahba 1979). scikit-learn's RidgeCV finds the same, and goes through all pairs
    and columns anew for each penalty, which takes long where conditions are images.
    """

    values: NDArray[np.float64]  # (r,), the eigenvalues
    axes: NDArray[np.float64]  # (p, r), which give the coefficients
    scores: NDArray[np.float64]  # (n, r), principal components of the pairs
    products: NDArray[np.float64]  # (r, k), of these with the codes
    codes: NDArray[np.float64]  # (n, k)
    groups: list[NDArray[np.intp]]  # of pairs that are left out together, see `_by_size`

    @classmethod
    def of(
        cls, x: NDArray[np.float64], z: NDArray[np.float64], groups: list[NDArray[np.intp]]
    ) -> _Solution:
        n_pairs, n_columns = x.shape
        if n_columns <= n_pairs:
            values, axes = np.linalg.eigh(x.T @ x)
        else:
            values, vectors = np.linalg.eigh(x @ x.T)
            kept = values > _ROUNDING * max(values[-1], 0.0)
            values, axes = values[kept], x.T @ vectors[:, kept] / np.sqrt(values[kept])
        scores = x @ axes
        return cls(np.maximum(values, 0.0), axes, scores, scores.T @ z, z, groups)

    def coef(self, penalty: float) -> NDArray[np.float64]:
        """Coefficients (p, k)."""
        return self.axes @ (self.products / (self.values + penalty)[:, None])

    def errors(self, penalty: float) -> NDArray[np.float64]:
        """Errors (n, k) at the pairs of each group by the regression of all others.

        With H the part of the hat matrix that belongs to a group, by how much its codes move what
        the regression gives for them, they are (I - H)^-1 times the group's residuals. H is U U^T
        with as many columns of U as the regression has coefficients. Where these are fewer than the
        pairs of the group, the inverse is I + U (I - U^T U)^-1 U^T. For a pair by itself, H is its
        leverage.
        """
        shrunk = self.values + penalty
        residuals = self.codes - self.scores @ (self.products / shrunk[:, None])
        leverages = np.square(self.scores) @ (1 / shrunk) + 1 / len(residuals)
        errors = residuals / np.maximum(1 - leverages, _LEAST_LEFT)[:, None]
        for rows in self.groups:
            if rows.shape[1] == 1:
                continue
            own = self.scores[rows] / np.sqrt(shrunk)
            own = np.concatenate([own, np.full((*rows.shape, 1), len(residuals) ** -0.5)], axis=2)
            n_pairs, n_coefficients = own.shape[1:]
            turned = own.transpose(0, 2, 1)
            if n_pairs <= n_coefficients:
                errors[rows] = _solve(own @ turned, residuals[rows])
            else:
                errors[rows] = residuals[rows] + own @ _solve(
                    turned @ own, turned @ residuals[rows]
                )
        return errors

    def error_left_out(self, penalty: float) -> float:
        """Mean squared error of each pair by the regression of the others."""
        return float(np.square(self.errors(penalty)).mean())


def _solve(moved: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(I - M)^-1 R for matrices M (g, m, m), with eigenvalues from 0 to 1, and R (g, m, k)."""
    left = (1 + _ROUNDING) * np.eye(moved.shape[1]) - moved
    return np.linalg.solve(left, rows).astype(np.float64, copy=False)


def _by_size(groups: NDArray[Any]) -> list[NDArray[np.intp]]:
    """The pairs of all groups of one size as rows of a matrix (g, m), for each size m."""
    _, sizes = np.unique(groups, return_counts=True)
    order, ends = np.argsort(groups, kind="stable"), sizes.cumsum()
    return [
        order[ends[sizes == size][:, None] - np.arange(size, 0, -1)] for size in np.unique(sizes)
    ]


def _copies(x: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[Any]:
    """A number (n,) for each pair, the same one for copies; no pairs are, if x is not measured.

    Pairs of labels and counts are equal without being copies.
    """
    if not are_measured(torch.from_numpy(x)):
        return np.arange(len(x))
    return row_hashes(np.column_stack([x, z]))

"""Where generators, fields and densities start: ridge regression with Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import row_hashes
from sklsdm.functional.categorical import are_measured
from sklsdm.matchers.data import MatchingData
from sklsdm.ridge import RIDGE_PENALTIES

# Codes that networks learn are moved no further than to twice their error: of more columns than
# pairs, errors at pairs left out are many times as large, and harm as targets.
_MOST_MOVED = 2.0
_ROUNDING = 1e-12  # of the largest eigenvalue
_MOST_ERROR = 3.0  # standard deviations of a code, by which a pair that is left out may be off


def start_linear(
    module: Any, condition: Tensor, latent: Tensor, *, invertible: bool = False
) -> None:
    """Set the linear path of a module to ridge regression with the covariance of its errors.

    These are errors at pairs that are left out: those at pairs that the regression has seen are
    too small where pairs are few. `invertible` shrinks the covariance towards a multiple of the
    identity, so that it can be inverted also where pairs are few or codes do not vary.
    """
    ridge = _Ridge(condition, latent)
    errors = ridge.errors()
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
    ridge = _Ridge(data.condition, data.latent)
    times = np.minimum(ridge.times_left_out, _MOST_MOVED)[:, None]
    moved = ridge.fitted + times * ridge.residuals
    return replace(data, latent=torch.as_tensor(moved).to(data.latent))


class _Ridge:
    """Ridge regression of codes on conditions.

    Left out with all its copies, a pair has `times_left_out` (n,) times the residual that it has
    among the others; `most` (n, k) bounds what is believed of that.
    """

    def __init__(self, condition: Tensor, latent: Tensor) -> None:
        x, z = condition.cpu().double().numpy(), latent.cpu().double().numpy()
        solution = _Solution.of(x - x.mean(axis=0), z - z.mean(axis=0), _n_copies(x, z))
        penalty = min(RIDGE_PENALTIES, key=solution.error_left_out)
        self.coef = solution.coef(penalty).T
        self.intercept = z.mean(axis=0) - self.coef @ x.mean(axis=0)
        self.fitted = x @ self.coef.T + self.intercept
        self.residuals = z - self.fitted
        left = solution.left_of_residuals(penalty) if x.shape[1] else np.ones(len(x))
        self.times_left_out = 1 / left
        self.most = np.maximum(np.abs(self.residuals), _MOST_ERROR * z.std(axis=0))

    def errors(self) -> NDArray[np.float64]:
        """Its error at each pair if it is left out, (n, k).

        A pair that decides the regression alone may be off by any amount, and so they are bounded.
        """
        return np.clip(self.times_left_out[:, None] * self.residuals, -self.most, self.most)


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
    n_copies: NDArray[np.intp]  # (n,), how often each pair occurs

    @classmethod
    def of(
        cls, x: NDArray[np.float64], z: NDArray[np.float64], n_copies: NDArray[np.intp]
    ) -> _Solution:
        n_pairs, n_columns = x.shape
        if n_columns <= n_pairs:
            values, axes = np.linalg.eigh(x.T @ x)
        else:
            values, vectors = np.linalg.eigh(x @ x.T)
            kept = values > _ROUNDING * max(values[-1], 0.0)
            values, axes = values[kept], x.T @ vectors[:, kept] / np.sqrt(values[kept])
        scores = x @ axes
        return cls(np.maximum(values, 0.0), axes, scores, scores.T @ z, z, n_copies)

    def coef(self, penalty: float) -> NDArray[np.float64]:
        """Coefficients (p, k)."""
        return self.axes @ (self.products / (self.values + penalty)[:, None])

    def left_of_residuals(self, penalty: float) -> NDArray[np.float64]:
        """What share (n,) a pair's residual is of that where it is left out with its copies.

        It is 1 less the leverages of all of them, by how much its code moves what the regression
        gives for it.
        """
        own = np.square(self.scores) @ (1 / (self.values + penalty)) + 1 / len(self.scores)
        return np.maximum(1 - self.n_copies * own, 1e-9)

    def error_left_out(self, penalty: float) -> float:
        """Mean squared error of each pair by the regression of the others."""
        fitted = self.scores @ (self.products / (self.values + penalty)[:, None])
        left = self.left_of_residuals(penalty)
        return float(np.square((self.codes - fitted) / left[:, None]).mean())


def _n_copies(x: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.intp]:
    """How often each pair of a row of x and of z occurs, (n,); 1 where x is not measured.

    Pairs of labels and counts are equal without being copies.
    """
    if not are_measured(torch.from_numpy(x)):
        return np.ones(len(x), dtype=np.intp)
    _, place, counts = np.unique(
        row_hashes(np.column_stack([x, z])), return_inverse=True, return_counts=True
    )
    return counts[place]

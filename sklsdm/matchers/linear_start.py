"""Where generators, fields and densities start: ridge regression with Gaussian noise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from torch import Tensor

from sklsdm.matchers.data import MatchingData
from sklsdm.ridge import RIDGE_PENALTIES

# Codes that networks learn are moved no further than to twice their error: of more columns than
# pairs, errors at pairs left out are many times as large, and harm as targets.
_MOST_MOVED = 2.0
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

    Left out, a pair has `times_left_out` (n,) times the residual that it has among the others;
    `most` (n, k) bounds what is believed of that.
    """

    def __init__(self, condition: Tensor, latent: Tensor) -> None:
        x, z = condition.cpu().double().numpy(), latent.cpu().double().numpy()
        self.coef, self.intercept = np.zeros((z.shape[1], x.shape[1])), z.mean(axis=0)
        leverage = np.zeros(len(x))
        if x.shape[1]:
            ridge = RidgeCV(alphas=RIDGE_PENALTIES).fit(x, z)
            self.coef = ridge.coef_.reshape(self.coef.shape)
            self.intercept = np.atleast_1d(ridge.intercept_)
            leverage = _leverages(x, ridge.alpha_)
        self.fitted = x @ self.coef.T + self.intercept
        self.residuals = z - self.fitted
        self.times_left_out = 1 / np.maximum(1 - leverage, 1e-9)
        self.most = np.maximum(np.abs(self.residuals), _MOST_ERROR * z.std(axis=0))

    def errors(self) -> NDArray[np.float64]:
        """Its error at each pair if it is left out, (n, k).

        A pair that decides the regression alone may be off by any amount, and so they are bounded.
        """
        return np.clip(self.times_left_out[:, None] * self.residuals, -self.most, self.most)


def _leverages(x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """By how much each pair's own code moves what ridge regression gives for it, (n,)."""
    centred = x - x.mean(axis=0)
    n, p = centred.shape
    values, vectors = np.linalg.eigh(centred.T @ centred if p <= n else centred @ centred.T)
    values = np.maximum(values, 0.0)  # rounding
    if p <= n:
        own = np.square(centred @ vectors) @ (1 / (values + alpha))
    else:
        own = np.square(vectors) @ (values / (values + alpha))
    return own + 1 / n

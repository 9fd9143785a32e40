"""Where generators, fields and densities start: ridge regression with Gaussian noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor


def start_linear(
    module: Any, condition: Tensor, latent: Tensor, *, invertible: bool = False
) -> None:
    """Set the linear path of a module to ridge regression with its residual covariance.

    `invertible` shrinks that covariance towards a multiple of the identity, so that it can be
    inverted also where pairs are few or codes do not vary.
    """
    x, z = condition.cpu().double().numpy(), latent.cpu().double().numpy()
    coef, intercept = np.zeros((z.shape[1], x.shape[1])), z.mean(axis=0)
    if x.shape[1]:
        ridge = RidgeCV(alphas=np.logspace(-2, 4, 13)).fit(x, z)
        coef, intercept = ridge.coef_.reshape(coef.shape), np.atleast_1d(ridge.intercept_)
    residual = z - x @ coef.T - intercept
    covariance = np.atleast_2d(np.cov(residual.T))
    if invertible:
        share = len(covariance) / (len(z) + len(covariance))
        mean_variance = np.trace(covariance) / len(covariance) + 1e-6
        covariance = (1 - share) * covariance + share * mean_variance * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1]
    factor = vectors[:, order] * np.sqrt(np.maximum(values[order], 0.0))
    module.set_linear(
        torch.as_tensor(coef), torch.as_tensor(intercept), torch.as_tensor(factor.copy())
    )

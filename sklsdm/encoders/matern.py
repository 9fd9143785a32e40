"""The Matérn kernel of a Gaussian process, chosen by its marginal likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

_MOST_STEPS, _TOLERANCE = 40, 1e-5  # the latter of the likelihood, relative
_FIRST_HEIGHT, _FIRST_NOISE = 1.0, 0.1
_NEAR = 0.3  # of the first length scale: a second one to start from
# Bounds, in standard deviations of columns (scales) and of values, the latter squared.
_HEIGHTS, _NOISES, _SCALES = (1e-2, 1e3), (1e-6, 10.0), (1e-2, 1e3)


@dataclass(frozen=True)
class MaternKernel:
    """height * Matérn(5/2) of distances in length scales, with noise on the diagonal."""

    height: float
    noise: float
    scales: Array  # one for each column, or one alone

    @classmethod
    def most_likely(
        cls, rows: Array, values: Array, numbers_of_scales: Sequence[int]
    ) -> list[MaternKernel]:
        """The kernels of the largest marginal likelihood of values (m,) at rows (m, p).

        Values are standardised. The numbers of length scales are (1,), or (1, p) for a second
        kernel that has one for each column.

        References
        ----------
        Rasmussen & Williams 2006, "Gaussian processes for machine learning", equations 2.30 and
        5.9.
        """
        far = np.sqrt(rows.shape[1])  # the distance of two rows, about
        further = _start(np.full(1, _NEAR * far))
        found = []
        for n_scales in numbers_of_scales:
            reached = _climb([_start(np.full(n_scales, far)), further], rows, values)
            height, noise, *scales = np.exp(reached)
            found.append(cls(float(height), float(noise), np.array(scales)))
            further = np.r_[reached[:2], np.broadcast_to(reached[2:], rows.shape[1])]
        return found

    def inverse(self, rows: Array) -> Array:
        """The inverse (m, m) of the kernel of rows (m, p) with noise."""
        matrix = self.height * matern(rows, rows, self.scales)
        matrix[np.diag_indices(len(rows))] += self.noise
        return cho_solve(cho_factor(matrix), np.eye(len(rows)))


def _start(scales: Array) -> Array:
    """Logarithms of height, noise and scales from which the likelihood may be climbed."""
    return np.log(np.r_[_FIRST_HEIGHT, _FIRST_NOISE, scales])


def _climb(starts: Sequence[Array], rows: Array, values: Array) -> Array:
    """The logarithms of the largest likelihood that is reached from one of the starts.

    There are several, since from a single one it may end where all is noise.
    """
    n_scales = len(starts[0]) - 2
    found = [
        minimize(
            negative_log_likelihood,
            start,
            args=(rows, values),
            jac=True,
            bounds=np.log([_HEIGHTS, _NOISES, *[_SCALES] * n_scales]),
            method="L-BFGS-B",
            options={"maxiter": _MOST_STEPS, "ftol": _TOLERANCE},
        )
        for start in starts
    ]
    best: Array = min(found, key=lambda each: each.fun).x
    return best


def matern(first: Array, second: Array, scales: Array) -> Array:
    """The kernel (m, k) of rows (m, p) and rows (k, p), 1 where they are equal.

    Functions drawn from a process with this kernel have two derivatives.
    """
    distances = np.sqrt(5) * cdist(first / scales, second / scales)
    return (1 + distances + distances**2 / 3) * np.exp(-distances)


def negative_log_likelihood(logarithms: Array, rows: Array, values: Array) -> tuple[float, Array]:
    """Minus the log marginal likelihood of values (m,) at rows (m, p), and its gradient.

    `logarithms` are those of height, noise and scales. The gradient by a column's scale is a sum
    over pairs of rows of their squared difference in that column. Written as a matrix product, it
    takes no array of all differences in all columns.
    """
    height, noise, *scales = np.exp(logarithms)
    scaled = rows / scales
    distances = np.sqrt(5) * cdist(scaled, scaled)
    decay = height * np.exp(-distances)
    kernel = decay * (1 + distances + distances**2 / 3)
    factor = cho_factor(kernel + noise * np.eye(len(rows)), lower=True)
    inverse = cho_solve(factor, np.eye(len(rows)))
    weights = inverse @ values
    halved = (np.outer(weights, weights) - inverse) / 2
    by_square = 5 / 3 * halved * decay * (1 + distances)
    by_column = 2 * scaled * (by_square.sum(axis=1)[:, None] * scaled - by_square @ scaled)
    by_scale = by_column.sum(axis=0)
    if len(scales) == 1:
        by_scale = by_scale.sum(keepdims=True)
    gradient = [(halved * kernel).sum(), noise * np.trace(halved), *by_scale]
    loss = values @ weights / 2 + np.log(np.diag(factor[0])).sum()
    return loss + len(values) * np.log(2 * np.pi) / 2, -np.array(gradient)

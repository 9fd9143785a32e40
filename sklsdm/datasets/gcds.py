"""The four simulated problems of the GCDS paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from sklsdm._validation import check_choice
from sklsdm.datasets.problem import Array, Problem, build_problem, checked_generator
from sklsdm.randomness import RandomState


def make_gcds(
    task: str = "T1",
    n_samples: int = 5000,
    *,
    noise: float | None = None,
    random_state: RandomState = None,
) -> Problem:
    r"""The four problems of the GCDS paper's Table 1 [1]_, as its official code draws them.

    X is N(0, I) in p dimensions, and e is N(0, 1) except in T3:

    - T1 (p = 5): :math:`y = x_1^2 + \exp((x_2 + x_3)/3) + \sin(x_4 x_5) + e`
    - T2 (p = 5): :math:`y = x_1^2 + \exp(x_2 + x_3/3) + x_4 - x_5 + (.5 + x_2^2/2 + x_5^2/2) e`
    - T3 (p = 30): :math:`y = (5 + x_1^2/3 + x_2/2 + x_3/2 + x_4 + x_5) \exp(e/2)`, with e an equal
      mixture of N(2, 1) and N(-2, 1)
    - T4 (p = 5): :math:`y = \pm x_1 + .25 e`, either sign with probability one half

    The paper takes n = 5,000, ten replicates and 2,000 test points with 10,000 draws each, and
    reports the mean squared error of the conditional mean and standard deviation.

    Parameters
    ----------
    task : {"T1", "T2", "T3", "T4"}, default="T1"
        Which of the four problems.
    noise : float, optional
        Factor of e; None takes the paper's, which is .25 in T4 and 1 in the others.
    n_samples, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
        With y of shape (n,).
    """
    check_choice("task", task, _GCDS)
    law, mean, std, p, usual_noise = _GCDS[task]
    factor = usual_noise if noise is None else noise
    rng = checked_generator(n_samples, factor, random_state)
    X = rng.normal(size=(n_samples, p))
    return build_problem(f"gcds_{task}", X, rng, factor, law, mean, std)


def _columns(X: ArrayLike) -> list[Array]:
    """x1 to x5."""
    return list(np.asarray(X, dtype=np.float64)[:, :5].T)


def _t1_mean(X: ArrayLike, noise: float) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return x1**2 + np.exp((x2 + x3) / 3) + np.sin(x4 * x5)


def _t1_std(X: ArrayLike, noise: float) -> Array:
    return np.full(len(np.asarray(X)), float(noise))


def _t2_mean(X: ArrayLike, noise: float) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return x1**2 + np.exp(x2 + x3 / 3) + x4 - x5


def _t2_std(X: ArrayLike, noise: float) -> Array:
    _, x2, _, _, x5 = _columns(X)
    return noise * (0.5 + x2**2 / 2 + x5**2 / 2)


def _t1_law(X: Array, rng: Generator, noise: float) -> Array:
    return _t1_mean(X, noise) + _t1_std(X, noise) * rng.normal(size=len(X))


def _t2_law(X: Array, rng: Generator, noise: float) -> Array:
    return _t2_mean(X, noise) + _t2_std(X, noise) * rng.normal(size=len(X))


def _t3_factor(X: ArrayLike) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return 5 + x1**2 / 3 + x2 / 2 + x3 / 2 + x4 + x5


def _t3_law(X: Array, rng: Generator, noise: float) -> Array:
    error = rng.choice([-2.0, 2.0], size=len(X)) + rng.normal(size=len(X))
    return _t3_factor(X) * np.exp(0.5 * noise * error)


def _t3_exponential(t: float) -> float:
    """E exp(t e) of e = ±2 + N(0, 1): exp(t²/2) cosh(2t)."""
    return float(np.exp(t**2 / 2) * np.cosh(2 * t))


def _t3_mean(X: ArrayLike, noise: float) -> Array:
    return _t3_factor(X) * _t3_exponential(0.5 * noise)


def _t3_std(X: ArrayLike, noise: float) -> Array:
    variance = _t3_exponential(noise) - _t3_exponential(0.5 * noise) ** 2
    return np.abs(_t3_factor(X)) * np.sqrt(variance)


def _t4_law(X: Array, rng: Generator, noise: float) -> Array:
    return rng.choice([-1.0, 1.0], size=len(X)) * X[:, 0] + noise * rng.normal(size=len(X))


def _t4_mean(X: ArrayLike, noise: float) -> Array:
    return np.zeros(len(np.asarray(X)))


def _t4_std(X: ArrayLike, noise: float) -> Array:
    return np.hypot(_columns(X)[0], noise)


# law, mean, std, number of conditions, the paper's factor of the error
_Function = Callable[..., Array]
_GCDS: dict[str, tuple[_Function, _Function, _Function, int, float]] = {
    "T1": (_t1_law, _t1_mean, _t1_std, 5, 1.0),
    "T2": (_t2_law, _t2_mean, _t2_std, 5, 1.0),
    "T3": (_t3_law, _t3_mean, _t3_std, 30, 1.0),
    "T4": (_t4_law, _t4_mean, _t4_std, 5, 0.25),
}

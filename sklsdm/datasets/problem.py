"""A problem: pairs drawn from a known law, together with that law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from sklsdm._validation import check_integer, check_numeric, check_real
from sklsdm.blocks import row_slices
from sklsdm.randomness import RandomState, as_generator

Array = NDArray[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    r"""Pairs drawn from a known law, with the law itself.

    Attributes
    ----------
    X : ndarray of shape (n, p)
        Conditions; for an unconditional problem of shape (n, 0): rows without columns.
    y : ndarray of shape (n,) or (n, q)
        Responses, one for each row of X.
    name : str
        The problem's name.
    law : callable
        ``law(X, rng)`` draws one response for each row of X.
    mean, std : callable
        ``mean(X)`` and ``std(X)`` of the true law, of shape (len(X), \*y_shape).

    Examples
    --------
    >>> from sklsdm.datasets import make_arms
    >>> problem = make_arms(200, random_state=0)
    >>> problem
    Problem('arms', X (200, 2), y (200, 2))
    >>> problem.sample(problem.X[:5], n_samples=100, random_state=1).shape
    (5, 100, 2)
    """

    X: Array
    y: Array
    name: str
    law: Callable[[Array, Generator], Array]
    mean: Callable[[ArrayLike], Array]
    std: Callable[[ArrayLike], Array]

    def __repr__(self) -> str:
        return f"Problem({self.name!r}, X {self.X.shape}, y {self.y.shape})"

    def sample(
        self, X: ArrayLike | None, n_samples: int = 1, *, random_state: RandomState = None
    ) -> Array:
        r"""Exact draws of the true law.

        Parameters
        ----------
        X : array-like of shape (n, p), or None
            Conditions to draw at. An unconditional problem takes None too.
        n_samples : int, default=1
            Draws for each row.
        random_state : int, RandomState, Generator or None, default=None
            Draws the responses: an int gives the same ones every time.

        Returns
        -------
        ndarray of shape (n, n_samples, \*y_shape), or (n_samples, \*y_shape) where X is None
        """
        check_integer("n_samples", n_samples, 1)
        rng = as_generator(random_state)
        p = self.X.shape[1]
        if X is None and p == 0:
            return self.law(np.empty((n_samples, 0)), rng)
        condition = self._check_condition(X)
        blocks = [condition[rows] for rows in row_slices(len(condition), n_samples * p)]
        drawn = [self.law(np.repeat(block, n_samples, axis=0), rng) for block in blocks]
        return np.concatenate(drawn).reshape(len(condition), n_samples, *self.y.shape[1:])

    def _check_condition(self, X: ArrayLike | None) -> Array:
        p = self.X.shape[1]
        if p == 0:
            condition = np.asarray(X)  # check_numeric refuses tables without columns
            wanted = f"be None, as the problem {self.name!r} has no conditions, or have"
        else:
            condition = check_numeric("X", X).astype(np.float64)
            wanted = "have"
        if condition.ndim != 2 or condition.shape[1] != p or len(condition) == 0:
            raise ValueError(f"X must {wanted} shape (n, {p}), got {condition.shape}.")
        return condition


def checked_generator(n_samples: int, noise: float, random_state: RandomState) -> Generator:
    """Check the arguments that all problems share; returns the generator that draws the pairs."""
    check_integer("n_samples", n_samples, 1)
    check_real("noise", noise, 0)
    return as_generator(random_state)


def build_problem(
    name: str,
    X: Array,
    rng: Generator,
    noise: float,
    law: Callable[..., Array],
    mean: Callable[..., Array],
    std: Callable[..., Array],
) -> Problem:
    """The problem with conditions X and responses drawn at them.

    ``law(X, rng, noise=...)``, ``mean(X, noise=...)`` and ``std(X, noise=...)`` must be
    functions at the top of a module, so that the problem can be pickled.
    """
    law, mean, std = (partial(function, noise=noise) for function in (law, mean, std))
    return Problem(X=X, y=law(X, rng), name=name, law=law, mean=mean, std=std)

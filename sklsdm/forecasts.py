"""Forecasts made from draws: conditional means, standard deviations, quantiles and intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklsdm._validation import check_levels, check_real
from sklsdm.drawing import Bank, estimate_moments, estimate_quantiles
from sklsdm.public_calls import on_one_fit


class ForecastMixin(ABC):
    """Forecasts of an estimator that draws responses given conditions."""

    y_shape_: tuple[int, ...]

    @abstractmethod
    def _check_condition(self, X: Any) -> NDArray[np.float32]:
        """Conditions as the networks see them, (n, p)."""

    @abstractmethod
    def _sampler(self) -> Bank:
        """What the draws come from."""

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[False] = False, n_draws: int | None = None
    ) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True], n_draws: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    @on_one_fit
    def predict(
        self, X: ArrayLike, return_std: bool = False, n_draws: int | None = None
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Conditional mean (and standard deviation) over draws, with the same noise for all rows.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        return_std : bool, default=False
            Also return the conditional standard deviation of each output.
        n_draws : int, optional
            Draws for each condition; 256 where it is None.

        Returns
        -------
        mean : ndarray of shape (n, *y_shape), float64
        std : ndarray of shape (n, *y_shape), float64
            Only with `return_std`.
        """
        condition = self._check_condition(X)
        shape = (len(condition), *self.y_shape_)
        mean, std = estimate_moments(self._sampler(), condition, n_draws)
        return (mean.reshape(shape), std.reshape(shape)) if return_std else mean.reshape(shape)

    @on_one_fit
    def predict_quantiles(
        self,
        X: ArrayLike,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        n_draws: int | None = None,
    ) -> NDArray[np.float64]:
        """Conditional quantiles of each output over draws, with the same noise for all rows.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        quantiles : sequence of float in (0, 1), default=(0.05, 0.5, 0.95)
            Levels of the quantiles.
        n_draws : int, optional
            Draws for each condition; where it is None 1,024, or 256 of matchers whose draws take
            more than four passes ("diffusion", "flow").

        Returns
        -------
        ndarray of shape (n, len(quantiles), *y_shape), float64
        """
        levels = check_levels(quantiles)
        condition = self._check_condition(X)
        found = estimate_quantiles(self._sampler(), condition, levels, n_draws)
        return found.reshape(len(condition), len(levels), *self.y_shape_)

    @on_one_fit
    def predict_interval(
        self, X: ArrayLike, coverage: float = 0.9, n_draws: int | None = None
    ) -> NDArray[np.float64]:
        """Central interval that contains each output with probability `coverage`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        coverage : float in (0, 1), default=0.9
            Nominal coverage, for each output by itself.
        n_draws : int, optional
            As in :meth:`predict_quantiles`.

        Returns
        -------
        ndarray of shape (n, 2, *y_shape), float64
            Lower and upper ends.
        """
        check_real("coverage", coverage, 0.0, 1.0, open_low=True, open_high=True)
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2], n_draws)

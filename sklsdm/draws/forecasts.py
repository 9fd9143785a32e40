"""Forecasts made from draws: conditional means, standard deviations, quantiles and intervals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError

from sklsdm._validation import check_flag, check_levels, check_real, check_same_rows
from sklsdm.draws.conformal import ConformalScores, calibrate, conformal_intervals
from sklsdm.draws.drawing import Bank
from sklsdm.draws.estimates import check_n_quantile_draws, estimate_moments, estimate_quantiles
from sklsdm.draws.frames import AsFrame, check_frame, framed
from sklsdm.draws.seen import share_seen, warn_if_seen
from sklsdm.inputs.response_format import flat_rows
from sklsdm.public_calls import as_it_is, in_own_modes, on_one_fit

BOUNDS = ("lower", "upper")  # ends of an interval, in a frame


class ForecastMixin(ABC):
    """Forecasts of an estimator that draws responses given conditions."""

    y_shape_: tuple[int, ...]
    _calibration_: ConformalScores | None = None  # what `conformalize` has found for this fit

    @abstractmethod
    def _encode_X(self, X: Any) -> NDArray[np.float32]:
        """X, checked, as the rows (n, p) that the networks see."""

    @abstractmethod
    def _sampler(self) -> Bank:
        """What the draws come from."""

    @abstractmethod
    def _fit_of_responses(self) -> Any:
        """The fitted LSDMRegressor that knows shape, range and spread of the responses."""

    @overload
    def predict(
        self,
        X: ArrayLike,
        return_std: Literal[False] = False,
        n_draws: int | None = None,
        *,
        as_frame: Literal[False] = False,
    ) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self,
        X: ArrayLike,
        return_std: Literal[True],
        n_draws: int | None = None,
        *,
        as_frame: Literal[False] = False,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    @overload
    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        n_draws: int | None = None,
        *,
        as_frame: AsFrame,
    ) -> Any: ...

    @on_one_fit
    def predict(
        self,
        X: ArrayLike,
        return_std: bool = False,
        n_draws: int | None = None,
        *,
        as_frame: AsFrame = False,
    ) -> Any:
        """Conditional mean (and standard deviation) over draws, with the same noise for all rows.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        return_std : bool, default=False
            Also return the conditional standard deviation of each output.
        n_draws : int, optional
            Draws for each condition; 256 where it is None.
        as_frame : bool, "pandas" or "polars", default=False
            Return DataFrames with a row for each row of X, which in pandas has the index of X, and
            the columns of y by name. True is polars where X is a polars frame, else pandas.

        Returns
        -------
        mean : ndarray of shape (n, *y_shape), float64, or DataFrame
        std : ndarray of shape (n, *y_shape), float64, or DataFrame
            Only with `return_std`.

        Raises
        ------
        ValueError, TypeError
            Bad input, or `as_frame` for responses that are images.
        """
        check_flag("return_std", return_std)
        condition = self._encode_X(X)
        check_frame(as_frame, X, self)
        shape = (len(condition), *self.y_shape_)
        mean, std = estimate_moments(self._sampler(), condition, n_draws)
        mean, std = (framed(part.reshape(shape), X, as_frame, self) for part in (mean, std))
        return (mean, std) if return_std else mean

    @overload
    def predict_quantiles(
        self,
        X: ArrayLike,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        n_draws: int | None = None,
        *,
        as_frame: Literal[False] = False,
    ) -> NDArray[np.float64]: ...

    @overload
    def predict_quantiles(
        self,
        X: ArrayLike,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        n_draws: int | None = None,
        *,
        as_frame: AsFrame,
    ) -> Any: ...

    @on_one_fit
    def predict_quantiles(
        self,
        X: ArrayLike,
        quantiles: Sequence[float] = (0.05, 0.5, 0.95),
        n_draws: int | None = None,
        *,
        as_frame: AsFrame = False,
    ) -> Any:
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
        as_frame : bool, "pandas" or "polars", default=False
            Return a DataFrame with a line for each row of X and each level: columns "row" (the
            row's number, or its index in a pandas X), "quantile" and those of y. True is polars
            where X is a polars frame, else pandas.

        Returns
        -------
        ndarray of shape (n, len(quantiles), *y_shape), float64, or DataFrame
        """
        levels = check_levels(quantiles)
        condition = self._encode_X(X)
        check_frame(as_frame, X, self, "quantile")
        found = estimate_quantiles(self._sampler(), condition, levels, n_draws)
        found = found.reshape(len(condition), len(levels), *self.y_shape_)
        return framed(found, X, as_frame, self, "quantile", levels)

    @overload
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.9,
        n_draws: int | None = None,
        *,
        conformal: bool = False,
        joint: bool = False,
        as_frame: Literal[False] = False,
    ) -> NDArray[np.float64]: ...

    @overload
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.9,
        n_draws: int | None = None,
        *,
        conformal: bool = False,
        joint: bool = False,
        as_frame: AsFrame,
    ) -> Any: ...

    @on_one_fit
    def predict_interval(
        self,
        X: ArrayLike,
        coverage: float = 0.9,
        n_draws: int | None = None,
        *,
        conformal: bool = False,
        joint: bool = False,
        as_frame: AsFrame = False,
    ) -> Any:
        """Central interval that contains each output with probability `coverage`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        coverage : float in (0, 1), default=0.9
            Nominal coverage, for each output by itself unless `joint`.
        n_draws : int, optional
            As in :meth:`predict_quantiles`. With `conformal` it is the number of
            :meth:`conformalize`.
        conformal : bool, default=False
            Widen or narrow the intervals as :meth:`conformalize` has found to be needed: for a
            new pair that is exchangeable with the calibration pairs, the probability is at least
            `coverage`, however good or bad the draws are.
        joint : bool, default=False
            With `conformal`, `coverage` is the probability that all outputs lie in their intervals
            at once.
        as_frame : bool, "pandas" or "polars", default=False
            Return a DataFrame with two lines for each row of X: columns "row" (the row's number,
            or its index in a pandas X), "bound" ("lower" or "upper") and those of y.

        Returns
        -------
        ndarray of shape (n, 2, *y_shape), float64, or DataFrame
            Lower and upper ends.

        Raises
        ------
        NotFittedError
            `conformal` before :meth:`conformalize`.
        ValueError, TypeError
            Bad input, too few calibration pairs for `coverage`, or `joint` without `conformal`.
        """
        check_real("coverage", coverage, 0.0, 1.0, open_low=True, open_high=True)
        check_flag("conformal", conformal)
        check_flag("joint", joint)
        if joint and not conformal:
            raise ValueError(
                "joint=True needs conformal=True, after conformalize(X, y): the quantiles of each "
                "output by itself do not tell how wide intervals for all of them must be."
            )
        check_frame(as_frame, X, self, "bound")
        if conformal:
            found = self._conformal_interval(X, coverage, n_draws, joint)
        else:
            levels = [(1 - coverage) / 2, (1 + coverage) / 2]
            found = self.predict_quantiles(X, levels, n_draws)
        return framed(found, X, as_frame, self, "bound", BOUNDS)

    @in_own_modes
    def conformalize(self, X: ArrayLike, y: ArrayLike, n_draws: int | None = None) -> Self:
        """Calibrate the intervals of :meth:`predict_interval` on pairs that chose nothing.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of pairs that were in no argument of `fit`: neither pairs nor `X_val`, which
            chooses the state, and their responses not in `Y_unpaired`. A coverage c needs
            c / (1 - c) pairs, 9 for .9; from a few hundred on the coverage of one calibration
            is near its mean.
        y : array-like of shape (n, *y_shape)
            Their responses.
        n_draws : int, optional
            Draws for each condition, with noise that is always the same. None is the number of
            :meth:`predict_quantiles`.

        Returns
        -------
        object
            This estimator, with another calibration in place of an earlier one. A new `fit` drops
            it.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            Bad input; the message names the argument. An earlier calibration stays.
        RuntimeError
            Another thread has called `fit` meanwhile.

        Warns
        -----
        UserWarning
            At least half of the responses equal a training response: the draws follow these more
            closely than new ones, so that intervals are too narrow. Not seen with
            `store_reference=False`.

        References
        ----------
        Romano, Patterson & Candès 2019, "Conformalized quantile regression" (arXiv 1905.03222).
        The score of a pair is the smallest t at which y lies between the quantiles (1 - t) / 2 and
        (1 + t) / 2 of its draws; beyond the draws it grows with the distance.
        """
        fitted = as_it_is(self)
        condition, bank = fitted._encode_X(X), fitted._sampler()
        single = fitted._fit_of_responses()
        target = single._check_rows(y, "y")
        check_same_rows("X", condition, "y", target)
        count = check_n_quantile_draws(n_draws, bank)
        _warn_of_training_pairs(single, target)
        found = calibrate(bank, condition, flat_rows(target), single._response_std_, count)
        if self._fit_of_responses().matcher_ is not single.matcher_:
            raise RuntimeError(
                f"This {type(self).__name__} was fitted again, by another thread, while "
                f"conformalize looked at the earlier fit, whose calibration is not that of the "
                f"new one. Call conformalize again."
            )
        self._calibration_ = found
        return self

    def _conformal_interval(
        self, X: Any, coverage: float, n_draws: int | None, joint: bool
    ) -> NDArray[np.float64]:
        condition, bank = self._encode_X(X), self._sampler()
        calibration = self._calibration_
        if calibration is None:
            raise NotFittedError(
                f"conformal=True needs a calibration: call conformalize(X, y) of this "
                f"{type(self).__name__} first, with pairs that fit has not seen."
            )
        if n_draws is not None and check_n_quantile_draws(n_draws, bank) != calibration.n_draws:
            raise ValueError(
                f"n_draws must be None or {calibration.n_draws}, as in conformalize, when "
                f"conformal=True, got {n_draws}."
            )
        ends = self._fit_of_responses()._response_format_.range
        found = conformal_intervals(bank, condition, calibration, coverage, joint, ends)
        return found.reshape(len(condition), 2, *self.y_shape_)


def _warn_of_training_pairs(single: Any, target: NDArray[Any]) -> None:
    """Warn if the responses (n, *y_shape) of calibration pairs are those of `fit`."""
    kept, flatten = single._reference_, single._response_format_.flatten
    reference = None if kept is None else flatten(kept)
    share = share_seen(reference, single.n_paired_, flatten(target))
    warn_if_seen(share, "intervals calibrated on pairs that it has are too narrow for new ones")

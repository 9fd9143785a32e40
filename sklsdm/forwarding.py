"""Draws and forecasts through scikit-learn's Pipelines, searches and target transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from sklsdm.diagnosis import Diagnosis
from sklsdm.draws.forecasts import BOUNDS, ForecastMixin
from sklsdm.draws.frames import AsFrame, check_frame, framed
from sklsdm.generator import LSDMGenerator
from sklsdm.public_calls import as_it_is
from sklsdm.randomness import RandomState
from sklsdm.reading import named_in_errors
from sklsdm.target_units import InTargetUnits


@overload
def sample(
    model: Any,
    X: ArrayLike,
    n_samples: int = 1,
    *,
    random_state: RandomState = None,
    as_frame: Literal[False] = False,
    **kwargs: Any,
) -> NDArray[Any]: ...


@overload
def sample(
    model: Any,
    X: ArrayLike,
    n_samples: int = 1,
    *,
    random_state: RandomState = None,
    as_frame: AsFrame,
    **kwargs: Any,
) -> Any: ...


def sample(
    model: Any,
    X: ArrayLike,
    n_samples: int = 1,
    *,
    random_state: RandomState = None,
    as_frame: AsFrame = False,
    **kwargs: Any,
) -> Any:
    """Draw from p(Y | X) with an estimator of this package or anything that wraps one.

    Parameters
    ----------
    model : estimator, Pipeline or search
        A fitted estimator with `sample`, a Pipeline that ends in one, a search over one (with
        `refit=True`), or a TransformedTargetRegressor of one; these may be nested. A Pipeline's
        transformers are applied to X first, and the inverse of a target's transformer to draws.
    X : array-like
        Conditions, in the form that `model.predict` expects.
    n_samples : int, default=1
        Draws for each condition.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the noise; equal seeds give equal draws on one kind of device.
    as_frame : bool, "pandas" or "polars", default=False
        Return a long DataFrame; see :meth:`LSDMRegressor.sample`. Its column "row" holds the
        index of X as it is passed here.
    **kwargs
        Passed on to the estimator's `sample` (`batch_size`, `out`).

    Returns
    -------
    ndarray of shape (n, n_samples, *y_shape), or DataFrame

    Raises
    ------
    TypeError
        No estimator inside `model` draws given X.
    NotFittedError
        `model` is not fitted.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(100, random_state=0)
    >>> model = make_pipeline(StandardScaler(), sklsdm.LSDMRegressor(matcher="energy"))
    >>> model = model.set_params(lsdmregressor__matcher__max_steps=50).fit(arms.X, arms.y)
    >>> sklsdm.sample(model, arms.X[:4], n_samples=2, random_state=0).shape
    (4, 2, 2)
    """
    estimator, transformed = unwrap(model, X)
    check_frame(as_frame, X, estimator, "draw")
    draws = estimator.sample(transformed, n_samples, random_state=random_state, **kwargs)
    return framed(draws, X, as_frame, estimator, "draw", range(n_samples))


def sample_latent(
    model: Any,
    X: ArrayLike,
    n_samples: int = 1,
    *,
    random_state: RandomState = None,
    batch_size: int | str = "auto",
) -> NDArray[np.float32]:
    """Draw codes with an LSDMRegressor or anything that wraps one.

    Parameters are those of :func:`sample`; an ensemble, whose fits have a latent space each, has
    no codes.

    Returns
    -------
    ndarray of shape (n, n_samples, latent_dim_), float32

    Raises
    ------
    TypeError
        No estimator inside `model` draws codes given X.
    """
    estimator, X = unwrap(model, X)
    if isinstance(estimator, InTargetUnits):
        estimator = estimator.estimator  # codes have no units of y
    if not hasattr(estimator, "sample_latent"):
        raise TypeError(
            f"{type(estimator).__name__} has no `sample_latent`: it has no single latent space; "
            f"pass one of its fits (estimators_)."
        )
    return estimator.sample_latent(X, n_samples, random_state=random_state, batch_size=batch_size)


def predict(
    model: Any,
    X: ArrayLike,
    return_std: bool = False,
    n_draws: int | None = None,
    *,
    as_frame: AsFrame = False,
) -> Any:
    """Conditional means, by an estimator of this package or anything that wraps one.

    See :meth:`LSDMRegressor.predict` for `return_std`, `n_draws` and `as_frame`, and
    :func:`sample` for `model` and errors. Of a TransformedTargetRegressor these are means of draws
    in the units of y, where its own `predict` transforms the mean.

    Returns
    -------
    ndarray of shape (n, *y_shape), or DataFrame; a pair of them with `return_std`
    """
    estimator, transformed = _forecaster(model, X)
    check_frame(as_frame, X, estimator)
    found = estimator.predict(transformed, return_std, n_draws, as_frame=False)
    if return_std:
        mean, std = (framed(part, X, as_frame, estimator) for part in found)
        return mean, std
    return framed(found, X, as_frame, estimator)


def predict_quantiles(
    model: Any,
    X: ArrayLike,
    quantiles: Sequence[float] = (0.05, 0.5, 0.95),
    n_draws: int | None = None,
    *,
    as_frame: AsFrame = False,
) -> Any:
    """Conditional quantiles, by an estimator of this package or anything that wraps one.

    See :meth:`LSDMRegressor.predict_quantiles` for the parameters, and :func:`sample` for `model`
    and errors.

    Returns
    -------
    ndarray of shape (n, len(quantiles), *y_shape), or DataFrame
    """
    estimator, transformed = _forecaster(model, X)
    check_frame(as_frame, X, estimator, "quantile")
    found = estimator.predict_quantiles(transformed, quantiles, n_draws)
    return framed(found, X, as_frame, estimator, "quantile", quantiles)


def predict_interval(
    model: Any,
    X: ArrayLike,
    coverage: float = 0.9,
    n_draws: int | None = None,
    *,
    conformal: bool = False,
    joint: bool = False,
    as_frame: AsFrame = False,
) -> Any:
    """Central intervals, by an estimator of this package or anything that wraps one.

    See :meth:`LSDMRegressor.predict_interval` for the parameters, and :func:`sample` for `model`
    and errors.

    Returns
    -------
    ndarray of shape (n, 2, *y_shape), or DataFrame
    """
    estimator, transformed = _forecaster(model, X)
    check_frame(as_frame, X, estimator, "bound")
    found = estimator.predict_interval(
        transformed, coverage, n_draws, conformal=conformal, joint=joint
    )
    return framed(found, X, as_frame, estimator, "bound", BOUNDS)


def conformalize(model: Any, X: ArrayLike, y: ArrayLike, n_draws: int | None = None) -> Any:
    """Calibrate the intervals of an estimator of this package, or of anything that wraps one.

    Afterwards :func:`predict_interval` of `model` takes `conformal=True`.

    Parameters
    ----------
    model : estimator, Pipeline or search
        As for :func:`sample`, but no TransformedTargetRegressor: intervals are calibrated in the
        units in which an estimator was fitted. A Pipeline's transformers are applied to X first.
    X, y : array-like
        Pairs that were in no argument of `fit`, X in the form that `model.predict` expects.
    n_draws : int, optional
        Draws for each condition; see :meth:`LSDMRegressor.conformalize`, which also lists errors
        and warnings.

    Returns
    -------
    object
        `model`, of which the fitted estimator inside keeps the calibration.

    Raises
    ------
    TypeError
        No estimator inside `model` has intervals that can be calibrated.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(200, random_state=0)
    >>> model = make_pipeline(StandardScaler(), sklsdm.LSDMRegressor(matcher="energy"))
    >>> model = model.set_params(lsdmregressor__matcher__max_steps=50)
    >>> model = model.fit(arms.X[:100], arms.y[:100])
    >>> model = sklsdm.conformalize(model, arms.X[100:], arms.y[100:])
    >>> sklsdm.predict_interval(model, arms.X[:4], coverage=0.8, conformal=True).shape
    (4, 2, 2)
    """
    estimator, transformed = _forecaster(model, X)
    # `unwrap` may give a copy; the calibration belongs to the estimator itself.
    keeper = estimator if isinstance(estimator, InTargetUnits) else inner(model)
    keeper.conformalize(transformed, y, n_draws)
    return model


def diagnose(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    Y_unpaired: Any = None,
    *,
    random_state: RandomState = 0,
) -> Diagnosis:
    """Judge the draws of an estimator of this package, or of anything that wraps one.

    Parameters
    ----------
    model : estimator, Pipeline or search
        As for :func:`sample`. A Pipeline's transformers are applied to X first.
    X, y : array-like
        At least 24 pairs that were not used in `fit`, X in the form that `model.predict` expects.
    Y_unpaired : array-like, memmap, torch Dataset or Unpaired, optional
        Responses without conditions; it is tested whether they follow the law of `y`.
    random_state : int, RandomState, Generator or None, default=0
        Seeds draws, splits and classifiers.

    Returns
    -------
    sklsdm.diagnosis.Diagnosis
        `print` it. See :meth:`LSDMRegressor.diagnose`, which also lists the errors.

    Raises
    ------
    TypeError
        No estimator inside `model` has `diagnose`.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(200, random_state=0)
    >>> model = make_pipeline(StandardScaler(), sklsdm.LSDMRegressor(matcher="energy"))
    >>> model = model.set_params(lsdmregressor__matcher__max_steps=50)
    >>> model = model.fit(arms.X[:100], arms.y[:100])
    >>> sklsdm.diagnose(model, arms.X[100:], arms.y[100:])
    <Diagnosis of LSDMRegressor on 100 pairs; print it>
    """
    estimator, X = unwrap(model, X)
    if not hasattr(estimator, "diagnose"):
        raise TypeError(
            f"{type(estimator).__name__} has no `diagnose`, which judges draws given X; pass an "
            f"LSDMRegressor, or anything that wraps one."
        )
    return estimator.diagnose(X, y, Y_unpaired, random_state=random_state)


def inside(model: Any) -> Any:
    """The estimator that a wrapper of scikit-learn holds, fitted where the wrapper is.

    None where `model` is no wrapper, or a search or TransformedTargetRegressor before `fit`.
    """
    if isinstance(model, Pipeline):
        return model.steps[-1][1]
    if isinstance(model, BaseSearchCV):
        return getattr(model, "best_estimator_", None)
    if isinstance(model, TransformedTargetRegressor):
        return getattr(model, "regressor_", None)
    return None


def inner(model: Any, *, through_targets: bool = False) -> Any:
    """The estimator at the core of `model`, itself and no copy of it.

    A TransformedTargetRegressor is a core of its own, since its draws have other units, unless
    `through_targets`.
    """
    while through_targets or not isinstance(model, TransformedTargetRegressor):
        held = inside(model)
        if held is None:
            break
        model = held
    return model


def unwrap(model: Any, X: Any) -> tuple[Any, Any]:
    """The estimator at the core of `model` that draws given X, and X transformed for it.

    That of a TransformedTargetRegressor is :class:`InTargetUnits`.
    """
    if isinstance(model, LSDMGenerator):
        raise TypeError(
            "LSDMGenerator draws without conditions, so nothing can be drawn for X; call its own "
            "`sample(n_samples)`, or pass an LSDMRegressor, or anything that wraps one."
        )
    if isinstance(model, Pipeline):
        model = as_it_is(model)
        check_is_fitted(model)
        if len(model.steps) > 1:
            with named_in_errors("X"):
                X = model[:-1].transform(X)
    elif hasattr(model, "sample"):
        return model, X
    elif isinstance(model, BaseSearchCV):
        if not model.refit:
            raise NotFittedError(
                f"{type(model).__name__} has refit=False and keeps no fitted estimator to draw "
                f"from; set refit=True."
            )
        check_is_fitted(model, "best_estimator_")
    elif isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model, "regressor_")
        estimator, X = _forecaster(model.regressor_, X)
        return InTargetUnits(model, estimator), X
    else:
        raise TypeError(
            f"{type(model).__name__} cannot draw; pass an estimator with `sample`, a Pipeline that "
            f"ends in one, a search over one with refit=True, or a TransformedTargetRegressor of "
            f"one."
        )
    return unwrap(inside(model), X)


def _forecaster(model: Any, X: Any) -> tuple[ForecastMixin, Any]:
    """As `unwrap`, of an estimator that also has means, quantiles and intervals."""
    estimator, X = unwrap(model, X)
    if not isinstance(estimator, ForecastMixin):
        raise TypeError(
            f"{type(estimator).__name__} has no forecasts; pass an estimator of sklsdm that draws "
            f"given X, or anything that wraps one."
        )
    return estimator, X

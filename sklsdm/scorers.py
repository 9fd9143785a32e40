"""Scorers for scikit-learn: ``scoring=sklsdm.scorers.neg_energy_score``. Higher is better.

The scorers are functions ``(estimator, X, y, *, n_samples=100, random_state=0) -> float``. Pass the
function itself to ``cross_val_score``, ``GridSearchCV`` etc., since scikit-learn accepts only its
own scorers by name. Change settings by ``functools.partial(neg_crps, n_samples=500)``, which can be
pickled. The scorers draw with :func:`sklsdm.sample`, so the estimator may be inside a Pipeline or a
search. The fixed default of ``random_state`` lets models be compared on the same noise.

uint8 images in ``y`` are divided by 255, since the estimators draw images in [0, 1].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import r2_score

from sklsdm import metrics
from sklsdm._validation import (
    check_column_names,
    check_finite,
    check_integer,
    check_numeric,
    check_real,
    shape_text,
)
from sklsdm.forwarding import inner, sample
from sklsdm.inputs.response_format import holds_bytes
from sklsdm.randomness import RandomState
from sklsdm.reading import named_in_errors, read_numbers

__all__ = [
    "neg_coverage_error",
    "neg_crps",
    "neg_energy_score",
    "neg_sliced_wasserstein",
    "r2_flat",
]

Array = NDArray[Any]


def neg_energy_score(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_samples: int = 100,
    random_state: RandomState = 0,
) -> float:
    """Minus the energy score of draws: strictly proper, the first choice for tuning.

    It is in the units of y. If outputs have different scales, those with the largest values
    dominate; the estimators' own ``score``, the energy skill, divides outputs by their standard
    deviations.

    Parameters
    ----------
    estimator : object
        Fitted, with draws by :func:`sklsdm.sample`.
    X : array-like of shape (n, p)
        Conditions; images where the estimator takes them.
    y : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    n_samples : int, default=100
        Draws for each row, at least 2. The score is unbiased for any number; more draws reduce its
        noise.
    random_state : int, RandomState, Generator or None, default=0
        Seeds the noise of the draws.

    Returns
    -------
    float
        Minus :func:`sklsdm.metrics.energy_score`.

    Examples
    --------
    >>> from functools import partial
    >>> from sklsdm.scorers import neg_energy_score
    >>> scoring = partial(neg_energy_score, n_samples=200)  # GridSearchCV(..., scoring=scoring)
    """
    target, draws = _compared(estimator, X, y, n_samples, random_state, at_least=2)
    return -float(metrics.energy_score(target, draws))


def neg_crps(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_samples: int = 100,
    random_state: RandomState = 0,
) -> float:
    """Minus the CRPS of draws, averaged over outputs: each output is judged by itself.

    Parameters
    ----------
    estimator, X, y, n_samples, random_state
        As for :func:`neg_energy_score`.

    Returns
    -------
    float
        Minus :func:`sklsdm.metrics.crps`.
    """
    target, draws = _compared(estimator, X, y, n_samples, random_state, at_least=2)
    return -float(metrics.crps(target, draws))


def neg_sliced_wasserstein(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    n_samples: int = 100,
    random_state: RandomState = 0,
) -> float:
    """Minus the sliced Wasserstein distance between the joint laws of (x, draw) and (x, y).

    Joint laws are compared because a model that ignores X may still have the right marginal law
    of y. Columns are first divided by their standard deviations in X and y (all pixels of images by
    one). Even draws from the true law have a positive distance, which is larger for fewer rows:
    compare models only on the same rows.

    Parameters
    ----------
    estimator, y, n_samples, random_state
        As for :func:`neg_energy_score`; one draw for each row is enough here.
    X : array-like of shape (n, p)
        Conditions, a 2-D table of numbers.

    Returns
    -------
    float
        Minus :func:`sklsdm.metrics.sliced_wasserstein`, over 128 fixed directions.

    Raises
    ------
    ValueError, TypeError
        X is not two-dimensional, or does not hold numbers.
    """
    condition = _table(X)
    target, draws = _compared(estimator, X, y, n_samples, random_state)
    std = _std(target)
    observed = _joint(condition, target, std)
    generated = _joint(condition, draws.reshape(-1, *target.shape[1:]), std)
    return -metrics.sliced_wasserstein(observed, generated, random_state=0)


def neg_coverage_error(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    coverage: float = 0.9,
    n_samples: int = 100,
    random_state: RandomState = 0,
) -> float:
    """Minus \\|coverage - nominal\\| of the central intervals between quantiles of the draws.

    Coverage itself as a score would favour the widest intervals. A small coverage error alone is
    not enough either, since a forecast by the marginal law of y has none: use it beside a proper
    score.

    Parameters
    ----------
    estimator, X, y, random_state
        As for :func:`neg_energy_score`.
    coverage : float, default=0.9
        Nominal coverage, inside (0, 1).
    n_samples : int, default=100
        Draws for each row. The interval from the smallest to the largest of m draws covers
        (m - 1) / (m + 1), so at least (1 + coverage) / (1 - coverage) are needed: 19 for 0.9.

    Returns
    -------
    float
        Between -1 and 0, with coverage taken over all rows and outputs together.

    Raises
    ------
    ValueError
        ``coverage`` outside (0, 1), or too few draws to reach it.
    """
    check_real("coverage", coverage, 0.0, 1.0, open_low=True, open_high=True)
    needed = int(np.ceil(round((1 + coverage) / (1 - coverage), 9)))
    why = f" for intervals that reach a coverage of {coverage}"
    target, draws = _compared(estimator, X, y, n_samples, random_state, needed, why)
    levels = [(1 - coverage) / 2, (1 + coverage) / 2]
    # "weibull" takes the k-th smallest of m draws as the quantile of level k / (m + 1): that is the
    # probability that a further draw of the same law is below it. With NumPy's default method,
    # intervals of 100 draws would cover .882 in place of .9.
    ends = np.quantile(draws, levels, axis=1, method="weibull")  # (2, n, *y_shape)
    return -abs(metrics.interval_coverage(target, np.moveaxis(ends, 0, 1)) - coverage)


def r2_flat(estimator: Any, X: ArrayLike, y: ArrayLike) -> float:
    """R² of ``predict`` over flattened outputs, weighted by their variances; works for images too.

    It judges the conditional mean only. scikit-learn's ``"r2"`` does not accept images and weights
    all outputs equally, even pixels that hardly vary.

    Parameters
    ----------
    estimator : object
        Fitted, with a method ``predict``.
    X : array-like of shape (n, p)
        Conditions; images where the estimator takes them.
    y : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.

    Returns
    -------
    float
        At most 1; 0 for predicting the mean of y.

    Raises
    ------
    ValueError
        ``predict`` returns another shape than that of y.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklsdm.scorers import r2_flat
    >>> X = np.arange(4.0).reshape(-1, 1)
    >>> round(r2_flat(LinearRegression().fit(X, 2 * X), X, 2 * X), 6)
    1.0
    """
    target = _response(y, estimator)
    with named_in_errors("X"):
        predicted = np.asarray(estimator.predict(X))
    if predicted.shape != target.shape:
        raise ValueError(f"predict gave shape {predicted.shape} for y of shape {target.shape}")
    if len(target) < 2:
        raise ValueError(f"X and y must hold at least 2 rows for R², got {len(target)}.")
    return float(r2_score(_rows(target), _rows(predicted), multioutput="variance_weighted"))


def refuse_scorer_name(scoring: Any) -> None:
    """Raise if `scoring` is the name of a scorer of this module, which scikit-learn does not know.

    Parameters
    ----------
    scoring : str, callable or None
        As a search takes it.

    Raises
    ------
    ValueError
        It is the name of a function of this module; the message says how to pass it.
    """
    if isinstance(scoring, str) and scoring in __all__:
        raise ValueError(
            f"scoring={scoring!r} must be the function itself, scoring=sklsdm.scorers.{scoring}: "
            f"by name scikit-learn takes its own scorers only."
        )


# ---------------------------------------------------------------------------- helpers
def _compared(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    n_samples: int,
    random_state: RandomState,
    at_least: int = 1,
    why: str = "",
) -> tuple[Array, Array]:
    """Responses (n, *y_shape), and draws (n, n_samples, *y_shape) to compare with them."""
    check_integer("n_samples", n_samples, at_least, why=why)
    target = _response(y, estimator)
    draws = np.asarray(sample(estimator, X, n_samples, random_state=random_state))
    if (len(draws), *draws.shape[2:]) != target.shape:
        wanted = shape_text(len(draws), draws.shape[2:])
        raise ValueError(f"y must have shape {wanted} to go with X, got {target.shape}.")
    return target, draws


def _response(y: ArrayLike, estimator: Any) -> Array:
    """y on the scale of the draws: uint8 images become floats in [0, 1], as they did in `fit`.

    A DataFrame must have the columns of the responses in `fit`, in their order.
    """
    known = getattr(inner(estimator, through_targets=True), "target_names_in_", None)
    check_column_names("y", y, known)
    array = check_numeric("y", y)
    form = getattr(inner(estimator), "_response_format_", None)
    if form is not None:
        form.check_bytes("y", array)
    return array / 255 if holds_bytes(array) else array


def _rows(array: Array) -> Array:
    return array.reshape(len(array), -1)


def _joint(condition: Array, responses: Array, std: Array) -> Array:
    """Rows (x, y / std); each x is repeated for its consecutive responses."""
    rows = _rows(responses)
    p = condition.shape[1]
    joint = np.empty((len(rows), p + rows.shape[1]))
    joint[:, :p] = np.repeat(condition, len(rows) // len(condition), axis=0)
    np.divide(rows, std, out=joint[:, p:])
    return joint


def _table(X: ArrayLike) -> Array:
    """X as a 2-D table, with each column divided by its standard deviation."""
    table = read_numbers("X", X)
    if table.ndim != 2:
        raise ValueError(
            f"neg_sliced_wasserstein needs X of shape (n, p) for the joint law, got shape "
            f"{table.shape}; use neg_energy_score if X holds images"
        )
    check_finite("X", table)
    table = table.astype(np.float64)
    return table / _std(table)


def _std(array: Array) -> Array:
    """Standard deviation of each column (q,), or of all pixels together; 1 where it is zero."""
    std = np.asarray(array.std(axis=0) if array.ndim < 3 else array.std(), dtype=np.float64)
    return np.where(std > 0, std, 1.0)

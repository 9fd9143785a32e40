"""Proper scores of draws and quantiles as forecasts of what was observed, row by row."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from sklsdm._validation import check_real, shape_text
from sklsdm.functional import scores
from sklsdm.metrics.base import (
    Array,
    as_float64,
    as_real,
    average_rows,
    check_forecast,
    check_rows_match,
    float64_rows,
    score_rows,
    weighted_mean,
)


def energy_score(
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    fair: bool = True,
    sample_weight: ArrayLike | None = None,
    average: bool = True,
) -> float | Array:
    r"""Energy score: how well draws forecast a multivariate response; lower is better.

    .. math::
        ES = \frac1m \sum_j \|d_j - y\| - \frac{1}{2 m (m-1)} \sum_{j \ne k} \|d_j - d_k\|

    Strictly proper: its mean is least when the draws come from the true conditional law. The
    norm is Euclidean over all outputs, so outputs on different scales should be divided by
    their spread first. For one output it is the CRPS.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    draws : array-like of shape (n, m, \*y_shape)
        m draws for each row.
    fair : bool, default=True
        Divide the draw-draw term by m(m-1), which needs m >= 2. With False it is divided by m
        squared, which is the score of the empirical law of the m draws and is worse for a small m.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows in the average.
    average : bool, default=True
        Return the mean over rows; with False one score for each row.

    Returns
    -------
    float or ndarray of shape (n,)
        In the unit of y. At least 0 in expectation; with ``fair=False`` always.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite values, m < 2 with ``fair``, weights that are
        negative, all zero or given with ``average=False``.

    Notes
    -----
    Costs n m\ :sup:`2` q operations, n m log m for one output.

    References
    ----------
    T. Gneiting and A. E. Raftery (2007), JASA 102, eq. (22). C. A. T. Ferro (2014), QJRMS 140.

    Examples
    --------
    >>> from sklsdm.metrics import energy_score
    >>> y_true = [[0.0, 0.0]]
    >>> draws = [[[3.0, 4.0], [0.0, 0.0]]]
    >>> energy_score(y_true, draws)  # (5 + 0) / 2 - 5 / 2
    0.0
    >>> energy_score(y_true, draws, fair=False)  # (5 + 0) / 2 - 5 / 4
    1.25
    """
    y, sample = check_forecast(y_true, draws, fair)
    per_row = score_rows(lambda d, t: scores.energy_score(d, t, fair=fair), y, sample)
    return average_rows(per_row, sample_weight, average)


def crps(
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    fair: bool = True,
    sample_weight: ArrayLike | None = None,
    average: bool = True,
) -> float | Array:
    r"""Continuous ranked probability score, averaged over outputs; lower is better.

    :math:`E|D - y| - \frac12 E|D - D'|` for each output by itself. It judges the marginal laws
    of the outputs but not their dependence; for that there are :func:`energy_score` and
    :func:`variogram_score`.

    Parameters
    ----------
    y_true, draws, fair, sample_weight
        As for :func:`energy_score`.
    average : bool, default=True
        Return the mean over rows and outputs; with False the mean over outputs of each row.

    Returns
    -------
    float or ndarray of shape (n,)
        In the unit of y. At least 0 in expectation; with ``fair=False`` always.

    Raises
    ------
    ValueError
        As :func:`energy_score`.

    References
    ----------
    T. Gneiting and A. E. Raftery (2007), JASA 102, eq. (21). C. A. T. Ferro (2014), QJRMS 140.

    Examples
    --------
    >>> from sklsdm.metrics import crps
    >>> crps([1.0], [[0.0, 2.0, 4.0]])  # (1 + 1 + 3) / 3 - (2 + 4 + 2) / 6
    0.333...
    """
    y, sample = check_forecast(y_true, draws, fair)
    per_row = score_rows(lambda d, t: scores.crps(d, t, fair=fair).mean(dim=1), y, sample)
    return average_rows(per_row, sample_weight, average)


def variogram_score(
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    p: float = 0.5,
    sample_weight: ArrayLike | None = None,
    average: bool = True,
) -> float | Array:
    r"""Variogram score: is the dependence between outputs right? Lower is better.

    .. math::
        VS_p = \sum_{i,j} \Big(|y_i - y_j|^p - \frac1m \sum_k |d_{ki} - d_{kj}|^p\Big)^2

    over all ordered pairs of outputs, with unit weights. It is proper but not strictly: a shift
    that all outputs share does not change it. Use it beside :func:`energy_score`.

    Parameters
    ----------
    y_true : array-like of shape (n, q) or (n, ...)
        Observed responses, with at least two outputs.
    draws, sample_weight, average
        As for :func:`energy_score`.
    p : float, default=0.5
        Order, above 0; .5 is the authors' choice, less sensitive to outliers than 1 or 2.

    Returns
    -------
    float or ndarray of shape (n,)
        At least 0. A sum over q\ :sup:`2` pairs: compare only at equal q.

    Raises
    ------
    ValueError
        As :func:`energy_score`; also a single output, or ``p`` not above 0.

    Notes
    -----
    Costs n m q\ :sup:`2` powers: for images, score fewer rows.

    References
    ----------
    M. Scheuerer and T. M. Hamill (2015), Mon. Weather Rev. 143.

    Examples
    --------
    >>> from sklsdm.metrics import variogram_score
    >>> draws = [[[0.0, 1.0], [0.0, 1.0]]]
    >>> variogram_score([[0.0, 4.0]], draws)  # two ordered pairs of (2 - 1) ** 2
    2.0
    """
    y, sample = check_forecast(y_true, draws, fair=False)
    if y[0].size < 2:
        raise ValueError(f"y_true needs at least 2 outputs for dependence, got shape {y.shape}")
    check_real("p", p, 0, open_low=True)
    per_row = score_rows(lambda d, t: scores.variogram_score(d, t, p=p), y, sample)
    return average_rows(per_row, sample_weight, average)


def quantile_loss(
    y_true: ArrayLike,
    y_quantiles: ArrayLike,
    quantiles: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Mean pinball loss of forecast quantiles over rows, levels and outputs; lower is better.

    :math:`(\tau - 1[y < \hat y_\tau]) (y - \hat y_\tau)`; its mean is least at the true
    quantiles. Twice the integral over all levels is the CRPS.

    Parameters
    ----------
    y_true, sample_weight
        As for :func:`energy_score`.
    y_quantiles : array-like of shape (n, k, \*y_shape)
        Forecast quantiles, as ``LSDMRegressor.predict_quantiles`` returns them.
    quantiles : float or array-like of shape (k,)
        Their levels, each inside (0, 1).

    Returns
    -------
    float
        At least 0, in the unit of y.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite values, a level outside (0, 1).

    References
    ----------
    R. Koenker and G. Bassett (1978), Econometrica 46.

    Examples
    --------
    >>> from sklsdm.metrics import quantile_loss
    >>> quantile_loss([1.0, 3.0], [[2.0], [2.0]], [0.9])  # (.1 * 1 + .9 * 1) / 2
    0.5
    """
    y, forecast = as_real("y_true", y_true), as_real("y_quantiles", y_quantiles)
    levels = as_float64("quantiles", quantiles)
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels inside (0, 1), got {quantiles!r}")
    check_rows_match(y, "y_quantiles", forecast, f"k = {len(levels)}", len(levels))
    tau = torch.from_numpy(levels)
    per_row = score_rows(lambda f, t: scores.quantile_loss(f, t, tau).mean(dim=(1, 2)), y, forecast)
    return weighted_mean(per_row, sample_weight)


def energy_skill(
    y_true: ArrayLike,
    draws: ArrayLike,
    reference: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Energy skill: by which share a model's energy score is below that of a reference.

    .. math:: 1 - \frac{ES(\text{model})}{ES(\text{reference})},

    where the reference is one set of responses, taken as the forecast for every row. With
    training responses it is the forecast that ignores X; the ``score`` of this package's
    estimators is the skill against that. Both energy scores are fair.

    Parameters
    ----------
    y_true, draws
        As for :func:`energy_score`; the model's draws, m >= 2 for each row.
    reference : array-like of shape (r, \*y_shape)
        Responses regardless of X, r >= 2. The distances among them cost r\ :sup:`2` q
        operations; 2,000 are enough.
    scale : float or array-like, optional
        What outputs are divided by first, above 0 and broadcastable to ``y_shape``: usually the
        standard deviation of the training responses. None leaves the outputs as they are.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows, in both averages.

    Returns
    -------
    float
        Higher is better. At most 1, up to chance, and 0 for a model that is no better than the
        reference; there is no lower bound. Even the true law of a noisy response has less than 1.
        Where the reference is perfect (equal to every ``y_true``), 1.0 for a model that is so too
        and 0.0 for any other, as in scikit-learn's ``r2_score``.

    Raises
    ------
    ValueError
        As :func:`energy_score`; also a ``reference`` of other shape than ``y_true`` or with
        fewer than 2 rows, or a ``scale`` that is not above 0 or does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm.metrics import energy_skill
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=500)
    >>> y_true = x + 0.1 * rng.normal(size=500)
    >>> draws = x[:, None] + 0.1 * rng.normal(size=(500, 50))
    >>> 0.85 < energy_skill(y_true, draws, reference=rng.normal(size=1000)) < 0.95
    True
    """
    y, sample = check_forecast(y_true, draws, fair=True)
    responses = as_real("reference", reference)
    if responses.shape[1:] != y.shape[1:] or len(responses) < 2:
        raise ValueError(
            f"reference must have shape (r, *y_shape) = {shape_text('r', y.shape[1:])} with "
            f"r >= 2, got {responses.shape}"
        )
    spread = torch.from_numpy(_spread(scale, y.shape[1:]))
    target = float64_rows(y) / spread
    model = score_rows(lambda d, t: scores.energy_score(d / spread, t / spread), y, sample)
    baseline = scores.energy_score_shared(float64_rows(responses) / spread, target).numpy()
    rounding = 1e-12 * float(target.abs().max())
    return skill(model, baseline, sample_weight, rounding)


def skill(
    model: ArrayLike,
    reference: ArrayLike,
    sample_weight: ArrayLike | None = None,
    rounding: float = 1e-12,
) -> float:
    """One minus the ratio of the means of two scores (n,) for which lower is better.

    Where the reference is perfect up to `rounding`, 1.0 for a model that is too, else 0.0.
    """
    ours = weighted_mean(as_real("model", model), sample_weight)
    theirs = weighted_mean(as_real("reference", reference), sample_weight)
    if theirs <= rounding:
        return float(ours <= rounding)
    return 1 - ours / theirs


def _spread(scale: ArrayLike | None, y_shape: tuple[int, ...]) -> Array:
    """``scale`` for each flattened output (q,)."""
    spread = as_float64("scale", 1.0 if scale is None else scale)
    if not (spread > 0).all():
        raise ValueError(f"scale must be above 0, got a smallest value of {spread.min()}")
    try:
        full = np.broadcast_to(spread, y_shape or (1,))
    except ValueError:
        raise ValueError(
            f"scale must be a number or broadcast to y_shape {y_shape}, got shape {spread.shape}"
        ) from None
    return np.array(full).reshape(-1)

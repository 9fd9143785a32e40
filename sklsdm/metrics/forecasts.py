"""Scores of draws against what was observed, and distances between two samples.

Numpy in, floats out; the formulas themselves, with their sources, are in
:mod:`sklsdm.functional.scores`. Three conventions hold throughout:

- ``y_true`` has shape (n,), (n, q) or, for images and curves, (n, ...); ``draws`` has shape
  (n, m, \\*y_shape): m draws for each row, as ``LSDMRegressor.sample`` returns them.
- Proper scores (energy, CRPS, quantile, variogram) and distances are *lower is better*;
  :func:`energy_skill` is higher is better. :mod:`sklsdm.scorers` turns them for scikit-learn.
- ``fair`` and ``unbiased`` estimators have the mean of the infinite sample at any number of
  draws, so models scored with different numbers of draws may be compared; being unbiased, they
  may fall below zero by chance.

Bad input raises ``ValueError`` (``TypeError`` where a number is no number) that names the
argument. Rows are worked through in blocks: beside the arguments themselves (which may be
memory-mapped), memory is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from torch import Tensor

from sklsdm._validation import check_integer, check_numeric, check_real
from sklsdm.functional import scores
from sklsdm.randomness import RandomState, as_generator

__all__ = [
    "crps",
    "energy_distance",
    "energy_score",
    "energy_skill",
    "interval_coverage",
    "interval_width",
    "mmd",
    "quantile_loss",
    "sliced_wasserstein",
    "variogram_score",
]

Array = NDArray[Any]
_ROW_BLOCK = 1 << 22  # numbers of ``draws`` converted to float64 at once: 32 MiB
_MEDIAN_ROWS = 500  # of each sample, for the median bandwidth


# ---------------------------------------------------------------------------- proper scores
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
        Divide the draw-draw term by m(m-1), which needs m >= 2. With False, by m squared: the
        score of the m draws taken as the forecast itself, which punishes a small m.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows in the average.
    average : bool, default=True
        Return the mean over rows; with False one score for each row.

    Returns
    -------
    float or ndarray of shape (n,)
        In the unit of y; at least 0 up to chance (exactly so with ``fair=False``).

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
    y, sample = _forecast(y_true, draws, fair)
    per_row = _by_rows(lambda d, t: scores.energy_score(d, t, fair=fair), y, sample)
    return _average(per_row, sample_weight, average)


def crps(
    y_true: ArrayLike,
    draws: ArrayLike,
    *,
    fair: bool = True,
    sample_weight: ArrayLike | None = None,
    average: bool = True,
) -> float | Array:
    r"""Continuous ranked probability score, averaged over outputs; lower is better.

    :math:`E|D - y| - \frac12 E|D - D'|` for each output by itself: it judges the marginal laws
    of the outputs and not their dependence, which :func:`energy_score` and
    :func:`variogram_score` see.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    draws : array-like of shape (n, m, \*y_shape)
        m draws for each row.
    fair : bool, default=True
        Divide the draw-draw term by m(m-1), which needs m >= 2; with False by m squared.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows in the average.
    average : bool, default=True
        Return the mean over rows and outputs; with False the mean over outputs of each row.

    Returns
    -------
    float or ndarray of shape (n,)
        In the unit of y; at least 0 up to chance (exactly so with ``fair=False``).

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
    y, sample = _forecast(y_true, draws, fair)
    per_row = _by_rows(lambda d, t: scores.crps(d, t, fair=fair).mean(dim=1), y, sample)
    return _average(per_row, sample_weight, average)


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

    over all ordered pairs of outputs, with unit weights. Proper, not strictly: a shift common to
    all outputs goes unseen. Use it beside :func:`energy_score`.

    Parameters
    ----------
    y_true : array-like of shape (n, q) or (n, ...)
        Observed responses, with at least two outputs.
    draws : array-like of shape (n, m, \*y_shape)
        m draws for each row.
    p : float, default=0.5
        Order, above 0; .5 is the authors' choice, less swayed by outliers than 1 or 2.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows in the average.
    average : bool, default=True
        Return the mean over rows; with False one score for each row.

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
    y, sample = _forecast(y_true, draws, fair=False)
    if y[0].size < 2:
        raise ValueError(f"y_true needs at least 2 outputs for dependence, got shape {y.shape}")
    check_real("p", p, 0, open_low=True)
    per_row = _by_rows(lambda d, t: scores.variogram_score(d, t, p=p), y, sample)
    return _average(per_row, sample_weight, average)


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
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    y_quantiles : array-like of shape (n, k, \*y_shape)
        Forecast quantiles, as ``LSDMRegressor.predict_quantiles`` returns them.
    quantiles : float or array-like of shape (k,)
        Their levels, each inside (0, 1).
    sample_weight : array-like of shape (n,), optional
        Weights of the rows in the average.

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
    y, forecast = _real("y_true", y_true), _real("y_quantiles", y_quantiles)
    levels = _number_or_row("quantiles", quantiles)
    if levels.ndim != 1 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels inside (0, 1), got {quantiles!r}")
    _match_rows(y, "y_quantiles", forecast, f"k = {len(levels)}", len(levels))
    tau = torch.from_numpy(levels)
    per_row = _by_rows(lambda f, t: scores.quantile_loss(f, t, tau).mean(dim=(1, 2)), y, forecast)
    return float(_average(per_row, sample_weight, average=True))


def energy_skill(
    y_true: ArrayLike,
    draws: ArrayLike,
    reference: ArrayLike,
    *,
    scale: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Energy skill: the share of a reference's energy score that a model saves.

    .. math:: 1 - \frac{ES(\text{model})}{ES(\text{reference})},

    where the reference forecast is one set of responses, the same for every row: with training
    responses, the forecast that ignores X. This is the ``score`` of the estimators here. Both
    scores are fair.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    draws : array-like of shape (n, m, \*y_shape)
        The model's draws, m >= 2 for each row.
    reference : array-like of shape (r, \*y_shape)
        Responses that ignore X, r >= 2. Their distances among themselves cost r\ :sup:`2` q:
        2,000 are plenty.
    scale : float or array-like, optional
        What outputs are divided by first, above 0 and broadcastable to ``y_shape``: usually the
        spread of the training responses. None leaves them as they are.
    sample_weight : array-like of shape (n,), optional
        Weights of the rows, in both averages.

    Returns
    -------
    float
        At most 1 up to chance, higher is better; 0 is no better than ignoring X, and there is no
        lower bound. Even the true law of a noisy response scores below 1. Where the reference
        cannot be improved (it agrees with every ``y_true`` exactly), 1.0 for a model that does
        as well and 0.0 for any other, as in scikit-learn's ``r2_score``.

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
    y, sample = _forecast(y_true, draws, fair=True)
    ignorant = _real("reference", reference)
    if ignorant.shape[1:] != y.shape[1:] or len(ignorant) < 2:
        raise ValueError(
            f"reference must have shape (r, *y_shape) = {_shape('r', y)} with r >= 2, "
            f"got {ignorant.shape}"
        )
    spread = torch.from_numpy(_spread(scale, y.shape[1:]))
    target = _flat(y) / spread
    model = _by_rows(lambda d, t: scores.energy_score(d / spread, t / spread), y, sample)
    marginal = scores.energy_score_shared(_flat(ignorant) / spread, target).numpy()
    rounding = 1e-12 * float(target.abs().max())
    return skill(model, marginal, sample_weight, rounding)


def skill(
    model: ArrayLike,
    reference: ArrayLike,
    sample_weight: ArrayLike | None = None,
    rounding: float = 1e-12,
) -> float:
    """One minus the ratio of two mean scores (n,), lower being better in both.

    Where the reference is perfect up to `rounding`, 1.0 for a model that is too, else 0.0.
    """
    ours = float(_average(_real("model", model), sample_weight, average=True))
    theirs = float(_average(_real("reference", reference), sample_weight, average=True))
    if theirs <= rounding:
        return float(ours <= rounding)
    return 1 - ours / theirs


# ---------------------------------------------------------------------------- intervals
def interval_coverage(y_true: ArrayLike, interval: ArrayLike) -> float:
    r"""Share of observed outputs inside their interval, over rows and outputs.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    interval : array-like of shape (n, 2, \*y_shape)
        Lower and upper ends, both counted as inside, as ``LSDMRegressor.predict_interval``
        returns them.

    Returns
    -------
    float
        Between 0 and 1; neither high nor low is better: it should equal the nominal coverage.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite values, a lower end above its upper end.

    Examples
    --------
    >>> from sklsdm.metrics import interval_coverage
    >>> interval_coverage([1.0, 5.0], [[0.0, 2.0], [0.0, 2.0]])
    0.5
    """
    y, ends = _real("y_true", y_true), _interval(interval)
    _match_rows(y, "interval", ends, "2", 2)
    return float(((ends[:, 0] <= y) & (y <= ends[:, 1])).mean())


def interval_width(interval: ArrayLike) -> float:
    r"""Mean width of intervals over rows and outputs; at equal coverage, narrower is better.

    Parameters
    ----------
    interval : array-like of shape (n, 2, \*y_shape)
        Lower and upper ends.

    Returns
    -------
    float
        At least 0, in the unit of y.

    Raises
    ------
    ValueError
        Another shape, NaN or infinite values, a lower end above its upper end.

    Examples
    --------
    >>> from sklsdm.metrics import interval_width
    >>> interval_width([[0.0, 2.0], [1.0, 5.0]])
    3.0
    """
    ends = _interval(interval)
    return float(np.subtract(ends[:, 1], ends[:, 0], dtype=np.float64).mean())


# ---------------------------------------------------------------------------- two samples
def sliced_wasserstein(
    a: ArrayLike,
    b: ArrayLike,
    *,
    n_projections: int = 128,
    p: float = 1,
    random_state: RandomState = None,
) -> float:
    r"""Sliced p-Wasserstein distance between two samples.

    :math:`(E_\theta W_p(\theta \cdot A, \theta \cdot B)^p)^{1/p}` over random directions of unit
    length; each one-dimensional distance is exact. One-dimensional samples have one direction,
    and the value is their Wasserstein distance.

    Parameters
    ----------
    a, b : array-like of shape (n,), (n, q) or (n, ...), and (m, ...)
        Two samples, of any two sizes; trailing dimensions are flattened.
    n_projections : int, default=128
        Directions. More lower the error of the average over directions, in proportion to the
        square root.
    p : float, default=1
        Order, at least 1; larger weighs far transports more.
    random_state : int, RandomState, Generator or None, default=None
        For the directions: an int for the same ones every time, None for fresh ones.

    Returns
    -------
    float
        At least 0, in the unit of the data; 0 for equal samples. Two samples of one law have a
        positive distance that falls with n: print it beside, at equal sizes.

    Raises
    ------
    ValueError
        Samples of different trailing shape, NaN or infinite values, ``p`` below 1,
        ``n_projections`` below 1.

    Notes
    -----
    Costs L (n + m) (q + log(n + m)) for L directions.

    References
    ----------
    N. Bonneel, J. Rabin, G. Peyré and H. Pfister (2015), J. Math. Imaging Vis. 51.

    Examples
    --------
    >>> from sklsdm.metrics import sliced_wasserstein
    >>> sliced_wasserstein([0.0, 1.0], [2.0, 3.0, 2.0, 3.0])
    2.0
    """
    first, second = _two_samples(a, b)
    check_real("p", p, 1)
    check_integer("n_projections", n_projections, 1)
    directions = _directions(first.shape[1], n_projections, random_state)
    return float(scores.sliced_wasserstein(first, second, directions, p=p))


def mmd(
    a: ArrayLike,
    b: ArrayLike,
    *,
    bandwidth: str | float | Sequence[float] = "median",
    unbiased: bool = True,
) -> float:
    r"""Squared maximum mean discrepancy between two samples, Gaussian kernel.

    .. math:: MMD^2 = E\,k(A, A') + E\,k(B, B') - 2 E\,k(A, B), \quad
        k(x, y) = \exp(-\|x - y\|^2 / (2 h^2)).

    *Squared*, because the unbiased estimate may be negative and has no root.

    Parameters
    ----------
    a, b : array-like of shape (n,), (n, q) or (n, ...), and (m, ...)
        Two samples, of any two sizes; trailing dimensions are flattened.
    bandwidth : "median", float or sequence of floats, default="median"
        h. The median distance between distinct points (of up to 500 evenly spaced rows of each
        sample) looks at the laws as wholes; a tenth of it sees local structure such as blurred
        modes. With several, the mean of the kernels. To compare models, fix one number: the
        median moves with the samples.
    unbiased : bool, default=True
        Leave pairs of a point with itself out (needs two points in each sample); with False the
        value is that of the empirical laws, never negative and biased upwards by about 1/n.

    Returns
    -------
    float
        At most 2; 0 in the mean (``unbiased``) for equal laws.

    Raises
    ------
    ValueError
        Samples of different trailing shape, NaN or infinite values, a bandwidth that is not
        above 0, fewer than 2 points with ``unbiased``.

    Notes
    -----
    Costs (n + m)\ :sup:`2` q; memory stays bounded.

    References
    ----------
    A. Gretton et al. (2012), JMLR 13, eqs. (3) and (5).

    Examples
    --------
    >>> from sklsdm.metrics import mmd
    >>> mmd([0.0, 1.0], [0.0, 1.0], unbiased=False)
    0.0
    >>> mmd([0.0, 0.0], [100.0, 100.0], bandwidth=1.0)
    2.0
    """
    first, second = _two_samples(a, b, at_least=2 if unbiased else 1)
    widths = torch.from_numpy(_bandwidths(bandwidth, first, second))
    return float(scores.mmd_squared(first, second, widths, unbiased=unbiased))


def energy_distance(a: ArrayLike, b: ArrayLike, *, fair: bool = True) -> float:
    r"""Energy distance between two samples.

    :math:`2 E\|A - B\| - E\|A - A'\| - E\|B - B'\|`: zero if and only if the laws are equal. It
    has no parameter to choose, and no curse of dimension in the number of points it needs.

    Parameters
    ----------
    a, b : array-like of shape (n,), (n, q) or (n, ...), and (m, ...)
        Two samples, of any two sizes; trailing dimensions are flattened.
    fair : bool, default=True
        Leave pairs of a point with itself out (needs two points in each sample); with False the
        value is that of the empirical laws, never negative and biased upwards.

    Returns
    -------
    float
        In the unit of the data (no root is taken); 0 in the mean (``fair``) for equal laws.

    Raises
    ------
    ValueError
        Samples of different trailing shape, NaN or infinite values, fewer than 2 points with
        ``fair``.

    Notes
    -----
    Costs (n + m)\ :sup:`2` q; memory stays bounded. ``scipy.stats.energy_distance`` (one
    dimension only) is the square root of this with ``fair=False``.

    References
    ----------
    G. J. Székely and M. L. Rizzo (2013), J. Stat. Plan. Inference 143.

    Examples
    --------
    >>> from sklsdm.metrics import energy_distance
    >>> energy_distance([0.0, 0.0], [3.0, 3.0])
    6.0
    """
    first, second = _two_samples(a, b, at_least=2 if fair else 1)
    return float(scores.energy_distance(first, second, fair=fair))


# ---------------------------------------------------------------------------- validation
def _real(name: str, value: ArrayLike) -> Array:
    """``value`` as a finite array of float32 or float64, copied only where it must be."""
    array = check_numeric(name, value)
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if array.dtype in (np.dtype(np.float32), np.dtype(np.float64)):
        return array
    return array.astype(np.float64)


def _number_or_row(name: str, value: ArrayLike) -> Array:
    """A number or an array of them as finite float64, of at least one dimension."""
    return _real(name, np.atleast_1d(np.asarray(value))).astype(np.float64)


def _forecast(y_true: ArrayLike, draws: ArrayLike, fair: bool) -> tuple[Array, Array]:
    """Observed responses and draws that fit each other."""
    y, sample = _real("y_true", y_true), _real("draws", draws)
    _match_rows(y, "draws", sample, "m")
    if fair and sample.shape[1] < 2:
        raise ValueError(
            f"draws must hold m >= 2 draws for each row with fair=True, got m = {sample.shape[1]}"
        )
    return y, sample


def _match_rows(y: Array, name: str, other: Array, label: str, width: int | None = None) -> None:
    """Raise unless ``other`` has shape (n, width, *y_shape)."""
    fits = other.ndim == y.ndim + 1 and other.shape[2:] == y.shape[1:] and len(other) == len(y)
    if not fits or (width is not None and other.shape[1] != width):
        raise ValueError(
            f"{name} must have shape {_shape(f'{len(y)}, {label}', y)} for y_true of shape "
            f"{y.shape}, got {other.shape}"
        )


def _shape(front: str, y: Array) -> str:
    """The text of a shape that begins with ``front`` and ends in y's trailing dimensions."""
    return f"({', '.join([front, *map(str, y.shape[1:])])})"


def _interval(interval: ArrayLike) -> Array:
    ends = _real("interval", interval)
    if ends.ndim < 2 or ends.shape[1] != 2:
        raise ValueError(f"interval must have shape (n, 2, *y_shape), got {ends.shape}")
    crossed = ends[:, 0] > ends[:, 1]
    if crossed.any():
        row = int(np.argwhere(crossed)[0, 0])
        raise ValueError(
            f"interval must have lower <= upper ends, {int(crossed.sum())} are crossed, "
            f"the first in row {row}"
        )
    return ends


def _two_samples(a: ArrayLike, b: ArrayLike, at_least: int = 1) -> tuple[Tensor, Tensor]:
    """Two samples as float64 tensors (n, q) and (m, q)."""
    first, second = _real("a", a), _real("b", b)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(
            f"a and b must agree in all dimensions but the first, got {first.shape} and "
            f"{second.shape}"
        )
    for name, sample in (("a", first), ("b", second)):
        if len(sample) < at_least:
            raise ValueError(
                f"{name} needs at least {at_least} rows for an unbiased estimate, got {len(sample)}"
            )
    return _flat(first), _flat(second)


def _spread(scale: ArrayLike | None, y_shape: tuple[int, ...]) -> Array:
    """``scale`` for each flattened output (q,)."""
    spread = _number_or_row("scale", 1.0 if scale is None else scale)
    if not (spread > 0).all():
        raise ValueError(f"scale must be above 0, got a smallest value of {spread.min()}")
    try:
        full = np.broadcast_to(spread, y_shape or (1,))
    except ValueError:
        raise ValueError(
            f"scale must be a number or broadcast to y_shape {y_shape}, got shape {spread.shape}"
        ) from None
    return np.array(full).reshape(-1)


def _bandwidths(bandwidth: str | float | Sequence[float], a: Tensor, b: Tensor) -> Array:
    if isinstance(bandwidth, str):
        if bandwidth != "median":
            raise ValueError(f'bandwidth must be "median" or above 0, got {bandwidth!r}')
        return np.array([_median_distance(a.numpy(), b.numpy())])
    widths = _number_or_row("bandwidth", bandwidth)
    if widths.ndim != 1 or not (widths > 0).all():
        raise ValueError(f'bandwidth must be "median" or above 0, got {bandwidth!r}')
    return widths


def _median_distance(a: Array, b: Array) -> float:
    """Median distance of distinct points; 1 where all coincide and any bandwidth gives 0."""
    few = [
        sample[np.linspace(0, len(sample) - 1, min(len(sample), _MEDIAN_ROWS)).astype(int)]
        for sample in (a, b)
    ]
    distances = pdist(np.concatenate(few))
    distances = distances[distances > 0]
    return float(np.median(distances)) if distances.size else 1.0


# ---------------------------------------------------------------------------- computation
def _flat(array: Array) -> Tensor:
    """Rows (n, q) as float64, copied where they are not (torch refuses read-only memory)."""
    rows = array.reshape(len(array), -1)
    return torch.from_numpy(np.require(rows, dtype=np.float64, requirements=["C", "W"]))


def _by_rows(score: Callable[[Tensor, Tensor], Tensor], y: Array, sample: Array) -> Array:
    """``score(sample, y)`` of each row, on blocks of rows flattened to (k, m, q) and (k, q)."""
    per_row = np.empty(len(y))
    step = max(1, _ROW_BLOCK // sample[0].size)
    for start in range(0, len(y), step):
        block = slice(start, start + step)
        draws = _flat(sample[block]).reshape(len(y[block]), sample.shape[1], -1)
        per_row[block] = score(draws, _flat(y[block])).numpy()
    return per_row


def _average(per_row: Array, sample_weight: ArrayLike | None, average: bool) -> float | Array:
    if not average:
        if sample_weight is not None:
            raise ValueError("sample_weight has no effect with average=False: leave one out")
        return per_row
    if sample_weight is None:
        return float(per_row.mean())
    weight = _real("sample_weight", sample_weight)
    if weight.shape != per_row.shape:
        raise ValueError(
            f"sample_weight must have shape {per_row.shape}, one for each row, got {weight.shape}"
        )
    if (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must not be negative nor zero in every row")
    return float(np.average(per_row, weights=weight))


def _directions(q: int, n_projections: int, random_state: RandomState) -> Tensor:
    """Directions (n_projections, q) uniform on the unit sphere; one dimension has but one."""
    if q == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    normal = as_generator(random_state).normal(size=(n_projections, q))
    return torch.from_numpy(normal / np.linalg.norm(normal, axis=1, keepdims=True))

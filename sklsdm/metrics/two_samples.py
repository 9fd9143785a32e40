"""Distances between the laws of two samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.spatial.distance import pdist
from torch import Tensor

from sklsdm._validation import check_flag, check_integer, check_real
from sklsdm.blocks import spread_rows
from sklsdm.functional import scores
from sklsdm.metrics.base import Array, as_float64, as_real, check_same_outputs, float64_rows
from sklsdm.randomness import RandomState, as_generator

_MEDIAN_ROWS = 500  # of each sample, for the median bandwidth


def energy_distance(a: ArrayLike, b: ArrayLike, *, fair: bool = True) -> float:
    r"""Energy distance between two samples.

    :math:`2 E\|A - B\| - E\|A - A'\| - E\|B - B'\|`: zero if and only if the laws are equal. It
    has no parameter to choose, and its estimate converges at a rate that is the same in every
    dimension.

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
    check_flag("fair", fair)
    first, second = _two_samples(a, b, at_least=2 if fair else 1)
    return float(scores.energy_distance(first, second, fair=fair))


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
    a, b
        As for :func:`energy_distance`.
    n_projections : int, default=128
        Number of directions L. The error of the average over directions falls as 1 / √L.
    p : float, default=1
        Order, at least 1; a larger one gives more weight to long distances.
    random_state : int, RandomState, Generator or None, default=None
        Draws the directions: an int gives the same ones every time, None fresh ones.

    Returns
    -------
    float
        At least 0, in the unit of the data; 0 for equal samples. Two samples of one law have a
        positive distance that falls with n: compare with that of two such samples of equal sizes.

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
    a, b
        As for :func:`energy_distance`.
    bandwidth : "median", float or sequence of floats, default="median"
        Width h of the kernel. "median" is the median distance between distinct points (of up to
        500 evenly spaced rows of each sample), which compares the laws as a whole; a tenth of it
        shows local differences such as blurred modes. With several, the kernel is their mean. To
        compare models, fix a number: the median changes with the samples.
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
    check_flag("unbiased", unbiased)
    first, second = _two_samples(a, b, at_least=2 if unbiased else 1)
    widths = torch.from_numpy(_bandwidths(bandwidth, first, second))
    return float(scores.mmd_squared(first, second, widths, unbiased=unbiased))


def _two_samples(a: ArrayLike, b: ArrayLike, at_least: int = 1) -> tuple[Tensor, Tensor]:
    """Two samples as float64 tensors (n, q) and (m, q)."""
    first, second = as_real("a", a), as_real("b", b)
    check_same_outputs("a", first, "b", second)
    for name, sample in (("a", first), ("b", second)):
        if len(sample) < at_least:
            raise ValueError(
                f"{name} needs at least {at_least} rows for an unbiased estimate, got {len(sample)}"
            )
    return float64_rows(first), float64_rows(second)


def _bandwidths(bandwidth: str | float | Sequence[float], a: Tensor, b: Tensor) -> Array:
    """The widths h of the kernels, float64."""
    if isinstance(bandwidth, str):
        if bandwidth != "median":
            raise ValueError(f'bandwidth must be "median" or above 0, got {bandwidth!r}')
        return np.array([_median_distance(a.numpy(), b.numpy())])
    widths = as_float64("bandwidth", bandwidth)
    if widths.ndim != 1 or not (widths > 0).all():
        raise ValueError(f'bandwidth must be "median" or above 0, got {bandwidth!r}')
    return widths


def _median_distance(a: Array, b: Array) -> float:
    """Median distance of distinct points; 1 where all coincide and any bandwidth gives 0."""
    few = [sample[spread_rows(len(sample), _MEDIAN_ROWS)] for sample in (a, b)]
    distances = pdist(np.concatenate(few))
    distances = distances[distances > 0]
    return float(np.median(distances)) if distances.size else 1.0


def _directions(q: int, n_projections: int, random_state: RandomState) -> Tensor:
    """Directions (n_projections, q) uniform on the unit sphere; (1, 1) where q is 1."""
    if q == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    normal = as_generator(random_state).normal(size=(n_projections, q))
    return torch.from_numpy(normal / np.linalg.norm(normal, axis=1, keepdims=True))

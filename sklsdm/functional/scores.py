"""Scores and distances between laws known through draws, as pure tensor functions.

Shapes: ``draws`` (n, m, q) holds m draws for each of n rows, ``target`` (n, q) what was
observed, ``a`` (n, q) and ``b`` (m, q) are two samples. Nothing is validated here beyond what
would silently give a wrong number; :mod:`sklsdm.metrics` has the same scores with all checks.

The functions keep the dtype and device of what they are given. Distance matrices are built in
blocks (:mod:`sklsdm.blocks`), but for :func:`kernel_score`, and the blocks are summed in the
autograd graph, so that gradients are exact whatever the block size. Memory is bounded only without
gradients: a graph holds all blocks.

References
----------
.. [1] T. Gneiting and A. E. Raftery, "Strictly proper scoring rules, prediction, and
   estimation", JASA 102 (2007).
.. [2] C. A. T. Ferro, "Fair scores for ensemble forecasts", QJRMS 140 (2014).
.. [3] R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46 (1978).
.. [4] N. Bonneel, J. Rabin, G. Peyré and H. Pfister, "Sliced and Radon Wasserstein
   barycenters of measures", J. Math. Imaging Vis. 51 (2015).
.. [5] A. Gretton et al., "A kernel two-sample test", JMLR 13 (2012).
.. [6] G. J. Székely and M. L. Rizzo, "Energy statistics: a class of statistics based on
   distances", J. Stat. Plan. Inference 143 (2013).
.. [7] M. Scheuerer and T. M. Hamill, "Variogram-based proper scoring rules for probabilistic
   forecasts of multivariate quantities", Mon. Weather Rev. 143 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from sklsdm.blocks import row_slices

__all__ = [
    "crps",
    "energy_distance",
    "energy_score",
    "energy_score_shared",
    "kernel_score",
    "mmd_squared",
    "multiscale_score",
    "quantile_loss",
    "sliced_wasserstein",
    "variogram_score",
]

_BANDWIDTHS = (0.1, 0.2, 0.4, 0.8, 1.6)  # of the multiscale score


# ---------------------------------------------------------------------------- distances
def _cdist(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (..., n, m) of the rows of ``a`` (..., n, q) and ``b`` (..., m, q).

    ``cdist``'s gradient at distance zero is zero, not NaN. Its way by a matrix product is many
    times faster for images but loses digits by cancellation. It is used only for more than 64
    outputs in float64, with the points centred: an error of 1e-8 of the spread is then small
    against any Monte Carlo error.
    """
    if a.shape[-1] <= 64 or a.dtype != torch.float64:
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    centre = b.detach().mean(dim=-2, keepdim=True)
    return torch.cdist(a - centre, b - centre, compute_mode="use_mm_for_euclid_dist")


def _row_means(a: Tensor, b: Tensor) -> Tensor:
    """Mean distance (n,) of every row of ``a`` (n, q) to the rows of ``b`` (m, q)."""
    return _in_blocks(lambda rows: _cdist(a[rows], b).mean(dim=1), len(a), len(b))


def _pair_mean(draws: Tensor, fair: bool) -> Tensor:
    """Mean distance (n,) between two of a row's draws (n, m, q); ``fair``: two different ones."""
    n, m, _ = draws.shape

    def sums(rows: slice) -> Tensor:
        some = draws[rows]
        parts = [_cdist(some[:, block], some).sum(dim=(1, 2)) for block in row_slices(m, m)]
        return reduce(torch.add, parts)

    return _in_blocks(sums, n, m * m) / _n_pairs(m, fair)


def _in_blocks(compute: Callable[[slice], Tensor], n_rows: int, row_size: int) -> Tensor:
    """What `compute` gives for each row (n_rows,), by blocks of rows that hold `row_size` numbers.

    Blocks are joined rather than written into one tensor: autograd goes back through such writes
    slowly.
    """
    parts = [compute(rows) for rows in row_slices(n_rows, row_size)] or [compute(slice(0, 0))]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _n_pairs(m: int, fair: bool) -> int:
    """Ordered pairs of m draws, without the m pairs of a draw with itself when ``fair``."""
    if fair and m < 2:
        raise ValueError(f"a fair score needs at least 2 draws, got {m}")
    return m * (m - 1) if fair else m * m


# ---------------------------------------------------------------------------- proper scores
def energy_score(draws: Tensor, target: Tensor, fair: bool = True) -> Tensor:
    r"""Energy score (n,) of m draws as the forecast of each row; lower is better.

    .. math::
        \frac1m \sum_j \|d_j - y\| - \frac{1}{2 m (m-1)} \sum_{j \ne k} \|d_j - d_k\|,

    [1]_ eq. (22) with beta = 1. With ``fair`` the second sum is divided by m(m-1) [2]_: its
    expectation is then the score of the law from which the draws come. Otherwise it is divided
    by m squared, which is the score of the draws' empirical law. Differentiable in both
    arguments, with gradient zero at coinciding points. Costs n m^2 q operations; q = 1 is left
    to :func:`crps`, at n m log m.
    """
    if draws.shape[-1] == 1:
        return crps(draws, target, fair=fair)[:, 0]
    to_target = torch.linalg.vector_norm(draws - target.unsqueeze(1), dim=-1).mean(dim=1)
    return to_target - _pair_mean(draws, fair) / 2


def energy_score_shared(draws: Tensor, target: Tensor, fair: bool = True) -> Tensor:
    """Energy score (n,) of one set of draws (m, q) as the forecast of every target (n, q).

    The same number as :func:`energy_score` with ``draws`` repeated n times, without the
    repetition: the draw-draw term is computed once.
    """
    return _row_means(target, draws) - _pair_mean(draws.unsqueeze(0), fair) / 2


def kernel_score(draws: Tensor, target: Tensor, bandwidths: Tensor, fair: bool = True) -> Tensor:
    r"""Kernel score (n,) of m draws as the forecast of each row; lower is better.

    .. math:: \frac{1}{2 m (m-1)} \sum_{j \ne k} k(d_j, d_k) - \frac1m \sum_j k(d_j, y),

    [1]_ eq. (20) with the sign changed, where k is the mean over ``bandwidths`` h (k,) of the
    Gaussian kernels :math:`\exp(-\|x - y\|^2 / (2 h^2))`. It is strictly proper, as the energy
    score is, but small bandwidths see narrow modes, which hardly change the energy score. With
    ``fair`` as in :func:`energy_score`.
    """
    m = draws.shape[1]
    to_target = (draws - target.unsqueeze(1)).square().sum(dim=-1)
    within = _cdist(draws, draws).square()
    scales = -0.5 / bandwidths.square()
    across_mean = torch.exp(to_target.unsqueeze(-1) * scales).mean(dim=(1, 2))
    total = sum(torch.exp(within * scale).sum(dim=(1, 2)) for scale in scales) / len(scales)
    diagonal = m if fair else 0  # k(x, x) = 1
    return (total - diagonal) / _n_pairs(m, fair) / 2 - across_mean


def multiscale_score(draws: Tensor, target: Tensor) -> Tensor:
    r"""Energy score plus kernel score over five bandwidths, (n,); lower is better.

    .. math:: ES / \sqrt q + KS,

    with the bandwidths .1, .2, .4, .8 and 1.6 times :math:`\sqrt{q / 2}`, for outputs with standard
    deviations near 1. As the sum of two strictly proper scores it is one itself. The energy score
    sees location and spread at any distance; the kernels see modes and edges that it hardly sees.
    """
    q = target.shape[1]
    bandwidths = target.new_tensor(_BANDWIDTHS) * math.sqrt(q / 2)
    return energy_score(draws, target) / math.sqrt(q) + kernel_score(draws, target, bandwidths)


def crps(draws: Tensor, target: Tensor, fair: bool = True) -> Tensor:
    r"""Continuous ranked probability score (n, q) of each output; lower is better.

    :math:`E|D - y| - \frac12 E|D - D'|`, [1]_ eq. (21). The draw-draw term is computed from the
    sorted draws, :math:`\sum_{j,k} |d_j - d_k| = 2 \sum_k (2k - m - 1) d_{(k)}`, at
    m log m operations a row.
    """
    m = draws.shape[1]
    error = draws - target.unsqueeze(1)
    rank = torch.arange(1, m + 1, dtype=error.dtype, device=error.device)
    weight = (2 * rank - (m + 1)) / _n_pairs(m, fair)  # (m,)
    half_spread = torch.einsum("m,nmq->nq", weight, error.sort(dim=1).values)
    return error.abs().mean(dim=1) - half_spread


def quantile_loss(quantiles: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    r"""Pinball loss (n, k, q) of forecast ``quantiles`` (n, k, q) at ``levels`` (k,).

    :math:`(\tau - 1[y < \hat y]) (y - \hat y)`, [3]_; its mean is least at the true quantile.
    """
    error = target.unsqueeze(1) - quantiles
    tau = levels.view(1, -1, 1)
    return torch.maximum(tau * error, (tau - 1) * error)


def variogram_score(draws: Tensor, target: Tensor, p: float = 0.5) -> Tensor:
    r"""Variogram score (n,) of order ``p`` with unit weights; lower is better.

    :math:`\sum_{i,j} (|y_i - y_j|^p - \frac1m \sum_k |d_{ki} - d_{kj}|^p)^2` over all ordered
    pairs of outputs, [7]_. It detects wrong dependence between outputs that the energy score
    hardly notices, but not a shift that all outputs share. Costs n m q^2 operations. Not for
    training: for p < 1 the gradient at equal outputs is infinite.
    """
    n, m, q = draws.shape
    total = target.new_zeros(n)
    for rows in row_slices(n, m * q * q):
        for block in row_slices(q, (rows.stop - rows.start) * m * q):
            observed = _variogram(target[rows], block, p)
            forecast = _variogram(draws[rows], block, p).mean(dim=1)
            total[rows] += (observed - forecast).square().sum(dim=(1, 2))
    return total


def _variogram(values: Tensor, block: slice, p: float) -> Tensor:
    """|v_i - v_j|^p (..., block, q) for i in ``block`` and every j."""
    return (values[..., block, None] - values[..., None, :]).abs().pow(p)


# ---------------------------------------------------------------------------- two samples
def energy_distance(a: Tensor, b: Tensor, fair: bool = True) -> Tensor:
    r"""Energy distance, a scalar: :math:`2 E\|A - B\| - E\|A - A'\| - E\|B - B'\|`, [6]_.

    ``fair`` leaves out the pairs of a point with itself. This is a U-statistic: its expectation
    is the distance of the laws, and it may be negative. Otherwise the value is the distance of
    the two empirical laws, which is never negative. Differentiable, with gradient zero at
    coinciding points.
    """
    within = _pair_mean(a.unsqueeze(0), fair) + _pair_mean(b.unsqueeze(0), fair)
    return 2 * _row_means(a, b).mean() - within[0]


def mmd_squared(a: Tensor, b: Tensor, bandwidths: Tensor, unbiased: bool = True) -> Tensor:
    r"""Squared maximum mean discrepancy, a scalar, [5]_ eqs. (3) (unbiased) and (5) (biased).

    The kernel is the mean over ``bandwidths`` h (k,) of :math:`\exp(-\|x - y\|^2 / (2 h^2))`.
    """
    across = _kernel_sum(a, b, bandwidths) / (len(a) * len(b))
    return (
        _kernel_mean(a, bandwidths, unbiased) + _kernel_mean(b, bandwidths, unbiased) - 2 * across
    )


def _kernel_mean(a: Tensor, bandwidths: Tensor, unbiased: bool) -> Tensor:
    """Mean kernel value of two rows of ``a``; unbiased: of two different rows."""
    n = len(a)
    diagonal = n if unbiased else 0  # k(x, x) = 1
    return (_kernel_sum(a, a, bandwidths) - diagonal) / _n_pairs(n, unbiased)


def _kernel_sum(a: Tensor, b: Tensor, bandwidths: Tensor) -> Tensor:
    """Sum over all pairs of the mean Gaussian kernel."""
    total = a.new_zeros(())
    for rows in row_slices(len(a), len(b)):
        squared = _cdist(a[rows], b).square()
        for bandwidth in bandwidths:
            total = total + torch.exp(squared / (-2 * bandwidth * bandwidth)).sum()
    return total / len(bandwidths)


def sliced_wasserstein(a: Tensor, b: Tensor, projections: Tensor, p: float = 1) -> Tensor:
    r"""Sliced p-Wasserstein distance, a scalar, over given directions (L, q) of unit length.

    :math:`(\frac1L \sum_l W_p(\theta_l \cdot A, \theta_l \cdot B)^p)^{1/p}`, [4]_. Each
    one-dimensional distance is exact: the quantile functions are step functions, so the integral
    of their difference to the power p is a finite sum, also for samples of different size.
    """
    index_a, index_b, width = _quantile_pieces(len(a), len(b), a)
    powers = a.new_empty(len(projections))
    for block in row_slices(len(projections), len(a) + len(b)):
        directions = projections[block].T  # (q, l)
        sorted_a = (a @ directions).sort(dim=0).values
        sorted_b = (b @ directions).sort(dim=0).values
        gap = (sorted_a[index_a] - sorted_b[index_b]).abs()
        powers[block] = width @ gap.pow(p)
    return powers.mean().pow(1 / p)


def _quantile_pieces(n: int, m: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pieces of [0, 1] on which the quantile functions of n and of m points are constant.

    Returns, for each piece, the index of the order statistic of either sample and the width of
    the piece. The jumps k/n and k/m are compared as integers, k m and k n, since equal jumps may
    differ as floats.
    """
    jumps_a = torch.arange(0, n + 1, device=like.device) * m
    jumps_b = torch.arange(1, m, device=like.device) * n
    jumps = torch.unique(torch.cat([jumps_a, jumps_b]))  # sorted, from 0 to n m
    left = jumps[:-1]
    width = jumps.diff().to(like.dtype) / (n * m)
    return left // m, left // n, width

"""Coverage by neighbours: is every region of the observed responses also drawn?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from sklearn.neighbors import NearestNeighbors

from sklsdm._validation import check_flag, check_integer
from sklsdm.metrics.base import Array, as_real, check_same_outputs


def neighbour_coverage(
    y_true: ArrayLike, draws: ArrayLike, *, n_neighbors: int = 5, average: bool = True
) -> float | Array:
    r"""Share of observed responses with a draw in their neighbourhood; low where modes are missing.

    The neighbourhood of a response reaches to its k-th nearest other response. Sharpness of the
    draws cannot make up for a region that is never drawn, as it does in a distance of laws.

    Parameters
    ----------
    y_true : array-like of shape (n,), (n, q) or (n, ...)
        Observed responses.
    draws : array-like of shape (m, \*y_shape)
        Draws, one for each observed x: the two marginal laws are compared.
    n_neighbors : int, default=5
        k. With more, regions are larger, and fewer modes count as missing.
    average : bool, default=True
        Return the share; with False, for each response whether it is covered.

    Returns
    -------
    float or ndarray of bool of shape (n,)
        Compare the share with :func:`expected_neighbour_coverage`.

    Raises
    ------
    ValueError
        Shapes that do not fit, NaN or infinite values, not more responses than `n_neighbors`.

    References
    ----------
    M. F. Naeem, S. J. Oh, Y. Uh, Y. Choi and J. Yoo (2020), "Reliable fidelity and diversity
    metrics for generative models" (arXiv 2002.09797), eq. (6).

    Examples
    --------
    >>> from sklsdm.metrics import neighbour_coverage
    >>> y_true = [0.0, 0.1, 5.0, 5.1]
    >>> neighbour_coverage(y_true, [0.05, 0.03, 0.02, 0.07], n_neighbors=1)  # no mode at 5
    0.5
    """
    y, drawn = as_real("y_true", y_true), as_real("draws", draws)
    check_same_outputs("y_true", y, "draws", drawn)
    check_flag("average", average)
    check_integer("n_neighbors", n_neighbors, 1, len(y) - 1, f" (y_true has {len(y)} rows)")
    flat = y.reshape(len(y), -1)
    radius = NearestNeighbors(n_neighbors=n_neighbors).fit(flat).kneighbors()[0][:, -1]
    nearest = NearestNeighbors(n_neighbors=1).fit(drawn.reshape(len(drawn), -1)).kneighbors(flat)
    covered = nearest[0][:, 0] <= radius
    return float(covered.mean()) if average else covered


def expected_neighbour_coverage(n_true: int, n_draws: int, n_neighbors: int = 5) -> float:
    r"""Expected :func:`neighbour_coverage` where draws and responses follow one law.

    Of a response, the other n − 1 and m draws, all are exchangeable, so none of the k nearest is
    a draw with probability :math:`\prod_{i<k} \frac{n-1-i}{n-1+m-i}`, whatever the law and its
    dimension.

    Parameters
    ----------
    n_true, n_draws : int
        Numbers n of observed responses and m of draws.
    n_neighbors : int, default=5
        k, as for :func:`neighbour_coverage`.

    Returns
    -------
    float

    References
    ----------
    M. F. Naeem et al. (2020), as above, eq. (9).

    Examples
    --------
    >>> from sklsdm.metrics import expected_neighbour_coverage
    >>> round(expected_neighbour_coverage(1000, 1000), 3)
    0.969
    """
    check_integer("n_true", n_true, 1)
    check_integer("n_draws", n_draws, 1)
    check_integer("n_neighbors", n_neighbors, 1)
    others, everything = n_true - 1, n_true - 1 + n_draws
    log_none = (
        gammaln(others + 1)
        - gammaln(others - n_neighbors + 1)
        - gammaln(everything + 1)
        + gammaln(everything - n_neighbors + 1)
    )
    return float(1 - np.exp(log_none))

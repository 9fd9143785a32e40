"""Whether paired and unpaired responses follow one law: a permutation test on their codes.

Two statistics are computed on the codes of both samples together. The energy distance sees shifts
of location and spread. The scan statistic sees regions that one sample hardly reaches, such as a
class that is missing among the pairs: it is the largest log-likelihood ratio, over the clusters
of a hierarchical clustering, of the cluster's share in either sample differing from its share in
both. Each is compared with its values after random relabelling, and the smaller p-value is
doubled. Under equal laws the probability of a p-value up to α is therefore at most α, whatever
the law and the sample sizes, if the responses are independent.

Copies of paired responses among the unpaired ones make the samples more alike and the test more
conservative. They are not removed: where values repeat, copies cannot be told from coincidences.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist, squareform
from scipy.special import xlogy
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from sklsdm.blocks import row_slices

FIT_LEVEL = 0.001  # of the test in `fit`, which has to stay silent in a search with many fits
MAX_ROWS = 1000  # of either sample that `fit` compares
_SMALLEST_CLUSTER = 10  # rows; smaller ones cannot differ clearly and cost power
_N_RELABELLINGS, _BATCH = 3999, 100
_ENOUGH = 10  # relabellings as extreme as the data, after which no more are drawn
_N_EXAMPLES = 5
_HARDLY = 0.05  # of the share that the cluster has among the unpaired responses
_ROUNDING = 1e-9  # relative; statistics that are equal up to this are ties

LEFT_OUT = "Stage 2 leaves the cluster out, since hardly any paired response is like it."
WHAT_TO_DO = (
    "A fit that uses them takes them to follow one law. Look at these rows, and take the pairs and "
    "Y_unpaired from the same population. Otherwise set unpaired='latent', which uses Y_unpaired "
    "for the latent space only, or unpaired='none'."
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """Result of the test of one law for paired and unpaired responses.

    Attributes
    ----------
    statistic : float
        Energy distance between the two samples of codes, at least 0.
    p_value : float
        Probability of a difference at least as clear under one law.
    paired_share, unpaired_share : float
        Share of either sample that lies in the cluster of codes where they differ most clearly.
    examples : tuple of int
        Up to five rows of that cluster, of the sample that has more of it.
    """

    statistic: float
    p_value: float
    paired_share: float
    unpaired_share: float
    examples: tuple[int, ...]

    @property
    def is_clear(self) -> bool:
        """Whether the p-value is at most .001, the level at which `fit` warns."""
        return self.p_value <= FIT_LEVEL

    @property
    def lacks_pairs(self) -> bool:
        """Whether hardly any paired response lies in the cluster: a twentieth of its share."""
        return self.is_clear and self.paired_share <= _HARDLY * self.unpaired_share

    @property
    def is_of_unpaired(self) -> bool:
        """Whether the cluster, and so `examples`, is of unpaired responses more than of paired."""
        return self.unpaired_share > self.paired_share

    @property
    def strength(self) -> float:
        """Difference of the two shares: 0 for equal samples, 1 for samples entirely apart.

        It is a lower bound of the total variation distance of the two samples.
        """
        return abs(self.unpaired_share - self.paired_share)

    def __str__(self) -> str:
        p_value = f"(p = {self.p_value:.2g})"
        if not self.is_clear:
            return f"Paired and unpaired responses may follow one law {p_value}."
        name = "Y_unpaired" if self.is_of_unpaired else "y"
        rows = ", ".join(map(str, self.examples))
        return (
            f"Paired and unpaired responses do not follow one law {p_value}. They differ most "
            f"clearly in a cluster of the latent space that holds {self.unpaired_share:.0%} of "
            f"the unpaired and {self.paired_share:.0%} of the paired responses, such as rows "
            f"{rows} of {name}."
        )


def shift_between(paired: NDArray, unpaired: NDArray, rng: np.random.Generator) -> Shift:
    """Test whether two samples of codes follow one law.

    Parameters
    ----------
    paired, unpaired : ndarray of shape (n, k) and (m, k)
        Codes, such as `est.encode` returns, with n, m >= 1. Time grows with (n + m) squared; take
        at most some 1,000 rows of each. An encoder treats the responses that it has learnt from
        differently from others, so both samples must be ones that it has learnt from, or both
        ones that it has not.
    rng : numpy.random.Generator
        Draws the relabellings.

    Returns
    -------
    Shift

    References
    ----------
    Székely & Rizzo 2013, J. Stat. Plan. Inference 143 (energy distance); Kulldorff 1997, Commun.
    Stat. Theory Methods 26 (scan statistic); Besag & Clifford 1991, Biometrika 78 (p-values of
    relabellings that stop early).
    """
    return _compared(paired, unpaired, rng)[0]


def _compared(
    paired: Array, unpaired: Array, rng: np.random.Generator
) -> tuple[Shift, NDArray[np.intp]]:
    """The test's result, and the rows of its cluster among those of both samples together."""
    # In random order: ties of the clustering must not be broken by the sample of a row.
    order = rng.permutation(len(paired) + len(unpaired))
    is_paired = (order < len(paired)).astype(np.float64)
    distances = pdist(np.concatenate([paired, unpaired]).astype(np.float64)[order])
    energy, scan = _Energy(distances), _Scan(distances, len(order))

    def statistics(labels: Array) -> Array:  # (2, b)
        return np.stack([energy(labels), scan(labels)])

    observed = statistics(is_paired[:, None])
    reached = np.empty((2, 0), dtype=bool)
    while reached.shape[1] < _N_RELABELLINGS and reached.sum(axis=1).min() < _ENOUGH:
        count = min(_BATCH, _N_RELABELLINGS - reached.shape[1])
        labels = np.stack([rng.permutation(is_paired) for _ in range(count)], axis=1)
        more = statistics(labels) >= observed * (1 - _ROUNDING)
        reached = np.concatenate([reached, more], axis=1)
    p_value = min(1.0, 2 * min(map(_sequential_p_value, reached)))
    cluster = scan.clearest(is_paired)
    paired_share = is_paired[cluster].sum() / len(paired)
    unpaired_share = (1 - is_paired)[cluster].sum() / len(unpaired)
    more_paired = paired_share >= unpaired_share
    rows = np.sort(order[cluster[is_paired[cluster] == more_paired]])[:_N_EXAMPLES]
    found = Shift(
        float(observed[0, 0]),
        p_value,
        float(paired_share),
        float(unpaired_share),
        tuple((rows if more_paired else rows - len(paired)).tolist()),
    )
    return found, order[cluster]


@dataclass(frozen=True, eq=False)
class ComparedSome:
    """The test on random rows of many codes, and the rows that it compared.

    Attributes
    ----------
    found : Shift
        With `examples` counted in `y` or `Y_unpaired`.
    codes : ndarray of shape (a + b, k)
        Those that were compared, of paired and then of unpaired responses, in the autoencoder's
        units.
    in_cluster : ndarray of shape (a + b,), bool
        Whether they lie in the cluster that :class:`Shift` describes.
    """

    found: Shift
    codes: Array
    in_cluster: NDArray[np.bool_]

    def rows_apart(self, codes: Tensor, scale: Array, n_paired: int) -> NDArray[np.intp]:
        """The rows of all unpaired codes whose nearest compared row lies in the cluster.

        The parameters are those of :func:`compare_some`, and rows are counted in all codes.
        """
        nearest = NearestNeighbors(n_neighbors=1).fit(self.codes)
        found = []
        for block in row_slices(len(codes) - n_paired, codes.shape[1]):
            rows = np.arange(n_paired + block.start, n_paired + block.stop)
            place = nearest.kneighbors(_rows_of(codes, rows, scale), return_distance=False)[:, 0]
            found.append(rows[self.in_cluster[place]])
        return np.concatenate(found)


def compare_some(
    codes: Tensor, scale: Array, n_paired: int, held_out: NDArray[np.intp], seed: int
) -> ComparedSome | None:
    """Compare random rows of the first `n_paired` codes with random rows of the others.

    Parameters
    ----------
    codes : Tensor of shape (n + N, k)
        Standardised codes of the paired and then the unpaired responses.
    scale : ndarray of shape (k,)
        Their standard deviations in the autoencoder's units, in which they are compared: a
        standardised principal component of noise would weigh as much as the first one.
    n_paired : int
        Number n of the paired ones.
    held_out : ndarray of int
        Rows that the autoencoder has not learnt from. Its training does not distinguish between
        paired and unpaired responses, so without these rows the codes are exchangeable under one
        law of the responses, and memorisation cannot make the two samples differ.
    seed : int
        Chooses the rows and the relabellings.

    Returns
    -------
    ComparedSome or None
        None if nothing is left on one side.
    """
    rng = np.random.default_rng([seed, n_paired])
    learnt = np.setdiff1d(np.arange(len(codes)), held_out)
    of_both = learnt[learnt < n_paired], learnt[learnt >= n_paired]
    paired, unpaired = (np.sort(rng.permutation(rows)[:MAX_ROWS]) for rows in of_both)
    if len(paired) == 0 or len(unpaired) == 0:
        return None
    both = _rows_of(codes, paired, scale), _rows_of(codes, unpaired, scale)
    found, cluster = _compared(*both, rng)
    rows = unpaired - n_paired if found.is_of_unpaired else paired
    in_cluster = np.zeros(len(paired) + len(unpaired), dtype=bool)
    in_cluster[cluster] = True
    examples = tuple(rows[list(found.examples)].tolist())
    return ComparedSome(replace(found, examples=examples), np.concatenate(both), in_cluster)


def _rows_of(codes: Tensor, rows: NDArray[np.intp], scale: Array) -> Array:
    """Some of the codes, in the autoencoder's units."""
    found: Array = codes[torch.from_numpy(rows).to(codes.device)].cpu().numpy() * scale
    return found


def differing_column(paired: Array, unpaired: Array) -> str:
    """A sentence on the column that lies or spreads most differently in two samples of responses.

    It is empty where the medians of no column are farther apart than values usually are from them,
    and none spreads twice as widely in one sample. So it names another unit or order of columns.

    Parameters
    ----------
    paired, unpaired : ndarray of shape (n, q) and (m, q)
        Responses in their own units.
    """
    middles = np.stack([np.median(rows, axis=0) for rows in (paired, unpaired)])
    usual = np.stack(
        [np.median(np.abs(r - m), axis=0) for r, m in zip((paired, unpaired), middles, strict=True)]
    )
    known = (usual > 0).all(axis=0)
    if not known.any():
        return ""
    spreads = np.where(known, usual, 1.0)
    apart = np.abs(np.subtract(*middles)) / spreads.max(axis=0)
    wider = np.log2(spreads.max(axis=0) / spreads.min(axis=0))
    difference = np.where(known, np.maximum(apart, wider), 0.0)
    column = int(difference.argmax())
    if difference[column] < 1:
        return ""
    where = f"In column {column} the" if paired.shape[1] > 1 else "The"
    middle, distance = ([f"{n:.3g}" for n in of[:, column]] for of in (middles, usual))
    return (
        f" {where} median is {middle[0]} in y and {middle[1]} in Y_unpaired, and the median "
        f"distance from it {distance[0]} and {distance[1]}."
    )


class _Energy:
    """Energy distance between the rows labelled 1 and those labelled 0."""

    def __init__(self, distances: Array) -> None:
        self.matrix = torch.from_numpy(squareform(distances))
        self.sums = self.matrix.sum(dim=1)

    def __call__(self, labels: Array) -> Array:
        """Its values (b,) for labels (N, b)."""
        first = torch.from_numpy(labels)
        n_first = first[:, 0].sum()
        n_second = len(first) - n_first
        within = (first * (self.matrix @ first)).sum(dim=0)
        across = self.sums @ first - within
        within_second = self.sums.sum() - 2 * across - within
        value = 2 * across / (n_first * n_second)
        return (value - within / n_first**2 - within_second / n_second**2).clamp(min=0).numpy()


class _Scan:
    """Largest log-likelihood ratio over the clusters of a hierarchical clustering."""

    def __init__(self, distances: Array, n_rows: int) -> None:
        merges = linkage(distances, "ward")
        self.order = leaves_list(merges)  # every cluster is a range of rows in this order
        starts = np.zeros(2 * n_rows - 1, dtype=int)
        starts[self.order] = np.arange(n_rows)
        parts, heights = merges[:, :2].astype(int), merges[:, 2]
        for cluster, (left, right) in enumerate(parts.tolist(), start=n_rows):
            starts[cluster] = min(starts[left], starts[right])
        height_above = np.full(2 * n_rows - 1, np.inf)  # 0 marks a part of equal rows
        height_above[parts] = heights[:, None]
        sizes = merges[:, 3].astype(int)
        kept = (sizes >= min(_SMALLEST_CLUSTER, n_rows)) & (height_above[n_rows:] > 0)
        self.starts, self.sizes = starts[n_rows:][kept], sizes[kept]

    def __call__(self, labels: Array) -> Array:
        """Its values (b,) for labels (N, b)."""
        return self._ratios(labels).max(axis=0)

    def clearest(self, labels: Array) -> NDArray[np.intp]:
        """The rows of the cluster with the largest ratio, for labels (N,)."""
        best = int(self._ratios(labels[:, None]).argmax())
        start = self.starts[best]
        return self.order[start : start + self.sizes[best]]

    def _ratios(self, labels: Array) -> Array:
        """Log-likelihood ratios (clusters, b) of the binomial law, Kulldorff's eq. for L(Z)."""
        counts = np.concatenate([np.zeros((1, labels.shape[1])), labels[self.order].cumsum(axis=0)])
        inside = counts[self.starts + self.sizes] - counts[self.starts]
        size, n_rows = self.sizes[:, None], len(labels)
        total = counts[-1]
        return (
            _log_likelihood(inside, size)
            + _log_likelihood(total - inside, n_rows - size)
            - _log_likelihood(total, np.asarray(n_rows))
        )


def _log_likelihood(count: Array, size: NDArray[np.integer]) -> Array:
    """Largest log-likelihood of `count` ones among `size` independent labels."""
    rest, least = size - count, np.maximum(size, 1)
    return xlogy(count, count / least) + xlogy(rest, rest / least)


def _sequential_p_value(reached: NDArray[np.bool_]) -> float:
    """The p-value of Besag & Clifford: drawing stops at the tenth value as extreme as the data."""
    hits = np.flatnonzero(reached)
    if len(hits) >= _ENOUGH:
        return _ENOUGH / (hits[_ENOUGH - 1] + 1)
    return (len(hits) + 1) / (len(reached) + 1)

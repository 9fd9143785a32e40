"""Memorisation and missing modes: are draws copies of training responses, and do they cover all?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest
from sklearn.neighbors import NearestNeighbors

from sklsdm.diagnosis.base import LEVEL, Array, Evidence, entry, p_text
from sklsdm.metrics import expected_neighbour_coverage, neighbour_coverage

_CLOSE = 0.01  # quantile of the reconstructions' distances, below which a draw counts as a copy
_CLEARLY_NEARER = 0.6  # share of draws that are nearer than the reconstruction
_CLEARLY_CLOSE = 0.05  # share of copies
_CLEARLY_UNCOVERED = 0.08  # share of responses, beyond the expected one, without a draw near them


@dataclass(frozen=True, eq=False)
class Memorisation:
    """Distances of draws to the nearest training response, beside those of reconstructions.

    Draws pass through the decoder, and decoded responses lie nearer to the training responses
    than raw ones do, so draws are compared with reconstructions of the held-out responses.

    Attributes
    ----------
    drawn_distances, real_distances : ndarray of shape (n,), float64
        Distance to the nearest kept training response of one draw, and of the reconstructed
        response, for each pair; Euclidean, of standardised responses.
    share_nearer : float
        Share of pairs whose draw is the nearer one (ties count half); 0.5 if nothing is memorised.
    p_value : float
        Of a sign test against a share of at most 0.5.
    share_close : float
        Share of draws nearer than 99 % of the reconstructions; 0.01 if nothing is memorised.
    n_reference : int
        Training responses that were kept, at most 2,000.
    """

    drawn_distances: Array
    real_distances: Array
    share_nearer: float
    p_value: float
    share_close: float
    n_reference: int

    @property
    def found(self) -> bool:
        """Whether draws are clearly nearer to training responses than fresh responses are."""
        nearer = self.share_nearer >= _CLEARLY_NEARER and self.p_value < LEVEL
        return nearer or self.share_close >= _CLEARLY_CLOSE

    def lines(self) -> list[str]:
        drawn, real = np.median(self.drawn_distances), np.median(self.real_distances)
        return [
            entry(
                "distance to nearest training response",
                f"draws {drawn:.3g}, held-out reconstructions {real:.3g} (medians)",
            ),
            entry(
                "draws nearer than reconstructions",
                f"{self.share_nearer:.0%}, expected 50%, {p_text(self.p_value)}",
            ),
            entry("draws that are close to copies", f"{self.share_close:.1%}, expected 1%"),
        ]


def judge_memorisation(evidence: Evidence) -> Memorisation | None:
    """Compare draws with the training responses; None where none were kept."""
    if evidence.reference is None:
        return None
    nearest = NearestNeighbors(n_neighbors=1).fit(evidence.reference)
    drawn, real = (
        nearest.kneighbors(rows)[0][:, 0] for rows in (evidence.draws[:, 0], evidence.rebuilt)
    )
    nearer, ties = int((drawn < real).sum()), int((drawn == real).sum())
    test = binomtest(nearer, max(1, len(drawn) - ties), alternative="greater")
    return Memorisation(
        drawn_distances=drawn,
        real_distances=real,
        share_nearer=(nearer + ties / 2) / len(drawn),
        p_value=float(test.pvalue),
        share_close=float((drawn < np.quantile(real, _CLOSE)).mean()),
        n_reference=len(evidence.reference),
    )


@dataclass(frozen=True, eq=False)
class Modes:
    """Coverage by neighbours: is there a draw in the neighbourhood of every response?

    Attributes
    ----------
    coverage : float
        :func:`sklsdm.metrics.neighbour_coverage` of the reconstructed responses by one draw each.
    expected : float
        Its value if the laws are equal.
    uncovered_rows : ndarray of int
        Rows of the pairs passed in whose response has no draw near it.
    """

    coverage: float
    expected: float
    uncovered_rows: Array

    @property
    def missing(self) -> bool:
        """Whether clearly fewer responses are covered than expected."""
        return self.coverage < self.expected - _CLEARLY_UNCOVERED

    def lines(self) -> list[str]:
        text = f"{self.coverage:.1%}, expected {self.expected:.1%}"
        return [entry("responses with a draw near them", text)]


def judge_modes(evidence: Evidence) -> Modes:
    """Which responses have no draw near them."""
    real, drawn = evidence.rebuilt, evidence.draws[:, 0]
    covered = np.asarray(neighbour_coverage(real, drawn, average=False))
    return Modes(
        coverage=float(covered.mean()),
        expected=expected_neighbour_coverage(len(real), len(drawn)),
        uncovered_rows=evidence.rows[~covered],
    )

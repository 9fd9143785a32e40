"""Does the law of the draws follow x, and where does it do so worst?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from sklsdm.diagnosis.base import LEVEL, Array, Evidence, EvidenceStream, entry, p_text
from sklsdm.diagnosis.waves import WaveClassifier
from sklsdm.metrics import ClassifierTest, conditional_classifier_test, dependence_test

_N_DRAWS = 8  # with which a classifier compares each response
_N_WORST = 5  # conditions that are named
_FEWEST_NEIGHBOURS = 15
_PARTLY = 0.6  # share of the dependence of y on x below which draws follow x only in part


@dataclass(frozen=True, eq=False)
class Following:
    """Three classifier tests of the dependence on x.

    A law that ignores x can have perfect coverage, and an energy score hardly worse than the
    truth. Here a classifier sees x beside the response.

    Attributes
    ----------
    observed : ClassifierTest
        (x, y) against (x, y of other rows): does y depend on x?
    drawn : ClassifierTest
        (x, draw) against (x, draw for another row): do the draws?
    law : ClassifierTest
        (x, y) against (x, draw): is the law of the draws that of y given x?
    worst_rows : ndarray of shape (5,), int
        Rows of X about which draws are told from responses most easily; the worst first.
    worst_aucs : ndarray of shape (5,), float64
        Mean rank of the responses about them, as in `law.auc`.
    worst_X : ndarray of shape (5, ...)
        Those conditions, as numbers.
    """

    observed: ClassifierTest
    drawn: ClassifierTest
    law: ClassifierTest
    worst_rows: Array
    worst_aucs: Array
    worst_X: Array

    @property
    def share(self) -> float | None:
        """Dependence of the draws on x over that of y, 1 at best; None if y shows none."""
        if self.observed.p_value >= LEVEL:
            return None
        return (self.drawn.auc - 0.5) / (self.observed.auc - 0.5)

    @property
    def verdict(self) -> str:
        """ "unseen" (y shows no dependence on x), "ignored", "partly" or "followed"."""
        if self.share is None:
            return "unseen"
        if self.share >= _PARTLY or self.drawn.interval[1] >= self.observed.interval[0]:
            return "followed"
        if self.drawn.p_value >= LEVEL:
            return "ignored"
        return "followed" if self.is_right else "partly"

    @property
    def is_right(self) -> bool:
        """Whether no classifier has told the draws from the responses."""
        return self.law.p_value >= LEVEL

    def lines(self) -> list[str]:
        share = "" if self.share is None else f"{max(0.0, self.share):.0%} of the dependence of y"
        verdicts = {
            "unseen": "unknown: too few pairs to see y depend on x",
            "ignored": f"NO, though y does ({share})",
            "partly": f"only in part ({share})",
            "followed": f"yes ({share})",
        }
        found = [
            entry("do the draws follow x?", verdicts[self.verdict]),
            entry("dependence of y on x (AUC)", _text(self.observed)),
            entry("dependence of draws on x (AUC)", _text(self.drawn)),
            entry("y told from draws at the same x (AUC)", _text(self.law)),
        ]
        if not self.is_right:
            found += [
                entry("worst near" if place == 0 else "", text)
                for place, text in enumerate(self._worst())
            ]
        return found

    def _worst(self) -> list[str]:
        """The worst conditions: their row, and their numbers where they are few."""
        texts = []
        for row, auc, x in zip(self.worst_rows, self.worst_aucs, self.worst_X, strict=True):
            numbers = ", ".join(f"{value:.3g}" for value in np.ravel(x)[:6])
            values = f", x = ({numbers}{', ...' if np.size(x) > 6 else ''})"
            texts.append(f"row {row}{values if np.ndim(x) == 1 else ''}: AUC {auc:.2f}")
        return texts


def _text(test: ClassifierTest) -> str:
    low, high = test.interval
    return f"{test.auc:.3f} [{low:.3f}, {high:.3f}], {p_text(test.p_value)}"


def judge_following(evidence: Evidence) -> Following:
    """Classifier tests of the draws' dependence on x."""
    random = evidence.random(EvidenceStream.FOLLOWING)
    condition, y, draws = evidence.for_classifier()
    draws = draws[:, :_N_DRAWS]
    sees_waves = WaveClassifier(condition.shape[1], evidence.seed)
    settings: Any = {"classifier": sees_waves, "random_state": random}
    law = conditional_classifier_test(condition, y, draws, **settings)
    smooth = smoothed(evidence.condition[law.rows], law.ranks)
    worst = np.argsort(-smooth, kind="stable")[:_N_WORST]
    places = law.rows[worst]
    return Following(
        observed=dependence_test(condition, y, n_shuffles=_N_DRAWS, **settings),
        drawn=dependence_test(condition, draws[:, 0], n_shuffles=_N_DRAWS, **settings),
        law=law,
        worst_rows=evidence.rows[places],
        worst_aucs=smooth[worst],
        worst_X=evidence.X[places],
    )


def smoothed(condition: Array, ranks: Array) -> Array:
    """Mean of the ranks (k,) over the nearest tenth of the conditions (k, p), at each of them."""
    n_neighbors = min(len(ranks), max(_FEWEST_NEIGHBOURS, len(ranks) // 10))
    nearest = NearestNeighbors(n_neighbors=n_neighbors).fit(condition)
    return ranks[nearest.kneighbors(condition)[1]].mean(axis=1)

"""Do the unpaired responses follow the law of the paired ones?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sklsdm.diagnosis.base import LEVEL, Array, condense, entry, p_text
from sklsdm.metrics import ClassifierTest, classifier_test


@dataclass(frozen=True, eq=False)
class UnpairedShift:
    """A classifier two-sample test in the latent space, paired against unpaired responses.

    Attributes
    ----------
    test : ClassifierTest
        Codes of the pairs passed in against codes of the unpaired responses.
    """

    test: ClassifierTest

    @property
    def found(self) -> bool:
        """Whether the laws differ."""
        return self.test.p_value < LEVEL

    def lines(self) -> list[str]:
        low, high = self.test.interval
        text = f"{self.test.auc:.3f} [{low:.3f}, {high:.3f}], {p_text(self.test.p_value)}"
        return [entry("paired told from unpaired (AUC)", text)]


def judge_shift(paired: Array, unpaired: Array, random: np.random.Generator) -> UnpairedShift:
    """Compare standardised codes (n, k) of paired and (m, k) of unpaired responses."""
    first, second = condense(paired, unpaired)
    return UnpairedShift(classifier_test(first, second, random_state=random))

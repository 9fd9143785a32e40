"""Sines and cosines of the conditions at several frequencies, for laws that turn quickly with x."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm.encoders.base import BaseConditionEncoder, Rows
from sklsdm.parameters import above, parameter, sequence_of

_FEW_VALUES = 2


class PeriodicConditionEncoder(BaseConditionEncoder):
    r"""Put :math:`\sin(f x_j)` and :math:`\cos(f x_j)` beside each column x_j of the conditions.

    A network follows slow changes with x first and may never follow quick ones; columns that
    already change quickly take that burden from it. Columns with at most two values, such as
    one-hot ones, stay as they are.

    When to use: laws that turn or wave several times over the range of x. Cost: 2 columns more
    for each frequency and column of X.

    References
    ----------
    Gorishniy, Rubachev & Babenko 2022, "On embeddings for numerical features in tabular deep
    learning" (arXiv 2203.05556), equation 4, with fixed frequencies; Tancik et al. 2020
    (arXiv 2006.10739).
    """

    frequencies: Sequence[float] = parameter(
        default=(1.0, 2.0, 4.0, 8.0),
        rule=sequence_of(above(0.0)),
        doc="Frequencies f above, in radians for one standard deviation of the column.",
        kw_only=False,
    )

    def fit_transform(self, condition: Rows, codes: NDArray[Any], seed: int) -> Rows:
        n_values = [len(np.unique(column)) for column in condition.T]
        self.columns_ = np.flatnonzero(np.array(n_values) > _FEW_VALUES)
        return self.transform(condition)

    def transform(self, condition: Rows) -> Rows:
        angles = [np.float32(f) * condition[:, self.columns_] for f in self.frequencies]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        return np.concatenate([condition, *waves], axis=1)

"""Sines and cosines of the conditions at several frequencies, for laws that turn quickly with x."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import spread_rows
from sklsdm.encoders.base import BaseConditionEncoder, Groups, Rows
from sklsdm.functional.spectrum import dependence_spectrum
from sklsdm.parameters import above, integer, learnt, or_auto, parameter, some
from sklsdm.randomness import RowStream, row_stream

_FEW_VALUES = 2  # columns with no more different values have no waves
_MAX_ROWS = 5000  # pairs in which frequencies are sought
_SLOWEST, _FASTEST, _STEP = 3.0, 60.0, 0.25  # grid, in radians for one standard deviation
_SCALES = (0.3, 0.6, 1.2, 2.4)  # of features of the codes, in their standard deviations
_FEATURES_PER_SCALE = 50
_ABOVE_CHANCE = 3.0  # a wave counts from so many times the highest power of shuffled conditions
_ABOVE_SLOWER = 1.5  # and of the highest power at slower frequencies, down to half its own


class PeriodicConditionEncoder(BaseConditionEncoder):
    r"""Put :math:`\sin(f x_j)` and :math:`\cos(f x_j)` beside each column x_j of the conditions.

    A network learns slow changes with x first and may never learn quick ones. Columns that
    already change quickly take that burden from it. Columns with at most two values, such as
    one-hot ones, stay as they are.

    With `frequencies="auto"` each column gets the frequencies at which the codes of the pairs
    follow its waves, found by a spectrum of random features of the codes
    (`sklsdm.functional.spectrum`). Only waves count that a network would not learn by itself: at
    least 3 radians for one standard deviation, at most a quarter of a period between two values
    of a column. Where there are none the conditions stay as they are.

    When to use: laws that turn or wave several times over the range of x. Not for tables with
    repeated or grouped values: there "auto" takes groups for waves. Cost: two columns more
    for each frequency, and some tenths of a second for "auto".

    References
    ----------
    Gorishniy, Rubachev & Babenko 2022, "On embeddings for numerical features in tabular deep
    learning" (arXiv 2203.05556), equation 4, with fixed frequencies; Tancik et al. 2020
    (arXiv 2006.10739); Rahimi & Recht 2007 for the random features.
    """

    frequencies: Sequence[float] | str = parameter(
        default="auto",
        rule=or_auto(some(above(0.0))),
        doc="""Frequencies f of every column, in radians for one standard deviation; or "auto", see
        above.""",
        kw_only=False,
    )
    n_frequencies: int = parameter(
        default=3, rule=integer(1), doc='Most frequencies of one column with "auto".'
    )

    waves_: list[tuple[int, float]] = learnt(
        "Columns and the frequencies at which the codes follow their waves, in radians."
    )

    def fit_transform(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        self.waves_ = []
        some = spread_rows(len(codes), _MAX_ROWS)
        features = None if self.frequencies != "auto" else _code_features(codes[some], seed)
        for place, column in enumerate(condition.T):
            values = np.unique(column)
            if len(values) <= _FEW_VALUES:
                continue
            found: Sequence[float] = []
            if features is None:
                found = [float(frequency) for frequency in self.frequencies]
            else:
                fastest = min(_FASTEST, math.pi / (2 * float(np.median(np.diff(values)))))
                rows = torch.from_numpy(column[some].astype(np.float32))
                found = _find_waves(rows, features, fastest, self.n_frequencies, seed)
            self.waves_ += [(place, frequency) for frequency in found]
        return self.transform(condition)

    def transform(self, condition: Rows) -> Rows:
        angles = [np.float32(frequency) * condition[:, place] for place, frequency in self.waves_]
        waves = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        return np.column_stack([condition, *waves]).astype(np.float32, copy=False)


def _code_features(codes: NDArray[Any], seed: int) -> Tensor:
    """Centred random Fourier features (n, D) of the codes (n, k), at several scales."""
    random = row_stream(seed, RowStream.WAVES)
    scales = np.repeat(_SCALES, _FEATURES_PER_SCALE)
    directions = random.normal(size=(codes.shape[1], len(scales))) / scales
    shift = random.uniform(0, 2 * np.pi, len(scales))
    features = np.cos(codes @ directions + shift)
    return torch.from_numpy((features - features.mean(axis=0)).astype(np.float32))


def _find_waves(
    column: Tensor, features: Tensor, fastest: float, n_most: int, seed: int
) -> list[float]:
    """The frequencies, the strongest first, at which the features follow waves of the column."""
    if fastest <= _SLOWEST:
        return []
    grid = torch.arange(_SLOWEST / 2, fastest, _STEP, dtype=torch.float32)
    power = dependence_spectrum(column, features, grid)
    order = torch.from_numpy(row_stream(seed, RowStream.WAVES).permutation(len(column)))
    chance = dependence_spectrum(column[order], features, grid).max()
    found = []
    for place in range(1, len(grid) - 1):
        here, frequency = power[place], float(grid[place])
        if frequency < _SLOWEST or here < power[place - 1] or here <= power[place + 1]:
            continue
        # Jumps and trends have power at all frequencies, and more at slower ones.
        slower = power[(grid >= frequency / 2) & (grid < frequency - 6 * _STEP)]
        beats_slower = len(slower) == 0 or here > _ABOVE_SLOWER * slower.max()
        if beats_slower and here > _ABOVE_CHANCE * chance:
            left, right = float(power[place - 1]), float(power[place + 1])
            bend = left - 2 * float(here) + right  # of the parabola through the three values
            shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
            found.append((float(here), frequency + shift * _STEP))
    return [frequency for _, frequency in sorted(found, reverse=True)[:n_most]]

"""Columns with mean 0 and standard deviation 1, learnt in one pass over blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.inputs.moved import moved_once

_ROUNDING = 16 * np.finfo(np.float64).eps  # of equal numbers that were computed in several ways
_MOST_UNLIKE = 3.0  # times a channel's standard deviation, up to which all pixels share one
_FAR_FROM_ZERO = 1e8  # times its spread: a column's mean, whose squares would lose all digits


@dataclass(frozen=True, eq=False)  # as `moved_once` needs it
class Standardiser:
    """The map (value - mean) / scale of flat rows; `scale` is a standard deviation, or 0.

    A scale of 0 marks a constant column: its values are centred and not divided. Both arrays
    broadcast over rows.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which columns are constant."""
        return self.scale == 0

    def forward(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Standardised values in float32; what exceeds its range becomes infinite."""
        scale = np.where(self.constant, 1.0, self.scale)
        with np.errstate(over="ignore"):
            found = values - self.mean
            found /= scale
            return found.astype(np.float32)

    def tensors(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale on the device and in the dtype of `like`, moved there once."""
        mean, scale = moved_once(self, (self.mean, self.scale), like)
        return mean, scale


def fit_standardiser(blocks: Iterator[NDArray[Any]], *, n_channels: int = 0) -> Standardiser:
    """Means and standard deviations of the columns, in one pass over blocks of rows.

    Of images, which have `n_channels`, all pixels get one mean and one standard deviation. Where
    channels are of unlike scales, such as a temperature and a pressure, each gets its own.
    """
    return column_moments(blocks).standardiser(n_channels)


@dataclass(frozen=True)
class ColumnMoments:
    """Means, variances, smallest and largest values of columns, each of shape (q,)."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def are_constant(self) -> NDArray[np.bool_]:
        """Which columns are constant up to rounding."""
        return are_constant(self.low, self.high)

    def standardiser(self, n_channels: int = 0) -> Standardiser:
        """The standardiser of these columns, or of images (:func:`fit_standardiser`)."""
        if n_channels == 0:
            # Draws repeat the constant of a column that is constant up to rounding.
            return Standardiser(self.mean, np.where(self.are_constant, 0.0, self._spread()))
        channels = self._pooled(n_channels)
        shared = channels._pooled(1)
        if np.sqrt(shared.variance) <= _MOST_UNLIKE * np.sqrt(channels.variance.min()):
            return shared.standardiser()
        found = channels.standardiser()
        n_pixels = len(self.mean) // n_channels
        return Standardiser(found.mean.repeat(n_pixels), found.scale.repeat(n_pixels))

    def _spread(self) -> NDArray[np.float64]:
        """Standard deviations; of columns whose squares are too small, half the range instead."""
        squares_are_exact = self.variance >= np.finfo(np.float64).tiny
        return np.where(squares_are_exact, np.sqrt(self.variance), (self.high - self.low) / 2)

    def _pooled(self, n_parts: int) -> ColumnMoments:
        """The moments of so many equal parts of the columns, each taken together."""
        mean, variance, low, high = (
            each.reshape(n_parts, -1) for each in (self.mean, self.variance, self.low, self.high)
        )
        middle = mean.mean(axis=1)
        between = np.square(mean - middle[:, None]).mean(axis=1)
        spread = variance.mean(axis=1) + between
        return ColumnMoments(middle, spread, low.min(axis=1), high.max(axis=1))


def column_moments(blocks: Iterator[NDArray[Any]]) -> ColumnMoments:
    """The moments of the columns, in one pass over blocks of rows."""
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    low, high, offset = np.full(1, np.inf), np.full(1, -np.inf), np.zeros(1)
    for raw in blocks:
        block = raw.astype(np.float64)
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        if count == 0:  # a column such as 1.7e12 ± 1 is moved near 0 first
            offset = np.where(np.abs(block[0]) > _FAR_FROM_ZERO * (high - low), block[0], 0.0)
        block = block - offset
        block_mean = block.mean(axis=0)
        block_squares = np.square(block - block_mean).sum(axis=0)
        total = count + len(block)
        delta = block_mean - mean
        squares = squares + block_squares + np.square(delta) * count * len(block) / total
        mean = mean + delta * len(block) / total
        count = total
    return ColumnMoments(mean + offset, squares / count, low, high)


def are_constant(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether columns between these smallest and largest values are constant up to rounding."""
    return high - low <= _ROUNDING * np.maximum(np.abs(low), np.abs(high))

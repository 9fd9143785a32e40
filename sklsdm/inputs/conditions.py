"""How conditions enter the networks: their shape and standardisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import check_float32, shape_text, warn_user
from sklsdm.blocks import row_blocks
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.inputs.response_format import check_bytes, count_channels, flat_rows, holds_bytes
from sklsdm.inputs.standardising import Standardiser, are_constant, fit_standardiser

_FAR = 6.0  # standard deviations between a column's median and its mean in training


@dataclass(frozen=True)
class ConditionFormat:
    """Shape and standardisation of the conditions seen in `fit`."""

    shape: tuple[int, ...]  # of one condition: (p,) or (c, h, w)
    standardiser: Standardiser
    are_bytes: bool = False  # whether they were images as bytes

    def rows(self, X: NDArray[Any], name: str = "X") -> NDArray[np.float32]:
        """Conditions as standardised flat rows (n, p); raises if float32 cannot hold them."""
        rows = np.empty((len(X), math.prod(self.shape)), dtype=np.float32)
        for block in row_blocks(X):
            rows[block] = self.standardiser.forward(flat_rows(X[block]))
        check_float32(name, rows)
        return rows

    def check(self, name: str, X: NDArray[Any]) -> None:
        """Raise if the conditions have another shape or, as images, scale than in `fit`."""
        if X.shape[1:] != self.shape:
            wanted = shape_text("n", self.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {X.shape}.")
        check_bytes(name, X, self.are_bytes)


def learn_format(
    X: NDArray[Any], scale: bool, names: Sequence[Any] | None = None
) -> ConditionFormat:
    """The format of the conditions X; `names` of its first columns are for messages.

    With `scale`, every column is standardised by itself, and images by one mean and one standard
    deviation (:func:`fit_standardiser`). NaN are left out of both.
    """
    standardiser = Standardiser(np.zeros(1), np.ones(1))
    missing = np.isnan(X) if X.ndim == 2 and X.dtype.kind == "f" else np.zeros((1, 1), dtype=bool)
    if missing.all(axis=0).any():
        empty = np.flatnonzero(missing.all(axis=0))[:10].tolist()
        if names is not None:
            empty = [names[place] for place in empty]
        raise ValueError(f"X holds nothing but NaN in columns {empty}; drop them.")
    if scale and missing.any():
        rows = flat_rows(X)
        mean = np.nanmean(rows, axis=0)
        std = np.nanstd(rows, axis=0)
        constant = are_constant(np.nanmin(rows, axis=0), np.nanmax(rows, axis=0))
        standardiser = Standardiser(mean, np.where(constant, 0.0, std))
    elif scale:
        blocks = (flat_rows(X[rows]) for rows in row_blocks(X))
        standardiser = fit_standardiser(blocks, n_channels=count_channels(X))
    return ConditionFormat(X.shape[1:], standardiser, holds_bytes(X))


def warn_of_numbered_classes(X: NDArray[Any]) -> None:
    """Warn if conditions that are labels are one column of three whole numbers or more."""
    if X.ndim != 2 or X.shape[1] != 1:
        return
    values = np.unique(X)
    if len(values) > 2 and np.array_equal(values, np.rint(values)):
        warn_user(
            f"X is one column of {len(values)} whole numbers, {values[0]:g} to {values[-1]:g}. If "
            f"they are classes of the images, pass an indicator column for each (see "
            f"sklearn.preprocessing.OneHotEncoder): as numbers, neighbouring classes are taken to "
            f"be alike."
        )


def warn_if_far(name: str, rows: NDArray[np.float32]) -> None:
    """Warn if standardised conditions (n, p) seem to lack a transformation that X went through."""
    if np.abs(np.nanmedian(rows, axis=0)).max() > _FAR:
        warn_user(
            f"{name} lies far outside X: the median of a column is more than {_FAR:g} standard "
            f"deviations from that column's mean in X. Was {name} transformed like X? A plain "
            f"Pipeline does not transform it: use SamplingPipeline, or metadata routing with "
            f"transform_input=['X_val'].",
            DistributionShiftWarning,
        )

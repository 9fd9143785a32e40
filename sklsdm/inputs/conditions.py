"""How conditions enter the networks: their shape and standardisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import check_float32, shape_text, warn_user
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.inputs.responses import flat_rows
from sklsdm.inputs.standardising import Standardiser, are_constant, fit_standardiser

_FAR = 6.0  # standard deviations between a column's median and its mean in training


@dataclass(frozen=True)
class ConditionFormat:
    """Shape and standardisation of the conditions seen in `fit`."""

    shape: tuple[int, ...]  # of one condition: (p,) or (c, h, w)
    standardiser: Standardiser

    def rows(self, X: NDArray[Any], name: str = "X") -> NDArray[np.float32]:
        """Conditions as standardised flat rows (n, p); raises if float32 cannot hold them."""
        rows = self.standardiser.forward(flat_rows(X))
        check_float32(name, rows)
        return rows

    def check(self, name: str, X: NDArray[Any]) -> None:
        """Raise if the conditions have another shape than in `fit`."""
        if X.shape[1:] != self.shape:
            wanted = shape_text("n", self.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {X.shape}.")


def learn_format(
    X: NDArray[Any], scale: bool, names: Sequence[Any] | None = None
) -> ConditionFormat:
    """The format of the conditions X; `names` of its first columns are for messages.

    With `scale`, every column is standardised by itself, and images by one mean and one standard
    deviation. NaN are left out of both.
    """
    standardiser = Standardiser(np.zeros(1), np.ones(1))
    rows = flat_rows(X)
    missing = np.isnan(rows)
    if missing.all(axis=0).any():
        empty = np.flatnonzero(missing.all(axis=0))[:10].tolist()
        if names is not None:
            empty = [names[place] for place in empty]
        raise ValueError(f"X holds nothing but NaN in columns {empty}; drop them.")
    if scale and missing.any():
        mean = np.nanmean(rows, axis=0)
        std = np.nanstd(rows, axis=0)
        constant = are_constant(np.nanmin(rows, axis=0), np.nanmax(rows, axis=0))
        standardiser = Standardiser(mean, np.where(constant, 0.0, std))
    elif scale:
        standardiser = fit_standardiser(iter([rows]), shared=X.ndim == 4)
    return ConditionFormat(X.shape[1:], standardiser)


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

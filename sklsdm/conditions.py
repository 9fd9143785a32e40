"""How conditions enter: their format and their units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import shape_text, warn_user
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.responses import Standardiser, fit_standardiser, flat_rows

_FAR = 6.0  # standard deviations


@dataclass(frozen=True)
class ConditionFormat:
    """How conditions came in `fit` and how they are standardised."""

    shape: tuple[int, ...]  # of one condition: (p,) or (c, h, w)
    standardiser: Standardiser

    def rows(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Conditions as standardised flat rows (n, p)."""
        return self.standardiser.forward(flat_rows(X))

    def check(self, name: str, X: NDArray[Any]) -> None:
        """Raise where conditions have another shape than in `fit`."""
        if X.shape[1:] != self.shape:
            wanted = shape_text("n", self.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {X.shape}.")


def learn_format(X: NDArray[Any], scale: bool) -> ConditionFormat:
    """The format of the conditions X, which are standardised where `scale`."""
    standardiser = Standardiser(np.zeros(1), np.ones(1))
    if scale:
        standardiser = fit_standardiser(iter([flat_rows(X)]), shared=X.ndim == 4)
    return ConditionFormat(X.shape[1:], standardiser)


def warn_if_far(name: str, rows: NDArray[np.float32]) -> None:
    """Warn where standardised conditions (n, p) look as if they were never transformed."""
    if np.abs(np.median(rows, axis=0)).max() > _FAR:
        warn_user(
            f"{name} lies far outside X: the median of a column is more than {_FAR:g} standard "
            f"deviations off. Was it transformed as X was? A plain Pipeline does not "
            f"(transform_input=['X_val'] with metadata routing, or SamplingPipeline, does).",
            DistributionShiftWarning,
        )

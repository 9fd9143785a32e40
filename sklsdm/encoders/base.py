"""What every condition encoder does: it makes the rows that the networks of stage 2 see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sklsdm.parameters import Declared
from sklsdm.reading import NUMBER_KINDS

Rows = NDArray[np.float32]
Groups = NDArray[np.intp] | None


class BaseConditionEncoder(Declared, ABC):
    """How conditions enter the networks of stage 2.

    Conditions come as standardised flat rows (n, p). An encoder is fitted on those of the pairs
    and on the codes (n, k) of their responses, so that it can learn what the codes depend on.
    """

    takes_nan: ClassVar[bool] = False  # whether conditions may hold NaN
    takes_categories: ClassVar[bool] = False  # and whether X may have columns of categories

    def resolve(self, shape: tuple[int, ...]) -> BaseConditionEncoder:
        """The encoder to use for conditions of this shape: this one, unless it picks another."""
        return self

    def check_shape(self, X: NDArray[Any]) -> None:
        """Raise where conditions like X cannot be read."""

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """(c, h, w) where the networks read conditions of this shape by convolutions, or None."""
        return None

    def candidates(
        self, condition: Rows, codes: NDArray[Any], seed: int, are_images: bool = False
    ) -> dict[str, BaseConditionEncoder]:
        """The encoders to compare on these pairs, by name; this one alone, unless it chooses.

        `are_images` says whether the codes are images.
        """
        return {type(self).__name__: self}

    def for_trials(self) -> BaseConditionEncoder:
        """The encoder for short fits that are only compared: this one, unless it has a quicker."""
        return self

    @abstractmethod
    def fit_transform(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        """Learn from the pairs; returns the rows (n, p') from which stage 2 learns.

        Pairs of one of the `groups` (n,) are not to tell of each other.
        """

    @abstractmethod
    def transform(self, condition: Rows) -> Rows:
        """The rows (n, p') of new conditions."""

    def fit_encode(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        """What :meth:`fit_transform` gives, checked."""
        found = self.fit_transform(condition, codes, seed, groups)
        return self._checked(found, "fit_transform", len(condition))

    def encode(self, condition: Rows) -> Rows:
        """What :meth:`transform` gives, checked."""
        return self._checked(self.transform(condition), "transform", len(condition))

    def _checked(self, found: Any, method: str, n_rows: int) -> Rows:
        """Finite float32 rows; raises for what an encoder of a user's must not give."""
        given = found if isinstance(found, np.ndarray) else np.empty(0)
        if given.ndim != 2 or len(given) != n_rows or given.dtype.kind not in NUMBER_KINDS:
            is_array = isinstance(found, np.ndarray)
            got = f"{found.dtype} of shape {found.shape}" if is_array else type(found).__name__
            raise ValueError(
                f"condition_encoder={type(self).__name__}: {method} must give an array of numbers "
                f"of shape (n, k), one row for each of {n_rows} conditions, but gave {got}."
            )
        rows = np.require(given, np.float32, ["C", "W"])
        if not np.isfinite(rows).all():
            raise ValueError(
                f"condition_encoder={type(self).__name__}: {method} gave values that are not "
                f"finite in row {int(np.argmin(np.isfinite(rows).all(axis=1)))}."
            )
        return rows

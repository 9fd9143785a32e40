"""What every condition encoder does: it makes the rows that the networks of stage 2 see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sklsdm.parameters import Declared

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

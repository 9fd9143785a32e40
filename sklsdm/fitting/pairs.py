"""Pairs of conditions and responses: those to learn from, and those held out to judge by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.autoencoders import MAX_HELD_OUT
from sklsdm.functional.categorical import are_labels
from sklsdm.matchers.base import MAX_SCORED
from sklsdm.randomness import RowStream, row_stream


@dataclass(frozen=True)
class Pairs:
    """Standardised conditions (n, p), their raw responses and, if any, the groups (n,) of these."""

    condition: NDArray[np.float32]
    y: NDArray[Any]
    groups: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        return len(self.y)

    @cached_property
    def are_labels(self) -> bool:
        """Whether the conditions are labels, or there are none."""
        return are_labels(torch.from_numpy(self.condition))

    def take(self, rows: NDArray[np.intp]) -> Pairs:
        """Some of the pairs."""
        groups = None if self.groups is None else self.groups[rows]
        return Pairs(self.condition[rows], self.y[rows], groups)

    def to_judge(self, seed: int) -> Pairs:
        """At most 2,000 of the pairs, in random order: the first are looked at after each epoch."""
        if len(self) <= MAX_SCORED:
            return self
        order = row_stream(seed, RowStream.JUDGED_PAIRS).permutation(len(self))
        return self.take(order[:MAX_HELD_OUT])


@dataclass(frozen=True)
class Fold:
    """Pairs to learn from, by their number, and pairs to judge by."""

    kept: NDArray[np.intp]
    held: Pairs

"""condition_encoder="auto": convolutions for images; for tables the encoders to compare."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

from sklsdm.encoders.base import BaseConditionEncoder, Rows
from sklsdm.encoders.lasso import LassoConditionEncoder
from sklsdm.encoders.periodic import PeriodicConditionEncoder
from sklsdm.encoders.plain import ConvConditionEncoder, FlattenConditionEncoder
from sklsdm.encoders.trees import TreesConditionEncoder, columns_are_passed
from sklsdm.functional.categorical import are_labels

_FEWEST_TO_CHOOSE = 20  # pairs; fewer cannot tell encoders apart
_FEWEST_FOR_TREES = 30  # pairs; of fewer a forest can hardly be told from none by comparison
_FEWEST_FOR_LASSO = 100  # pairs; of 60 it kept columns by chance (docs/lessons.md)
_FEWEST_TO_SELECT = 20  # columns; of fewer the networks find out by themselves which matter
_MANY_PAIRS = 5  # for each column: of more the networks find out, too


class AutoConditionEncoder(FlattenConditionEncoder):
    """Convolutions for images; for rows of numbers, what predicts held-out pairs best.

    Compared are the conditions as they are, trees (from 30 pairs on), the columns that the lasso
    selects (from 100 pairs on, of 20 columns or more, and one for five pairs), and periodic columns
    if the codes follow waves of a column. Labels (each distinct x occurs four times or more, on
    average) enter as their columns, and so do conditions of fewer than 20 pairs, and all where
    codes are images: trees would predict each of their numbers, which conditions leave open.
    """

    def resolve(self, shape: tuple[int, ...]) -> BaseConditionEncoder:
        return ConvConditionEncoder() if len(shape) == 3 else self

    def candidates(
        self, condition: Rows, codes: NDArray[Any], seed: int, are_images: bool = False
    ) -> dict[str, BaseConditionEncoder]:
        found: dict[str, BaseConditionEncoder] = {"flatten": FlattenConditionEncoder()}
        are_few = len(condition) < _FEWEST_TO_CHOOSE
        if are_few or are_images or are_labels(torch.from_numpy(condition)):
            return found
        n_pairs, n_columns = condition.shape
        if n_pairs >= _FEWEST_FOR_TREES:
            # Short fits, of fewer pairs, see the columns where the final one does.
            passes = columns_are_passed(n_pairs, n_columns, codes.shape[1])
            found["trees"] = TreesConditionEncoder(passthrough=passes)
        are_many = n_columns >= max(_FEWEST_TO_SELECT, n_pairs / _MANY_PAIRS)
        if are_many and n_pairs >= _FEWEST_FOR_LASSO:
            found["lasso"] = LassoConditionEncoder()
        periodic = PeriodicConditionEncoder()
        periodic.fit_transform(condition, codes, seed)
        if periodic.waves_:
            found["periodic"] = periodic
        return found

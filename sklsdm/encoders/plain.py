"""Condition encoders that learn nothing: rows as they are, or images by convolutions."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from sklsdm.encoders.base import BaseConditionEncoder, Groups, Rows


class FlattenConditionEncoder(BaseConditionEncoder):
    """Conditions enter as they are, images as flat rows of pixels."""

    def fit_transform(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        return condition

    def transform(self, condition: Rows) -> Rows:
        return condition


class ConvConditionEncoder(FlattenConditionEncoder):
    """Images enter through convolutions, which are trained with the networks of stage 2."""

    def check_shape(self, X: NDArray[Any]) -> None:
        if X.ndim != 4:
            raise ValueError(
                f"condition_encoder='conv' needs images X of shape (n, c, h, w), got {X.shape}."
            )

    def image_shape(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        return shape

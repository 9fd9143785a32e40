"""A check of a fitted OneHotEncoder, which hands column numbers to compiled code unchecked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder


def check_one_hot(encoder: OneHotEncoder) -> None:
    """Raise ValueError unless every level leads to a column that the encoder has."""
    if not hasattr(encoder, "categories_"):
        return
    if encoder.drop is not None or encoder._drop_idx_after_grouping is not None:
        raise ValueError("a OneHotEncoder with drop cannot be saved; use drop=None")
    nothing = [None] * len(encoder.categories_)
    rare, mappings = nothing, nothing
    if encoder._infrequent_enabled:
        rare, mappings = encoder._infrequent_indices, encoder._default_to_infrequent_mappings
    for levels, n_columns, rare_levels, mapping in zip(
        encoder.categories_, encoder._n_features_outs, rare, mappings, strict=True
    ):
        fits = _are_distinct(levels)
        if rare_levels is None and mapping is None:
            fits &= n_columns == len(levels)
        else:  # rare levels share a column
            fits &= _are_places(rare_levels, len(levels)) and _are_places(mapping, n_columns)
            fits &= len(mapping) == len(levels)
        if not fits:
            raise ValueError("the levels of a OneHotEncoder do not fit its columns")


def _are_distinct(levels: NDArray[Any]) -> bool:
    """Whether levels are as `fit` leaves them: one axis, and numbers or texts in order."""
    if levels.dtype == object:
        return levels.ndim == 1
    return levels.shape == np.unique(levels).shape and np.array_equal(
        levels, np.unique(levels), equal_nan=levels.dtype.kind == "f"
    )


def _are_places(values: Any, most: int) -> bool:
    """Whether `values` is a list of numbers 0, ..., most - 1, at least one."""
    is_list = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind == "i"
    return is_list and len(values) > 0 and 0 <= values.min() <= values.max() < most

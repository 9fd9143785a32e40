"""A check of a fitted OneHotEncoder, whose columns reach compiled code unchecked."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import OneHotEncoder


def check_one_hot(encoder: OneHotEncoder) -> None:
    """Raise ValueError unless every level leads to a column that the encoder has."""
    if not hasattr(encoder, "categories_"):
        return
    if encoder.drop is not None or encoder.drop_idx_ is not None:
        raise ValueError("OneHotEncoder with drop cannot be saved; use drop=None")
    columns = zip(
        encoder.categories_,
        encoder._n_features_outs,
        encoder._default_to_infrequent_mappings or [None] * len(encoder.categories_),
        strict=True,
    )
    for levels, n_columns, mapping in columns:
        place = np.arange(len(levels)) if mapping is None else np.asarray(mapping)
        fits = place.shape == (len(levels),) and place.dtype.kind == "i"
        if not fits or ((place < 0) | (place >= n_columns)).any():
            raise ValueError("the levels of a OneHotEncoder do not fit its columns")

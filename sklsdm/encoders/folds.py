"""What predictions out of fold need: folds of the pairs, and codes of few dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.model_selection import GroupKFold, KFold

from sklsdm.encoders.base import Groups

MOST_COMPONENTS = 8  # of the codes, each of which has a model of its own

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def are_several(groups: Groups) -> bool:
    """Whether pairs come in groups; of a single one, there is no other to learn from."""
    return groups is not None and len(np.unique(groups)) > 1


def folds(n_pairs: int, n_folds: int, seed: int, groups: Groups) -> list[Split]:
    """The pairs that are kept and those that are held out, for each fold; groups stay whole."""
    n_folds = min(n_folds, n_pairs)
    if groups is None or not are_several(groups):
        return list(KFold(n_folds, shuffle=True, random_state=seed).split(np.empty(n_pairs)))
    n_folds = min(n_folds, len(np.unique(groups)))
    return list(GroupKFold(n_folds).split(np.empty(n_pairs), groups=groups))


def principal(
    codes: NDArray[np.float64],
    n_components: int,
    seed: int,
    of: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """The first principal components of codes with more dimensions than that.

    Along the same axes, those `of` other rows where they are given.
    """
    rows = codes if of is None else of
    if codes.shape[1] <= n_components:
        return rows
    axes = PCA(min(n_components, len(codes) - 1), random_state=seed).fit(codes)
    found: NDArray[np.float64] = axes.transform(rows)
    return found

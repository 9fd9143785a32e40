"""Boosted trees as plain arrays, and back, after a check that they are trees."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

_NO_CATEGORIES = np.empty((0, 8), dtype=np.uint32)  # the layout of sets of categories, of which
# there are none: categories come as columns of 0 and 1


def pack_booster(booster: HistGradientBoostingRegressor) -> dict[str, Any]:
    """Settings, and the nodes of all trees one after another, each field of a node as one array."""
    trees = [tree.nodes for (tree,) in booster._predictors]
    nodes = np.concatenate([*trees, np.empty(0, dtype=PREDICTOR_RECORD_DTYPE)])
    return {
        "settings": booster.get_params(),
        "n_features": booster.n_features_in_,
        "baseline": float(booster._baseline_prediction.item()),
        "counts": np.array([len(tree) for tree in trees], dtype=np.int64),
        "nodes": {name: nodes[name].copy() for name in nodes.dtype.names or ()},
    }


def unpack_booster(packed: dict[str, Any]) -> HistGradientBoostingRegressor:
    """The booster, ready to predict.

    Raises ValueError where compiled code would read outside an array, or follow nodes in a circle.
    """
    n_features, counts, fields = packed["n_features"], packed["counts"], packed["nodes"]
    fits = counts.ndim == 1 and (counts >= 1).all() and counts.sum() == len(fields["left"])
    if not fits or type(n_features) is not int or n_features < 1:
        raise ValueError("the boosted trees do not fit their nodes")
    nodes = _nodes(fields, len(fields["left"]))
    _check_nodes(nodes, counts, n_features)
    # A small booster brings whatever else this scikit-learn keeps; then it gets the trees. It is
    # fitted to one feature, since a file may claim millions: others differ in categories only.
    booster = copy.deepcopy(_small_booster())
    booster.n_features_in_ = booster._n_features = n_features
    if not set(packed["settings"]) <= set(booster.get_params()):
        raise ValueError("the boosted trees have settings that this scikit-learn does not know")
    booster.set_params(**packed["settings"])
    booster._baseline_prediction = np.full((1, 1), float(packed["baseline"]))
    starts = np.cumsum(counts) - counts
    booster._predictors = [
        [TreePredictor(nodes[start : start + count].copy(), _NO_CATEGORIES, _NO_CATEGORIES)]
        for start, count in zip(starts, counts, strict=True)
    ]
    return booster


@lru_cache(maxsize=1)
def _small_booster() -> HistGradientBoostingRegressor:
    """A booster that is fitted to one feature."""
    booster = HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=1, early_stopping=False)
    return booster.fit(np.zeros((2, 1)), np.zeros(2))


def _nodes(fields: dict[str, NDArray[Any]], n_nodes: int) -> NDArray[Any]:
    """The nodes in the layout of this scikit-learn; fields that the file lacks are 0."""
    nodes = np.zeros(n_nodes, dtype=PREDICTOR_RECORD_DTYPE)
    for name in nodes.dtype.names or ():
        if name in fields:
            if fields[name].shape != nodes.shape:
                raise ValueError("the boosted trees do not fit their nodes")
            nodes[name] = fields[name]
    return nodes


def _check_nodes(nodes: NDArray[Any], counts: NDArray[np.int64], n_features: int) -> None:
    """Raise unless every child comes after its parent, inside its tree, and features exist."""
    place = np.arange(len(nodes)) - np.repeat(np.cumsum(counts) - counts, counts)
    last = np.repeat(counts, counts) - 1
    feature = nodes["feature_idx"]
    sound = (feature >= 0) & (feature < n_features) & (nodes["is_categorical"] == 0)
    for side in ("left", "right"):
        child = nodes[side].astype(np.int64)
        sound &= (child > place) & (child <= last)
    sound |= nodes["is_leaf"] != 0
    if not sound.all():
        raise ValueError(
            f"{int((~sound).sum())} nodes of the boosted trees lead to no later node or to no "
            f"feature"
        )

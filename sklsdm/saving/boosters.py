"""Boosted trees as plain arrays, and back, after a check that they are trees."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor

from sklsdm.saving.trees import check_nodes, pack_nodes, unpack_nodes

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
        "nodes": pack_nodes(nodes),
    }


def unpack_booster(packed: dict[str, Any]) -> HistGradientBoostingRegressor:
    """The booster, ready to predict.

    Raises ValueError where compiled code would read outside an array, or follow nodes in a circle.
    """
    n_features, counts, fields = packed["n_features"], packed["counts"], packed["nodes"]
    fits = counts.ndim == 1 and (counts >= 1).all() and counts.sum() == len(fields["left"])
    if not fits or type(n_features) is not int or n_features < 1:
        raise ValueError("the boosted trees do not fit their nodes")
    nodes = unpack_nodes(fields, len(fields["left"]), PREDICTOR_RECORD_DTYPE, "boosted trees")
    feature = nodes["feature_idx"]
    is_sound = (feature >= 0) & (feature < n_features) & (nodes["is_categorical"] == 0)
    children = nodes["left"], nodes["right"]
    check_nodes(counts, children, nodes["is_leaf"] != 0, is_sound, "boosted trees")
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

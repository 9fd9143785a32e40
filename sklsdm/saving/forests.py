"""The trees of a forest as plain arrays, and back, after a check that they are trees."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree import ExtraTreeRegressor
from sklearn.tree._tree import Tree

from sklsdm.saving.trees import check_nodes, pack_nodes, unpack_nodes

_LEAF = -1  # in place of a child


def pack_trees(trees: list[ExtraTreeRegressor]) -> dict[str, Any]:
    """The nodes of all trees one after another, each field of a node as one array.

    The trees of a forest have equal settings but for their seeds, so those are kept once.
    """
    states = [tree.tree_.__getstate__() for tree in trees]
    nodes = np.concatenate([state["nodes"] for state in states])
    settings = dict(trees[0].__getstate__())
    for name in ("tree_", "random_state"):
        del settings[name]
    return {
        "settings": settings,
        "seeds": np.array([tree.random_state for tree in trees], dtype=np.int64),
        "counts": np.array([len(state["nodes"]) for state in states]),
        "depths": np.array([state["max_depth"] for state in states]),
        "nodes": pack_nodes(nodes),
        "values": np.concatenate([state["values"] for state in states]),
    }


def unpack_trees(packed: dict[str, Any], n_features: int, n_outputs: int) -> list[Any]:
    """The trees of a forest for so many features and outputs.

    Raises ValueError where compiled code would read outside an array, or follow nodes in a circle.
    """
    counts, values, fields = packed["counts"], packed["values"], packed["nodes"]
    if values.ndim != 3 or values.shape[1:] != (n_outputs, 1) or values.dtype != np.float64:
        raise ValueError("the forest's values do not fit its outputs")
    if counts.ndim != 1 or (counts < 1).any() or counts.sum() != len(values):
        raise ValueError("the forest's trees do not fit its nodes")
    layout = Tree(1, np.ones(1, dtype=np.intp), 1).__getstate__()["nodes"].dtype
    nodes = unpack_nodes(fields, len(values), layout, "trees of the forest")
    left, right, feature = (nodes[name] for name in ("left_child", "right_child", "feature"))
    is_leaf = (left == _LEAF) & (right == _LEAF)
    is_sound = (feature >= 0) & (feature < n_features)
    check_nodes(counts, (left, right), is_leaf, is_sound, "forest")
    starts = np.cumsum(counts) - counts
    trees = []
    for seed, start, count, depth in zip(
        packed["seeds"].tolist(), starts, counts, packed["depths"].tolist(), strict=True
    ):
        tree = Tree(n_features, np.ones(n_outputs, dtype=np.intp), n_outputs)
        rows = slice(start, start + count)
        tree.__setstate__(
            {
                "max_depth": depth,
                "node_count": int(count),
                "nodes": nodes[rows].copy(),
                "values": values[rows].copy(),
            }
        )
        estimator = ExtraTreeRegressor.__new__(ExtraTreeRegressor)
        estimator.__setstate__({**packed["settings"], "random_state": seed, "tree_": tree})
        if estimator.n_features_in_ != n_features or estimator.n_outputs_ != n_outputs:
            raise ValueError("the trees do not fit their forest")
        trees.append(estimator)
    return trees

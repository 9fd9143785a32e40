"""What files of forests and of boosted trees share: the nodes of many trees as plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_nodes(nodes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Each field of the nodes as one array."""
    return {name: nodes[name].copy() for name in nodes.dtype.names or ()}


def unpack_nodes(
    fields: dict[str, NDArray[Any]], n_nodes: int, dtype: np.dtype[Any], owner: str
) -> NDArray[Any]:
    """The nodes in the layout of this scikit-learn; fields that the file lacks are 0."""
    nodes = np.zeros(n_nodes, dtype=dtype)
    for name in nodes.dtype.names or ():
        if name in fields:
            if fields[name].shape != nodes.shape:
                raise ValueError(f"the {owner} do not fit their nodes")
            nodes[name] = fields[name]
    return nodes


def check_nodes(
    counts: NDArray[Any],
    children: tuple[NDArray[Any], NDArray[Any]],
    is_leaf: NDArray[np.bool_],
    is_sound: NDArray[np.bool_],
    owner: str,
) -> None:
    """Raise unless every child comes after its parent, inside its tree.

    Compiled code would else read outside an array, or follow nodes in a circle.

    Parameters
    ----------
    counts : ndarray of shape (t,)
        Number of nodes of each tree.
    children : tuple of two ndarrays of shape (n,)
        Left and right child of each node, by their number in the tree.
    is_leaf, is_sound : ndarray of bool, shape (n,)
        Which nodes have no children, and which of the others are sound in all other respects.
    owner : str
        What the trees are of, for the message.
    """
    place = np.arange(len(is_leaf)) - np.repeat(np.cumsum(counts) - counts, counts)
    last = np.repeat(counts, counts) - 1
    for child in children:
        number = child.astype(np.int64)
        is_sound = is_sound & (number > place) & (number <= last)
    n_unsound = int((~(is_sound | is_leaf)).sum())
    if n_unsound:
        raise ValueError(f"{n_unsound} nodes of the {owner} lead to no later node or to no feature")

"""Labels that pass between images which a classifier sees as neighbours.

A network tells the class of an image from that image alone. Where classes are clusters, the classes
of its neighbours tell more: labels are passed along a graph of nearest neighbours (Zhou et al.
2003, Learning with local and global consistency) in the network's features (Iscen et al. 2019,
arXiv 1904.04717).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.floating[Any]]

_N_NEIGHBOURS = 10
_N_COMPONENTS = 64  # of the features, in which neighbours are looked for
# Weight of what the classifier says, beside the neighbours: of the images learnt from, in each of
# so many passes along the graph; and of all others, whose neighbours are taken once.
_OWN, _N_PASSES, _OWN_OF_OTHERS = 0.2, 30, 0.4


class LabelGraph:
    """The nearest neighbours of images, by a classifier's features.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Of the images of the graph; those whose labels are known come first.
    probability : ndarray of shape (n, c)
        What the classifier says of them.
    known : ndarray of shape (p,)
        The labels of the first p images, whole numbers from 0 to c - 1.

    Attributes
    ----------
    probability : ndarray of shape (n, c)
        Of the classes, after labels have passed along the graph.
    """

    def __init__(self, features: Floats, probability: Floats, known: NDArray[np.intp]) -> None:
        with np.errstate(invalid="ignore"):  # equal features have no share of the variance
            self._components = PCA(min(_N_COMPONENTS, *features.shape), random_state=0)
            rows = self._components.fit_transform(features)
        n_neighbours = min(_N_NEIGHBOURS, len(rows) - 1)
        self._nearest = NearestNeighbors(n_neighbors=n_neighbours).fit(rows)
        self.probability = self._spread(probability.astype(np.float64), known)

    def _spread(self, probability: Floats, known: NDArray[np.intp]) -> Floats:
        """The probabilities after labels have passed along the graph; known labels stay."""
        one_way = self._nearest.kneighbors_graph()
        graph = one_way.maximum(one_way.T)
        n_linked = np.asarray(graph.sum(axis=1))
        probability[: len(known)] = np.eye(probability.shape[1])[known]
        found = probability
        for _ in range(_N_PASSES):
            found = _OWN * probability + (1 - _OWN) * (graph @ found) / n_linked
            found[: len(known)] = probability[: len(known)]
        return found

    def beside_neighbours(self, features: Floats, probability: Floats) -> Floats:
        """`probability` (b, c) of other images, averaged with those of their neighbours."""
        nearest = self._nearest.kneighbors(
            self._components.transform(features), return_distance=False
        )
        theirs = self.probability[nearest].mean(axis=1)
        return _OWN_OF_OTHERS * probability + (1 - _OWN_OF_OTHERS) * theirs

"""Labels that pass between images which a classifier sees as neighbours.

A network tells the class of an image from that image alone. Where classes are clusters, the classes
of its neighbours tell more: labels are passed along a graph of nearest neighbours, known ones stay
(Zhu & Ghahramani 2002, Learning from labeled and unlabeled data with label propagation), and each
image keeps a share of what the network says (Zhou et al. 2003, Learning with local and global
consistency). Neighbours are near in the network's features (Iscen et al. 2019, arXiv 1904.04717).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

Floats = NDArray[np.floating[Any]]

MOST_NEIGHBOURS = 10
# A label needs so many images for each neighbour; with fewer, an image's nearest neighbours would
# mostly be of other labels.
_IMAGES_PER_NEIGHBOUR = 4
_N_COMPONENTS = 64  # of the features, in which neighbours are looked for
_N_PASSES = 30  # of the labels along the graph
# Weight of what the network says of an image, beside what its neighbours say:
_OWN = 0.2  # in each pass,
_OWN_AT_LAST = 0.4  # and in the average after the last one


class LabelGraph:
    """The nearest neighbours of images, by a network's features.

    Parameters
    ----------
    features : ndarray of shape (n, d)
        Of the images of the graph, at least two; those whose labels are known come first.
    probability : ndarray of shape (n, c)
        What the network says of them.
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
        self._nearest = NearestNeighbors(n_neighbors=_n_neighbours(known, len(rows))).fit(rows)
        self.probability = self._passed_on(probability, known)

    def _passed_on(self, probability: Floats, known: NDArray[np.intp]) -> Floats:
        """The probabilities after labels have passed along the graph."""
        one_way = self._nearest.kneighbors_graph()
        graph = one_way.maximum(one_way.T)
        n_linked = np.asarray(graph.sum(axis=1))
        start = probability.astype(np.float64)
        start[: len(known)] = np.eye(start.shape[1])[known]
        found = start
        for _ in range(_N_PASSES):
            found = _OWN * start + (1 - _OWN) * (graph @ found) / n_linked
            found[: len(known)] = start[: len(known)]
        return found

    def beside_neighbours(self, features: Floats, probability: Floats) -> Floats:
        """`probability` (b, c) of images, averaged with that of the nearest images of the graph.

        An image of the graph is the nearest one to itself.
        """
        nearest = self._nearest.kneighbors(
            self._components.transform(features), return_distance=False
        )
        theirs = self.probability[nearest].mean(axis=1)
        return _OWN_AT_LAST * probability + (1 - _OWN_AT_LAST) * theirs


def _n_neighbours(known: NDArray[np.intp], n_images: int) -> int:
    """Few enough that the rarest label, by its share of the known ones, has four times as many."""
    counts = np.bincount(known)
    rarest = n_images * counts[counts > 0].min() / len(known)
    return int(np.clip(rarest // _IMAGES_PER_NEIGHBOUR, 1, MOST_NEIGHBOURS))

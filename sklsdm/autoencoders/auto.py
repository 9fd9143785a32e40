"""autoencoder="auto": the identity for a few outputs, an MLP for more."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklsdm.autoencoders.base import BaseAutoencoder
from sklsdm.autoencoders.linear import IdentityAutoencoder
from sklsdm.autoencoders.mlp import MLPAutoencoder
from sklsdm.nets.run import Run
from sklsdm.responses import Responses

FEW_OUTPUTS = 8


class AutoAutoencoder(BaseAutoencoder):
    """The identity up to eight outputs, :class:`MLPAutoencoder` (which starts at PCA) above.

    With a `latent_dim` other than the number of outputs, the MLP is picked there too.

    Parameters
    ----------
    max_epochs, lr, batch_size : see :class:`MLPAutoencoder`
        Handed to what is picked, where it trains.
    """

    def __init__(
        self, *, max_epochs: int = 60, lr: float = 1e-3, batch_size: int = 128
    ) -> None:
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size

    def _mlp(self) -> MLPAutoencoder:
        return MLPAutoencoder(max_epochs=self.max_epochs, lr=self.lr, batch_size=self.batch_size)

    def validate(self) -> None:
        self._mlp().validate()

    def choose(self, width: int, latent_dim: int | str) -> BaseAutoencoder:
        if width <= FEW_OUTPUTS and latent_dim in ("auto", width):
            return IdentityAutoencoder()
        return self._mlp()

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> BaseAutoencoder:
        return self.choose(responses.width, latent_dim).fit(responses, latent_dim, held_out, run)


def intrinsic_dimension(responses: Responses, seed: int, n_neighbors: int = 20) -> int:
    """Dimension of the set on which the responses lie, by nearest-neighbour distances.

    Maximum likelihood over the distances T_1 < ... < T_K to the nearest neighbours of (at most
    2,000) rows: the inverse of the mean of log(T_K / T_j), rounded up. Levina & Bickel 2004,
    equation 8, averaged as in MacKay & Ghahramani 2005.
    """
    count = min(len(responses), 2000)
    rows = np.random.default_rng(seed).choice(len(responses), count, replace=False)
    values = np.unique(responses.take(np.sort(rows)).numpy(), axis=0)
    n_neighbors = min(n_neighbors, len(values) - 1)
    if n_neighbors < 3:
        return 1
    near, _ = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(values).kneighbors(values)
    ratios = np.log(near[:, -1:] / np.maximum(near[:, 1:-1], 1e-12))
    return min(math.ceil(1.0 / ratios.mean()), responses.width)

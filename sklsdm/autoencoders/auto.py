"""autoencoder="auto": the identity for a few outputs, convolutions for images, else an MLP."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklsdm.autoencoders.base import BaseAutoencoder, TrainedAutoencoder
from sklsdm.autoencoders.conv import ConvAutoencoder
from sklsdm.autoencoders.linear import IdentityAutoencoder
from sklsdm.autoencoders.mlp import MLPAutoencoder
from sklsdm.nets.run import Run
from sklsdm.responses import ResponseFormat, Responses

FEW_OUTPUTS = 8
LARGE_IMAGE = 16


class AutoAutoencoder(BaseAutoencoder):
    """Picks by the responses: the identity, :class:`ConvAutoencoder` or :class:`MLPAutoencoder`.

    The identity up to eight outputs, unless `latent_dim` is another number; convolutions for
    images whose shorter side has at least 16 pixels; an MLP for all others. Both start at PCA.

    Parameters
    ----------
    max_epochs, lr, batch_size : number or None, default=None
        Handed to what is picked, where it trains; None leaves its own default.
    """

    def __init__(
        self,
        *,
        max_epochs: int | None = None,
        lr: float | None = None,
        batch_size: int | None = None,
    ) -> None:
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size

    def _trained(self, kind: type[TrainedAutoencoder]) -> TrainedAutoencoder:
        given = {name: value for name, value in self.get_params().items() if value is not None}
        return kind(**given)

    def validate(self) -> None:
        self._trained(MLPAutoencoder).validate()

    def choose(self, form: ResponseFormat, latent_dim: int | str) -> BaseAutoencoder:
        if form.width <= FEW_OUTPUTS and latent_dim in ("auto", form.width):
            return IdentityAutoencoder()
        large = form.is_image and min(form.image_shape[1:]) >= LARGE_IMAGE
        return self._trained(ConvAutoencoder if large else MLPAutoencoder)

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> BaseAutoencoder:
        return self.choose(responses.format, latent_dim).fit(responses, latent_dim, held_out, run)


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

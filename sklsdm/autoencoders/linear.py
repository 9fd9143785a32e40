"""Linear latent spaces: principal components, and the responses themselves."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, IncrementalPCA

from sklsdm.autoencoders.base import BaseAutoencoder, training_rows
from sklsdm.batches import RESIDENT_BYTES
from sklsdm.modules import LinearCoder
from sklsdm.nets.run import Run
from sklsdm.responses import Responses

_INCREMENTAL_ROWS = 8192


def principal_coder(
    responses: Responses, rows: NDArray[np.intp], latent_dim: int, seed: int
) -> LinearCoder:
    """The leading principal components of the named rows, in one pass where they are many."""
    if 4 * len(rows) * responses.width <= RESIDENT_BYTES:
        pca = PCA(latent_dim, random_state=seed % 2**32).fit(responses.take(rows).numpy())
    else:
        pca = IncrementalPCA(latent_dim)
        for start in range(0, len(rows) - latent_dim, _INCREMENTAL_ROWS):
            pca.partial_fit(responses.take(rows[start : start + _INCREMENTAL_ROWS]).numpy())
    coder = LinearCoder(responses.width, latent_dim)
    coder.load_state_dict(
        {
            "center": torch.as_tensor(pca.mean_, dtype=torch.float32),
            "components": torch.as_tensor(pca.components_, dtype=torch.float32),
        }
    )
    return coder


class PCAAutoencoder(BaseAutoencoder):
    """Principal components of all responses; exact, nothing to train.

    When to use: few responses, or curves that are near a plane. Cost: one singular value
    decomposition.

    References
    ----------
    Jolliffe, "Principal Component Analysis", 2nd edition, 2002.
    """

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> PCAAutoencoder:
        rows = training_rows(responses, held_out)
        if len(rows) <= latent_dim:  # too few to spare any
            rows = np.arange(len(responses))
        self.coder_ = principal_coder(responses, rows, latent_dim, run.seed).to(run.device)
        self.latent_dim_ = latent_dim
        self.history_ = {}
        return self


class IdentityAutoencoder(BaseAutoencoder):
    """The standardised responses are their own codes: for a few outputs.

    `latent_dim` can only be the number of outputs.
    """

    def natural_dim(self, width: int) -> int:
        return width

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> IdentityAutoencoder:
        self.coder_ = LinearCoder(responses.width, latent_dim).to(run.device)
        self.latent_dim_ = latent_dim
        self.history_ = {}
        return self

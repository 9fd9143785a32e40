"""Linear latent spaces: principal components, and the responses themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sklsdm.autoencoders.base import BaseAutoencoder, principal_coder, training_rows
from sklsdm.coders import LinearCoder
from sklsdm.nets.run import Run
from sklsdm.responses import ResponseFormat, Responses


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

    def natural_dim(self, form: ResponseFormat) -> int:
        return form.width

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> IdentityAutoencoder:
        self.coder_ = LinearCoder(responses.width, latent_dim).to(run.device)
        self.latent_dim_ = latent_dim
        self.history_ = {}
        return self

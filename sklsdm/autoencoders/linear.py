"""Linear latent spaces: principal components, and the responses themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sklsdm.autoencoders.base import BaseAutoencoder, principal_coder, training_rows
from sklsdm.autoencoders.residuals import ResidualAutoencoder
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.modules import LinearCoder
from sklsdm.run import Run


class PCAAutoencoder(ResidualAutoencoder):
    """Principal components of all responses, without any training.

    When to use: for few responses, or responses that lie near a plane of dimension `latent_dim`.
    Cost: one singular value decomposition.

    References
    ----------
    Jolliffe, "Principal Component Analysis", 2nd edition, 2002.
    """

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> LinearCoder:
        rows = training_rows(responses, held_out, fewest=latent_dim + 1)
        return principal_coder(responses, rows, latent_dim, run.seed).to(run.device)


class IdentityAutoencoder(BaseAutoencoder):
    """The standardised responses themselves are the codes: for few outputs.

    `latent_dim` must be the number of outputs.
    """

    def natural_dim(self, form: ResponseFormat) -> int:
        return form.width

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> LinearCoder:
        return LinearCoder(responses.width, latent_dim).to(run.device)

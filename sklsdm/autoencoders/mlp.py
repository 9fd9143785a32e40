"""The MLP autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sklsdm.autoencoders.trained import DenseAutoencoder
from sklsdm.modules import MLPCoder
from sklsdm.parameters import parameter
from sklsdm.responses import ResponseFormat


class MLPAutoencoder(DenseAutoencoder):
    """Principal components plus an MLP on either side, trained by reconstruction error.

    Encoder and decoder are each a linear path, started at the principal components, plus an MLP
    that gives zero at first. The state with the lowest error on held-out responses is kept, the
    start included, so the result is never worse than PCA on them.

    When to use: the default for vectors, curves and small images. Cost: `max_epochs` passes over
    the responses.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 1.
    """

    widths: Sequence[int] = parameter(default=(256, 128), kw_only=False)
    max_epochs: int = 60
    lr: float = 1e-3
    n_iter_no_change: int | None = 15

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> MLPCoder:
        return MLPCoder(form.width, latent_dim, self.widths, self.activation, random)

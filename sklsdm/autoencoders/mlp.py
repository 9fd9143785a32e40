"""The MLP autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence

from sklsdm.autoencoders.residuals import ResidualAutoencoder
from sklsdm.autoencoders.trained import DenseAutoencoder
from sklsdm.parameters import parameter


class MLPAutoencoder(ResidualAutoencoder, DenseAutoencoder):
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

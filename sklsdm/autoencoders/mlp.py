"""The MLP autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sklsdm._validation import check_integer
from sklsdm.autoencoders.base import TrainedAutoencoder
from sklsdm.coders import MLPCoder
from sklsdm.responses import ResponseFormat


class MLPAutoencoder(TrainedAutoencoder):
    """Principal components plus an MLP on either side, trained by reconstruction error.

    Encoder and decoder are each a linear path, started at the principal components, plus an
    MLP started at zero. The state with the lowest error on held-out responses is kept, that
    before the first step included, so the result is never worse there than PCA.

    When to use: the default for vectors, curves and small images. Cost: `max_epochs` passes.

    Parameters
    ----------
    widths : sequence of int, default=(256, 128)
        Hidden widths of the encoder; the decoder mirrors them.
    activation : {"silu", "elu", "gelu", "leaky_relu", "relu"}, default="silu"
        Between the layers.
    max_epochs : int, default=60
        Most passes over the responses (at least 50 steps each, however few they are).
    lr : float, default=1e-3
        Initial rate of AdamW; falls to zero along half a cosine.
    batch_size : int, default=128
        Responses in one step.
    weight_decay : float, default=0.1
        Of AdamW (per step: lr times this).
    lipschitz : float or None, default=None
        Limit on the decoder's slope: a step of one standard deviation of the code then moves the
        response by at most so many of its own standard deviations (root mean square over
        outputs). Certified by the layers' spectral norms, which is cautious: values from about 1
        up leave room for curvature. None sets no limit.
    n_iter_no_change : int or None, default=15
        Stop after so many epochs without a lower error on held-out responses; None never stops.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 1.
    """

    def __init__(
        self,
        widths: Sequence[int] = (256, 128),
        *,
        activation: str = "silu",
        max_epochs: int = 60,
        lr: float = 1e-3,
        batch_size: int = 128,
        weight_decay: float = 0.1,
        lipschitz: float | None = None,
        n_iter_no_change: int | None = 15,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.widths = widths
        self.activation = activation
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.lipschitz = lipschitz
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        for width in self.widths:
            check_integer("autoencoder__widths", width, 1)

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> MLPCoder:
        return MLPCoder(form.width, latent_dim, self.widths, self.activation, random)

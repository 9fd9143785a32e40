"""The convolutional autoencoder for images, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from sklsdm._validation import check_integer
from sklsdm.autoencoders.base import TrainedAutoencoder
from sklsdm.coders import ConvCoder
from sklsdm.responses import ResponseFormat

_FEW_PIXELS = 4
_MOST_CHANNELS = 64


class ConvAutoencoder(TrainedAutoencoder):
    """Principal components plus convolutions on either side, for images.

    Encoder and decoder are each a linear path, started at the principal components, plus a
    convolutional network started at zero. The state with the lowest error on held-out images
    is kept, that before the first step included, so the result is never worse there than PCA.

    When to use: images from about 16×16 pixels, with one or more channels. Cost: about ten times
    that of :class:`MLPAutoencoder` for one pass, and a tenth of its passes.

    Parameters
    ----------
    channels : sequence of int or "auto", default="auto"
        Channels after each convolution of the encoder, each of which halves the sides; the
        decoder mirrors them. "auto": 16, 32, 64, 64, ... until the shorter side is at most 4.
    hidden : int, default=256
        Width of the layer between the convolutions and the code.
    activation : {"silu", "elu", "gelu", "leaky_relu", "relu"}, default="silu"
        Between the layers.
    max_epochs : int, default=8
        Most passes over the responses (at least 200 steps each, however few they are).
    lr : float, default=2e-3
        Initial rate of AdamW; falls to zero along half a cosine.
    batch_size : int, default=64
        Responses in one step.
    weight_decay : float, default=0.01
        Of AdamW (per step: lr times this).
    lipschitz : float or None, default=None
        Limit on the decoder's slope, as in :class:`MLPAutoencoder`.
    n_iter_no_change : int or None, default=5
        Stop after so many epochs without a lower error on held-out responses; None never stops.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 1; Masci et al. 2011, "Stacked convolutional
    auto-encoders".
    """

    _min_steps = 200

    def __init__(
        self,
        channels: Sequence[int] | str = "auto",
        *,
        hidden: int = 256,
        activation: str = "silu",
        max_epochs: int = 8,
        lr: float = 2e-3,
        batch_size: int = 64,
        weight_decay: float = 0.01,
        lipschitz: float | None = None,
        n_iter_no_change: int | None = 5,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.channels = channels
        self.hidden = hidden
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
        check_integer("autoencoder__hidden", self.hidden, 1)
        if isinstance(self.channels, str):
            if self.channels != "auto":
                raise ValueError(
                    f"autoencoder__channels must be integers or 'auto', got {self.channels!r}."
                )
            return
        if len(self.channels) == 0:
            raise ValueError("autoencoder__channels must name at least one convolution, got none.")
        for n_channels in self.channels:
            check_integer("autoencoder__channels", n_channels, 1)

    def choose(self, form: ResponseFormat, latent_dim: int | str) -> ConvAutoencoder:
        if not form.is_image:
            raise ValueError(
                f"autoencoder='conv' needs images y of shape (n, h, w) or (n, c, h, w), but one "
                f"response has shape {form.shape}; reshape y, or use autoencoder='mlp'."
            )
        return self

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> ConvCoder:
        channels = self.channels
        if isinstance(channels, str):
            channels = automatic_channels(min(form.image_shape[1:]))
        return ConvCoder(
            form.image_shape, latent_dim, channels, self.hidden, self.activation, random
        )


def automatic_channels(side: int) -> list[int]:
    """16, 32, 64, 64, ...: as many halvings as bring `side` to at most four pixels."""
    channels = [16]
    side = (side + 1) // 2
    while side > _FEW_PIXELS:
        channels.append(min(2 * channels[-1], _MOST_CHANNELS))
        side = (side + 1) // 2
    return channels

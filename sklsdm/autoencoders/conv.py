"""The convolutional autoencoder for images, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sklsdm.autoencoders.residuals import ResidualAutoencoder
from sklsdm.autoencoders.trained import CoderAutoencoder, automatic_channels
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.modules import ConvCoder
from sklsdm.parameters import integer, or_auto, parameter, some

_MOST_PIXELS = 4  # of the shorter side, at which no further convolution is added


class ConvAutoencoder(ResidualAutoencoder, CoderAutoencoder):
    """Principal components plus convolutions on either side, for images.

    Encoder and decoder are each a linear path, started at the principal components, plus a
    convolutional network that gives zero at first. The state with the lowest error on held-out
    images is kept, the start included, so the result is never worse than PCA on them.

    When to use: for images from about 16×16 pixels, with one or more channels. Cost: one pass
    takes about ten times as long as with :class:`MLPAutoencoder`, but passes are fewer.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 1; Masci et al. 2011, "Stacked convolutional
    auto-encoders".
    """

    channels: Sequence[int] | str = parameter(
        default="auto",
        rule=or_auto(some(integer(1))),
        doc="""Channels after each convolution of the encoder, which halves height and width; the
        decoder mirrors them. "auto": 16, 32, 64, 64, ... until the shorter side is at most 4.""",
        kw_only=False,
    )
    hidden: int = parameter(
        default=256,
        rule=integer(1),
        doc="Width of the layer between the convolutions and the code.",
    )
    max_epochs: int = parameter(
        default=8,
        doc="""Largest number of epochs: passes over the responses, repeated within an epoch where
        one has fewer than 200 steps.""",
    )
    batch_size: int = 64
    weight_decay: float = 0.01
    n_iter_no_change: int | None = 5

    def check_format(self, form: ResponseFormat) -> None:
        if not form.is_image:
            raise ValueError(
                f"autoencoder='conv' needs images y of shape (n, h, w) or (n, c, h, w), but one "
                f"response has shape {form.shape}; reshape y, or use autoencoder='mlp'."
            )

    def _min_steps(self, form: ResponseFormat) -> int:
        return 200

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> ConvCoder:
        channels = self.channels
        if isinstance(channels, str):
            channels = automatic_channels(min(form.image_shape[1:]), _MOST_PIXELS)
        return ConvCoder(
            form.image_shape, latent_dim, channels, self.hidden, self.activation, random
        )

"""Codes that are small images: a convolutional autoencoder without a bottleneck of one vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.autoencoders.base import training_rows
from sklsdm.autoencoders.sharpening import SharpeningObjective, noisy_codes, sharpen
from sklsdm.autoencoders.trained import (
    LEAK,
    Inside,
    RowLoss,
    TrainedAutoencoder,
    automatic_channels,
)
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import ENOUGH_IMAGES, Responses
from sklsdm.modules import ACTIVATIONS, FeatureMapCoder, stages_of_halving
from sklsdm.nets import history_arrays
from sklsdm.parameters import at_least, integer, one_of, or_auto, parameter, some
from sklsdm.run import Run, Stream

_CRITIC_WEIGHT = 0.025
_SHARPENING_STEPS = 3000  # that are enough, where an epoch does not take more
_FEWEST_STEPS, _FEW_PIXELS = 200, 48 * 48  # of an epoch, for images of so many pixels
_LOSSES = ("loss", "critic_loss")
_MOST_PIXELS = 8  # of a code's shorter side, with channels="auto"


class NoisyCodeLoss:
    """Mean squared error of D(E(y) + noise), with noise in units of the codes' spread."""

    recordable: ClassVar[bool] = True

    def __init__(self, noise: float, inside: Inside, random: torch.Generator) -> None:
        self.noise = noise
        self.inside = inside
        self.random = random

    def __call__(self, coder: Any, target: Tensor) -> Tensor:
        moved = noisy_codes(coder.encode(target), self.noise, self.random)
        return (self.inside(coder.decode(moved)) - target).square().mean()


class FeatureMapAutoencoder(TrainedAutoencoder):
    """Convolutions down to a small image of a few channels, which is the code, and back.

    A code of 28×28 pixels has 4×7×7 = 196 numbers: prints, stripes and edges, which a vector of 10
    to 20 numbers cannot hold, stay. `latent_dim` follows from the image's size; leave it "auto".

    When to use: for sharp images, with `matcher="wgan"`, "diffusion" or "flow", whose networks then
    are convolutional too. Other matchers but "fgan" have networks for vectors, which such codes are
    too long for. Cost: stage 1 is faster than :class:`ConvAutoencoder`; stage 2 and drawing are
    slower, by the convolutions.

    References
    ----------
    Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models" (arXiv
    2112.10752), section 3.1, for codes that keep the image's layout, and a critic of rebuilt
    images; Huang, Gokaslan, Kuleshov & Tompkin 2025 (arXiv 2501.05441) for the critic's loss.
    """

    code_channels: int = parameter(
        default=4, rule=integer(1), doc="Channels of the code.", kw_only=False
    )
    channels: Sequence[int] | str = parameter(
        default="auto",
        rule=or_auto(some(integer(1))),
        doc="""Channels after each convolution of the encoder, which halves height and width.
        "auto": 16, 32, 64, ... until the shorter side is at most 8.""",
    )
    noise: float = parameter(
        default=0.05,
        rule=at_least(0.0),
        doc="""Standard deviation of the noise on codes in training, in units of their own: the
        decoder learns to tolerate the errors of codes that are drawn.""",
    )
    critic_weight: float | str = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""Weight of a critic of images in the decoder's loss, beside the squared error. When
        the codes are learnt, the decoder alone is trained again, against a critic that tells
        rebuilt images from real ones, so that they get sharper: for `max_epochs`, or as many as
        3,000 steps hold, on images that are not moved, and without `callbacks`. `history_` has its
        losses as "sharpening_...", other attributes tell of the training before. A weight of 0.1
        raises their squared error by about a fifth. "auto" is 0.025, which hardly raises it, from
        250 responses on, and where a fit goes on from one that had it. It is 0 else, which leaves
        this out.""",
    )
    activation: str = parameter(
        default="silu", rule=one_of(*ACTIVATIONS), doc="Activation between the layers."
    )
    max_epochs: int = parameter(
        default=6,
        doc="""Largest number of epochs: passes over the responses, repeated within an epoch where
        one has fewer than 200 steps (less for images of more than 48×48 pixels, 113 for 64×64).""",
    )
    batch_size: int = 64
    weight_decay: float = 0.01
    n_iter_no_change: int | None = 5

    def check_format(self, form: ResponseFormat) -> None:
        if not form.is_image:
            raise ValueError(
                f"autoencoder='feature-map' needs images y of shape (n, h, w) or (n, c, h, w), but "
                f"one response has shape {form.shape}; reshape y, or use autoencoder='mlp'."
            )

    def _channels(self, form: ResponseFormat) -> Sequence[int]:
        if not isinstance(self.channels, str):
            return self.channels
        return automatic_channels(min(form.image_shape[1:]), _MOST_PIXELS)

    def _code_shape(self, form: ResponseFormat) -> tuple[int, ...]:
        last = stages_of_halving(form.image_shape, self._channels(form))[-1]
        return (self.code_channels, *last[1:])

    def natural_dim(self, form: ResponseFormat) -> int:
        return int(np.prod(self._code_shape(form)))

    def _min_steps(self, form: ResponseFormat) -> int:
        n_pixels = math.prod(form.image_shape[1:])
        return math.ceil(_FEWEST_STEPS * min(1.0, _FEW_PIXELS / n_pixels))

    def _module(
        self, form: ResponseFormat, latent_dim: int, random: torch.Generator
    ) -> FeatureMapCoder:
        return FeatureMapCoder(
            form.image_shape, self.code_channels, self._channels(form), self.activation, random
        )

    def _loss(self, inside: Inside, random: torch.Generator) -> RowLoss:
        return NoisyCodeLoss(float(self.noise), inside, random)

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> Any:
        coder = super()._fit_coder(responses, latent_dim, held_out, run)
        weight = self.critic_weight
        if isinstance(weight, str):
            are_enough = len(responses) >= ENOUGH_IMAGES
            weight = _CRITIC_WEIGHT if are_enough or self._was_sharpened else 0.0
        if weight > 0:
            rows = training_rows(responses, held_out, self._fewest_rows(latent_dim))
            self._sharpen(coder, float(weight), responses, rows, run)
        return coder

    @property
    def _was_sharpened(self) -> bool:
        """Whether training starts from an earlier fit whose decoder a critic has trained."""
        start = self._start_of_training
        return start is not None and "sharpening_loss" in getattr(start.earlier, "history_", {})

    def _sharpen(
        self, coder: Any, weight: float, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> None:
        """Train the decoder against a critic of its images; each process of a group does all."""
        alone = replace(run, group=None)
        random = run.stream(Stream.SHARPENING_STEPS)
        inside = responses.format.clipping(run.device, LEAK)
        batches = self._batches(responses, rows, random, alone)
        net = sharpen(
            coder,
            responses.format.image_shape,
            SharpeningObjective(coder.encoder, inside, weight, float(self.noise), random),
            batches,
            n_epochs=max(1, min(self.max_epochs, _SHARPENING_STEPS // len(batches))),
            lr=self.lr,
            look=self._look(responses, rows, run),
            run=alone,
        )
        if run.group is not None:
            run.group.same_state(coder.decoder)
        self.far_share_ = net.far_share_
        losses = history_arrays(net.history)
        self.history_ |= {f"sharpening_{name}": losses[f"train_{name}"] for name in _LOSSES}

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> FeatureMapAutoencoder:
        super().fit(responses, latent_dim, held_out, run)
        self.code_shape_ = self._code_shape(responses.format)
        return self

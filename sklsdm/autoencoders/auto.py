"""autoencoder="auto": the identity for a few outputs, convolutions for images, else an MLP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklsdm.autoencoders.base import BaseAutoencoder
from sklsdm.autoencoders.conv import ConvAutoencoder
from sklsdm.autoencoders.feature_map import FeatureMapAutoencoder
from sklsdm.autoencoders.linear import IdentityAutoencoder
from sklsdm.autoencoders.mlp import MLPAutoencoder
from sklsdm.autoencoders.trained import TrainedAutoencoder
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.nets import CallbackHolder
from sklsdm.parameters import above, at_least, flag, integer, or_auto, or_none, parameter
from sklsdm.parts import CALLBACKS
from sklsdm.randomness import RowStream, row_stream
from sklsdm.run import Run

_PASSED_ON = "Passed to the autoencoder that is chosen, if it trains. None keeps its own default."
MOST_OWN_CODES = 50  # outputs up to which "auto" takes the responses as their own codes
_NEIGHBOURS = 20  # whose distances tell the intrinsic dimension
FEW_OUTPUTS = 8  # outputs up to which other latent spaces have as many dimensions
_LARGE_IMAGE = 16  # pixels of the shorter side from which an image is encoded by convolutions


class AutoAutoencoder(CallbackHolder, BaseAutoencoder):
    """Chooses by the shape of y, `latent_dim` and the matcher.

    Up to 50 outputs it is the identity, unless `latent_dim` is another number than theirs. For
    images whose shorter side has at least 16 pixels it is :class:`ConvAutoencoder`; with the
    matcher "wgan" and at least 250 responses, or "diffusion" or "flow" and at least 5,000, it is
    :class:`FeatureMapAutoencoder`, unless `latent_dim` is given, or pairs are fewer than
    20 and their conditions no labels. For all else it is :class:`MLPAutoencoder`.
    """

    max_epochs: int | None = parameter(default=None, rule=or_none(integer(1)), doc=_PASSED_ON)
    lr: float | None = parameter(default=None, rule=or_none(above(0.0)), doc=_PASSED_ON)
    batch_size: int | None = parameter(default=None, rule=or_none(integer(1)), doc=_PASSED_ON)
    augmentation: float | str | None = parameter(
        default=None, rule=or_none(or_auto(at_least(0.0))), doc=_PASSED_ON
    )
    callbacks: Sequence[Any] | None = parameter(default=None, rule=CALLBACKS, doc=_PASSED_ON)
    residuals: bool | None = parameter(
        default=None,
        rule=or_none(flag()),
        doc="""Passed to :class:`MLPAutoencoder` or :class:`ConvAutoencoder`, if it is chosen.""",
    )
    critic_weight: float | str | None = parameter(
        default=None,
        rule=or_none(or_auto(at_least(0.0))),
        doc="Passed to :class:`FeatureMapAutoencoder`, if it is chosen.",
    )

    def _trained(self, kind: type[TrainedAutoencoder]) -> TrainedAutoencoder:
        given, known = self.get_params(deep=False), kind().get_params(deep=False)
        return kind(**{n: value for n, value in given.items() if n in known and value is not None})

    def resolve(
        self,
        form: ResponseFormat,
        latent_dim: int | str,
        n_responses: int = 0,
        fewest_images: float = math.inf,
    ) -> BaseAutoencoder:
        if form.width <= MOST_OWN_CODES and latent_dim in ("auto", form.width):
            return IdentityAutoencoder()
        large = form.is_image and min(form.image_shape[1:]) >= _LARGE_IMAGE
        if large and n_responses >= fewest_images and latent_dim == "auto":
            return self._trained(FeatureMapAutoencoder)
        return self._trained(ConvAutoencoder if large else MLPAutoencoder)

    def like(self, fitted: BaseAutoencoder) -> BaseAutoencoder:
        kind = type(fitted)
        return self._trained(kind) if issubclass(kind, TrainedAutoencoder) else kind()

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> Any:
        raise TypeError("AutoAutoencoder is never fitted itself; call resolve(form, latent_dim).")


def intrinsic_dimension(responses: Responses, seed: int, n_rows: int) -> int:
    """Dimension of the set on which the first `n_rows` lie, from nearest-neighbour distances.

    Maximum likelihood over the distances T_1 < ... < T_K to the nearest neighbours of (at most
    2,000) rows: the inverse of the mean of log(T_K / T_j), rounded up. Levina & Bickel 2004,
    equation 8, averaged as in MacKay & Ghahramani 2005.
    """
    count = min(n_rows, 2000)
    rows = row_stream(seed, RowStream.NEIGHBOURS).choice(n_rows, count, replace=False)
    values = np.unique(responses.take(np.sort(rows)).numpy(), axis=0)
    n_neighbors = min(_NEIGHBOURS, len(values) - 1)
    if n_neighbors < 3:
        return 1
    near, _ = NearestNeighbors(n_neighbors=n_neighbors + 1).fit(values).kneighbors(values)
    mean = np.log(near[:, -1:] / np.maximum(near[:, 1:-1], 1e-12)).mean()
    return responses.width if mean * responses.width <= 1 else math.ceil(1.0 / mean)

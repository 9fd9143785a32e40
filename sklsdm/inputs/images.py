"""Images among the responses, made small enough for a quick classifier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sklsdm.blocks import row_slices
from sklsdm.inputs.responses import Responses

_LARGE = 32 * 32  # pixels of an image, to about which larger ones are averaged
_TINY = 8  # pixels of the smaller side: smaller images are not for convolutions


@dataclass(frozen=True)
class SmallImages:
    """Some rows of responses that are images, standardised, and averaged over squares of pixels.

    The squares leave about 32 x 32 pixels of a larger image, and at least 8 of the smaller side.
    """

    responses: Responses
    rows: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def suit(responses: Responses) -> bool:
        """Whether the responses are images of at least 8 x 8 pixels."""
        form = responses.format
        return form.is_image and min(form.image_shape[-2:]) >= _TINY

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of one of the small images."""
        channels, height, width = self.responses.format.image_shape
        return channels, height // self._square, width // self._square

    @property
    def _square(self) -> int:
        """Side of the squares of pixels that are averaged."""
        sides = self.responses.format.image_shape[-2:]
        wanted = round(math.sqrt(math.prod(sides) / _LARGE))
        return max(1, min(wanted, min(sides) // _TINY))

    def some(self, places: NDArray[np.intp]) -> SmallImages:
        """The images at these places among the rows."""
        return SmallImages(self.responses, self.rows[places])

    def take(self, places: NDArray[np.intp]) -> Tensor:
        """The images at these places among the rows, (b, c * h * w), on the CPU."""
        found = torch.empty((len(places), math.prod(self.shape)), dtype=torch.float32)
        for block in row_slices(len(places), self.responses.width):
            whole = self.responses.take(self.rows[places[block]])
            images = whole.view(-1, *self.responses.format.image_shape)
            small = functional.avg_pool2d(images, self._square)
            found[block] = small.flatten(start_dim=1)
        return found

"""How a condition enters a network: as it is or, if it is an image, through convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from sklsdm.modules.layers import conv, conv_side, linear
from sklsdm.modules.packing import RebuildableModule

_CHANNELS = 32  # of each convolution


class ConvFeatures(nn.Module):
    """Features (n, n_features) of image conditions (c, h, w), which come as flat rows."""

    def __init__(
        self,
        shape: Sequence[int],
        n_features: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_channels, height, width = shape
        layers: list[nn.Module] = []
        while min(height, width) > 4:
            layers += [conv(n_channels, _CHANNELS, 3, 2, generator), nn.LeakyReLU()]
            height, width, n_channels = conv_side(height), conv_side(width), _CHANNELS
        flat = n_channels * height * width
        layers += [nn.Flatten(), linear(flat, n_features, generator), nn.LeakyReLU()]
        self.shape = tuple(shape)
        self.layers = nn.Sequential(*layers)

    def forward(self, condition: Tensor) -> Tensor:
        return self.layers(condition.reshape(-1, *self.shape))


def in_turn(rows: Tensor, n_rows: int) -> Tensor:
    """Each of the `rows` (b, ...) as many times as it takes to make (n_rows, ...)."""
    if len(rows) == n_rows:
        return rows
    return rows.repeat_interleave(n_rows // max(1, len(rows)), dim=0)


class ConditionedModule(RebuildableModule):
    """Base of all networks that see a condition: it brings the `condition_encoder`."""

    # Whether draws take conditions (b, p) with noise (b m, d), for m draws of each one in turn.
    takes_several: ClassVar[bool] = False

    def _set_condition_encoder(
        self, shape: Sequence[int] | None, condition_dim: int, generator: torch.Generator | None
    ) -> int:
        """Make `condition_encoder`; returns the number of features that it gives."""
        if shape is None:
            self.condition_encoder: nn.Module = nn.Identity()
            return condition_dim
        n_features = 128
        self.condition_encoder = ConvFeatures(shape, n_features, generator=generator)
        return n_features

    def features(self, condition: Tensor) -> Tensor:
        """Features of the condition, which the network sees; computed once for several uses."""
        return self.condition_encoder(condition)

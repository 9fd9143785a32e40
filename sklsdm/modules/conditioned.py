"""How a condition enters a network: as it is, or an image through convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sklsdm.modules.layers import conv, linear
from sklsdm.modules.packing import RebuildableModule


class ConvFeatures(nn.Module):
    """Image conditions (n, c, h, w), handed in flat, as feature rows."""

    def __init__(
        self,
        shape: Sequence[int],
        n_features: int,
        channels: int = 32,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_channels, height, width = shape
        layers: list[nn.Module] = []
        while min(height, width) > 4:
            layers += [conv(n_channels, channels, 3, 2, generator), nn.LeakyReLU()]
            height, width, n_channels = (height + 1) // 2, (width + 1) // 2, channels
        flat = n_channels * height * width
        layers += [nn.Flatten(), linear(flat, n_features, generator), nn.LeakyReLU()]
        self.shape = tuple(shape)
        self.layers = nn.Sequential(*layers)

    def forward(self, condition: Tensor) -> Tensor:
        return self.layers(condition.reshape(-1, *self.shape))


class ConditionedModule(RebuildableModule):
    """Shared by generator and critic: how a condition enters."""

    def _encode_with(
        self, shape: Sequence[int] | None, condition_dim: int, generator: torch.Generator | None
    ) -> int:
        """Set `condition_encoder` and return the number of features that it gives."""
        if shape is None:
            self.condition_encoder: nn.Module = nn.Identity()
            return condition_dim
        n_features = 128
        self.condition_encoder = ConvFeatures(shape, n_features, generator=generator)
        return n_features

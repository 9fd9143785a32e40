"""Classifiers, by which responses without a condition are labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.modules.layers import conv, linear, mlp

_CHANNELS = (32, 64, 64)
_GROUPS = 8  # of channels that are normalised together
_SMALL = 7  # pixels of a side, up to which images are not halved any more


class CodeClassifier(nn.Module):
    """ln p(class | z), (n, c), of codes (n, k)."""

    def __init__(
        self,
        latent_dim: int,
        n_classes: int,
        widths: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.mlp = mlp(latent_dim, n_classes, widths, "silu", generator)

    def forward(self, latent: Tensor) -> Tensor:
        return self.mlp(latent).log_softmax(dim=1)


class ImageClassifier(nn.Module):
    """ln p(class | image), (n, c), of flat images (n, channels * h * w).

    Each of the three convolutions halves height and width (rounded up) while the smaller one
    exceeds 7 pixels.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_in, height, width = shape
        layers: list[nn.Module] = [nn.Unflatten(1, tuple(shape))]
        for n_out in _CHANNELS:
            stride = 2 if min(height, width) > _SMALL else 1
            norm = nn.GroupNorm(_GROUPS, n_out, dtype=torch.float32)
            layers += [conv(n_in, n_out, 3, stride, generator), norm, nn.LeakyReLU(0.1)]
            height, width = -(-height // stride), -(-width // stride)
            n_in = n_out
        last = linear(n_in * height * width, n_classes, generator)
        self.layers: Any = nn.Sequential(*layers, nn.Flatten(), last)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).log_softmax(dim=1)

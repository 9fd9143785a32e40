"""Classifiers, by which responses without a condition are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklsdm.functional.oriented_gradients import N_ORIENTATIONS, N_PARTS, oriented_gradients
from sklsdm.modules.layers import conv, linear, mlp

_CHANNELS = 64
_GROUPS = 8  # of channels that are normalised together
_CELLS = 8  # along the smaller side of an image, about
_SMALLEST_CELL = 2  # pixels of a side


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


class Cells(nn.Module):
    """Edges and light of flat images (n, c * h * w), cell by cell: (n, 32 + c, rows, columns)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.side = max(_SMALLEST_CELL, round(min(self.shape[1:]) / _CELLS))
        channels, height, width = self.shape
        self.numbers_per_image = (N_ORIENTATIONS + channels) * height * width  # held at once

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.view(-1, *self.shape)
        light = functional.avg_pool2d(pixels, self.side, ceil_mode=True)
        return torch.cat([oriented_gradients(pixels, self.side), light], dim=1)


class ImageClassifier(nn.Module):
    """ln p(class | image), (n, c), of flat images (n, channels * h * w).

    Two convolutions see the edges and the light of cells, of which about eight lie along an image's
    smaller side. From pixels alone as many labelled images teach less: see docs/lessons.md.
    """

    def __init__(
        self,
        shape: Sequence[int],
        n_classes: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.cells = Cells(shape)
        layers: list[nn.Module] = []
        n_in = N_PARTS + shape[0]
        for _ in range(2):
            norm = nn.GroupNorm(_GROUPS, _CHANNELS, dtype=torch.float32)
            layers += [conv(n_in, _CHANNELS, 3, 1, generator), norm, nn.LeakyReLU(0.1)]
            n_in = _CHANNELS
        height, width = (math.ceil(side / (2 * self.cells.side)) for side in shape[1:])
        self.layers: Any = nn.Sequential(*layers, nn.AvgPool2d(2, ceil_mode=True), nn.Flatten())
        self.n_features, self.n_classes = n_in * height * width, n_classes
        self.last = linear(self.n_features, n_classes, generator)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees of images, (n, d)."""
        return self.layers(self.cells(images))

    def classes(self, features: Tensor) -> Tensor:
        """ln p(class | features), (n, c)."""
        return self.last(features).log_softmax(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classes(self.features(images))

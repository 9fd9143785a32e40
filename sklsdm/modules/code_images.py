"""The generator of codes that are small images, and the critic of such codes and of images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sklsdm.modules.feature_maps import EMBEDDING, GROUPS, CodeImageModule, ConvBlock
from sklsdm.modules.layers import conv, conv_side, linear

_SMALL = 8  # pixels of the smaller side, up to which a critic halves images
_JUDGED = 128  # numbers to which a critic reduces a code


class ConvGenerator(CodeImageModule):
    """H(x, η) of codes that are images, by residual convolutions.

    Features of x and noise give a first image by a linear layer; they also scale the channels of
    the convolutions that follow.
    """

    takes_several: ClassVar[bool] = True

    def __init__(
        self,
        condition_dim: int,
        code_shape: Sequence[int],
        noise_dim: int,
        channels: int,
        n_blocks: int = 2,
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._set_shapes(condition_dim, code_shape, image_shape, generator)
        n_channels, height, width = self.code_shape
        n_given = self.n_features + noise_dim
        self.first = linear(n_given, channels * height * width, generator)
        self.inwards = conv(channels + self.seen_channels, channels, 1, 1, generator)
        self.embed = nn.Sequential(linear(n_given, EMBEDDING, generator), nn.SiLU())
        # A group has several channels, so that a code of one pixel is not normalised to nothing.
        groups = min(GROUPS, channels // 4)
        self.blocks = nn.ModuleList(ConvBlock(channels, generator, groups) for _ in range(n_blocks))
        self.norm = nn.GroupNorm(groups, channels, dtype=torch.float32)
        self.outwards = conv(channels, n_channels, 3, 1, generator)
        module: Any = self
        module.to(memory_format=torch.channels_last)

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Draws (b m, k h w) for conditions (b, p) and noise (b m, d), those of each in turn."""
        given, seen = self._split(self.features(condition), len(noise))
        given = torch.cat([given, noise], dim=1)
        first = self.first(given).view(len(noise), -1, *self.code_shape[1:])
        hidden = self.inwards(torch.cat([first, seen], dim=1))
        embedding = self.embed(given)
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.outwards(nn.functional.silu(self.norm(hidden))).flatten(1)


class ConvCritic(CodeImageModule):
    """f(x, z) of codes that are images; `condition_dim=0` gives the unconditional critic f(z).

    With `of_images` it takes images instead of codes: every convolution halves their sides, and
    there are at least three, or as many as leave at most 8 pixels of the smaller side.

    Convolutions reduce a code to 128 numbers h(z). The value is v(h) + e(x)·h with linear v and e:
    the first part judges the code alone, the second whether it goes with x. Miyato & Koyama 2018,
    "cGANs with projection discriminator" (arXiv 1802.05637).
    """

    def __init__(
        self,
        condition_dim: int,
        code_shape: Sequence[int],
        channels: int,
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
        of_images: bool = False,
    ) -> None:
        super().__init__()
        self._set_shapes(condition_dim, code_shape, image_shape, generator)
        n_in, height, width = self.code_shape
        layers: list[nn.Module] = []
        n_in += self.seen_channels
        stages = [(channels, 1), (2 * channels, 2), (4 * channels, 2)]
        if of_images:
            stages = _stages_of_images(channels, min(height, width))
        for n_out, stride in stages:
            layers += [conv(n_in, n_out, 3, stride, generator), nn.LeakyReLU(0.2)]
            height, width, n_in = conv_side(height, stride), conv_side(width, stride), n_out
        self.reduce = nn.Sequential(
            *layers,
            nn.Flatten(),
            linear(n_in * height * width, _JUDGED, generator),
            nn.LeakyReLU(0.2),
        )
        self.alone = linear(_JUDGED, 1, generator)
        self.together: nn.Module | None = None
        if self.n_features:
            self.together = linear(self.n_features, _JUDGED, generator, bias=False)
        module: Any = self
        module.to(memory_format=torch.channels_last)

    def forward(self, features: Tensor, latent: Tensor) -> Tensor:
        """Values (n m,) for features (n, f) and codes (n m, k h w), those of each row in turn."""
        given, seen = self._split(features, len(latent))
        images = latent.reshape(len(latent), *self.code_shape)
        reduced = self.reduce(torch.cat([images, seen], dim=1))
        values = self.alone(reduced).squeeze(1)
        if self.together is None:
            return values
        return values + (self.together(given) * reduced).sum(dim=1)


def _stages_of_images(channels: int, side: int) -> list[tuple[int, int]]:
    """Channels and stride of each convolution, by the smaller side of the images."""
    n_halvings = max(3, math.ceil(math.log2(side / _SMALL)))
    return [(channels * min(2**stage, 4), 2) for stage in range(n_halvings)]

"""Convolutions on both sides of a code that is a small image: a coder, and a field of such codes.

Both take and give flat rows and shape them to images inside.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from sklsdm.modules.condition_features import ConditionedModule, in_turn
from sklsdm.modules.fields import N_TIME_FEATURES, time_features
from sklsdm.modules.layers import ACTIVATIONS, conv, conv_transpose, linear, mlp, stages_of_halving
from sklsdm.modules.packing import RebuildableModule

GROUPS = 8  # of channels that are normalised together
EMBEDDING = 128  # numbers that stand for what scales the channels: time, condition, noise


class FeatureMapCoder(RebuildableModule):
    """E and D without a bottleneck of one vector: the code is an image (k, h, w), flattened.

    Each stage of the encoder halves height and width (rounded up); the decoder, which has more
    convolutions, restores them exactly.
    """

    def __init__(
        self,
        shape: Sequence[int],
        code_channels: int,
        channels: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        stages = stages_of_halving(shape, channels)
        act, inner = ACTIVATIONS[activation], stages[-1][0]
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for (n_out, *sides), (n_in, *_) in itertools.pairwise(stages):
            down += [conv(n_out, n_in, 3, 2, generator), act()]
            # The decoder is twice as wide as the encoder: it has the harder task.
            last = n_out if not up else 2 * n_out
            stage = [conv_transpose(2 * n_in, last, 3, sides, generator)]
            if up:
                stage += [act(), conv(last, last, 3, 1, generator), act()]
            up = [*stage, *up]
        self.code_shape = (code_channels, *stages[-1][1:])
        self.encoder = nn.Sequential(
            nn.Unflatten(1, stages[0]),
            *down,
            conv(inner, inner, 3, 1, generator),
            act(),
            conv(inner, code_channels, 1, 1, generator),
            nn.Flatten(),
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, self.code_shape),
            conv(code_channels, 2 * inner, 3, 1, generator),
            act(),
            conv(2 * inner, 2 * inner, 3, 1, generator),
            act(),
            *up,
            nn.Flatten(),
        )
        module: Any = self
        module.to(memory_format=torch.channels_last)

    def encode(self, target: Tensor) -> Tensor:
        return self.encoder(target)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decoder(latent)

    def forward(self, target: Tensor) -> Tensor:
        return self.decode(self.encode(target))


class ConvBlock(nn.Module):
    """Two convolutions around which a code image passes; an embedding scales its channels.

    The last convolution is zero at first, so that the block changes nothing.
    """

    def __init__(
        self, channels: int, generator: torch.Generator | None, groups: int = GROUPS
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, dtype=torch.float32)
        self.scale_and_shift = linear(EMBEDDING, 2 * channels, generator)
        self.first = conv(channels, channels, 3, 1, generator)
        self.second = conv(channels, channels, 3, 1, generator)
        with torch.no_grad():
            for parameter in self.second.parameters():
                parameter.zero_()

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.scale_and_shift(embedding)[:, :, None, None].chunk(2, dim=1)
        normed = self.norm(image)
        hidden = nn.functional.silu(torch.addcmul(normed + shift, normed, scale))
        return image + self.second(nn.functional.silu(self.first(hidden)))


class CodeImageModule(ConditionedModule):
    """Base of the networks of codes that are images (k, h, w), flat in the rows.

    A condition that is an image gives features, as everywhere, and also enters as channels,
    resized to (h, w), so that it keeps its place.
    """

    def _set_shapes(
        self,
        condition_dim: int,
        code_shape: Sequence[int],
        image_shape: Sequence[int] | None,
        generator: torch.Generator | None,
    ) -> None:
        """Make the condition encoder and set the numbers of its features and resized pixels."""
        self.code_shape = tuple(code_shape)
        self.image_shape = None if image_shape is None else tuple(image_shape)
        self.n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self.seen_channels = 0 if self.image_shape is None else self.image_shape[0]
        self.n_seen = self.seen_channels * math.prod(self.code_shape[1:])

    @property
    def dim(self) -> int:
        """Numbers of one code."""
        return math.prod(self.code_shape)

    def features(self, condition: Tensor) -> Tensor:
        """Features (n, f) of the condition, and for an image its resized pixels."""
        found = super().features(condition)
        if self.image_shape is None:
            return found
        images = condition.reshape(-1, *self.image_shape)
        seen = nn.functional.interpolate(
            images, self.code_shape[1:], mode="bilinear", antialias=True, align_corners=False
        )
        return torch.cat([found, seen.flatten(1)], dim=1)

    def _split(self, features: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
        """Features (n_rows, f) and resized images (n_rows, c, h, w), each repeated in turn."""
        found, seen = in_turn(features, n_rows).split([self.n_features, self.n_seen], dim=1)
        return found, seen.reshape(n_rows, self.seen_channels, *self.code_shape[1:])


class ConvField(CodeImageModule):
    """F(x, u, t) for codes that are images (k, h, w), flat in the rows: residual convolutions.

    Codes are taken as they are, without a regression on x. In the middle a hidden layer sees the
    whole image at once. A condition that is an image also enters as channels, resized to (h, w).
    Features of zeros stand for "no condition": those of a condition end with a one.
    """

    takes_several: ClassVar[bool] = True
    place: Tensor

    def __init__(
        self,
        condition_dim: int,
        code_shape: Sequence[int],
        channels: int,
        n_blocks: int = 2,
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self._set_shapes(condition_dim, code_shape, image_shape, generator)
        self.n_features += 1  # the one that tells a condition from none
        n_channels, height, width = self.code_shape
        sides = [torch.linspace(-1, 1, side, dtype=torch.float32) for side in (height, width)]
        self.register_buffer("place", torch.stack(torch.meshgrid(*sides, indexing="ij"))[None])
        self.embed = nn.Sequential(
            *mlp(N_TIME_FEATURES + self.n_features, EMBEDDING, [EMBEDDING], "silu", generator),
            nn.SiLU(),
        )
        self.inwards = conv(n_channels + 2 + self.seen_channels, channels, 3, 1, generator)
        self.before = nn.ModuleList(ConvBlock(channels, generator) for _ in range(n_blocks))
        few = max(1, channels // 4)
        self.narrow = conv(channels, few, 1, 1, generator)
        self.widen = conv(few, channels, 1, 1, generator)
        flat = few * height * width
        self.whole = mlp(flat, flat, [256], "silu", generator)
        self.after = nn.ModuleList(ConvBlock(channels, generator) for _ in range(n_blocks))
        self.outwards = conv(channels, n_channels, 3, 1, generator)
        with torch.no_grad():
            for parameter in self.outwards.parameters():
                parameter.zero_()
        module: Any = self
        module.to(memory_format=torch.channels_last)

    def features(self, condition: Tensor) -> Tensor:
        """Features (n, f) of the condition and a one, and for an image its resized pixels."""
        found, seen = super().features(condition).split([self.n_features - 1, self.n_seen], dim=1)
        return torch.cat([found, found.new_ones((len(found), 1)), seen], dim=1)

    def residual(self, condition: Tensor, latent: Tensor) -> Tensor:
        """u = z: codes are not whitened, which would mix their pixels."""
        return latent.expand(*np.broadcast_shapes(condition.shape[:-1], latent.shape[:-1]), -1)

    def latent(self, condition: Tensor, residual: Tensor) -> Tensor:
        """z = u."""
        return residual

    def forward(self, features: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """The field (n, k h w) at residuals of that shape and times (n, 1) or (1, 1)."""
        n_rows = len(residual)
        given, seen = self._split(features, n_rows)
        embedding = self.embed(torch.cat([time_features(time).expand(n_rows, -1), given], dim=1))
        image = torch.cat(
            [
                residual.reshape(n_rows, *self.code_shape),
                self.place.expand(n_rows, -1, -1, -1),
                seen,
            ],
            dim=1,
        )
        hidden = self.inwards(image)
        for block in self.before:
            hidden = block(hidden, embedding)
        few = self.narrow(hidden)
        hidden = hidden + self.widen(self.whole(few.flatten(1)).view_as(few))
        for block in self.after:
            hidden = block(hidden, embedding)
        return self.outwards(hidden).flatten(1)

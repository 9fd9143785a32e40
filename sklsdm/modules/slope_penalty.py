"""The penalty on the slope of a critic, of codes or of images."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from sklsdm.functional.penalties import flatness_penalty, gradient_penalty, input_gradient
from sklsdm.modules.critics import Critic


class SlopePenalty:
    """A penalty on the critic's slope in z, or in (x, z) where `joint`.

    `kind` "two-sided" holds it near 1 and "one-sided" below about 1, at random points between real
    and drawn codes. "flat" pulls it to 0, at real and at drawn codes (R1 + R2). It is computed for
    the `share` of the rows.
    """

    def __init__(self, kind: str, weight: float, joint: bool = False, share: float = 1.0) -> None:
        self.kind = kind
        self.weight = weight
        self.joint = joint
        self.share = share

    def __call__(
        self,
        critic: Any,
        features: Tensor,
        real: Tensor,
        drawn: Tensor,
        uniform: Tensor | None = None,
    ) -> Tensor:
        """The weighted penalty; all arguments have b rows.

        `uniform` (b, 1), between 0 and 1, says where points between real and drawn codes lie.
        """
        some = math.ceil(self.share * len(real))
        features, real, drawn = features[:some], real[:some], drawn[:some]
        if self.kind == "flat":
            both = torch.cat([features, features])
            slopes = self._slopes(critic, both, torch.cat([real, drawn]))
            # The mean over real and drawn codes together is half of R1 + R2.
            return self.weight * 2 * flatness_penalty(slopes)
        assert uniform is not None
        slopes = self._slopes(critic, features, torch.lerp(real, drawn, uniform[:some]))
        return self.weight * gradient_penalty(slopes, one_sided=self.kind == "one-sided")

    def _slopes(self, critic: Any, features: Tensor, latent: Tensor) -> Tensor:
        """The critic's gradients in z, or in (x, z) where `joint`."""
        if self.joint and features.shape[1]:
            points = torch.cat([features.detach(), latent], dim=1).requires_grad_(True)
            sizes = [features.shape[1], latent.shape[1]]
            return input_gradient(critic(*points.split(sizes, dim=1)), points)
        if isinstance(critic, Critic):
            return critic.slopes(features, latent)
        points = latent.detach().requires_grad_(True)
        return input_gradient(critic(features, points), points)

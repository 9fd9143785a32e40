"""The latent space that stage 1 has learnt: responses into standardised codes, and draws back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.drawing import Sampler
from sklsdm.matchers import BaseMatcher
from sklsdm.responses import ResponseFormat, Responses, Standardiser

_SMALLEST_SPREAD = 1e-6  # codes that vary less are not divided by their standard deviation


@dataclass(frozen=True)
class LatentSpace:
    """A fitted autoencoder and the standardisation of its codes, on which stage 2 works."""

    autoencoder: BaseAutoencoder
    standardiser: Standardiser  # of the autoencoder's codes
    form: ResponseFormat
    device: torch.device

    @classmethod
    def learn(
        cls, autoencoder: BaseAutoencoder, responses: Responses, device: torch.device
    ) -> tuple[LatentSpace, Tensor]:
        """The space of a fitted autoencoder, and the codes (n + N, k) of all responses in it."""
        codes = autoencoder.encode_all(responses, device)
        mean = codes.mean(dim=0)
        std = codes.std(dim=0, correction=0)
        if autoencoder.code_shape_ is not None:
            mean, std = _shared_by_channel(mean, std, autoencoder.code_shape_[0])
        std = torch.where(std > _SMALLEST_SPREAD, std, torch.ones_like(std))
        standardiser = Standardiser(mean.cpu().double().numpy(), std.cpu().double().numpy())
        return cls(autoencoder, standardiser, responses.format, device), codes.sub_(mean).div_(std)

    def encode(self, y: NDArray[Any]) -> Tensor:
        """Standardised codes (n, k) of raw responses, as stage 2 uses them."""
        rows = torch.from_numpy(self.form.flatten(y))
        codes = self.autoencoder.encode_block(rows, self.device).cpu().numpy()
        return torch.from_numpy(self.standardiser.forward(codes)).to(self.device)

    def sampler(self, matcher: BaseMatcher) -> Sampler:
        """Draws by a matcher that was fitted in this space."""
        return Sampler(matcher, self.autoencoder, self.standardiser, self.form, self.device)


def _shared_by_channel(mean: Tensor, std: Tensor, n_channels: int) -> tuple[Tensor, Tensor]:
    """One mean and one standard deviation for all pixels of a channel, at each of its pixels.

    Pixels at the rim, which hardly vary, then stay as small as they are.
    """
    means, variances = mean.view(n_channels, -1), std.square().view(n_channels, -1)
    shared = means.mean(dim=1, keepdim=True)
    total = (variances + (means - shared).square()).mean(dim=1, keepdim=True)
    return shared.expand_as(means).flatten(), total.sqrt().expand_as(means).flatten()

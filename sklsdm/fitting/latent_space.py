"""The latent space that stage 1 has learnt: responses into standardised codes, and draws back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklsdm.autoencoders import BaseAutoencoder, IdentityAutoencoder
from sklsdm.draws.drawing import Sampler
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.standardising import Standardiser
from sklsdm.matchers import BaseMatcher, ImagesOfCodes

_DECODED = 64  # codes, to see whether the decoder gives finite responses
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
        cls,
        autoencoder: BaseAutoencoder,
        responses: Responses,
        device: torch.device,
        before: LatentSpace | None = None,
    ) -> tuple[LatentSpace, Tensor]:
        """The space of a fitted autoencoder, and the codes (n + N, k) of all responses in it.

        Where its training went on from that of the space `before`, the standardisation follows the
        codes as they move: those of `responses` keep the mean and the spread that they had before,
        so that what stage 2 has learnt still holds as well as it can.
        """
        codes = autoencoder.encode_all(responses, device)
        mean, std = _moments(codes, autoencoder)
        _check_finite(codes, mean + std, autoencoder, device)
        if before is not None:
            earlier = before.autoencoder
            old_mean, old_std = _moments(earlier.encode_all(responses, device), earlier)
            center, scale = before.standardiser.tensors(mean)
            growth = std / old_std
            mean, std = mean - growth * (old_mean - center), growth * scale
        standardiser = Standardiser(mean.cpu().double().numpy(), std.cpu().double().numpy())
        return cls(autoencoder, standardiser, responses.format, device), codes.sub_(mean).div_(std)

    def codes(self, responses: Responses) -> Tensor:
        """Standardised codes (n + N, k) of all responses."""
        codes = self.autoencoder.encode_all(responses, self.device)
        mean, scale = self.standardiser.tensors(codes)
        return codes.sub_(mean).div_(scale)

    def encode(self, y: NDArray[Any]) -> Tensor:
        """Standardised codes (n, k) of raw responses, as stage 2 uses them."""
        codes = self.autoencoder.encode_blocks(self.form.flat_blocks(y), self.device)
        return torch.from_numpy(self.standardiser.forward(codes)).to(self.device)

    def decoder(self) -> ImagesOfCodes | None:
        """The decoder of codes that are images into images; None for others and stochastic ones."""
        coder, is_stochastic = self.autoencoder.coder_, self.autoencoder.decoder_noise_dim_ > 0
        both_images = self.autoencoder.code_shape_ is not None and self.form.is_image
        if not both_images or is_stochastic or not isinstance(coder, nn.Module):
            return None
        here = torch.empty(0, dtype=torch.float32, device=self.device)
        return ImagesOfCodes(coder, *self.standardiser.tensors(here), self.form.image_shape)

    def sampler(self, matcher: BaseMatcher) -> Sampler:
        """Draws by a matcher that was fitted in this space."""
        return Sampler(matcher, self.autoencoder, self.standardiser, self.form, self.device)


def _check_finite(
    codes: Tensor, moments: Tensor, autoencoder: BaseAutoencoder, device: torch.device
) -> None:
    """Raise if codes (n, k), or the responses that some are decoded to, are not finite.

    All codes are looked at only where their `moments` (k,) are not finite.
    """
    given = (
        "It is given standardised responses, with mean 0 and standard deviation 1, some of which "
        "are negative."
    )
    n_bad = 0 if moments.isfinite().all() else int((~codes.isfinite()).any(dim=1).sum())
    if n_bad:
        raise ValueError(
            f"autoencoder={autoencoder!r} gives codes that are not finite for {n_bad} of "
            f"{len(codes)} responses. {given}"
        )
    some = codes[:_DECODED].to(device)
    noise = some.new_zeros((len(some), autoencoder.decoder_noise_dim_))
    if not autoencoder.decode(some, noise).isfinite().all():
        raise ValueError(
            f"autoencoder={autoencoder!r} decodes codes of responses to values that are not "
            f"finite. {given}"
        )


def _moments(codes: Tensor, autoencoder: BaseAutoencoder) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (k,) of codes; 1 instead of a standard deviation near 0."""
    mean = codes.mean(dim=0)
    std = codes.std(dim=0, correction=0)
    if autoencoder.code_shape_ is not None:
        mean, std = _shared_by_channel(mean, std, autoencoder.code_shape_[0])
    return mean, torch.where(std > _SMALLEST_SPREAD, std, torch.ones_like(std))


def _shared_by_channel(mean: Tensor, std: Tensor, n_channels: int) -> tuple[Tensor, Tensor]:
    """One mean and one standard deviation for all pixels of a channel, at each of its pixels.

    Pixels at the rim, which hardly vary, then stay as small as they are.
    """
    means, variances = mean.view(n_channels, -1), std.square().view(n_channels, -1)
    shared = means.mean(dim=1, keepdim=True)
    total = (variances + (means - shared).square()).mean(dim=1, keepdim=True)
    return shared.expand_as(means).flatten(), total.sqrt().expand_as(means).flatten()


@dataclass(frozen=True)
class Coded:
    """A latent space, with the standardised codes (n + N, k) of the responses it was learnt from.

    Where it was learnt from the pairs alone, N is 0. Rows `held_out` chose the state of its
    networks, which did not learn from them.
    """

    space: LatentSpace
    codes: Tensor
    held_out: NDArray[np.intp]

    @property
    def are_images(self) -> bool:
        """Whether codes are small images."""
        return self.space.autoencoder.code_shape_ is not None

    @property
    def learns_space(self) -> bool:
        """Whether the space was learnt from the responses, and is not that of them themselves."""
        return not isinstance(self.space.autoencoder, IdentityAutoencoder)

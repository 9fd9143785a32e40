"""A decoder of images is trained once more, with a critic that tells rebuilt images from real ones.

The squared error alone gives the mean of all images that a code may stand for, which is blurred.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.autoencoders.trained import Inside
from sklsdm.batches import RowBatches, StreamedBatches
from sklsdm.functional.critic_losses import relativistic_critic_loss, relativistic_generator_loss
from sklsdm.modules import ConvCritic, SlopePenalty
from sklsdm.nets import Adam, AdversarialNet, Look, default_callbacks
from sklsdm.noise import standard_normal
from sklsdm.parts import IMAGE_CRITIC_BETAS, IMAGE_CRITIC_PENALTY
from sklsdm.run import Run, Stream
from sklsdm.stages import SHARPENING

_JUDGED = 0.5  # share of a batch that the critic sees
_PENALISED = 0.5  # share of these images at which its slope is penalised
_CHANNELS = 16  # of the critic's first convolution


def noisy_codes(codes: Tensor, noise: float, random: torch.Generator) -> Tensor:
    """Codes (b, k) with Gaussian noise, in units of their spread over the batch."""
    spread = codes.detach().std(correction=0)
    return codes + noise * spread * standard_normal(codes.shape, random)


class SharpeningObjective:
    """The loss of a decoder, squared error and a critic's loss, and that of the critic.

    Parameters
    ----------
    encoder : torch.nn.Module
        Gives the codes (b, k) of rows (b, q); it stays as it is.
    inside : callable
        Brings rebuilt rows into the responses' range.
    weight : float
        Of the critic's part in the decoder's loss.
    noise : float
        Standard deviation of the noise on codes, in units of their spread.
    random : torch.Generator
        Of that noise.
    """

    recordable = True

    def __init__(
        self,
        encoder: nn.Module,
        inside: Inside,
        weight: float,
        noise: float,
        random: torch.Generator,
    ) -> None:
        self.encoder = encoder
        self.inside = inside
        self.weight = weight
        self.noise = noise
        self.random = random
        self.penalty = SlopePenalty("flat", IMAGE_CRITIC_PENALTY, share=_PENALISED)

    def _codes(self, target: Tensor) -> Tensor:
        with torch.no_grad():
            return noisy_codes(self.encoder(target), self.noise, self.random)

    def critic_loss(self, decoder: Any, critic: Any, target: Tensor) -> Tensor:
        """Loss of the critic on rows (b, q); the decoder gets no gradient."""
        real = _judged(target)
        with torch.no_grad():
            rebuilt = self.inside(decoder(self._codes(real)))
        loss = relativistic_critic_loss(_values(critic, real), _values(critic, rebuilt))
        return loss + self.penalty(critic, _no_features(real), real, rebuilt)

    def generator_loss(self, decoder: Any, critic: Any, target: Tensor) -> Tensor:
        """Loss of the decoder on rows (b, q), against a critic whose parameters are frozen."""
        rebuilt = self.inside(decoder(self._codes(target)))
        error = (rebuilt - target).square().mean()
        values = (_values(critic, _judged(rows)) for rows in (target, rebuilt))
        return error + self.weight * relativistic_generator_loss(*values)


def _judged(rows: Tensor) -> Tensor:
    """The rows of a batch that the critic sees."""
    return rows[: math.ceil(_JUDGED * len(rows))]


def _no_features(rows: Tensor) -> Tensor:
    """Features (b, 0) of conditions, for a critic that has none."""
    return rows[:, :0]


def _values(critic: Any, rows: Tensor) -> Tensor:
    """The critic's values (b, 1)."""
    values: Tensor = critic(_no_features(rows), rows)
    return values.unsqueeze(1)


class ForBothPlayers:
    """Batches of one training step each, of which critic and decoder both learn."""

    def __init__(self, batches: RowBatches | StreamedBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for (rows,) in self.batches:
            yield [rows, rows]


def sharpen(
    coder: Any,
    image_shape: tuple[int, ...],
    objective: SharpeningObjective,
    batches: RowBatches | StreamedBatches,
    *,
    n_epochs: int,
    lr: float,
    look: Look,
    run: Run,
) -> AdversarialNet:
    """Train `coder.decoder` in place; returns the net, which tells of its training.

    One process trains, by `run`. `look` is at what `coder` rebuilds.
    """
    weights = run.weights(Stream.SHARPENING_WEIGHTS)
    net = AdversarialNet(
        coder.decoder,
        ConvCritic(0, image_shape, _CHANNELS, generator=weights, of_images=True),
        criterion=lambda: objective,
        optimizer=Adam,
        optimizer__betas=IMAGE_CRITIC_BETAS,
        lr=lr,
        critic_optimizer=Adam,
        critic_optimizer__lr=2 * lr,
        critic_optimizer__betas=IMAGE_CRITIC_BETAS,
        max_epochs=n_epochs,
        random=objective.random,
        device=str(run.device),
        verbose=0,
        callbacks=default_callbacks(SHARPENING, run=run, look=look.at(coder)),
    )
    net.fit(ForBothPlayers(batches))
    if net.interrupted_:
        raise KeyboardInterrupt
    coder.eval()
    return net

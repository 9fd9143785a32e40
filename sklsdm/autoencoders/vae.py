"""The variational autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm._validation import check_integer, check_real
from sklsdm.autoencoders.base import Inside, Loss, TrainedAutoencoder
from sklsdm.coders import Coder
from sklsdm.modules import mlp
from sklsdm.nets.run import Run
from sklsdm.responses import ResponseFormat, Responses

_FIRST_LOG_SPREAD = -1.5


class VAECoder(Coder):
    """An MLP coder whose encoder also gives the spread of the code.

    `encode` is the posterior's mean; codes are counted in units of `scale`, so that they start
    with unit variance.
    """

    scale: Tensor

    def __init__(
        self,
        width: int,
        latent_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(width, latent_dim)
        self.config = {
            "width": width,
            "latent_dim": latent_dim,
            "widths": tuple(widths),
            "activation": activation,
        }
        inside = list(reversed(widths))
        self.encoder = mlp(width, 2 * latent_dim, widths, activation, generator, last_scale=0.0)
        self.decoder = mlp(latent_dim, width, inside, activation, generator, last_scale=0.0)
        self.register_buffer("scale", torch.ones(latent_dim))

    def posterior(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the spread, both (n, k), of the code given the row."""
        mean, log_spread = self.encoder(target).chunk(2, dim=-1)
        return self.linear.encode(target) / self.scale + mean, log_spread + _FIRST_LOG_SPREAD

    def encode(self, target: Tensor) -> Tensor:
        return self.posterior(target)[0]

    def decode(self, latent: Tensor) -> Tensor:
        moved = (latent * self.scale) @ self.linear.components + self.decoder(latent)
        return self.linear.center + self.gain * moved

    def linear_slope(self, spread: Tensor) -> Tensor:
        return self.linear.slope(spread * self.scale)


class VariationalLoss:
    """Squared error at a drawn code, plus 2 β / q times its divergence from N(0, I)."""

    def __init__(
        self, beta: float, free_bits: float, inside: Inside, random: torch.Generator
    ) -> None:
        self.beta = beta
        self.free_bits = free_bits
        self.inside = inside
        self.random = random

    def __call__(self, coder: VAECoder, target: Tensor) -> Tensor:
        mean, log_spread = coder.posterior(target)
        noise = torch.randn(mean.shape, generator=self.random, device=mean.device)
        rows = self.inside(coder.decode(mean + log_spread.exp() * noise))
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1) - log_spread
        paid = divergence.mean(dim=0).clamp(min=self.free_bits).sum()
        return (rows - target).square().mean() + 2 * self.beta / target.shape[1] * paid


class VAEAutoencoder(TrainedAutoencoder):
    r"""Variational autoencoder: codes near N(0, I), and a decoder that bears small errors in them.

    Minimises, over encoder q(z | y) = N(μ(y), diag σ²(y)) and decoder D,

    .. math:: \frac1q E\|y - D(z)\|^2 + \frac{2β}{q} \sum_j \max(λ, E\,KL_j),

    with y standardised: with λ = 0 the evidence bound of a model whose outputs have residual
    variance β. Codes are the means μ(y); the decoder is deterministic.

    When to use: few pairs, where stage 2 errs and the decoder should forgive it; the blur that
    this costs is what `beta` buys. Codes that β prunes are drawn but ignored by the decoder.
    Cost: as :class:`MLPAutoencoder`.

    Parameters
    ----------
    beta : float > 0, default=0.1
        Weight of the divergence: the residual variance expected, as a share of the outputs'.
        Larger values smooth the decoder and prune dimensions of the code.
    free_bits : float >= 0, default=0.1
        Divergence, in nats, that a dimension of the code has for nothing: keeps it from
        collapsing.
    widths : sequence of int, default=(512, 256)
        Hidden widths of the encoder; the decoder mirrors them.
    activation : {"silu", "elu", "gelu", "leaky_relu", "relu"}, default="silu"
        Between the layers.
    max_epochs : int, default=30
        Most passes over the responses (at least 50 steps each, however few they are).
    lr : float, default=2e-3
        Initial rate of AdamW; falls to zero along half a cosine.
    batch_size : int, default=128
        Responses in one step.
    weight_decay : float, default=0.1
        Of AdamW (per step: lr times this).
    lipschitz : float or None, default=None
        Limit on the decoder's slope, as in :class:`MLPAutoencoder`.
    n_iter_no_change : int or None, default=10
        Stop after so many epochs without a lower loss on held-out responses; None never stops.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Kingma & Welling 2014 (arXiv 1312.6114), equation 7; Higgins et al. 2017 for β; Kingma et al.
    2016 (arXiv 1606.04934), appendix C.8, for the free bits.
    """

    def __init__(
        self,
        beta: float = 0.1,
        free_bits: float = 0.1,
        *,
        widths: Sequence[int] = (512, 256),
        activation: str = "silu",
        max_epochs: int = 30,
        lr: float = 2e-3,
        batch_size: int = 128,
        weight_decay: float = 0.1,
        lipschitz: float | None = None,
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.beta = beta
        self.free_bits = free_bits
        self.widths = widths
        self.activation = activation
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.lipschitz = lipschitz
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        check_real("autoencoder__beta", self.beta, 0.0, open_low=True)
        check_real("autoencoder__free_bits", self.free_bits, 0.0)
        for width in self.widths:
            check_integer("autoencoder__widths", width, 1)

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> VAECoder:
        return VAECoder(form.width, latent_dim, self.widths, self.activation, random)

    def _start(
        self, coder: VAECoder, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> None:
        super()._start(coder, responses, rows, run)
        spread = self._linear_codes(coder.linear, responses, rows).std(dim=0, correction=0)
        coder.scale.copy_(spread.clamp(min=1e-3))

    def _loss(self, inside: Inside, random: torch.Generator) -> Loss:
        return VariationalLoss(float(self.beta), float(self.free_bits), inside, random)

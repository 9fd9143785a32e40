"""The variational autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.autoencoders.trained import DenseAutoencoder, Inside, RowLoss
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.modules import MLPCoder
from sklsdm.noise import standard_normal
from sklsdm.parameters import above, at_least, parameter
from sklsdm.run import Run

_FIRST_LOG_SPREAD = -1.5  # ln of the posterior's standard deviation where training starts


class VAECoder(MLPCoder):
    """An MLP coder whose encoder also gives the standard deviation of the code.

    `encode` gives the posterior's mean. Codes are divided by `scale`, so that they have unit
    variance where training starts.
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
        super().__init__(width, latent_dim, widths, activation, generator, extra_outputs=latent_dim)
        self.register_buffer("scale", torch.ones(latent_dim, dtype=torch.float32))

    def posterior(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, both (n, k), of the code given the row."""
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
    """Squared error at a drawn code, plus 2 β / q times the posterior's KL from N(0, I)."""

    recordable: ClassVar[bool] = True

    def __init__(
        self, beta: float, free_bits: float, inside: Inside, random: torch.Generator
    ) -> None:
        self.beta = beta
        self.free_bits = free_bits
        self.inside = inside
        self.random = random

    def __call__(self, coder: VAECoder, target: Tensor) -> Tensor:
        mean, log_spread = coder.posterior(target)
        noise = standard_normal(mean.shape, self.random)
        rows = self.inside(coder.decode(mean + log_spread.exp() * noise))
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1) - log_spread
        penalty = divergence.mean(dim=0).clamp(min=self.free_bits).sum()
        return (rows - target).square().mean() + 2 * self.beta / target.shape[1] * penalty


class VAEAutoencoder(DenseAutoencoder):
    r"""Variational autoencoder: codes near N(0, I), and a decoder that tolerates small errors.

    Minimises, over encoder q(z | y) = N(μ(y), diag σ²(y)) and decoder D,

    .. math:: \frac1q E\|y - D(z)\|^2 + \frac{2β}{q} \sum_j \max(λ, E\,KL_j),

    with y standardised; KL_j is the divergence of the code's dimension j from N(0, 1). With λ = 0
    this is the negative evidence bound, up to constants, of a model whose outputs have residual
    variance β. Codes are the means μ(y); the decoder is deterministic.

    When to use: where pairs are few, so that codes drawn in stage 2 have errors which the decoder
    should not magnify. A larger `beta` makes it smoother and the responses more blurred.
    Dimensions of the code that β prunes are drawn too, but the decoder ignores them. Cost: as
    :class:`MLPAutoencoder`.

    References
    ----------
    Kingma & Welling 2014 (arXiv 1312.6114), equation 7; Higgins et al. 2017 for β; Kingma et al.
    2016 (arXiv 1606.04934), appendix C.8, for the free bits.
    """

    beta: float = parameter(
        default=0.1,
        rule=above(0.0),
        doc="""Weight β of the divergence: the residual variance that is expected, as a share of the
        outputs' variance. Larger values smooth the decoder and prune dimensions of the code.""",
        kw_only=False,
    )
    free_bits: float = parameter(
        default=0.1,
        rule=at_least(0.0),
        doc="""Divergence λ, in nats, below which a dimension of the code is not penalised; this
        keeps the dimension from being pruned.""",
        kw_only=False,
    )

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> VAECoder:
        return VAECoder(form.width, latent_dim, self.widths, self.activation, random)

    def _start(
        self, coder: VAECoder, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> None:
        super()._start(coder, responses, rows, run)
        spread = self._linear_codes(coder.linear, responses, rows).std(dim=0, correction=0)
        coder.scale.copy_(spread.clamp(min=1e-3))

    def _loss(self, inside: Inside, random: torch.Generator) -> RowLoss:
        return VariationalLoss(float(self.beta), float(self.free_bits), inside, random)

"""The distributional principal autoencoder: a stochastic decoder trained by the energy score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.autoencoders.base import principal_coder, rows_within_memory
from sklsdm.autoencoders.trained import DenseAutoencoder, Inside, RowLoss
from sklsdm.functional.scores import energy_score
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.modules import MLPCoder, linear
from sklsdm.noise import standard_normal
from sklsdm.parameters import integer, or_auto, parameter
from sklsdm.run import Run

_MEAN_DRAWS = 16  # draws of the decoder whose mean is its output without noise
_AUTO_NOISE = 16  # largest noise_dim that "auto" takes


class DPACoder(MLPCoder):
    """An MLP coder whose decoder also takes noise; without noise it gives the mean of draws.

    The noise has a linear path of its own. It starts at the principal components after those that
    the code has, so that draws have about the right spread before the first step.
    """

    bank: Tensor

    def __init__(
        self,
        width: int,
        latent_dim: int,
        noise_dim: int,
        widths: Sequence[int],
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(width, latent_dim, widths, activation, generator, extra_inputs=noise_dim)
        self.spread = linear(noise_dim, width, generator, bias=False)
        half = torch.zeros((_MEAN_DRAWS // 2, noise_dim), dtype=torch.float32)
        if generator is not None:  # otherwise the state that is loaded next has the numbers
            half.normal_(generator=generator)
        self.register_buffer("bank", torch.cat([half, -half]))

    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is None:
            draws = [self.decode(latent, row.expand(len(latent), -1)) for row in self.bank]
            return torch.stack(draws).mean(dim=0)
        moved = latent @ self.linear.components + self.spread(noise)
        moved = moved + self.decoder(torch.cat([latent, noise], dim=-1))
        return self.linear.center + self.gain * moved


class DistributionalLoss:
    """Energy score of `n_draws` draws of the decoder for each row, divided by √q."""

    recordable: ClassVar[bool] = True

    def __init__(self, n_draws: int, inside: Inside, random: torch.Generator) -> None:
        self.n_draws = n_draws
        self.inside = inside
        self.random = random

    def __call__(self, coder: DPACoder, target: Tensor) -> Tensor:
        latent = coder.encode(target).repeat_interleave(self.n_draws, dim=0)
        noise_dim = coder.bank.shape[1]
        shape = (len(latent), noise_dim)
        noise = standard_normal(shape, self.random)
        draws = self.inside(coder.decode(latent, noise)).view(len(target), self.n_draws, -1)
        return energy_score(draws, target).mean() / target.shape[1] ** 0.5


class DPAAutoencoder(DenseAutoencoder):
    r"""Distributional principal autoencoder: D(E(y), ε) follows the law of y given its code.

    Minimises the energy score of the reconstruction,

    .. math:: E\|y - D(E(y), ε)\| - \tfrac12 E\|D(E(y), ε) - D(E(y), ε')\|,

    with independent ε, ε' ~ N(0, I). The encoder is deterministic. Each draw of the estimator
    takes a fresh ε, so that what the code does not hold is drawn rather than replaced by its mean.
    `decode` and `reconstruct`, which take no noise, give the mean of 16 draws.

    When to use: for a small `latent_dim` and responses with detail or noise that a code of that
    size cannot hold; draws keep their spread. Cost: `n_draws` decoder passes a step.

    References
    ----------
    Shen & Meinshausen 2024, "Distributional principal autoencoders" (arXiv 2404.13649), section
    2, for one latent dimension.
    """

    n_draws: int = parameter(
        default=2,
        rule=integer(2),
        doc="Draws for each response in one step. More make the steps less noisy and slower.",
        kw_only=False,
    )
    noise_dim: int | str = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc='Dimension of ε; "auto" is the number of outputs, at most 16.',
    )

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> DPACoder:
        auto = min(_AUTO_NOISE, form.width)
        self.decoder_noise_dim_ = auto if self.noise_dim == "auto" else int(self.noise_dim)
        return DPACoder(
            form.width, latent_dim, self.decoder_noise_dim_, self.widths, self.activation, random
        )

    def _start(
        self, coder: DPACoder, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> None:
        latent_dim = len(coder.linear.components)
        most = min(len(rows) - 1, responses.width)
        dim = max(latent_dim, min(latent_dim + self.decoder_noise_dim_, most))
        start = principal_coder(
            responses, rows_within_memory(responses, rows, 2 * dim), dim, run.seed
        )
        spread = self._linear_codes(start, responses, rows).std(dim=0, correction=0)
        with torch.no_grad():
            coder.linear.center.copy_(start.center)
            coder.linear.components.copy_(start.components[:latent_dim])
            coder.spread.weight.zero_()
            left_out = (spread[:, None] * start.components)[latent_dim:]
            coder.spread.weight[:, : dim - latent_dim] = left_out.T

    def _loss(self, inside: Inside, random: torch.Generator) -> RowLoss:
        return DistributionalLoss(self.n_draws, inside, random)

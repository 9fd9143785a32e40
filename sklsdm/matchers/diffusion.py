"""Matching by latent diffusion: denoising given the condition, drawn in several steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor

from sklsdm._validation import check_choice, check_real
from sklsdm.functional.diffusion import (
    SAMPLERS,
    denoise,
    denoising_residual,
    noise_columns,
    noise_levels,
    solve,
)
from sklsdm.matchers.base import Field, FieldMatcher, FieldObjective, MatchingData, Plan


class DenoisingObjective(FieldObjective):
    """Karras et al.'s loss: ln σ is normal, every level weighs the same at the start."""

    def __init__(
        self, data: MatchingData, plan: Plan, log_sigma_mean: float, log_sigma_std: float
    ) -> None:
        super().__init__(data, plan)
        self.log_sigma_mean = log_sigma_mean
        self.log_sigma_std = log_sigma_std

    def errors(
        self, field: Field, condition: Tensor, target: Tensor, noise: Tensor, uniform: Tensor
    ) -> Tensor:
        normal = uniform.clamp(min=1e-6).mul(2).sub(1).erfinv() * 2**0.5
        sigma = (self.log_sigma_mean + self.log_sigma_std * normal).exp()
        return denoising_residual(field, target, noise, sigma)

    def misfit(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        residual = denoising_residual(field, target, noise, sigma)
        return residual.square().sum(dim=1) / (1 + sigma[0].square())


class DiffusionMatcher(FieldMatcher):
    r"""Latent diffusion: denoise codes given x, draw by following the denoiser from noise.

    The denoiser's error is :math:`E\|D(z + \sigma\epsilon; x, \sigma) - z\|^2` with weights that
    level the noise scales; z is the code's whitened residual from ridge regression on x.

    When to use: the most faithful draws from a short fit. Cost: one small backward pass a step;
    a draw takes `n_steps` passes (one-step matchers take one).

    Parameters
    ----------
    sampler : {"multistep", "heun", "ddim", "ancestral"}, default="multistep"
        How draws follow the denoiser: three deterministic ways, and one that adds noise again
        at every step ("ancestral").
    n_steps : int, default=16
        Noise levels visited by a draw.
    log_sigma_mean, log_sigma_std : float, default=-1.2, 1.2
        Mean and standard deviation of ln σ in training.
    sigma_min, sigma_max : float, default=0.02, 8.0
        Noise levels between which a draw runs.
    widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the denoiser.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between the layers.
    max_steps : int, default=3000
        Most steps; no more than 10 for each code learnt from are taken.
    lr : float, default=1e-3
        Initial rate of Adam; falls to zero along half a cosine.
    batch_size : int, default=256
        Pairs in one step (no more than there are, at least 16).
    ema_decay : float in [0, 1), default=0.995
        Of the moving average of the parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of codes without a condition, to which the
        field's own p(x | z) gives one of those of the pairs. "auto" is the unpaired share,
        N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a lower error on held-out pairs.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), proposition 4.1, for the link to W1; Karras et al. 2022
    (arXiv 2206.00364), equations 7 and 8 and table 1; Lu et al. 2022 (arXiv 2211.01095) for the
    multistep sampler.
    """

    def __init__(
        self,
        sampler: str = "multistep",
        n_steps: int = 16,
        *,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        sigma_min: float = 0.02,
        sigma_max: float = 8.0,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "leaky_relu",
        max_steps: int = 3000,
        lr: float = 1e-3,
        batch_size: int = 256,
        ema_decay: float = 0.995,
        condition_noise: float = 0.0,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.sampler = sampler
        self.n_steps = n_steps
        self.log_sigma_mean = log_sigma_mean
        self.log_sigma_std = log_sigma_std
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.widths = widths
        self.activation = activation
        self.max_steps = max_steps
        self.lr = lr
        self.batch_size = batch_size
        self.ema_decay = ema_decay
        self.condition_noise = condition_noise
        self.unpaired_weight = unpaired_weight
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        check_choice("matcher__sampler", self.sampler, SAMPLERS)
        check_real("matcher__log_sigma_mean", self.log_sigma_mean, -10.0, 10.0)
        check_real("matcher__log_sigma_std", self.log_sigma_std, 0.0, open_low=True)
        low = check_real("matcher__sigma_min", self.sigma_min, 0.0, open_low=True)
        check_real("matcher__sigma_max", self.sigma_max, low, open_low=True)

    def _objective(self, data: MatchingData, plan: Plan) -> DenoisingObjective:
        return DenoisingObjective(data, plan, self.log_sigma_mean, self.log_sigma_std)

    def _noise_dim(self, latent_dim: int) -> int:
        return noise_columns(self.sampler, self.n_steps, latent_dim)

    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        levels = noise_levels(self.n_steps, self.sigma_min, self.sigma_max, like=noise)
        return solve(partial(denoise, field), noise, dim, levels.view(-1, 1, 1), self.sampler)

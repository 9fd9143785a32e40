"""Matching by latent diffusion: denoising given the condition, drawn in several steps."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sklsdm.functional.diffusion import (
    SAMPLERS,
    denoise,
    denoising_residual,
    noise_columns,
    noise_levels,
    solve,
)
from sklsdm.matchers.base import MatchingData, Plan
from sklsdm.matchers.field import Field, FieldMatcher, FieldObjective
from sklsdm.parameters import above, one_of, parameter, within


class DenoisingObjective(FieldObjective):
    """Karras et al.'s loss: ln σ is normal, and all σ count alike at the start of training."""

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

    def nll_integrand(self, field: Field, target: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        residual = denoising_residual(field, target, noise, sigma)
        return residual.square().sum(dim=1) / (1 + sigma[0].square())


class DiffusionMatcher(FieldMatcher):
    r"""Latent diffusion: learn to denoise codes given x, and draw by removing noise in steps.

    The loss is :math:`E\|D(z + \sigma\epsilon; x, \sigma) - z\|^2`, weighted such that all noise
    levels σ count alike at the start; z is the code's whitened residual from ridge regression on
    x, or the code itself where codes are images. A code without a condition is learnt with the
    condition of a pair, drawn from the p(x | z) that the denoiser itself implies (with `guidance`,
    without any).

    When to use: for the most faithful draws from a short fit. Cost: one small backward pass a
    step; a draw takes `n_steps` passes, twice as many with `guidance` (one-step matchers take one).

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), proposition 4.1, for the link to W1; Karras et al. 2022
    (arXiv 2206.00364), equations 7 and 8 and table 1; Lu et al. 2022 (arXiv 2211.01095) for the
    multistep sampler.
    """

    sampler: str = parameter(
        default="multistep",
        rule=one_of(*SAMPLERS),
        doc="""How noise is removed. "multistep", "heun" (both of second order; "heun" takes two
        passes a step) and "ddim" (of first order) are deterministic once the first noise is
        drawn; "ancestral" adds new noise at every step.""",
        kw_only=False,
    )
    n_steps: int = parameter(default=16, doc="Steps of a draw. More are more exact and slower.")
    log_sigma_mean: float = parameter(
        default=-1.2, rule=within(-10.0, 10.0), doc="Mean of ln σ, drawn for each code in training."
    )
    log_sigma_std: float = parameter(
        default=1.2, rule=above(0.0), doc="Standard deviation of ln σ in training."
    )
    sigma_min: float = parameter(
        default=0.02, rule=above(0.0), doc="Noise level before the last step of a draw, to 0."
    )
    sigma_max: float = parameter(
        default=8.0, rule=above(0.0), doc="Noise level at which a draw starts; above `sigma_min`."
    )

    def _check_further(self, prefix: str) -> None:
        if self.sigma_max <= self.sigma_min:
            raise ValueError(
                f"{prefix}sigma_max must be above {prefix}sigma_min={self.sigma_min}, got "
                f"{self.sigma_max}."
            )

    def _passes_of_steps(self) -> int:
        return 2 * self.n_steps - 1 if self.sampler == "heun" else self.n_steps

    def _field_objective(self, data: MatchingData, plan: Plan) -> DenoisingObjective:
        return DenoisingObjective(data, plan, self.log_sigma_mean, self.log_sigma_std)

    def _noise_dim(self, latent_dim: int) -> int:
        return noise_columns(self.sampler, self.n_steps, latent_dim)

    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        levels = noise_levels(self.n_steps, self.sigma_min, self.sigma_max, like=noise)
        return solve(partial(denoise, field), noise, dim, levels.view(-1, 1, 1), self.sampler)

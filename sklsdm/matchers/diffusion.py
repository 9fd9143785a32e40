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
from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.field import Field, FieldMatcher, FieldObjective
from sklsdm.parameters import above, integer, learnt, one_of, or_auto, parameter, within
from sklsdm.run import Run

# Steps of a draw, the noise level before the last of them, and that at which it starts.
Schedule = tuple[int, float, float]

# With the narrower range, 8 steps of "multistep" have the energy skill of 16 with the wider one, on
# arms and two tables. For other samplers, and for codes that are images, this was not compared.
_SHORT: Schedule = (8, 0.04, 5.0)
_LONG: Schedule = (16, 0.02, 8.0)


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
    n_steps: int | str = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc="""Steps of a draw. More are more exact and slower. "auto" is 8 with
        `sampler="multistep"` on codes that are not images, else 16.""",
    )
    log_sigma_mean: float = parameter(
        default=-1.2, rule=within(-10.0, 10.0), doc="Mean of ln σ, drawn for each code in training."
    )
    log_sigma_std: float = parameter(
        default=1.2, rule=above(0.0), doc="Standard deviation of ln σ in training."
    )
    sigma_min: float | str = parameter(
        default="auto",
        rule=or_auto(above(0.0)),
        doc="""Noise level before the last step of a draw, to 0. "auto" is 0.04 where that of
        `n_steps` is 8, else 0.02.""",
    )
    sigma_max: float | str = parameter(
        default="auto",
        rule=or_auto(above(0.0)),
        doc="""Noise level at which a draw starts; above `sigma_min`. "auto" is 5 where that of
        `n_steps` is 8, else 8.""",
    )
    schedule_: tuple[int, float, float] = learnt(
        "Steps of a draw and their lowest and highest noise level, in use."
    )

    def _check_further(self, prefix: str) -> None:
        # Which schedule is used is known in `fit` alone: here the wider one must be possible.
        schedules = [self._schedule(of_images) for of_images in (False, True)]
        _check_levels(max(schedules, key=lambda schedule: schedule[2] - schedule[1]), prefix)

    def fit(self, data: MatchingData, run: Run) -> DiffusionMatcher:
        self.schedule_ = self._schedule(of_images=data.code_shape is not None)
        _check_levels(self.schedule_)
        super().fit(data, run)
        return self

    def _schedule(self, of_images: bool = False) -> Schedule:
        """The parameters, with those that are "auto" resolved."""
        short = self.sampler == "multistep" and not of_images
        n_steps, lowest, highest = _SHORT if short else _LONG
        return (
            n_steps if self.n_steps == "auto" else int(self.n_steps),
            lowest if self.sigma_min == "auto" else float(self.sigma_min),
            highest if self.sigma_max == "auto" else float(self.sigma_max),
        )

    def _in_use(self) -> Schedule:
        """The schedule of a draw; files of version 0.1 have it in the parameters alone."""
        return getattr(self, "schedule_", None) or self._schedule()

    def _passes_of_steps(self) -> int:
        n_steps = self._in_use()[0]
        return 2 * n_steps - 1 if self.sampler == "heun" else n_steps

    def _field_objective(self, data: MatchingData, plan: Plan) -> DenoisingObjective:
        return DenoisingObjective(data, plan, self.log_sigma_mean, self.log_sigma_std)

    def _noise_dim(self, latent_dim: int) -> int:
        return noise_columns(self.sampler, self._in_use()[0], latent_dim)

    def _follow(self, field: Field, noise: Tensor, dim: int) -> Tensor:
        levels = noise_levels(*self._in_use(), like=noise)
        return solve(partial(denoise, field), noise, dim, levels.view(-1, 1, 1), self.sampler)


def _check_levels(schedule: Schedule, prefix: str = "") -> None:
    """Raise where a draw would start below the level at which it ends."""
    _, lowest, highest = schedule
    if highest <= lowest:
        raise ValueError(
            f"{prefix}sigma_max must be above {prefix}sigma_min={lowest}, got {highest}."
        )

r"""Denoising diffusion of data with unit spread, and samplers for it.

A datum u is seen as u + σ·n with n ~ N(0, I). A field F is turned into a denoiser D with
D(u + σ·n, σ) ≈ E[u | u + σ·n], and the score of the noised law is (D(v, σ) − v) / σ² [1]_.

References
----------
.. [1] T. Karras, M. Aittala, T. Aila and S. Laine, "Elucidating the design space of
   diffusion-based generative models" (arXiv 2206.00364, 2022).
.. [2] J. Song, C. Meng and S. Ermon, "Denoising diffusion implicit models" (arXiv 2010.02502,
   2021), equations 12 and 16.
.. [3] C. Lu et al., "DPM-Solver++" (arXiv 2211.01095, 2022), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["SAMPLERS", "denoise", "denoising_residual", "noise_columns", "noise_levels", "solve"]

Field = Callable[[Tensor, Tensor], Tensor]  # of a point (n, k) and a time (1, 1) or (n, 1)
Denoiser = Callable[[Tensor, Tensor], Tensor]  # of a noised point (n, k) and σ, likewise


def denoise(field: Field, noised: Tensor, sigma: Tensor) -> Tensor:
    """D(v, σ) = v / (1 + σ²) + σ / √(1 + σ²) · F(v / √(1 + σ²), ln σ / 4).

    [1]_, equation 7 and table 1, with σ_data = 1: at F = 0 this is the denoiser of N(0, I).
    """
    scale = (1 + sigma.square()).rsqrt()
    return noised * scale.square() + sigma * scale * field(noised * scale, sigma.log() / 4)


def denoising_residual(field: Field, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """(D(u + σ·n, σ) − u) · √(1 + σ²) / σ, (n, k): what F is off its target by.

    Its mean square is the loss of [1]_, equation 8: the weight λ(σ) = 1 / c_out² gives every
    noise level the same variance at the start.
    """
    scale = (1 + sigma.square()).rsqrt()
    found = field((clean + sigma * noise) * scale, sigma.log() / 4)
    return found - (sigma * clean - noise) * scale


def noise_levels(n_steps: int, low: float, high: float, like: Tensor, power: float = 7.0) -> Tensor:
    """Levels (n_steps + 1,) falling from `high` to `low`, then 0; [1]_, equation 5."""
    grid = torch.linspace(1, 0, n_steps, dtype=torch.float64)
    root = low ** (1 / power) + grid * (high ** (1 / power) - low ** (1 / power))
    levels = torch.cat([root**power, root.new_zeros(1)])
    return levels.to(like)


def _heun(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """Second-order steps of the probability-flow ODE, [1]_, algorithm 1."""
    for sigma, lower in pairwise(levels):
        slope = (state - denoiser(state, sigma)) / sigma
        ahead = state + (lower - sigma) * slope
        if lower > 0:
            slope = (slope + (ahead - denoiser(ahead, lower)) / lower) / 2
            ahead = state + (lower - sigma) * slope
        state = ahead
    return state


def _ddim(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """First-order steps of the same ODE, exact where the denoised point stays; [2]_, η = 0."""
    for sigma, lower in pairwise(levels):
        clean = denoiser(state, sigma)
        state = clean + lower / sigma * (state - clean)
    return state


def _multistep(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """DDIM steps towards the denoised point extrapolated from the step before, [3]_."""
    before, width_before = None, levels[0]
    for sigma, lower in pairwise(levels):
        clean = target = denoiser(state, sigma)
        width = (sigma / lower).log()
        if before is not None and lower > 0:
            target = clean + width / (2 * width_before) * (clean - before)
        state = target + lower / sigma * (state - target)
        before, width_before = clean, width
    return state


def _ancestral(denoiser: Denoiser, state: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
    """Draws from q(u + σ'·n | u + σ·n, u) with u the denoised point; [2]_, η = 1."""
    fresh = noise.split(state.shape[1], dim=1)
    for step, (sigma, lower) in enumerate(pairwise(levels)):
        clean = denoiser(state, sigma)
        share = (lower / sigma).square()
        state = clean + share * (state - clean)
        if lower > 0:
            state = state + lower * (1 - share).sqrt() * fresh[step]
    return state


SAMPLERS = ("ancestral", "ddim", "heun", "multistep")


def noise_columns(sampler: str, n_steps: int, dim: int) -> int:
    """Normal numbers that one draw of dimension `dim` takes."""
    return n_steps * dim if sampler == "ancestral" else dim


def solve(denoiser: Denoiser, noise: Tensor, dim: int, levels: Tensor, sampler: str) -> Tensor:
    """Draws (n, dim) from noise (n, d), d at least `noise_columns`.

    The start is N(0, (1 + σ²) I) at the highest level σ: the noised law of unit-spread data.
    """
    state = (1 + levels[0].square()).sqrt() * noise[:, :dim]
    if sampler == "ancestral":
        return _ancestral(denoiser, state, levels, noise[:, dim:])
    solver = {"ddim": _ddim, "heun": _heun, "multistep": _multistep}[sampler]
    return solver(denoiser, state, levels)

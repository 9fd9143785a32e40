r"""Denoising diffusion of data with unit variance, and samplers for it.

A datum u is observed with noise, as v = u + σ·n with n ~ N(0, I). A network F gives a denoiser D
that is trained so that D(v, σ) ≈ E[u | v]. The score of the law of v is then (D(v, σ) − v) / σ²
[1]_.

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
    """(D(u + σ·n, σ) − u) · √(1 + σ²) / σ, (n, k): F minus its regression target.

    Its mean square is the loss of [1]_, equation 8, with the weight λ(σ) = 1 / c_out². The target
    then has variance 1 at every σ, so that no noise level dominates the loss at the start.
    """
    scale = (1 + sigma.square()).rsqrt()
    found = field((clean + sigma * noise) * scale, sigma.log() / 4)
    return found - (sigma * clean - noise) * scale


def noise_levels(n_steps: int, low: float, high: float, like: Tensor, power: float = 7.0) -> Tensor:
    """Noise levels (n_steps + 1,): from `high` down to `low`, then 0; [1]_, equation 5."""
    grid = torch.linspace(1, 0, n_steps, dtype=torch.float64)
    root = low ** (1 / power) + grid * (high ** (1 / power) - low ** (1 / power))
    levels = torch.cat([root**power, root.new_zeros(1)])
    return levels.to(like)


def _steps(levels: Tensor) -> list[tuple[int, tuple[Tensor, Tensor]]]:
    """For each step, how many are left after it, and its upper and lower level.

    The last step goes to 0 and differs from the others. It is known by its number, since a GPU
    would have to wait for a comparison of its level with 0.
    """
    pairs = list(pairwise(levels))
    return list(zip(reversed(range(len(pairs))), pairs, strict=True))


def _heun(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """Second-order steps of the probability-flow ODE, [1]_, algorithm 1."""
    for left, (sigma, lower) in _steps(levels):
        slope = (state - denoiser(state, sigma)) / sigma
        ahead = state + (lower - sigma) * slope
        if left:
            slope = (slope + (ahead - denoiser(ahead, lower)) / lower) / 2
            ahead = state + (lower - sigma) * slope
        state = ahead
    return state


def _ddim(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """First-order steps of the same ODE; [2]_, η = 0.

    A step is exact where the denoised point does not change along it.
    """
    for sigma, lower in pairwise(levels):
        clean = denoiser(state, sigma)
        state = clean + lower / sigma * (state - clean)
    return state


def _multistep(denoiser: Denoiser, state: Tensor, levels: Tensor) -> Tensor:
    """DDIM steps towards a denoised point that is extrapolated from the last two, [3]_."""
    before, width_before = None, levels[0]
    for left, (sigma, lower) in _steps(levels):
        clean = target = denoiser(state, sigma)
        width = (sigma / lower).log()
        if before is not None and left:
            target = clean + width / (2 * width_before) * (clean - before)
        state = target + lower / sigma * (state - target)
        before, width_before = clean, width
    return state


def _ancestral(denoiser: Denoiser, state: Tensor, levels: Tensor, noise: Tensor) -> Tensor:
    """Steps that add noise again; [2]_, η = 1.

    The point at the lower level σ' is drawn given that at σ and u, with the denoised point as u.
    """
    fresh = noise.split(state.shape[1], dim=1)
    for step, (left, (sigma, lower)) in enumerate(_steps(levels)):
        clean = denoiser(state, sigma)
        share = (lower / sigma).square()
        state = clean + share * (state - clean)
        if left:
            state = state + lower * (1 - share).sqrt() * fresh[step]
    return state


SAMPLERS = ("ancestral", "ddim", "heun", "multistep")


def noise_columns(sampler: str, n_steps: int, dim: int) -> int:
    """How many standard normal numbers one draw of dimension `dim` takes."""
    return n_steps * dim if sampler == "ancestral" else dim


def solve(denoiser: Denoiser, noise: Tensor, dim: int, levels: Tensor, sampler: str) -> Tensor:
    """Draws (n, dim) from noise (n, d), d at least `noise_columns`.

    They start from N(0, (1 + σ²) I) with the highest level σ: data of unit variance plus noise.
    """
    state = (1 + levels[0].square()).sqrt() * noise[:, :dim]
    if sampler == "ancestral":
        return _ancestral(denoiser, state, levels, noise[:, dim:])
    solver = {"ddim": _ddim, "heun": _heun, "multistep": _multistep}[sampler]
    return solver(denoiser, state, levels)

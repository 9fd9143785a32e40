"""How much noise draws need: its scale, chosen by pairs that a generator has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sklsdm.functional.scores import multiscale_score
from sklsdm.nets import by_group, is_as_good
from sklsdm.noise import standard_normal

_SCALES = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.3, 2.6, 3.0)
_N_DRAWS = 64  # for each pair
_SHARE_INSIDE = 0.9  # of the codes, which intervals between these levels should hold
_LEVELS = (0.05, 0.95)


@dataclass(frozen=True)
class HeldOut:
    """Pairs held out from a generator, and the generator's draws."""

    draw: Callable[[Tensor, Tensor], Tensor]  # codes (v m, k) for (v, p) and noise (v m, d)
    noise_dim: int
    condition: Tensor  # (v, p)
    latent: Tensor  # (v, k)
    groups: Tensor | None = None  # (v,), the number of each pair's group


@torch.no_grad()
def best_noise_scale(held_out: Sequence[HeldOut], random: torch.Generator) -> float:
    """The factor of the noise with which generators draw best for all these pairs.

    Few pairs can hardly tell factors apart by their scores. Of those within one standard error of
    the best, those are left whose intervals of 90 % hold 90 % of the codes, up to one standard
    error of such a count, or most nearly so if none does. The one of them with the best score is
    taken. Factors above one that is clearly worse than a smaller one are not tried. Groups of pairs
    count as one pair each in a standard error.
    """
    noises = [
        standard_normal((len(pairs.latent) * _N_DRAWS, pairs.noise_dim), random)
        for pairs in held_out
    ]
    latent = torch.cat([pairs.latent for pairs in held_out])
    known = [pairs.groups for pairs in held_out if pairs.groups is not None]
    groups = torch.cat(known) if known else None
    levels = torch.tensor(_LEVELS, dtype=latent.dtype, device=latent.device)
    tried: list[tuple[float, Tensor, float]] = []  # factor, scores, how far the coverage is off
    for scale in _SCALES:
        draws = torch.cat(
            [
                pairs.draw(pairs.condition, scale * noise)
                for pairs, noise in zip(held_out, noises, strict=True)
            ]
        ).view(len(latent), _N_DRAWS, -1)
        low, high = draws.quantile(levels, dim=1)
        inside = (low <= latent) & (latent <= high)
        off = abs(inside.float().mean().item() - _SHARE_INSIDE)
        tried.append((scale, by_group(multiscale_score(draws, latent), groups), off))
        best = min((scores for _, scores, _ in tried), key=lambda scores: scores.mean().item())
        if not is_as_good(tried[-1][1], best):
            break
    equal = [
        (scores.mean().item(), scale, off)
        for scale, scores, off in tried
        if is_as_good(scores, best)
    ]
    error = math.sqrt(_SHARE_INSIDE * (1 - _SHARE_INSIDE) / len(tried[0][1]))
    most_off = max(error, min(off for _, _, off in equal))
    return min((score, scale) for score, scale, off in equal if off <= most_off)[1]

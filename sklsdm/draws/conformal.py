"""Intervals with finite-sample coverage: split conformal prediction on the quantiles of draws.

For each condition x the draws define intervals I(t), nested in t. For t in [0, 1], I(t) reaches
from the quantile (1 - t) / 2 of the draws to the quantile (1 + t) / 2: from the median to all
draws. For t > 1, both ends lie (t - 1) s further out, where s is the spread of the draws plus a
tenth of the spread of the training responses. The score of a calibration pair is the smallest t
with y in I(t), for each output; the joint score is the largest over the outputs. With n pairs, the
interval of coverage c is I(t) at the ceil((n + 1) c)-th smallest score t. If the calibration pairs
and a new pair are exchangeable, it contains the new response with probability at least c, and at
most c + 1 / (n + 1) where scores have no ties, however good or bad the draws are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.draws.drawing import Bank

_LEAST_SPREAD = 0.1  # of the training responses' spread; draws may have none at all
# Ends are moved outwards a little, since a repeated value must not fall out of its interval by
# rounding: by this share of the interval, because draws for equal conditions differ by the
# rounding of float32 networks, and by this share of the spread, for the rounding of scores near 1.
_ROUNDING_OF_DRAWS, _ROUNDING_OF_SCORES = 1e-5, 1e-12

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ConformalScores:
    """Sorted scores of n calibration pairs: (n, q) for each output, and (n,) joint ones."""

    scores: Array
    joint_scores: Array
    spread: Array  # (q,) of the training responses
    n_draws: int  # with other draws the intervals are others, and the scores do not hold

    def reach(self, coverage: float, joint: bool) -> Array:
        """The t (q,) of the intervals of this coverage, for each output or for all jointly."""
        n_pairs = len(self.joint_scores)
        rank = conformal_rank(n_pairs, coverage)
        if rank > n_pairs:
            raise ValueError(
                f"coverage={coverage:g} needs at least {fewest_pairs(coverage)} pairs in "
                f"conformalize, got {n_pairs}: pass more, or ask for a coverage of at most "
                f"{n_pairs / (n_pairs + 1):.3g}."
            )
        if joint:
            return np.full(len(self.spread), self.joint_scores[rank - 1])
        return self.scores[rank - 1]


def conformal_rank(n_pairs: int, coverage: float) -> int:
    """ceil((n + 1) coverage), unharmed by rounding."""
    return math.ceil(round((n_pairs + 1) * coverage, 9))


def fewest_pairs(coverage: float) -> int:
    """The fewest pairs n with ceil((n + 1) coverage) <= n."""
    return math.ceil(round(coverage / (1 - coverage), 9))


def calibrate(
    bank: Bank, condition: NDArray[np.float32], y: Array, spread: Array, n_draws: int
) -> ConformalScores:
    """Scores of pairs that chose nothing, by draws with shared noise, in bounded memory.

    Parameters
    ----------
    bank : Bank
        What the draws come from.
    condition : ndarray of shape (n, p)
        Conditions as the networks see them.
    y : ndarray of shape (n, q)
        Flat responses, in their own units.
    spread : ndarray of shape (q,)
        Standard deviations of the training responses.
    n_draws : int
        Draws for each condition.

    Returns
    -------
    ConformalScores

    References
    ----------
    Romano, Patterson & Candès 2019, "Conformalized quantile regression"; Chernozhukov, Wüthrich &
    Zhu 2021, "Distributional conformal prediction"; Gupta, Kuchibhotla & Ramdas 2022, "Nested
    conformal prediction" (for scores by nested intervals).
    """
    scores = np.empty(y.shape)
    for rows, draws in bank.draws_with_shared_noise(condition, n_draws):
        ordered, beyond = _sorted_with_spread(draws, spread)
        target = torch.from_numpy(y[rows]).to(ordered.device)
        scores[rows] = _scores(ordered, beyond, target).cpu().numpy()
    joint = np.sort(scores.max(axis=1))
    return ConformalScores(np.sort(scores, axis=0), joint, spread, n_draws)


def conformal_intervals(
    bank: Bank,
    condition: NDArray[np.float32],
    calibration: ConformalScores,
    coverage: float,
    joint: bool,
    ends: tuple[Array, Array] | None,
) -> Array:
    """Lower and upper ends (n, 2, q) of conformal intervals, clipped to the range `ends`."""
    reach = torch.tensor(calibration.reach(coverage, joint))
    found = np.empty((len(condition), 2, bank.width))
    for rows, draws in bank.draws_with_shared_noise(condition, calibration.n_draws):
        ordered, beyond = _sorted_with_spread(draws, calibration.spread)
        pair = _interval(ordered, beyond, reach.to(ordered.device))
        found[rows] = torch.stack(pair, dim=1).cpu().numpy()
    return found if ends is None else np.clip(found, *ends)


def _sorted_with_spread(draws: Tensor, spread: Array) -> tuple[Tensor, Tensor]:
    """Draws (b, m, q) in order, and the unit s (b, q) of distances beyond them."""
    exact = draws.double()
    least = _LEAST_SPREAD * torch.tensor(spread, device=exact.device)
    return exact.sort(dim=1).values, exact.std(dim=1, correction=0) + least


def _scores(ordered: Tensor, beyond: Tensor, y: Tensor) -> Tensor:
    """Smallest t (b, q) with y (b, q) in I(t)."""
    last = ordered.shape[1] - 1
    below = (ordered < y[:, None]).sum(dim=1)  # number of draws below y
    up_to = (ordered <= y[:, None]).sum(dim=1)
    left = ordered.gather(1, (below - 1).clamp(min=0)[:, None])[:, 0]
    right = ordered.gather(1, below.clamp(max=last)[:, None])[:, 0]
    # Places of y among the draws, from 0 to m - 1: those of the first and last equal draw, or
    # between its neighbours.
    between = below - 1 + (y - left) / torch.where(right > left, right - left, 1.0)
    is_drawn = up_to > below
    first = torch.where(is_drawn, below, between)
    final = torch.where(is_drawn, up_to - 1, between)
    inside = torch.maximum(1 - 2 * final / max(last, 1), 2 * first / max(last, 1) - 1)
    distance = torch.maximum(ordered[:, 0] - y, y - ordered[:, -1])
    return torch.where(distance > 0, 1 + distance / beyond, inside.clamp(min=0))


def _interval(ordered: Tensor, beyond: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Ends (b, q) of I(t) at the t (q,) of `reach`."""
    last = ordered.shape[1] - 1
    place = (1 - reach.clamp(max=1)) / 2 * last
    margin = (reach - 1).clamp(min=0) * beyond
    width = margin + ordered[:, -1] - ordered[:, 0]
    margin = margin + _ROUNDING_OF_DRAWS * width + _ROUNDING_OF_SCORES * beyond
    return _at(ordered, place) - margin, _at(ordered, last - place) + margin


def _at(ordered: Tensor, place: Tensor) -> Tensor:
    """Values (b, q) at fractional places (q,) among the ordered draws, between neighbours."""
    before = place.floor().long()
    shape = (len(ordered), 1, -1)
    left = ordered.gather(1, before.expand(shape))[:, 0]
    right = ordered.gather(1, place.ceil().long().expand(shape))[:, 0]
    return torch.lerp(left, right, (place - before).expand_as(left))

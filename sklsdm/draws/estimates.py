"""Means, quantiles and scores of draws for many conditions, over draws with shared noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm._validation import check_integer
from sklsdm.blocks import row_blocks
from sklsdm.draws.drawing import Bank
from sklsdm.draws.output import check_outcome
from sklsdm.functional.scores import energy_score, energy_score_shared, multiscale_score
from sklsdm.inputs.response_format import flat_rows

# Draws for each condition:
N_MEAN_DRAWS = 256
N_QUANTILE_DRAWS = 1024
N_QUANTILE_DRAWS_OF_MANY_PASSES = 256
MANY_PASSES = 4
N_SCORE_DRAWS = 64
N_CHOICE_DRAWS = 32
N_CHOICE_DRAWS_OF_VERY_MANY_PASSES = 8
VERY_MANY_PASSES = 16
_MOST_QUANTILE_DRAWS = 2**24  # which torch.quantile takes


def check_n_draws(n_draws: int | None, usual: int) -> int:
    """The number of draws asked for, or the usual one where it is None."""
    return usual if n_draws is None else check_integer("n_draws", n_draws, 1)


def check_n_quantile_draws(n_draws: int | None, bank: Bank) -> int:
    """The number of draws asked for, or the usual one for quantiles where it is None."""
    many = bank.n_passes > MANY_PASSES
    usual = N_QUANTILE_DRAWS_OF_MANY_PASSES if many else N_QUANTILE_DRAWS
    found = check_n_draws(n_draws, usual)
    if found > _MOST_QUANTILE_DRAWS:
        raise ValueError(
            f"n_draws must be at most {_MOST_QUANTILE_DRAWS} for quantiles, got {found}."
        )
    return found


def estimate_moments(
    bank: Bank, condition: NDArray[np.float32], n_draws: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Conditional means and standard deviations, both (n, q), over draws with shared noise."""
    n_draws = check_n_draws(n_draws, N_MEAN_DRAWS)
    mean = np.empty((len(condition), bank.width))
    std = np.empty_like(mean)
    for rows, draws in bank.draws_with_shared_noise(condition, n_draws):
        exact = draws.double()
        mean[rows] = exact.mean(dim=1).cpu().numpy()
        std[rows] = exact.std(dim=1, correction=0).cpu().numpy()
    check_outcome("X", mean + std, "mean or standard deviation")
    return mean, std


def estimate_quantiles(
    bank: Bank,
    condition: NDArray[np.float32],
    levels: NDArray[np.float64],
    n_draws: int | None = None,
) -> NDArray[np.float64]:
    """Conditional quantiles (n, len(levels), q) of each output, over draws with shared noise."""
    n_draws = check_n_quantile_draws(n_draws, bank)
    found = np.empty((len(condition), len(levels), bank.width))
    for rows, draws in bank.draws_with_shared_noise(condition, n_draws):
        exact = draws.double()
        at = torch.as_tensor(levels, dtype=exact.dtype, device=exact.device)
        found[rows] = torch.quantile(exact, at, dim=1).transpose(0, 1).cpu().numpy()
    check_outcome("X", found, "quantile")
    return found


def energy_scores(
    bank: Bank,
    condition: NDArray[np.float32],
    y: NDArray[Any],
    std: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Energy score (n,) of draws for each response; both are divided by `std` (q,) first."""
    return _scores(energy_score, N_SCORE_DRAWS, bank, condition, y, std)


def multiscale_scores(
    bank: Bank,
    condition: NDArray[np.float32],
    y: NDArray[Any],
    std: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Multiscale score (n,) of draws for each response; both are divided by `std` (q,) first."""
    slow = bank.n_passes > VERY_MANY_PASSES
    n_draws = N_CHOICE_DRAWS_OF_VERY_MANY_PASSES if slow else N_CHOICE_DRAWS
    return _scores(multiscale_score, n_draws, bank, condition, y, std)


def _scores(
    score: Callable[[Tensor, Tensor], Tensor],
    n_draws: int,
    bank: Bank,
    condition: NDArray[np.float32],
    y: NDArray[Any],
    std: NDArray[np.float64],
) -> NDArray[np.float64]:
    scale = torch.tensor(std)
    found = []
    for rows, draws in bank.draws_with_shared_noise(condition, n_draws):
        target = torch.from_numpy(flat_rows(y[rows])) / scale
        found.append(score(draws.cpu().double() / scale, target))
    return torch.cat(found).numpy()


def marginal_energy_scores(
    reference: NDArray[Any], y: NDArray[Any], std: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Energy score (n,) for each response if `reference` (m, ...) is the forecast for all of them.

    Both are raw responses; flat, they are divided by `std` (q,) first.
    """
    forecast = torch.from_numpy(flat_rows(reference) / std)
    found = [
        energy_score_shared(forecast, torch.from_numpy(flat_rows(y[rows]) / std))
        for rows in row_blocks(y)
    ]
    return torch.cat(found).numpy()

"""Borders between the values of an output of few values, set by what stage 2 draws."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.draws.drawing import Sampler
from sklsdm.functional.scores import crps
from sklsdm.inputs.repeated import RepeatedValues
from sklsdm.inputs.response_format import ResponseFormat, flat_rows

_N_DRAWS = 8192  # for all conditions together
_FEWEST_DRAWS = 8  # for each
_DRAWS_OF_ONE_LAW = 1024  # where there are no conditions
_MOST_PAIRS = 2000  # whose conditions are drawn for


def set_borders(sampler: Sampler, condition: Tensor, y: NDArray[np.generic]) -> ResponseFormat:
    """The format of the responses in which values of few are drawn as often as they occur.

    Blurred draws, cut half-way between two values, take outer and rarer values too seldom. So a
    border is moved to where as many draws for the conditions (n, p) of the pairs lie below it as of
    their responses `y`, within a standard error of this share. Borders of an output are moved if
    its draws are then nearer to the responses, by the continuous ranked probability score.
    """
    form = sampler.form
    if not any(each.are_all and each.column is not None for each in form.repeated):
        return form
    rows, responses = condition[:_MOST_PAIRS].cpu().numpy(), flat_rows(y[:_MOST_PAIRS])
    n_draws = max(_FEWEST_DRAWS, -(-_N_DRAWS // len(rows)))
    if rows.shape[1] == 0:  # all draws are of one law, and need noise of their own
        rows, n_draws = rows[:1], _DRAWS_OF_ONE_LAW
    blocks = sampler.on_stretched_axes().draws_with_shared_noise(rows, n_draws)
    drawn = torch.cat([draws.double().cpu() for _, draws in blocks])
    if len(rows) < len(responses):
        drawn = drawn.view(-1, _FEWEST_DRAWS, form.width)[: len(responses)]
    repeated = tuple(
        each
        if each.column is None or not each.are_all
        else _by_draws(each, drawn[:, :, each.column], responses[:, each.column])
        for each in form.repeated
    )
    return form.with_repeated(repeated)


def _by_draws(
    repeated: RepeatedValues, drawn: Tensor, responses: NDArray[np.float64]
) -> RepeatedValues:
    """The values with moved borders, or as they are, for draws (n, m) beside responses (n,)."""
    moved = repeated.with_borders(drawn.numpy().ravel(), responses)
    target = torch.from_numpy(responses[: len(drawn)])[:, None]

    def score(each: RepeatedValues) -> float:
        values = each.restore(drawn.flatten().contiguous()).view(drawn.shape)
        return float(crps(values[:, :, None], target).mean())

    return moved if score(moved) < score(repeated) else repeated

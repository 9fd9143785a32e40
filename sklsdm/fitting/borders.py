"""Borders of the intervals of repeated values, set by what stage 2 draws."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.blocks import spread_rows
from sklsdm.draws.drawing import Sampler
from sklsdm.functional.scores import crps, energy_score
from sklsdm.inputs.implied_values import ImpliedValues
from sklsdm.inputs.repeated import RepeatedValues
from sklsdm.inputs.response_format import ResponseFormat, flat_rows

_N_DRAWS = 8192  # for all conditions together
_FEWEST_DRAWS = 8  # for each
_DRAWS_OF_ONE_LAW = 1024  # where there are no conditions
_MOST_PAIRS = 2000  # whose conditions are drawn for


def set_borders(sampler: Sampler, condition: Tensor, y: NDArray[np.generic]) -> ResponseFormat:
    """The format of the responses in which repeated values are drawn as often as they occur.

    Blurred draws, cut half-way between two values, take outer and rarer values too seldom, and
    those near the interval of a frequent value, such as a detection limit, fall into it too often.
    So a border is moved to where as many draws for the conditions (n, p) of the pairs lie below it
    as of their responses `y`, within a standard error of this share. Borders of an output are moved
    if its draws are then nearer to the responses, by the continuous ranked probability score.

    Frequent values that several outputs have only together are drawn together as often as they
    occur, if draws are then nearer to the responses by the energy score.
    """
    form = sampler.form
    moved = [each for each in form.repeated if each.is_of_output]
    together = [
        rule
        for rule in form.rules
        if isinstance(rule, ImpliedValues) and rule.intervals(form.repeated)
    ]
    if not moved and not together:
        return form
    some = spread_rows(len(y), _MOST_PAIRS)
    rows = condition[torch.from_numpy(some).to(condition.device)].cpu().numpy()
    responses = flat_rows(y[some])
    n_draws = max(_FEWEST_DRAWS, -(-_N_DRAWS // len(rows)))
    if rows.shape[1] == 0:  # all draws are of one law, and need noise of their own
        rows, n_draws = rows[:1], _DRAWS_OF_ONE_LAW
    blocks = sampler.on_stretched_axes().draws_with_shared_noise(rows, n_draws)
    drawn = torch.cat([draws.double().cpu() for _, draws in blocks])
    if len(rows) < len(responses):
        drawn = drawn.view(-1, _FEWEST_DRAWS, form.width)[: len(responses)]
    repeated = tuple(
        _by_draws(each, drawn[:, :, each.start], responses[:, each.start])
        if each in moved
        else each
        for each in form.repeated
    )
    form = form.with_repeated(repeated)
    for rule in together:
        form = _together_by_draws(form, rule, drawn, responses)
    return form


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


def _together_by_draws(
    form: ResponseFormat, rule: ImpliedValues, drawn: Tensor, responses: NDArray[np.float64]
) -> ResponseFormat:
    """The format with a rule's values together as often as in responses, or as it is.

    Draws (n, m, q) are on the stretched axes, and those of all outputs are judged.
    """
    moved = rule.with_radius(drawn.flatten(end_dim=1), responses, form.repeated)
    changed = form.with_rules(tuple(moved if each is rule else each for each in form.rules))
    std = responses.std(axis=0)
    scale = torch.from_numpy(np.where(std > 0, std, 1.0))
    target = torch.from_numpy(responses[: len(drawn)]) / scale

    def score(each: ResponseFormat) -> float:
        values = each.exact_values(drawn.flatten(end_dim=1)).view(drawn.shape)
        return float(energy_score(values / scale, target).mean())

    return changed if score(changed) < score(form) else form

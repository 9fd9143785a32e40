"""Pseudo-pairs: a model of x given the code assigns conditions to codes without one.

The model is fitted on the pairs. If conditions repeat (labels, doses, settings), it is a
classifier (see labelling.py). Where a regression recovers conditions, it is ridge regression (see
reverse_regression.py).

For all other conditions it is a mixture of Gaussians for x given the code z. Each code gets
one of the pairs' own conditions x_i, drawn with weight p(x_i | z) / p(x_i). Every condition is
therefore a real one (integer columns stay integers), and if the codes tell nothing about x, the
conditions are draws from p(x).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sklsdm.blocks import rows_per_block
from sklsdm.fitting.labelling import label_log_weights
from sklsdm.functional.categorical import distinct_rows, draw_index
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.mdn import MDNMatcher
from sklsdm.run import Run, Stream
from sklsdm.stages import PAIRING

# A label is used from this confidence on (see `PseudoPairs`). On MNIST with 250 labels, 91 % of
# 29,750 codes reach it, and .992 of their labels are right. By sight probabilities are means over
# neighbours, few of which are near 1: with a higher bound draws are all typical (docs/lessons.md).
MIN_CONFIDENCE, MIN_CONFIDENCE_BY_SIGHT = 0.9, 0.75
_MAX_CANDIDATES = 1024  # conditions to draw from, if they do not repeat
_MAX_COMPONENTS = 8  # principal components of the conditions that the mixture models
_MARGINAL_CODES = 1024  # codes over which p(x_i | z) is averaged to p(x_i)


class _ConditionMixture(MDNMatcher):
    """A mixture density of the condition given the code."""

    _stage = PAIRING
    corrects_for_leverage = False  # it is asked about the pairs that it learns from


@dataclass(frozen=True)
class PseudoPairs:
    """Codes with the conditions that were assigned to them."""

    are_sure: bool  # whether a classifier or a regression found the conditions
    condition: Tensor  # (m, p)
    rows: Tensor  # (m,): which of the unpaired codes these are
    latent: Tensor  # (m, k)


def draw_pseudo_pairs(
    data: MatchingData,
    unpaired: Tensor,
    run: Run,
    max_steps: int,
    min_confidence: float,
) -> PseudoPairs:
    """Assign conditions to `unpaired` codes (N, k).

    If conditions are labels, only codes with a confidence of at least `min_confidence` are
    returned, each with its most probable label. Conditions that a regression recovered are returned
    as they are. Otherwise a condition is drawn for every code: without the uncertain ones, the
    remaining codes would follow another law.

    Parameters
    ----------
    data : MatchingData
        The pairs, and the codes of all responses.
    unpaired : Tensor of shape (N, k)
        Codes without a condition.
    run : Run
        Device and seed.
    max_steps : int
        Upper bound on the training steps of the model of x given the code.
    min_confidence : float
        Of labels that are kept, at most 1; -inf keeps all. See `_labelled`.

    Returns
    -------
    PseudoPairs
    """
    if data.recovered is not None:
        rows = data.recovered.rows
        return PseudoPairs(True, data.recovered.condition, rows, unpaired[rows])
    if data.are_labels:
        return _labelled(data, unpaired, run, max_steps, min_confidence)
    return _drawn(data, unpaired, run, max_steps)


def _labelled(
    data: MatchingData, unpaired: Tensor, run: Run, max_steps: int, min_confidence: float
) -> PseudoPairs:
    """The most probable label of each code whose label is known with enough confidence.

    The confidence is one minus the Gini impurity of the labels given the response over that of all
    labels: 1 if the response determines the label, 0 if it tells nothing.
    """
    labels, log_shares = distinct_rows(data.condition)
    impurity = (1 - log_shares.exp().square().sum()).clamp(min=1e-12)
    found, confidence = [], []
    for log_weight in label_log_weights(data, log_shares, unpaired, run, max_steps):
        found.append(log_weight.argmax(dim=1))
        confidence.append(1 - (1 - log_weight.exp().square().sum(dim=1)) / impurity)
    kept = torch.nonzero(torch.cat(confidence) >= min_confidence).squeeze(1)
    return PseudoPairs(True, labels[torch.cat(found)[kept]], kept, unpaired[kept])


def _drawn(data: MatchingData, unpaired: Tensor, run: Run, max_steps: int) -> PseudoPairs:
    """A condition for each code, drawn from those of the pairs."""
    random = run.stream(Stream.PAIRING_CANDIDATES)
    # Equal conditions stay in as often as they occur, which is their share of p(x).
    chosen = torch.randperm(len(data.condition), generator=random, device=random.device)
    candidates = data.condition[chosen[:_MAX_CANDIDATES]]
    random = run.stream(Stream.PAIRING_DRAWS)
    blocks = _candidate_log_weights(data, candidates, unpaired, run, max_steps)
    drawn = torch.cat([draw_index(log_weight, random) for log_weight in blocks])
    every = torch.arange(len(unpaired), device=unpaired.device)
    return PseudoPairs(False, candidates[drawn], every, unpaired)


def _candidate_log_weights(
    data: MatchingData, rows: Tensor, unpaired: Tensor, run: Run, max_steps: int
) -> Iterator[Tensor]:
    """Yield ln p(x_i | z) / p(x_i), (b, m), normalised over x_i, for each block of codes."""
    project = _whitened_components(data.condition)
    reverse = MatchingData(
        condition=data.latent,
        latent=project(data.condition),
        held_condition=data.held_latent,
        held_latent=project(data.held_condition),
        groups=data.groups,
        held_groups=data.held_groups,
    )
    # Another seed, since the matcher of stage 2 uses the same streams.
    reverse_run = replace(run, seed=run.seed + 1, checkpoint=None, group=None)
    mixture = _ConditionMixture(max_steps=max_steps).fit(reverse, reverse_run)
    if mixture.interrupted_:
        raise KeyboardInterrupt
    density, points = mixture.network_, project(rows)
    size = rows_per_block(len(rows) * points.shape[1] * mixture.n_components)

    @torch.no_grad()
    def log_likelihood(codes: Tensor) -> Tensor:
        """ln p(x_i | z), (b, m), of the candidates x_i for codes (b, k)."""
        return density.log_prob(codes, points[:, None]).T

    random = run.stream(Stream.PAIRING_MARGINAL)
    order = torch.randperm(len(unpaired), generator=random, device=random.device)
    some = unpaired[order[:_MARGINAL_CODES]]
    by_code = torch.cat([log_likelihood(block) for block in some.split(size)])
    log_marginal = by_code.logsumexp(dim=0) - math.log(len(by_code))
    for block in unpaired.split(size):
        yield (log_likelihood(block) - log_marginal).log_softmax(dim=1)


def _principal_axes(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values (r,), the largest first, and right singular vectors (r, p) of rows (n, p)."""
    if centred.shape[1] > len(centred):
        return torch.linalg.svd(centred, full_matrices=False)[1:]
    squares, axes = torch.linalg.eigh(centred.T @ centred)  # far sooner where pairs are many
    return squares.clamp(min=0).sqrt().flip(0), axes.T.flip(0)


def _whitened_components(condition: Tensor) -> Any:
    """A function that gives the first principal components of conditions, whitened."""
    mean = condition.mean(dim=0)
    centred = (condition - mean).double()
    sizes, axes = _principal_axes(centred)
    kept = int((sizes > 1e-6 * sizes[0].clamp(min=1e-12)).sum().clamp(min=1, max=_MAX_COMPONENTS))
    scale = sizes[:kept] / math.sqrt(len(condition))
    turn = (axes[:kept] / scale.clamp(min=1e-12)[:, None]).T.to(condition.dtype)
    return lambda rows: (rows - mean) @ turn

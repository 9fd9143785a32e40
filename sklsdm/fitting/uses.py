"""The uses of unpaired responses, and the data that stage 2 trains on with each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sklsdm.fitting.latent_space import Coded
from sklsdm.fitting.pairing import (
    MIN_CONFIDENCE,
    MIN_CONFIDENCE_BY_SIGHT,
    PseudoPairs,
    draw_pseudo_pairs,
)
from sklsdm.fitting.stage_two import StageTwo
from sklsdm.matchers import MatchingData
from sklsdm.run import Run, Stream

USES = ("none", "latent", "match", "pair")  # the safest first
_MAX_HELD_WITH_PSEUDO = 256  # held-out pairs and held-out sure pseudo-pairs together


def uses_to_try(
    asked: str, stage: StageTwo, coded: Coded, *, can_judge: bool, weight: float | str
) -> tuple[str, ...]:
    """The uses to compare; ties go to the first.

    That is the safest. But it is "pair" where responses determine their conditions, and for images
    with labels: few held-out pairs seldom show that it is better, which it was on all images that
    we tried (docs/lessons.md). Where codes are images too, nothing is compared: short fits of their
    matchers cannot be told apart, and few pairs do not suffice to learn such codes.

    Parameters
    ----------
    asked : str
        The user's `unpaired`, or the use that an earlier fit chose.
    stage : StageTwo
        The pairs, and all responses.
    coded : Coded
        The latent space of all of them. Where it is not trained, "latent" has nothing to use them
        for; images need all of them to learn it.
    can_judge : bool
        Whether there are enough pairs to compare by.
    weight : float or "auto"
        The user's `matcher__unpaired_weight`.
    """
    if stage.n_unpaired == 0:
        return ("none",)
    if asked != "auto":
        return (asked,)
    are_labels, learns_space = stage.pairs.are_labels, coded.learns_space
    if coded.are_images:
        return ("pair",) if are_labels or stage.pairs_first else ("latent",)
    is_image = coded.space.form.is_image
    uses = tuple(
        use
        for use in USES
        if (use != "latent" or learns_space) and (use != "none" or not learns_space or not is_image)
    )
    if can_judge:
        return uses[::-1] if stage.pairs_first or (is_image and are_labels) else uses
    if weight != "auto":
        return ("match",)
    return ("latent",) if "latent" in uses else ("none",)


def use_for_encoders(uses: Sequence[str]) -> str:
    """The use in whose latent space condition encoders are compared, on the pairs."""
    return "latent" if "latent" in uses else uses[0]


def check_weight(asked: str, weight: float | str) -> None:
    """Raise if the user sets the matcher's `unpaired_weight` and a use that does not read it."""
    if asked in ("none", "latent") and weight != "auto":
        raise ValueError(
            f"matcher__unpaired_weight={weight!r} has no effect with unpaired={asked!r}, which "
            f"uses no unpaired responses in stage 2; set unpaired='match', or leave it 'auto'."
        )


def data_for(
    use: str, data: MatchingData, run: Run, max_steps: int, only_sure: bool = True
) -> MatchingData:
    """The data on which stage 2 trains, for one use of the unpaired responses.

    `data` has their codes where that use needs them.
    `max_steps` bounds the training of the model of x given the code, which "pair" needs. Unless
    `only_sure`, "pair" keeps every label that is guessed, and holds none out.
    """
    if data.codes is None or use == "match":
        return data
    n_pairs = len(data.latent)
    sure = MIN_CONFIDENCE if data.images is None else MIN_CONFIDENCE_BY_SIGHT
    bound = sure if only_sure else -math.inf
    pseudo = draw_pseudo_pairs(data, data.codes[n_pairs:], run, max_steps, bound)
    n_pseudo, times = len(pseudo.latent), 1
    if pseudo.are_sure:
        # A few held-out pairs choose the state badly (docs/lessons.md). These conditions are nearly
        # right, so up to a tenth of the pseudo-pairs is held out too.
        room = _MAX_HELD_WITH_PSEUDO - len(data.held_latent)
        holds_out = only_sure and not run.is_trial
        n_held = max(0, min(n_pseudo // 10, room)) if holds_out else 0
        data, pseudo = _with_some_held_out(data, pseudo, n_held, run)
    else:
        # Drawn conditions are vague: repeat the pairs until they are about half of the data.
        times = max(1, round(n_pseudo / n_pairs))
    return replace(
        data,
        condition=torch.cat([data.condition.repeat(times, 1), pseudo.condition]),
        latent=torch.cat([data.latent.repeat(times, 1), pseudo.latent]),
        groups=_with_singles(data.groups, len(pseudo.latent), times),
        images=None,  # they have been classified
        recovered=None,
        n_pseudo=n_pseudo,
        n_known=n_pairs,
    )


def _with_singles(groups: Tensor | None, n_others: int, times: int = 1) -> Tensor | None:
    """The groups (n,) of pairs, repeated so many times, then one for each of the others."""
    if groups is None:
        return None
    first = int(groups.max()) + 1 if len(groups) else 0
    return torch.cat([groups.repeat(times), torch.arange(n_others).to(groups) + first])


def _with_some_held_out(
    data: MatchingData, pseudo: PseudoPairs, n_held: int, run: Run
) -> tuple[MatchingData, PseudoPairs]:
    """The data with some pseudo-pairs among those held out, and the other pseudo-pairs."""
    random = run.stream(Stream.PSEUDO_HELD_OUT)
    order = torch.randperm(len(pseudo.latent), generator=random, device=random.device)
    held, kept = order[:n_held], order[n_held:]
    codes = data.codes
    if codes is not None and n_held:  # they may be many: copied only where some are left out
        learnt_from = torch.ones(len(codes), dtype=torch.bool, device=codes.device)
        learnt_from[len(data.latent) + pseudo.rows[held]] = False
        codes = codes[learnt_from]
    with_held = replace(
        data,
        held_condition=torch.cat([data.held_condition, pseudo.condition[held]]),
        held_latent=torch.cat([data.held_latent, pseudo.latent[held]]),
        held_groups=_with_singles(data.held_groups, n_held),
        codes=codes,
        n_held_pseudo=n_held,
    )
    rest = replace(
        pseudo,
        condition=pseudo.condition[kept],
        rows=pseudo.rows[kept],
        latent=pseudo.latent[kept],
    )
    return with_held, rest

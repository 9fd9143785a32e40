"""Uses of unpaired responses in stage 2, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.functional.categorical import are_labels
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.nets import is_as_good
from sklsdm.pairing import draw_pseudo_pairs
from sklsdm.run import Run, Stream

USES = ("latent", "match", "pair")
# In the order in which they are preferred, where unpaired responses outnumber the pairs.
LABEL_USES = ("pair", "match", "latent")
NUMBER_USES = ("match", "latent", "pair")
MIN_HELD_OUT_TO_CHOOSE = 20  # fewer pairs cannot tell the uses apart
MAX_JUDGED = 1024  # held-out pairs that choose the use
_PSEUDO_HELD_OUT = 256  # pairs and pseudo-pairs with labels that choose the state


@dataclass
class Choice:
    """Stage 2, fitted in one way or several, and which of them was chosen."""

    use: str
    matcher: BaseMatcher
    n_pseudo: int
    interrupted: bool
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)  # by use and held-out pair


def preferred_uses(labels: bool, outnumbered: bool) -> tuple[str, ...]:
    """Uses of unpaired responses, the preferred first, for such conditions.

    `outnumbered` are the pairs, by the unpaired responses.
    """
    if not outnumbered:
        return USES
    return LABEL_USES if labels else NUMBER_USES


def uses_to_try(
    asked: str, data: MatchingData, n_unpaired: int, n_paired: int, weight: float | str
) -> tuple[str, ...]:
    """The uses to fit, the preferred first; `asked` and `weight` are the user's settings."""
    if data.codes is None:
        return ("latent",)
    if asked != "auto":
        return (asked,)
    uses = preferred_uses(are_labels(data.condition), n_unpaired > n_paired)
    if len(data.held_latent) >= MIN_HELD_OUT_TO_CHOOSE:
        return uses
    return uses[:1] if weight == "auto" else ("match",)


def check_weight(asked: str, weight: float | str) -> None:
    """Raise where the matcher's `unpaired_weight` would be read by no use that was asked for."""
    if asked == "latent" and weight != "auto":
        raise ValueError(
            f"matcher__unpaired_weight={weight!r} is read only where stage 2 uses the unpaired "
            f"responses, but unpaired='latent'; set unpaired='match' or leave the weight 'auto'."
        )


def choose_use(scores: dict[str, NDArray[np.float64]]) -> str:
    """The first use, in the order of `scores`, that is within a standard error of the best.

    `scores` holds for each use one score by held-out pair, lower being better.
    """
    rows = {use: torch.from_numpy(by_pair) for use, by_pair in scores.items()}
    best = min(rows.values(), key=lambda by_pair: float(by_pair.mean()))
    return next(use for use, by_pair in rows.items() if is_as_good(by_pair, best))


def fit_and_choose(
    uses: Sequence[str],
    new_matcher: Callable[[], BaseMatcher],
    data: MatchingData,
    run: Run,
    judge: Callable[[BaseMatcher], NDArray[np.float64]],
) -> Choice:
    """Fit stage 2 in every one of `uses`; where they are several, `judge` chooses.

    `judge` gives a score by held-out pair, lower being better. On Ctrl-C the choice is among
    what has been fitted whole; the first fit is kept as far as it came.
    """
    fitted: dict[str, tuple[BaseMatcher, int]] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    interrupted = False
    for use in uses:
        folder = None if run.checkpoint is None else run.checkpoint / use
        matcher = new_matcher()
        try:
            own = data_for(use, data, run, matcher.max_steps)
        except KeyboardInterrupt:
            if not fitted:
                raise
            interrupted = True
            break
        matcher.fit(own, replace(run, checkpoint=folder))
        interrupted = matcher.interrupted_
        if interrupted and fitted:
            break
        fitted[use] = matcher, own.n_pseudo
        if len(uses) > 1:
            scores[use] = judge(matcher)
        if interrupted:
            break
    chosen = choose_use(scores) if scores else next(iter(fitted))
    return Choice(chosen, *fitted[chosen], interrupted, scores)


def data_for(use: str, data: MatchingData, run: Run, max_steps: int) -> MatchingData:
    """What stage 2 learns from where unpaired responses are used so.

    `max_steps` bounds the model of x given the code that "pair" needs.
    """
    if use == "latent" or data.codes is None:
        return replace(data, codes=None)
    if use == "match":
        return data
    n_pairs = len(data.latent)
    pseudo = draw_pseudo_pairs(data, data.codes[n_pairs:], run, max_steps)
    condition, latent, times = pseudo.condition, pseudo.latent, 1
    held_condition, held_latent = data.held_condition, data.held_latent
    if pseudo.by_label:  # sure labels: some help the few held-out pairs to choose the state
        count = max(0, min(len(latent) // 10, _PSEUDO_HELD_OUT - len(held_latent)))
        random = run.stream(Stream.PSEUDO_HELD_OUT)
        order = torch.randperm(len(latent), generator=random, device=random.device)
        held, kept = order[:count], order[count:]
        held_condition = torch.cat([held_condition, condition[held]])
        held_latent = torch.cat([held_latent, latent[held]])
        condition, latent = condition[kept], latent[kept]
    else:  # drawn numbers are vague: half of what is seen are pairs
        times = max(1, round(len(latent) / n_pairs))
    return replace(
        data,
        condition=torch.cat([data.condition.repeat(times, 1), condition]),
        latent=torch.cat([data.latent.repeat(times, 1), latent]),
        held_condition=held_condition,
        held_latent=held_latent,
        n_pseudo=len(pseudo.latent),
    )

"""The uses of unpaired responses in stage 2 ("latent", "match", "pair"), and the choice of one."""

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
# If unpaired responses outnumber the pairs, ties of the scores go to the first of these; the
# measurements behind the two orders are in docs/lessons.md.
LABEL_USES = ("pair", "match", "latent")
NUMBER_USES = ("match", "latent", "pair")
MIN_HELD_OUT_TO_CHOOSE = 20  # with fewer held-out pairs the choice is mostly noise
MAX_JUDGED = 1024  # held-out pairs on which the uses are compared
_MAX_HELD_WITH_PSEUDO = 256  # held-out pairs and held-out pseudo-pairs with labels together


@dataclass
class Choice:
    """The chosen use of unpaired responses, and the matcher fitted with it."""

    use: str
    matcher: BaseMatcher
    n_pseudo: int  # number of its pseudo-pairs, held-out ones included
    interrupted: bool  # whether Ctrl-C ended one of the fits
    # For each use that was compared, the score (v,) of every held-out pair; empty without a choice.
    scores: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def preferred_uses(labels: bool, outnumbered: bool) -> tuple[str, ...]:
    """Uses of unpaired responses in the order of preference.

    `labels` says whether conditions repeat, `outnumbered` whether there are more unpaired
    responses than pairs.
    """
    if not outnumbered:
        return USES
    return LABEL_USES if labels else NUMBER_USES


def uses_to_try(
    asked: str, data: MatchingData, n_unpaired: int, n_paired: int, weight: float | str
) -> tuple[str, ...]:
    """The uses to fit, in the order of preference.

    `asked` and `weight` are the user's `unpaired` and `matcher__unpaired_weight`.
    """
    if data.codes is None:
        return ("latent",)
    if asked != "auto":
        return (asked,)
    uses = preferred_uses(are_labels(data.condition), n_unpaired > n_paired)
    if len(data.held_latent) >= MIN_HELD_OUT_TO_CHOOSE:
        return uses
    return uses[:1] if weight == "auto" else ("match",)


def check_weight(asked: str, weight: float | str) -> None:
    """Raise if the user sets the matcher's `unpaired_weight` and a use that does not read it."""
    if asked == "latent" and weight != "auto":
        raise ValueError(
            f"matcher__unpaired_weight={weight!r} has no effect with unpaired='latent', which uses "
            f"no unpaired responses in stage 2; set unpaired='match' or leave the weight 'auto'."
        )


def choose_use(scores: dict[str, NDArray[np.float64]]) -> str:
    """The first use, in the order of `scores`, that is not clearly worse than the best one.

    `scores` holds for each use one score per held-out pair; lower is better. The best use has the
    lowest mean. Another is clearly worse if its mean is higher by more than one standard error of
    the mean difference, pair by pair.
    """
    tensors = {use: torch.from_numpy(by_pair) for use, by_pair in scores.items()}
    best = min(tensors.values(), key=lambda by_pair: float(by_pair.mean()))
    return next(use for use, by_pair in tensors.items() if is_as_good(by_pair, best))


def fit_and_choose(
    uses: Sequence[str],
    new_matcher: Callable[[], BaseMatcher],
    data: MatchingData,
    run: Run,
    judge: Callable[[BaseMatcher], NDArray[np.float64]],
) -> Choice:
    """Fit stage 2 once for each of `uses` and choose among them by the scores of `judge`.

    `judge` returns one score per held-out pair for a fitted matcher; lower is better. It is not
    called if there is only one use. After Ctrl-C the choice is among the uses whose fit was
    complete; if the first fit was interrupted, that one is kept as it is.
    """
    fitted: dict[str, tuple[BaseMatcher, int]] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    interrupted = False
    for use in uses:
        folder = None if run.checkpoint is None else run.checkpoint / use
        matcher = new_matcher()
        try:
            use_data = data_for(use, data, run, matcher.max_steps)
        except KeyboardInterrupt:
            if not fitted:
                raise
            interrupted = True
            break
        matcher.fit(use_data, replace(run, checkpoint=folder))
        interrupted = matcher.interrupted_
        if interrupted and fitted:
            break
        fitted[use] = matcher, use_data.n_pseudo
        if len(uses) > 1:
            scores[use] = judge(matcher)
        if interrupted:
            break
    chosen = choose_use(scores) if scores else next(iter(fitted))
    return Choice(chosen, *fitted[chosen], interrupted, scores)


def data_for(use: str, data: MatchingData, run: Run, max_steps: int) -> MatchingData:
    """The data on which stage 2 trains, for one use of the unpaired responses.

    `max_steps` bounds the training of the model of x given the code, which "pair" needs.
    """
    if use == "latent" or data.codes is None:
        return replace(data, codes=None)
    if use == "match":
        return data
    n_pairs = len(data.latent)
    pseudo = draw_pseudo_pairs(data, data.codes[n_pairs:], run, max_steps)
    condition, latent, times = pseudo.condition, pseudo.latent, 1
    held_condition, held_latent = data.held_condition, data.held_latent
    if pseudo.by_label:
        # A few held-out pairs choose the state badly (docs/lessons.md). These labels are mostly
        # right, so up to a tenth of the pseudo-pairs is held out too.
        count = max(0, min(len(latent) // 10, _MAX_HELD_WITH_PSEUDO - len(held_latent)))
        random = run.stream(Stream.PSEUDO_HELD_OUT)
        order = torch.randperm(len(latent), generator=random, device=random.device)
        held, kept = order[:count], order[count:]
        held_condition = torch.cat([held_condition, condition[held]])
        held_latent = torch.cat([held_latent, latent[held]])
        condition, latent = condition[kept], latent[kept]
    else:
        # Drawn conditions are vague: repeat the pairs until they are about half of the data.
        times = max(1, round(len(latent) / n_pairs))
    return replace(
        data,
        condition=torch.cat([data.condition.repeat(times, 1), condition]),
        latent=torch.cat([data.latent.repeat(times, 1), latent]),
        held_condition=held_condition,
        held_latent=held_latent,
        n_pseudo=len(pseudo.latent),
    )

"""How widely draws from few pairs must spread, by fits that leave some of the pairs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from sklsdm.encoders.folds import Split, folds
from sklsdm.exceptions import DivergenceError
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.matchers.generators import GeneratorMatcher
from sklsdm.progress import Progress
from sklsdm.run import Run

_N_FOLDS = 4
# Pairs that are learnt from; of more, further fits take too long. Where they come in groups, few
# groups are held out of many pairs, too.
_PAIRS, _GROUPED_PAIRS = range(2 * _N_FOLDS, 200), range(2 * _N_FOLDS, 5000)


def scale_noise_by_folds(
    matcher: BaseMatcher,
    new_part: Callable[[str], Any],
    data: MatchingData,
    run: Run,
) -> None:
    """Choose the noise's scale of a fitted matcher by draws for every pair, where pairs are few.

    The pairs that were held out of its fit on `data` are then too few to tell how widely its draws
    must spread. Others of its kind, or the diffusions at which they would start, are fitted to
    three quarters of the pairs each, have their state chosen by the same held-out pairs, and draw
    for the rest. A generator needs the same scale as the diffusion whose draws it learns, which
    takes a third of the time, and so do fits without codes that have no condition
    (docs/lessons.md). Groups of pairs stay whole; with fewer than four groups, or with one that has
    half of the pairs, there are no folds. If a fit diverges, or Ctrl-C ends it, the noise stays as
    it is.
    """
    if not (isinstance(matcher, GeneratorMatcher) and matcher.needs_folds(data)):
        return
    groups = None if data.groups is None else data.groups.cpu().numpy()
    suited = _PAIRS if groups is None else _GROUPED_PAIRS
    if len(data.latent) not in suited or matcher.interrupted_:
        return
    splits = folds(len(data.latent), _N_FOLDS, run.seed, groups)
    if len(splits) < _N_FOLDS or any(len(kept) <= len(rest) for kept, rest in splits):
        return
    try:
        _scale_noise(matcher, new_part, data, run, splits)
    except DivergenceError:
        return
    except KeyboardInterrupt:
        matcher.interrupted_ = True  # which raises it again once the fit is stored


def _scale_noise(
    matcher: GeneratorMatcher,
    new_part: Callable[[str], Any],
    data: MatchingData,
    run: Run,
    splits: list[Split],
) -> None:
    quiet = replace(run, checkpoint=None, verbose=0)
    held_out = [matcher.for_held_out(data)]
    with Progress("folds for the noise's scale", len(splits), "fit", run.verbose) as progress:
        for split in splits:
            kept, rest = (torch.from_numpy(rows).to(run.device) for rows in split)
            other = new_part("matcher").set_params(callbacks=None, noise_scale=1.0)
            other = other.for_trials(data.latent_dim)
            other.fit(data.some_pairs(kept), quiet)
            if other.interrupted_:
                raise KeyboardInterrupt
            held_out.append(other.for_held_out(data.holding_out(data.some_pairs(rest))))
            progress.advance()
    matcher.choose_noise_scale(held_out, run)

"""How widely draws from few pairs must spread, by fits that leave some of the pairs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.encoders.folds import folds
from sklsdm.exceptions import DivergenceError
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.matchers.base import GeneratorMatcher
from sklsdm.progress import Progress
from sklsdm.run import Run

_MOST_PAIRS = 200  # more can choose the scale by those that the fit itself has held out
_N_FOLDS = 4


def scale_noise_by_folds(
    matcher: BaseMatcher,
    new_part: Callable[[str], Any],
    data: MatchingData,
    run: Run,
    groups: NDArray[np.intp] | None = None,
) -> None:
    """Choose the noise's scale of a fitted matcher by draws for every pair, where pairs are few.

    The pairs that were held out of its fit on `data` are then too few to tell how widely its draws
    must spread. Others of its kind are fitted to three quarters of the pairs each, have their state
    chosen by the same held-out pairs, and draw for the rest. `groups` (n,) of the pairs stay whole.
    If a fit diverges, or Ctrl-C ends it, the noise stays as it is.
    """
    n_pairs = len(data.latent)
    if n_pairs >= _MOST_PAIRS or matcher.interrupted_:
        return
    if not (isinstance(matcher, GeneratorMatcher) and matcher.needs_folds(data)):
        return
    quiet = replace(run, checkpoint=None, verbose=0)
    parts = [matcher.unseen(data.held_condition, data.held_latent)]
    with Progress("folds for the noise's scale", _N_FOLDS, "fit", run.verbose) as progress:
        for kept, left_out in folds(n_pairs, _N_FOLDS, run.seed, groups):
            seen, rest = (torch.from_numpy(rows).to(run.device) for rows in (kept, left_out))
            fold = replace(data, condition=data.condition[seen], latent=data.latent[seen])
            other = new_part("matcher").set_params(callbacks=None, noise_scale=1.0)
            try:
                other.fit(fold, quiet)
            except DivergenceError:
                return
            if other.interrupted_:
                matcher.interrupted_ = True
                return
            parts.append(other.unseen(data.condition[rest], data.latent[rest]))
            progress.advance()
    matcher.choose_noise_scale(parts, run)

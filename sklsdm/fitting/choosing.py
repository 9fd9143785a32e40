"""The choice of condition encoder and use of unpaired responses, by cross-fitting over the pairs.

Each candidate is fitted for a few steps on all folds but one, and judged on the fold left out. So
every pair has its say, also where pairs are few. A candidate that falls far behind is dropped after
a fold. Stage 2 alone is fitted anew: the latent spaces, and the regression of x on responses, were
learnt from the responses that are left out, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from sklsdm.blocks import spread_rows
from sklsdm.draws.estimates import multiscale_scores
from sklsdm.encoders import BaseConditionEncoder
from sklsdm.exceptions import DivergenceError
from sklsdm.fitting.holding_out import folds_of
from sklsdm.fitting.latent_space import Coded
from sklsdm.fitting.pairs import Fold, Pairs
from sklsdm.fitting.stage_two import EncodedPairs, Setting, StageTwo
from sklsdm.fitting.uses import data_for, use_for_encoders
from sklsdm.matchers import BaseMatcher, EnergyMatcher, MatchingData, MDNMatcher
from sklsdm.nets import by_group, is_as_good
from sklsdm.progress import Progress, write_line
from sklsdm.run import Run

# Condition encoders are compared by mixture densities, which learn quickest how a law follows x:
# after 200 steps they tell a law that turns with x from one that does not (docs/lessons.md).
_ENCODER_STEPS = 200
_ENCODER_LR = 1e-3
_FEW_DIMENSIONS = 8  # of codes; in more, a mixture takes long, and the energy score is used
# The short fits of all uses on all folds take together so many times the steps of a full fit of
# the matcher that compares them.
_SHARE_OF_STEPS = 0.4
# Steps of the model that pseudo-pairs need, unless the final fit takes fewer. Labels of unpaired
# codes are mostly right after 1,000; drawn conditions stay vague.
_PAIRING_STEPS, _LABELLING_STEPS = 500, 1000
_MOST_TO_PAIR, _MOST_TO_LABEL = 2000, 20_000  # unpaired codes that get one in a short fit
_FEWEST_STEPS = 100  # of a short fit of a use, where the final one takes as many
# Standard errors by which a use must be better than one before it: short fits flatter a use that
# only learns faster.
_DOUBT_OF_USES = 2.0
# Of images with labels short fits blur, and "pair" learns its labels from two thirds of the pairs:
# it came out worse by up to 3.1 standard errors where its final draws were far nearer to real
# images (docs/lessons.md).
_DOUBT_OF_LABELLED_IMAGES = 4.0
# A candidate that is worse than the best by so many standard errors is not fitted on further folds,
# once it has been judged on so many pairs, or groups of pairs.
_HOPELESS, _FEWEST_TO_DROP, _FEWEST_GROUPS_TO_DROP = 3.0, 100, 6

Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class ComparedSetting:
    """The setting that was chosen, and the scores (v,) of each candidate that was compared."""

    setting: Setting
    encoder_scores: Scores
    use_scores: Scores


def choose_setting(
    stage: StageTwo,
    spaces: Mapping[str, Coded],
    encoders: Mapping[str, BaseConditionEncoder],
    matcher: BaseMatcher,
    spread: NDArray[np.float64],
    validation: Pairs | None = None,
) -> ComparedSetting:
    """Compare condition encoders, then the uses of unpaired responses with the best of them.

    Ties go to the simpler encoder (within a standard error) and to the first use (within two, or
    four of images with labels, where that is "pair").

    Parameters
    ----------
    stage : StageTwo
        What is fitted on.
    spaces : mapping of str to Coded
        The latent space for each use, in the order of `uses_to_try`.
    encoders : mapping of str to BaseConditionEncoder
        The encoders by name, the simplest first.
    matcher : BaseMatcher
        Of which short fits are made; it stays unfitted.
    spread : ndarray of shape (q,)
        Standard deviations of the outputs, by which responses are divided before they are judged.
    validation : Pairs, optional
        Pairs to judge by instead of the folds.

    Returns
    -------
    ComparedSetting
    """
    encoder_scores: Scores = {}
    use_scores: Scores = {}
    folds = folds_for(stage, validation)
    use, name = use_for_encoders(list(spaces)), next(iter(encoders))
    trials = TrialEncoders(stage)
    if len(encoders) > 1 and folds:
        encoder_scores = _compare_encoders(trials, folds, spread, spaces[use], encoders, matcher)
        name = choose_first_as_good(encoder_scores)
    if len(spaces) > 1 and folds:
        labelled_images = stage.pairs.are_labels and stage.responses.format.is_image
        doubt = _DOUBT_OF_LABELLED_IMAGES if labelled_images else _DOUBT_OF_USES
        settings = {each: Setting(each, spaces[each], encoders[name]) for each in spaces}
        use_scores = _compare_uses(trials, folds, spread, settings, matcher, doubt)
        use = choose_first_as_good(use_scores, doubt)
    return ComparedSetting(Setting(use, spaces[use], encoders[name]), encoder_scores, use_scores)


def _compare_encoders(
    trials: TrialEncoders,
    folds: Sequence[Fold],
    spread: NDArray[np.float64],
    coded: Coded,
    encoders: Mapping[str, BaseConditionEncoder],
    matcher: BaseMatcher,
) -> Scores:
    """The scores of condition encoders, on the pairs alone; `matcher` only bounds the steps."""
    n_steps = min(matcher.budget(len(trials.stage.pairs)), _ENCODER_STEPS)
    quick = _quick_matcher(coded.codes.shape[1], n_steps)
    settings = {name: Setting("none", coded, encoder) for name, encoder in encoders.items()}
    fits = ShortFits(trials, folds, spread, quick, best_state=True)
    return fits.compare("condition encoders", settings)


def _compare_uses(
    trials: TrialEncoders,
    folds: Sequence[Fold],
    spread: NDArray[np.float64],
    settings: Mapping[str, Setting],
    matcher: BaseMatcher,
    doubt: float,
) -> Scores:
    """The scores of the uses of unpaired responses; the `doubt` is that of the choice by them."""
    pairs = trials.stage.pairs
    budget = matcher.budget(len(pairs))
    share = int(_SHARE_OF_STEPS * budget / (len(settings) * len(folds)))
    n_steps = min(budget, max(_FEWEST_STEPS, share))
    pairing_steps = min(budget, _LABELLING_STEPS if pairs.are_labels else _PAIRING_STEPS)
    short = clone(matcher).set_params(max_steps=n_steps, callbacks=None)
    fits = ShortFits(trials, folds, spread, short, pairing_steps=pairing_steps)
    return fits.compare("uses of the unpaired responses", settings, max(doubt, _HOPELESS))


def scores_by_fold(
    candidates: Iterable[str],
    folds: Sequence[Fold],
    score: Callable[[str, Fold], NDArray[np.float64]],
    hopeless: float = _HOPELESS,
    fewest: int = _FEWEST_TO_DROP,
) -> Scores:
    """The scores of the candidates by name, on one fold after another.

    A candidate that has fallen behind by `hopeless` standard errors, on the `fewest` scores or
    more, has those of the first folds only. One whose training diverges is left out; if all do, the
    last error is raised.
    """
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in candidates}
    error: DivergenceError | None = None
    running = list(found)
    for fold in folds:
        if len(running) == 1 < len(found):
            break  # all others are far behind
        for name in running:
            try:
                found[name].append(score(name, fold))
            except DivergenceError as diverged:
                error = diverged
                del found[name]
        running = in_the_running(
            {name: np.concatenate(found[name]) for name in running if name in found},
            hopeless,
            fewest,
        )
    if error is not None and not found:
        raise error
    return {name: np.concatenate(parts) for name, parts in found.items()}


def in_the_running(scores: Scores, hopeless: float, fewest: int) -> list[str]:
    """The candidates that are not far behind the best; all have scores of the same pairs."""
    if not scores:
        return []
    best = torch.from_numpy(scores[choose_best(scores)])
    if len(best) < fewest:
        return list(scores)
    return [n for n, own in scores.items() if is_as_good(torch.from_numpy(own), best, hopeless)]


def _quick_matcher(latent_dim: int, n_steps: int) -> BaseMatcher:
    """The matcher by which condition encoders are compared."""
    if latent_dim <= _FEW_DIMENSIONS:
        return MDNMatcher(max_steps=n_steps, lr=_ENCODER_LR)
    return EnergyMatcher(max_steps=n_steps, n_draws=2, batch_size=128)


def folds_for(stage: StageTwo, validation: Pairs | None) -> list[Fold]:
    """Where candidates are judged: on the user's validation pairs, or by cross-fitting.

    There are no folds, and nothing is compared, where a group has nearly all pairs.
    """
    every = np.arange(len(stage.pairs))
    if validation is not None:
        return [Fold(every, validation.to_judge(stage.run.seed))]
    found = folds_of(len(every), stage.run.seed, stage.pairs.groups)
    return [
        Fold(np.setdiff1d(every, held), stage.pairs.take(held).to_judge(stage.run.seed))
        for held in found
    ]


class TrialEncoders:
    """Condition encoders for short fits, each fitted once for each fold and latent space.

    They are those of `stage`, what is fitted on, as `for_trials` gives them.
    """

    def __init__(self, stage: StageTwo) -> None:
        self.stage = stage
        self._fitted: list[tuple[Setting, Fold, BaseConditionEncoder, EncodedPairs]] = []

    def fitted_for(self, setting: Setting, fold: Fold) -> tuple[Setting, EncodedPairs]:
        """The setting with its encoder fitted on the pairs of a fold, and what that gives them."""
        for earlier, at, encoder, encoded in self._fitted:
            is_same = earlier.encoder is setting.encoder and earlier.coded is setting.coded
            if is_same and at is fold:
                return replace(setting, encoder=encoder), encoded
        assert setting.encoder is not None
        encoder = setting.encoder.for_trials()
        own = replace(setting, encoder=encoder)
        encoded = self.stage.encode(own, fold)
        self._fitted.append((setting, fold, encoder, encoded))
        return own, encoded


@dataclass(frozen=True)
class _ShortFit:
    """On what a short fit was made, and the scores (v,) of the pairs held out from it."""

    setting: Setting
    fold: Fold
    condition: Tensor  # of the pairs that are kept, as its encoder gives them
    scores: NDArray[np.float64]

    def is_that_of(self, setting: Setting, fold: Fold, condition: Tensor) -> bool:
        """Whether a fit on these would be the same one, be it of another encoder."""
        return (
            fold is self.fold
            and setting.coded is self.setting.coded
            and setting.use == self.setting.use
            and torch.equal(condition, self.condition)
        )


class ShortFits:
    """Short fits of one matcher in several settings, all judged on the same folds.

    Parameters
    ----------
    trials : TrialEncoders
        What is fitted on, with the condition encoders.
    folds : sequence of Fold
        Each setting is fitted on the pairs kept in a fold, and judged on those held out.
    spread : ndarray of shape (q,)
        Standard deviations of the outputs, by which responses are divided before they are judged.
    matcher : BaseMatcher
        Copies of it are fitted, for all its steps.
    best_state : bool, default=False
        Whether the held-out pairs choose the state of a fit, too: otherwise a setting that learns
        faster, and overfits sooner, loses to one that has hardly begun.
    pairing_steps : int, default=0
        Most steps of the model of x given the code, where the use is "pair".
    """

    def __init__(
        self,
        trials: TrialEncoders,
        folds: Sequence[Fold],
        spread: NDArray[np.float64],
        matcher: BaseMatcher,
        *,
        best_state: bool = False,
        pairing_steps: int = 0,
    ) -> None:
        self.trials = trials
        self.stage = trials.stage
        self.folds = folds
        self.spread = spread
        self.matcher = matcher
        self.best_state = best_state
        self.pairing_steps = pairing_steps
        self._made: list[_ShortFit] = []

    def compare(
        self, what: str, settings: Mapping[str, Setting], hopeless: float = _HOPELESS
    ) -> Scores:
        """The scores of settings by name, see :func:`scores_by_fold`.

        It says how many fits follow, of `what` and of how many steps, and shows their progress.
        """
        verbose, n_fits = self.stage.run.verbose, len(settings) * len(self.folds)
        in_groups = self.stage.pairs.groups is not None
        fewest = _FEWEST_GROUPS_TO_DROP if in_groups else _FEWEST_TO_DROP
        if verbose:
            fits = f"{n_fits} fits of at most {self.matcher.max_steps} steps"
            write_line(f"comparing {len(settings)} {what}: {fits}")
        with Progress(what, n_fits, "fit", verbose) as progress:

            def score(name: str, fold: Fold) -> NDArray[np.float64]:
                scores = self.scores(settings[name], fold)
                progress.advance()
                return scores

            found = scores_by_fold(settings, self.folds, score, hopeless, fewest)
            progress.close("decided" if progress.done < progress.total else "")
        return found

    def scores(self, setting: Setting, fold: Fold) -> NDArray[np.float64]:
        """Multiscale scores (v,) of the pairs (or groups) held out in a fold, by a fit on the rest.

        An encoder that gives the conditions of one before it, such as "periodic" where a fold has
        no waves, has its scores.
        """
        setting, encoded = self.trials.fitted_for(setting, fold)
        run = replace(self.stage.run, checkpoint=None, verbose=0, is_trial=True)
        data = self.stage.data(setting, fold, encoded)
        for earlier in self._made:
            if earlier.is_that_of(setting, fold, data.condition):
                return earlier.scores
        held_condition = data.held_condition.cpu().numpy()
        fitted = clone(self.matcher)
        fitted.fit(self._data_to_fit(data, setting.use, run), run)
        if fitted.interrupted_:
            raise KeyboardInterrupt
        sampler = setting.coded.space.sampler(fitted)
        by_pair = multiscale_scores(sampler, held_condition, fold.held.y, self.spread)
        scores = by_group(torch.from_numpy(by_pair), data.held_groups).numpy()
        self._made.append(_ShortFit(setting, fold, data.condition, scores))
        return scores

    def _data_to_fit(self, data: MatchingData, use: str, run: Run) -> MatchingData:
        """The data of a short fit, with pseudo-pairs where they are used."""
        if not self.best_state:
            data = data.holding_out()
        if use == "pair" and data.recovered is None:
            data = _with_fewer_codes(data)
        return data_for(use, data, run, self.pairing_steps)


def _with_fewer_codes(data: MatchingData) -> MatchingData:
    """The data with at most 2,000 unpaired codes, or 20,000 if the conditions are labels.

    Each of them gets a condition, which takes long, most of all where conditions do not repeat.
    """
    n_pairs, device = len(data.latent), data.latent.device
    most = _MOST_TO_LABEL if data.are_labels else _MOST_TO_PAIR
    if data.codes is None or len(data.codes) <= n_pairs + most:
        return data
    others = n_pairs + torch.from_numpy(spread_rows(len(data.codes) - n_pairs, most)).to(device)
    rows = torch.cat([torch.arange(n_pairs, device=device), others])
    images = None if data.images is None else data.images.some(rows.cpu().numpy())
    return replace(data, codes=data.codes[rows], images=images)


def choose_best(scores: Mapping[str, NDArray[np.float64]]) -> str:
    """The candidate with the lowest mean score, of those that were judged on most pairs."""
    most = max(map(len, scores.values()))
    judged = [name for name, by_pair in scores.items() if len(by_pair) == most]
    return min(judged, key=lambda name: float(scores[name].mean()))


def choose_first_as_good(scores: Mapping[str, NDArray[np.float64]], tolerance: float = 1.0) -> str:
    """The first candidate, in the order of `scores`, that is not clearly worse than the best one.

    It is clearly worse if its mean is higher by more than `tolerance` standard errors of the mean
    difference, pair by pair, or if it was judged on fewer pairs since it had fallen behind.
    """
    best_name = choose_best(scores)
    best = torch.from_numpy(scores[best_name])
    good = (
        name
        for name, by_pair in scores.items()
        if len(by_pair) == len(best) and is_as_good(torch.from_numpy(by_pair), best, tolerance)
    )
    return next(good, best_name)

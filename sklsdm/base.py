"""What both estimators share: parameters, and the two stages of `fit`."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone

from sklsdm.distributed import current_group
from sklsdm.fitted import FittedEstimator
from sklsdm.fitting.borders import set_borders
from sklsdm.fitting.holding_out import are_few_labelled_images, hold_out_pairs, hold_out_rows
from sklsdm.fitting.latent_space import Coded
from sklsdm.fitting.noise_by_folds import scale_noise_by_folds
from sklsdm.fitting.pairs import Fold, Pairs
from sklsdm.fitting.stage_one import begin, go_on, stay
from sklsdm.fitting.stage_two import Setting, StageTwo
from sklsdm.fitting.uses import data_for
from sklsdm.inputs.extremes import warn_of_extremes
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.matchers.data import FEW_PAIRS
from sklsdm.nets import one_thread
from sklsdm.owner import (
    largest_settings_in_errors,
    warn_if_constant,
    warn_if_not_improved,
    warn_of_far_draws,
)
from sklsdm.parameters import (
    anything,
    between,
    check_parameters,
    flag,
    integer_or_flag,
    learnt,
    or_none,
    parameter,
    path_like,
    use_plain_numbers,
)
from sklsdm.public_calls import learnt_by, own_modes, take_over
from sklsdm.randomness import RandomState, agreed_seed
from sklsdm.run import Run, resolve_device
from sklsdm.starting import started
from sklsdm.storage.fit_folder import FitFolder, SharedFolder, fit_path
from sklsdm.warm_start import continue_from, earlier_space, settings_read_once, weights_of

FIT_EXTRAS = ("Y_unpaired", "X_val", "y_val", "groups")  # what `fit` takes beside the pairs


class LatentSpaceEstimator(FittedEstimator):
    """Base of the estimators: fits both stages. Subclasses check and prepare the data."""

    validation_fraction: float = parameter(
        default=0.1,
        rule=between(0.0, 1.0),
        doc="""Share of the data held out to choose the best state of both networks. No pairs are
        held out of fewer than 20 (rows, where there are no conditions), nor of fewer than 2,000
        labelled images without others. With 0 training uses all data and all steps, and keeps the
        last state.""",
    )
    exact_values: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Draw the values that responses repeat (zeros, counts, ratings, a background) and
        rules that they follow (one sum): see the Notes. With False draws are any numbers.""",
    )
    device: str | torch.device = parameter(
        default="auto",
        rule=anything('{"auto", "cpu", "cuda", "cuda:<index>", "mps"} or torch.device'),
        doc='Device to compute on; "auto" is CUDA where available, else the CPU.',
    )
    random_state: RandomState = parameter(
        default=None,
        rule=anything("int, RandomState, Generator or None"),
        doc="""Seed of everything random in `fit`. Equal seeds give equal results on one machine.
        Each fit advances a Generator or RandomState. A clone of the estimator has a copy of it,
        so it starts from the same state.""",
    )
    warm_start: bool = parameter(
        default=False,
        rule=flag(),
        doc="""With True, a further `fit` goes on with the new data: from the networks of both
        stages, in the units, latent dimension and condition encoder of the first fit, and with its
        use of unpaired responses. Budgets, rates and weights of losses may change in between;
        what alters a network may not. See docs/scaling.md.""",
    )
    verbose: int = parameter(
        default=0,
        rule=integer_or_flag(0),
        doc="""Progress on standard error. 0 shows none. 1 says how many short fits are compared and
        shows a bar for these and for each stage, with its losses, held-out scores and the time that
        is left; where no bar can be drawn, at most ten lines instead (docs/callbacks.md). 2 writes
        a line for each epoch.""",
    )
    checkpoint: str | Path | None = parameter(
        default=None,
        rule=or_none(path_like()),
        doc="""Folder where an unfinished fit saves its state. If a fit was killed, calling it again
        with equal parameters and data resumes it and ends in the same result. Every fit has a
        subfolder of its own, which is removed at its end. A damaged file is set aside with a
        warning, and where nothing can be written, the fit goes on without (docs/how-it-works.md).
        """,
    )
    history_: dict[str, dict[str, NDArray[np.float64]]] = learnt(
        """Losses and held-out scores by epoch, as arrays: `history_["autoencoder"]` of stage 1,
        `history_["matcher"]` of stage 2.""",
        "dict",
    )
    interrupted_: bool = learnt("Whether Ctrl-C ended stage 2; the best state up to then was kept.")

    # ------------------------------------------------------------------ fitting
    def _check_settings(self) -> None:
        """Raise if this estimator or one of its parts has a parameter value that is not allowed."""
        check_parameters(self)
        for part in self._parts:
            check_parameters(self._given_part(part), prefix=f"{part}__")
        resolve_device(self.device)

    def _fit_anew(self, learn: Callable[[Self, int], None]) -> Self:
        """Call `learn(fresh, seed)` on a clone, then take over all that it learnt.

        The clone is unfitted or, with `warm_start`, begins with what earlier fits have learnt. If
        `learn` raises, this estimator stays as it was.
        """
        fresh = self._learn_in_clone(learn)
        take_over(self, learnt_by(fresh))
        if fresh.interrupted_:
            raise KeyboardInterrupt
        return self

    def _learn_in_clone(self, learn: Callable[[Self, int], Any]) -> Self:
        """The clone of this estimator that `learn(clone, seed)` was called on."""
        self._check_settings()
        seed = agreed_seed(self.random_state)
        fresh = clone(self)
        use_plain_numbers(fresh)
        with own_modes(), one_thread(), largest_settings_in_errors(self):
            if self.warm_start:
                continue_from(fresh, self)
            fresh._read_once_ = settings_read_once(fresh)
            learn(fresh, seed)
        return fresh

    def _run(self, seed: int, *arrays: Any) -> Run:
        """Settings of this fit; if it resumes one from a checkpoint, with the seed of that one."""
        device, group = resolve_device(self.device), current_group()
        if self.checkpoint is None:
            return Run(device, seed, self.verbose, group=group)
        contents = [*arrays, *weights_of(self)]
        path = fit_path(self.checkpoint, self.get_params(deep=True), contents)
        folder = FitFolder(path, seed) if group is None else SharedFolder(path, seed, group)
        return Run(device, folder.seed, self.verbose, folder, group=group)

    def _knows_responses(self) -> bool:
        """Whether this fit goes on from one whose format of responses it keeps (`warm_start`)."""
        return hasattr(self, "_response_format_")

    def _open_responses(
        self,
        y: NDArray[Any],
        unpaired: Any = None,
        y_range: Any = None,
        *,
        name: str = "y",
        drops_copies: bool = False,
    ) -> Responses:
        """All responses; stores their format and the paired ones' spread, of the first fit.

        With `drops_copies` there are no unpaired ones where all are copies of paired ones. `name`
        is the argument that y comes from; extreme values are warned of.
        """
        before = getattr(self, "_response_format_", None)
        responses = Responses(y, unpaired, y_range, before, exact_values=self.exact_values)
        if drops_copies and responses.are_all_paired():
            unpaired = None
            responses = Responses(y, None, y_range, before, exact_values=self.exact_values)
        self._response_format_ = responses.format
        if not hasattr(self, "_response_std_"):
            self._response_std_ = responses.paired_std()
        warn_if_constant(responses.format)
        std = responses.format.standardiser.scale if before is None else None  # of these data
        warn_of_extremes({name: y, "Y_unpaired": unpaired}, std)
        return responses

    def _fit_stages(
        self,
        pairs: Pairs,
        responses: Responses,
        run: Run,
        *,
        image_shape: tuple[int, ...] | None = None,
        validation: Pairs | None = None,
        keeps_encoder: bool = False,
    ) -> None:
        """Fit both stages on the pairs and all responses.

        The best state of stage 2 is chosen on the pairs `validation`, or on held-out pairs if it is
        None. Unpaired copies of these pairs are left out of stage 2: it must not have seen them.
        Pairs of one group are held out together. With `keeps_encoder` the condition encoder was
        fitted before.
        """
        held = np.arange(0)
        if validation is None and not are_few_labelled_images(pairs.condition, responses):
            held = hold_out_pairs(len(pairs), self.validation_fraction, run.seed, pairs.groups)
        held_rows = hold_out_rows(held, responses, self.validation_fraction, run.seed)
        # Codes that are images need more pairs, unless those that have none get a label.
        may_be_images = pairs.are_labels or len(pairs) >= FEW_PAIRS
        coded = self._fit_latent_space(responses, held_rows, run, may_be_images)
        stage = StageTwo(pairs, responses, run, image_shape, keeps_encoder, coded.are_images)
        stage = self._compare_laws(stage, coded)
        setting = self._choose_setting(stage, coded, held, validation)
        self._take_space(setting.coded.space)
        self._fit_stage_two(stage, setting, held, validation)
        self.interrupted_ = self.matcher_.interrupted_
        self.history_ = {
            "autoencoder": self.autoencoder_.history_,
            "matcher": self.matcher_.history_,
        }
        if run.checkpoint is not None and not self.interrupted_:
            run.checkpoint.remove()

    def _fit_stage_two(
        self,
        stage: StageTwo,
        setting: Setting,
        held: NDArray[np.intp],
        validation: Pairs | None,
    ) -> None:
        """Fit the matcher, and what its draws tell: the noise's scale, borders between values."""
        run, matcher = stage.run, self._new_part("matcher")
        fold, data = _matching_data(matcher, stage, setting, held, validation)
        earlier = getattr(self, "matcher_", None)
        with started(matcher, earlier, "matcher__") if self.warm_start else nullcontext():
            self.matcher_ = matcher.fit(data, run)
            scale_noise_by_folds(matcher, self._new_part, data, run)
        sampler = setting.coded.space.sampler(matcher)
        known = data.condition[: data.n_pairs]
        self._response_format_ = set_borders(sampler, known, stage.pairs.y[fold.kept])
        self._note_setting(setting, data)
        if earlier is None:
            warn_if_not_improved(matcher, setting.encoder)
        warn_of_far_draws(matcher)

    def _compare_laws(self, stage: StageTwo, coded: Coded) -> StageTwo:
        """The data of stage 2, with what a test of unpaired against paired responses has found."""
        return stage

    def _choose_setting(
        self, stage: StageTwo, coded: Coded, held: NDArray[np.intp], validation: Pairs | None
    ) -> Setting:
        """How stage 2 is fitted, in which latent space; `coded` is that of all responses."""
        return Setting("none", coded)

    def _note_setting(self, setting: Setting, data: MatchingData) -> None:
        """Store what was chosen, as far as the estimator has attributes for it."""

    def _fit_latent_space(
        self,
        responses: Responses,
        held_out: NDArray[np.intp],
        run: Run,
        may_be_images: bool = True,
    ) -> Coded:
        """Fit stage 1; returns the latent space with the codes (n + N, k) of all responses."""
        asked = self._new_part("autoencoder")
        if hasattr(self, "autoencoder_"):
            before = earlier_space(self, run.device)
            only_pairs = len(responses) == responses.n_paired
            if getattr(self, "n_streamed_", 0) and only_pairs:
                return stay(before, responses, held_out)
            return go_on(before, asked, responses, held_out, run)
        fewest = self._new_part("matcher").fewest_code_images if may_be_images else math.inf
        autoencoder = asked.resolve(responses.format, self.latent_dim, len(responses), fewest)
        return begin(autoencoder, self.latent_dim, repr(self.autoencoder), responses, held_out, run)


def _matching_data(
    matcher: BaseMatcher,
    stage: StageTwo,
    setting: Setting,
    held: NDArray[np.intp],
    validation: Pairs | None,
) -> tuple[Fold, MatchingData]:
    """Which pairs the matcher learns from and is judged by, and all data of its training.

    It learns from the pairs `held`, too, where it learns every label that is guessed: then it
    trains to the last step, and no pairs are needed to choose its state.
    """
    judged = stage.pairs.take(held) if validation is None else validation
    kept = np.setdiff1d(np.arange(len(stage.pairs)), held)
    fold = Fold(kept, judged.to_judge(stage.run.seed))
    data = stage.data(setting, fold)
    only_sure = matcher.keeps_only_sure_labels(data)
    if validation is None and len(held) and not only_sure:
        fold = stage.nothing_held_out()
        data = stage.data(setting, fold)
    return fold, data_for(setting.use, data, stage.run, matcher.step_limit, only_sure)

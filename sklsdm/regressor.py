"""LSDMRegressor: draws from p(Y | X), learnt from few pairs and many responses without X."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags

from sklsdm._validation import also_named, check_groups, check_same_rows
from sklsdm.base import FIT_EXTRAS
from sklsdm.diagnosing import DiagnoseMixin
from sklsdm.draws.drawing import Bank
from sklsdm.draws.estimates import energy_scores, marginal_energy_scores
from sklsdm.draws.forecasts import ForecastMixin
from sklsdm.draws.output import check_outcome
from sklsdm.encoders import BaseConditionEncoder
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.fitting.choosing import choose_setting
from sklsdm.fitting.holding_out import hold_out_rows
from sklsdm.fitting.implied_groups import implied_groups
from sklsdm.fitting.latent_space import Coded
from sklsdm.fitting.pairs import Pairs
from sklsdm.fitting.stage_two import Setting, StageTwo
from sklsdm.fitting.uses import USES, check_weight, use_for_encoders, uses_to_try
from sklsdm.inputs.conditions import warn_of_numbered_classes
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.unpaired import check_unpaired, warn_if_sliced
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.matchers.data import FEW_PAIRS
from sklsdm.metrics import skill
from sklsdm.owner import advise
from sklsdm.parameters import anything, flag, learnt, one_of, parameter
from sklsdm.public_calls import on_one_fit
from sklsdm.shift import LEFT_OUT, WHAT_TO_DO, Shift, compare_some, differing_column
from sklsdm.streaming import StreamingEstimator


class LSDMRegressor(RegressorMixin, StreamingEstimator, ForecastMixin, DiagnoseMixin):
    """Conditional generation by latent space distribution matching, from pairs and unpaired Y.

    Stage 1 learns an encoder E and a decoder D from all responses, paired and unpaired. Stage 2
    trains a generator H(x, η) with noise η so that (X, H(X, η)) follows the law of (X, E(Y)). A
    draw from p(Y | X = x) is D(H(x, η)).

    Notes
    -----
    `sample`, `predict` and `score` draw in batches of bounded memory.

    Unpaired responses must follow the same law as the paired ones. `fit` tests this in the latent
    space at the level .001 and gives a `DistributionShiftWarning` where they clearly do not. Then
    `unpaired="auto"` leaves those that hardly resemble a pair, such as a class that is missing
    among the pairs, out of stage 2.

    `y_range` moves a draw outside the range to the nearest point inside. This never increases
    its distance to a response, nor any reconstruction error. The density inside stays: for amounts
    over several magnitudes, fit the logarithm and take the exponential of the draws.

    With `exact_values` draws take the values that responses repeat. An output that takes few
    values, such as a count, a rating or 0 and 1, is drawn as one of them. A value of a twentieth of
    the responses, such as the zeros of rainfall, is drawn about as often as it occurs. Rules that
    all responses follow hold for draws, too: one sum of parts that are never negative, the same
    values in another order (rankings), few of the combinations of values (a shop and its town),
    outputs that are linear functions of others (totals), and outputs in one order (a low and a
    high, the points of a rising curve). Tables of up to 500 outputs are looked at
    from 20 responses on, and fewer than 5,000 images for values of a twentieth of all pixels. Draws
    are floats.

    References
    ----------
    Chong & Feng 2026, "Latent space distribution matching" (arXiv 2603.04223).

    Examples
    --------
    >>> from sklsdm import LSDMRegressor
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(300, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", random_state=0)
    >>> est = est.set_params(matcher__max_steps=100).fit(arms.X, arms.y)
    >>> est.sample(arms.X[:5], n_samples=3, random_state=0).shape
    (5, 3, 2)
    """

    unpaired: str = parameter(
        default="auto",
        rule=one_of("auto", *USES),
        doc="""Use of the unpaired responses.

        - "none": not at all.
        - "latent" (the paper): in stage 1 only.
        - "match": also in stage 2, where the generated codes must follow the law of all codes.
        - "pair": also in stage 2, as pseudo-pairs. Their conditions come from a regression of x on
          y (`reverse_r2_`), from a model of x given the code, or from a classifier of the images;
          given numbers, draws are then too narrow with some 20 pairs or fewer.
        - "auto" compares these uses, in this order, by short fits that are judged on the pairs left
          out, and takes the first that is within two standard errors of the best. "pair" comes
          first where responses determine their conditions and a test finds no difference between
          unpaired and paired ones (`unpaired_shift_`), and for images with labels (there within
          four). "none" is not compared for images with a learnt latent space, nor "latent" where
          stage 1 learns nothing (up to 50 outputs by default).

        "auto" compares nothing in three cases. Where all unpaired responses are copies of paired
        ones it is "none". Where codes are images (`autoencoder="feature-map"`) it is "pair" for
        labels, for numbers unless the test finds a difference, and where it would come first, else
        "latent". With fewer than 20 pairs it is "latent", or "none" where stage 1 learns nothing
        ("match" if `matcher__unpaired_weight` is given).""",
    )
    y_range: Any = parameter(
        default=None,
        rule=anything("None or pair (low, high)"),
        doc="""Range (low, high) of the responses, to which all draws are clipped. Each end is a
        number, None for an open end, or an array that broadcasts to one response: (0, 1) for
        pixels and one-hot rows, (0, None) for amounts. Responses outside the range are an
        error. uint8 images always have (0, 1), other unsigned y (0, None). See the Notes.""",
    )
    store_reference: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Keep up to 2,000 paired responses of the latest fit (fewer if they are large images),
        which `score` needs for comparison.""",
    )
    unpaired_: str = learnt(
        """The chosen use of the unpaired responses: "none", "latent", "match" or "pair"; without
        such responses it is "none"."""
    )
    held_out_scores_: dict[str, NDArray[np.float64]] = learnt(
        """For each use of the unpaired responses that was compared, the multiscale scores of the
        pairs (`sklsdm.functional.scores.multiscale_score`), each by a fit of stage 2 that did not
        see it, on the outputs divided by their standard deviations; of pairs in groups one number
        for each group. A use that fell far behind has been judged on the first pairs only. Empty if
        none were compared.""",
        "dict of str to ndarray of shape (v,), float64",
    )
    encoder_scores_: dict[str, NDArray[np.float64]] = learnt(
        "The same scores for each condition encoder that was compared.",
        "dict of str to ndarray of shape (v,), float64",
    )
    unpaired_shift_: Shift | None = learnt(
        """Test of whether the unpaired responses follow the law of the paired ones: `p_value`,
        `strength`, and a sentence as `str`; see :class:`sklsdm.shift.Shift`. None where no unpaired
        responses were used, and with `groups`, be they of copied pairs.""",
        "Shift or None",
    )
    reverse_r2_: float | None = learnt(
        """How well ridge regression, linear or with a kernel, finds the conditions of pairs that it
        has not seen from their responses: one minus its mean squared error, in the column that it
        finds worst, over the mean variance of those that vary. From 0.9 on, unpaired responses get
        such conditions; where codes are images and conditions are not, vague ones are of use, too.
        It was not tried, and is None, for labels, without unpaired responses, with fewer than 20
        pairs, missing values in X or up to 50 outputs, with `unpaired` "none", "latent" or "match",
        and where X and y are so wide that it would take too much memory (the product of their
        numbers of columns or pixels beyond 16 million).""",
        "float or None",
    )
    n_pseudo_pairs_: int = learnt(
        """With `unpaired_="pair"`, the number of unpaired responses that got a condition."""
    )
    y_shape_: tuple[int, ...] = learnt("Shape of one response; () for a 1-D y.", "tuple")
    target_names_in_: NDArray[Any] = learnt(
        """Names of the columns of y, if y is a DataFrame and they are all strings. `Y_unpaired`,
        `y_val` and later responses that are DataFrames must have them in the same order.""",
        "ndarray of str",
    )
    n_paired_: int = learnt("Number of pairs in `fit`.")
    n_unpaired_: int = learnt("Number of unpaired responses in `fit`.")
    # With metadata routing on, Pipelines and searches pass these on without set_fit_request.
    __metadata_request__fit: ClassVar = dict.fromkeys(FIT_EXTRAS, True)

    # ------------------------------------------------------------------ fitting
    @overload
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self: ...

    @overload
    def fit(
        self,
        *,
        X_paired: ArrayLike,
        Y_paired: ArrayLike,
        Y_unpaired: Any = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self: ...

    @also_named(X_paired="X", Y_paired="y")
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn p(Y | X) from the pairs (X, y) and responses without conditions.

        The pairs may also be passed as `X_paired=` and `Y_paired=`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of the pairs: rows of numbers, or images. With `condition_encoder="trees"`
            also a pandas or polars DataFrame with columns of categories or strings, and X may
            hold NaN; see :class:`sklsdm.encoders.TreesConditionEncoder`.
        y : array-like of shape (n,), (n, q), (n, h, w) or (n, c, h, w)
            Responses of the pairs. uint8 images are scaled by 1/255 and drawn in [0, 1].
        Y_unpaired : array-like, path, list of paths, Dask array, Dataset or Unpaired, optional
            Responses without a condition, shaped like `y` after the first axis. Paths are those of
            `.npy` files; files and memmaps are read in blocks (docs/scaling.md). They may include
            the paired ones: copies of held-out responses are left out of stage 2. Wrap them in
            :class:`sklsdm.Unpaired` for cross-validation. None is the supervised case.
        X_val, y_val : array-like, optional
            Held-out pairs on which the best state of stage 2 is chosen, instead of a share of
            the pairs. A plain Pipeline does not transform X_val;
            :class:`sklsdm.SamplingPipeline` does.
        groups : array-like of shape (n,), optional
            Group of each pair, such as a patient or a storm. Pairs of one group are held out
            together, so that none that is much like a pair learnt from chooses the state, and
            `condition_encoder="trees"` predicts the codes of a group by trees without it. By
            default copies of a pair are a group, and so are pairs of equal conditions where these
            are measurements that each occur twice on average. Where rows are windows of a series
            in its order, twenty spans of it are the groups.

        Returns
        -------
        LSDMRegressor
            This estimator. If `fit` raises an error, it stays as it was before the call.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; the message names the argument.
        DivergenceError
            Training became non-finite or draws far off, also in retries at lower learning rates.
        KeyboardInterrupt
            On Ctrl-C. While the matcher trains, the best state up to then is kept first
            (`interrupted_`); before that an earlier fit stays.
        Exception
            Whatever a callback raises. After this, Ctrl-C or a signal that ends the process, such
            as SIGTERM, the folder `checkpoint` has the state of the last complete epoch, and the
            same call resumes there.

        Warns
        -----
        DivergenceWarning
            A few draws are far off, and most are not.
        UserWarning
            A value in the data is so extreme that all others are lost beside it; the message
            names argument, row and column.
        """
        return self._fit_anew(
            lambda fresh, seed: fresh._learn(X, y, Y_unpaired, X_val, y_val, groups, seed)
        )

    def _learn(
        self, X: Any, y: Any, Y_unpaired: Any, X_val: Any, y_val: Any, groups: Any, seed: int
    ) -> None:
        X, y = self._check_pairs(X, y)
        unpaired = check_unpaired(Y_unpaired, y, self._response_names())
        warn_if_sliced(Y_unpaired, len(y))
        groups = check_groups(groups, len(y))
        keeps_encoder = self._knows_conditions()
        if keeps_encoder:
            encoder = self.condition_encoder_
        else:
            encoder = self._new_part("condition_encoder").resolve(X.shape[1:])
            encoder.check_shape(X)
            self._conditions_ = self._learn_conditions(X)
        used = None if self.unpaired == "none" else unpaired
        drops_copies = self.unpaired == "auto"
        responses = self._open_responses(y, used, self.y_range, drops_copies=drops_copies)
        rows = self._conditions_.rows(X)
        pairs = Pairs(rows, y, implied_groups(rows, y) if groups is None else groups)
        if responses.format.is_image and pairs.are_labels:
            warn_of_numbered_classes(X)
        self.y_shape_ = responses.format.shape
        validation = self._check_validation_pairs(X_val, y_val)
        run = self._run(seed, X, y, unpaired, validation, pairs.groups)
        self.n_paired_ = len(y)
        self.n_unpaired_ = 0 if unpaired is None else len(unpaired)
        self._reference_ = responses.some_paired(run.seed) if self.store_reference else None
        self._fit_stages(
            pairs,
            responses,
            run,
            image_shape=encoder.image_shape(X.shape[1:]),
            validation=validation,
            keeps_encoder=keeps_encoder,
        )
        self.n_streamed_ = 0

    def _choose_setting(
        self, stage: StageTwo, coded: Coded, held: NDArray[np.intp], validation: Pairs | None
    ) -> Setting:
        matcher: BaseMatcher = self._new_part("matcher")
        uses = self._uses_to_try(stage, coded, validation, matcher)
        spaces = dict.fromkeys(uses, coded)
        if "none" in uses and stage.n_unpaired > 0:
            spaces["none"] = self._space_of_pairs(stage, held)
        encoders = self._encoders_to_try(stage, spaces[use_for_encoders(uses)])
        if not coded.are_images and not stage.pairs.are_labels:  # vectors follow numbers
            matcher = matcher.for_trials(coded.codes.shape[1])
        choice = choose_setting(stage, spaces, encoders, matcher, self._response_std_, validation)
        if not stage.keeps_encoder:
            self.encoder_scores_ = choice.encoder_scores
        if len(uses) > 1 or not stage.keeps_encoder:
            self.held_out_scores_ = choice.use_scores
        if stage.n_unpaired > 0:
            self._chosen_use_ = choice.setting.use
        return choice.setting

    def _uses_to_try(
        self, stage: StageTwo, coded: Coded, validation: Pairs | None, matcher: BaseMatcher
    ) -> tuple[str, ...]:
        """The uses of unpaired responses to compare; keeps what regression tells of conditions."""
        asked = getattr(self, "_chosen_use_", "auto") if self.unpaired == "auto" else self.unpaired
        can_judge = validation is not None or len(stage.pairs) >= FEW_PAIRS
        weight = matcher.unpaired_weight
        uses = uses_to_try(asked, stage, coded, can_judge=can_judge, weight=weight)
        recovered = stage.recovered if asked in ("auto", "pair") else None
        self.reverse_r2_ = None if recovered is None else recovered.r2
        return uses

    def _encoders_to_try(self, stage: StageTwo, coded: Coded) -> dict[str, BaseConditionEncoder]:
        """The condition encoders to compare by name; that of the earlier fit, where it is kept."""
        if stage.keeps_encoder:
            return {"as before": self.condition_encoder_}
        encoder = self._new_part("condition_encoder").resolve(self._conditions_.shape)
        codes = coded.codes[: len(stage.pairs)].cpu().numpy()
        found: dict[str, BaseConditionEncoder] = encoder.candidates(
            stage.pairs.condition, codes, stage.run.seed, stage.codes_are_images
        )
        return found

    def _compare_laws(self, stage: StageTwo, coded: Coded) -> StageTwo:
        """Test whether the unpaired responses follow the law of the paired ones; warns if not.

        With `unpaired="auto"` those of a cluster that hardly has pairs are left out of stage 2.
        """
        self.unpaired_shift_ = None
        if stage.pairs.groups is not None:  # rows of one group depend on each other
            return stage
        scale, held_out = coded.space.standardiser.scale, coded.held_out
        compared = compare_some(coded.codes, scale, len(stage.pairs), held_out, stage.run.seed)
        if compared is None:
            return stage
        self.unpaired_shift_ = found = compared.found
        if not found.is_clear:
            return replace(stage, shift=found)
        left_out = np.arange(0)
        if self.unpaired == "auto" and found.lacks_pairs:
            apart = compared.rows_apart(coded.codes, scale, len(stage.pairs))
            left_out = apart if len(apart) < len(coded.codes) - len(stage.pairs) else left_out
        column = differing_column(*stage.responses.some_of_both())
        left = f" {LEFT_OUT}" if len(left_out) else ""
        advise(f"{found}{column}{left} {WHAT_TO_DO}", DistributionShiftWarning)
        return replace(stage, shift=found, left_out=left_out)

    def _space_of_pairs(self, stage: StageTwo, held: NDArray[np.intp]) -> Coded:
        """The latent space learnt from the paired responses alone."""
        form = stage.responses.format if hasattr(self, "autoencoder_") else None
        responses = Responses(
            stage.pairs.y, None, self.y_range, form, exact_values=self.exact_values
        )
        rows = hold_out_rows(held, responses, self.validation_fraction, stage.run.seed)
        return self._fit_latent_space(responses, rows, stage.run.within("none"))

    def _note_setting(self, setting: Setting, data: MatchingData) -> None:
        assert setting.encoder is not None
        self.unpaired_ = setting.use
        self.condition_encoder_ = setting.encoder
        self.n_pseudo_pairs_ = data.n_pseudo

    def _check_settings(self) -> None:
        super()._check_settings()
        check_weight(self.unpaired, self._new_part("matcher").unpaired_weight)

    # ------------------------------------------------------------------ scoring
    @on_one_fit
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Energy skill: by how much the draws improve on a forecast that ignores X.

        It is 1 − ES(draws) / ES(training responses), where ES is the mean energy score of 64 draws
        per row, or of training responses as the forecast for every row. Outputs are first divided
        by the standard deviations of the paired training responses. Higher is better: 0 is no
        better than ignoring X, and even the true law of a noisy response scores below 1.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        y : array-like of shape (n, *y_shape)
            Their responses.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        condition = self._encode_X(X)
        return self._energy_skill(self._sampler(), condition, y, sample_weight)

    def _fit_of_responses(self) -> LSDMRegressor:
        return self

    def _fits(self, X: Any) -> list[tuple[LSDMRegressor, Any]]:
        return [(self, X)]

    def _energy_skill(
        self,
        bank: Bank,
        condition: NDArray[np.float32],
        y: ArrayLike,
        sample_weight: ArrayLike | None,
    ) -> float:
        """The score of draws from `bank`, against the training responses kept here."""
        if self._reference_ is None:
            raise ValueError(
                "score compares with training responses, but store_reference=False kept none; fit "
                "with store_reference=True or use a scorer from sklsdm.scorers."
            )
        target = self._check_rows(y, "y")
        check_same_rows("X", condition, "y", target)
        marginal = marginal_energy_scores(self._reference_, target, self._response_std_)
        drawn = energy_scores(bank, condition, target, self._response_std_)
        check_outcome("X", drawn, "score")
        # A constant image of bytes is drawn as float32, off the exact k/255 by rounding.
        rounding = 1e-6 if self._response_format_.is_bytes else 1e-12
        return skill(drawn, marginal, sample_weight, rounding)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        tags.input_tags.allow_nan = self._encoder_takes("nan")
        tags.input_tags.categorical = self._encoder_takes("categories")
        return tags

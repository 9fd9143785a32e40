"""LSDMRegressor: draws from p(Y | X), learnt from few pairs and many responses without X."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from sklsdm._validation import (
    check_finite,
    check_numeric,
    check_real,
    check_response_shape,
    check_same_rows,
    errors_name,
    warn_user,
)
from sklsdm.base import LatentSpaceEstimator, Pairs
from sklsdm.blocks import row_blocks, rows_per_block
from sklsdm.conditions import learn_format
from sklsdm.drawing import energy_scores, estimate_moments, estimate_quantiles
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.functional import scores
from sklsdm.matchers import MatchingData
from sklsdm.metrics import skill
from sklsdm.parameters import anything, flag, learnt, one_of, parameter
from sklsdm.randomness import RandomState
from sklsdm.responses import flat_rows, open_unpaired
from sklsdm.unpaired import USES, uses_to_try

MAX_REFERENCE = 2000
FAR_OUTSIDE = 6.0


def _paired_names(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Let `fit` take X_paired= and Y_paired= too, without showing them to introspection."""

    @functools.wraps(fit)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        for place, (alias, name) in enumerate((("X_paired", "X"), ("Y_paired", "y"))):
            if alias in kwargs:
                if name in kwargs or len(args) > place:
                    raise TypeError(f"fit got both {alias}= and {name}=; give one of them.")
                kwargs[name] = kwargs.pop(alias)
        return fit(self, *args, **kwargs)

    return wrapped


class LSDMRegressor(RegressorMixin, LatentSpaceEstimator):
    """Conditional generation by latent space distribution matching, from pairs and unpaired Y.

    Stage 1 learns a latent space (E, D) of the responses from all of them, paired and unpaired.
    Stage 2 trains a generator H(x, η) on the pairs so that (X, H(X, η)) follows the law of
    (X, E(Y)). A draw from p(Y | X = x) is D(H(x, η)): one pass, no iteration.

    Notes
    -----
    Memory in `sample`, `predict` and `score` is bounded by the batch, whatever is asked for.
    Unpaired responses must follow the same law as the paired ones.

    `y_range` moves a draw outside the range to its nearest point in it. That never takes it
    further from a response (so no reconstruction error and no bound on one grows), and gives
    back what heaps up at an end exactly, such as black pixels or dry days. It does not bend a
    density near an open end: for amounts over several magnitudes fit the logarithm, and take the
    exponential of the draws.

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

    condition_encoder: str = parameter(
        default="auto",
        rule=one_of("auto", "flatten", "conv"),
        doc="""How X enters the networks: rows as they are ("flatten"), images through convolutions
        ("conv"); "auto" is "conv" for images.""",
    )
    unpaired: str = parameter(
        default="auto",
        rule=one_of("auto", *USES),
        doc="""Use of the unpaired responses: in stage 1 only ("latent", the paper); also in
        stage 2, where the generated codes must then reproduce the law of all codes ("match");
        or also as pseudo-pairs, with conditions from a model of x given the code
        (`sklsdm.pairing`), the codes that get none being matched as before ("pair"). "auto"
        fits stage 2 in all three ways and lets the held-out pairs choose: of those within a
        standard error of the best, "latent" before "match" before "pair" where the pairs are
        not outnumbered. Where they are: "pair", "match", "latent" for labels (each different x
        comes four times or more, on average), "match", "latent", "pair" for numbers. Where
        fewer than 20 pairs are held out the first of these is taken at once ("match" where
        `matcher__unpaired_weight` is given).""",
    )
    y_range: Any = parameter(
        default=None,
        rule=anything("None or pair (low, high)"),
        doc="""Range of the responses; every draw, mean and quantile is brought back into it.
        Each end is a number, None for an open one, or an array that fits one response: (0, 1)
        for pixels and one-hot rows, (0, None) for amounts. Responses outside it are an error.
        uint8 images always have (0, 1). See the Notes.""",
    )
    scale_X: bool = parameter(
        default=True,
        rule=flag(),
        doc="Standardise X inside (columns of rows; images by one number).",
    )
    store_reference: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Keep up to 2,000 training responses (fewer of large images), which `score` compares
        with.""",
    )
    unpaired_: str = learnt(
        """Use of the unpaired responses that was chosen: "latent", "match" or "pair"."""
    )
    held_out_scores_: dict[str, NDArray[np.float64]] = learnt(
        """By each use of the unpaired responses that was tried, the energy score of every held-out
        pair (at most 1,024), as in `score`: what the choice was made by. Empty where there was
        nothing to choose.""",
        "dict of str to ndarray of shape (v,), float64",
    )
    n_pseudo_pairs_: int = learnt(
        """Number of unpaired responses whose condition was guessed, with `unpaired_="pair"`."""
    )
    y_shape_: tuple[int, ...] = learnt("Shape of one response; () where y is 1-D.", "tuple")
    n_paired_: int = learnt("Number of pairs seen.")
    n_unpaired_: int = learnt("Number of unpaired responses seen.")
    n_features_in_: int = learnt("Number of columns of X (channels, for images).")
    feature_names_in_: NDArray[Any] = learnt(
        "Names of X's columns, where X has string names.", "ndarray of str"
    )

    # Travels through Pipelines and searches with metadata routing on, without set_fit_request.
    __metadata_request__fit: ClassVar = {"Y_unpaired": True, "X_val": True, "y_val": True}

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
    ) -> Self: ...

    @_paired_names
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Learn p(Y | X) from the pairs (X, y) and responses without conditions.

        Also takes the pairs as `X_paired=`, `Y_paired=`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of the pairs: rows of numbers, or images.
        y : array-like of shape (n,), (n, q), (n, h, w) or (n, c, h, w)
            Responses of the pairs. uint8 images are scaled by 1/255 and drawn in [0, 1].
        Y_unpaired : array-like, memmap, torch Dataset or Unpaired, optional
            Responses without a condition, shaped like `y` after the first axis. The pairs' own
            may be among them: copies of held-out ones are kept from stage 2. In cross-validation
            wrap them in :class:`sklsdm.Unpaired`. None: the supervised case.
        X_val, y_val : array-like, optional
            Pairs on which the state to keep is chosen, in place of a share of the pairs. In a
            plain Pipeline X_val is not transformed: use :class:`sklsdm.SamplingPipeline`.

        Returns
        -------
        LSDMRegressor
            This estimator. After an error it is what it was before the call.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; the message names the argument.
        DivergenceError
            Training stayed non-finite after retries at lower rates.
        KeyboardInterrupt
            On Ctrl-C; in stage 2 after the best state so far was kept (`interrupted_`).
        """
        return self._fit_anew(
            lambda fresh, seed: fresh._learn(X, y, Y_unpaired, X_val, y_val, seed)
        )

    def _learn(self, X: Any, y: Any, Y_unpaired: Any, X_val: Any, y_val: Any, seed: int) -> None:
        self._check_settings()
        X, y = self._check_pairs(X, y)
        unpaired = open_unpaired(Y_unpaired, y)
        run = self._run(seed, X, y, unpaired, X_val, y_val)
        self._conditions_ = learn_format(X, self.condition_encoder, self.scale_X)
        responses = self._open_responses(y, unpaired, self.y_range)
        self.y_shape_ = responses.format.shape
        validation = self._check_validation_pairs(X_val, y_val)
        self._warn_constant()
        self.n_paired_ = len(y)
        self.n_unpaired_ = len(responses) - len(y)
        self._keep_reference(y, run.seed)
        choice = self._fit_stages(
            self._conditions_.rows(X),
            y,
            responses,
            run,
            image_shape=self._conditions_.image_shape,
            validation=validation,
        )
        self.unpaired_ = choice.use
        self.n_pseudo_pairs_ = choice.n_pseudo
        self.held_out_scores_ = choice.scores

    def _uses(self, data: MatchingData) -> tuple[str, ...]:
        weight = self._part("matcher").unpaired_weight
        return uses_to_try(self.unpaired, data, self.n_unpaired_, self.n_paired_, weight)

    def _check_settings(self) -> None:
        super()._check_settings()
        weight = self._part("matcher").unpaired_weight
        if self.unpaired == "latent" and weight != "auto":
            raise ValueError(
                f"matcher__unpaired_weight={weight!r} is read only where stage 2 uses the unpaired "
                f"responses, but unpaired='latent'; set unpaired='match' or leave the weight "
                f"'auto'."
            )

    def _check_pairs(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = self._check_X(X, reset=True)
        y = check_numeric("y", y)
        check_response_shape("y", y)
        check_same_rows("X", X, "y", y)
        if len(y) < 2:
            raise ValueError(
                f"X and y hold n_samples = {len(y)} pair, but {type(self).__name__} needs at "
                f"least 2."
            )
        return X, y

    def _check_X(self, X: Any, *, reset: bool = False, name: str = "X") -> NDArray[Any]:
        """X as finite numbers, with the features (names and shape) seen in fit."""
        with errors_name(name):
            X = validate_data(
                self, X, reset=reset, dtype="numeric", allow_nd=True, ensure_all_finite=False
            )
        check_finite(name, X)
        if X.ndim not in (2, 4):
            raise ValueError(f"{name} must have shape (n, p) or (n, c, h, w), got {X.shape}.")
        if not reset:
            self._conditions_.check(name, X)
        return X

    def _check_validation_pairs(self, X_val: Any, y_val: Any) -> Pairs | None:
        """Standardised conditions and raw responses of X_val, y_val; None where not given."""
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val go together, but {missing} is None.")
        X_val = self._check_X(X_val, name="X_val")
        y_val = self._check_rows(y_val, "y_val")
        check_same_rows("X_val", X_val, "y_val", y_val)
        rows = self._conditions_.rows(X_val)
        if self.scale_X and np.abs(np.median(rows, axis=0)).max() > FAR_OUTSIDE:
            warn_user(
                f"X_val lies far outside X: the median of a column is more than {FAR_OUTSIDE:g} "
                f"standard deviations off. Was it transformed as X was? A plain Pipeline does not "
                f"(transform_input=['X_val'] with metadata routing, or SamplingPipeline, does).",
                DistributionShiftWarning,
            )
        return rows, y_val

    def _warn_constant(self) -> None:
        constant = np.flatnonzero(self._response_format_.standardiser.constant)
        if len(constant):
            warn_user(
                f"Response column(s) {constant[:10].tolist()} are constant and are drawn as that "
                f"constant."
            )

    def _keep_reference(self, y: NDArray[Any], seed: int) -> None:
        """Some training responses, in the units that are drawn."""
        most = min(MAX_REFERENCE, 4 * rows_per_block(self._response_format_.width))
        chosen = np.sort(np.random.default_rng(seed).permutation(len(y))[:most])
        self._reference_ = flat_rows(y[chosen]) if self.store_reference else None

    # ------------------------------------------------------------------ drawing
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Draw from p(Y | X): D(H(x, η)) with fresh noise for every draw.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        n_samples : int, default=1
            Draws for each condition.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the noise; equal seeds give equal draws on one kind of device.
        batch_size : int or "auto", default="auto"
            Draws made at once. It bounds the memory and does not change the draws.
        out : ndarray or memmap of shape (n, n_samples, *y_shape), optional
            Filled and returned, for draws that do not fit in memory.

        Returns
        -------
        ndarray of shape (n, n_samples, *y_shape)
            In y's float dtype (float64 for integers, float32 for uint8 images).

        Raises
        ------
        ValueError, TypeError
            Bad input, `n_samples` or `batch_size` below 1, an `out` that does not fit, or more
            draws than fit in this machine's memory.
        """
        self._fitted_format()
        return self._fill(self._check_condition(X), n_samples, random_state, batch_size, out)

    def sample_latent(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
    ) -> NDArray[np.float32]:
        """Draw codes H(x, η); `decode` of them are the draws of `sample` for the same seed.

        (With a stochastic decoder such as "dpa", the means of those draws given the code.)

        Returns
        -------
        ndarray of shape (n, n_samples, latent_dim_), float32
        """
        condition = self._check_condition(X)
        return self._fill(condition, n_samples, random_state, batch_size, None, codes=True)

    # ------------------------------------------------------------------ forecasts
    @overload
    def predict(self, X: ArrayLike, return_std: Literal[False] = False) -> NDArray[np.float64]: ...

    @overload
    def predict(
        self, X: ArrayLike, return_std: Literal[True]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Conditional mean, and standard deviation, over 256 draws with shared noise.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        return_std : bool, default=False
            Also return the conditional standard deviation of each output.

        Returns
        -------
        mean : ndarray of shape (n, *y_shape), float64
        std : ndarray of shape (n, *y_shape), float64
            Only where `return_std`.
        """
        condition = self._check_condition(X)
        shape = (len(condition), *self.y_shape_)
        mean, std = estimate_moments(self._sampler(), condition)
        return (mean.reshape(shape), std.reshape(shape)) if return_std else mean.reshape(shape)

    def predict_quantiles(
        self, X: ArrayLike, quantiles: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> NDArray[np.float64]:
        """Conditional quantiles of each output, over 1,024 draws with shared noise.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        quantiles : sequence of float in (0, 1), default=(0.05, 0.5, 0.95)
            Levels.

        Returns
        -------
        ndarray of shape (n, len(quantiles), *y_shape), float64
        """
        levels = _check_levels(quantiles)
        condition = self._check_condition(X)
        found = estimate_quantiles(self._sampler(), condition, levels)
        return found.reshape(len(condition), len(levels), *self.y_shape_)

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> NDArray[np.float64]:
        """Central interval of each output that holds it with probability `coverage`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        coverage : float in (0, 1), default=0.9
            Nominal coverage of each single output.

        Returns
        -------
        ndarray of shape (n, 2, *y_shape), float64
            Lower and upper ends.
        """
        coverage = check_real("coverage", coverage, 0.0, open_low=True)
        if coverage >= 1:
            raise ValueError(f"coverage must lie strictly between 0 and 1, got {coverage}.")
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Energy skill: the share of the energy score of "ignore X" that the draws save.

        1 − ES(draws) / ES(training responses as forecast), on outputs divided by the training
        pairs' spread, with 64 draws a row. 0 is no better than ignoring X; the true law of a
        noisy response scores below 1. Higher is better.

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
        condition = self._check_condition(X)
        if self._reference_ is None:
            raise ValueError(
                "score compares with training responses, but store_reference=False kept none; "
                "fit with store_reference=True or use a scorer of sklsdm.scorers."
            )
        y = self._check_rows(y, "y")
        check_same_rows("X", condition, "y", y)
        reference = torch.from_numpy(self._reference_ / self._spread_)
        marginal = [
            scores.energy_score_shared(
                reference, torch.from_numpy(flat_rows(y[rows]) / self._spread_)
            )
            for rows in row_blocks(y)
        ]
        drawn = energy_scores(self._sampler(), condition, y, self._spread_)
        return skill(drawn, torch.cat(marginal).numpy(), sample_weight)

    # ------------------------------------------------------------------ checks
    def _check_condition(self, X: Any) -> NDArray[np.float32]:
        self._fitted_format()
        return self._conditions_.rows(self._check_X(X))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def _check_levels(quantiles: Sequence[float]) -> NDArray[np.float64]:
    with errors_name("quantiles"):
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels strictly between 0 and 1, got {quantiles!r}.")
    return levels

"""Several fits whose draws are pooled: steadier draws, and wider where the fits disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self, overload

import numpy as np
import torch
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from sklearn.base import MetaEstimatorMixin, RegressorMixin, clone
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklsdm._validation import also_named, check_integer
from sklsdm.base import FIT_EXTRAS
from sklsdm.blocks import row_slices
from sklsdm.diagnosing import DiagnoseMixin
from sklsdm.draws.drawing import Sampler, check_batch_size
from sklsdm.draws.forecasts import ForecastMixin
from sklsdm.draws.frames import AsFrame, check_frame, framed
from sklsdm.draws.output import check_out
from sklsdm.forwarding import inner, unwrap
from sklsdm.inputs.unpaired import compute_once
from sklsdm.parameters import (
    Declared,
    anything,
    check_parameters,
    count_of_jobs,
    integer,
    integer_or_flag,
    learnt,
    or_none,
    parameter,
)
from sklsdm.progress import Progress
from sklsdm.public_calls import on_one_fit, take_over
from sklsdm.randomness import RandomState, agreed_seed, as_generator, draw_seed
from sklsdm.regressor import LSDMRegressor


class SamplingEnsemble(MetaEstimatorMixin, RegressorMixin, Declared, ForecastMixin, DiagnoseMixin):
    """Fit an estimator several times with different seeds, and share the draws among the fits.

    The fits differ in the pairs that they hold out, in their first weights and in their batches.
    Pooled draws vary less from seed to seed, and spread more where the fits disagree, which
    single fits do too little where pairs are few.

    Notes
    -----
    Draw j comes from fit j modulo `n_estimators`, so that the first few draws already mix all
    fits. Every fit learns a latent space of its own.

    Examples
    --------
    >>> from sklsdm import LSDMRegressor, SamplingEnsemble
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(200, random_state=0)
    >>> single = LSDMRegressor(matcher="diffusion").set_params(matcher__max_steps=50)
    >>> ensemble = SamplingEnsemble(single, n_estimators=3, random_state=0).fit(arms.X, arms.y)
    >>> ensemble.sample(arms.X[:5], n_samples=7, random_state=0).shape
    (5, 7, 2)
    """

    estimator: Any = parameter(
        default=None,
        rule=anything("LSDMRegressor, SamplingPipeline that ends in one, or None"),
        doc="What is fitted; it is cloned. None is `LSDMRegressor()`.",
        kw_only=False,
    )
    n_estimators: int = parameter(default=5, rule=integer(1), doc="Number of fits.", kw_only=False)
    n_jobs: int | None = parameter(
        default=None,
        rule=or_none(count_of_jobs()),
        doc="Processes that fit at once, as in joblib; the results do not depend on it.",
    )
    random_state: RandomState = parameter(
        default=None,
        rule=anything("int, RandomState, Generator or None"),
        doc="Seeds the fits, each with a number of its own.",
    )
    verbose: int = parameter(
        default=0,
        rule=integer_or_flag(0),
        doc="""Progress on standard error. 0 shows none, 1 a bar over the fits with the time that is
        left (lines, where no bar can be drawn), 2 a line for each fit. That of a single fit is
        shown by `estimator__verbose`.""",
    )
    estimators_: list[Any] = learnt("The fits.", "list of estimators")
    y_shape_: tuple[int, ...] = learnt("Shape of one response; () where y is 1-D.", "tuple")
    n_features_in_: int = learnt("Number of columns of X (channels, for images).")
    feature_names_in_: NDArray[Any] = learnt(
        "Names of X's columns, where X has string names.", "ndarray of str"
    )
    target_names_in_: NDArray[Any] = learnt(
        "Names of y's columns, where y has string names.", "ndarray of str"
    )

    __metadata_request__fit: ClassVar = dict.fromkeys(FIT_EXTRAS, True)

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
        """Fit all to the same data, each with a seed of its own.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of the pairs.
        y : array-like of shape (n,), (n, q), (n, h, w) or (n, c, h, w)
            Responses of the pairs.
        Y_unpaired : array-like, path, list of paths, Dask array, Dataset or Unpaired, optional
            Responses without a condition, shaped like `y` after the first axis.
        X_val, y_val : array-like, optional
            Held-out pairs on which each fit chooses the state of stage 2.
        groups : array-like of shape (n,), optional
            Group of each pair; those of one group are held out together. For all of these see
            :meth:`LSDMRegressor.fit`.

        Returns
        -------
        object
            This estimator. After an error it is what it was before the call.
        """
        check_parameters(self)
        self._refuse_warm_start()
        if effective_n_jobs(self.n_jobs) == 1:  # other processes may not see a temporary file
            Y_unpaired = compute_once(Y_unpaired)
        given = dict(zip(FIT_EXTRAS, (Y_unpaired, X_val, y_val, groups), strict=True))
        extras = {name: value for name, value in given.items() if value is not None}
        random = as_generator(agreed_seed(self.random_state))
        seeds = random.integers(2**31 - 1, size=self.n_estimators).tolist()
        single, found = self._choose(X, y, extras, int(random.integers(2**31 - 1)))
        fits = Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(_fit_with_seed)(single, seed, X, y, extras) for seed in seeds
        )
        fitted = []
        with Progress(type(self).__name__, len(seeds), "fit", int(self.verbose)) as progress:
            for fit in fits:
                fitted.append(fit)
                progress.advance()
        first = inner(fitted[0])
        learnt = {"estimators_": fitted, "y_shape_": first.y_shape_, **found}
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(fitted[0], name):
                learnt[name] = getattr(fitted[0], name)
        if hasattr(first, "target_names_in_"):
            learnt["target_names_in_"] = first.target_names_in_
        take_over(self, learnt)
        return self

    @overload
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: Literal[False] = False,
    ) -> NDArray[Any]: ...

    @overload
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: AsFrame,
    ) -> Any: ...

    @on_one_fit
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: AsFrame = False,
    ) -> Any:
        """Draw from p(Y | X), the draws dealt to the fits in turn.

        Parameters and errors are those of :meth:`LSDMRegressor.sample`.

        Returns
        -------
        ndarray of shape (n, n_samples, *y_shape)
        """
        check_is_fitted(self, "estimators_")
        check_frame(as_frame, X, self, "draw")
        n_samples = check_integer("n_samples", n_samples, 1)
        check_batch_size(batch_size)
        random = as_generator(draw_seed(random_state))
        n_fits = len(self.estimators_)
        seeds = random.integers(2**31 - 1, size=n_fits).tolist()
        for place, (fit, seed) in enumerate(zip(self.estimators_, seeds, strict=True)):
            if place == n_samples:
                break
            condition, sampler = conditions_of(fit, X), inner(fit)._sampler()
            if place == 0:
                shape = (len(condition), n_samples, *self.y_shape_)
                out = check_out(out, shape, sampler.form.dtype)
            assert out is not None
            own = out[:, place::n_fits]
            sampler.fill(own, condition, draw_seed(seed), batch_size, sampler.decode)
        assert out is not None
        return framed(out, X, as_frame, self, "draw", range(n_samples))

    @on_one_fit
    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Energy skill of the pooled draws; see :meth:`LSDMRegressor.score`."""
        condition = self._encode_X(X)
        first = self._fit_of_responses()
        return first._energy_skill(self._sampler(), condition, y, sample_weight)

    def _fit_of_responses(self) -> LSDMRegressor:
        return inner(self.estimators_[0])

    def _fits(self, X: Any) -> list[tuple[Any, Any]]:
        check_is_fitted(self, "estimators_")
        return [unwrap(fit, X) for fit in self.estimators_]

    def _about_model(self) -> dict[str, Any]:
        prefix, single = "estimator__", self.estimator
        while isinstance(single, Pipeline):
            name, single = single.steps[-1]
            prefix += f"{name}__"
        return {**super()._about_model(), "prefix": prefix, "is_pooled": True}

    def _encode_X(self, X: Any) -> NDArray[np.float32]:
        """X, checked, as the networks of all fits see it, side by side."""
        check_is_fitted(self, "estimators_")
        return np.concatenate([conditions_of(fit, X) for fit in self.estimators_], axis=1)

    def _sampler(self) -> PooledSampler:
        fits = [inner(fit) for fit in self.estimators_]
        return PooledSampler(
            [fit._sampler() for fit in fits], [fit._n_condition_columns() for fit in fits]
        )

    def _choose(
        self, X: Any, y: Any, extras: dict[str, Any], seed: int
    ) -> tuple[Any, dict[str, Any]]:
        """The estimator to fit several times, and the attributes that tell how it was chosen."""
        return self._single(), {}

    def _single(self) -> Any:
        """The estimator to fit, or an error where it cannot draw."""
        single = LSDMRegressor() if self.estimator is None else self.estimator
        if not isinstance(inner(single), LSDMRegressor):
            raise TypeError(
                f"estimator must be an LSDMRegressor, or a SamplingPipeline that ends in one, got "
                f"{single!r}."
            )
        return single

    def _refuse_warm_start(self) -> None:
        """Raise where the estimator is to go on from an earlier fit, which copies of it do not."""
        if inner(self._single()).warm_start:
            raise ValueError(
                f"warm_start=True has no effect in {type(self).__name__}: every fit begins anew, "
                f"on a copy of the estimator. Set warm_start=False."
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        usable = isinstance(inner(self.estimator), LSDMRegressor)
        single = get_tags(self.estimator if usable else LSDMRegressor())
        tags.target_tags, tags.input_tags = single.target_tags, single.input_tags
        return tags


@dataclass(frozen=True)
class PooledSampler:
    """Banks of draws of several fits; conditions are those of the fits, side by side.

    The fits may see different numbers of columns: "trees" adds one for each column of X in which
    the pairs that a fit learnt from have NaN, and one for each dimension of the codes that a
    Gaussian process predicts better than other models.
    """

    samplers: list[Sampler]
    n_columns: list[int]

    @property
    def width(self) -> int:
        """Number of outputs of one response."""
        return self.samplers[0].width

    @property
    def n_passes(self) -> int:
        """Passes of a network that one draw takes."""
        return self.samplers[0].n_passes

    def draws_with_shared_noise(
        self, condition: NDArray[np.float32], n_draws: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Draws for blocks of rows, the noise of one bank dealt to the fits in turn."""
        n_fits = len(self.samplers)
        n_draws = max(n_draws, n_fits)
        parts = np.split(condition, np.cumsum(self.n_columns)[:-1], axis=1)
        for rows in row_slices(len(condition), n_draws * self.width):
            drawn = []
            for place, (sampler, part) in enumerate(zip(self.samplers, parts, strict=True)):
                share = slice(place, None, n_fits)
                blocks = sampler.draws_with_shared_noise(part[rows], n_draws, share)
                drawn.append(torch.cat([draws for _, draws in blocks]))
            yield rows, torch.cat(drawn, dim=1)


def conditions_of(model: Any, X: Any) -> NDArray[np.float32]:
    """Conditions as the networks of a fit see them, after its pipeline's transformers."""
    estimator, transformed = unwrap(model, X)
    return estimator._encode_X(transformed)


def _fit_with_seed(single: Any, seed: int, X: Any, y: Any, extras: dict[str, Any]) -> Any:
    return with_seed(single, seed).fit(X, y, **extras)


def with_seed(single: Any, seed: int) -> Any:
    """A copy of an estimator, with this seed wherever it takes one."""
    fresh = clone(single)
    names = [key for key in fresh.get_params() if key.split("__")[-1] == "random_state"]
    return fresh.set_params(**dict.fromkeys(names, seed))

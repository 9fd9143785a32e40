"""A Pipeline that draws: scikit-learn's does not forward `sample`, nor transform `X_val`."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from sklsdm import forwarding
from sklsdm._validation import also_named
from sklsdm.base import FIT_EXTRAS
from sklsdm.diagnosis import Diagnosis
from sklsdm.documentation import DocumentationLinkMixin
from sklsdm.public_calls import as_it_is, on_one_fit
from sklsdm.reading import named_in_errors


class SamplingPipeline(DocumentationLinkMixin, Pipeline):
    """A Pipeline that transforms `X_val` and has the methods of the estimator it ends in.

    scikit-learn's Pipeline does not forward `sample` and the other methods of
    :class:`sklsdm.LSDMRegressor`, and passes a validation set on untransformed. Parameters and all
    else are those of :class:`sklearn.pipeline.Pipeline`; :func:`make_sampling_pipeline` names the
    steps itself.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklsdm import LSDMRegressor, make_sampling_pipeline
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(100, random_state=0)
    >>> model = make_sampling_pipeline(StandardScaler(), LSDMRegressor(matcher="energy"))
    >>> model = model.set_params(lsdmregressor__matcher__max_steps=50).fit(arms.X, arms.y)
    >>> model.sample(arms.X[:4], n_samples=2, random_state=0).shape
    (4, 2, 2)
    """

    steps: list[tuple[str, Any]]

    @also_named(X_paired="X", Y_paired="y")
    def fit(self, X: Any, y: Any = None, **params: Any) -> SamplingPipeline:
        """Fit the transformers, then the estimator on their output.

        Parameters
        ----------
        X, y : array-like
            Pairs, in the form that the first step expects.
        **params
            `Y_unpaired`, `X_val`, `y_val` and `groups` for the estimator, under these names or as
            `<step>__Y_unpaired` etc., with metadata routing on or off. All others, such as
            `<step>__<name>`, go to the transformers.

        Returns
        -------
        SamplingPipeline
            This pipeline, with fitted copies in place of its transformers. If `fit` raises an
            error, it stays as it was before the call.
        """
        self._check_steps()
        name = self.steps[-1][0]
        own: dict[str, Any] = {}
        for key in FIT_EXTRAS:
            spellings = [each for each in (key, f"{name}__{key}") if each in params]
            if len(spellings) > 1:
                raise ValueError(f"{spellings[0]} and {spellings[1]} are the same; pass one.")
            if spellings:
                own[key] = params.pop(spellings[0])
        transformers = clone(self.steps[:-1], safe=False)
        if transformers:
            head = Pipeline(transformers, memory=self.memory, verbose=self.verbose)
            with named_in_errors("X"):
                X = head.fit_transform(X, y, **params)
            transformers = head.steps
            if own.get("X_val") is not None:
                with named_in_errors("X_val"):
                    own["X_val"] = head.transform(own["X_val"])
        self._fit_last(transformers, X, y, own)
        return self

    def _check_steps(self) -> None:
        """Raise unless the steps are transformers and, at the end, an estimator that draws."""
        if not self.steps:
            raise ValueError("steps must end in an estimator that draws, but there are none.")
        self._validate_steps()
        name, last = self.steps[-1]
        if not hasattr(last, "sample"):
            raise TypeError(
                f"The last step must be an estimator that draws, such as LSDMRegressor, but "
                f"{name!r} is {last!r}; with another one use scikit-learn's Pipeline."
            )

    def _fit_last(self, transformers: list[Any], X: Any, y: Any, extras: dict[str, Any]) -> None:
        """Fit the estimator in place, and take the transformers over together with its new fit.

        Until then another thread may draw: with the old transformers and the estimator's old fit.
        """
        before, (name, estimator) = self.steps, self.steps[-1]
        state, finished = vars(estimator), False
        self.steps = [*before[:-1], (name, as_it_is(estimator))]
        try:
            estimator.fit(X, y, **extras)
            finished = True
        finally:
            # Ctrl-C in stage 2 raises, and yet the best state up to then has been taken over.
            learnt = finished or vars(estimator) is not state
            self.steps = [*transformers, (name, estimator)] if learnt else before

    def __copy__(self) -> SamplingPipeline:
        """A second pipeline of the same transformers, with the estimator as it is now."""
        while True:
            steps = self.steps
            name, estimator = steps[-1]
            last = (name, as_it_is(estimator))
            if self.steps is steps:  # else the estimator may belong to other transformers
                found = object.__new__(type(self))
                found.__dict__ = self.__dict__ | {"steps": [*steps[:-1], last]}
                return found

    @on_one_fit
    def predict(self, X: ArrayLike, *args: Any, **params: Any) -> Any:
        """Conditional means (n, *y_shape); see :meth:`LSDMRegressor.predict`."""
        return forwarding.predict(self, X, *args, **params)

    @on_one_fit
    def score(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None, **params: Any
    ) -> float:
        """Energy skill; see :meth:`LSDMRegressor.score`."""
        return super().score(X, y, sample_weight, **params)

    def sample(self, X: ArrayLike, n_samples: int = 1, **kwargs: Any) -> Any:
        """Draws (n, n_samples, *y_shape) from p(Y | X); see :meth:`LSDMRegressor.sample`."""
        return forwarding.sample(self, X, n_samples, **kwargs)

    def sample_latent(self, X: ArrayLike, n_samples: int = 1, **kwargs: Any) -> NDArray[Any]:
        """Draws of codes (n, n_samples, k); see :meth:`LSDMRegressor.sample_latent`."""
        return forwarding.sample_latent(self, X, n_samples, **kwargs)

    def predict_quantiles(self, X: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """Quantiles (n, levels, *y_shape); see :meth:`LSDMRegressor.predict_quantiles`."""
        return forwarding.predict_quantiles(self, X, *args, **kwargs)

    def predict_interval(self, X: ArrayLike, *args: Any, **kwargs: Any) -> Any:
        """Intervals (n, 2, *y_shape); see :meth:`LSDMRegressor.predict_interval`."""
        return forwarding.predict_interval(self, X, *args, **kwargs)

    def conformalize(self, X: ArrayLike, y: ArrayLike, **kwargs: Any) -> SamplingPipeline:
        """Calibrate the intervals; see :meth:`LSDMRegressor.conformalize`."""
        return forwarding.conformalize(self, X, y, **kwargs)

    @on_one_fit
    def diagnose(
        self, X: ArrayLike, y: ArrayLike, Y_unpaired: Any = None, **kwargs: Any
    ) -> Diagnosis:
        """Judge the draws on pairs not used in `fit`; see :meth:`LSDMRegressor.diagnose`."""
        estimator, X = forwarding.unwrap(self, X)
        return estimator.diagnose(X, y, Y_unpaired, **kwargs)

    def encode(self, Y: ArrayLike) -> NDArray[Any]:
        """Codes (n, k) of responses; see :meth:`LSDMRegressor.encode`."""
        return self.steps[-1][1].encode(Y)

    def decode(self, Z: ArrayLike) -> NDArray[Any]:
        """Responses for codes (n, ..., k); see :meth:`LSDMRegressor.decode`."""
        return self.steps[-1][1].decode(Z)

    def reconstruct(self, Y: ArrayLike) -> NDArray[Any]:
        """Responses encoded and decoded; see :meth:`LSDMRegressor.reconstruct`."""
        return self.steps[-1][1].reconstruct(Y)


def make_sampling_pipeline(
    *steps: Any, memory: Any = None, verbose: bool = False
) -> SamplingPipeline:
    """A :class:`SamplingPipeline` of these steps, named by their classes in lower case.

    Parameters
    ----------
    *steps : estimators
        Transformers, and last an estimator of this package.
    memory : str, joblib.Memory or None, default=None
        Where to cache fitted transformers, as in :class:`sklearn.pipeline.Pipeline`.
    verbose : bool, default=False
        Print the time that each transformer took.

    Returns
    -------
    SamplingPipeline
    """
    return SamplingPipeline(make_pipeline(*steps).steps, memory=memory, verbose=verbose)

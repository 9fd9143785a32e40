"""UnpairedCurveDisplay: the held-out score against the number of pairs or unpaired responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from sklsdm._validation import check_integer, check_numeric
from sklsdm.displays.base import Array, panel
from sklsdm.inputs.unpaired import Unpaired, check_unpaired
from sklsdm.owner import without_advice
from sklsdm.pipeline import SamplingPipeline
from sklsdm.randomness import RandomState, as_generator
from sklsdm.scorers import refuse_scorer_name

__all__ = ["UnpairedCurveDisplay"]

_SHARES = (0.1, 0.33, 0.55, 0.78, 1.0)  # of the rows, where no sizes are given
_WITH, _WITHOUT = "with unpaired responses", "pairs only"


class UnpairedCurveDisplay:
    """Held-out score against the number of pairs, or of unpaired responses.

    It is scikit-learn's `LearningCurveDisplay` for data in two parts: do unpaired responses help,
    would more of them, and how many pairs are they worth?

    Use :meth:`from_estimator`, which fits many times, or :meth:`from_scores`.

    Parameters
    ----------
    sizes : ndarray of shape (k,)
        Numbers of pairs, or of unpaired responses.
    scores : dict of str to ndarray of shape (k, n_splits)
        Scores of each curve, by its name.
    vary : {"pairs", "unpaired"}, default="unpaired"
        What the sizes count.
    score_name : str, default="score"
        What is written at the axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds it.

    Examples
    --------
    >>> from sklsdm import LSDMRegressor, UnpairedCurveDisplay
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(300, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", unpaired="match", random_state=0)
    >>> est = est.set_params(matcher__max_steps=20, condition_encoder="flatten")
    >>> display = UnpairedCurveDisplay.from_estimator(
    ...     est, arms.X[:60], arms.y[:60], arms.y[60:], sizes=[0, 240], cv=2, random_state=0
    ... )
    >>> display.sizes.tolist(), display.scores["with unpaired responses"].shape
    ([0, 240], (2, 2))
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        sizes: Array,
        scores: Mapping[str, Array],
        *,
        vary: str = "unpaired",
        score_name: str = "score",
    ) -> None:
        self.sizes = sizes
        self.scores = scores
        self.vary = vary
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any,
        *,
        vary: str = "unpaired",
        sizes: Sequence[int] | None = None,
        cv: Any = 5,
        scoring: Any = None,
        score_name: str | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
        ax: Any = None,
    ) -> Self:
        """Fit for each size on the training pairs of each split, score on the others, and plot.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            Unfitted or fitted; it is cloned.
        X, y : array-like
            Pairs.
        Y_unpaired : array-like, memmap, torch Dataset or Unpaired
            Responses without conditions.
        vary : {"unpaired", "pairs"}, default="unpaired"
            "unpaired": one curve over the number of unpaired responses, with all pairs of each
            split. "pairs": two curves over the number of pairs, with all unpaired responses and
            with none.
        sizes : sequence of int, optional
            The numbers. Each set holds the smaller ones. None are 10, 33, 55, 78 and 100 % of what
            there is, and 0 unpaired responses.
        cv : int, splitter or iterable, default=5
            How pairs are split into those to fit and those to score, as in scikit-learn.
        scoring : str, callable or None, default=None
            Score, higher is better, such as those of `sklsdm.scorers`. None is the estimator's
            `score`, the energy skill.
        score_name : str, optional
            What is written at the axis; None is the name of `scoring`.
        n_jobs : int, optional
            Processes that fit at once, as in joblib.
        random_state : int, RandomState, Generator or None, default=None
            Chooses the pairs and unpaired responses of each size.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        UnpairedCurveDisplay

        Raises
        ------
        ValueError, TypeError
            Bad input, sizes beyond what there is, or a TransformedTargetRegressor, which does not
            transform unpaired responses.
        """
        refuse_scorer_name(scoring)
        key = _unpaired_key(estimator)
        scorer = check_scoring(estimator, scoring=scoring)
        target = check_numeric("y", y)
        unpaired = check_unpaired(Y_unpaired, target)
        if unpaired is None:
            raise ValueError("Y_unpaired is None; pass responses without conditions.")
        splits = list(check_cv(cv).split(X, target))
        fewest = min(len(train) for train, _ in splits)
        most = _most(vary, fewest, len(unpaired))
        counts = _checked_sizes(sizes, most, vary)
        random = as_generator(random_state)
        order = random.permutation(len(unpaired))
        shuffled = [random.permutation(train) for train, _ in splits]
        jobs = [
            (name, train[:n_pairs], test, np.sort(order[:n_unpaired]))
            for name, n_pairs_of, n_unpaired_of in _curves(vary, len(unpaired))
            for size in counts
            for train, (_, test) in zip(shuffled, splits, strict=True)
            for n_pairs, n_unpaired in [(n_pairs_of(size), n_unpaired_of(size))]
        ]
        found = Parallel(n_jobs=n_jobs)(
            delayed(_fit_and_score)(
                estimator, scorer, X, y, train, test, key, unpaired[rows] if len(rows) else None
            )
            for _, train, test, rows in jobs
        )
        shape = (len(counts), len(splits))
        scores = {
            name: np.array(
                [score for score, job in zip(found, jobs, strict=True) if job[0] == name]
            ).reshape(shape)
            for name, *_ in _curves(vary, len(unpaired))
        }
        name = _name_of(scoring) if score_name is None else score_name
        return cls(counts, scores, vary=vary, score_name=name).plot(ax=ax)

    @classmethod
    def from_scores(
        cls,
        sizes: ArrayLike,
        scores: ArrayLike | Mapping[str, ArrayLike],
        *,
        vary: str = "unpaired",
        score_name: str = "score",
        ax: Any = None,
    ) -> Self:
        """Plot scores at hand.

        Parameters
        ----------
        sizes : array-like of shape (k,)
            Numbers of pairs, or of unpaired responses.
        scores : array-like of shape (k,) or (k, n_splits), or dict of them
            Scores; a dict has a curve for each name.
        vary : {"unpaired", "pairs"}, default="unpaired"
            What the sizes count.
        score_name : str, default="score"
            What is written at the axis.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        UnpairedCurveDisplay

        Raises
        ------
        ValueError, TypeError
            Shapes that do not fit.
        """
        _most(vary, 0, 0)
        counts = check_numeric("sizes", sizes)
        curves = dict(scores) if isinstance(scores, Mapping) else {"": scores}
        table = {}
        for name, values in curves.items():
            array = check_numeric(f"scores[{name!r}]" if name else "scores", values)
            if counts.ndim != 1 or array.ndim not in (1, 2) or len(array) != len(counts):
                raise ValueError(
                    f"scores must have shape (k,) or (k, n_splits) for sizes of shape (k,), got "
                    f"{array.shape} and {counts.shape}."
                )
            table[str(name)] = array.reshape(len(counts), -1)
        return cls(counts, table, vary=vary, score_name=score_name).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot means over the splits, with a band of one standard deviation.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        UnpairedCurveDisplay
            This display, with `ax_` and `figure_`.
        """
        ax = panel(ax)
        order = np.argsort(self.sizes, kind="stable")
        across = self.sizes[order]
        for place, (name, table) in enumerate(self.scores.items()):
            mean, std = table.mean(axis=1)[order], table.std(axis=1)[order]
            colour = f"C{place}"
            ax.fill_between(across, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
            ax.plot(across, mean, marker="o", markersize=4, color=colour, label=name or None)
        what = {"unpaired": "unpaired responses", "pairs": "pairs"}[self.vary]
        ax.set(xlabel=f"number of {what}", ylabel=self.score_name)
        if len(self.scores) > 1:
            ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _curves(vary: str, n_unpaired: int) -> list[tuple[str, Any, Any]]:
    """Each curve's name, with the numbers of pairs and of unpaired responses at a size."""
    if vary == "unpaired":
        return [(_WITH, lambda size: None, lambda size: size)]
    return [
        (_WITH, lambda size: size, lambda size: n_unpaired),
        (_WITHOUT, lambda size: size, lambda size: 0),
    ]


def _most(vary: str, n_pairs: int, n_unpaired: int) -> int:
    """The largest size that there can be."""
    if vary not in ("unpaired", "pairs"):
        raise ValueError(f"vary must be 'unpaired' or 'pairs', got {vary!r}.")
    return n_unpaired if vary == "unpaired" else n_pairs


def _checked_sizes(sizes: Sequence[int] | None, most: int, vary: str) -> Array:
    """The sizes in rising order, each once."""
    least = 0 if vary == "unpaired" else 2
    if sizes is None:
        own = [max(least, round(share * most)) for share in _SHARES]
        return np.unique([0, *own] if vary == "unpaired" else own)
    if isinstance(sizes, str) or not np.iterable(sizes):
        raise TypeError(f"sizes must be a sequence of integers, got {sizes!r}.")
    what = "unpaired responses" if vary == "unpaired" else "pairs in the smallest training split"
    return np.unique(
        [check_integer("sizes", size, least, most, f" (there are {most} {what})") for size in sizes]
    )


def _unpaired_key(model: Any) -> str:
    """The name under which `fit` of a model takes `Y_unpaired`."""
    if isinstance(model, TransformedTargetRegressor):
        raise TypeError(
            "TransformedTargetRegressor hands Y_unpaired to its regressor as it is, not "
            "transformed; pass the regressor, with y and Y_unpaired transformed."
        )
    if isinstance(model, BaseSearchCV):
        return _unpaired_key(model.estimator)
    if isinstance(model, Pipeline) and not isinstance(model, SamplingPipeline):
        name, last = model.steps[-1]
        key = _unpaired_key(last)
        routed = sklearn.get_config()["enable_metadata_routing"]
        return key if routed else f"{name}__{key}"
    return "Y_unpaired"


def _fit_and_score(
    model: Any, scorer: Any, X: Any, y: Any, train: Any, test: Any, key: str, unpaired: Any
) -> float:
    extras = {} if unpaired is None else {key: Unpaired(unpaired)}
    fitted = clone(model)
    with without_advice():  # fits to few pairs learn little, which their scores tell
        fitted.fit(_safe_indexing(X, train), _safe_indexing(y, train), **extras)
    return float(scorer(fitted, _safe_indexing(X, test), _safe_indexing(y, test)))


def _name_of(scoring: Any) -> str:
    """What the axis of this score is called."""
    if scoring is None:
        return "energy skill"
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return name.replace("_", " ")

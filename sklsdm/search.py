"""A search among recommended settings, after which the best one is fitted several times."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ParameterGrid,
    ShuffleSplit,
    check_cv,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags, indexable
from sklearn.utils.parallel import Parallel, delayed

from sklsdm._validation import (
    check_both_or_none,
    check_column_names,
    check_groups,
    check_integer,
    check_numeric,
    check_response_shape,
    check_same_rows,
    column_names,
    shape_text,
)
from sklsdm.ensemble import SamplingEnsemble, with_seed
from sklsdm.fitting.implied_groups import implied_groups
from sklsdm.forwarding import inner
from sklsdm.inputs.conditions import learn_format
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.standardising import Standardiser
from sklsdm.inputs.unpaired import check_unpaired
from sklsdm.parameters import anything, integer_or_flag, learnt, parameter
from sklsdm.progress import Progress, write_line
from sklsdm.reading import NUMBER_KINDS, read_plain
from sklsdm.recommended import Grid, candidates
from sklsdm.regressor import LSDMRegressor
from sklsdm.scorers import refuse_scorer_name
from sklsdm.trials import Rows, Trial, TrialPairs, as_table, report_failures, try_candidate

_MANY_PAIRS = 1000  # from so many on, one split is enough
_N_FOLDS, _SHARE_HELD_OUT = 3, 0.2
_ENCODER = "condition_encoder"


class LSDMRegressorCV(SamplingEnsemble):
    """Choose among recommended settings on held-out pairs, then pool several fits of the best.

    Every candidate is fitted on a part of the pairs and judged on the others. The best is then
    fitted `n_estimators` times on all pairs, with different seeds, and the draws are pooled as in
    :class:`SamplingEnsemble`.

    Notes
    -----
    `fit` takes what :meth:`LSDMRegressor.fit` takes. All candidates get all unpaired responses.
    With `groups` no group is on both sides of a split, and the candidates get the groups of their
    pairs. With `X_val` and `y_val` there are no folds: the candidates are fitted on all pairs
    and judged on these; only the fits of the best choose their state on them.

    With the same `random_state` the fits of the best are those of a `SamplingEnsemble` over
    the estimator with `best_params_`.

    Examples
    --------
    >>> from sklsdm import LSDMRegressorCV
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(200, random_state=0)
    >>> grid = {"matcher": ["energy", "mdn"], "matcher__max_steps": [50]}
    >>> model = LSDMRegressorCV(candidates=grid, n_estimators=2, random_state=0)
    >>> model = model.fit(arms.X, arms.y)  # without `candidates` it tries the recommended ones
    >>> sorted(model.best_params_)
    ['matcher', 'matcher__max_steps']
    >>> model.sample(arms.X[:5], n_samples=4, random_state=0).shape
    (5, 4, 2)
    """

    n_estimators: int = parameter(default=5, doc="Number of fits of the best candidate.")
    candidates: Any = parameter(
        default="auto",
        rule=anything('dict, list of dict or "auto"'),
        doc="""The settings to choose among, as `GridSearchCV` takes them. "auto" is
        :func:`sklsdm.candidates` of the pairs. They replace the estimator's own. Where that
        is a pipeline, names that belong to no step are those of its last step.""",
    )
    cv: Any = parameter(
        default="auto",
        rule=anything('int, splitter, iterable of splits or "auto"'),
        doc="""How pairs are held out to judge the candidates. An int is a number of folds of
        shuffled pairs, or groups. "auto" is 3 folds below 1,000 pairs, else a single split with
        a fifth of the pairs (groups) held out.""",
    )
    scoring: Any = parameter(
        default=None,
        rule=anything("str, callable or None"),
        doc="""Score to choose by, higher is better, such as those of `sklsdm.scorers`. None is the
        estimator's `score`, the energy skill.""",
    )
    n_jobs: int | None = parameter(
        default=None,
        doc="""Processes that fit at once, as in joblib, both candidates and fits of the best. The
        results do not depend on it.""",
    )
    random_state: Any = parameter(
        default=None,
        doc="""Seeds the splits, the candidates, all with one number, and the fits of the best, each
        with a number of its own.""",
    )
    verbose: int = parameter(
        default=0,
        rule=integer_or_flag(0),
        doc="""Progress on standard error. 0 shows none. 1 says how many fits there will be and what
        the best settings are, and shows bars over the candidates' fits and over those of the best,
        with the best score so far and the time that is left (lines, where no bar can be drawn). 2
        writes a line for each candidate, with its score and settings, and for each fit.""",
    )
    best_params_: dict[str, Any] = learnt("The settings with the best mean score.", "dict")
    best_score_: float = learnt("Their mean score over the splits.")
    best_index_: int = learnt("Their place in `cv_results_`.")
    cv_results_: dict[str, Any] = learnt(
        "Scores and times of all candidates, with the keys of `GridSearchCV.cv_results_`.", "dict"
    )

    def _choose(
        self, X: Any, y: Any, extras: dict[str, Any], seed: int
    ) -> tuple[Any, dict[str, Any]]:
        single = self._single()
        _check_scoring(single, self.scoring)
        pairs = _check_pairs(single, X, y, extras)
        settings = list(ParameterGrid(self._grid(single, pairs)))
        models = [_with_settings(single, each, seed) for each in settings]
        splits = self._splits(pairs, seed)
        tried = self._try_all(models, pairs, splits, settings)
        table = as_table(settings, tried, len(splits))
        report_failures(settings, tried, table["mean_test_score"])
        best = int(np.nanargmax(table["mean_test_score"]))
        found = {
            "best_params_": settings[best],
            "best_score_": float(table["mean_test_score"][best]),
            "best_index_": best,
            "cv_results_": table,
        }
        self._tell(f"best: {found['best_score_']:.4g} with {settings[best]}")
        return _with_settings(single, settings[best], seed), found

    def _grid(self, single: Any, pairs: TrialPairs) -> Grid:
        """The candidates, with names as the estimator takes them."""
        grid = self.candidates
        if isinstance(grid, str):
            if grid != "auto":
                raise ValueError(f"candidates must be a grid or 'auto', got {grid!r}.")
            grid = candidates(_transformed(single, pairs), pairs.y)
        grids = _as_grids(grid)
        if not grids:
            raise ValueError("candidates must hold at least one grid, got none.")
        return [{_full_name(single, name): each[name] for name in each} for each in grids]

    def _splits(self, pairs: TrialPairs, seed: int) -> list[tuple[Rows, Rows | None]]:
        """Rows to fit on and rows to judge by; None stands for X_val."""
        n_pairs, groups = len(pairs.y), pairs.groups
        if pairs.X_val is not None:
            return [(np.arange(n_pairs), None)]
        if n_pairs < 3:
            raise ValueError(
                f"{type(self).__name__} needs at least 3 pairs, to hold one out, got {n_pairs}; "
                f"pass X_val and y_val to judge the candidates by other pairs."
            )
        splitter = _splitter(self.cv, n_pairs, groups, seed)
        splits = list(splitter.split(pairs.X, pairs.y, groups))
        if not splits:
            raise ValueError(f"cv must give at least one split, but cv={self.cv!r} gives none.")
        return splits

    def _try_all(
        self,
        models: Sequence[Any],
        pairs: TrialPairs,
        splits: Sequence[tuple[Rows, Rows | None]],
        settings: Sequence[dict[str, Any]],
    ) -> list[Trial]:
        """The trials of all candidates, those of one candidate one after another."""
        n_fits = len(models) * len(splits)
        self._tell(
            f"{len(models)} candidates on {len(splits)} splits: {n_fits} fits, then "
            f"{self.n_estimators} of the best"
        )
        trials = Parallel(n_jobs=self.n_jobs, return_as="generator")(
            delayed(try_candidate)(model, pairs, *split, self.scoring)
            for model in models
            for split in splits
        )
        tried: list[Trial] = []
        best = -np.inf
        with Progress("LSDMRegressorCV, candidates", n_fits, "fit", int(self.verbose)) as progress:
            for trial in trials:
                tried.append(trial)
                if len(tried) % len(splits) == 0:
                    place = len(tried) // len(splits) - 1
                    score = np.mean([each.score for each in tried[-len(splits) :]])
                    best = np.fmax(best, score)
                    if self.verbose > 1:
                        self._tell(f"{place + 1}/{len(models)}: {score:.4g} with {settings[place]}")
                progress.advance({"best_score": best} if np.isfinite(best) else None)
        return tried

    def _about_model(self) -> dict[str, Any]:
        return {**super()._about_model(), "is_search": True}

    def _tell(self, line: str) -> None:
        """Write a line of progress, where the user wants to see it."""
        if self.verbose:
            write_line(f"LSDMRegressorCV: {line}")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_nan()
        return tags

    def _takes_nan(self) -> bool:
        """Whether a candidate takes NaN in X."""
        single = self._single()
        if isinstance(single, Pipeline):
            return bool(super().__sklearn_tags__().input_tags.allow_nan)
        if isinstance(self.candidates, str):
            return True
        own = [single.condition_encoder]
        try:
            grids = _as_grids(self.candidates)
            encoders = [encoder for grid in grids for encoder in grid.get(_ENCODER, own)]
        except (TypeError, ValueError):  # `fit` refuses them, and says why
            return True
        return any(LSDMRegressor(condition_encoder=each)._encoder_takes("nan") for each in encoders)


# ------------------------------------------------------------------ what the candidates see
def _check_pairs(single: Any, X: Any, y: Any, extras: dict[str, Any]) -> TrialPairs:
    """What `fit` was given, or the errors of the estimator where no candidate could use it."""
    (X,) = indexable(read_plain("X", X))
    given_y = y
    if isinstance(single, Pipeline):
        y = check_numeric("y", y)
        check_response_shape("y", y)
        check_same_rows("X", X, "y", y)
    else:
        # Trees take NaN in X; where there are some, other candidates fail in their own fits.
        checked = clone(single).set_params(**{_ENCODER: "trees"})
        numbers, y = checked._check_pairs(X, y)
    names = column_names("y", given_y)
    check_unpaired(extras.get("Y_unpaired"), y, names)
    X_val, y_val = extras.get("X_val"), extras.get("y_val")
    check_both_or_none("X_val", X_val, "y_val", y_val)
    if X_val is not None:
        _check_validation_pairs(X, y, X_val, y_val, names)
        if not isinstance(single, Pipeline):
            checked._conditions_ = learn_format(numbers, scale=False)
            checked._check_X(X_val, name="X_val")
            form = ResponseFormat(y, Standardiser(np.zeros(1), np.ones(1)), single.y_range)
            form.check_range("y_val", check_numeric("y_val", y_val))
    groups = check_groups(extras.get("groups"), len(y))
    if groups is None and np.asarray(X).dtype.kind in NUMBER_KINDS:
        groups = implied_groups(np.asarray(X), y)
    return TrialPairs(X, y, groups, extras.get("Y_unpaired"), X_val, y_val)


def _check_validation_pairs(
    X: Any, y: NDArray[Any], X_val: Any, y_val: Any, names: NDArray[Any] | None
) -> None:
    """Raise unless X_val and y_val have the columns of X and y, and as many rows as each other."""
    check_column_names("y_val", y_val, names)
    y_val = check_numeric("y_val", y_val)
    if y.ndim == 1 and y_val.shape[1:] == (1,):
        y_val = y_val[:, 0]
    X_val = read_plain("X_val", X_val)
    for name, like, shape in (("X", X, np.shape(X_val)), ("y", y, y_val.shape)):
        wanted = np.shape(like)[1:]
        if shape[1:] != wanted:
            raise ValueError(
                f"{name}_val must have shape {shape_text('n', wanted)} like {name}, got {shape}."
            )
    check_same_rows("X_val", X_val, "y_val", y_val)


def _check_scoring(single: Any, scoring: Any) -> None:
    """Raise unless `scoring` stands for a single score."""
    refuse_scorer_name(scoring)
    if not (scoring is None or isinstance(scoring, str) or callable(scoring)):
        raise TypeError(
            f"scoring must be None, the name of a score or a callable, got {scoring!r}: candidates "
            f"are chosen by a single one."
        )
    check_scoring(single, scoring=scoring)


def _transformed(single: Any, pairs: TrialPairs) -> Any:
    """The conditions as the estimator gets them, after its pipeline's transformers."""
    if not isinstance(single, Pipeline) or len(single.steps) == 1:
        return pairs.X
    return clone(single[:-1]).fit_transform(pairs.X, pairs.y)


def _as_grids(grid: Any) -> list[Mapping[str, Any]]:
    """The grids of settings that `candidates` holds."""
    grids = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(grids, list | tuple) or not all(isinstance(g, Mapping) for g in grids):
        raise TypeError(
            f"candidates must be a dict of lists, a list of such dicts, or 'auto', got {grid!r}."
        )
    return list(grids)


def _full_name(single: Any, name: str) -> str:
    """A setting's name as the estimator takes it: with the last step's prefix where it has none."""
    if not isinstance(single, Pipeline):
        return name
    known = {"memory", "verbose", *dict(single.steps)}
    return name if name.split("__")[0] in known else f"{single.steps[-1][0]}__{name}"


def _with_settings(single: Any, settings: dict[str, Any], seed: int) -> Any:
    """A copy of the estimator with these settings, ready to be fitted."""
    model = clone(single).set_params(**clone(settings, safe=False))
    if not isinstance(inner(model), LSDMRegressor):
        raise TypeError(f"candidates must leave an LSDMRegressor in place, got {settings!r}.")
    return with_seed(model, seed)


def _splitter(cv: Any, n_pairs: int, groups: NDArray[np.intp] | None, seed: int) -> Any:
    """The splitter that `cv` stands for."""
    kind, n_kinds = ("pairs", n_pairs) if groups is None else ("groups", int(groups.max()) + 1)
    if isinstance(cv, str) and cv == "auto":
        if n_pairs >= _MANY_PAIRS:
            once = ShuffleSplit if groups is None else GroupShuffleSplit
            return once(1, test_size=_SHARE_HELD_OUT, random_state=seed)
        cv = min(_N_FOLDS, n_kinds)
    if not isinstance(cv, numbers.Integral):
        return check_cv(cv)
    n_folds = check_integer("cv", cv, 2)
    if n_folds > n_kinds:
        raise ValueError(f"cv={n_folds} folds need as many {kind}, got {n_kinds}.")
    folds = KFold if groups is None else GroupKFold
    return folds(n_folds, shuffle=True, random_state=seed)

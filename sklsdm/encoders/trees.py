"""Predictions of the codes by trees, a Gaussian process and a regression, beside conditions."""

from __future__ import annotations

import hashlib
import math
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import cross_val_predict

from sklsdm.encoders.base import BaseConditionEncoder, Groups, Rows
from sklsdm.encoders.boosting import CrossFittedBoosting, boosted_components
from sklsdm.encoders.folds import MOST_COMPONENTS, are_several, folds, principal
from sklsdm.encoders.gaussian_process import CrossFittedGaussianProcess
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.functional.categorical import are_labels
from sklsdm.parameters import flag, integer, learnt, or_auto, parameter

_TREES_TIMES_ROWS = 500_000  # pairs times trees, by which the size of a saved forest is bounded
_TREES = (50, 200)  # least and most trees of "auto"
_MOST_SEED = 2**32
_FEWEST_TO_BOOST = 50  # pairs
_FOREST_FOLDS = 5  # of groups
# With more columns, or fewer pairs for each, networks learn better from the predictions alone.
_FEW_COLUMNS, _PAIRS_PER_COLUMN = 16, 16


def columns_are_passed(n_pairs: int, n_columns: int, n_codes: int) -> bool:
    """Whether `passthrough="auto"` lets the networks see the columns beside the predictions."""
    are_few = n_columns <= min(_FEW_COLUMNS, n_pairs / _PAIRS_PER_COLUMN)
    return are_few or boosted_components(n_pairs, n_columns, n_codes) == 0


class TreesConditionEncoder(BaseConditionEncoder):
    """Give the networks predictions of the codes: by trees, a Gaussian process and a regression.

    Trees see steps and categories, the Gaussian process smooth laws, ridge regression lines. The
    networks start from what these see, and learn the spread around it; boosting also predicts how
    the spread depends on x. The pairs are predicted by models that did not learn from them (out of
    bag by the ExtraTrees forest, by all other pairs by the Gaussian process, out of fold by
    boosting and ridge regression), so that stage 2 does not learn to trust predictions which are
    better than those of new conditions. New conditions get the predictions of the whole forest, of
    all folds' boosters, and of a process and a regression on all pairs; those of pairs learnt from
    get the same as in `fit`, for there the whole forest has seen the responses. Where pairs come in
    groups (`fit(..., groups=)`), they are predicted by models that learnt from none of their group.

    Few columns of X stand beside the predictions. Many are left out (`passthrough`), as are those
    of few pairs, since networks overfit to them.

    X may hold NaN. The trees use them as they are. The networks get the column's mean instead,
    and a column more that says where a value is missing, for columns with NaN among the pairs.

    X may be a pandas or polars DataFrame with columns of categories: those of the dtypes category,
    enum and string, and object columns of strings. Trees and networks get a column of 0 and 1 for
    each level. A missing category is a level of its own. Of a column with more than 30 levels, the
    29 most frequent have a column each and the others share one. A level that X had not in `fit`,
    or a missing one where none was missing, is read as one of those others, or as no level (all
    zeros) where there are none; a warning names the column and the level. Boolean columns are
    numbers, 0 and 1. Levels are compared as text: the category 1 and the string "1" are the same.

    When to use: tables with steps, categories or many columns, from about 100 pairs on; "auto"
    compares it from 30 on. With fewer, predictions of the pairs are worse than those of new
    conditions, and draws may come out too wide. Cost: one forest, a
    Gaussian process for each dimension of the codes (at most eight, of their principal components;
    a second at most each), and for boosting ten to twenty times as many boosters, each of at most
    300 small trees.

    References
    ----------
    Rasmussen & Williams 2006, "Gaussian processes for machine learning"; Geurts, Ernst &
    Wehenkel 2006, "Extremely randomized trees" (Machine Learning 63); Wolpert 1992, "Stacked
    generalization" (Neural Networks 5) for predictions out of sample; Friedman 2001, "Greedy
    function approximation: a gradient boosting machine" (Annals of Statistics 29).
    """

    takes_nan: ClassVar[bool] = True
    takes_categories: ClassVar[bool] = True

    n_estimators: int | str = parameter(
        default="auto",
        rule=or_auto(integer(50)),
        doc="""Trees in the forest. "auto" is 200 up to 2,500 pairs and fewer beyond, down to 50
        from 10,000 pairs on, so that a saved forest stays small. With fewer than 50 some pairs
        would be in the bag of each tree.""",
    )
    min_samples_leaf: int | str = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc="""Fewest pairs in a leaf. "auto" is 1 up to 10,000 pairs, and one more for every
        further 10,000, which bounds the size of a saved forest.""",
    )
    n_components: int = parameter(
        default=32,
        rule=integer(1),
        doc="""Of codes with more dimensions, so many principal components of the forest's
        predictions enter.""",
    )
    boosting: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Whether gradient boosting predicts as well, the codes and (from 100 pairs on) their
        spread. It does not with fewer than 50 pairs, or where pairs times columns exceed
        4,000,000.""",
    )
    gaussian_process: bool = parameter(
        default=True,
        rule=flag(),
        doc="""Whether a Gaussian process predicts as well those dimensions of the codes (or
        principal components) that it predicts better than forest and ridge regression do.""",
    )
    passthrough: bool | str = parameter(
        default="auto",
        rule=or_auto(flag()),
        doc="""Whether the networks get the columns of X too, beside the predictions. "auto" passes
        up to 16 columns (categories have one for each level) where there are 16 pairs or more for
        each of them, and any number where boosting would take too long.""",
    )

    forest_: ExtraTreesRegressor = learnt("The forest.")
    linear_: CrossFittedRidge = learnt("Ridge regression of the codes of all pairs.")
    process_: CrossFittedGaussianProcess | None = learnt("A Gaussian process, if there is one.")
    boosting_: CrossFittedBoosting | None = learnt("Boosted trees, where there are some.")
    components_: PCA | None = learnt("Of the forest's predictions, where they are many.")
    passes_columns_: bool = learnt("Whether the networks get the columns of X too.")
    gappy_: NDArray[np.intp] = learnt("Columns in which pairs had NaN.")
    keys_: NDArray[Any] = learnt("Which conditions were those of pairs.")
    known_: NDArray[np.float32] = learnt("The predictions of these, by what did not see the pair.")

    def for_trials(self) -> TreesConditionEncoder:
        """Without boosting, which is quicker and tells as well whether trees help."""
        return clone(self).set_params(boosting=False)

    def fit_transform(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups = None
    ) -> Rows:
        self.gappy_ = np.flatnonzero(np.isnan(condition).any(axis=0))
        seed = seed % _MOST_SEED
        n_pairs, n_columns = condition.shape
        n_components = boosted_components(n_pairs, n_columns, codes.shape[1])
        self.passes_columns_ = bool(self.passthrough)
        if self.passthrough == "auto":
            self.passes_columns_ = columns_are_passed(n_pairs, n_columns, codes.shape[1])
        self.linear_ = CrossFittedRidge(MOST_COMPONENTS)
        filled = self._filled(condition)
        by_forest = self._fit_forest(condition, codes, seed, groups)
        by_line = self.linear_.fit_predict(filled, codes, seed, groups)
        found = [self._reduce(by_forest), by_line]
        self.process_ = self.boosting_ = None
        if self.gaussian_process:
            process = CrossFittedGaussianProcess(MOST_COMPONENTS)
            known = [principal(codes, MOST_COMPONENTS, seed, of=by_forest), by_line]
            found.append(process.fit_predict(filled, codes, seed, groups, known))
            self.process_ = process if len(process.columns_) else None
        if self.boosting and n_components and n_pairs >= _FEWEST_TO_BOOST:
            self.boosting_ = CrossFittedBoosting(n_components)
            found.append(self.boosting_.fit_predict(condition, codes, seed, groups))
        predicted = np.column_stack(found)
        self.keys_, place, count = np.unique(
            _keys(condition), return_inverse=True, return_counts=True
        )
        totals = np.zeros((len(count), predicted.shape[1]))
        np.add.at(totals, place, predicted)
        self.known_ = (totals / count[:, None]).astype(np.float32)
        if are_labels(torch.from_numpy(filled)):  # equal labels stay equal
            predicted = self.known_[place].astype(np.float64)
        return self._beside(condition, predicted)

    def _fit_forest(
        self, condition: Rows, codes: NDArray[Any], seed: int, groups: Groups
    ) -> NDArray[np.float64]:
        """Fit `forest_`; returns its predictions of the pairs, by trees that did not see them."""
        n_pairs, n_trees, leaf = len(condition), self.n_estimators, self.min_samples_leaf
        fewest, most = _TREES
        if n_trees == "auto":
            n_trees = min(most, max(fewest, _TREES_TIMES_ROWS // n_pairs))
        if leaf == "auto":
            leaf = math.ceil(fewest * n_pairs / _TREES_TIMES_ROWS)
        forest = ExtraTreesRegressor(
            int(n_trees), min_samples_leaf=int(leaf), bootstrap=True, random_state=seed
        )
        target = codes[:, 0] if codes.shape[1] == 1 else codes
        if not are_several(groups):
            self.forest_ = forest.set_params(oob_score=True).fit(condition, target)
            predicted = self.forest_.oob_prediction_
        else:
            self.forest_ = forest.fit(condition, target)
            predicted = cross_val_predict(
                forest, condition, target, cv=folds(n_pairs, _FOREST_FOLDS, seed, groups)
            )
        predicted = predicted.reshape(n_pairs, -1)
        self.components_ = None
        if predicted.shape[1] > self.n_components:
            n_components = min(self.n_components, n_pairs - 1)
            self.components_ = PCA(n_components, random_state=seed).fit(predicted)
        return predicted

    def transform(self, condition: Rows) -> Rows:
        if len(condition) == 0:  # where no pairs are held out; a forest refuses empty tables
            return self._beside(condition, np.empty((0, self.known_.shape[1])))
        found = [self._reduce(self.forest_.predict(condition).reshape(len(condition), -1))]
        # Files of version 0.1.0 have a forest alone, and its predictions beside all columns.
        filled = self._filled(condition)
        smooth = (getattr(self, name, None) for name in ("linear_", "process_"))
        found += [model.predict(filled) for model in smooth if model is not None]
        boosting: CrossFittedBoosting | None = getattr(self, "boosting_", None)
        if boosting is not None:
            found.append(boosting.predict(condition))
        predicted = np.column_stack(found)
        keys = _keys(condition)
        place = np.searchsorted(self.keys_, keys).clip(max=len(self.keys_) - 1)
        is_known = self.keys_[place] == keys
        predicted[is_known] = self.known_[place[is_known]]
        return self._beside(condition, predicted)

    def _reduce(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """The principal components of the forest's predictions, where they are many."""
        return predicted if self.components_ is None else self.components_.transform(predicted)

    def _beside(self, condition: Rows, predicted: NDArray[np.float64]) -> Rows:
        """The predictions, after the columns where these are passed on."""
        found = predicted.astype(np.float32)
        if not getattr(self, "passes_columns_", True):
            return found
        return np.concatenate([self._filled(condition), found], axis=1)

    def _filled(self, condition: Rows) -> Rows:
        """The columns without NaN, and for those with NaN among the pairs where it was."""
        missing = np.isnan(condition[:, self.gappy_]).astype(np.float32)
        filled = np.nan_to_num(condition)  # 0 is the mean of a standardised column
        return np.concatenate([filled, missing], axis=1)


def _keys(condition: Rows) -> NDArray[np.uint64]:
    """A number for each row, equal for equal rows and hardly ever for others.

    Files hold them, so the hash stays this one, although :func:`sklsdm.blocks.row_hashes` is
    quicker: a forest takes forty times as long as this for a row.
    """
    found = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in condition)
    return np.frombuffer(found, dtype=np.uint64)

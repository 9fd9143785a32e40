"""The trees that tell draws from responses see what scikit-learn's see, and sooner."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from sklsdm.metrics.binned_trees import BinnedTreesClassifier

SETTINGS = {"min_samples_leaf": 10, "max_features": 0.5, "random_state": 0}


def two_kinds(n, seed):
    """Rows with gaps and a column of few values; the rare kind lies elsewhere in one column."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 5))
    y = (random.random(n) < 0.2).astype(int)
    X[:, 1] += y
    X[:, 2] = X[:, 2].round()
    X[random.random(X.shape) < 0.05] = np.nan
    return X, y


def test_they_see_what_trees_with_bins_of_their_own_see():
    X, y = two_kinds(1000, 0)
    weight = np.where(y == 1, 4.0, 1.0)
    ours = BinnedTreesClassifier(20, **SETTINGS).fit(X, y, weight)
    plain = HistGradientBoostingClassifier(max_iter=20, early_stopping=False, **SETTINGS)
    plain.fit(X, y, weight)
    fresh, truth = two_kinds(1000, 1)
    found, wanted = (model.predict_proba(fresh)[:, 1] for model in (ours, plain))
    assert np.corrcoef(found, wanted)[0, 1] > 0.9
    assert roc_auc_score(truth, found) == pytest.approx(roc_auc_score(truth, wanted), abs=0.02)


def test_borders_are_quantiles_of_the_weights():
    """No column is left to scikit-learn's bins, which take most of the time of a fit."""
    X, y = two_kinds(2000, 0)
    weight = np.where(X[:, 0] > 0, 3.0, 1.0)
    model = BinnedTreesClassifier(2, **SETTINGS).fit(X, y, weight)
    assert 0.7 < (model.borders_[0] > 0).mean() < 0.8
    assert np.isin(model.borders_[2], np.arange(-4, 4) + 0.5).all()
    bins = model._bins(X)
    assert np.array_equal(np.isnan(bins), np.isnan(X))
    assert all(len(np.unique(column[~np.isnan(column)])) <= 255 for column in bins.T)

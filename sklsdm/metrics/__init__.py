"""Scores of draws against what was observed, and distances between two samples.

They take array-likes and return floats; the tests by a classifier return a
:class:`ClassifierTest`. The formulas, with their sources, are in
:mod:`sklsdm.functional.scores`. Three conventions hold throughout:

- ``y_true`` has shape (n,), (n, q) or, for images and curves, (n, ...); ``draws`` has shape
  (n, m, \\*y_shape): m draws for each row, as ``LSDMRegressor.sample`` returns them.
- Proper scores (energy, CRPS, quantile, variogram) and distances are *lower is better*;
  :func:`energy_skill` is higher is better. :mod:`sklsdm.scorers` has them as scikit-learn scorers.
- The expectation of ``fair`` and ``unbiased`` estimates does not depend on the number of draws, so
  models scored with different numbers of draws may be compared. Such an estimate may be negative
  by chance.

Bad input raises a ``ValueError`` (a ``TypeError`` for the wrong type) that names the argument.
Scores and distances work through rows in blocks, so that memory stays bounded beside the arguments
themselves, which may be memory-mapped. The tests by a classifier copy all rows and draws.
"""

from sklsdm.metrics.calibration import interval_coverage, interval_width
from sklsdm.metrics.classifier import (
    ClassifierTest,
    classifier_test,
    conditional_classifier_test,
    dependence_test,
)
from sklsdm.metrics.forecasts import (
    crps,
    energy_score,
    energy_skill,
    quantile_loss,
    variogram_score,
)
from sklsdm.metrics.forecasts import skill as skill  # used by the estimators, not public
from sklsdm.metrics.neighbours import expected_neighbour_coverage, neighbour_coverage
from sklsdm.metrics.two_samples import energy_distance, mmd, sliced_wasserstein

__all__ = [
    "ClassifierTest",
    "classifier_test",
    "conditional_classifier_test",
    "crps",
    "dependence_test",
    "energy_distance",
    "energy_score",
    "energy_skill",
    "expected_neighbour_coverage",
    "interval_coverage",
    "interval_width",
    "mmd",
    "neighbour_coverage",
    "quantile_loss",
    "sliced_wasserstein",
    "variogram_score",
]

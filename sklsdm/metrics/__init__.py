"""Scores of draws against what was observed, and distances between two samples.

Numpy in, floats out; the formulas themselves, with their sources, are in
:mod:`sklsdm.functional.scores`. Three conventions hold throughout:

- ``y_true`` has shape (n,), (n, q) or, for images and curves, (n, ...); ``draws`` has shape
  (n, m, \\*y_shape): m draws for each row, as ``LSDMRegressor.sample`` returns them.
- Proper scores (energy, CRPS, quantile, variogram) and distances are *lower is better*;
  :func:`energy_skill` is higher is better. :mod:`sklsdm.scorers` turns them for scikit-learn.
- ``fair`` and ``unbiased`` estimators have the mean of the infinite sample at any number of
  draws, so models scored with different numbers of draws may be compared; being unbiased, they
  may fall below zero by chance.

Bad input raises ``ValueError`` (``TypeError`` where a number is no number) that names the
argument. Rows are worked through in blocks: beside the arguments themselves (which may be
memory-mapped), memory is bounded.
"""

from sklsdm.metrics.calibration import interval_coverage, interval_width
from sklsdm.metrics.forecasts import (
    crps,
    energy_score,
    energy_skill,
    quantile_loss,
    variogram_score,
)
from sklsdm.metrics.forecasts import skill as skill  # the estimators' own, not listed
from sklsdm.metrics.two_samples import energy_distance, mmd, sliced_wasserstein

__all__ = [
    "crps",
    "energy_distance",
    "energy_score",
    "energy_skill",
    "interval_coverage",
    "interval_width",
    "mmd",
    "quantile_loss",
    "sliced_wasserstein",
    "variogram_score",
]

"""Conditions that unpaired responses tell, by ridge regression of the condition on the response.

Where the condition is a coarse, blurred or partial view of the response (super-resolution,
deblurring, inpainting), or was measured on it, pairs teach how it follows from the response. Each
unpaired response then tells its own condition, and is as good as a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklsdm.blocks import row_slices
from sklsdm.encoders.base import Groups
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.inputs.responses import Responses
from sklsdm.matchers.data import FEW_PAIRS

_TOLD = 0.9  # `r2` from which conditions are told by their responses (docs/lessons.md)
_MOST_PAIRS = 2000  # from which the regression learns
_MOST_NUMBERS = 2**25  # of the responses of these pairs; half as many coefficients
_MOST_TOLD, _MOST_TOLD_NUMBERS = 200_000, 2**26  # conditions that are told, and their numbers


@dataclass(frozen=True)
class ToldConditions:
    """Conditions of unpaired responses, where responses tell them.

    Attributes
    ----------
    r2 : float
        How well the regression finds the conditions of pairs that it has not seen: one minus its
        mean squared error in the column that it finds worst over the mean variance of a column.
    rows : ndarray of shape (m,)
        Numbers of the responses whose conditions are told, the paired ones counted first.
    condition : ndarray of shape (m, p)
        Their conditions, with an error of the regression at some pair that it had not seen.
    """

    r2: float
    rows: NDArray[np.intp]
    condition: NDArray[np.float32]


def told_conditions(
    condition: NDArray[np.float32], responses: Responses, seed: int, groups: Groups = None
) -> ToldConditions | None:
    """Conditions of the unpaired responses; none of them (m = 0) where `r2` is below 0.9.

    Parameters
    ----------
    condition : ndarray of shape (n, p)
        Of the pairs, standardised.
    responses : Responses
        Those of the pairs first.
    seed : int
        Of the folds, and of the errors that are drawn.
    groups : ndarray of shape (n,), optional
        Pairs of one group are in one fold.

    Returns
    -------
    ToldConditions or None
        None where it was not tried: with fewer than 20 pairs, missing values, or so many numbers
        in a response or a condition that the regression would take too much memory.
    """
    n_pairs, n_columns = condition.shape
    n_taken = min(n_pairs, _MOST_PAIRS, _MOST_NUMBERS // responses.width)
    too_wide = 2 * n_columns * responses.width > _MOST_NUMBERS
    if n_taken < FEW_PAIRS or too_wide or not np.isfinite(condition).all():
        return None
    random = np.random.default_rng(seed)
    taken = np.sort(random.permutation(n_pairs)[:n_taken])
    target = condition[taken].astype(np.float64)
    ridge = CrossFittedRidge(n_columns)
    seen = responses.take(taken).double().numpy()
    in_groups = None if groups is None else groups[taken]
    errors = target - ridge.fit_predict(seen, target, seed, in_groups)
    spread = target.var(axis=0).mean()
    if spread == 0:
        return None
    r2 = 1 - float(np.square(errors).mean(axis=0).max() / spread)
    most = min(_MOST_TOLD, _MOST_TOLD_NUMBERS // n_columns)
    n_told = min(len(responses) - n_pairs, most) if r2 >= _TOLD else 0
    rows = np.linspace(n_pairs, len(responses) - 1, n_told).astype(np.intp)
    told = np.empty((n_told, n_columns), dtype=np.float32)
    for block in row_slices(n_told, responses.width):
        told[block] = ridge.predict(responses.take(rows[block]).double().numpy())
    told += errors[random.integers(n_taken, size=n_told)]
    return ToldConditions(r2, rows, told)

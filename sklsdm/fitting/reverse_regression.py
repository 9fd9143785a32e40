"""Conditions of unpaired responses, by ridge regression of the condition on the response.

Where the condition is a coarse, blurred or partial view of the response (super-resolution,
deblurring, inpainting), or was measured on it, pairs teach how it follows from the response. Each
unpaired response then determines its condition, and is as good as a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sklsdm.autoencoders.auto import MOST_OWN_CODES
from sklsdm.blocks import row_slices, spread_rows
from sklsdm.encoders.base import Groups
from sklsdm.encoders.linear import CrossFittedRidge
from sklsdm.fitting.few_values import find_few_values
from sklsdm.fitting.kernel_regression import CrossFittedByColumn
from sklsdm.inputs.images import SmallImages
from sklsdm.inputs.responses import Responses
from sklsdm.matchers.data import FEW_PAIRS
from sklsdm.randomness import RowStream, row_stream

_RECOVERED = 0.9  # `r2` from which responses determine their conditions (docs/lessons.md)
_VAGUE = 0.4  # R2 of all columns together, from which vague conditions are of use
_MOST_PAIRS = 2000  # from which the regression learns
_MOST_KERNELS = 1000  # pairs from which the kernel regression learns
_MOST_NUMBERS = 2**25  # of the responses of these pairs; half as many coefficients
_MOST_RECOVERED, _MOST_RECOVERED_NUMBERS = 200_000, 2**26  # conditions, and their numbers


@dataclass(frozen=True)
class RecoveredConditions:
    """Conditions of unpaired responses, where responses determine them.

    Attributes
    ----------
    r2 : float
        How well the regression finds the conditions of pairs that it has not seen: one minus its
        mean squared error in the column that it finds worst over the mean variance of those that
        vary.
    rows : ndarray of shape (m,)
        Numbers of the responses whose conditions these are, the paired ones counted first.
    condition : ndarray of shape (m, p)
        Their conditions, with an error of the regression at some pair that it had not seen. Columns
        with up to ten values in the pairs have a combination of values that some pair has there
        (:class:`FewValues`).
    """

    r2: float
    rows: NDArray[np.intp]
    condition: NDArray[np.float32]


@dataclass(frozen=True)
class _Regression:
    """A regression that was fitted to the pairs `rows`, its errors (n, p) at left-out ones, its R2.

    `r2` is that of the column which it finds worst, `r2_of_all` that of all together.
    """

    model: CrossFittedRidge | CrossFittedByColumn
    rows: NDArray[np.intp]
    errors: NDArray[np.float64]
    r2: float
    r2_of_all: float


def recover_conditions(
    condition: NDArray[np.float32],
    responses: Responses,
    seed: int,
    groups: Groups = None,
    may_be_vague: bool = False,
) -> RecoveredConditions | None:
    """Conditions of the unpaired responses; none of them (m = 0) where `r2` is below 0.9.

    Copies of paired responses are left out. Of more than 200,000 an even selection is taken.

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
    may_be_vague : bool, default=False
        Whether there are conditions, too, where the R2 of all columns together is .4 or more. They
        follow the law of x given y all the same, as far as errors of the regression do not hang on
        y.

    Returns
    -------
    RecoveredConditions or None
        None where it was not tried: with fewer than 20 pairs, missing values, up to 50 outputs
        (which tell little of a condition), or so many numbers in a response and a condition that
        the regression would take too much memory.
    """
    n_pairs, n_columns = condition.shape
    n_taken = min(n_pairs, _MOST_PAIRS, _MOST_NUMBERS // responses.width)
    too_wide = 2 * n_columns * responses.width > _MOST_NUMBERS
    too_narrow = responses.width <= MOST_OWN_CODES
    if n_taken < FEW_PAIRS or too_wide or too_narrow or not np.isfinite(condition).all():
        return None
    random = row_stream(seed, RowStream.REVERSE_ERRORS)
    taken = np.sort(random.permutation(n_pairs)[:n_taken])
    if not condition[taken].astype(np.float64).var(axis=0).any():
        return None
    found = _best_regression(condition, responses, taken, seed, groups)
    is_of_use = may_be_vague and found.r2_of_all >= _VAGUE
    if found.r2 < _RECOVERED and not is_of_use:
        return RecoveredConditions(found.r2, taken[:0], condition[:0])
    new = np.arange(n_pairs, len(responses))
    new = np.setdiff1d(new, responses.unpaired_copies(responses.paired_hashes()))
    most = min(len(new), _MOST_RECOVERED, _MOST_RECOVERED_NUMBERS // n_columns)
    rows = new[spread_rows(len(new), most)]
    known = condition[found.rows]
    return RecoveredConditions(found.r2, rows, _draw(found, known, responses, rows, random))


def _best_regression(
    condition: NDArray[np.float32],
    responses: Responses,
    taken: NDArray[np.intp],
    seed: int,
    groups: Groups,
) -> _Regression:
    """Ridge regression on the pairs `taken`, or by kernels where that tells little, and less."""
    n_columns = condition.shape[1]
    by_line = _regress(CrossFittedRidge(n_columns), condition, responses, taken, seed, groups)
    if by_line.r2 >= _RECOVERED:
        return by_line
    shape = responses.format.image_shape if SmallImages.suit(responses) else None
    by_column = CrossFittedByColumn(n_columns, shape)
    some = taken[spread_rows(len(taken), _MOST_KERNELS)]
    by_kernel = _regress(by_column, condition, responses, some, seed, groups)
    return max(by_line, by_kernel, key=lambda each: each.r2_of_all)


def _draw(
    found: _Regression,
    known: NDArray[np.float32],
    responses: Responses,
    rows: NDArray[np.intp],
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Conditions (m, p) for the responses `rows` (m,): predictions with errors drawn at random.

    `known` are the conditions of the pairs that the regression was fitted to.
    """
    n_columns = known.shape[1]
    few_values = find_few_values(known, known - found.errors)
    drawn = np.empty((len(rows), n_columns), dtype=np.float32)
    for block in row_slices(len(rows), max(responses.width, n_columns)):
        some = rows[block]
        error = found.errors[random.integers(len(found.errors), size=len(some))]
        predicted = found.model.predict(responses.take(some).double().numpy())
        drawn[block] = predicted + error
        for each in few_values:
            drawn[block, each.columns] = each.draw(predicted, random)
    return drawn


def _regress(
    model: CrossFittedRidge | CrossFittedByColumn,
    condition: NDArray[np.float32],
    responses: Responses,
    rows: NDArray[np.intp],
    seed: int,
    groups: Groups,
) -> _Regression:
    """The regression of conditions on responses, fitted to some of the pairs."""
    target = condition[rows].astype(np.float64)
    seen = responses.take(rows).double().numpy()
    in_groups = None if groups is None else groups[rows]
    errors = target - model.fit_predict(seen, target, seed, in_groups)
    variance = target.var(axis=0)
    squares = np.square(errors).mean(axis=0)
    r2 = 1 - float(squares.max() / variance[variance > 0].mean())
    return _Regression(model, rows, errors, r2, 1 - float(squares.sum() / variance.sum()))

"""Draws with Dask: block by block, by any of its schedulers, and the same whichever it is."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils.validation import check_is_fitted

from sklsdm import forwarding
from sklsdm._validation import check_integer
from sklsdm.randomness import LARGEST_SEED, RandomState, draw_seed
from sklsdm.target_units import InTargetUnits

if TYPE_CHECKING:
    import dask.array as da

CELL_DRAWS = 4096  # draws with noise of one seed


def sample(model: Any, X: Any, n_samples: int = 1, *, random_state: RandomState = None) -> da.Array:
    """Draw from p(Y | X) lazily, for conditions in a Dask array or DataFrame.

    The noise of a draw depends on `random_state` and on the number of its row in `X`, and on
    nothing else: neither the scheduler, nor the number of workers, nor the chunks of `X` change the
    result. Work that a lost worker had done is done again with the same result. The draws are not
    those that :func:`sklsdm.sample` gives for the same seed.

    The model is one node of the graph, which a distributed scheduler sends once to each worker.

    Parameters
    ----------
    model : estimator, Pipeline or search
        What :func:`sklsdm.sample` takes, fitted on pairs.
    X : dask.array.Array of shape (n, p) or (n, c, h, w), or dask.dataframe.DataFrame
        Conditions. Rows are drawn by chunk or partition; along the other axes the chunks are
        joined. Their lengths need not be known. Up to 4,096 draws are made in vain at each end of
        a chunk, so a chunk should ask for some 20,000 draws or more.
    n_samples : int, default=1
        Draws for each condition.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the noise. It is read at the call, so the result can be computed repeatedly.

    Returns
    -------
    dask.array.Array of shape (n, n_samples, *y_shape)
        In the dtype of `model.sample`, in chunks of as many rows as those of `X`. n is unknown
        (NaN) where it is unknown in `X`.

    Raises
    ------
    TypeError
        `X` is no Dask collection, or `model` does not draw given X.
    ValueError
        `n_samples` is below 1. A bad row of `X` raises when its chunk is computed.
    NotFittedError
        `model` is not fitted.
    ImportError
        Dask is not installed: ``pip install "sklsdm[dask]"``.

    Examples
    --------
    >>> import dask.array as da
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(100, random_state=0)
    >>> est = sklsdm.LSDMRegressor(matcher="energy")
    >>> est = est.set_params(matcher__max_steps=50).fit(arms.X, arms.y)
    >>> X = da.random.default_rng(0).uniform(-1, 1, size=(20_000, 2), chunks=(10_000, 2))
    >>> draws = sklsdm.dask.sample(est, X, n_samples=2, random_state=0)
    >>> draws.shape, draws.numblocks
    ((20000, 2, 2), (2, 1, 1))
    """
    import dask.array as da
    from dask import delayed
    from dask.base import is_dask_collection
    from dask.utils import is_dataframe_like

    n_samples = check_integer("n_samples", n_samples, 1)
    if not is_dask_collection(X) or not (isinstance(X, da.Array) or is_dataframe_like(X)):
        raise TypeError(
            f"X must be a dask.array.Array or a dask.dataframe.DataFrame, got {type(X).__name__}; "
            f"draw for rows in memory with sklsdm.sample."
        )
    shape, dtype = _format_of_draws(model)
    if isinstance(X, da.Array):
        lengths = X.chunks[0]
        blocks = X.rechunk(dict.fromkeys(range(1, X.ndim), -1))
    else:
        lengths = (np.nan,) * X.npartitions
        # An array whose blocks are the partitions as they are, with their names and categories.
        blocks = X.map_partitions(_itself, meta=np.empty(0), enforce_metadata=False)
    starts = _starts(blocks, lengths)
    axes = range(2, 2 + len(shape))
    inputs = range(-1, -blocks.ndim, -1)  # the axes of one condition, which are summed up
    return da.blockwise(
        _draw_block,
        (0, 1, *axes),
        blocks,
        (0, *inputs),
        starts,
        (0,),
        model=delayed(copy.deepcopy(model), pure=False),  # as it is now: it may be fitted anew
        n_samples=n_samples,
        base=int(np.random.SeedSequence(draw_seed(random_state)).generate_state(1)[0]),
        new_axes={1: n_samples} | dict(zip(axes, shape, strict=True)),
        concatenate=True,
        align_arrays=False,
        meta=np.empty((0,) * (2 + len(shape)), dtype=dtype),
    )


def _format_of_draws(model: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of one draw of a fitted model."""
    estimator = forwarding.inner(model)
    if isinstance(estimator, TransformedTargetRegressor):
        check_is_fitted(estimator, "regressor_")
        _, dtype = _format_of_draws(estimator.regressor_)
        return InTargetUnits(estimator, forwarding.inner(estimator.regressor_)).y_shape_, dtype
    if not hasattr(estimator, "_fit_of_responses"):
        raise TypeError(
            f"model must be an LSDMRegressor or a SamplingEnsemble, or wrap one, got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator)
    form = estimator._fit_of_responses()._fitted_format()
    return form.shape, form.dtype


def _itself(block: Any) -> Any:
    return block


def _starts(blocks: da.Array, lengths: tuple[float, ...]) -> da.Array:
    """For each block the number of its first row, one in a chunk.

    Where lengths are unknown, each waits for the lengths of the blocks before it.
    """
    import dask.array as da

    if not np.isnan(lengths).any():
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
        return da.from_array(first, chunks=1)
    ones = ((1,) * len(lengths),)
    inputs = tuple(range(1, blocks.ndim))
    counts = da.map_blocks(
        _count, blocks, drop_axis=inputs, chunks=ones, dtype=np.int64, meta=np.empty(0, np.int64)
    )
    return da.cumsum(counts, axis=0) - counts


def _count(block: Any) -> NDArray[np.int64]:
    return np.array([len(block)], dtype=np.int64)


def _draw_block(
    X: Any, start: NDArray[np.int64], *, model: Any, n_samples: int, base: int
) -> NDArray[Any]:
    """Draws for neighbouring rows, the first of which has the number `start`.

    All rows are divided by their numbers into cells of equal size, and each cell is drawn whole,
    with a seed of its own. Of a cell at the border of a block the missing rows are filled with
    copies, and their draws are dropped.
    """
    size = max(1, CELL_DRAWS // n_samples)
    first = int(start[0])
    stop = first + len(X)
    shape, dtype = _format_of_draws(model)
    found = np.empty((len(X), n_samples, *shape), dtype=dtype)
    cells = range(first // size, math.ceil(stop / size)) if len(X) else ()
    for cell in cells:
        numbers = np.arange(cell * size, (cell + 1) * size)
        inside = (numbers >= first) & (numbers < stop)
        rows = numbers.clip(first, stop - 1) - first
        conditions = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        drawn = forwarding.sample(
            model, conditions, n_samples, random_state=(base + cell) % (LARGEST_SEED + 1)
        )
        found[numbers[inside] - first] = drawn[inside]
    return found

"""Draws and forecasts as pandas or polars DataFrames, with the names of the responses' columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklsdm._validation import shape_text

Array = NDArray[Any]
AsFrame = bool | Literal["pandas", "polars"]


def framed(
    found: Array,
    X: Any,
    as_frame: AsFrame,
    estimator: Any,
    axis: str | None = None,
    labels: Sequence[Any] | Array = (),
) -> Any:
    """`found` as it is (`as_frame=False`), or as a DataFrame.

    Parameters
    ----------
    found : ndarray of shape (n, *y_shape), or (n, k, *y_shape) with `axis`
        What an estimator has computed for the rows of X.
    X : array-like of n rows
        A pandas frame gives the rows their index.
    as_frame : bool, "pandas" or "polars"
        True is polars where X is a polars frame, else pandas.
    estimator : estimator
        Fitted; it knows the shape and the names of the responses.
    axis : str, optional
        Name of the second axis, such as "draw". Then the frame is long: it has a line for each
        row of X and each of the k `labels`, and columns "row" and `axis` before the responses.
    labels : sequence of k values
        What the column `axis` holds.
    """
    form = check_frame(as_frame, X, estimator, axis)
    if form is None:
        return found
    library, names = form
    n_outer = 1 if axis is None else 2
    values = found.reshape(*found.shape[:n_outer], len(names))
    index = getattr(X, "index", None)
    index = index if hasattr(index, "to_flat_index") else None  # lists have a method of this name
    columns: dict[str, Any] = {}
    if axis is not None:
        n, k = values.shape[:2]
        rows = np.arange(n) if index is None or library == "polars" else index.to_flat_index()
        columns = {"row": rows.repeat(k), axis: np.tile(np.asarray(labels), n)}
        values, index = values.reshape(n * k, -1), None
    columns |= {name: values[:, place] for place, name in enumerate(names)}
    if library == "polars":
        import polars

        return polars.DataFrame(columns)
    import pandas

    return pandas.DataFrame(columns, index=index)


def check_frame(
    as_frame: Any, X: Any, estimator: Any, axis: str | None = None
) -> tuple[str, list[str]] | None:
    """The library and column names of the frame that :func:`framed` makes, or None for none.

    Called before draws are made, which take longer than to find that they cannot be returned.

    Raises
    ------
    ValueError
        `as_frame` is unknown, or the responses are images or have a column named like one of these.
    NotFittedError
        `estimator` is not fitted.
    """
    if as_frame is False:
        return None
    library = _library(as_frame, X)
    if hasattr(estimator, "fit"):  # else it stands for a fitted one, in other units
        check_is_fitted(estimator)
    return library, _column_names(estimator, axis)


def _library(as_frame: Any, X: Any) -> str:
    """The library that makes the frame: "pandas" or "polars"."""
    if as_frame is True:
        return "polars" if type(X).__module__.split(".")[0] == "polars" else "pandas"
    if not isinstance(as_frame, str) or as_frame not in ("pandas", "polars"):
        raise ValueError(f"as_frame must be True, False, 'pandas' or 'polars', got {as_frame!r}.")
    return as_frame


def _column_names(estimator: Any, axis: str | None) -> list[str]:
    """Names of the responses' columns: those that y had in `fit`, else "y", or "y0", "y1", ..."""
    shape = estimator.y_shape_
    if len(shape) > 1:
        raise ValueError(
            f"as_frame needs responses of shape (n,) or (n, q), but those of this "
            f"{type(estimator).__name__} have shape {shape_text('n', shape)}; pass as_frame=False."
        )
    known = getattr(estimator, "target_names_in_", None)
    if known is not None:
        names = [str(name) for name in known]
    else:
        names = ["y"] if shape == () else [f"y{place}" for place in range(shape[0])]
    taken = {"row", axis} if axis is not None else set()
    clash = sorted(taken.intersection(names))
    if clash:
        raise ValueError(
            f"as_frame gives the frame a column {clash[0]!r}, but a column of y has this name "
            f"too; rename that of y before fit, or pass as_frame=False."
        )
    return names

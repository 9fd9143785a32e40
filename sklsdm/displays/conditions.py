"""Conditions as displays need them: some rows, a grid over a column, and what they are called."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklsdm._validation import check_numeric
from sklsdm.displays.base import Array

GRID = 200  # values of x along a fan
_MOST_NAMED = 3  # columns whose values are a condition's name


def first_rows(X: Any, n: int) -> Any:
    """The first n rows of an array, list or frame."""
    return X[:n] if hasattr(X, "__getitem__") else np.asarray(X)[:n]


def fan_grid(X: Any) -> tuple[str, Array, Array, Any]:
    """Name and values (n,) of the one column of X, and a grid over them: (g,), and as X is."""
    x = check_numeric("X", X)
    if x.ndim != 2 or x.shape[1] != 1:
        raise ValueError(
            f"A fan needs X of shape (n, 1), one column to plot over, got {x.shape}. With more "
            f"columns draw along a path and pass the draws to from_predictions with its x=, or see "
            f"CalibrationDisplay."
        )
    grid = np.linspace(x.min(), x.max(), GRID)
    if hasattr(X, "columns"):
        name = X.columns[0]
        return str(name), x[:, 0], grid, type(X)({name: grid})
    return "x", x[:, 0], grid, grid[:, None]


def condition_labels(X: Any) -> list[str]:
    """The values of each row of X, or its number where there are many columns."""
    values = np.asarray(X)
    if values.ndim != 2 or values.shape[1] > _MOST_NAMED:
        return [f"row {place}" for place in range(len(values))]
    texts = [[_text(value) for value in row] for row in values.tolist()]
    if not hasattr(X, "columns"):
        return ["x = " + ", ".join(row) for row in texts]
    names = [str(name) for name in X.columns]
    return [", ".join(f"{k} = {v}" for k, v in zip(names, row, strict=True)) for row in texts]


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else str(value)

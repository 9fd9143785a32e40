"""Settings of LSDMRegressor that are worth a try, by the shape of the data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_array

from sklsdm._validation import check_finite, check_has_columns, check_numeric, check_same_rows
from sklsdm.blocks import spread_rows
from sklsdm.encoders import PeriodicConditionEncoder
from sklsdm.functional.categorical import are_labels
from sklsdm.inputs.conditions import learn_format
from sklsdm.inputs.response_format import count_channels, flat_rows
from sklsdm.inputs.standardising import fit_standardiser
from sklsdm.reading import read_plain

Grid = list[dict[str, list[Any]]]

# With fewer, a forest's predictions out of bag are mostly too poor to learn from. "auto", which
# compares them with the conditions alone, tries them from 30 pairs on; most settings here do not.
_FEWEST_FOR_TREES = 100
_FEW_OUTPUTS = 8  # up to so many, Gaussians with full covariances are hard to beat
_MAX_ROWS = 5000  # in which waves are sought
_MISSING = ("None", "nan", "<NA>", "NaT")  # missing values of frames, as text
_SEED = 0  # of the search for waves: equal data give equal candidates


def candidates(X: ArrayLike, y: ArrayLike) -> Grid:
    """Settings of :class:`LSDMRegressor` to search among, by the shape of the data.

    Parameters
    ----------
    X : array-like of shape (n, p) or (n, c, h, w)
        Conditions of the pairs. A table may hold NaN, and a frame columns of categories.
    y : array-like of shape (n,), (n, q), (n, h, w) or (n, c, h, w)
        Responses of the pairs.

    Returns
    -------
    list of dict
        A grid as `GridSearchCV` and `HalvingGridSearchCV` take it: 3 settings for images and
        labels, 8 or 9 for tables with 100 pairs or more and up to 8 outputs (6 where values
        are missing).

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV
    >>> import sklsdm
    >>> arms = sklsdm.datasets.make_arms(200, random_state=0)
    >>> grid = sklsdm.candidates(arms.X, arms.y)
    >>> search = GridSearchCV(sklsdm.LSDMRegressor(random_state=0), grid, cv=3)
    """
    rows = _as_numbers(X)
    responses = check_numeric("y", y)
    check_same_rows("X", rows, "y", responses)
    if rows.ndim == 4:
        return _for_images()
    if rows.ndim != 2:
        raise ValueError(f"X must have shape (n, p) or (n, c, h, w), got {rows.shape}.")
    whole = bool(np.isfinite(rows).all())
    if whole and are_labels(torch.from_numpy(rows)):
        return _for_labels()
    grid = _for_tables(len(rows), math.prod(responses.shape[1:]), whole)
    # Networks learn quick waves of the law only where their frequency is given, and late.
    if whole and _has_waves(rows, responses):
        waves: dict[str, list[Any]] = {"matcher": ["diffusion"], "condition_encoder": ["periodic"]}
        waves |= {"matcher__lr": [3e-3], "matcher__n_steps": [16]}
        grid.append(waves | {"matcher__max_steps": [6000]})
    return grid


def _for_images() -> Grid:
    """For conditions that are images."""
    return [{"matcher": ["wgan", "energy", "diffusion"], "condition_encoder": ["conv"]}]


def _for_labels() -> Grid:
    """For few distinct conditions, each with several pairs."""
    # Best by class, the default, and the one for few pairs. A forest would only repeat the means
    # of the labels, and noise on the conditions would only mix them.
    return [{"matcher": ["diffusion", "wgan", "energy"], "condition_encoder": ["flatten"]}]


def _for_tables(n_pairs: int, n_outputs: int, whole: bool) -> Grid:
    """For tables; those that are not `whole` lack values, which only trees take."""
    if not whole:
        encoders = ["trees"]
    elif n_pairs < _FEWEST_FOR_TREES:
        encoders = ["flatten"]
    else:
        encoders = ["flatten", "trees"]
    best = encoders[-1:]
    diffusion: dict[str, list[Any]] = {"matcher": ["diffusion"], "matcher__max_steps": [2000]}
    energy: dict[str, list[Any]] = {
        "matcher": ["energy"],
        "matcher__max_steps": [2000],
        "matcher__batch_size": [128],
        "matcher__n_draws": [2],
    }
    grid: Grid = [
        # The two that win on most tables, in short fits. Trees help where the law has steps or
        # many columns; noise on the conditions where pairs are few or columns say the same.
        diffusion | {"condition_encoder": encoders},
        energy | {"condition_encoder": encoders},
        diffusion | {"condition_encoder": best, "matcher__condition_noise": [0.1]},
        energy | {"condition_encoder": best, "matcher__condition_noise": [0.1]},
        # The default, for responses in many dimensions and modes far apart.
        {"matcher": ["wgan"], "condition_encoder": best},
    ]
    if n_outputs <= _FEW_OUTPUTS:
        # Maximum likelihood for smooth laws; wide, which pays on tables.
        smooth: dict[str, list[Any]] = {"matcher": ["mdn"], "matcher__max_steps": [2000]}
        smooth |= {"matcher__widths": [(256, 256, 256)], "matcher__lr": [1e-3]}
        grid.append(smooth | {"condition_encoder": best})
    return grid


def _has_waves(rows: NDArray[np.float64], responses: NDArray[Any]) -> bool:
    """Whether the responses follow quick waves of a column of the conditions."""
    some = spread_rows(len(rows), _MAX_ROWS)
    rows, responses = rows[some], responses[some]
    flat = flat_rows(responses)
    n_channels = count_channels(responses)
    codes = fit_standardiser(iter([flat]), n_channels=n_channels).forward(flat)
    if codes.shape[1] > _FEW_OUTPUTS and len(codes) > _FEW_OUTPUTS:
        codes = PCA(_FEW_OUTPUTS, whiten=True, random_state=_SEED).fit_transform(codes)
    encoder = PeriodicConditionEncoder()
    encoder.fit_transform(learn_format(rows, scale=True).rows(rows), codes, _SEED)
    return len(encoder.waves_) > 0


def _as_numbers(X: Any) -> NDArray[np.float64]:
    """X as numbers, with NaN where values are missing; categories of a table are counted off."""
    X = read_plain("X", X)
    check_has_columns("X", X)
    try:
        rows = check_array(X, dtype=np.float64, ensure_all_finite=False, allow_nd=True)
    except (TypeError, ValueError):
        table = np.asarray(X)
        if table.ndim != 2:
            raise
        rows = np.column_stack([_numbers_or_codes(column) for column in table.T])
    check_finite("X", rows, allow_nan=True)
    return rows


def _numbers_or_codes(column: NDArray[Any]) -> NDArray[np.float64]:
    """A column's numbers, or for each value its place among the sorted different ones."""
    text = column.astype(str)
    known = ~np.isin(text, _MISSING)
    found = np.full(len(column), np.nan)
    try:
        found[known] = column[known].astype(np.float64)
    except (TypeError, ValueError):
        found[known] = np.unique(text[known], return_inverse=True)[1]
    return found

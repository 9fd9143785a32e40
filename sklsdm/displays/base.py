"""What the displays share: matplotlib, axes to plot on, and the estimator inside a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from sklsdm._validation import check_integer
from sklsdm.base import LatentSpaceEstimator
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.forwarding import inner

Array = NDArray[Any]

PANEL_INCHES = (4.8, 3.7)  # width and height of one panel


def import_pyplot() -> Any:
    """The module `matplotlib.pyplot`, or an ImportError that says how to install it."""
    try:
        import matplotlib.pyplot as pyplot
    except ImportError as error:
        raise ImportError(
            "Displays need the package matplotlib, which is not installed; run: "
            "pip install 'sklsdm[plot]'"
        ) from error
    return pyplot


def panel(ax: Any) -> Any:
    """The Axes to plot on: `ax`, or those of a new figure where it is None."""
    pyplot = import_pyplot()
    if ax is None:
        ax = pyplot.subplots(figsize=PANEL_INCHES, layout="constrained")[1]
    return check_axes(ax)


def panels(ax: Any, n_panels: int) -> Array:
    """The Axes (n_panels,) to plot on: those of `ax`, or of a new figure where it is None."""
    pyplot = import_pyplot()
    if ax is None:
        width, height = PANEL_INCHES
        size = (n_panels * width * 0.85, height)
        ax = pyplot.subplots(1, n_panels, figsize=size, layout="constrained")[1]
    axes = np.array(ax, dtype=object).reshape(-1)
    if len(axes) != n_panels:
        raise ValueError(f"ax must hold {n_panels} Axes, one for each panel, got {len(axes)}.")
    for each in axes:
        check_axes(each)
    return axes


def check_axes(ax: Any) -> Any:
    """`ax`, if it is a matplotlib Axes."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    raise TypeError(
        f"ax must be a matplotlib Axes, got {type(ax).__name__}; of a grid from plt.subplots pass "
        f"one cell, such as axes[0, 0]."
    )


def text_colour() -> str:
    """The colour of text in the current style, which stands out from its background."""
    return str(import_pyplot().rcParams["text.color"])


def sheet_grey() -> float:
    """The grey of a sheet behind images: white, or nearly black in a style with light text."""
    from matplotlib.colors import to_rgb

    return 1.0 if np.mean(to_rgb(text_colour())) < 0.5 else 0.15


def one_fit(estimator: Any, member: int) -> LatentSpaceEstimator:
    """The fitted estimator inside `estimator`; of an ensemble the fit number `member`."""
    model = inner(estimator, through_targets=True)
    if isinstance(model, SamplingEnsemble):
        check_is_fitted(model, "estimators_")
        n_fits = len(model.estimators_)
        member = check_integer("member", member, 0, n_fits - 1)
        model = inner(model.estimators_[member], through_targets=True)
    if not isinstance(model, LatentSpaceEstimator):
        raise TypeError(
            f"{type(model).__name__} has no two stages of training and no latent space; pass an "
            f"estimator of sklsdm, or a Pipeline, search or TransformedTargetRegressor around one."
        )
    check_is_fitted(model, "matcher_")
    return model

"""The three kinds of ConditionalSampleDisplay: what each one shows, and how it is plotted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sklsdm._validation import check_numeric
from sklsdm.displays.base import Array, text_colour
from sklsdm.displays.conditions import fan_grid
from sklsdm.forwarding import predict_quantiles
from sklsdm.inputs.response_format import flat_rows

_SHOWN_CURVES = 5  # draws for each condition, beside their band
_BAND_ALPHA = 0.2  # of the widest band; each band inside it is so much stronger

Parts = dict[str, Any]  # arguments of ConditionalSampleDisplay


@dataclass(frozen=True)
class Names:
    """What is written at the axes and in the legend."""

    across: str
    up: str
    conditions: Sequence[str] = ()


# ---------------------------------------------------------------------------- a fan
def fan_over_x(
    estimator: Any,
    X: Any,
    y: ArrayLike | None,
    coverages: Sequence[float],
    names: Sequence[str] | None,
) -> Parts:
    """A fan of quantiles on a grid of values of x."""
    name, x, across, grid = fan_grid(X)
    quantiles = predict_quantiles(estimator, grid, _levels(coverages))
    return {
        "names": Names(name, "y" if names is None else str(names[0])),
        "bands": quantiles.reshape(*quantiles.shape[:2]).T,
        "coverages": coverages,
        "across": across,
        "points": None if y is None else np.stack([x, observed_rows(y, (len(x), 1))[:, 0]], axis=1),
    }


def fan_over_rows(
    draws: Array,
    observed: Array | None,
    places: Array | None,
    coverages: Sequence[float],
    titles: Sequence[str] | None,
) -> Parts:
    """A fan of draws (n, m, 1) over `places` (n,), or over the order of their medians."""
    quantiles = _quantiles(draws, coverages)[..., 0]  # (levels, n)
    across = "x"
    if places is None:
        across = "rows, by their median"
        places = np.argsort(np.argsort(quantiles[len(coverages)]))
    order = np.argsort(places, kind="stable")
    return {
        "names": Names(across, titles[0] if titles else "y"),
        "bands": quantiles[:, order],
        "coverages": coverages,
        "across": places[order],
        "points": None if observed is None else np.stack([places, observed[:, 0]], axis=1),
    }


def plot_fan(display: Any, ax: Any) -> None:
    """Plot the bands of a fan and the pairs as points."""
    _plot_bands(display, ax, display.bands, "C0", label=True)
    if display.points is not None:
        ax.scatter(
            *display.points.T, s=10, color=text_colour(), alpha=0.5, linewidths=0, label="data"
        )
    ax.legend()


# ---------------------------------------------------------------------------- a scatter plot
def scatter(
    draws: Array,
    observed: Array | None,
    background: ArrayLike | None,
    titles: Sequence[str] | None,
    conditions: Sequence[str],
) -> Parts:
    """Draws (k, m, 2) as points, a colour for each condition."""
    across, up = titles or ("y0", "y1")
    return {
        "names": Names(across, up, conditions),
        "draws": draws,
        "points": observed,
        "background": (
            None if background is None else observed_rows(background, (None, 2), "background")
        ),
    }


def plot_scatter(display: Any, ax: Any) -> None:
    """Plot draws as dots, observed responses as crosses, other responses in grey."""
    assert display.draws is not None
    if display.background is not None:
        ax.scatter(
            *display.background.T, s=6, color=text_colour(), alpha=0.15, linewidths=0, zorder=0
        )
    conditions = display.names.conditions
    for place, (drawn, name) in enumerate(zip(display.draws, conditions, strict=True)):
        ax.scatter(*drawn.T, s=9, color=f"C{place}", alpha=0.5, linewidths=0, label=name)
    cross = None
    for place, point in enumerate([] if display.points is None else display.points):
        cross = ax.scatter(
            *point, s=110, marker="X", color=f"C{place}", edgecolors=text_colour(), zorder=3
        )
    _legend_of_conditions(ax, cross)


# ---------------------------------------------------------------------------- curves
def curves(
    draws: Array,
    observed: Array | None,
    places: Array | None,
    coverages: Sequence[float],
    conditions: Sequence[str],
) -> Parts:
    """Draws (k, m, q) as curves over `places` (q,), or over the numbers of the outputs."""
    return {
        "names": Names("output" if places is None else "position", "y", conditions),
        "bands": _quantiles(draws, coverages).transpose(1, 0, 2),
        "coverages": coverages,
        "across": np.arange(draws.shape[2]) if places is None else places,
        "draws": draws,
        "points": observed,
    }


def plot_curves(display: Any, ax: Any) -> None:
    """Plot a band and some draws for each condition, observed curves as dashed lines."""
    assert display.draws is not None
    assert display.bands is not None
    across, line = display.across, None
    for place, (bands, drawn, name) in enumerate(
        zip(display.bands, display.draws, display.names.conditions, strict=True)
    ):
        colour = f"C{place}"
        _plot_bands(display, ax, bands, colour, name=name)
        ax.plot(across, drawn[:_SHOWN_CURVES].T, color=colour, linewidth=0.6, alpha=0.6)
        if display.points is not None:
            curve, edge = display.points[place], text_colour()
            (line,) = ax.plot(across, curve, color=edge, linewidth=2.6, zorder=3)
            ax.plot(across, curve, "--", color=colour, linewidth=1.4, zorder=3)
    _legend_of_conditions(ax, line)


# ---------------------------------------------------------------------------- shared
def _quantiles(draws: Array, coverages: Sequence[float]) -> Array:
    """Quantiles (levels, n, q) of draws (n, m, q), for :func:`_levels`."""
    return np.quantile(draws, _levels(coverages), axis=1)


def _plot_bands(
    display: Any,
    ax: Any,
    bands: Any,
    colour: str,
    *,
    label: bool = False,
    name: str | None = None,
) -> None:
    """The central bands and the median of one condition, or of a fan."""
    for place, coverage in enumerate(display.coverages):
        ax.fill_between(
            display.across,
            bands[place],
            bands[-1 - place],
            color=colour,
            alpha=min(1.0, (place + 1) * _BAND_ALPHA),
            linewidth=0,
            label=f"{coverage:.0%} of draws" if label else None,
        )
    middle = bands[len(display.coverages)]
    ax.plot(display.across, middle, color=colour, label="median" if label else name)


def _legend_of_conditions(ax: Any, observed: Any) -> None:
    """A legend of the conditions' colours; `observed` is what stands for the observed responses."""
    handles, names = ax.get_legend_handles_labels()
    if observed is not None:
        handles, names = [*handles, observed], [*names, "observed"]
    legend = ax.legend(handles, names)
    for handle in legend.legend_handles:
        handle.set_alpha(1)
        if hasattr(handle, "set_sizes"):  # dots and crosses alike
            handle.set_sizes([40])


def _levels(coverages: Sequence[float]) -> list[float]:
    """Levels of the quantiles, rising: lower ends of the bands, the median, upper ends."""
    lower = [(1 - each) / 2 for each in coverages]
    return [*lower, 0.5, *(1 - level for level in reversed(lower))]


def observed_rows(y: ArrayLike, shape: tuple[int | None, int], name: str = "y") -> Array:
    """Responses as floats (n, q), on the scale of draws."""
    array = check_numeric(name, y)
    flat = flat_rows(array)
    if flat.shape[1] != shape[1] or shape[0] not in (None, len(flat)):
        wanted = f"({shape[0] or 'N'}, {shape[1]})"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}.")
    return flat

"""ConditionalSampleDisplay: draws given x beside data, as a fan, a scatter plot or curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklsdm._validation import check_integer, check_numeric, check_real
from sklsdm.displays.base import Array, panel, text_colour
from sklsdm.displays.conditions import condition_labels, fan_grid, first_rows
from sklsdm.forwarding import predict_quantiles, sample, unwrap
from sklsdm.inputs.response_format import flat_rows
from sklsdm.randomness import RandomState

__all__ = ["ConditionalSampleDisplay"]

_MOST_CONDITIONS = 10  # of a scatter plot or of curves, by colours that can be told apart
_SHOWN_CURVES = 5  # draws for each condition, beside their band
_BAND_ALPHA = 0.2  # of the widest band; each band inside it is so much stronger


@dataclass(frozen=True)
class Names:
    """What is written at the axes and in the legend."""

    across: str
    up: str
    conditions: Sequence[str] = ()


class ConditionalSampleDisplay:
    """Draws given x, beside data.

    There are three kinds:

    - "fan", for one column in X and one output: central bands and the median of y over x, with the
      pairs as points;
    - "scatter", for two outputs: draws at a few conditions, a colour each, with the observed
      responses as crosses, and other responses in grey behind;
    - "curves", for more outputs: a band over the output's number and some draws for each of a
      few conditions, with the observed curve as a dashed line.

    Use :meth:`from_estimator` or :meth:`from_predictions`. (Images: :class:`ImageGridDisplay`.)

    Parameters
    ----------
    kind : {"fan", "scatter", "curves"}
        What is plotted.
    names : Names
        Labels of the axes, and of the conditions.
    bands : ndarray of shape (2 b + 1, g) for a fan or (k, 2 b + 1, q) for curves, optional
        Quantiles in rising order: lower ends of b bands, the median, upper ends.
    coverages : sequence of b float
        Coverages of the bands, the widest first.
    across : ndarray of shape (g,) or (q,), optional
        Where the bands are: values of x, or positions of the outputs.
    draws : ndarray of shape (k, m, q), optional
        Draws for each of k conditions.
    points : ndarray of shape (n, 2) or (k, q), optional
        Pairs (x, y) of a fan; observed responses of the other kinds.
    background : ndarray of shape (N, 2), optional
        Responses in grey behind a scatter plot.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds it.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm import ConditionalSampleDisplay, LSDMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(size=(100, 1))
    >>> y = X[:, 0] * rng.normal(size=100)
    >>> est = LSDMRegressor(matcher="energy", random_state=0).set_params(matcher__max_steps=50)
    >>> display = ConditionalSampleDisplay.from_estimator(est.fit(X, y), X, y)
    >>> display.kind, display.bands.shape
    ('fan', (5, 200))
    """

    ax_: Any
    figure_: Any

    def __init__(
        self,
        kind: str,
        names: Names,
        *,
        bands: Array | None = None,
        coverages: Sequence[float] = (),
        across: Array | None = None,
        draws: Array | None = None,
        points: Array | None = None,
        background: Array | None = None,
    ) -> None:
        self.kind = kind
        self.names = names
        self.bands = bands
        self.coverages = coverages
        self.across = across
        self.draws = draws
        self.points = points
        self.background = background

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        kind: str = "auto",
        n_samples: int = 200,
        coverages: Sequence[float] = (0.9, 0.5),
        background: ArrayLike | None = None,
        labels: Sequence[Any] | None = None,
        random_state: RandomState = None,
        ax: Any = None,
    ) -> Self:
        """Draw at conditions, and plot.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            Fitted, with draws by :func:`sklsdm.sample`.
        X : array-like of shape (n, p)
            For a fan, values of x, one column: bands reach from their smallest to their largest.
            For the other kinds at most 10 conditions, one colour each.
        y : array-like of shape (n, *y_shape), optional
            Observed responses of X.
        kind : {"auto", "fan", "scatter", "curves"}, default="auto"
            "auto" is a fan for one output, a scatter plot for two, and curves for more.
        n_samples : int, default=200
            Draws for each condition of a scatter plot or of curves. A fan shows the quantiles of
            :func:`sklsdm.predict_quantiles`.
        coverages : sequence of float in (0, 1), default=(0.9, 0.5)
            Probabilities of the central bands, for each output by itself.
        background : array-like of shape (N, 2), optional
            Responses in grey behind a scatter plot, such as all of the training data.
        labels : sequence of n str, optional
            Name of each condition, for the legend. None are the values of x.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        ConditionalSampleDisplay

        Raises
        ------
        ValueError, TypeError
            Bad input, responses that do not fit the kind, or an estimator that cannot draw given
            X.
        """
        check_integer("n_samples", n_samples, 1)
        model, _ = unwrap(estimator, X)
        one = sample(estimator, first_rows(X, 1), 1, random_state=0)
        kind = _checked_kind(kind, one.shape[2:])
        names = getattr(model, "target_names_in_", None)
        if kind != "fan":
            draws = sample(estimator, X, n_samples, random_state=random_state)
            labels = condition_labels(X) if labels is None else labels
            return cls.from_predictions(
                y,
                draws,
                kind=kind,
                coverages=coverages,
                background=background,
                labels=labels,
                target_names=names,
                ax=ax,
            )
        _refuse_background(background)
        widest_first = _checked_coverages(coverages)
        name, x, across, grid = fan_grid(X)
        found = predict_quantiles(estimator, grid, _levels(widest_first))
        return cls(
            kind,
            Names(name, "y" if names is None else str(names[0])),
            bands=found.reshape(*found.shape[:2]).T,
            coverages=widest_first,
            across=across,
            points=None if y is None else np.stack([x, _observed(y, (len(x), 1))[:, 0]], axis=1),
        ).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike | None,
        draws: ArrayLike,
        *,
        x: ArrayLike | None = None,
        kind: str = "auto",
        coverages: Sequence[float] = (0.9, 0.5),
        background: ArrayLike | None = None,
        labels: Sequence[Any] | None = None,
        target_names: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot draws at hand, of any model.

        Parameters
        ----------
        y : array-like of shape (n, *y_shape) or None
            Observed responses.
        draws : array-like of shape (n, m, *y_shape)
            Draws for each.
        x : array-like of shape (n,), optional
            What the rows of a fan are plotted over; None is their place in the order of their
            medians. For curves, of shape (q,), the positions of the outputs.
        kind, coverages, background, labels, ax
            As in :meth:`from_estimator`.
        target_names : sequence of q str, optional
            Names of the outputs.

        Returns
        -------
        ConditionalSampleDisplay

        Raises
        ------
        ValueError, TypeError
            Shapes that do not fit each other or the kind.
        """
        drawn = check_numeric("draws", draws)
        if drawn.ndim < 2:
            raise ValueError(f"draws must have shape (n, m, *y_shape), got {drawn.shape}.")
        kind = _checked_kind(kind, drawn.shape[2:])
        widest_first = _checked_coverages(coverages)
        drawn = drawn.reshape(*drawn.shape[:2], -1).astype(np.float64)
        n, _, q = drawn.shape
        observed = None if y is None else _observed(y, (n, q))
        places = None if x is None else check_numeric("x", x).reshape(-1)
        wanted = q if kind == "curves" else n
        if places is not None and len(places) != wanted:
            raise ValueError(f"x must hold {wanted} values, got {len(places)}.")
        quantiles = np.quantile(drawn, _levels(widest_first), axis=1)  # (levels, n, q)
        titles = None if target_names is None else [str(name) for name in target_names]
        if kind == "fan":
            _refuse_background(background)
            medians = quantiles[len(widest_first), :, 0]
            places = np.argsort(np.argsort(medians)) if places is None else places
            order = np.argsort(places, kind="stable")
            points = None if observed is None else np.stack([places, observed[:, 0]], axis=1)
            return cls(
                kind,
                Names("rows, by their median" if x is None else "x", titles[0] if titles else "y"),
                bands=quantiles[:, order, 0],
                coverages=widest_first,
                across=places[order],
                points=points,
            ).plot(ax=ax)
        if n > _MOST_CONDITIONS:
            raise ValueError(
                f"X has {n} rows, but more than {_MOST_CONDITIONS} conditions cannot be told apart "
                f"in one picture (kind={kind!r}); pass a few rows of X and y, such as the first 3."
            )
        shown = [f"row {place}" for place in range(n)] if labels is None else list(labels)
        if len(shown) != n:
            raise ValueError(f"labels must name each of the {n} conditions, got {len(shown)}.")
        conditions = [str(label) for label in shown]
        if kind == "scatter":
            across, up = titles or ("y0", "y1")
            names = Names(across, up, conditions)
            behind = None if background is None else _observed(background, (None, 2), "background")
            return cls(kind, names, draws=drawn, points=observed, background=behind).plot(ax=ax)
        _refuse_background(background)
        return cls(
            kind,
            Names("output" if x is None else "position", "y", conditions),
            bands=quantiles.transpose(1, 0, 2),
            coverages=widest_first,
            across=np.arange(q) if places is None else places,
            draws=drawn,
            points=observed,
        ).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot what was drawn.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        ConditionalSampleDisplay
            This display, with `ax_` and `figure_`.
        """
        ax = panel(ax)
        {"fan": self._plot_fan, "scatter": self._plot_scatter, "curves": self._plot_curves}[
            self.kind
        ](ax)
        ax.set(xlabel=self.names.across, ylabel=self.names.up)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_fan(self, ax: Any) -> None:
        self._plot_bands(ax, self.bands, "C0", label=True)
        if self.points is not None:
            ax.scatter(
                *self.points.T, s=10, color=text_colour(), alpha=0.5, linewidths=0, label="data"
            )
        ax.legend()

    def _plot_scatter(self, ax: Any) -> None:
        assert self.draws is not None
        if self.background is not None:
            ax.scatter(
                *self.background.T, s=6, color=text_colour(), alpha=0.15, linewidths=0, zorder=0
            )
        for place, (drawn, name) in enumerate(zip(self.draws, self.names.conditions, strict=True)):
            ax.scatter(*drawn.T, s=9, color=f"C{place}", alpha=0.5, linewidths=0, label=name)
        cross = None
        for place, point in enumerate([] if self.points is None else self.points):
            cross = ax.scatter(
                *point, s=110, marker="X", color=f"C{place}", edgecolors=text_colour(), zorder=3
            )
        _legend_of_conditions(ax, cross)

    def _plot_curves(self, ax: Any) -> None:
        assert self.draws is not None
        assert self.bands is not None
        line = None
        for place, (bands, drawn, name) in enumerate(
            zip(self.bands, self.draws, self.names.conditions, strict=True)
        ):
            colour = f"C{place}"
            self._plot_bands(ax, bands, colour, name=name)
            ax.plot(self.across, drawn[:_SHOWN_CURVES].T, color=colour, linewidth=0.6, alpha=0.6)
            if self.points is not None:
                curve, edge = self.points[place], text_colour()
                (line,) = ax.plot(self.across, curve, color=edge, linewidth=2.6, zorder=3)
                ax.plot(self.across, curve, "--", color=colour, linewidth=1.4, zorder=3)
        _legend_of_conditions(ax, line)

    def _plot_bands(
        self, ax: Any, bands: Any, colour: str, *, label: bool = False, name: str | None = None
    ) -> None:
        """The central bands and the median of one condition, or of a fan."""
        for place, coverage in enumerate(self.coverages):
            ax.fill_between(
                self.across,
                bands[place],
                bands[-1 - place],
                color=colour,
                alpha=min(1.0, (place + 1) * _BAND_ALPHA),
                linewidth=0,
                label=f"{coverage:.0%} of draws" if label else None,
            )
        middle = bands[len(self.coverages)]
        ax.plot(self.across, middle, color=colour, label="median" if label else name)


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


# ---------------------------------------------------------------------------- checks
def _checked_kind(kind: str, shape: tuple[int, ...]) -> str:
    """The kind of display for responses of this shape."""
    if len(shape) > 1:
        raise ValueError(
            f"Responses of shape {shape} are images or alike; use ImageGridDisplay for them."
        )
    q = shape[0] if shape else 1
    fitting = {1: "fan", 2: "scatter"}.get(q, "curves")
    if kind == "auto":
        return fitting
    if kind not in ("fan", "scatter", "curves"):
        raise ValueError(f"kind must be 'auto', 'fan', 'scatter' or 'curves', got {kind!r}.")
    if kind != fitting and not (kind == "curves" and q == 2):
        needed = {"fan": "one output", "scatter": "two outputs", "curves": "several outputs"}
        raise ValueError(f"kind={kind!r} needs {needed[kind]}, but y has {q}; use {fitting!r}.")
    return kind


def _checked_coverages(coverages: Sequence[float]) -> list[float]:
    """The coverages, the widest first."""
    if isinstance(coverages, str) or not np.iterable(coverages):
        raise TypeError(f"coverages must be a sequence of numbers in (0, 1), got {coverages!r}.")
    found = [
        check_real("coverages", each, 0.0, 1.0, open_low=True, open_high=True) for each in coverages
    ]
    return sorted(found, reverse=True)


def _levels(coverages: Sequence[float]) -> list[float]:
    """Levels of the quantiles, rising: lower ends of the bands, the median, upper ends."""
    lower = [(1 - each) / 2 for each in coverages]
    return [*lower, 0.5, *(1 - level for level in reversed(lower))]


def _refuse_background(background: Any) -> None:
    if background is not None:
        raise ValueError("background is shown by kind='scatter' only; pass None.")


def _observed(y: ArrayLike, shape: tuple[int | None, int], name: str = "y") -> Array:
    """Responses as floats (n, q), on the scale of draws."""
    array = check_numeric(name, y)
    flat = flat_rows(array)
    if flat.shape[1] != shape[1] or shape[0] not in (None, len(flat)):
        wanted = f"({shape[0] or 'N'}, {shape[1]})"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}.")
    return flat

"""ConditionalSampleDisplay: draws given x beside data, as a fan, a scatter plot or curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklsdm._validation import check_integer, check_numeric, check_real
from sklsdm.displays.base import Array, panel
from sklsdm.displays.conditional_kinds import (
    Names,
    curves,
    fan_over_rows,
    fan_over_x,
    observed_rows,
    plot_curves,
    plot_fan,
    plot_scatter,
    scatter,
)
from sklsdm.displays.conditions import condition_labels, first_rows
from sklsdm.forwarding import sample, unwrap
from sklsdm.randomness import RandomState

__all__ = ["ConditionalSampleDisplay"]

_MOST_CONDITIONS = 10  # of a scatter plot or of curves, by colours that can be told apart
_PLOTS = {"fan": plot_fan, "scatter": plot_scatter, "curves": plot_curves}


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
        if kind == "fan":
            _refuse_background(background)
            found = fan_over_x(estimator, X, y, _checked_coverages(coverages), names)
            return cls(kind, **found).plot(ax=ax)
        draws = sample(estimator, X, n_samples, random_state=random_state)
        return cls.from_predictions(
            y,
            draws,
            kind=kind,
            coverages=coverages,
            background=background,
            labels=condition_labels(X) if labels is None else labels,
            target_names=names,
            ax=ax,
        )

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
        if kind != "scatter":
            _refuse_background(background)
        widest_first = _checked_coverages(coverages)
        drawn = drawn.reshape(*drawn.shape[:2], -1).astype(np.float64)
        n, _, q = drawn.shape
        observed = None if y is None else observed_rows(y, (n, q))
        places = None if x is None else _checked_places(x, q if kind == "curves" else n)
        titles = None if target_names is None else [str(name) for name in target_names]
        if kind == "fan":
            found = fan_over_rows(drawn, observed, places, widest_first, titles)
            return cls(kind, **found).plot(ax=ax)
        conditions = _checked_labels(labels, n, kind)
        if kind == "scatter":
            found = scatter(drawn, observed, background, titles, conditions)
        else:
            found = curves(drawn, observed, places, widest_first, conditions)
        return cls(kind, **found).plot(ax=ax)

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
        _PLOTS[self.kind](self, ax)
        ax.set(xlabel=self.names.across, ylabel=self.names.up)
        self.ax_, self.figure_ = ax, ax.figure
        return self


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


def _checked_places(x: ArrayLike, wanted: int) -> Array:
    """Where the rows of a fan, or the outputs of curves, are plotted."""
    places = check_numeric("x", x).reshape(-1)
    if len(places) != wanted:
        raise ValueError(f"x must hold {wanted} values, got {len(places)}.")
    return places


def _checked_labels(labels: Sequence[Any] | None, n: int, kind: str) -> list[str]:
    """A name for each of n conditions, if colours can tell so many apart."""
    if n > _MOST_CONDITIONS:
        raise ValueError(
            f"X has {n} rows, but more than {_MOST_CONDITIONS} conditions cannot be told apart "
            f"in one picture (kind={kind!r}); pass a few rows of X and y, such as the first 3."
        )
    shown = [f"row {place}" for place in range(n)] if labels is None else list(labels)
    if len(shown) != n:
        raise ValueError(f"labels must name each of the {n} conditions, got {len(shown)}.")
    return [str(label) for label in shown]


def _refuse_background(background: Any) -> None:
    if background is not None:
        raise ValueError("background is shown by kind='scatter' only; pass None.")

"""CalibrationDisplay: coverage against nominal coverage, and ranks of responses among draws."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from sklsdm._validation import check_numeric
from sklsdm.diagnosis import Calibration, Diagnosis, calibration_of
from sklsdm.diagnosis.calibration import bins_of_ranks
from sklsdm.displays.base import Array, panels, text_colour
from sklsdm.forwarding import sample
from sklsdm.inputs.response_format import flat_rows
from sklsdm.randomness import RandomState, as_generator

__all__ = ["CalibrationDisplay"]

_MOST_LINES = 8  # one for each output; of more only their range is shown
_BAND = 0.95  # probability of the grey bands if the law is right


class CalibrationDisplay:
    """Are the probabilities right? Coverage against nominal, and ranks of y among its draws.

    Left: the share of responses inside the central interval of the draws, against the interval's
    nominal coverage; below the diagonal the draws are too narrow, above it too wide. Right: the
    histogram of the probability integral transforms (PIT), the share of draws below the response:
    flat if the law is right, high at the ends where draws are too narrow, high in the middle
    where they are too wide, sloped where they are biased. Grey bands hold what 95 % of right laws
    give, point by point.

    "whole response" ranks the mean distance of the whole response to its draws, and so sees
    dependence among outputs that are each right by themselves.

    Use :meth:`from_estimator`, :meth:`from_predictions` or :meth:`from_diagnosis`.

    Parameters
    ----------
    calibration : sklsdm.diagnosis.Calibration
        Ranks and coverages.

    Attributes
    ----------
    ax_ : ndarray of shape (2,) of matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds them.

    References
    ----------
    Gneiting, Balabdaoui & Raftery 2007, "Probabilistic forecasts, calibration and sharpness",
    JRSS B 69.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm import CalibrationDisplay
    >>> rng = np.random.default_rng(0)
    >>> display = CalibrationDisplay.from_predictions(
    ...     rng.normal(size=200), 0.5 * rng.normal(size=(200, 99)), random_state=0
    ... )
    >>> bool(display.calibration.coverage[-2, 0] < 0.8)  # nominal: .9
    True
    """

    ax_: Array
    figure_: Any

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        n_samples: int = 99,
        *,
        random_state: RandomState = 0,
        ax: Any = None,
    ) -> Self:
        """Draw for pairs that `fit` has not seen, and plot where their responses rank.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            Fitted, with draws by :func:`sklsdm.sample`.
        X, y : array-like
            Pairs that were not used in `fit`, better some hundreds.
        n_samples : int, default=99
            Draws for each row of X. The coverage of m draws is exact where (m + 1) times it is
            whole: 99 fits all that are plotted. All draws are held in memory.
        random_state : int, RandomState, Generator or None, default=0
            Seeds draws and the breaking of ties.
        ax : sequence of 2 matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        CalibrationDisplay

        Raises
        ------
        ValueError, TypeError
            As :func:`sklsdm.sample`, or y does not fit X.
        """
        random = as_generator(random_state)
        draws = sample(estimator, X, n_samples, random_state=random)
        return cls.from_predictions(y, draws, random_state=random, ax=ax)

    @classmethod
    def from_diagnosis(cls, diagnosis: Diagnosis, *, ax: Any = None) -> Self:
        """Plot the calibration that `est.diagnose(X, y)` has found.

        Parameters
        ----------
        diagnosis : sklsdm.diagnosis.Diagnosis
            What `diagnose` has returned.
        ax : sequence of 2 matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        CalibrationDisplay

        Raises
        ------
        TypeError
            This is no Diagnosis.
        """
        if not isinstance(diagnosis, Diagnosis):
            raise TypeError(
                f"diagnosis must be what est.diagnose(X, y) returns, got a "
                f"{type(diagnosis).__name__}."
            )
        return cls(diagnosis.calibration).plot(ax=ax)

    @classmethod
    def from_predictions(
        cls, y: ArrayLike, draws: ArrayLike, *, random_state: RandomState = 0, ax: Any = None
    ) -> Self:
        """Plot where responses rank among draws at hand, of any model.

        Parameters
        ----------
        y : array-like of shape (n, *y_shape)
            Responses.
        draws : array-like of shape (n, m, *y_shape)
            Independent draws for each.
        random_state : int, RandomState, Generator or None, default=0
            Seeds the breaking of ties.
        ax : sequence of 2 matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        CalibrationDisplay

        Raises
        ------
        ValueError, TypeError
            Shapes that do not fit, fewer than 2 responses or draws, or values that are not finite
            numbers.
        """
        target, drawn = check_numeric("y", y), check_numeric("draws", draws)
        fits = drawn.ndim == target.ndim + 1 and drawn.shape[2:] == target.shape[1:]
        if not fits or len(drawn) != len(target) or drawn.shape[1] < 2 or len(target) < 2:
            raise ValueError(
                f"y and draws must have shapes (n, *y_shape) and (n, m, *y_shape) with at least 2 "
                f"rows and 2 draws for each, got {target.shape} and {drawn.shape}."
            )
        rows = flat_rows(target)
        flat = drawn.reshape(*drawn.shape[:2], rows.shape[1])
        return cls(calibration_of(rows, flat, as_generator(random_state))).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot coverage and ranks.

        Parameters
        ----------
        ax : sequence of 2 matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        CalibrationDisplay
            This display, with `ax_` and `figure_`.
        """
        axes = panels(ax, 2)
        _plot_coverage(axes[0], self.calibration)
        _plot_ranks(axes[1], self.calibration)
        self.ax_, self.figure_ = axes, axes[0].figure
        return self


def _plot_coverage(ax: Any, found: Calibration) -> None:
    n, q = found.pit.shape
    grid, colour = np.linspace(0, 1, 101), text_colour()
    low, high = (binom.ppf((1 + side * _BAND) / 2, n, grid) / n for side in (-1, 1))
    ax.fill_between(grid, low, high, color=colour, alpha=0.12, linewidth=0)
    ax.plot(grid, grid, color=colour, linestyle=":", linewidth=1)
    ends, tops = np.zeros((1, q)), np.ones((1, q))
    levels = np.concatenate([[0], found.levels, [1]])
    coverage = np.concatenate([ends, found.coverage, tops])
    mean = coverage.mean(axis=1)
    label = "response" if q == 1 else f"mean of {q} outputs"
    ax.plot(levels, mean, marker="o", markersize=4, color="C0", label=label)
    if 1 < q <= _MOST_LINES:
        ax.plot(levels, coverage, color="C0", linewidth=0.8, alpha=0.5)
    elif q > _MOST_LINES:
        span = coverage.min(axis=1), coverage.max(axis=1)
        ax.fill_between(levels, *span, color="C0", alpha=0.2, linewidth=0, label="their range")
    if q > 1:
        joint = np.concatenate([[0], found.joint_coverage, [1]])
        ax.plot(levels, joint, marker="s", markersize=4, color="C1", label="whole response")
    ax.set(
        title="Coverage",
        xlabel="nominal coverage",
        ylabel="share of responses inside",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    ax.legend(loc="upper left")


def _plot_ranks(ax: Any, found: Calibration) -> None:
    n, q = found.pit.shape
    n_bins = bins_of_ranks(n)
    colour, edges = text_colour(), np.linspace(0, 1, n_bins + 1)
    low, high = (binom.ppf((1 + side * _BAND) / 2, n, 1 / n_bins) * n_bins / n for side in (-1, 1))
    ax.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
    ax.axhline(1, color=colour, linestyle=":", linewidth=1)
    label = "response" if q == 1 else f"{q} outputs together"
    ax.hist(found.pit.ravel(), edges, density=True, color="C0", alpha=0.6, rwidth=0.92, label=label)
    if q > 1:
        ax.hist(
            found.joint_pit,
            edges,
            density=True,
            histtype="step",
            color="C1",
            linewidth=1.5,
            label="whole response",
        )
    ax.set(title="Rank of y among its draws", xlabel="PIT", ylabel="density", xlim=(0, 1))
    ax.set_ylim(0, 1.35 * ax.get_ylim()[1])  # room for the legend
    ax.legend(loc="upper left")

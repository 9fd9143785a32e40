"""LatentSpaceDisplay: the codes of real responses, and those that stage 2 generates."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import gaussian_kde
from sklearn.decomposition import PCA

from sklsdm._validation import check_integer, check_numeric
from sklsdm.displays.base import Array, one_fit, panel, text_colour
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.forwarding import unwrap
from sklsdm.generator import LSDMGenerator
from sklsdm.randomness import RandomState
from sklsdm.target_units import InTargetUnits

__all__ = ["LatentSpaceDisplay"]

_SHARES = (0.95, 0.75, 0.5, 0.25)  # of the generated codes inside each contour
_MOST_CODES = 2000  # from which densities are estimated
_BANDWIDTH = 0.7  # times Scott's rule, which smooths rings and separate groups away
_GRID = 120  # points of the density on a side
_MARGIN = 0.12  # around all codes, as a share of their range


class LatentSpaceDisplay:
    """Real codes in the plane as points, with contours of the generated ones.

    Codes of more than two dimensions are projected on the first two principal components of the
    real ones; one dimension is shown as two densities. The contours hold 25, 50, 75 and 95 % of
    the generated codes, by a kernel density estimate. Where they leave out points, draws will
    miss such responses; where they reach beyond, the decoder is asked for codes it has not seen.

    Use :meth:`from_estimator` or :meth:`from_codes`.

    Parameters
    ----------
    real, generated : ndarray of shape (n, d), (m, d)
        Projected codes, d = 1 or 2.
    names : sequence of d str
        Names of the axes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds it.

    References
    ----------
    Figure 4 of Chong & Feng 2026 (arXiv 2603.04223).

    Examples
    --------
    >>> from sklsdm import LatentSpaceDisplay, LSDMRegressor
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(100, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", random_state=0).set_params(matcher__max_steps=50)
    >>> display = LatentSpaceDisplay.from_estimator(est.fit(arms.X, arms.y), arms.X, arms.y)
    >>> display.real.shape, display.generated.shape
    ((100, 2), (1000, 2))
    """

    ax_: Any
    figure_: Any

    def __init__(self, real: Array, generated: Array, names: Any) -> None:
        self.real = real
        self.generated = generated
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        n_samples: int = 10,
        member: int = 0,
        random_state: RandomState = None,
        ax: Any = None,
    ) -> Self:
        """Encode responses, draw codes for the same conditions, and plot both.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            A fitted estimator of this package, or anything that wraps one. An LSDMGenerator has no
            conditions: pass its data as X, and no y.
        X : array-like of shape (n, ...)
            Conditions.
        y : array-like of shape (n, *y_shape)
            Their responses.
        n_samples : int, default=10
            Codes drawn for each row of X.
        member : int, default=0
            Which fit of a :class:`SamplingEnsemble` or :class:`LSDMRegressorCV` is shown: each has
            a latent space of its own.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        LatentSpaceDisplay

        Raises
        ------
        ValueError, TypeError
            Bad input, or no estimator of this package inside.
        """
        fit = one_fit(estimator, member)
        check_integer("n_samples", n_samples, 1)
        if isinstance(fit, LSDMGenerator):
            if y is not None:
                raise TypeError("An LSDMGenerator has no conditions; pass its data as X and no y.")
            real = fit.encode(X)
            generated = fit.sample_latent(n_samples * len(real), random_state=random_state)
            return cls.from_codes(real, generated, ax=ax)
        if y is None:
            raise ValueError("y is None; pass the responses that belong to X.")
        model, X = unwrap(estimator, X)
        if isinstance(model, InTargetUnits):
            y = model.transform(check_numeric("y", y))
            model = model.estimator
        if isinstance(model, SamplingEnsemble):
            model, X = unwrap(model.estimators_[member], X)
        generated = model.sample_latent(X, n_samples, random_state=random_state)
        return cls.from_codes(model.encode(y), generated, ax=ax)

    @classmethod
    def from_codes(cls, real: ArrayLike, generated: ArrayLike, *, ax: Any = None) -> Self:
        """Plot codes at hand.

        Parameters
        ----------
        real : array-like of shape (n, k)
            Codes of real responses, as `encode` returns them.
        generated : array-like of shape (m, k) or (n, m, k)
            Drawn codes, as `sample_latent` returns them.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        LatentSpaceDisplay

        Raises
        ------
        ValueError, TypeError
            Other shapes, or values that are not finite numbers.
        """
        codes, drawn = check_numeric("real", real), check_numeric("generated", generated)
        if codes.ndim != 2 or drawn.ndim not in (2, 3) or drawn.shape[-1] != codes.shape[1]:
            raise ValueError(
                f"real must have shape (n, k) and generated (m, k) or (n, m, k), got "
                f"{codes.shape} and {drawn.shape}."
            )
        codes = codes.astype(np.float64)
        drawn = drawn.reshape(-1, codes.shape[1]).astype(np.float64)
        width = codes.shape[1]
        if width <= 2 or len(codes) < 2:
            names = ["code"] if width == 1 else ["code 1", "code 2"]
            return cls(codes[:, :2], drawn[:, :2], names).plot(ax=ax)
        pca = PCA(2, random_state=0).fit(codes)
        names = [
            f"principal component {place} ({share:.0%})"
            for place, share in enumerate(pca.explained_variance_ratio_, 1)
        ]
        return cls(pca.transform(codes), pca.transform(drawn), names).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot the codes.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        LatentSpaceDisplay
            This display, with `ax_` and `figure_`.
        """
        ax = panel(ax)
        if self.real.shape[1] == 1:
            self._plot_line(ax)
        else:
            self._plot_plane(ax)
        ax.set_xlabel(self.names[0])
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _plot_line(self, ax: Any) -> None:
        together = np.concatenate([self.real, self.generated])
        edges = np.histogram_bin_edges(together, bins=min(50, max(10, len(self.real) // 10)))
        ax.hist(self.real[:, 0], edges, density=True, color=text_colour(), alpha=0.35, label="real")
        ax.hist(
            self.generated[:, 0],
            edges,
            density=True,
            histtype="step",
            linewidth=1.5,
            color="C0",
            label="generated",
        )
        ax.set_ylabel("density")

    def _plot_plane(self, ax: Any) -> None:
        ax.scatter(
            *self.real.T, s=9, color=text_colour(), alpha=0.45, linewidths=0, label="real", zorder=1
        )
        found = _density(self.generated, np.concatenate([self.real, self.generated]))
        if found is None:
            ax.scatter(*self.generated.T, s=9, color="C0", linewidths=0, label="generated")
        else:
            across, up, density, levels = found
            ax.contour(across, up, density, levels, colors="C0", linewidths=1.4, zorder=2)
            ax.plot([], [], color="C0", linewidth=1.4, label="generated: 25, 50, 75, 95 %")
        ax.set_ylabel(self.names[1])


def _density(codes: Array, shown: Array) -> tuple[Array, Array, Array, Array] | None:
    """Density of codes (m, 2) on a grid over all that is shown, and the levels of its contours.

    None where the codes lie on a line or are one point, which have no density in the plane.
    """
    some = codes[np.linspace(0, len(codes) - 1, min(len(codes), _MOST_CODES)).astype(int)]
    if np.linalg.matrix_rank(some - some.mean(axis=0)) < 2:
        return None
    kernel = gaussian_kde(some.T, lambda found: _BANDWIDTH * found.scotts_factor())
    at_codes = kernel(some.T)
    levels = np.unique(np.quantile(at_codes, [1 - share for share in _SHARES]))
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = _MARGIN * (high - low)
    across, up = (
        np.linspace(start, stop, _GRID)
        for start, stop in zip(low - margin, high + margin, strict=True)
    )
    points = np.stack(np.meshgrid(across, up)).reshape(2, -1)
    return across, up, kernel(points).reshape(_GRID, _GRID), levels

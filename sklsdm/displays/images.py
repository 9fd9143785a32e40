"""ImageGridDisplay: drawn images by condition."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklsdm._validation import check_flag, check_integer, check_numeric, check_real
from sklsdm.blocks import row_slices
from sklsdm.displays.base import Array, check_axes, import_pyplot, sheet_grey
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.forwarding import inner, unwrap
from sklsdm.generator import LSDMGenerator
from sklsdm.randomness import RandomState

__all__ = ["ImageGridDisplay"]

Range = tuple[float, float]

_TILE_PIXELS = 48  # small images are magnified to about so many pixels, so that gaps are thin
_GAP, _WIDE_GAP = 0.06, 0.35  # between images, and between groups, as shares of an image's side
_TILE_INCHES, _MOST_INCHES = 0.55, 16.0  # an image, and a figure's width
_LETTER_INCHES, _LINE_INCHES, _SHORTEST_LINE = 0.085, 0.22, 13  # of titles and labels


class ImageGridDisplay:
    """Images by condition: one row a condition, and groups of columns with a title each.

    Use :meth:`from_estimator` for draws of an estimator, beside real images, their reconstructions
    and the nearest training images, or :meth:`from_images` for images at hand. The constructor
    takes what is ready to be shown.

    Parameters
    ----------
    images : dict of str to ndarray of shape (n_conditions, k, h, w) or (n_conditions, k, h, w, 3)
        Each group's title and images, grey or colour, as floats in [0, 1].
    labels : sequence of str, optional
        Label of each row. None labels none.

    Attributes
    ----------
    images_ : dict of str to ndarray
        The images as they are shown, by title.
    ax_ : matplotlib Axes
        What was plotted on.
    figure_ : matplotlib Figure
        The figure that holds it.

    Notes
    -----
    Draws are as sharp as reconstructions, and a draw that equals its nearest training image is
    a copy: show both groups before believing a good-looking one.

    Examples
    --------
    >>> import numpy as np
    >>> from sklsdm import ImageGridDisplay, LSDMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = np.eye(2)[rng.integers(2, size=60)]
    >>> y = rng.integers(100, 256, size=(60, 6, 5), dtype=np.uint8)
    >>> est = LSDMRegressor(2, "energy", autoencoder="pca", random_state=0)
    >>> est = est.set_params(matcher__max_steps=20).fit(X, y)
    >>> display = ImageGridDisplay.from_estimator(
    ...     est, np.eye(2), n_samples=3, nearest=y, labels=["left", "right"], random_state=0
    ... )
    >>> {title: images.shape for title, images in display.images_.items()}
    {'draws': (2, 3, 6, 5), 'nearest in training': (2, 3, 6, 5)}
    >>> display.figure_.savefig("draws.png")  # doctest: +SKIP
    """

    images_: dict[str, Array]
    ax_: Any
    figure_: Any

    def __init__(self, images: Mapping[str, Array], *, labels: Sequence[Any] | None = None) -> None:
        self.images = images
        self.labels = labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike | None = None,
        n_samples: int = 8,
        *,
        real: ArrayLike | None = None,
        reconstructions: bool = False,
        nearest: ArrayLike | None = None,
        y_range: tuple[float, float] | None = None,
        labels: Sequence[Any] | None = None,
        random_state: RandomState = None,
        ax: Any = None,
    ) -> Self:
        """Draw images for conditions, and plot them.

        Parameters
        ----------
        estimator : estimator, Pipeline or search
            Fitted to image responses, with draws by :func:`sklsdm.sample`; or a fitted
            LSDMGenerator.
        X : array-like of shape (n_conditions, ...), optional
            Conditions, one row of the picture each. None for an LSDMGenerator, which has no
            conditions: its draws are one row, and `real` has shape (1, k, ...).
        n_samples : int, default=8
            Draws for each condition.
        real : array-like of shape (n_conditions, k, *y_shape), optional
            Real images of each condition, shown to the left of the draws.
        reconstructions : bool, default=False
            Also show the `real` images encoded and decoded: the floor of what can be drawn.
        nearest : array-like of shape (N, *y_shape), optional
            Training images. For each draw the nearest of them by Euclidean distance is shown, in
            the order of the draws. They are read in blocks of bounded size.
        y_range : pair of float, optional
            Values shown as black and as white; others are clipped. None takes the range that the
            estimator was fitted with. If it has none, it is (0, 1) where the training responses
            lie inside, else their smallest and largest value. uint8 images are scaled by 1/255.
        labels : sequence of n_conditions str, optional
            Label of each row. None numbers the conditions from 0.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        ImageGridDisplay

        Raises
        ------
        ValueError, TypeError
            The responses are no images of one or three channels, or arguments do not fit.
        """
        check_integer("n_samples", n_samples, 1)
        check_flag("reconstructions", reconstructions)
        model, draws = _drawn(estimator, X, n_samples, random_state)
        shape = draws.shape[2:]
        _check_image_shape("the response", shape)
        if reconstructions and real is None:
            raise ValueError(
                "reconstructions=True shows `real` images encoded and decoded, but real is None; "
                "pass real images of each condition, of shape (n_conditions, k, ...)."
            )
        span = _checked_range(y_range) or _range_of(model, draws)
        groups: dict[str, Array] = {}
        if real is not None:
            given = check_numeric("real", real)
            if given.shape != (len(draws), *given.shape[1:2], *shape) or given.shape[1] == 0:
                wanted = ", ".join(map(str, (len(draws), "k", *shape)))
                raise ValueError(
                    f"real must hold k images for each condition, of shape ({wanted}), got "
                    f"{given.shape}."
                )
            groups["real"] = _in_unit_range(given, span)
            if reconstructions:
                again = _reconstruct(model, given.reshape(-1, *shape)).reshape(given.shape)
                groups["reconstructed"] = _in_unit_range(again, span)
        groups["draws"] = _in_unit_range(draws, span)
        if nearest is not None:
            seen = check_numeric("nearest", nearest)
            if seen.shape[1:] != shape or len(seen) == 0:
                wanted = ", ".join(map(str, ("N", *shape)))
                raise ValueError(
                    f"nearest must hold training images of shape ({wanted}), like the responses, "
                    f"got {seen.shape}."
                )
            rows = _nearest_rows(groups["draws"].reshape(-1, *shape), seen, span)
            found = _in_unit_range(seen[rows], span)
            groups["nearest in training"] = found.reshape(draws.shape)
        if labels is None and X is not None:
            labels = range(len(draws))
        return cls.from_images(groups, labels=labels, ax=ax)

    @classmethod
    def from_images(
        cls,
        images: ArrayLike | Mapping[str, ArrayLike],
        *,
        y_range: tuple[float, float] = (0.0, 1.0),
        labels: Sequence[Any] | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot images at hand.

        Parameters
        ----------
        images : array-like of shape (n_conditions, k, h, w) or (n_conditions, k, c, h, w), or dict
            Images of each condition, with one or three channels. A dict has a group of columns
            for each title; the groups may differ in k and in size, as small inputs and large
            draws do: all are magnified to one height.
        y_range : pair of float, default=(0, 1)
            Values shown as black and as white; others are clipped. uint8 images are scaled by
            1/255 instead.
        labels : sequence of n_conditions str, optional
            Label of each row.
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure.

        Returns
        -------
        ImageGridDisplay

        Raises
        ------
        ValueError, TypeError
            These are no images of one or three channels, or the groups have other numbers of
            rows.
        """
        span = _checked_range(y_range)
        assert span is not None
        groups = dict(images) if isinstance(images, Mapping) else {"": images}
        if not groups:
            raise ValueError("images is an empty dict; pass at least one group of images.")
        shown: dict[str, Array] = {}
        for title, group in groups.items():
            name = f"images[{title!r}]" if isinstance(images, Mapping) else "images"
            array = check_numeric(name, group)
            if array.ndim not in (4, 5) or array.size == 0:
                raise ValueError(
                    f"{name} must have shape (n_conditions, k, h, w) or (n_conditions, k, c, h, "
                    f"w), got {array.shape}."
                )
            _check_image_shape(name, array.shape[2:])
            shown[str(title)] = _channels_last(_in_unit_range(array, span))
        return cls(shown, labels=labels).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> Self:
        """Plot all groups.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            What to plot on; None makes a figure of a fitting size.

        Returns
        -------
        ImageGridDisplay
            This display, with `ax_`, `figure_` and `images_`.

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        pyplot = import_pyplot()
        images = dict(self.images)
        n_rows = len(next(iter(images.values())))
        for title, group in images.items():
            if len(group) != n_rows:
                raise ValueError(
                    f"images[{title!r}] has {len(group)} rows, but the first group has {n_rows}; "
                    f"every group needs one row for each condition."
                )
        labels = None if self.labels is None else [str(label) for label in self.labels]
        if labels is not None and len(labels) != n_rows:
            raise ValueError(
                f"labels must give one label for each of the {n_rows} conditions, got "
                f"{len(labels)}."
            )
        canvas, rows, columns = _mount(list(images.values()))
        if ax is None:
            width, height = _figure_inches(images, labels or [], canvas.shape)
            figure, ax = pyplot.subplots(figsize=(width, height), layout="constrained")
        else:
            figure = check_axes(ax).figure
        ax.imshow(canvas, vmin=0, vmax=1, cmap="gray", interpolation="nearest")
        ax.xaxis.tick_top()
        titles = [_wrapped(title, group.shape[1]) for title, group in images.items()]
        ax.set_xticks(columns, titles)
        ax.set_yticks(rows if labels else [], labels or [])
        ax.tick_params(length=0, labelsize="medium")
        ax.spines[:].set_visible(False)
        self.images_, self.ax_, self.figure_ = images, ax, figure
        return self


# ---------------------------------------------------------------------------- checks and ranges
def _check_image_shape(name: str, shape: tuple[int, ...]) -> None:
    """Raise unless `shape` is that of a grey or colour image."""
    if len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3)):
        return
    if len(shape) == 3 and shape[2] in (1, 3):
        hint = "the channels seem to be last; move them first (numpy.moveaxis(images, -1, -3))"
    elif len(shape) == 3:
        hint = f"it has {shape[0]} channels; choose one or three of them"
    else:
        hint = "responses that are no images have no such display"
    raise ValueError(
        f"{name} must be an image of shape (h, w), (1, h, w) or (3, h, w), got {shape}: {hint}."
    )


def _drawn(
    estimator: Any, X: ArrayLike | None, n_samples: int, random_state: RandomState
) -> tuple[Any, Array]:
    """The estimator that draws, and its draws (n_conditions, n_samples, *y_shape)."""
    generator = inner(estimator)
    if isinstance(generator, LSDMGenerator):
        if X is not None:
            raise TypeError("LSDMGenerator draws without conditions; leave X away.")
        return generator, generator.sample(n_samples, random_state=random_state)[None]
    if X is None:
        raise ValueError("X is None; pass the conditions to draw images for.")
    model, X = unwrap(estimator, X)
    return model, model.sample(X, n_samples, random_state=random_state)


def _checked_range(y_range: Any) -> Range | None:
    """`y_range` as a pair of floats, low below high; None stays None."""
    if y_range is None:
        return None
    if isinstance(y_range, str) or not hasattr(y_range, "__len__") or len(y_range) != 2:
        raise TypeError(f"y_range must be a pair (low, high) of numbers, got {y_range!r}.")
    low, high = (check_real("y_range", end, -np.inf) for end in y_range)
    if low >= high:
        raise ValueError(f"y_range must have low < high, got {y_range!r}.")
    return low, high


def _range_of(model: Any, draws: Array) -> Range:
    """What is black and what is white for responses like those that `model` was fitted to."""
    single = inner(model.estimators_[0]) if isinstance(model, SamplingEnsemble) else model
    form = getattr(single, "_response_format_", None)
    if form is not None and form.range is not None:
        low, high = form.range[0].min(), form.range[1].max()
        if np.isfinite([low, high]).all():
            return float(low), float(high)
    kept = getattr(single, "_reference_", None)
    known = draws if kept is None else kept
    low, high = float(known.min()), float(known.max())
    if (low >= 0 and high <= 1) or low == high:
        return 0.0, 1.0
    return low, high


def _in_unit_range(images: Array, span: Range) -> NDArray[np.float32]:
    """Images as floats in [0, 1]: bytes by 1/255, others from `span`, clipped."""
    if images.dtype == np.uint8:
        return images.astype(np.float32) / np.float32(255)
    low, high = span
    return ((images.astype(np.float64) - low) / (high - low)).clip(0, 1).astype(np.float32)


def _reconstruct(model: Any, images: Array) -> Array:
    """Images (m, *shape) encoded and decoded by a fitted estimator."""
    if not hasattr(model, "reconstruct"):
        raise TypeError(
            f"reconstructions=True needs an estimator with `reconstruct`, which "
            f"{type(model).__name__} has not; pass reconstructions=False."
        )
    return model.reconstruct(images)


def _nearest_rows(draws: Array, seen: Array, span: Range) -> NDArray[np.intp]:
    """For each of `draws` (m, *shape) in [0, 1] the row of the nearest image of `seen`.

    The images are read in blocks.
    """
    flat = draws.reshape(len(draws), -1).astype(np.float64)
    least = np.full(len(flat), np.inf)
    rows = np.zeros(len(flat), dtype=np.intp)
    for block in row_slices(len(seen), 2 * max(flat.shape[1], len(flat))):
        part = _in_unit_range(np.asarray(seen[block]), span).astype(np.float64)
        part = part.reshape(len(part), -1)
        # The square of the draw itself is the same for all images.
        distances = np.square(part).sum(axis=1) - 2 * flat @ part.T
        best = distances.argmin(axis=1)
        found = distances[np.arange(len(flat)), best]
        nearer = found < least
        least[nearer], rows[nearer] = found[nearer], block.start + best[nearer]
    return rows


# ---------------------------------------------------------------------------- the picture
def _channels_last(images: Array) -> Array:
    """(..., h, w) or (..., c, h, w) as grey (..., h, w) or colour (..., h, w, 3)."""
    if images.ndim == 4:
        return images
    return images[:, :, 0] if images.shape[2] == 1 else np.moveaxis(images, 2, -1)


def _mount(groups: list[Array]) -> tuple[Array, list[float], list[float]]:
    """All groups on one sheet; the centres of its rows, and those of the groups.

    Every image is magnified to the height of the highest one, and small ones to `_TILE_PIXELS`.
    """
    most = max(group.shape[2] for group in groups)
    height = most * max(1, -(-_TILE_PIXELS // most))
    gap, wide = (max(1, round(share * height)) for share in (_GAP, _WIDE_GAP))
    groups = [_magnified(group, height) for group in groups]
    widths = [group.shape[1] * (group.shape[3] + gap) - gap for group in groups]
    n_rows, colour = len(groups[0]), any(group.ndim == 5 for group in groups)
    size = (n_rows * (height + gap) - gap, sum(widths) + wide * (len(groups) - 1))
    sheet = np.full((*size, 3) if colour else size, sheet_grey(), dtype=np.float32)
    left, centres = 0, []
    for group, width in zip(groups, widths, strict=True):
        for i, j in np.ndindex(*group.shape[:2]):
            top, start = i * (height + gap), left + j * (group.shape[3] + gap)
            place = sheet[top : top + height, start : start + group.shape[3]]
            tile = group[i, j]
            place[...] = tile[..., None] if place.ndim > tile.ndim else tile
        centres.append(left + (width - 1) / 2)
        left += width + wide
    return sheet, [i * (height + gap) + (height - 1) / 2 for i in range(n_rows)], centres


def _magnified(group: Array, height: int) -> Array:
    """A group (n, k, h, w, ...) with images of the given height, pixels repeated."""
    h, w = group.shape[2:4]
    width = max(1, round(w * height / h))
    return group[:, :, np.arange(height) * h // height][:, :, :, np.arange(width) * w // width]


def _wrapped(title: str, n_columns: int) -> str:
    """A title over several lines where its group is narrow."""
    return textwrap.fill(title, max(_SHORTEST_LINE, int(n_columns * _TILE_INCHES / _LETTER_INCHES)))


def _figure_inches(
    images: Mapping[str, Array], labels: Sequence[str], size: tuple[int, ...]
) -> tuple[float, float]:
    """A figure's width and height: every title has room above its group."""
    lines = {title: _wrapped(title, group.shape[1]).split("\n") for title, group in images.items()}
    room = max(
        _LETTER_INCHES * max(map(len, lines[title])) / (group.shape[1] + _WIDE_GAP)
        for title, group in images.items()
    )
    tile = max(_TILE_INCHES, room)
    margin = _LETTER_INCHES * max((len(label) for label in labels), default=0)
    high = max(group.shape[2] for group in images.values())
    high *= max(1, -(-_TILE_PIXELS // high))
    width = min(_MOST_INCHES, tile * size[1] / high + margin)
    n_lines = max(map(len, lines.values()))
    return width, (width - margin) * size[0] / size[1] + _LINE_INCHES * n_lines

"""Random small moves of images, and stronger changes that leave a class as it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sklsdm.noise import standard_uniform

__all__ = ["random_affine", "random_changes", "random_mirror"]

_ANGLE = 0.2  # radians, about 11 degrees
_SCALE = 0.1  # relative
_SHEAR = 0.1  # sideways, relative to the height
_SHIFT = 1 / 14  # of the side: two pixels of 28
_CONTRAST, _BRIGHTNESS = 0.4, 0.4  # relative, and in standard deviations of the pixels
_HIDDEN = 0.4  # of each side


def random_affine(
    rows: Tensor, image_shape: tuple[int, ...], strength: float, random: torch.Generator
) -> Tensor:
    """Turn, scale, shear and shift each image at random, by a little.

    At `strength` 1 the angle is at most 0.2 (11 degrees), the scale within 0.9 and 1.1 (the same
    for both sides), the shear at most 0.1 and the shift at most a fourteenth of each side, all
    uniform. Values between pixels are bilinear; what comes in from outside repeats the border.

    Parameters
    ----------
    rows : Tensor of shape (b, c * h * w)
        Images, flat.
    image_shape : tuple
        (c, h, w).
    strength : float
        Factor of all four ranges.
    random : torch.Generator
        On the device of `rows`.

    Returns
    -------
    Tensor of shape (b, c * h * w)
    """
    images = rows.view(-1, *image_shape)
    uniform = torch.rand((5, len(rows)), generator=random, dtype=rows.dtype, device=rows.device)
    angle, scale, shear, right, down = strength * (2 * uniform - 1)
    scale = 1 + _SCALE * scale
    cos, sin = scale * (_ANGLE * angle).cos(), scale * (_ANGLE * angle).sin()
    first = torch.stack([cos, _SHEAR * shear - sin, 2 * _SHIFT * right], dim=1)
    second = torch.stack([sin, cos, 2 * _SHIFT * down], dim=1)
    # The map sends places of the new image to places of the old, both in [-1, 1].
    grid = functional.affine_grid(
        torch.stack([first, second], dim=1).to(rows.dtype), list(images.shape), align_corners=False
    )
    moved = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return moved.reshape(rows.shape)


def random_changes(rows: Tensor, image_shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Move each image as :func:`random_affine`, change its light, and hide a part of it.

    Contrast changes by up to 40 %, brightness by up to .4, both uniform. A rectangle of .4 of each
    side, anywhere in the image, gets the value 0.

    Parameters
    ----------
    rows : Tensor of shape (b, c * h * w)
        Standardised images, flat.
    image_shape : tuple
        (c, h, w).
    random : torch.Generator
        On the device of `rows`.

    Returns
    -------
    Tensor of shape (b, c * h * w)
    """
    moved = random_affine(rows, image_shape, 1.0, random).view(-1, *image_shape)
    uniform = standard_uniform((4, len(rows), 1, 1, 1), random)
    contrast, brightness = 2 * uniform[:2] - 1
    lit = moved * (1 + _CONTRAST * contrast) + _BRIGHTNESS * brightness
    height, width = image_shape[-2:]
    hidden = _within(height, uniform[2]).unsqueeze(-1) & _within(width, uniform[3]).unsqueeze(-2)
    return lit.masked_fill(hidden, 0.0).reshape(rows.shape)


def random_mirror(rows: Tensor, image_shape: tuple[int, ...], random: torch.Generator) -> Tensor:
    """Swap left and right of each image with probability 1/2.

    Parameters
    ----------
    rows : Tensor of shape (b, c * h * w)
        Images, flat.
    image_shape : tuple
        (c, h, w).
    random : torch.Generator
        On the device of `rows`.

    Returns
    -------
    Tensor of shape (b, c * h * w)
    """
    images = rows.view(-1, *image_shape)
    swapped = standard_uniform((len(rows), 1, 1, 1), random) < 0.5
    return torch.where(swapped, images.flip(-1), images).reshape(rows.shape)


def _within(side: int, place: Tensor) -> Tensor:
    """Which pixels (b, 1, side) of a side are hidden, by places (b, 1, 1, 1) in [0, 1)."""
    length = max(1, round(_HIDDEN * side))
    start = (place * (side - length + 1)).floor().squeeze(-1)
    pixels = torch.arange(side, dtype=place.dtype, device=place.device)
    return (pixels >= start) & (pixels < start + length)

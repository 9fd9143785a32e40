"""Random small moves of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["random_affine"]

_ANGLE = 0.2  # radians, about 11 degrees
_SCALE = 0.1  # relative
_SHEAR = 0.1  # sideways, relative to the height
_SHIFT = 1 / 14  # of the side: two pixels of 28


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

"""Small squares of images, whose law tells of noise and of edges."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def random_patches(images: Tensor, size: int, count: int, random: np.random.Generator) -> Tensor:
    """Squares at random places of random images (n, c, h, w), less their means, (count, c size²).

    The mean of each channel is taken off, so that brightness does not count.
    """
    n_images, _, height, width = images.shape
    image = torch.from_numpy(random.integers(0, n_images, count))[:, None, None]
    across = torch.arange(size)
    rows = torch.from_numpy(random.integers(0, height - size + 1, count))[:, None, None]
    columns = torch.from_numpy(random.integers(0, width - size + 1, count))[:, None, None]
    found = images[image, :, rows + across[:, None], columns + across].movedim(-1, 1)
    return (found - found.mean(dim=(2, 3), keepdim=True)).flatten(1)


def neighbour_correlation(images: Tensor) -> float:
    """The mean correlation of pixels of images (n, c, h, w) with those beside and below them."""
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    variance = centred.square().mean()
    products = [centred.diff(dim=axis).square().mean() for axis in (2, 3) if images.shape[axis] > 1]
    if variance == 0 or not products:
        return 1.0
    return 1 - float(torch.stack(products).mean() / (2 * variance))

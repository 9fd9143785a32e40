"""Histograms of the directions of edges: what is seen of an image whatever its light."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["N_ORIENTATIONS", "N_PARTS", "oriented_gradients"]

N_ORIENTATIONS = 8
N_PARTS = 4 * N_ORIENTATIONS  # numbers of a cell: its histogram, by each of four blocks
_FAINT = 0.1  # added to the energy of a block's edges, so that faint ones stay small


def oriented_gradients(images: Tensor, cell: int) -> Tensor:
    """Histograms of oriented gradients, over cells of `cell` x `cell` pixels.

    A pixel's edge has the direction in which all channels together change most, up to its sign,
    and the size of that change; it counts for the two nearest of eight directions. Each histogram
    is divided by the size of the edges in the four blocks of 2 x 2 cells around it.

    Parameters
    ----------
    images : Tensor of shape (b, c, h, w)
        Standardised, as float32 or float64. The cells at the right and at the bottom may be cut.
    cell : int
        Side of a cell.

    Returns
    -------
    Tensor of shape (b, 32, ceil(h / cell), ceil(w / cell))
        It has no finite gradient in pixels around which an image is flat.

    References
    ----------
    Dalal & Triggs 2005, "Histograms of oriented gradients for human detection" (CVPR).
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    # With twice the angle, opposite directions are one, and channels add up.
    first = (across.square() - down.square()).sum(dim=1, keepdim=True)
    second = (2 * across * down).sum(dim=1, keepdim=True)
    size = (first.square() + second.square()).pow(0.25)
    place = torch.atan2(second, first) * (N_ORIENTATIONS / (2 * math.pi))
    bins = torch.arange(N_ORIENTATIONS, dtype=images.dtype, device=images.device)[:, None, None]
    half = N_ORIENTATIONS / 2
    apart = ((place - bins + half).remainder(N_ORIENTATIONS) - half).abs()
    found = functional.avg_pool2d(size * (1 - apart).clamp(min=0), cell, ceil_mode=True)
    energy = functional.pad(found.square().sum(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    block = (functional.avg_pool2d(energy, 2, 1) + _FAINT).sqrt()
    height, width = found.shape[2:]
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    parts = [found / block[..., i : i + height, j : j + width] for i, j in corners]
    return torch.cat(parts, dim=1)

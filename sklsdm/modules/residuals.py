"""Residuals of reconstructions, of which each draw takes that of a code near its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sklsdm.modules.packing import RebuildableModule


class Residuals(RebuildableModule):
    """Residuals (m, q) in groups, each with a center among the codes.

    A code belongs to the nearest center, where differences are divided by `spread` (k,). Normal
    noise chooses one of the residuals of its group, each with equal probability.
    """

    rows: Tensor  # (m, q), those of a group one after another
    centers: Tensor  # (c, k), in units of the spread
    spread: Tensor  # (k,)
    first: Tensor  # (c,), where a group begins
    count: Tensor  # (c,)

    def __init__(self, n_rows: int, width: int, n_groups: int, latent_dim: int) -> None:
        super().__init__()
        for name, shape, dtype in (
            ("rows", (n_rows, width), torch.float32),
            ("centers", (n_groups, latent_dim), torch.float32),
            ("spread", (latent_dim,), torch.float32),
            ("first", (n_groups,), torch.int64),
            ("count", (n_groups,), torch.int64),
        ):
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def forward(self, latent: Tensor, noise: Tensor) -> Tensor:
        """Residuals (n, q) for codes (n, k) and noise (n, 1) from N(0, 1)."""
        # Squared distances but for the code's own square, which is the same for all centers.
        apart = self.centers.square().sum(dim=1) - 2 * (latent / self.spread) @ self.centers.T
        group = apart.argmin(dim=1)
        share = 0.5 * (1 + torch.erf(noise[:, 0] / math.sqrt(2)))
        count = self.count[group]
        place = self.first[group] + torch.minimum((count * share).long(), count - 1)
        return self.rows[place.clamp(0, len(self.rows) - 1)]  # whatever a file says of the groups

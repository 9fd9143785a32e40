"""Random numbers as float32 on the device of their generator, whatever torch's defaults are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def standard_normal(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """Standard normal numbers."""
    return torch.randn(tuple(shape), generator=random, dtype=torch.float32, device=random.device)


def standard_uniform(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """Numbers that are uniform on [0, 1)."""
    return torch.rand(tuple(shape), generator=random, dtype=torch.float32, device=random.device)

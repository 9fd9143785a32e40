"""Arrays as tensors on a device, to which they are moved once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from numpy.typing import NDArray
from torch import Tensor

# By owner, for as long as it is in use.
_MOVED: WeakKeyDictionary[Any, dict[tuple[torch.dtype, torch.device], tuple[Tensor, ...]]] = (
    WeakKeyDictionary()
)


def moved_once(owner: Any, arrays: Sequence[NDArray[Any]], like: Tensor) -> tuple[Tensor, ...]:
    """The `arrays` in the dtype and on the device of `like`.

    They are always the same ones of their `owner`, which is known by its identity: a dataclass says
    ``eq=False`` for it.
    """
    known, kind = _MOVED.setdefault(owner, {}), (like.dtype, like.device)
    if kind not in known:
        known[kind] = tuple(
            torch.tensor(array, dtype=like.dtype, device=like.device) for array in arrays
        )
    return known[kind]

"""Operations for which the CPU waits until the GPU has done all that it was given before."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sklsdm.on_cpu import computes_on_cpu

# They return what lies on the device to the CPU, or have a result whose shape depends on it.
_WAITING = (
    "_linalg_check_errors",
    "_local_scalar_dense",  # item(), float(), bool(), and an index by one number on the device
    "_unique",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
)


class CountWaiting(TorchDispatchMode):
    """Context that counts, by name, the operations of this thread for which the CPU waits.

    Besides those of a fixed list these are indices by booleans and copies from one kind of device
    to another. On a CPU nobody waits for the former, but they are counted there, too. What the CPU
    computes in the midst of a step (`on_cpu`) is not counted: a recording is cut in two there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if computes_on_cpu():
            return operation(*args, **(kwargs or {}))
        name = operation.name().removeprefix("aten::").split(".")[0]
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name.rstrip("2") in _WAITING:
            self.found[name] += 1
        elif any(index is not None and index.dtype == torch.bool for index in indices):
            self.found["boolean index"] += 1
        results = operation(*args, **(kwargs or {}))
        if name in ("_to_copy", "copy_") and isinstance(results, Tensor):
            ends = {results.device.type, *(a.device.type for a in args if isinstance(a, Tensor))}
            if len(ends) > 1:
                self.found[f"copy between {' and '.join(sorted(ends))}"] += 1
        return results

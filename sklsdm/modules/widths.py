"""How many numbers the layers of a network give for one row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def widest_output(modules: Iterable[Any], call: Callable[[], object]) -> int:
    """Numbers in the largest output of any layer of `modules` while `call` runs.

    Members of `modules` that are no torch modules are skipped. If `call` runs on a single row,
    this tells how much memory each row of a batch takes.
    """
    sizes = [1]

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        parts = output if isinstance(output, tuple | list) else (output,)
        sizes.extend(part.numel() for part in parts if isinstance(part, Tensor))

    hooks = [
        layer.register_forward_hook(note)
        for module in modules
        if isinstance(module, nn.Module)
        for layer in module.modules()
    ]
    try:
        call()
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)

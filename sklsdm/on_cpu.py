"""What the CPU computes in the midst of a training step, such as an assignment by SciPy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

Function = Callable[[NDArray[Any]], NDArray[Any]]
Computation = Callable[[Function, Tensor, Tensor], None]  # fills the last with f(the other)


class _Thread(threading.local):
    computes = False  # whether this thread is within `compute_on_cpu`
    stand_in: Computation | None = None


_thread = _Thread()


def on_cpu(function: Function, value: Tensor, result: Tensor) -> Tensor:
    """Fill `result` with ``function(value)``, and return it; `function` takes and gives arrays.

    `value` is of no graph of autograd. A step of which such a computation is a part can still be
    recorded for a GPU, in two recordings with the computation between them (`nets.recording`). So
    the shape and dtype of the result are told beforehand, and `function` has no other input that
    changes from step to step.
    """
    (_thread.stand_in or compute_on_cpu)(function, value, result)
    return result


def compute_on_cpu(function: Function, value: Tensor, result: Tensor) -> None:
    """Fill `result` with ``function(value)``. The CPU waits until the GPU has `value`."""
    _thread.computes = True
    try:
        result.copy_(torch.from_numpy(function(value.cpu().numpy())))
    finally:
        _thread.computes = False


def computes_on_cpu() -> bool:
    """Whether this thread is within such a computation, for which a GPU may be waited for."""
    return _thread.computes


@contextmanager
def taken_over(stand_in: Computation) -> Iterator[None]:
    """Context in which `stand_in` gets the computations of this thread."""
    _thread.stand_in = stand_in
    try:
        yield
    finally:
        _thread.stand_in = None

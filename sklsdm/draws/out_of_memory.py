"""Work on batches of rows, in smaller ones where memory runs out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from sklsdm._validation import warn_user

Result = TypeVar("Result")

# How RuntimeErrors begin that PyTorch raises on devices without an error of their own for it, and
# the libraries below it.
_OUT_OF_MEMORY = re.compile(
    "out of memory|can't allocate memory|not enough memory|ALLOC_FAILED", re.IGNORECASE
)


def in_batches(
    n_rows: int, batch_size: int, work: Callable[[slice], Result]
) -> Iterator[tuple[slice, Result]]:
    """Call ``work(rows)`` for one batch of rows after another, and yield the rows and its result.

    If it runs out of memory, it is called again for half the batch, and all later batches are as
    small. The first time that this has helped, a warning says so. `work` must not have changed
    anything before it fails.

    Parameters
    ----------
    n_rows : int
        Number of rows in all.
    batch_size : int
        Rows in one batch, as long as memory suffices.
    work : callable
        Takes a slice of rows.

    Raises
    ------
    RuntimeError, MemoryError
        There is not enough memory for a single row, or `work` raised it for another reason.
    """
    asked = min(batch_size, n_rows)
    start, size, warned = 0, asked, False
    while start < n_rows:
        rows = slice(start, min(start + size, n_rows))
        try:
            result = work(rows)
        except (RuntimeError, MemoryError) as error:
            count = rows.stop - rows.start
            if count == 1 or not is_out_of_memory(error):
                raise
            size = count // 2
            continue  # here, so that the error no longer holds what was computed before it
        if size < asked and not warned:
            warned = True
            warn_user(
                f"Memory ran out for batches of {asked}; it suffices for {size}, and the "
                f"result is the same. Where batch_size can be set, batch_size={size} saves the "
                f"attempts."
            )
        yield rows, result
        start = rows.stop


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device, or of the machine, is used up."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))

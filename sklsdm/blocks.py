"""Work in blocks of bounded memory; the bound is one constant, in bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

BLOCK_BYTES = 32 * 2**20  # of one block in float64


def rows_per_block(numbers: int) -> int:
    """Rows of so many numbers each that make a block; at least one."""
    return max(1, BLOCK_BYTES // (8 * max(1, numbers)))


def row_slices(n_rows: int, numbers: int) -> Iterator[slice]:
    """Slices of ``range(n_rows)`` that are blocks, at so many numbers a row."""
    step = rows_per_block(numbers)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def row_blocks(array: Any) -> Iterator[slice]:
    """Slices over the first axis of an array that are blocks, once its numbers are float64."""
    return row_slices(len(array), math.prod(array.shape[1:]))

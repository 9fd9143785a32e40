"""Split work into blocks of bounded memory; `BLOCK_BYTES` is the bound."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

BLOCK_BYTES = 32 * 2**20  # size of one block if its values are float64


def rows_per_block(row_size: int) -> int:
    """Number of rows in a block where each row holds `row_size` values; at least one."""
    return max(1, BLOCK_BYTES // (8 * max(1, row_size)))


def row_slices(n_rows: int, row_size: int) -> Iterator[slice]:
    """Split ``range(n_rows)`` into blocks where each row holds `row_size` values."""
    step = rows_per_block(row_size)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def row_blocks(array: Any) -> Iterator[slice]:
    """Split the first axis of an array into blocks."""
    return row_slices(len(array), math.prod(array.shape[1:]))

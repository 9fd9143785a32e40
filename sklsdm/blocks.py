"""Rows of large data: blocks of bounded memory (`BLOCK_BYTES` is the bound), some of many rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


def spread_rows(n_rows: int, most: int) -> NDArray[np.intp]:
    """The numbers of all rows or, of more than `most`, of so many, in order.

    They are spread evenly, one at random in each of `most` parts of equal length (up to one row):
    neither sorted nor periodic rows are passed over. The same numbers come every time.
    """
    if n_rows <= most:
        return np.arange(n_rows)
    ends = np.arange(most + 1, dtype=np.intp) * n_rows // most
    return ends[:-1] + (np.random.default_rng(0).random(most) * np.diff(ends)).astype(np.intp)

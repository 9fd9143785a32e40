"""Rows of large data: blocks of bounded memory (`BLOCK_BYTES` is the bound), some of many rows.

Rows are compared by a hash of their bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 32 * 2**20  # size of one block if its values are float64
_MIX = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], dtype=np.uint64)  # of SplitMix64


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


def row_hashes(rows: NDArray[Any]) -> NDArray[np.uint64]:
    """A number for each row, shape (n,), equal for rows of equal bytes and hardly ever for others.

    The columns are mixed one by one, each with a number of its own (SplitMix64: Steele, Lea & Flood
    2014), and summed; two different rows have equal sums with a probability of 2^-64.
    """
    data = np.ascontiguousarray(rows).reshape(len(rows), math.prod(rows.shape[1:]))
    row_bytes = data.shape[1] * data.itemsize
    unit = next(size for size in (8, 4, 2, 1) if row_bytes % size == 0)
    words = data.view(f"u{unit}")
    own = np.random.default_rng(0).integers(2**64, size=words.shape[1], dtype=np.uint64)
    found = np.empty(len(words), dtype=np.uint64)
    for block in row_slices(len(words), words.shape[1]):
        mixed = words[block] + own
        for shift, factor in zip((30, 27), _MIX, strict=True):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= factor
        mixed ^= mixed >> np.uint64(31)
        found[block] = mixed.sum(axis=1)
    return found

"""Rows that stand for all, and rows that are compared."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklsdm.blocks import row_hashes, spread_rows


@pytest.mark.parametrize("n_rows", [0, 3, 5])
def test_few_rows_are_all_taken(n_rows):
    assert_array_equal(spread_rows(n_rows, 5), np.arange(n_rows))


@pytest.mark.parametrize(("n_rows", "most"), [(6, 5), (1000, 7), (100_000, 999)])
def test_many_rows_are_spread_without_a_rhythm(n_rows, most):
    found = spread_rows(n_rows, most)
    ends = np.arange(most + 1) * n_rows // most
    assert (ends[:-1] <= found).all()
    assert (found < ends[1:]).all()
    assert_array_equal(found, spread_rows(n_rows, most))
    if n_rows > 10 * most:
        assert len(np.unique(np.diff(found))) > 3


@pytest.mark.parametrize(
    ("dtype", "width"), [("f4", 1), ("f4", 7), ("f4", 8), ("f8", 3), ("u1", 5)]
)
def test_rows_have_equal_hashes_where_they_are_equal(dtype, width):
    rows = np.random.default_rng(0).integers(0, 3, (400, width)).astype(dtype)
    _, kinds = np.unique(rows, axis=0, return_inverse=True)
    hashes = row_hashes(rows)
    assert hashes.dtype == np.uint64
    assert_array_equal(hashes[:, None] == hashes, kinds.reshape(-1, 1) == kinds.reshape(-1))
    assert_array_equal(row_hashes(np.asfortranarray(rows)[::-1]), hashes[::-1])


def test_round_numbers_and_permuted_rows_have_different_hashes():
    """Floats such as 1, 2, 4 differ in a few high bits; sums of columns must not cancel."""
    values = np.array(np.meshgrid(*[2.0 ** np.arange(-8, 8)] * 4)).reshape(4, -1).T
    for dtype in ("f4", "f8"):
        assert len(np.unique(row_hashes(values.astype(dtype)))) == len(values)


def test_hashes_of_many_rows_do_not_hang_on_the_blocks(monkeypatch):
    rows = np.random.default_rng(0).normal(size=(300, 5))
    found = row_hashes(rows)
    monkeypatch.setattr("sklsdm.blocks.BLOCK_BYTES", 8 * 5 * 7)
    assert_array_equal(row_hashes(rows), found)

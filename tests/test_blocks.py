"""Rows that stand for all."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklsdm.blocks import spread_rows


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

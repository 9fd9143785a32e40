"""Columns of few values of conditions that responses tell."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sklsdm.fitting import few_values
from sklsdm.fitting.few_values import find_few_values
from sklsdm.fitting.kernel_regression import CrossFittedKernelRidge

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.choice(3, size=600, p=[0.6, 0.3, 0.1])
CONDITION = np.c_[np.eye(3)[LABELS], RANDOM.normal(size=600)].astype(np.float32)


def test_what_is_told_well_is_drawn_as_told():
    predicted = CONDITION + 0.1 * RANDOM.normal(size=CONDITION.shape)
    (found,) = find_few_values(CONDITION, predicted)
    assert_array_equal(found.columns, [0, 1, 2])
    drawn = found.draw(predicted, np.random.default_rng(1))
    assert (drawn == CONDITION[:, :3]).all(axis=1).mean() > 0.99


def test_what_is_not_told_is_drawn_as_often_as_it_occurs():
    predicted = np.tile(CONDITION.mean(axis=0), (6000, 1)).astype(np.float64)
    (found,) = find_few_values(CONDITION, predicted[:600])
    drawn = found.draw(predicted, np.random.default_rng(1))
    assert_array_equal(drawn.sum(axis=1), 1)
    assert drawn.mean(axis=0) == pytest.approx(CONDITION[:, :3].mean(axis=0), abs=0.03)


def test_what_is_told_vaguely_is_drawn_as_surely_as_it_is_right():
    predicted = CONDITION + 0.5 * RANDOM.normal(size=CONDITION.shape)
    (found,) = find_few_values(CONDITION, predicted)
    fresh = CONDITION + 0.5 * RANDOM.normal(size=CONDITION.shape)
    drawn = found.draw(fresh, np.random.default_rng(1))
    assert drawn.mean(axis=0) == pytest.approx(CONDITION[:, :3].mean(axis=0), abs=0.06)
    assert 0.6 < (drawn == CONDITION[:, :3]).all(axis=1).mean() < 0.95


def test_very_many_combinations_are_drawn_column_by_column(monkeypatch):
    monkeypatch.setattr(few_values, "_MOST_COMBINATIONS", 4)
    switches = RANDOM.integers(0, 2, size=(300, 3)).astype(np.float32)
    found = find_few_values(switches, switches.astype(np.float64))
    assert [each.columns.tolist() for each in found] == [[0], [1], [2]]
    assert find_few_values(CONDITION[:, 3:], CONDITION[:, 3:].astype(np.float64)) == []


def test_kernels_see_edges():
    """Stripes that lie or stand, of any phase: pixels alone tell less from thirty images."""
    angle = RANDOM.integers(0, 2, size=300)
    places = np.arange(16)
    wave = np.sin(places * 0.9 + RANDOM.uniform(0, 6, size=(300, 1)))
    flat = np.where(angle[:, None, None] == 0, wave[:, None, :], wave[:, :, None])
    noise = 0.3 * RANDOM.normal(size=(300, 16, 16))
    rows = (np.broadcast_to(flat, (300, 16, 16)) + noise).reshape(300, -1)
    target = angle[:, None].astype(float)

    def error(model):
        model.fit_predict(rows[:30], target[:30], 0, None)
        return np.square(model.predict(rows[30:]) - target[30:]).mean()

    assert error(CrossFittedKernelRidge((1, 16, 16))) < 0.5 * error(CrossFittedKernelRidge())

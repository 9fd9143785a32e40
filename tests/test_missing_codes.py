"""Numbers that stand for missing values are named before training."""

import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import plain_regressor

from sklsdm import LSDMGenerator
from sklsdm.inputs.extremes import warn_of_extremes

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(200, 2)), RANDOM.normal(size=(200, 2))


def coded(rows, code=-999.0, count=20):
    found = rows.copy()
    found[:count, 1] = code
    return found


@pytest.mark.parametrize("code", [-99.0, 99.0, -999.0, 999.0, -9999.0, 99999.0])
@pytest.mark.parametrize("name", ["X", "y", "Y_unpaired"])
def test_codes_are_named(name, code):
    message = rf"{name} holds {code:g} in 0.1 of its rows in column 1.*between -.* code for missing"
    with pytest.warns(UserWarning, match=message):
        warn_of_extremes({name: coded(Y, code)}, None)


@pytest.mark.parametrize(
    "rows",
    [
        Y,
        coded(Y, -998.0),
        coded(Y, 99.0, 2),
        coded(Y, 999.0, 1),
        coded(100 * Y, -99.0),  # among others
        coded(np.full((200, 2), 3.0), 99.0),  # of two values, one
        np.full((200, 2), 99.0),
        coded(RANDOM.uniform(0, 1000, (200, 2)), 999.0),
        coded(Y, np.nan),
        coded(Y, -999.0).reshape(200, 1, 2),  # images
    ],
)
def test_other_numbers_are_not(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_extremes(
            {"y": rows}, np.full(rows.size // len(rows) if rows.ndim == 2 else 1, 1e-9)
        )


def test_several_codes():
    """For different reasons, in several columns, beside another extreme value."""
    rows = coded(coded(Y), -998.0, 5)
    rows[:3, 0] = 98.0, 97.0, 99.0
    rows[7, 0] = 1e12
    with pytest.warns(UserWarning, match="holds") as caught:
        warn_of_extremes({"y": rows}, rows.std(axis=0))
    first, second = (str(warning.message) for warning in caught)
    assert "y holds -999 in 0.075 of its rows in column 1" in first
    assert "1e+12 in row 7, column 0" in second  # beside which 99 is not the largest number
    rows[7, 0] = 0.0
    with pytest.warns(UserWarning, match="holds") as caught:
        warn_of_extremes({"y": rows}, None)
    assert ["column 1" in str(each.message) for each in caught] == [True, False]
    assert "y holds 99 in 0.005 of its rows in column 0" in str(caught[1].message)


def test_a_single_row_with_a_clear_code():
    with pytest.warns(UserWarning, match="y holds -999 in 0.005 of its rows"):
        warn_of_extremes({"y": coded(Y, count=1)}, None)


def test_in_a_fit():
    est = plain_regressor(matcher="energy", random_state=0).set_params(matcher__max_steps=2)
    with pytest.warns(UserWarning, match="Y_unpaired holds -999 .*Leave these rows out\\."):
        est.fit(X, Y, coded(Y))
    table = pd.DataFrame(coded(X), columns=["age", "income"])
    with pytest.warns(UserWarning, match="X holds -999 .*column 'income'.*LSDMRegressor takes NaN"):
        est.fit(table, Y)
    with pytest.warns(UserWarning, match="X holds -999 .*Leave these rows out"):
        LSDMGenerator(matcher="energy").set_params(matcher__max_steps=2).fit(coded(Y))

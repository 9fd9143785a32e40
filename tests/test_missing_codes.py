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


def test_in_a_fit():
    est = plain_regressor(matcher="energy", random_state=0).set_params(matcher__max_steps=2)
    with pytest.warns(UserWarning, match="Y_unpaired holds -999 .*Leave these rows out\\."):
        est.fit(X, Y, coded(Y))
    table = pd.DataFrame(coded(X), columns=["age", "income"])
    with pytest.warns(UserWarning, match="X holds -999 .*column 'income'.*LSDMRegressor takes NaN"):
        est.fit(table, Y)
    with pytest.warns(UserWarning, match="X holds -999 .*Leave these rows out"):
        LSDMGenerator(matcher="energy").set_params(matcher__max_steps=2).fit(coded(Y))

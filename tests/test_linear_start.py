"""Ridge regression with the errors of pairs that it has not seen, and what few pairs draw by it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from sklsdm import LSDMRegressor
from sklsdm.matchers import linear_start
from sklsdm.matchers.linear_start import with_errors_of_new_pairs
from sklsdm.metrics import interval_coverage


def linear_law(n, p, seed, noise=1.0):
    """Conditions (n, p) and two responses (n, 2) that follow them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, p))
    y = x[:, :2] + 0.5 * x[:, 2:4] + noise * random.normal(size=(n, 2))
    return x, y


@pytest.mark.parametrize(("n", "p"), [(40, 6), (30, 45)], ids=["few columns", "many columns"])
def test_errors_are_those_of_a_regression_without_the_pair(n, p, monkeypatch):
    monkeypatch.setattr(linear_start, "_MOST_LEVERAGE", 1.0)
    x, y = linear_law(n, p, 0)
    found = with_errors_of_new_pairs(torch.tensor(x), torch.tensor(y)).numpy()
    seen = RidgeCV(alphas=linear_start._ALPHAS).fit(x, y)
    expected = y - cross_val_predict(Ridge(seen.alpha_), x, y, cv=LeaveOneOut())
    assert_allclose(found - seen.predict(x), expected, atol=1e-8)


def test_codes_of_many_pairs_hardly_change_and_those_without_conditions_not_at_all():
    x, y = map(torch.tensor, linear_law(5000, 4, 0))
    assert_allclose(with_errors_of_new_pairs(x, y), y, atol=0.02)
    assert_allclose(with_errors_of_new_pairs(x[:, :0], y), y, atol=1e-12)


def test_a_pair_that_decides_the_regression_alone_stays_in_reach():
    x = torch.zeros(30, 1)
    x[0] = 1e6
    y = torch.randn(30, 1, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(with_errors_of_new_pairs(x, y)).all()
    assert with_errors_of_new_pairs(x, y).abs().max() < 4 * y.abs().max()


@pytest.mark.parametrize("matcher", ["wgan", "diffusion", "mdn", "energy"])
def test_few_pairs_of_many_columns_draw_widely_enough(matcher):
    """Draws of 60 pairs with 25 columns are wrong by more than at these pairs, and say so."""
    x, y = linear_law(1060, 25, 2)
    est = LSDMRegressor(matcher=matcher, condition_encoder="flatten", random_state=0)
    est.fit(x[:60], y[:60])
    interval = est.predict_interval(x[60:], 0.9)
    assert interval_coverage(y[60:], interval) == pytest.approx(0.9, abs=0.05)

"""Draws and forecasts through TransformedTargetRegressor; unpaired responses in searches."""

import tracemalloc
import warnings

import numpy as np
import pytest
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressorCV, SamplingEnsemble, Unpaired, blocks, scorers

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning"),  # tiny fits
    pytest.mark.filterwarnings("ignore::sklsdm.DistributionShiftWarning"),
]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2))
AMOUNTS = np.exp(X[:, 0] + 0.3 * RNG.normal(size=60))
Y = np.exp(X + 0.3 * RNG.normal(size=X.shape))


def quick(**params):
    return plain_regressor(matcher="energy", random_state=0, **params).set_params(
        matcher__max_steps=10
    )


def of_logarithms(estimator=None):
    return TransformedTargetRegressor(estimator or quick(), func=np.log, inverse_func=np.exp)


# ---------------------------------------------------------------------------- target transformers
@pytest.mark.parametrize("y", [AMOUNTS, AMOUNTS[:, None], Y], ids=["1-D", "column", "two"])
def test_draws_and_quantiles_are_in_the_units_of_y(y):
    model = of_logarithms().fit(X, y)
    inside = model.regressor_
    draws = sklsdm.sample(model, X[:5], 3, random_state=1)
    assert draws.shape == (5, 3, *y.shape[1:])
    wanted = np.exp(inside.sample(X[:5], 3, random_state=1))
    assert_allclose(draws.ravel(), wanted.ravel())
    # A rising function leaves quantiles in place, up to interpolation between draws.
    found = sklsdm.predict_quantiles(model, X[:5], (0.1, 0.5, 0.9))
    assert found.shape == (5, 3, *y.shape[1:])
    wanted = np.exp(inside.predict_quantiles(X[:5], (0.1, 0.5, 0.9)))
    assert_allclose(found.ravel(), wanted.ravel(), rtol=1e-3)
    ends = sklsdm.predict_interval(model, X[:5], 0.8)
    assert_allclose(ends, sklsdm.predict_quantiles(model, X[:5], (0.1, 0.9)))
    # The mean of exponentials is above the exponential of the mean, which is what `predict` gives.
    assert (sklsdm.predict(model, X[:5]) > model.predict(X[:5])).all()
    assert_array_equal(
        sklsdm.sample_latent(model, X[:5], random_state=0),
        inside.sample_latent(X[:5], random_state=0),
    )


def test_out_is_filled():
    model = of_logarithms().fit(X, AMOUNTS)
    out = np.empty((4, 2))
    assert sklsdm.sample(model, X[:4], 2, random_state=0, out=out) is out
    assert_array_equal(out, sklsdm.sample(model, X[:4], 2, random_state=0))
    with pytest.raises(ValueError, match=r"float array of shape \(4, 3\)"):
        sklsdm.sample(model, X[:4], 3, out=out)


def test_out_is_checked_first_and_filled_in_place(monkeypatch):
    """It may be larger than memory: nothing of its size is made beside it."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2**20)
    model = of_logarithms().fit(X, AMOUNTS)
    out = np.empty((60, 20_000))
    tracemalloc.start()
    sklsdm.sample(model, X, 20_000, random_state=0, out=out)
    peak = tracemalloc.get_traced_memory()[1]
    with pytest.raises(ValueError, match=r"float array of shape \(60, 2\)"):
        sklsdm.sample(model, X, 2, out=out)
    tracemalloc.stop()
    assert peak < 0.7 * out.nbytes
    assert (out > 0).all()


def test_transformers_that_change_the_number_of_outputs():
    """Three outputs, fitted as two principal components."""
    y = np.column_stack([Y, Y.sum(axis=1)])
    model = TransformedTargetRegressor(quick(), transformer=PCA(2)).fit(X, y)
    draws = sklsdm.sample(model, X[:4], 6, random_state=0)
    assert draws.shape == (4, 6, 3)
    assert_allclose(draws[..., 2], draws[..., :2].sum(axis=-1), rtol=1e-5)  # as in the data
    assert sklsdm.predict_quantiles(model, X[:4]).shape == (4, 3, 3)


def test_draws_without_an_inverse_are_an_error_about_the_transformer():
    """Some draws of square roots are negative, which no amount has."""
    beyond = TransformedTargetRegressor(
        quick(), func=np.sqrt, inverse_func=lambda z: np.where(z < 0, np.nan, z**2)
    )
    model = beyond.fit(X, AMOUNTS)
    for function in (sklsdm.sample, sklsdm.predict_quantiles):
        with pytest.raises(ValueError, match=r"(?s)inverse of the target's .*not finite"):
            function(model, np.repeat(X, 200, axis=0))


def test_an_inverse_need_not_exist_at_zero():
    model = TransformedTargetRegressor(
        quick(), func=np.reciprocal, inverse_func=np.reciprocal, check_inverse=False
    ).fit(X, AMOUNTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sklsdm.sample(model, X[:5]).shape == (5, 1)


def test_an_out_too_narrow_for_the_units_of_y():
    model = TransformedTargetRegressor(
        quick(), func=lambda y: y / 1e6, inverse_func=lambda z: z * 1e6, check_inverse=False
    ).fit(X, 1e6 * AMOUNTS)
    with pytest.raises(ValueError, match="out has dtype float16, whose largest number"):
        sklsdm.sample(model, X, 4, out=np.empty((60, 4), np.float16))


@pytest.mark.parametrize("kind", ["pipeline inside", "pipeline around", "search", "ensemble"])
def test_nested(kind):
    model = {
        "pipeline inside": lambda: of_logarithms(make_pipeline(StandardScaler(), quick())),
        "pipeline around": lambda: make_pipeline(StandardScaler(), of_logarithms()),
        "search": lambda: GridSearchCV(
            of_logarithms(),
            {"regressor__matcher__max_steps": [5]},
            cv=2,
            scoring=scorers.neg_crps,
        ),
        "ensemble": lambda: of_logarithms(SamplingEnsemble(quick(), 2, random_state=0)),
    }[kind]().fit(X, AMOUNTS)
    draws = sklsdm.sample(model, X, 200, random_state=0)
    assert (draws > 0).all()
    quantiles = sklsdm.predict_quantiles(model, X)
    assert_allclose(quantiles[:, 1], np.median(draws, axis=1), rtol=0.5)


def test_diagnosis_and_what_has_no_answer():
    model = of_logarithms().fit(X[:30], AMOUNTS[:30])
    seen = []
    model.regressor_.diagnose = lambda X, y, *unpaired, **options: seen.extend((y, *unpaired))
    sklsdm.diagnose(model, X[30:], AMOUNTS[30:], Unpaired(AMOUNTS[:7]))
    assert_allclose(seen[0], np.log(AMOUNTS[30:]))  # as it was fitted
    assert_allclose(seen[1], np.log(AMOUNTS[:7]))
    with pytest.raises(TypeError, match="Conformal intervals are calibrated in the units"):
        sklsdm.predict_interval(model, X, conformal=True)
    ensemble = of_logarithms(SamplingEnsemble(quick(), 2, random_state=0)).fit(X, AMOUNTS)
    with pytest.raises(TypeError, match="SamplingEnsemble has no `sample_latent`"):
        sklsdm.sample_latent(ensemble, X)


def test_what_cannot_draw_is_named():
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(Y)
    for function in (sklsdm.sample, sklsdm.predict, sklsdm.sample_latent):
        with pytest.raises(TypeError, match="LSDMGenerator draws without conditions"):
            function(generator, X)
    plain = TransformedTargetRegressor(LinearRegression()).fit(X, Y)
    with pytest.raises(TypeError, match="LinearRegression cannot draw"):
        sklsdm.predict_quantiles(plain, X)


def test_codes_of_a_generator():
    generator = LSDMGenerator(matcher="energy").set_params(matcher__max_steps=5).fit(Y)
    codes = generator.sample_latent(6, random_state=3)
    assert codes.shape == (6, 2)
    assert_allclose(generator.decode(codes), generator.sample(6, random_state=3), rtol=1e-5)


# ---------------------------------------------------------------------------- searches
def _search(model, Y_unpaired, **params):
    search = GridSearchCV(model, {"matcher__max_steps": [5]}, cv=2, **params)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X, Y, Y_unpaired=Y_unpaired)
    return [w for w in caught if "as many rows as there are pairs" in str(w.message)]


def test_unpaired_responses_that_a_search_has_split_warn():
    (first, *_) = _search(quick(), Y)
    assert "(30)" in str(first.message)
    assert "Pass sklsdm.Unpaired(Y_unpaired)" in str(first.message)
    assert not _search(quick(), Unpaired(Y))
    assert not _search(quick(), Y[:50])  # of another length: nothing was split
    ensemble = SamplingEnsemble(quick(), n_estimators=1, random_state=0)
    with pytest.warns(UserWarning, match="as many rows as there are pairs"):
        cross_val_score(ensemble, X, Y, cv=2, params={"Y_unpaired": Y})


def test_the_length_of_a_path_is_no_number_of_responses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = "y" * (len(X) // 2 - len(".npy")) + ".npy"  # as long as there are pairs in a fold
    np.save(path, Y)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*as many rows as there are pairs")
        cross_val_score(quick(), X, Y, cv=2, params={"Y_unpaired": path})


def test_fits_of_our_own_do_not_warn():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*as many rows as there are pairs")
        quick().fit(X, Y, Y)
        search = LSDMRegressorCV(
            quick(), candidates={"matcher__max_steps": [5]}, cv=2, n_estimators=1
        )
        search.fit(X, Y, Y)


def test_names_of_our_scorers_tell_what_to_pass():
    search = LSDMRegressorCV(quick(), candidates={"matcher__max_steps": [5]}, scoring="neg_crps")
    with pytest.raises(ValueError, match=r"scoring=sklsdm\.scorers\.neg_crps"):
        search.fit(X, Y)


def test_a_search_without_refit_says_so():
    grid = {"matcher__max_steps": [5]}
    search = GridSearchCV(plain_regressor(matcher="energy"), grid, cv=2, refit=False).fit(X, Y)
    with pytest.raises(NotFittedError, match="GridSearchCV has refit=False"):
        sklsdm.sample(search, X)

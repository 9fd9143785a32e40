"""Data frames in, data frames out: names, row labels and long form, through every wrapper."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import LSDMRegressorCV, SamplingEnsemble, make_sampling_pipeline
from sklsdm.draws.drawing import Sampler

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning")  # tiny fits

RNG = np.random.default_rng(0)
X = pd.DataFrame(
    RNG.normal(size=(40, 2)), columns=["age", "dose"], index=[f"p{i}" for i in range(40)]
)
Y = pd.DataFrame(
    {"low": X["age"] + RNG.normal(size=40), "high": X["dose"] + 3 + RNG.normal(size=40)},
    index=X.index,
)
NEW = X.iloc[[5, 2, 9]]


def quick(**params):
    return plain_regressor(matcher="energy", random_state=0, **params).set_params(
        matcher__max_steps=10
    )


@pytest.fixture(scope="module")
def est():
    return quick().fit(X, Y)


def test_a_mean_has_the_rows_and_columns_of_the_data(est):
    frame = est.predict(NEW, as_frame=True)
    assert list(frame.columns) == ["low", "high"]
    assert list(frame.index) == ["p5", "p2", "p9"]
    assert_array_equal(frame.to_numpy(), est.predict(NEW))
    mean, std = est.predict(NEW, return_std=True, as_frame=True)
    assert_array_equal(mean, frame)
    assert_array_equal(std.to_numpy(), est.predict(NEW, return_std=True)[1])
    assert (frame - Y.loc[frame.index]).notna().all(axis=None)  # rows and columns are found


def test_draws_are_long(est):
    frame = est.sample(NEW, 4, random_state=0, as_frame=True)
    draws = est.sample(NEW, 4, random_state=0)
    assert list(frame.columns) == ["row", "draw", "low", "high"]
    assert frame["row"].tolist() == ["p5"] * 4 + ["p2"] * 4 + ["p9"] * 4
    assert frame["draw"].tolist() == [0, 1, 2, 3] * 3
    assert_array_equal(frame[["low", "high"]].to_numpy().reshape(3, 4, 2), draws)
    wide = frame.pivot(index="row", columns="draw", values="high")
    assert_array_equal(wide.loc["p2"], draws[1, :, 1])
    assert_allclose(frame.groupby("row")["low"].mean()["p9"], draws[2, :, 0].mean())


def test_quantiles_and_intervals_are_long(est):
    frame = est.predict_quantiles(NEW, (0.1, 0.9), as_frame=True)
    found = est.predict_quantiles(NEW, (0.1, 0.9))
    assert frame["quantile"].tolist() == [0.1, 0.9] * 3
    assert_array_equal(frame[["low", "high"]].to_numpy().reshape(3, 2, 2), found)
    frame = est.predict_interval(NEW, 0.8, as_frame=True)
    assert frame["bound"].tolist() == ["lower", "upper"] * 3
    assert frame["row"].tolist() == ["p5", "p5", "p2", "p2", "p9", "p9"]
    assert_allclose(frame[["low", "high"]].to_numpy().reshape(3, 2, 2), found)


def test_saved_ensembles_keep_the_names(tmp_path):
    ensemble = SamplingEnsemble(quick(), n_estimators=1, random_state=0).fit(X, Y)
    sklsdm.save(ensemble, tmp_path / "fit")
    frame = sklsdm.load(tmp_path / "fit").predict(NEW, as_frame=True)
    assert_array_equal(frame, ensemble.predict(NEW, as_frame=True))
    assert list(frame.columns) == ["low", "high"]


def test_conformal_intervals_as_a_frame():
    est = quick().fit(X.iloc[:20], Y.iloc[:20]).conformalize(X.iloc[20:], Y.iloc[20:])
    frame = est.predict_interval(NEW, 0.8, conformal=True, as_frame=True)
    wanted = est.predict_interval(NEW, 0.8, conformal=True)
    assert_array_equal(frame[["low", "high"]].to_numpy().reshape(3, 2, 2), wanted)


def test_polars_in_and_polars_out():
    est = quick().fit(pl.from_pandas(X), pl.from_pandas(Y))
    new = pl.from_pandas(NEW)
    frame = est.sample(new, 2, random_state=0, as_frame=True)
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == ["row", "draw", "low", "high"]
    assert frame["row"].to_list() == [0, 0, 1, 1, 2, 2]
    assert_array_equal(frame["high"], est.sample(new, 2, random_state=0)[:, :, 1].ravel())
    assert isinstance(est.predict(new, as_frame=True), pl.DataFrame)
    assert isinstance(est.predict(new, as_frame="pandas"), pd.DataFrame)
    assert isinstance(est.predict(NEW, as_frame="polars"), pl.DataFrame)


def test_arrays_get_numbered_names():
    est = quick().fit(X.to_numpy(), Y.to_numpy())
    assert list(est.predict(X.to_numpy()[:2], as_frame=True).columns) == ["y0", "y1"]
    est = quick().fit(X.to_numpy(), Y["low"].to_numpy())
    frame = est.sample(X.to_numpy()[:2], 3, as_frame=True)
    assert list(frame.columns) == ["row", "draw", "y"]
    assert frame["row"].tolist() == [0, 0, 0, 1, 1, 1]


# ---------------------------------------------------------------------------- wrappers
def _grid(model, **grid):
    return GridSearchCV(model, grid, cv=KFold(2))


WRAPPED = {
    "pipeline": lambda: make_pipeline(StandardScaler(), quick()),
    "sampling pipeline": lambda: make_sampling_pipeline(StandardScaler(), quick()),
    "search": lambda: _grid(quick(), matcher__max_steps=[10]),
    "search over a pipeline": lambda: _grid(
        make_pipeline(StandardScaler(), quick()), lsdmregressor__matcher__max_steps=[10]
    ),
    "ensemble": lambda: SamplingEnsemble(quick(), n_estimators=2, random_state=0),
    "our search": lambda: LSDMRegressorCV(
        quick(), candidates={"matcher__max_steps": [10]}, cv=2, n_estimators=2, random_state=0
    ),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_frames_and_forecasts_through_wrappers(kind):
    """Rows keep their labels, though the estimator inside sees arrays."""
    model = WRAPPED[kind]().fit(X, Y)
    inside, at = sklsdm.forwarding.unwrap(model, NEW)
    frame = sklsdm.sample(model, NEW, 3, random_state=1, as_frame=True)
    assert frame["row"].tolist() == list(NEW.index.repeat(3))
    wanted = inside.sample(at, 3, random_state=1)
    assert_array_equal(frame[["low", "high"]].to_numpy().reshape(3, 3, 2), wanted)
    for name in ("predict", "predict_quantiles", "predict_interval"):
        function, method = getattr(sklsdm, name), getattr(inside, name)
        assert_array_equal(function(model, NEW), method(at))
        frame = function(model, NEW, as_frame=True)
        assert list(frame.columns[-2:]) == ["low", "high"]
        assert_array_equal(frame[["low", "high"]].to_numpy().ravel(), method(at).ravel())
        if hasattr(model, name) and not isinstance(model, GridSearchCV):
            own = getattr(model, name)(NEW, as_frame=True)
            assert_array_equal(own[["low", "high"]], frame[["low", "high"]])
    assert list(sklsdm.predict(model, NEW, as_frame=True).index) == list(NEW.index)
    if "ensemble" in kind or kind == "our search":
        with pytest.raises(TypeError, match="has no single latent space"):
            sklsdm.sample_latent(model, NEW)
    else:
        codes = sklsdm.sample_latent(model, NEW, 2, random_state=0)
        assert_array_equal(codes, inside.sample_latent(at, 2, random_state=0))


# ---------------------------------------------------------------------------- errors
def test_what_cannot_be_a_frame_is_said_before_anything_is_drawn(est, monkeypatch):
    model = make_pipeline(StandardScaler(), quick()).fit(X, Y)
    ensemble = SamplingEnsemble(quick(), 2).fit(X, Y)
    monkeypatch.setattr(Sampler, "draw_latent", None)  # calling it would be a TypeError
    for each in (est, ensemble):
        for name in ("sample", "predict", "predict_quantiles", "predict_interval"):
            with pytest.raises(ValueError, match="as_frame must be True"):
                getattr(each, name)(NEW, as_frame="arrow")
    for function in (sklsdm.sample, sklsdm.predict, sklsdm.predict_quantiles):
        with pytest.raises(ValueError, match="as_frame must be True"):
            function(model, NEW, as_frame="arrow")


def test_what_cannot_be_a_frame(est):
    with pytest.raises(ValueError, match=r"as_frame must be True, False, 'pandas' or .*'arrow'"):
        est.predict(NEW, as_frame="arrow")
    images = quick(autoencoder="pca").set_params(latent_dim=2).fit(X, RNG.normal(size=(40, 4, 3)))
    with pytest.raises(ValueError, match=r"have shape \(n, 4, 3\); pass as_frame=False"):
        images.sample(NEW, as_frame=True)
    assert images.sample(NEW).shape == (3, 1, 4, 3)
    named = quick().fit(X, Y.rename(columns={"low": "draw"}))
    with pytest.raises(ValueError, match="a column 'draw', but a column of y has this name"):
        named.sample(NEW, as_frame=True)
    assert "draw" in named.predict(NEW, as_frame=True)


@pytest.mark.parametrize("kind", [np.ndarray.tolist, torch.tensor, lambda x: tuple(x.tolist())])
def test_rows_that_have_no_labels_are_counted(est, kind):
    """Lists have a method that is called index, as frames have an attribute."""
    rows = kind(NEW.to_numpy())
    with pytest.warns(UserWarning, match="feature names"):
        frame = est.sample(rows, 2, as_frame=True)
    assert frame["row"].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_transformed_target_gives_frames():
    y = np.exp(Y["low"])
    model = TransformedTargetRegressor(quick(), func=np.log, inverse_func=np.exp).fit(X, y)
    draws = sklsdm.sample(model, NEW, 2, random_state=0, as_frame=True)
    assert list(draws.columns) == ["row", "draw", "y"]
    assert_array_equal(draws["y"], sklsdm.sample(model, NEW, 2, random_state=0).ravel())
    quantiles = sklsdm.predict_quantiles(model, NEW, [0.5], as_frame=True)
    assert len(quantiles) == 3
    assert len(sklsdm.predict_interval(model, NEW, as_frame=True)) == 6

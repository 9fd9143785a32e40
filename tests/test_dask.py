"""Draws and searches with Dask: equal to each other whoever does the work, and however often."""

import os
import pickle
import signal
import time

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers import plain_regressor
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sklsdm
from sklsdm import LSDMGenerator, LSDMRegressorCV, SamplingEnsemble, Unpaired
from sklsdm.datasets import make_arms

da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

ARMS = make_arms(160, random_state=0)
X = np.random.default_rng(0).uniform(-1, 1, size=(3000, 2))
GRID = {"matcher__max_steps": [2, 20]}


def short(matcher="energy", **params):
    return plain_regressor(matcher=matcher, random_state=0).set_params(
        matcher__max_steps=20, **params
    )


@pytest.fixture(scope="module")
def est():
    return short().fit(ARMS.X, ARMS.y)


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def draw(model, conditions, n_samples=3, seed=1):
    return sklsdm.dask.sample(model, conditions, n_samples, random_state=seed)


# ---------------------------------------------------------------------------- draws
@pytest.mark.parametrize(
    "chunks", [(1000, 2), (777, 1), ((1, 3, 0, 1996, 1000), 2), (3000, 2)], ids=str
)
def test_draws_do_not_depend_on_the_chunks(est, chunks):
    whole = draw(est, da.from_array(X, chunks=X.shape)).compute()
    lazy = draw(est, da.from_array(X, chunks=chunks))
    assert lazy.shape == (3000, 3, 2)
    assert lazy.chunks[0] == da.from_array(X, chunks=chunks).chunks[0]
    assert lazy.dtype == whole.dtype == est.sample(X[:1]).dtype
    assert_array_equal(lazy.compute(), whole)
    assert_array_equal(lazy[1500:1510].compute(), whole[1500:1510])
    assert (draw(est, da.from_array(X), seed=2).compute() != whole).all()


def test_no_noise_comes_twice(est):
    same = da.from_array(np.tile(X[:1], (6000, 1)), chunks=(2500, 2))
    drawn = draw(est, same).compute().reshape(-1, 2)
    assert len(np.unique(drawn, axis=0)) == 18_000


@pytest.mark.parametrize("n_samples", [1, 5000])
def test_draws_follow_the_law_of_plain_ones(est, n_samples):
    conditions = X[:: 1 if n_samples == 1 else 1500]
    found = draw(est, da.from_array(conditions), n_samples).compute().reshape(-1, 2)
    plain = est.sample(conditions, n_samples, random_state=0).reshape(-1, 2)
    assert_array_equal(found.shape, plain.shape)
    np.testing.assert_allclose(found.mean(axis=0), plain.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(found.std(axis=0), plain.std(axis=0), rtol=0.1)


def test_lengths_may_be_unknown(est):
    whole = draw(est, da.from_array(X, chunks=X.shape)).compute()
    conditions = da.from_array(X, chunks=(800, 2))
    kept = draw(est, conditions[conditions[:, 0] > -2])
    assert np.isnan(kept.shape[0])
    assert_array_equal(kept.compute(), whole)
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=4)
    assert_array_equal(draw(est, frame).compute(), whole)


def test_frames_keep_their_columns(small_forests):
    frame = pd.DataFrame({"level": np.where(ARMS.X[:, 0] > 0, "high", "low"), "x": ARMS.X[:, 1]})
    est = short(condition_encoder="trees").fit(frame, ARMS.y)
    parts = dd.from_pandas(frame, npartitions=3)
    whole = draw(est, dd.from_pandas(frame, npartitions=1)).compute()
    assert_array_equal(draw(est, parts).compute(), whole)


def test_pipelines_searches_and_ensembles_draw(est):
    conditions = da.from_array(X[:600], chunks=(250, 2))
    ensemble = SamplingEnsemble(short(), n_estimators=2, random_state=0).fit(ARMS.X, ARMS.y)
    pipe = make_pipeline(StandardScaler(), short()).fit(ARMS.X, ARMS.y)
    search = GridSearchCV(short(), {"latent_dim": [2]}, cv=2).fit(ARMS.X, ARMS.y)
    units = TransformedTargetRegressor(short(), func=np.arcsinh, inverse_func=np.sinh)
    units = units.fit(ARMS.X, ARMS.y)
    for model in (ensemble, pipe, search, units):
        whole = draw(model, da.from_array(X[:600])).compute()
        assert_array_equal(draw(model, conditions).compute(), whole)


def test_images_are_drawn_as_images():
    y = np.random.default_rng(0).integers(0, 255, size=(40, 5, 4), dtype=np.uint8)
    est = short(autoencoder="pca", latent_dim=2).fit(X[:40], y)
    lazy = draw(est, da.from_array(X[:50], chunks=(20, 2)), n_samples=2)
    assert lazy.shape == lazy.compute().shape == (50, 2, 5, 4)
    assert lazy.dtype == lazy.compute().dtype == np.float32


def test_the_model_is_one_node_of_the_graph(est):
    graph = dict(draw(est, da.from_array(X, chunks=(100, 2))).__dask_graph__())
    size = len(pickle.dumps(est))
    heavy = [key for key, task in graph.items() if len(pickle.dumps(task)) > size / 2]
    assert len(graph) > 60
    assert len(heavy) == 1


def test_computing_again_draws_the_same(est):
    lazy = draw(est, da.from_array(X[:100]), seed=None)
    assert_array_equal(lazy.compute(), lazy.compute())


def test_bad_input_is_named(est):
    conditions = da.from_array(X[:100])
    with pytest.raises(TypeError, match=r"X must be a dask\.array\.Array or a dask.dataframe"):
        draw(est, X)
    with pytest.raises(TypeError, match="X must be a dask"):
        draw(est, dask.delayed(X))
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        draw(est, conditions, 0)
    with pytest.raises(NotFittedError):
        draw(short(), conditions)
    with pytest.raises(TypeError, match=r"model must be an LSDMRegressor .* got LSDMGenerator"):
        draw(LSDMGenerator(), conditions)
    with pytest.raises(ValueError, match="X has 1 features, but LSDMRegressor is expecting 2"):
        draw(est, conditions[:, :1]).compute()


# ---------------------------------------------------------------------------- searches
def search_with(path, workers):
    """Scores of a search here, and of the same search on the workers of a cluster."""
    unpaired = Unpaired(path)
    assert len(pickle.dumps(unpaired)) < 1000  # what a task takes along is the path alone
    search = GridSearchCV(short(), GRID, cv=2)
    here = clone(search).fit(ARMS.X, ARMS.y, Y_unpaired=unpaired)
    with joblib.parallel_config("dask", client=workers):
        there = clone(search).fit(ARMS.X, ARMS.y, Y_unpaired=unpaired)
    for name in ("mean_test_score", "std_test_score", "rank_test_score"):
        assert_array_equal(there.cv_results_[name], here.cv_results_[name])
    drawn = [s.best_estimator_.sample(X[:5], random_state=0) for s in (here, there)]
    assert_array_equal(*drawn)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "unpaired.npy", make_arms(500, random_state=1).y)
    return tmp_path / "unpaired.npy"


def test_a_search_by_dask_is_the_search_here(path):
    """The workers are threads of this process; the slow test below has processes."""
    with distributed.Client(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as workers:
        search_with(path, workers)


@pytest.mark.slow
def test_two_processes_and_one_that_dies(est, path):
    """A search is that of this process; draws are complete and equal though a worker is killed."""
    lazy = draw(est, da.from_array(np.tile(X, (20, 1)), chunks=(1000, 2)), n_samples=20)
    expected = lazy.compute()
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        search_with(path, client)
        before = client.run(os.getpid)
        future = client.compute(lazy)
        while sum(map(len, client.has_what().values())) < 4:
            time.sleep(0.01)
        os.kill(next(iter(before.values())), signal.SIGKILL)
        assert not future.done()
        assert_array_equal(future.result(timeout=120), expected)


def test_draws_are_those_of_the_fit_they_were_asked_of():
    est = short().fit(ARMS.X, ARMS.y)
    draws = sklsdm.dask.sample(est, da.from_array(X[:60], chunks=(30, 2)), 2, random_state=0)
    before = draws.compute(scheduler="synchronous")
    est.fit(ARMS.X, ARMS.y[:, 0])
    assert_array_equal(draws.compute(scheduler="synchronous"), before)


@pytest.mark.parametrize("model", [SamplingEnsemble, LSDMRegressorCV])
def test_unpaired_responses_are_computed_once_for_all_fits(model):
    computed = []

    def note(block):
        computed.append(len(block))
        return block

    lazy = da.from_array(ARMS.y, chunks=(len(ARMS.y), 2)).map_blocks(note, meta=ARMS.y[:0])
    params = {"candidates": {"matcher__max_steps": [1]}} if model is LSDMRegressorCV else {}
    fitted = model(short(), n_estimators=2, random_state=0, **params).fit(ARMS.X, ARMS.y, lazy)
    assert computed == [len(ARMS.y)]
    assert fitted.estimators_[0].n_unpaired_ == len(ARMS.y)

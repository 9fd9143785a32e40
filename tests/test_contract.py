"""One test per promise, over every matcher and every autoencoder in the tables."""

import copy
import functools
import io
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from helpers import ALL_MATCHERS, plain_regressor, shorten_epochs, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from torch.utils.data import Dataset

import sklsdm
from sklsdm import Unpaired
from sklsdm.autoencoders import AUTOENCODERS, base, trained
from sklsdm.batches import StreamedBatches
from sklsdm.matchers import MATCHERS

# (matcher, autoencoder): every row of either table, the other part being the cheapest.
PARTS = list(dict.fromkeys([(m, "auto") for m in MATCHERS] + [("energy", a) for a in AUTOENCODERS]))
PARTS_WITH_ENERGY = [parts for parts in PARTS if parts[0] == "energy"]
ALL_PARTS = pytest.mark.parametrize("parts", PARTS, ids="-".join)
# No pair is held out: the last state is kept. With so few steps the best one is often the start,
# and then nothing that is learnt would be tested.
TINY = {
    "matcher__max_steps": 5,
    "matcher__n_steps": 4,
    "autoencoder__max_epochs": 1,
    "validation_fraction": 0.0,
}
N_PAIRS, N_UNPAIRED = 60, 80


@pytest.fixture(scope="module", autouse=True)
def short_epochs():
    with pytest.MonkeyPatch.context() as patch:
        shorten_epochs(patch, 10)
        yield


def tiny(parts, **params):
    """An estimator with these parts that is fitted, and draws, in a fraction of a second."""
    matcher, autoencoder = parts
    est = plain_regressor(matcher=matcher, autoencoder=autoencoder, random_state=0)
    budget = {key: value for key, value in TINY.items() if key in est.get_params()}
    return est.set_params(**{**budget, **params})


def responses(condition, kind):
    """Responses of one kind whose law depends on the condition."""
    rng = np.random.default_rng(len(condition))
    signal = condition[:, :1] + 0.5 * rng.normal(size=(len(condition), 2))
    curves = signal @ rng.normal(size=(2, 18)) + 0.1 * rng.normal(size=(len(condition), 18))
    if kind == "number":
        return curves[:, 0]
    if kind == "column":
        return curves[:, :1]
    if kind == "integers":
        return np.rint(10 * curves[:, :3]).astype(int)
    if kind == "float32":
        return curves[:, :10].astype(np.float32)
    if kind == "images":
        return curves[:, :16].reshape(-1, 4, 4).astype(np.float32)
    if kind == "bytes":
        scaled = (curves - curves.min()) / np.ptp(curves)
        return (255 * scaled).astype(np.uint8).reshape(-1, 2, 3, 3)
    return curves[:, :10]


FOR_IMAGES = ("conv", "feature-map")


def usual(parts):
    """The kind of responses that these parts are tested on where one kind is enough."""
    return "images" if parts[1] in FOR_IMAGES else "vectors"


@functools.cache
def problem(kind="vectors"):
    """Pairs and unpaired responses (X, y, Y_unpaired)."""
    X = np.random.default_rng(0).normal(size=(N_PAIRS + N_UNPAIRED, 3))
    y = responses(X, kind)
    return X[:N_PAIRS], y[:N_PAIRS], y[N_PAIRS:]


@functools.cache
def fitted(parts, kind=None, random_state=0):
    """A fit shared by the tests of this file; they must not change it."""
    return tiny(parts, random_state=random_state).fit(*problem(kind or usual(parts)))


def draw(est, n_samples=3, **kwargs):
    return est.sample(problem()[0], n_samples, random_state=5, **kwargs)


# ------------------------------------------------------------------ what comes back
SHAPES = {
    "number": ((), np.float64),
    "column": ((1,), np.float64),
    "integers": ((3,), np.float64),
    "vectors": ((10,), np.float64),
    "float32": ((10,), np.float32),
    "images": ((4, 4), np.float32),
    "bytes": ((2, 3, 3), np.float32),
}


def shape_cases():
    """Every autoencoder with every kind of response; every matcher with two, slowly with all."""
    for parts in PARTS:
        for kind in ("images", "bytes") if parts[1] in FOR_IMAGES else SHAPES:
            often = parts in PARTS_WITH_ENERGY or kind in ("number", "vectors")
            marks = () if often else pytest.mark.slow
            yield pytest.param(parts, kind, marks=marks, id="-".join([*parts, kind]))


@pytest.mark.parametrize(("parts", "kind"), list(shape_cases()))
def test_shapes_and_dtypes(parts, kind):
    X, y, _ = problem(kind)
    shape, dtype = SHAPES[kind]
    est, few = fitted(parts, kind), X[:5]
    draws = est.sample(few, 3, random_state=0)
    assert draws.shape == (5, 3, *shape)
    assert draws.dtype == dtype
    assert np.isfinite(draws).all()
    if kind == "bytes":
        assert draws.min() >= 0
        assert draws.max() <= 1
    assert est.y_shape_ == shape
    for found, wanted in (
        (est.predict(few), (5, *shape)),
        (est.predict(few, return_std=True)[1], (5, *shape)),
        (est.predict_quantiles(few, [0.2, 0.5]), (5, 2, *shape)),
        (est.predict_interval(few), (5, 2, *shape)),
    ):
        assert found.shape == wanted
        assert found.dtype == np.float64
    codes = est.encode(y[:5])
    assert codes.shape == (5, est.latent_dim_)
    assert est.sample_latent(few, 3).shape == (5, 3, est.latent_dim_)
    assert codes.dtype == est.sample_latent(few).dtype == np.float32
    assert est.reconstruct(y[:5]).shape == (5, *shape)
    assert est.reconstruct(y[:5]).dtype == dtype
    assert isinstance(est.score(X, y), float)


@ALL_PARTS
def test_decoded_codes_are_the_draws(parts):
    est, X = fitted(parts), problem()[0]
    codes = est.sample_latent(X, 4, random_state=5)
    draws = draw(est, 4)
    if est.autoencoder_.decoder_noise_dim_:  # ... given the code, their means
        assert np.corrcoef(est.decode(codes).ravel(), draws.ravel())[0, 1] > 0.5
    else:
        assert_allclose(est.decode(codes), draws, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("encoder", ["auto", "flatten"])
@ALL_MATCHERS
def test_images_as_conditions(matcher, encoder):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, size=(40, 1, 9, 7), dtype=np.uint8)
    y = X.mean(axis=(1, 2, 3))
    budget = {"matcher__max_steps": 2}
    est = tiny((matcher, "auto"), condition_encoder=encoder, **budget).fit(X, y)
    assert est.sample(X[:4], 2).shape == (4, 2)
    n_scalars = sum(p.numel() for p in est.matcher_.network_.parameters())
    plain = tiny((matcher, "auto"), **budget).fit(X.reshape(40, -1), y)
    n_plain = sum(p.numel() for p in plain.matcher_.network_.parameters())
    assert (n_scalars == n_plain) == (encoder == "flatten")


# ------------------------------------------------------------------ randomness
@ALL_PARTS
def test_seeds(parts):
    """That equal seeds give equal fits is in the tests of threads, copies and clones below."""
    X = problem()[0]
    est = fitted(parts)
    first = draw(est)
    assert_array_equal(draw(est), first)
    assert (est.sample(X, 3, random_state=6) != first).any(axis=(1, 2)).all()
    assert (draw(fitted(parts, random_state=1)) != first).any()
    state = est.sample(X, 3, random_state=np.random.RandomState(5))
    assert_array_equal(est.sample(X, 3, random_state=np.random.RandomState(5)), state)


@ALL_PARTS
def test_draws_of_a_row_are_independent(parts):
    """The draws of one condition differ, and so do rows with equal conditions."""
    same = np.zeros((4, 3))
    draws = fitted(parts).sample(same, 5, random_state=0).reshape(20, -1)
    assert len(np.unique(draws, axis=0)) == 20
    forecast = fitted(parts).predict(same)
    assert_allclose(forecast, np.broadcast_to(forecast[:1], forecast.shape), atol=1e-5)


@ALL_MATCHERS
def test_no_seed_gives_new_draws_each_time(matcher):
    X, y, _ = problem()
    est = tiny((matcher, "auto"), random_state=None)
    assert (draw(est.fit(X, y)) != draw(est.fit(X, y))).any()
    assert (est.sample(X) != est.sample(X)).any()


def numpy_state():
    return np.random.get_state()[1].copy()  # noqa: NPY002


@ALL_PARTS
def test_global_state_is_left_alone(parts):
    X, y, Y_unpaired = problem(usual(parts))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        before = torch.get_rng_state(), numpy_state(), random.getstate()
        est = tiny(parts, random_state=None, validation_fraction=0.1).fit(X, y, Y_unpaired)
        est.sample(X)
        est.predict(X[:5])
        assert torch.get_num_threads() == 3
        assert_array_equal(torch.get_rng_state(), before[0])
        assert_array_equal(numpy_state(), before[1])
        assert random.getstate() == before[2]
    finally:
        torch.set_num_threads(threads)


@ALL_PARTS
def test_two_threads_fit_what_each_fits_alone(parts):
    X, y, Y_unpaired = problem(usual(parts))

    def fit_and_draw(seed):
        return draw(tiny(parts, random_state=seed).fit(X, y, Y_unpaired))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fit_and_draw, [0, 1])
    assert_array_equal(first, draw(fitted(parts)))
    assert_array_equal(second, draw(fitted(parts, random_state=1)))


# ------------------------------------------------------------------ rows and chunks
@ALL_PARTS
def test_forecasts_follow_the_order_of_rows(parts):
    est, X = fitted(parts), problem()[0][:12]
    order = np.random.default_rng(0).permutation(len(X))[:8]
    for method in (est.predict, est.predict_quantiles, est.predict_interval):
        assert_allclose(method(X[order]), method(X)[order], rtol=1e-4, atol=1e-5)


@ALL_PARTS
def test_chunks_do_not_change_the_draws(parts):
    """7 draws at once; with 4,800 draws, also across the noise's own blocks of 4,096."""
    est, X = fitted(parts), problem()[0]
    for n_samples, n_rows, batch_size in ((10, 5, 7), (80, 60, 3000)):
        whole = est.sample(X[:n_rows], n_samples, random_state=5)
        chunked = est.sample(X[:n_rows], n_samples, random_state=5, batch_size=batch_size)
        assert_allclose(chunked, whole, rtol=1e-4, atol=1e-5)


@ALL_PARTS
def test_out_is_filled(parts, tmp_path):
    est = fitted(parts)
    whole = draw(est)
    out = np.lib.format.open_memmap(tmp_path / "draws.npy", "w+", whole.dtype, whole.shape)
    assert draw(est, out=out) is out
    out.flush()
    assert_array_equal(np.load(tmp_path / "draws.npy"), whole)


# ------------------------------------------------------------------ copies
@ALL_PARTS
def test_copies_draw_the_same(parts, tmp_path):
    est = fitted(parts)
    joblib.dump(est, tmp_path / "est.joblib")
    sklsdm.save(est, tmp_path / "est.safetensors")
    copies = [
        sklsdm.load(tmp_path / "est.safetensors"),
        copy.deepcopy(est),
        joblib.load(tmp_path / "est.joblib"),
        pickle.loads(pickle.dumps(est)),
    ]
    X, y, _ = (part[:10] for part in problem(usual(parts)))
    draws, forecast, score = draw(est), est.predict(X), est.score(X, y)
    for found in copies:
        assert found.get_params().keys() == est.get_params().keys()
        assert repr(clone(found)) == repr(clone(est))
        assert_array_equal(draw(found), draws)
        assert_array_equal(found.predict(X), forecast)
        assert found.score(X, y) == score
    assert_array_equal(draw(found.fit(*problem(usual(parts)))), draws)


def test_another_process_draws_the_same(tmp_path):
    joblib.dump((problem()[0], [fitted(parts) for parts in PARTS]), tmp_path / "in.joblib")
    code = (
        "import joblib; X, fits = joblib.load('in.joblib');"
        "joblib.dump([est.sample(X, 3, random_state=5) for est in fits], 'out.joblib')"
    )
    where = {**os.environ, "PYTHONPATH": str(Path(sklsdm.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=where)
    for parts, found in zip(PARTS, joblib.load(tmp_path / "out.joblib"), strict=True):
        assert_array_equal(found, draw(fitted(parts)))


class TensorFinder(pickle.Pickler):
    """Counts the tensors that go into a pickle."""

    n_tensors = 0

    def reducer_override(self, obj):
        self.n_tensors += isinstance(obj, torch.Tensor)
        return NotImplemented


@ALL_PARTS
def test_pickles_hold_arrays_and_no_tensors(parts):
    finder = TensorFinder(io.BytesIO())
    finder.dump(fitted(parts))
    assert finder.n_tensors == 0
    finder.dump(torch.zeros(1))
    assert finder.n_tensors == 1


@ALL_PARTS
def test_a_fit_from_cuda_loads_without_it(parts, monkeypatch):
    moved = copy.deepcopy(fitted(parts))
    moved.device_ = "cuda"
    state = pickle.dumps(moved)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = pickle.loads(state)
    assert found.device_ == "cpu"
    assert_array_equal(draw(found), draw(fitted(parts)))


@ALL_PARTS
def test_clones_are_unfitted_and_fit_the_same(parts):
    est = fitted(parts)
    found = clone(est)
    assert not [name for name in vars(found) if name.endswith("_")]
    assert str(found.get_params()) == str(est.get_params())
    assert_array_equal(draw(found.fit(*problem(usual(parts)))), draw(est))


# ------------------------------------------------------------------ parameters
@ALL_PARTS
def test_nested_parameters_of_names_and_objects(parts):
    matcher, autoencoder = parts
    named = plain_regressor(matcher=matcher, autoencoder=autoencoder)
    built = plain_regressor(matcher=MATCHERS[matcher](), autoencoder=AUTOENCODERS[autoencoder]())
    assert named.get_params().keys() == built.get_params().keys()
    assert named.get_params(deep=False).keys() < named.get_params().keys()
    for est in (named, built):
        n_seen = est.get_params()["matcher__max_steps"]
        est.set_params(matcher__max_steps=7)
        assert n_seen != 7
        assert type(est.matcher) is MATCHERS[matcher]
        assert est.matcher.max_steps == est.get_params()["matcher__max_steps"] == 7
        assert clone(est).matcher.max_steps == 7
        assert clone(est).matcher is not est.matcher
    other = "wgan" if matcher == "energy" else "energy"
    named.set_params(matcher=other, matcher__max_steps=8)
    assert type(named.matcher) is MATCHERS[other]
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        named.set_params(matcher__nonsense=1)


@ALL_PARTS
def test_fit_leaves_the_parameters_alone(parts):
    est = tiny(parts, validation_fraction=0.1)
    before = {key: copy.deepcopy(value) for key, value in est.get_params().items()}
    est.fit(*problem(usual(parts)))
    assert str(est.get_params()) == str(before)
    assert est.matcher_ is not est.matcher
    assert not hasattr(est.matcher, "network_")


# ------------------------------------------------------------------ unpaired responses
@ALL_MATCHERS
def test_uses_of_unpaired_responses(matcher):
    X, y, Y_unpaired = problem()
    X, y = X[:18], y[:18]  # too few to hold any out: the last state is kept, never the start
    found = {
        use: draw(tiny((matcher, "pca"), unpaired=use).fit(X, y, Y_unpaired))
        for use in ("latent", "match", "pair")
    }
    assert (found["latent"] != found["match"]).any()
    assert (found["match"] != found["pair"]).any()
    assert (found["latent"] != found["pair"]).any()
    alone = draw(tiny((matcher, "pca"), unpaired="match").fit(X, y))
    assert_array_equal(alone, draw(tiny((matcher, "pca"), unpaired="latent").fit(X, y)))
    assert (alone != found["latent"]).any()  # stage 1 used them


class Rows(Dataset):
    """A map-style Dataset of responses, alone or leading a tuple."""

    def __init__(self, values, labelled):
        self.values = values
        self.labelled = labelled

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        row = torch.from_numpy(self.values[index])
        return (row, 0) if self.labelled else row


def homes_of(Y_unpaired, folder):
    """The same unpaired responses in other forms than an array in memory."""
    np.save(folder / "responses.npy", Y_unpaired)
    mapped = np.load(folder / "responses.npy", mmap_mode="r")
    return {
        "Dataset, unpaired": Unpaired(Rows(Y_unpaired, labelled=False)),
        "memory map": mapped,
        "tensor": torch.from_numpy(Y_unpaired),
        "Dataset of tuples": Rows(Y_unpaired, labelled=True),
        "memory map, unpaired": Unpaired(mapped),
    }


def same_draws_from(homes, parts):
    X, y, _ = problem("images")
    for home in homes:
        est = tiny(parts).fit(X, y, home)
        assert est.n_unpaired_ == N_UNPAIRED
        assert_array_equal(draw(est), draw(fitted(parts, "images")))


def test_homes_of_unpaired_responses(tmp_path):
    same_draws_from(homes_of(problem("images")[2], tmp_path).values(), ("energy", "auto"))


@ALL_PARTS
def test_unpaired_responses_from_a_dataset(parts, tmp_path):
    homes = homes_of(problem("images")[2], tmp_path)
    same_draws_from([homes["Dataset, unpaired"]], parts)


@pytest.mark.slow
@ALL_PARTS
def test_homes_of_unpaired_responses_with_every_part(parts, tmp_path):
    same_draws_from(homes_of(problem("images")[2], tmp_path).values(), parts)


@pytest.mark.parametrize(
    "autoencoder", slow_but(set(AUTOENCODERS) - {"dpa", "feature-map", "vae"}, list(AUTOENCODERS))
)
def test_streamed_responses(autoencoder, monkeypatch):
    """What is too large for the device is streamed in blocks, and is learnt about as well."""
    X = np.random.default_rng(1).normal(size=(1200, 3))
    parts = ("energy", autoencoder)
    y = responses(X, usual(parts))
    pairs = (X[:N_PAIRS], y[:N_PAIRS], y[N_PAIRS:])
    params = {"latent_dim": {"identity": 10, "feature-map": 4 * 2 * 2}.get(autoencoder, 3)}
    if autoencoder not in ("pca", "identity"):
        # Codes that are images start from no components.
        params["autoencoder__max_epochs"] = 20 if autoencoder == "feature-map" else 12
    resident = tiny(parts, **params).fit(*pairs)
    monkeypatch.setattr(trained, "resident_limit", lambda device: 0)
    monkeypatch.setattr(base, "_WHOLE_BYTES", 16_000)
    read = []

    class Blocks(StreamedBatches):
        def __init__(self, *args):
            super().__init__(*args, block_rows=256)
            read.append(len(self))

    monkeypatch.setattr(trained, "StreamedBatches", Blocks)
    streamed = tiny(parts, **params).fit(*pairs)
    assert bool(read) == (autoencoder not in ("pca", "identity"))
    errors = [np.square(est.reconstruct(y) - y).mean() for est in (resident, streamed)]
    assert errors[1] < 1.25 * errors[0] + 1e-9
    assert np.isfinite(draw(streamed)).all()


# ------------------------------------------------------------------ devices
@pytest.mark.gpu
@ALL_PARTS
def test_fits_on_cuda_move_to_the_cpu(parts, tmp_path, monkeypatch):
    X = problem()[0]
    est = tiny(parts, device="cuda").fit(*problem(usual(parts)))
    assert est.device_.startswith("cuda")
    assert {p.device.type for p in est.matcher_.network_.parameters()} == {"cuda"}
    assert_array_equal(draw(est), draw(tiny(parts, device="cuda").fit(*problem(usual(parts)))))
    same = pickle.loads(pickle.dumps(est))
    assert_array_equal(draw(same), draw(est))
    state, path, forecast = pickle.dumps(est), tmp_path / "est.safetensors", est.predict(X)
    sklsdm.save(est, path)
    assert_array_equal(draw(sklsdm.load(path)), draw(est))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for moved in (pickle.loads(state), sklsdm.load(path)):
        assert moved.device_ == "cpu"
        assert_allclose(moved.predict(X), forecast, rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
def test_auto_takes_cuda():
    assert tiny(("wgan", "auto"), device="auto").fit(*problem()).device_.startswith("cuda")

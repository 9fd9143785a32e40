"""`save` and `load`: what comes back, and what is refused by name."""

import os
import pickle
import stat
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors
import safetensors.numpy
import sklearn
import skops.io
import torch
from helpers import plain_regressor, slow_but
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, FastICA, TruncatedSVD
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from skorch.callbacks import LRScheduler
from torch import nn

import sklsdm
from sklsdm import (
    LSDMGenerator,
    LSDMRegressor,
    LSDMRegressorCV,
    SamplingEnsemble,
    make_sampling_pipeline,
    scorers,
)
from sklsdm.autoencoders import AUTOENCODERS, TorchAutoencoder
from sklsdm.matchers import MATCHERS, EnergyMatcher, MDNMatcher
from sklsdm.modules import RebuildableModule
from sklsdm.saving import classes

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklsdm.NotImprovedWarning"),
    pytest.mark.usefixtures("small_forests_everywhere"),
]

DATA = Path(__file__).parent / "data"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
y = X[:, :1] + RNG.normal(size=(60, 6))
IMAGES = RNG.normal(size=(60, 1, 8, 8))
FRAME = pd.DataFrame(
    {"a": X[:, 0], "b": list("xyz") * 20, "c": [f"level {i % 40}" for i in range(60)]}
)


def tiny(**params):
    """An LSDMRegressor that is fitted in a moment."""
    est = plain_regressor(**{"matcher": "energy", "random_state": 0, **params})
    return est.set_params(matcher__max_steps=3, matcher__widths=[8])


def cv(**params):
    grid = {"matcher": ["energy", MDNMatcher(2)], "matcher__max_steps": [3]}
    return LSDMRegressorCV(tiny(), candidates=grid, n_estimators=2, random_state=0, **params)


def dense(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, 8), nn.ReLU(), nn.Linear(8, n_out)).eval()


def saved(est, tmp_path, **given):
    path = tmp_path / "est.safetensors"
    sklsdm.save(est, path)
    return sklsdm.load(path, **given)


def assert_same(found, est, X):
    """Equal draws, score and parameters, before and after another fit."""
    kwargs = {"n_samples": 3, "random_state": 1}
    draws, score = sklsdm.sample(est, X, **kwargs), est.score(X, y)
    for _ in range(2):
        assert_array_equal(sklsdm.sample(found, X, **kwargs), draws)
        assert_array_equal(found.predict(X[:5]), est.predict(X[:5]))
        assert found.score(X, y) == score
        assert repr(found.get_params()) == repr(est.get_params())
        assert repr(clone(found)) == repr(clone(est))
        found = found.fit(X, y)


# ------------------------------------------------------------------ what comes back
MODELS = {
    "trees": (lambda: tiny(condition_encoder="trees"), np.where(X > 1, np.nan, X)),
    "trees, categories": (lambda: tiny(condition_encoder="trees"), FRAME),
    "trees, principal components": (
        lambda: tiny(condition_encoder="trees").set_params(condition_encoder__n_components=2),
        X,
    ),
    "periodic": (
        lambda: tiny(condition_encoder="periodic").set_params(
            condition_encoder__frequencies=[2.0, 5.0]
        ),
        X,
    ),
    "conv": (lambda: tiny(condition_encoder="conv"), IMAGES),
    "names": (lambda: tiny(), FRAME[["a"]]),
    "range": (lambda: tiny(y_range=(-np.inf, np.full(6, 9.0))), X),
    "transformer": (lambda: tiny(autoencoder=FastICA(2, random_state=0)), X),
    "pipeline": (
        lambda: make_sampling_pipeline(
            SimpleImputer(),
            PowerTransformer(),
            QuantileTransformer(n_quantiles=9),
            RobustScaler(),
            MinMaxScaler(),
            MaxAbsScaler(),
            PCA(3),
            TruncatedSVD(2, random_state=0),
            tiny(),
        ),
        X,
    ),
    "categories in a pipeline": (
        lambda: make_pipeline(
            make_column_transformer(
                (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["b"]),
                (OneHotEncoder(max_categories=5, sparse_output=False), ["c"]),
                (OrdinalEncoder(), ["c"]),
                remainder="passthrough",
            ),
            tiny(),
        ),
        FRAME,
    ),
    "ensemble": (
        lambda: SamplingEnsemble(
            make_sampling_pipeline(StandardScaler(), tiny(condition_encoder="trees")),
            n_estimators=2,
            random_state=0,
        ),
        X,
    ),
    "search": (lambda: cv(cv=KFold(2), scoring=scorers.neg_crps), X),
}


@pytest.mark.parametrize("name", list(MODELS))
def test_what_is_loaded_is_what_was_saved(name, tmp_path, small_forests):
    make, conditions = MODELS[name]
    est = make().fit(conditions, y)
    assert_same(saved(est, tmp_path), est, conditions)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["flatten", "trees", "periodic", "lasso", "conv"])
@pytest.mark.parametrize("autoencoder", list(AUTOENCODERS))
@pytest.mark.parametrize("matcher", list(MATCHERS))
def test_every_combination(matcher, autoencoder, encoder, tmp_path, small_forests):
    """Every part by itself is in test_contract.py and above; here they meet."""
    conditions, images = IMAGES if encoder == "conv" else X, autoencoder in ("conv", "feature-map")
    responses = np.repeat(y, 6, axis=1).reshape(60, 6, 6) if images else y
    est = plain_regressor(
        matcher=matcher, autoencoder=autoencoder, condition_encoder=encoder, random_state=0
    )
    budget = {"matcher__max_steps": 2, "matcher__widths": [8], "autoencoder__max_epochs": 1}
    est.set_params(**{k: v for k, v in budget.items() if k in est.get_params()})
    est.fit(conditions, responses)
    found = saved(est, tmp_path)
    draws = est.sample(conditions, 2, random_state=1)
    assert_array_equal(found.sample(conditions, 2, random_state=1), draws)
    assert_array_equal(found.predict(conditions[:5]), est.predict(conditions[:5]))
    assert found.score(conditions, responses) == est.score(conditions, responses)
    assert repr(clone(found)) == repr(clone(est))


def test_generator(tmp_path):
    est = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=3).fit(y)
    found = saved(est, tmp_path)
    assert_array_equal(found.sample(9, random_state=1), est.sample(9, random_state=1))
    assert found.score(y) == est.score(y)


def test_unfitted(tmp_path):
    est = LSDMRegressor(7, matcher=MDNMatcher(3, lr=0.5), y_range=(0, None), device="cpu")
    assert repr(saved(est, tmp_path)) == repr(est)


def test_results_of_a_search(tmp_path):
    est = cv(cv=2).fit(X, y)
    found = saved(est, tmp_path)
    assert repr(found.best_params_) == repr(est.best_params_)
    assert repr(found.cv_results_) == repr(est.cv_results_)


def test_arrays_keep_their_kind(tmp_path):
    """Order in memory, dtype, text, objects, scalars, masks, NaN and infinities."""
    est = tiny().fit(X, y)
    values = {
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": np.float16([[1.5]]),
        "flags": np.array([True, False]),
        "empty": np.zeros((0, 3), dtype=np.int8),
        "single": np.array(3, dtype=np.uint64),
        "big-endian": np.arange(3, dtype=">i4"),
        "text": np.array([["a", "ünï"]]),
        "objects": np.array(["a", None, 1, 2.5, np.nan], dtype=object),
        "masked": np.ma.MaskedArray([1.0, 2.0], [True, False]),
        "scalars": (np.float32(0.1), np.int64(3), np.bool_(True)),
        "integers": [2**64 - 1, -3, True],
        "floats": [0.1, -0.0, np.nan, np.inf, -np.inf, 1e-320],
        "others": {(1, 2), (3, 4)},
        "device": torch.device("cuda:1"),
        "types": [np.float64, np.dtype("f4"), slice(1, None), {1: {"a": (None, True)}}],
    }
    est.extras_ = values
    found = saved(est, tmp_path).extras_
    assert repr(found) == repr(values).replace("dtype='>i4'", "dtype=int32")
    assert found["columns"].flags.f_contiguous
    assert found["half"].dtype == np.float16
    assert str(found["scalars"][0]) == "0.1"


def test_metadata_requests(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        est = tiny().set_score_request(sample_weight=True).set_fit_request(groups=False)
        routing = saved(est, tmp_path).get_metadata_routing()
        assert repr(routing) == repr(est.get_metadata_routing())
        assert routing.score.requests["sample_weight"] is True


def test_device_that_is_not_here(tmp_path):
    est = tiny().fit(X, y)
    est.device_ = "cuda:7"  # as after a fit on a machine that has it
    found = saved(est, tmp_path)
    assert found.device_ == "cpu"
    est.device_ = "cpu"
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_another_default_dtype(tmp_path):
    est = tiny().fit(X, y)
    try:
        torch.set_default_dtype(torch.float64)
        found = saved(est, tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_a_large_document_is_refused_before_it_is_written(tmp_path):
    est = tiny()
    est.extras_ = "x" * 9 * 2**20
    with pytest.raises(ValueError, match="more settings and names than fit"):
        saved(est, tmp_path)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ code of the user
def test_modules_of_the_user(tmp_path):
    encoder, decoder = dense(6, 2), dense(2, 6)
    est = tiny(autoencoder=(encoder, decoder)).fit(X, y)
    with pytest.raises(
        ValueError, match=r"(?s)est\.safetensors.*Sequential with the weights.*ReLU"
    ):
        saved(est, tmp_path)
    with pytest.raises(ValueError, match="needs a module of yours"):
        saved(est, tmp_path, modules=[encoder, dense(3, 6)])
    empty = [dense(2, 6), dense(6, 2)]  # in any order
    found = saved(est, tmp_path, modules=empty)
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))
    assert_array_equal(found.fit(X, y).sample(X, random_state=0), est.sample(X, random_state=0))
    assert not torch.equal(empty[0][0].weight, decoder[0].weight)  # copies were filled
    other = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 6))
    with pytest.warns(UserWarning, match="prints differently"):
        saved(est, tmp_path, modules=[encoder, other])


def test_trained_modules_of_the_user(tmp_path):
    autoencoder = TorchAutoencoder(dense(6, 2), dense(2, 6).bfloat16().float(), frozen=False)
    autoencoder.set_params(max_epochs=1)
    est = tiny(autoencoder=autoencoder).fit(X, y)
    found = saved(est, tmp_path, modules=[dense(6, 2), dense(2, 6)])
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_weights_in_bfloat16(tmp_path):
    encoder, decoder = dense(6, 2).bfloat16(), dense(2, 6).bfloat16()
    est = tiny(autoencoder=TorchAutoencoder(encoder, decoder))
    empty = [dense(6, 2).bfloat16(), dense(2, 6).bfloat16()]
    found = saved(est, tmp_path, modules=empty).autoencoder
    assert torch.equal(found.encoder[0].weight, encoder[0].weight)
    assert found.encoder[0].weight.dtype == torch.bfloat16


class OwnNetwork(RebuildableModule):
    def __init__(self, condition_dim, noise_dim, latent_dim, generator=None):
        super().__init__()
        self.layer = nn.Linear(condition_dim + noise_dim, latent_dim)

    def forward(self, condition, noise):
        return self.layer(torch.cat([condition, noise], dim=1))


class OwnMatcher(EnergyMatcher):
    """A matcher of the user's, with a network of the user's."""

    def _module(self, data, plan):
        return OwnNetwork(data.condition_dim, plan.noise_dim, data.latent_dim)


def test_classes_of_the_user(tmp_path):
    est = tiny(matcher=OwnMatcher(max_steps=2)).fit(X, y)
    with pytest.raises(ValueError, match=r"needs your class 'Own\w+'; pass load\(path, classes"):
        saved(est, tmp_path)
    found = saved(est, tmp_path, classes=[OwnMatcher, OwnNetwork])
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_class_with_a_name_that_is_taken(tmp_path):
    taken = type("MDNMatcher", (MDNMatcher,), {"__doc__": "Another one."})
    with pytest.raises(TypeError, match="matcher is of your class MDNMatcher, whose name"):
        saved(tiny(matcher=taken()), tmp_path)


# ------------------------------------------------------------------ what is refused, or left out
REFUSED = {
    "random_state": (tiny(random_state=np.random.default_rng(0)), "integer or None first"),
    "autoencoder": (tiny(autoencoder=MiniBatchKMeans()), "MiniBatchKMeans, which sklsdm.save"),
    "steps[0][1].func": (make_pipeline(FunctionTransformer(np.log), tiny()), "numpy.ufunc"),
    "scoring": (cv(scoring=lambda est, X, y: 0.0), "builtins.function"),
    "steps[0][1]": (
        make_pipeline(OneHotEncoder(drop="first", sparse_output=False), tiny()).fit(
            np.rint(X), y
        ),
        "use drop=None",
    ),
    "y_range": (tiny(y_range=np.array([1j, 2j])), "complex128"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_refused_is_named(name, tmp_path):
    est, reason = REFUSED[name]
    with pytest.raises(TypeError) as caught:
        saved(est, tmp_path)
    assert str(caught.value).startswith(f"model.{name}")
    assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "est", [GridSearchCV(tiny(), {}), StandardScaler(), make_pipeline(StandardScaler()), "est"]
)
def test_other_models_are_refused(est, tmp_path):
    with pytest.raises(TypeError, match=r"estimator (must be one of|is a Pipeline that ends in)"):
        saved(est, tmp_path)


def test_an_object_in_itself_is_refused(tmp_path):
    est = tiny()
    est.extras_ = []
    est.extras_.append(est.extras_)
    with pytest.raises(TypeError, match="contains itself"):
        saved(est, tmp_path)


def test_code_and_folders_are_left_out(tmp_path):
    inside = tiny(checkpoint=tmp_path / "checkpoints")
    inside.set_params(matcher__callbacks=[LRScheduler("StepLR", step_size=5)])
    est = make_sampling_pipeline(StandardScaler(), inside, memory=str(tmp_path / "cache"))
    est.fit(X, y)
    with pytest.warns(UserWarning, match="Not saved, .*: callbacks, checkpoint, memory"):
        found = saved(est, tmp_path)
    assert found.memory is None
    assert found[-1].checkpoint is None
    assert found[-1].matcher.callbacks is None
    assert_array_equal(found.sample(X, random_state=0), est.sample(X, random_state=0))


def test_arguments_of_load(tmp_path):
    with pytest.raises(TypeError, match="modules must be a list"):
        sklsdm.load(tmp_path, modules=dense(2, 2))
    with pytest.raises(TypeError, match="classes must be a list of classes"):
        sklsdm.load(tmp_path, classes=["os.system"])


# ------------------------------------------------------------------ the file
def test_others_can_look_into_it(tmp_path):
    sklsdm.save(tiny().fit(X, y), str(tmp_path / "est"))
    with safetensors.safe_open(tmp_path / "est", framework="np") as file:
        assert "LSDMRegressor" in file.metadata()["sklsdm"]
        assert len(file.keys()) > 10


def test_it_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "est"
    sklsdm.save(tiny(), path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="disk full"):
            sklsdm.save(tiny(latent_dim=3), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    sklsdm.save(tiny(latent_dim=3), path)
    assert sklsdm.load(path).latent_dim == 3


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are others elsewhere")
def test_it_has_ordinary_permissions_and_follows_no_link(tmp_path):
    target, link, plain = tmp_path / "target", tmp_path / "link", tmp_path / "plain"
    target.write_text("precious")
    link.symlink_to(target)
    sklsdm.save(tiny(), link)
    assert target.read_text() == "precious"
    assert not link.is_symlink()
    plain.touch()
    assert stat.S_IMODE(link.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def foreign_files(tmp_path):
    """Files of other programs, and what of ours is damaged, with the reason that is given."""
    path = tmp_path / "est"
    sklsdm.save(tiny(), path)
    ours = path.read_bytes()
    joblib.dump(tiny(), tmp_path / "joblib")
    np.savez_compressed(tmp_path / "bomb.npz", zeros=np.zeros(10**8, dtype=np.uint8))
    torch.save({"a": torch.zeros(3)}, tmp_path / "torch")
    yield "a pickle", pickle.dumps(tiny())
    yield "a pickle", (tmp_path / "joblib").read_bytes()
    for method in ("zlib", "gzip", "bz2", "lzma", "xz"):
        joblib.dump(tiny(), tmp_path / "joblib", compress=(method, 3))
        yield "compressed data, such as joblib.dump writes", (tmp_path / "joblib").read_bytes()
    yield "a zip archive", (tmp_path / "bomb.npz").read_bytes()
    yield "a zip archive", (tmp_path / "torch").read_bytes()
    yield "a zip archive", skops.io.dumps(tiny())
    yield "no file of sklsdm.save", b""
    yield "no file of sklsdm.save", b"\xff" * 100
    yield "no file of sklsdm.save", (2**62).to_bytes(8, "little") + ours[8:]
    yield "no file of sklsdm.save", b'{"format": 1}'
    yield "no file of sklsdm.save", safetensors.numpy.save({"a": np.zeros(3)})
    yield "cut off", ours[:-1]
    yield "cut off", ours[: len(ours) // 2]
    yield "cut off", ours + b"\0"
    yield "was altered", ours.replace(b"EnergyMatcher", b"EmergyMatcher")


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "file"
    for reason, content in foreign_files(tmp_path):
        path.write_bytes(content)
        with pytest.raises(ValueError) as caught:
            sklsdm.load(path)
        assert str(caught.value).startswith(f"{path} cannot be loaded")
        assert reason in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        sklsdm.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no regular file"):
        sklsdm.load(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")  # reading one that nobody writes to never ends
        with pytest.raises(ValueError, match="no regular file"):
            sklsdm.load(tmp_path / "pipe")


# ------------------------------------------------------------------ versions
@pytest.mark.parametrize("path", sorted(DATA.glob("*.safetensors")), ids=lambda path: path.stem)
def test_files_of_released_versions_load(path):
    """tests/data/write.py wrote them, and the draws beside them."""
    with np.load(path.with_suffix(".npz")) as kept:
        est = sklsdm.load(path)
        if "X" in kept:
            found = est.sample(kept["X"], 3, random_state=1)
        else:
            found = est.sample(9, random_state=1)
        assert_allclose(found, kept["draws"], rtol=1e-4, atol=1e-4)


def test_there_is_a_file_of_this_version():
    assert len(list(DATA.glob(f"*-{sklsdm.__version__}.safetensors"))) == 2


def test_names_of_classes_are_unique():
    for known, base in (
        (classes.known_objects(), sklearn.base.BaseEstimator),
        (classes.known_modules(), nn.Module),
    ):
        ours = list(classes._ours_below(base))
        assert {known.get(kind.__name__, kind) for kind in ours} >= set(ours)


# ------------------------------------------------------------------ joblib
@pytest.mark.parametrize("name", slow_but(["curves"], ["counts", "curves"]))
def test_models_in_read_only_memory_draw_without_a_warning(name, tmp_path, monkeypatch):
    monkeypatch.setattr("sklsdm.metrics.classifier.N_TREES", 5)
    made = RNG.poisson(3, size=(60, 2)) if name == "counts" else RNG.normal(size=(60, 55))
    est = tiny()
    if name == "curves":
        est.set_params(autoencoder="mlp", autoencoder__max_epochs=1)
    est.fit(X, made).conformalize(X, made)
    joblib.dump(est, tmp_path / "model")
    torch.set_warn_always(True)  # else once in a process
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="The given NumPy array is not writable")
            found = joblib.load(tmp_path / "model", mmap_mode="r")
            draws = [model.sample(X, 3, random_state=0) for model in (found, est)]
            assert_array_equal(*draws)
            assert found.score(X, made) == est.score(X, made)
            found.predict_interval(X, conformal=True)
            found.diagnose(X, made)
    finally:
        torch.set_warn_always(False)


# ------------------------------------------------------------------ skops
@pytest.mark.parametrize("name", ["pipeline", "trees, categories"])
def test_skops(name, small_forests):
    make, conditions = MODELS[name]
    est = make().fit(conditions, y)
    content = skops.io.dumps(est)
    trusted = sklsdm.skops_types(trees=name.startswith("trees"))
    assert set(skops.io.get_untrusted_types(data=content)) <= set(trusted)
    assert_same(skops.io.loads(content, trusted=trusted), est, conditions)


def test_trees_are_trusted_only_where_that_is_said():
    more = set(sklsdm.skops_types(trees=True)) - set(sklsdm.skops_types())
    assert {name.rpartition(".")[2] for name in more} == {"Tree", "TreePredictor"}

"""What bad input gets: a typed error that names the argument, and a fit that stays usable."""

import copy
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from helpers import plain_regressor
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import FunctionTransformer
from torch import nn
from torch.utils.data import Dataset, IterableDataset

from sklsdm import DistributionShiftWarning, LSDMGenerator, Unpaired
from sklsdm._validation import check_integer
from sklsdm.encoders import FlattenConditionEncoder
from sklsdm.matchers import WGANMatcher
from sklsdm.matchers.energy import EnergyObjective

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X[:, :2] + RNG.normal(size=(40, 2))
IMAGES = RNG.integers(0, 256, size=(40, 4, 4), dtype=np.uint8)


def spoilt(array, *places):
    """A copy with NaN or inf at (row, column, value)."""
    array = np.array(array)
    for row, column, value in places:
        array[row, column] = value
    return array


def with_text(array):
    return spoilt(array.astype(object), (3, 1, "red"))


class Items(Dataset):
    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


class Endless(IterableDataset):
    def __iter__(self):
        yield from Y


def quick(**params):
    return plain_regressor(matcher="energy", random_state=0).set_params(
        matcher__max_steps=20, **params
    )


@pytest.fixture(scope="module")
def trained():
    return quick().fit(X, Y)


@pytest.fixture
def est(trained):
    """A fitted estimator that must draw the same after the bad call."""
    found = copy.deepcopy(trained)
    yield found
    found.set_params(**quick().get_params())
    assert_array_equal(found.sample(X, 2, random_state=0), trained.sample(X, 2, random_state=0))
    assert_array_equal(found.predict(X), trained.predict(X))
    assert found.score(X, Y) == trained.score(X, Y)


def refused(est, call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call(est)


# ------------------------------------------------------------------ fit
NAN, INF = np.nan, np.inf
FIT_DATA = {
    "NaN in X": ((spoilt(X, (4, 1, NAN), (9, 0, NAN)), Y), r"X contains 2 NaN, first in row 4"),
    "inf in X": ((spoilt(X, (4, 1, -INF)), Y), r"X contains 1 inf, first in row 4"),
    "NaN in y": ((X, spoilt(Y, (7, 0, NAN), (9, 0, INF))), r"y contains 1 NaN and 1 inf.* row 7"),
    "NaN in Y_unpaired": ((X, Y, spoilt(Y, (8, 1, NAN))), r"Y_unpaired contains 1 NaN.* row 8"),
    "NaN in an Unpaired": ((X, Y, Unpaired(spoilt(Y, (8, 1, NAN)))), r"Y_unpaired contains 1 NaN"),
    "NaN in a Dataset": ((X, Y, Items(spoilt(Y, (8, 1, NAN)))), r"Y_unpaired contains .* row 8"),
    "lengths": ((X, Y[:-1]), r"X and y .*X has 40 and y has 39"),
    "shape of Y_unpaired": ((X, Y, Y[:, :1]), r"Y_unpaired must have shape \(N, 2\).*\(40, 1\)"),
    "axes of Y_unpaired": ((X, Y[:, 0], Y), r"Y_unpaired must have shape \(N,\).*\(40, 2\)"),
    "shape of a Dataset": ((X, Y, Items(IMAGES)), r"Y_unpaired must have shape \(N, 2\)"),
    "kind of Y_unpaired": (
        (X, IMAGES, IMAGES / 255),
        r"Y_unpaired .*same kind.*y holds bytes \(uint8\).*Y_unpaired floats \(float64\)",
    ),
    "integers in Y_unpaired": ((X, Y, Y.astype(int)), r"Y_unpaired .*floats.*integers \(int64\)"),
    "no row in Y_unpaired": (
        (X, Y, Y[:0]),
        r"Y_unpaired holds no rows, got shape \(0, 2\);.*pass None",
    ),
    "one pair": ((X[:1], Y[:1]), r"X and y .*1 pair.*at least 2"),
    "no pair": ((X[:0], Y[:0]), r"X.*0 sample"),
    "text in X": ((with_text(X), Y), r"X: could not convert .*'red'.*encode strings as numbers"),
    "text in y": ((X, with_text(Y)), r"y: could not convert .*'red'.*encode strings as numbers"),
    "NumPy strings in X": (
        (np.full(X.shape, "1"), Y),
        r"X: found an array of strings; encode .*astype\(float\)",
    ),
    "NumPy strings in y": ((X, np.full(len(X), "red")), r"y: found an array of strings; encode"),
    "one number as X": ((3.0, Y), r"X must have shape \(n, p\).* got one float"),
    "text in Y_unpaired": ((X, Y, with_text(Y)), r"Y_unpaired: could not convert .*'red'"),
    "text in a table": (
        (pd.DataFrame(X, columns=list("abc")).assign(c="red"), Y),
        r"X holds categories in columns \['c'\].*condition_encoder='trees'",
    ),
    "complex X": ((X + 1j, Y), r"X: Complex data not supported, pass real numbers"),
    "complex y": ((X, Y + 1j), r"y: Complex data not supported"),
    "complex Y_unpaired": ((X, Y, Y + 1j), r"Y_unpaired: Complex data not supported"),
    "X with one axis": ((X[:, 0], Y), r"got \(\d+,\)\. Reshape your data: .* one column"),
    "X with three axes": ((X[:, None], Y), r"X must have shape .*got \(40, 1, 3\)"),
    "y with five axes": ((X, Y[:, None, None, None]), r"y must have shape .*\(40, 1, 1, 1, 2\)"),
    "no y": ((X, None), r"requires y to be passed.* None"),
    "ragged y": ((X, [[1.0], [1.0, 2.0]]), r"y: .*inhomogeneous"),
}


@pytest.mark.parametrize("case", FIT_DATA)
def test_data_that_fit_refuses(case, est):
    data, message = FIT_DATA[case]
    refused(est, lambda e: e.fit(*data), ValueError, message)


FIT_TYPES = {
    "sparse X": (
        (scipy.sparse.csr_array(X), Y),
        r"Sparse data was passed for X.*toarray.*OneHotEncoder\(sparse_output=False\)",
    ),
    "a list of tables": (
        (X, Y, [Y, Y[:5]]),
        r"Y_unpaired is a list of 2 arrays of different shapes, .*numpy.concatenate\(Y_unpaired\)",
    ),
    "sparse y": ((X, scipy.sparse.csr_array(Y)), r"Sparse data was passed for y"),
    "sparse Y_unpaired": ((X, Y, scipy.sparse.csr_array(Y)), r"Sparse .*passed for Y_unpaired"),
    "endless Dataset": ((X, Y, Endless()), r"Y_unpaired is a Endless without a length"),
    "endless Unpaired": ((X, Y, Unpaired(Endless())), r"Y_unpaired is a Endless without a length"),
    "a number as Y_unpaired": ((X, Y, 3), r"Y_unpaired.*got scalar"),
    "a dict as Y_unpaired": ((X, Y, {"a": 1}), r"Y_unpaired.*at least 1 dimension"),
}


@pytest.mark.parametrize("case", FIT_TYPES)
def test_types_that_fit_refuses(case, est):
    data, message = FIT_TYPES[case]
    refused(est, lambda e: e.fit(*data), TypeError, message)


SETTINGS = {
    "latent_dim 0": ({"latent_dim": 0}, ValueError, r"latent_dim must be between 1 and 2 .*got 0"),
    "latent_dim 3": ({"latent_dim": 3}, ValueError, r"latent_dim .*y has 2 outputs.*got 3"),
    "latent_dim 1.5": ({"latent_dim": 1.5}, TypeError, r"latent_dim must be an integer.*1\.5"),
    "latent_dim True": ({"latent_dim": True}, TypeError, r"latent_dim must be an integer.*bool"),
    "latent_dim two": ({"latent_dim": "two"}, ValueError, r"latent_dim .*'auto', got 'two'"),
    "latent_dim of the identity": (
        {"latent_dim": 1, "autoencoder": "identity"},
        ValueError,
        r"latent_dim=1 does not fit autoencoder='identity'.*dimension 2",
    ),
    "matcher": (
        {"matcher": "gan"},
        ValueError,
        r"matcher='gan' is unknown.*'energy'.*'wgan'",
    ),
    "matcher's class": ({"matcher": WGANMatcher}, TypeError, r"matcher must be .*'energy'.*got <"),
    "matcher's kind": ({"matcher": LinearRegression()}, TypeError, r"matcher .*LinearRegression"),
    "autoencoder": (
        {"autoencoder": "vq"},
        ValueError,
        r"autoencoder='vq' is unknown.*'auto', 'conv'.*'identity'.*'mlp', 'pca'",
    ),
    "autoencoder's kind": ({"autoencoder": 3}, TypeError, r"autoencoder must be one of .*got 3"),
    "device": ({"device": "tpu"}, ValueError, r"device='tpu' is unknown.*'auto', 'cpu', 'cuda'"),
    "device None": ({"device": None}, ValueError, r"device=None is unknown.*'auto', 'cpu'"),
    "device cpu:x": ({"device": "cpu:x"}, ValueError, r"device='cpu:x' is unknown"),
    "device cuda:99": ({"device": "cuda:99"}, ValueError, r"device='cuda:99' .*CUDA device"),
    "unpaired": ({"unpaired": "all"}, ValueError, r"unpaired='all' is unknown.*'latent'.*'match'"),
    "condition_encoder": (
        {"condition_encoder": "vit"},
        ValueError,
        r"condition_encoder='vit' is unknown.*'conv'.*'flatten'",
    ),
    "conv for rows": (
        {"condition_encoder": "conv"},
        ValueError,
        r"condition_encoder='conv' needs images X.*\(40, 3\)",
    ),
    "validation_fraction 1": (
        {"validation_fraction": 1.0},
        ValueError,
        r"validation_fraction must be at least 0 and below 1, got 1",
    ),
    "validation_fraction -0.1": (
        {"validation_fraction": -0.1},
        ValueError,
        r"validation_fraction must be .*got -0.1",
    ),
    "a weight that is not read": (
        {"unpaired": "latent", "matcher__unpaired_weight": 1.0},
        ValueError,
        r"matcher__unpaired_weight=1\.0 has no effect with unpaired='latent'",
    ),
    "random_state": ({"random_state": "a"}, TypeError, r"random_state must be .*got 'a'"),
    "random_state -1": ({"random_state": -1}, ValueError, r"random_state .*got -1"),
    "max_steps": ({"matcher__max_steps": 0}, ValueError, r"matcher__max_steps .*got 0"),
    "lr": ({"matcher__lr": -1}, ValueError, r"matcher__lr must be above 0, got -1"),
    "max_epochs": ({"autoencoder__max_epochs": 0}, ValueError, r"autoencoder__max_epochs .*got 0"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_fit_refuses(case, est):
    params, error, message = SETTINGS[case]
    refused(est, lambda e: e.set_params(**params).fit(X, Y), error, message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none(est):
    refused(
        est, lambda e: e.set_params(device="cuda").fit(X, Y), ValueError, r"device='cuda' .*'cpu'"
    )


VALIDATION = {
    "alone": ({"X_val": X}, r"X_val and y_val go together, but y_val is None"),
    "y_val alone": ({"y_val": Y}, r"X_val and y_val go together, but X_val is None"),
    "columns": ({"X_val": X[:, :2], "y_val": Y}, r"X_val: .*2 features.*expecting 3"),
    "NaN": ({"X_val": spoilt(X, (4, 1, NAN)), "y_val": Y}, r"X_val contains 1 NaN.*row 4"),
    "NaN in y_val": ({"X_val": X, "y_val": spoilt(Y, (4, 1, NAN))}, r"y_val contains 1 NaN"),
    "outputs": ({"X_val": X, "y_val": Y[:, :1]}, r"y_val must have shape \(n, 2\).*\(40, 1\)"),
    "lengths": ({"X_val": X, "y_val": Y[:-1]}, r"X_val has 40 and y_val has 39"),
}


@pytest.mark.parametrize("case", VALIDATION)
def test_validation_pairs_that_fit_refuses(case, est):
    pairs, message = VALIDATION[case]
    refused(est, lambda e: e.fit(X, Y, **pairs), ValueError, message)


def test_bytes_are_validated_on_bytes(est):
    """Floats up to 255 beside uint8 images would be 255 times too bright, unseen."""
    message = r"y_val must be uint8 images as in fit, or floats in \[0, 1\]"
    wrong = IMAGES.astype(float)
    refused(est, lambda e: e.fit(X, IMAGES, X_val=X, y_val=wrong), ValueError, message)


def test_names_of_columns_are_kept(trained):
    table = pd.DataFrame(X, columns=list("abc"))
    est = quick().fit(table, Y)
    with pytest.raises(ValueError, match="feature names"):
        est.predict(table[list("cab")])
    with pytest.raises(ValueError, match="y contains"):
        est.fit(table.rename(columns=str.upper), spoilt(Y, (0, 0, NAN)))
    assert list(est.feature_names_in_) == list("abc")
    est.predict(table)


def test_pairs_are_named_once(est):
    both = r"fit got both X_paired= and X="
    refused(est, lambda e: e.fit(X, y=Y, X_paired=X), TypeError, both)
    refused(est, lambda e: e.fit(X=X, y=Y, X_paired=X), TypeError, both)
    refused(est, lambda e: e.fit(X, Y, Y_paired=Y), TypeError, r"both Y_paired= and y=")


# ------------------------------------------------------------------ sample, predict, score
TERA = 10**12
CALLS = {
    "n_samples 0": (lambda e: e.sample(X, 0), ValueError, r"n_samples must be at least 1, got 0"),
    "n_samples 1.5": (lambda e: e.sample(X, 1.5), TypeError, r"n_samples must be .*got 1\.5"),
    "n_samples True": (lambda e: e.sample_latent(X, True), TypeError, r"n_samples .*True"),
    "memory": (
        lambda e: e.sample(X, TERA),
        ValueError,
        r"40x1000000000000x2 .*596,046\.4 GiB.*n_samples.*out=",
    ),
    "overflow": (lambda e: e.sample(X, TERA**2), ValueError, r"GiB.*n_samples.*out="),
    "batch_size 0": (lambda e: e.sample(X, batch_size=0), ValueError, r"batch_size .*got 0"),
    "batch_size": (lambda e: e.sample(X, batch_size="big"), TypeError, r"batch_size .*'big'"),
    "shape of out": (
        lambda e: e.sample(X, 2, out=np.empty((40, 2, 3))),
        ValueError,
        r"out must be .*\(40, 2, 2\), got an array of shape \(40, 2, 3\)",
    ),
    "dtype of out": (
        lambda e: e.sample(X, 2, out=np.empty((40, 2, 2), int)),
        ValueError,
        r"out must be .*float.*dtype int64",
    ),
    "order of out": (
        lambda e: e.sample(X, 2, out=np.empty((40, 2, 2), order="F")),
        ValueError,
        r"out must be a C-contiguous",
    ),
    "type of out": (lambda e: e.sample(X, out=[1]), TypeError, r"out must be .*got list"),
    "masked out": (
        lambda e: e.sample(X, 2, out=np.ma.masked_all((40, 2, 2))),
        TypeError,
        r"out must be a plain array.*out\.data",
    ),
    "random_state": (
        lambda e: e.sample(X, random_state=np.random.SeedSequence(0)),
        TypeError,
        r"random_state must be .*RandomState.*Generator",
    ),
    "levels": (
        lambda e: e.predict_quantiles(X, [0, 0.5]),
        ValueError,
        r"quantiles must be .*between 0 and 1, got \[0, 0\.5\]",
    ),
    "level 1": (lambda e: e.predict_quantiles(X, 1.0), ValueError, r"quantiles .*got 1\.0"),
    "NaN level": (lambda e: e.predict_quantiles(X, [NAN]), ValueError, r"quantiles .*nan"),
    "no level": (lambda e: e.predict_quantiles(X, []), ValueError, r"quantiles .*got \[\]"),
    "text level": (lambda e: e.predict_quantiles(X, "a"), ValueError, r"quantiles.*'a'"),
    "coverage 1": (lambda e: e.predict_interval(X, 1), ValueError, r"coverage .*got 1"),
    "coverage 0": (lambda e: e.predict_interval(X, 0), ValueError, r"coverage .*got 0"),
    "outputs": (lambda e: e.score(X, Y[:, :1]), ValueError, r"y must have shape \(n, 2\).*40, 1"),
    "rows": (lambda e: e.score(X, Y[:-1]), ValueError, r"X has 40 and y has 39"),
    "weights": (lambda e: e.score(X, Y, np.ones(3)), ValueError, r"sample_weight .*\(40,\)"),
    "NaN in y": (lambda e: e.score(X, spoilt(Y, (2, 0, NAN))), ValueError, r"y contains 1 NaN"),
    "Y": (lambda e: e.encode(Y[:, :1]), ValueError, r"Y must have shape \(n, 2\).*\(40, 1\)"),
    "Z": (lambda e: e.decode(np.zeros((3, 5))), ValueError, r"Z must have shape .* 2\).*\(3, 5\)"),
}


@pytest.mark.parametrize("case", CALLS)
def test_calls_that_are_refused(case, est):
    refused(est, *CALLS[case])


CONDITIONS = {
    "columns": (X[:, :2], ValueError, r"X has 2 features.*expecting 3"),
    "axes": (X[:, :, None, None], ValueError, r"X must have shape \(n, 3\) as in fit.*40, 3, 1, 1"),
    "NaN": (spoilt(X, (4, 1, NAN)), ValueError, r"X contains 1 NaN, first in row 4"),
    "text": (with_text(X), ValueError, r"X: could not convert .*'red'"),
    "sparse": (scipy.sparse.csr_array(X), TypeError, r"Sparse data was passed for X"),
    "complex": (X + 1j, ValueError, r"X: Complex data not supported"),
}
METHODS = ["sample", "sample_latent", "predict", "predict_quantiles", "predict_interval"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CONDITIONS)
def test_conditions_that_are_refused(case, method, trained):
    found, error, message = CONDITIONS[case]
    refused(trained, lambda e: getattr(e, method)(found), error, message)


@pytest.mark.parametrize(
    "call",
    [
        *(lambda e, name=name: getattr(e, name)(X) for name in METHODS),
        lambda e: e.score(X, Y),
        lambda e: e.encode(Y),
        lambda e: e.decode(Y),
        lambda e: e.reconstruct(Y),
    ],
    ids=[*METHODS, "score", "encode", "decode", "reconstruct"],
)
def test_nothing_is_drawn_before_fit(call):
    with pytest.raises(NotFittedError, match="Call 'fit'"):
        call(plain_regressor())


# ------------------------------------------------------------------ what only warns
def test_a_constant_column_is_drawn_as_that_constant():
    constant = np.column_stack([Y, np.full(len(Y), 0.1), np.full(len(Y), -1e9)])
    with pytest.warns(UserWarning, match=r"Columns \[2, 3\] of the responses are constant"):
        est = quick().fit(X, constant)
    draws = est.sample(X, 3, random_state=0)
    assert_allclose(draws[..., 2], 0.1, rtol=1e-14)
    assert_allclose(draws[..., 3], -1e9, rtol=1e-14)
    assert draws[..., 0].std() > 0
    assert_allclose(est.predict_interval(X)[..., 2], 0.1, rtol=1e-14)
    assert np.isfinite(est.score(X, constant))


def test_more_latent_dimensions_than_responses_are_capped():
    wide = RNG.normal(size=(6, 30))
    with pytest.warns(UserWarning, match=r"latent_dim=20 .*6 responses.*5 is used"):
        est = quick(latent_dim=20, autoencoder="pca").fit(X[:6], wide)
    assert est.latent_dim_ == 5


def test_validation_pairs_far_outside():
    with pytest.warns(DistributionShiftWarning, match=r"X_val lies far outside X.*transformed"):
        quick().fit(X, Y, X_val=100 + X, y_val=Y)


# ------------------------------------------------------------------ numbers
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.zeros((60, 2)), r"ndarray of shape \(60, 2\)"),
        (torch.zeros(3), r"Tensor of shape \(3,\)"),
        (np.float16, r"<class 'numpy\.float16'> \(type\)"),
        ("a" * 999, r"'a+\.\.\.a+' \(str\)"),
    ],
)
def test_what_is_no_integer_is_told_in_short(value, shown):
    with pytest.raises(TypeError, match=rf"n_samples must be an integer, got {shown}\.$"):
        check_integer("n_samples", value, 1)


def test_a_single_pair_a_step_where_unpaired_codes_are_matched(est):
    est = clone(est).set_params(matcher="energy", unpaired="match", matcher__batch_size=1)
    with pytest.raises(ValueError, match=r"matcher__batch_size must be at least 2 .*got 1"):
        est.fit(X, Y, np.vstack([Y, Y + 1]))


# ------------------------------------------------------------------ parts of the user's
class GivesOther(FlattenConditionEncoder):
    """A condition encoder whose rows are changed before they are given."""

    change = staticmethod(lambda rows: rows)

    def fit_transform(self, condition, codes, seed, groups=None):
        return type(self).change(super().fit_transform(condition, codes, seed, groups))

    def transform(self, condition):
        return type(self).change(super().transform(condition))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], r"one row for each of 36 conditions, but gave float32 of shape"),
        (lambda rows: rows[:, 0], r"of shape \(n, k\).*of shape \(36,\)"),
        (lambda rows: rows.tolist(), "but gave list"),
        (lambda rows: rows.astype(str), "array of numbers"),
        (lambda rows: rows * np.nan, "not finite in row 0"),
    ],
    ids=["too few", "one column", "list", "strings", "NaN"],
)
def test_condition_encoders_that_give_what_they_must_not(monkeypatch, est, change, message):
    monkeypatch.setattr(GivesOther, "change", staticmethod(change))
    est.set_params(condition_encoder=GivesOther())
    refused(
        est, lambda est: est.fit(X, Y), ValueError, "condition_encoder=GivesOther: .*" + message
    )


def test_condition_encoders_may_give_float64_and_read_only_rows(monkeypatch):
    def change(rows):
        rows = rows.astype(np.float64)
        rows.flags.writeable = False
        return rows

    plain = quick(condition_encoder=GivesOther()).fit(X, Y).sample(X, 2, random_state=0)
    monkeypatch.setattr(GivesOther, "change", staticmethod(change))
    other = quick(condition_encoder=GivesOther()).fit(X, Y).sample(X, 2, random_state=0)
    assert_array_equal(plain, other)


def test_transformers_of_complex_codes_are_refused(est):
    waves = np.sin(2 * np.pi * (np.linspace(0, 1, 20) + RNG.random((40, 1))))
    model = quick(autoencoder=FunctionTransformer(np.fft.rfft, np.fft.irfft))
    with pytest.raises(TypeError, match="transform must give real numbers, got dtype complex128"):
        model.fit(X, waves)


@pytest.mark.parametrize(
    "encoder", [nn.LazyLinear(2), nn.Linear(2, 2, device="meta")], ids=["lazy", "meta"]
)
def test_modules_without_weights_are_refused(est, encoder):
    est.set_params(autoencoder=(encoder.eval(), nn.Linear(2, 2).eval()))
    refused(est, lambda est: est.fit(X, Y), ValueError, "encoder has weights without values")


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (lambda loss: loss.repeat(2), r"Tensor of shape \(2,\)"),
        (float, "float"),
        (lambda loss: loss.detach(), "requires_grad=False"),
    ],
    ids=["vector", "float", "detached"],
)
def test_objectives_that_give_no_loss_are_refused(monkeypatch, est, loss, got):
    plain = EnergyObjective.__call__
    monkeypatch.setattr(EnergyObjective, "__call__", lambda *args: loss(plain(*args)))
    refused(est, lambda est: est.fit(X, Y), TypeError, "objective must return .*" + got)


class OneBuffer(Items):
    """A Dataset that fills one array again and again."""

    def __init__(self, values):
        super().__init__(values)
        self.buffer = np.empty(values.shape[1:])

    def __getitem__(self, index):
        self.buffer[:] = self.values[index]
        return self.buffer


def test_a_dataset_may_give_one_buffer_again_and_again():
    plain = quick(unpaired="latent").fit(X[:30], Y[:30], Items(Y[30:]))
    other = quick(unpaired="latent").fit(X[:30], Y[:30], OneBuffer(Y[30:]))
    assert_array_equal(plain.sample(X, random_state=0), other.sample(X, random_state=0))


def test_lazy_frames_are_refused_before_polars_warns():
    lazy, est = pl.DataFrame(Y, schema=["a", "b"]).lazy(), plain_regressor()
    message = "got a LazyFrame, which holds no values yet; pass what collect"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (
            {"X": lazy, "y": Y},
            {"X": X, "y": lazy},
            {"X": X, "y": Y, "Y_unpaired": lazy},
        ):
            with pytest.raises(TypeError, match=message):
                est.fit(**given)


def test_columns_of_a_frame_that_are_refused_are_named(est):
    """Of y, too, and of data of a generator."""
    x, y = pd.DataFrame(X, columns=["age", "dose", "sex"]), pd.DataFrame(Y, columns=["a", "b"])
    x.loc[4, "dose"] = NAN
    with pytest.raises(ValueError, match=r"1 NaN, first in row 4, in columns \['dose'\]\. Every"):
        est.fit(x, y)
    with pytest.raises(ValueError, match=r"first in row 4, in columns \[1\]"):
        est.fit(x.to_numpy(), y)
    y.loc[[3, 5], "b"] = NAN
    with pytest.raises(ValueError, match=r"2 NaN, first in row 3, in columns \['b'\]"):
        est.fit(X, y)
    with pytest.raises(ValueError, match=r"2 NaN, first in row 3, in columns \['b'\]"):
        LSDMGenerator().fit(y)
    names = ["b", "c"]
    odd = {
        r"strings or categories in columns \['c'\].*get_dummies": ["u"] * len(Y),
        r"strings or categories in columns \['c'\]": pd.Categorical(["u"] * len(Y)),
        r"dates or times in columns \['c'\]": pd.date_range("2020", periods=len(Y)),
    }
    for message, column in odd.items():
        table = pd.DataFrame({"b": Y[:, 0], "c": column})[names]
        with pytest.raises(ValueError, match=rf"y holds {message}"):
            est.fit(X, table)
        with pytest.raises(ValueError, match=rf"X holds {message}"):
            LSDMGenerator().fit(table)


def test_columns_of_one_name_are_refused(est):
    twice = pd.DataFrame(Y, columns=["a", "a"])
    message = r" has several columns named 'a'; give each a name of its own, or pass {0}.to_numpy"
    with pytest.raises(ValueError, match="y" + message.format("y")):
        est.fit(X, twice)
    with pytest.raises(ValueError, match="X" + message.format("X")):
        est.fit(twice, Y)
    with pytest.raises(ValueError, match="Y_unpaired" + message.format("Y_unpaired")):
        est.fit(X, pd.DataFrame(Y, columns=["a", "b"]), twice)


def test_an_out_in_another_order_is_named_as_such(trained):
    for out in (np.empty((3, 5, 2), order="F"), np.empty((3, 10, 2))[:, ::2]):
        with pytest.raises(ValueError, match=r"float64 that is not C-contiguous: pass numpy.empty"):
            trained.sample(X[:3], 5, out=out)

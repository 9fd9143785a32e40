"""Unpaired responses in files, Dask arrays and Datasets: read as if they were in memory."""

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import CPU, plain_regressor, seeded
from numpy.testing import assert_array_equal
from torch.utils.data import Dataset

from sklsdm import Unpaired
from sklsdm.batches import StreamedBatches
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.sources import open_rows, spool

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = RNG.normal(size=(40, 4)).astype(np.float32)
MANY = RNG.normal(size=(300, 4)).astype(np.float32)


def short():
    return plain_regressor(2, "energy", autoencoder="pca", random_state=0).set_params(
        matcher__max_steps=5
    )


@pytest.fixture
def shards(tmp_path):
    """The rows of MANY in three files, one of them empty."""
    paths = []
    for number, part in enumerate((MANY[:70], MANY[70:70], MANY[70:])):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], part)
    return paths


def test_all_homes_give_the_same_fit(shards, tmp_path):
    da = pytest.importorskip("dask.array")
    np.save(tmp_path / "all.npy", MANY)
    homes = [
        shards,
        [str(path) for path in shards],
        Unpaired(tuple(shards)),
        str(tmp_path / "all.npy"),
        np.load(tmp_path / "all.npy", mmap_mode="r"),
        da.from_array(MANY, chunks=(70, 3)),
        Unpaired(da.from_array(MANY, chunks=(299, 4))),
        torch.utils.data.TensorDataset(torch.from_numpy(MANY)),
    ]
    expected = short().fit(X, Y, MANY).sample(X[:5], 3, random_state=0)
    for home in homes:
        assert_array_equal(short().fit(X, Y, home).sample(X[:5], 3, random_state=0), expected)


@pytest.mark.parametrize("shape", [(300,), (300, 2), (300, 3, 2, 2)])
def test_rows_are_those_of_an_array(tmp_path, shape):
    da = pytest.importorskip("dask.array")
    array = RNG.integers(0, 200, size=shape).astype(np.uint8)
    np.save(tmp_path / "0.npy", array[:100])
    np.save(tmp_path / "1.npy", array[100:])
    chosen = np.array([299, 0, 100, 99, 99])
    for value in ([tmp_path / "0.npy", tmp_path / "1.npy"], da.from_array(array, chunks=50)):
        rows = open_rows(value)
        assert (rows.shape, rows.dtype, len(rows)) == (shape, array.dtype, 300)
        assert_array_equal(rows[90:110], array[90:110])
        assert_array_equal(rows[chosen], array[chosen])


def test_single_numbers_fit_a_y_of_one_column(shards, tmp_path):
    np.save(tmp_path / "column.npy", MANY[:, 0])
    drawn = [
        short().set_params(latent_dim=1).fit(X, Y[:, :1], home).sample(X[:3], random_state=0)
        for home in (tmp_path / "column.npy", MANY[:, 0])
    ]
    assert_array_equal(*drawn)


def test_a_column_goes_with_a_y_of_single_numbers(tmp_path):
    """A DataFrame of one column beside a Series, say, in memory or in a file."""
    np.save(tmp_path / "column.npy", MANY[:, :1])
    drawn = [
        short().set_params(latent_dim=1).fit(X, Y[:, 0], home).sample(X[:3], random_state=0)
        for home in (tmp_path / "column.npy", MANY[:, :1], Unpaired(Unpaired(MANY[:, 0])))
    ]
    assert drawn[0].shape == (3, 1)
    assert_array_equal(drawn[0], drawn[1])
    assert_array_equal(drawn[0], drawn[2])


def test_paths_are_all_that_is_sent(shards):
    assert len(pickle.dumps(Unpaired(shards))) < 1000
    assert repr(Unpaired(shards)) == "Unpaired(list of length 3)"


def test_streams_read_shards(shards):
    responses = Responses(Y, open_rows(shards))
    batches = StreamedBatches(responses, np.arange(340), 20, seeded(), CPU, block_rows=64)
    seen = torch.cat([rows for (rows,) in batches]).numpy()
    everything = torch.cat(list(responses.blocks())).numpy()
    assert len(np.unique(seen, axis=0)) == len(seen) >= 260
    assert (seen[:, None] == everything).all(axis=2).any(axis=1).all()


def test_shards_that_do_not_go_together(shards, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((5, 7), np.float32))
    np.save(tmp_path / "double.npy", np.zeros((5, 4)))
    (tmp_path / "text.npy").write_text("none of NumPy's")
    np.save(tmp_path / "objects.npy", np.array([None, 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "number.npy", np.float32(1))
    for name, message in {
        "wide": r"one shape, but .*0\.npy has float32 and shape \(70, 4\), and .*wide\.npy",
        "double": r"one dtype and.*double\.npy has float64",
        "text": r"text\.npy is no \.npy file\. Read it",
        "objects": r"objects\.npy cannot be read",
        "number": r"number\.npy must hold one array with an axis of rows",
    }.items():
        with pytest.raises(ValueError, match=message):
            short().fit(X, Y, [*shards, tmp_path / f"{name}.npy"])
    with pytest.raises(ValueError, match=r"is a folder; pass the files, such as sorted"):
        short().fit(X, Y, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Y_unpaired: no such file: '.*none\.npy'"):
        short().fit(X, Y, tmp_path / "none.npy")
    for nothing in (np.empty((0, 2)), pd.DataFrame({"a": [], "b": []}), torch.empty(0, 2)):
        with pytest.raises(ValueError, match=r"Y_unpaired holds no rows, got .* pass None"):
            short().fit(X, Y, nothing)
    with pytest.raises(ValueError, match="Y_unpaired is an empty list"):
        short().fit(X, Y, Unpaired([]))
    with pytest.raises(TypeError, match="a list of 1 paths and 1 other things"):
        short().fit(X, Y, [shards[0], Y])
    with pytest.raises(TypeError, match="Y_unpaired is a generator, which can be read only once"):
        short().fit(X, Y, tmp_path.glob("*.npy"))
    with pytest.raises(ValueError, match="its files hold no rows"):
        short().fit(X, Y, [shards[1]])
    with pytest.raises(FileNotFoundError, match="gone"):
        short().fit(X, Y, [tmp_path / "gone.npy"])
    np.save(tmp_path / "nan.npy", np.where(MANY > 2, np.nan, MANY))
    with pytest.raises(ValueError, match=r"Y_unpaired contains .* NaN"):
        short().fit(X, Y, [tmp_path / "nan.npy"])


def test_files_that_change_under_way(shards, tmp_path):
    rows = open_rows(shards)
    np.save(shards[2], MANY[:9])
    with pytest.raises(ValueError, match=r"2\.npy has changed since the start of fit"):
        rows[200:210]
    os.truncate(shards[0], 500)
    with pytest.raises(ValueError, match=r"0\.npy cannot be read"):
        rows[:10]
    np.save(tmp_path / "map.npy", np.tile(MANY, (50, 1)))
    rows = open_rows(np.load(tmp_path / "map.npy", mmap_mode="r")[10:])
    assert len(rows[14_000:]) == 990
    os.truncate(tmp_path / "map.npy", 5000)
    with pytest.raises(ValueError, match=r"map\.npy, which was cut to 5,000 bytes"):
        rows[14_000:]


def test_a_fit_whose_file_is_cut_leaves_the_estimator(tmp_path, monkeypatch):
    np.save(tmp_path / "map.npy", np.tile(MANY, (50, 1)))
    est = short().fit(X, Y)
    before = est.sample(X[:3], random_state=0)
    monkeypatch.setattr(
        "sklsdm.regressor.check_groups", lambda *_: os.truncate(tmp_path / "map.npy", 5000)
    )
    with pytest.raises(ValueError, match="which was cut to"):
        est.fit(X, Y, np.load(tmp_path / "map.npy", mmap_mode="r"))
    assert_array_equal(est.sample(X[:3], random_state=0), before)


def test_dask_arrays_that_cannot_be_read(monkeypatch):
    da = pytest.importorskip("dask.array")
    array = da.from_array(MANY, chunks=(100, 4))
    with pytest.raises(ValueError, match=r"unknown chunk sizes.*compute_chunk_sizes"):
        short().fit(X, Y, array[array[:, 0] > 0])
    with pytest.raises(ValueError, match="must hold real numbers, got dtype complex"):
        short().fit(X, Y, array.astype(complex))

    def die(block):
        raise RuntimeError("the worker died")

    with pytest.raises(ValueError, match="Y_unpaired: reading it raised RuntimeError: the worker"):
        short().fit(X, Y, array.map_blocks(die, dtype=np.float32))
    if Path("/dev/full").exists():
        full = Path("/dev/full")
        monkeypatch.setattr("tempfile.TemporaryFile", lambda: full.open("wb", buffering=0))
        with pytest.raises(OSError, match=r"could not be written .*No space left.*set TMPDIR"):
            spool(array)


class Broken(Dataset):
    def __init__(self, item):
        self.item = item

    def __len__(self):
        return len(MANY)

    def __getitem__(self, row):
        return MANY[row] if row < 200 else self.item()


def test_datasets_that_raise_or_change():
    def fail():
        raise KeyError("no such picture")

    with pytest.raises(ValueError, match="Y_unpaired: reading it raised KeyError"):
        short().fit(X, Y, Broken(fail))
    with pytest.raises(ValueError, match="Y_unpaired: all input arrays must have the same shape"):
        short().fit(X, Y, Broken(lambda: MANY[0, :3]))
    rows = open_rows(Broken(lambda: MANY[0]))
    rows.dataset.item = lambda: MANY[0, :3]
    with pytest.raises(ValueError, match=r"of shape \(3,\) in rows 250 to 259"):
        rows[250:260]


def test_datasets_that_lie_about_their_items():
    class Few(Broken):
        def __getitems__(self, rows):
            return [MANY[row] for row in rows[:-1]]

    with pytest.raises(ValueError, match="Y_unpaired was asked for 1 items and gave 0"):
        short().fit(X, Y, Few(None))
    rows = open_rows(Broken(lambda: MANY[0]))
    rows.dataset.item = lambda: np.full(4, np.nan, np.float32)
    with pytest.raises(ValueError, match="has changed since the start of fit: it holds NaN"):
        rows[250:260]


def test_codes_may_lie_in_a_file(monkeypatch):
    expected = short().fit(X, Y, MANY).sample(X[:5], 3, random_state=0)
    made, make = [], tempfile.TemporaryFile
    monkeypatch.setattr("sklsdm.batches.RESIDENT_BYTES", 1000)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: made.append(make()) or made[-1])
    assert_array_equal(short().fit(X, Y, MANY).sample(X[:5], 3, random_state=0), expected)
    assert len(made) == 2  # the codes, and those of them that stage 2 learns from


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda block: block / 10.0, r"\(50, 2\) and dtype float64"),
        (lambda block: np.c_[block, block], r"\(50, 4\) and dtype int64"),
        (lambda block: block[5:], r"\(45, 2\) and dtype int64"),
    ],
)
def test_chunks_that_are_not_what_a_dask_array_declares(change, found):
    da = pytest.importorskip("dask.array")
    array = da.from_array(np.arange(200).reshape(100, 2), chunks=(50, 2))
    lying = array.map_blocks(change, dtype=np.int64)
    with pytest.raises(ValueError, match=rf"^Y_unpaired: chunk 0 .* has shape {found}, but"):
        open_rows(lying)

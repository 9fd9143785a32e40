"""Draws and codes in files: no room, and files that are cut under way."""

import errno
import os

import numpy as np
import pytest
from helpers import CPU, plain_regressor
from numpy.testing import assert_array_equal

from sklsdm import batches

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
needs_fallocate = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call")


@pytest.fixture(scope="module")
def est():
    model = plain_regressor("auto", "energy", random_state=0)
    return model.set_params(matcher__max_steps=20).fit(X, Y)


def make_out(path):
    return np.lib.format.open_memmap(path, "w+", dtype=np.float64, shape=(40, 1000, 2))


pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning")


@needs_fallocate
def test_room_for_draws_is_reserved_first(est, tmp_path):
    out = make_out(tmp_path / "draws.npy")
    assert 512 * os.stat(out.filename).st_blocks < out.nbytes
    drawn = est.sample(X, 1000, random_state=0, out=out)
    assert drawn is out
    assert_array_equal(np.load(tmp_path / "draws.npy"), est.sample(X, 1000, random_state=0))
    assert 512 * os.stat(out.filename).st_blocks >= out.nbytes


@needs_fallocate
def test_a_full_disk_is_an_error(est, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    out = make_out(tmp_path / "draws.npy")
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"no room for the 0\.0 GiB of out='.*draws\.npy' \(No space"):
        est.sample(X, 1000, out=out)
    assert not out.any()
    monkeypatch.setattr(batches, "RESIDENT_BYTES", 1000)
    with pytest.raises(OSError, match=r"of codes in .*set TMPDIR"):
        batches.room_for(1000, 2, CPU)
    with monkeypatch.context() as patch:  # a file system without such a call
        patch.setattr("os.posix_fallocate", lambda *_: os.dup(-1))
        assert est.sample(X, 1000, out=out).any()
        assert batches.room_for(1000, 2, CPU).shape == (1000, 2)


def test_an_out_whose_name_is_gone_or_taken(est, tmp_path):
    """The mapping stays valid, and no other file is written to."""
    out = make_out(tmp_path / "draws.npy")
    os.unlink(out.filename)
    expected = est.sample(X, 1000, random_state=0)
    assert_array_equal(est.sample(X, 1000, random_state=0, out=out), expected)
    (tmp_path / "draws.npy").write_bytes(b"precious")
    assert_array_equal(est.sample(X, 1000, random_state=0, out=out), expected)
    assert (tmp_path / "draws.npy").read_bytes() == b"precious"


def test_an_out_that_was_cut(est, tmp_path):
    out = make_out(tmp_path / "draws.npy")
    os.truncate(out.filename, 4096)
    with pytest.raises(ValueError, match=r"out is a memmap of .*, which was cut to 4,096 bytes"):
        est.sample(X, 1000, out=out)


def test_outs_that_are_no_files(est, tmp_path):
    expected = est.sample(X[:4], 2, random_state=0)
    np.save(tmp_path / "zeros.npy", np.zeros((4, 2, 2)))
    private = np.load(tmp_path / "zeros.npy", mmap_mode="c")
    assert_array_equal(est.sample(X[:4], 2, random_state=0, out=private), expected)
    assert not np.load(tmp_path / "zeros.npy").any()
    part = make_out(tmp_path / "draws.npy")[4:8, :2].copy()
    assert_array_equal(est.sample(X[:4], 2, random_state=0, out=part), expected)

"""Several processes that fit together: shares of batches, one result, one process that writes."""

import os
import subprocess
import sys
import warnings
from itertools import chain
from pathlib import Path

import fit_together
import numpy as np
import pytest
import torch
import torch.distributed as dist
from helpers import CPU, seeded
from numpy.testing import assert_allclose, assert_array_equal

from sklsdm import distributed
from sklsdm._validation import warn_user
from sklsdm.batches import RowBatches, StreamedBatches
from sklsdm.distributed import Group, processes
from sklsdm.inputs.responses import Responses
from sklsdm.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::sklsdm.exceptions.NotImprovedWarning")


def batches_of(kind, rank, n_ranks):
    numbers = np.arange(1003.0)
    if kind == "resident":
        rows = torch.from_numpy(numbers[:, None])
        return RowBatches(rows, 48, seeded(), 50, rank=rank, n_ranks=n_ranks)
    responses = Responses(numbers[:200], numbers[200:])
    rows = np.setdiff1d(np.arange(1003), [5, 500])
    share = {"rank": rank, "n_ranks": n_ranks}
    return StreamedBatches(responses, rows, 48, seeded(), CPU, block_rows=128, **share)


@pytest.mark.parametrize("kind", ["resident", "streamed"])
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_shares_are_disjoint_and_make_up_the_batches(kind, n_ranks):
    whole = [rows.ravel().tolist() for (rows,) in batches_of(kind, 0, 1)]
    shares = [
        [rows.ravel().tolist() for (rows,) in batches_of(kind, rank, n_ranks)]
        for rank in range(n_ranks)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part) for part in parts} == {48 // n_ranks}
        assert sorted(chain(*parts)) == sorted(batch)
        assert len(set(batch)) == 48


@pytest.mark.parametrize("batch_size", [48, 128, 1000])
def test_no_streamed_batch_is_empty(batch_size):
    """Also where a block holds one batch, and is then mostly smaller than it."""
    responses = Responses(np.arange(3.0), np.arange(1000.0))
    rows = np.arange(1003)
    batches = StreamedBatches(responses, rows, batch_size, seeded(), CPU, block_rows=128)
    sizes = [len(rows) for (rows,) in batches]
    assert len(sizes) <= len(batches)
    assert 0 < min(sizes) <= max(sizes) <= batch_size


def test_batches_that_cannot_be_shared():
    assert RowBatches(torch.zeros(9, 1), 7, seeded(), n_ranks=2).batch_size == 6
    with pytest.raises(ValueError, match="Batches of 1 rows cannot be shared by 2 processes"):
        RowBatches(torch.zeros(9, 1), 1, seeded(), n_ranks=2)


def test_noise_differs_by_process():
    streams = [Run(CPU, 3, group=Group(rank, 2)).own_stream(1) for rank in (0, 1, 1)]
    first, second, again = (torch.randn(5, generator=stream) for stream in streams)
    assert (first != second).all()
    assert_array_equal(second, again)


def test_without_torchrun_nothing_changes(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes() as group:
        assert (group.rank, group.size, group.is_first) == (0, 1, True)
        assert distributed.current_group() is None
    assert not dist.is_initialized()


def test_only_the_first_process_warns():
    token = distributed._GROUP.set(Group(1, 2))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warn_user("from another process")
    finally:
        distributed._GROUP.reset(token)
    with pytest.warns(UserWarning, match="from the first"):
        warn_user("from the first")


@pytest.fixture
def group_of_one(monkeypatch):
    """A real group of PyTorch's, with this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    token = distributed._GROUP.set(Group())
    yield
    distributed._GROUP.reset(token)
    dist.destroy_process_group()


def test_a_group_of_one_fits_as_without(group_of_one, tmp_path):
    X, y, unpaired = fit_together.data(100)
    est = fit_together.regressor(random_state=0, checkpoint=tmp_path, autoencoder__max_epochs=1)
    together = est.fit(X, y, unpaired).sample(X, random_state=0)
    token = distributed._GROUP.set(None)
    alone = est.fit(X, y, unpaired).sample(X, random_state=0)
    distributed._GROUP.reset(token)
    assert_allclose(together, alone, atol=1e-4)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_fit_as_one(tmp_path):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--redirects=3", f"--log-dir={tmp_path / 'logs'}"]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, fit_together.__file__, tmp_path], env=env, check=True, timeout=300)
    subprocess.run([sys.executable, fit_together.__file__, tmp_path], env=env, check=True)
    alone, first, second = (
        np.load(tmp_path / f"mlp-{place}.npz") for place in ("0-of-1", "0-of-2", "1-of-2")
    )
    for name in alone.files:
        assert_array_equal(first[name], second[name])
        assert_allclose(first[name], alone[name], rtol=1e-3, atol=1e-3)
    assert_array_equal(np.load(tmp_path / "vae-0-of-2.npy"), np.load(tmp_path / "vae-1-of-2.npy"))
    for rank in range(2):
        error = (tmp_path / f"error-{rank}-of-2.txt").read_text()
        assert "have 600, 599 responses" in error
    assert not list((tmp_path / "states").iterdir())
    logs = {path.parent.name: path.read_text() for path in tmp_path.rglob("stderr.log")}
    assert "stage 2" in logs["0"]
    assert logs["1"] == ""

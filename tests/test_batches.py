"""Batches: every row is seen, the same rows for the same generator, noise in any portions."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import CPU, seeded
from numpy.testing import assert_array_equal

from sklsdm.batches import PairBatches, RowBatches, StreamedBatches
from sklsdm.draws.drawing import NoiseStream
from sklsdm.inputs.responses import Responses, fit_standardiser


def numbered(n_rows):
    """Rows that hold their own number."""
    return torch.arange(float(n_rows))[:, None]


@pytest.mark.parametrize(("n_rows", "size", "least"), [(100, 10, 1), (103, 10, 1), (7, 10, 5)])
def test_an_epoch_passes_over_the_rows(n_rows, size, least):
    batches = RowBatches(numbered(n_rows), size, seeded(), least)
    seen = [batch.ravel().int().tolist() for (batch,) in batches]
    assert len(seen) == len(batches) == max(n_rows // min(size, n_rows), least)
    one_pass = [row for batch in seen[: n_rows // min(size, n_rows)] for row in batch]
    assert len(set(one_pass)) == len(one_pass) > n_rows - size
    assert {len(batch) for batch in seen} == {min(size, n_rows)}
    again = RowBatches(numbered(n_rows), size, seeded(), least)
    assert [batch.ravel().int().tolist() for (batch,) in again] == seen
    assert [batch.ravel().int().tolist() for (batch,) in again] != seen  # the next epoch


def test_streams_meet_every_row_and_mix_blocks():
    paired, unpaired = np.arange(200.0), np.arange(200.0, 1003.0)
    responses = Responses(paired, unpaired)
    rows = np.setdiff1d(np.arange(1003), [5, 500])
    batches = StreamedBatches(responses, rows, 20, seeded(), CPU, block_rows=128)
    epochs = []
    for _ in range(3):
        values = (
            torch.cat([rows for (rows,) in batches]).numpy() * responses.format.standardiser.scale
        )
        numbers = np.rint(values.ravel() + responses.format.standardiser.mean).astype(int)
        assert len(np.unique(numbers)) == len(numbers) > 900
        assert not {5, 500} & set(numbers)
        epochs.append(numbers)
    assert len(set(epochs[0]) | set(epochs[1]) | set(epochs[2])) == 1001
    assert (epochs[0][:20] != epochs[1][:20]).any()
    steps = np.abs(np.diff(epochs[0]))
    assert np.median(steps) > 5  # shuffled, not read in order
    first = np.sort(epochs[0][:120])  # the first block: runs of neighbours from all over the data
    assert (np.diff(first) == 1).mean() > 0.7
    assert first[0] < 300
    assert first[-1] > 700


def test_pairs_stay_together():
    condition, latent = numbered(40), -numbered(40)
    batches = PairBatches(
        condition,
        latent,
        1000 + numbered(9),
        batch_size=16,
        n_steps=5,
        noise_dim=3,
        random=seeded(),
        per_step=2,
        n_draws=4,
    )
    seen = []
    for step in batches:
        assert len(step) == 2
        for batch in step:
            assert_array_equal(batch.condition, -batch.latent)
            assert batch.noise.shape == (64, 3)
            assert batch.uniform.shape == (16, 1)
            assert (batch.other >= 1000).all()
            seen.append(batch)
    assert len(seen) == 10
    for first, second in pairwise(seen):
        assert (first.noise != second.noise).all()
        assert (first.condition != second.condition).any()


def test_condition_noise_has_its_spread_and_moves_conditions_only():
    condition, latent = torch.arange(50.0)[:, None].repeat(1, 3), torch.arange(50.0)[:, None]
    batches = PairBatches(
        *(condition, latent, None),
        batch_size=500,
        n_steps=4,
        noise_dim=1,
        random=seeded(),
        condition_noise=0.2,
    )
    gaps = torch.cat([batch.condition - batch.latent for (batch,) in batches])
    assert gaps.mean().abs() < 0.02
    assert (gaps.std() - 0.2).abs() < 0.01
    assert condition.equal(torch.arange(50.0)[:, None].repeat(1, 3))


def test_noise_is_made_in_larger_blocks_on_a_gpu_but_not_of_many_numbers():
    assert NoiseStream.block_on("cpu", 3) == NoiseStream.block_on("cpu", 5000) == 4096
    assert NoiseStream.block_on("cuda", 0) == NoiseStream.block_on("cuda", 64) == 2**16
    assert NoiseStream.block_on("cuda", 4096) == 2**10


@pytest.mark.parametrize("portions", [[9000], [1, 4095, 4904], [5000, 4000], [100] * 90])
def test_noise_is_the_same_in_any_portions(portions):
    whole = NoiseStream(3, 0, CPU).take(9000)
    stream = NoiseStream(3, 0, CPU)
    assert_array_equal(torch.cat([stream.take(n) for n in portions]), whole)
    assert abs(whole.mean()) < 0.02
    assert abs(whole.std() - 1) < 0.02


@pytest.mark.parametrize("shared", [False, True])
def test_moments_in_blocks_are_those_of_the_whole(shared):
    values = 1e6 + np.random.default_rng(0).normal(size=(1000, 4)) * [1, 2, 0, 1e-3]
    found = fit_standardiser(iter(np.array_split(values, 7)), n_channels=int(shared))
    axis = None if shared else 0
    np.testing.assert_allclose(found.mean, np.atleast_1d(values.mean(axis=axis)), rtol=1e-12)
    np.testing.assert_allclose(found.scale, np.atleast_1d(values.std(axis=axis)), rtol=1e-4)
    assert_array_equal(found.constant, [False] if shared else [False, False, True, False])

"""Memory stays within blocks counted in bytes, however wide a row is."""

import tracemalloc

import numpy as np
import pytest
import torch
from helpers import plain_regressor

from sklsdm import LSDMGenerator, SamplingEnsemble
from sklsdm.blocks import BLOCK_BYTES, row_blocks, rows_per_block
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import EnergyMatcher
from sklsdm.modules import mlp, widest_output


def peak_of(work):
    """Bytes that NumPy and Python hold at most while `work` runs, beyond those from before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(), (3,), (3, 128, 128)])
def test_a_block_takes_its_bytes_as_float64(shape):
    array = np.zeros((500, *shape), dtype=np.uint8)
    sizes = [8 * array[rows].size for rows in row_blocks(array)]
    assert sum(sizes) == 8 * array.size
    assert max(sizes) <= BLOCK_BYTES


def test_a_row_wider_than_a_block_is_a_block():
    assert rows_per_block(BLOCK_BYTES) == 1
    assert rows_per_block(0) == BLOCK_BYTES // 8


def test_wide_images_are_read_in_blocks():
    """28 MiB of bytes: as float64, which one block once was, they take 225 MiB, several times."""
    images = np.random.default_rng(0).integers(0, 255, (600, 3, 128, 128), dtype=np.uint8)

    def read():
        responses = Responses(images[:100], images[100:])
        responses.paired_std()
        for _ in responses.blocks():
            pass

    assert peak_of(read) < 5 * BLOCK_BYTES


def test_what_score_keeps_is_bounded():
    images = np.random.default_rng(0).integers(0, 255, (400, 3, 96, 96), dtype=np.uint8)
    est = plain_regressor(4, "energy", autoencoder="pca", random_state=0)
    est.set_params(matcher__max_steps=20).fit(np.zeros((400, 1)), images)
    assert est._reference_.nbytes <= 4 * BLOCK_BYTES


def test_draws_of_an_ensemble_lie_in_no_second_array():
    X = np.linspace(0, 1, 40)[:, None]
    single = plain_regressor(matcher="energy").set_params(matcher__max_steps=1)
    pooled = SamplingEnsemble(single, n_estimators=2, random_state=0).fit(X, X[:, 0])
    out = np.empty((40, 50_000))  # 16 MB
    assert peak_of(lambda: pooled.sample(X, 50_000, random_state=0, out=out)) < out.nbytes / 8


def test_the_widest_output_is_found():
    layers = mlp(3, 2, (7, 50, 5), "relu", torch.Generator())
    assert widest_output([layers, object()], lambda: layers(torch.zeros(1, 3))) == 50


@pytest.mark.parametrize("widths", [(16,), (2048,)])
def test_draws_at_once_follow_from_the_network(monkeypatch, widths):
    """No layer holds more than a block while drawing, be the network narrow or wide."""
    seen = []
    data = np.random.default_rng(0).normal(size=(40, 2))
    matcher = EnergyMatcher(widths=widths, max_steps=1)
    model = LSDMGenerator(matcher=matcher, random_state=0).fit(data)
    layer = model.matcher_.network_.mlp.rest[0]
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.numel()))
    model.sample(100_000, random_state=0)
    assert max(seen) * 4 <= BLOCK_BYTES
    assert sum(size for size in seen if size > widths[0]) == 100_000 * widths[0]


def test_chunks_do_not_change_what_is_drawn():
    data = np.random.default_rng(0).normal(size=(40, 2))
    model = LSDMGenerator(matcher=EnergyMatcher(max_steps=1), random_state=0).fit(data)
    whole = model.sample(300, random_state=0)
    parts = model.sample(300, random_state=0, batch_size=7)
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5)

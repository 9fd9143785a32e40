"""Where memory runs out while drawing, smaller batches give the same draws."""

import warnings

import numpy as np
import pytest
import torch
from helpers import plain_regressor
from numpy.testing import assert_array_equal

from sklsdm import LSDMGenerator
from sklsdm.draws.out_of_memory import in_batches, is_out_of_memory
from sklsdm.draws.output import store
from sklsdm.matchers.base import BaseMatcher

ERRORS = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "CPU": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "MPS": RuntimeError("MPS backend out of memory (MPS allocated: 8 GB, max allowed: 9 GB)."),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    "numpy": MemoryError("Unable to allocate 7.28 TiB for an array"),
}


@pytest.fixture(scope="module")
def fitted():
    random = np.random.default_rng(0)
    est = plain_regressor(2, "energy", random_state=0, validation_fraction=0.0)
    est.set_params(autoencoder="dpa", autoencoder__max_epochs=1, matcher__max_steps=5)
    return est.fit(random.normal(size=(40, 2)), random.normal(size=(40, 3)))


@pytest.fixture
def small_memory(monkeypatch):
    """Draws of more than so many rows raise an error; returns the sizes that were tried."""

    def limit(most, error=ERRORS["CUDA"]):
        tried, draw = [], BaseMatcher.draw

        def limited(self, condition, noise):
            tried.append(len(noise))
            if len(noise) > most:
                raise error
            return draw(self, condition, noise)

        monkeypatch.setattr(BaseMatcher, "draw", limited)
        return tried

    return limit


X = np.random.default_rng(1).normal(size=(30, 2))


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_batches_are_halved_and_the_draws_are_those_of_small_ones(fitted, small_memory, error):
    """A stochastic decoder takes noise too, after the part that runs out of memory."""
    rows = np.repeat(X, 7, axis=0)
    expected = fitted.sample(rows, random_state=0, batch_size=52)
    tried = small_memory(60, error)
    with pytest.warns(UserWarning, match="Memory ran out for batches of 210; .* 52") as caught:
        draws = fitted.sample(rows, random_state=0)
    assert_array_equal(draws, expected)
    assert tried == [210, 105, 52, 52, 52, 52, 2]
    assert len(caught) == 1


def test_batches_cut_through_the_draws_of_a_condition(fitted, small_memory):
    """Of three conditions, the middle one has all of its seven draws in a batch of ten."""
    expected = fitted.sample(X[:3], 7, random_state=0)
    tried = small_memory(10)
    with pytest.warns(UserWarning, match="Memory ran out for batches of 21"):
        draws = fitted.sample(X[:3], 7, random_state=0)
    np.testing.assert_allclose(draws, expected, rtol=1e-5, atol=1e-6)
    assert tried == [21, 7, 3, 4, 6, 1]


def test_the_generator_too(small_memory):
    data = np.random.default_rng(0).normal(size=(40, 2))
    model = LSDMGenerator(2, "energy", random_state=0).set_params(matcher__max_steps=5).fit(data)
    expected = model.sample(100, random_state=0, batch_size=25)
    small_memory(30)
    with pytest.warns(UserWarning, match="Memory ran out"):
        assert_array_equal(model.sample(100, random_state=0), expected)


def test_memory_that_runs_out_later(fitted, monkeypatch, small_memory):
    """What was drawn before stays, and no noise is lost or used twice."""
    rows = np.repeat(X, 300, axis=0)
    expected = fitted.sample(rows, random_state=0, batch_size=100)
    draw, calls = BaseMatcher.draw, []

    def limited(self, condition, noise):
        calls.append(len(noise))
        if len(calls) > 10 and len(noise) > 100:
            raise ERRORS["CUDA"]
        return draw(self, condition, noise)

    monkeypatch.setattr(BaseMatcher, "draw", limited)
    with pytest.warns(UserWarning, match="Memory ran out for batches of 400; .* 100") as caught:
        draws = fitted.sample(rows, random_state=0, batch_size=400)
    np.testing.assert_allclose(draws, expected, rtol=1e-4, atol=1e-5)
    assert len(caught) == 1


def test_memory_that_runs_out_while_draws_are_stored(fitted, monkeypatch):
    expected = fitted.sample(X, 7, random_state=0, batch_size=105)
    calls = []

    def once(draws, out):
        calls.append(out.shape[0] * out.shape[1])
        if len(calls) == 1:
            raise MemoryError
        store(draws, out)

    monkeypatch.setattr("sklsdm.draws.drawing.store", once)
    with pytest.warns(UserWarning, match="Memory ran out for batches of 210"):
        found = fitted.sample(X, 7, random_state=0)
    assert calls == [210, 105, 105]
    assert_array_equal(found, expected)


def test_forecasts_take_fewer_rows_at_once(fitted, small_memory):
    expected = fitted.predict(X, n_draws=8)
    small_memory(100)
    with pytest.warns(UserWarning, match="Memory ran out for batches of 30; .* 7"):
        found = fitted.predict(X, n_draws=8)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_a_single_draw_that_does_not_fit_is_an_error(fitted, small_memory):
    small_memory(0)
    with pytest.raises(torch.OutOfMemoryError):
        fitted.sample(X, 7)


def test_other_errors_are_raised_at_once(fitted, small_memory):
    tried = small_memory(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        fitted.sample(X, 7)
    assert tried == [210]


def test_a_real_allocation_that_fails():
    """What PyTorch raises where the machine cannot give so much memory, is recognised."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert is_out_of_memory(caught.value)


def test_nothing_is_said_where_memory_suffices():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = list(in_batches(5, 2, lambda rows: rows.stop - rows.start))
    assert done == [(slice(0, 2), 2), (slice(2, 4), 2), (slice(4, 5), 1)]


@pytest.mark.gpu
def test_memory_of_a_device():
    """The device gives this process a little memory; one batch of all draws does not fit."""
    random = np.random.default_rng(0)
    est = plain_regressor(2, "energy", random_state=0, device="cuda", validation_fraction=0.0)
    est.set_params(matcher__max_steps=5).fit(
        random.normal(size=(40, 2)), random.normal(size=(40, 3))
    )
    expected = est.sample(X, 50_000, random_state=0)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 300 * 2**20) / total)
    try:
        with pytest.warns(UserWarning, match="Memory ran out"):
            draws = est.sample(X, 50_000, random_state=0, batch_size=1_500_000)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    np.testing.assert_allclose(draws, expected, rtol=1e-3, atol=1e-4)

"""The switch of cuDNN that training on a GPU turns, and turns back."""

import contextlib

import pytest
import torch

from sklsdm.nets.repeatable import repeatable_convolutions

GPU = torch.device("cuda")


def settings():
    return torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark


@pytest.fixture(params=[(False, True), (True, False), (False, False)])
def found(request, monkeypatch):
    """What a user has set before."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", request.param[0])
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", request.param[1])
    return request.param


def test_settings_are_put_back_by_the_last_who_leaves(found):
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(repeatable_convolutions(GPU))
    second.enter_context(repeatable_convolutions(GPU))
    assert settings() == (True, False)
    first.close()  # as a thread that began first may end first
    assert settings() == (True, False)
    second.close()
    assert settings() == found


def test_settings_are_put_back_after_an_error(found):
    with contextlib.suppress(RuntimeError), repeatable_convolutions(GPU):
        raise RuntimeError
    assert settings() == found


def test_nothing_is_set_on_a_cpu(found):
    with repeatable_convolutions(torch.device("cpu")):
        assert settings() == found

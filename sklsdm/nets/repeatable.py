"""Convolutions on a GPU whose results are the same in every run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
_FOUND: list[tuple[bool, bool]] = []  # the settings before those who are inside, one for each


@contextmanager
def repeatable_convolutions(device: torch.device) -> Iterator[None]:
    """Context in which cuDNN takes only algorithms that give equal results for equal numbers.

    By default it also takes gradients whose sums are added up in any order. The switch belongs to
    the process: it is put back when the last thread leaves. Elsewhere than on CUDA nothing is done.
    """
    if device.type != "cuda":
        yield
        return
    settings = torch.backends.cudnn
    with _LOCK:
        _FOUND.append((settings.deterministic, settings.benchmark))
        settings.deterministic, settings.benchmark = True, False
    try:
        yield
    finally:
        with _LOCK:
            first = _FOUND[0]
            _FOUND.pop()
            if not _FOUND:
                settings.deterministic, settings.benchmark = first

"""Where and how one fit runs: device, seed, verbosity, checkpoints, the names of its stages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Run:
    """What both stages need to know of the fit that they are part of."""

    device: torch.device
    seed: int
    verbose: int = 0
    checkpoint: Path | None = None  # folder for the state of an unfinished fit

    def generator(self, stream: int, device: torch.device | None = None) -> torch.Generator:
        """A random stream of this fit; streams with other numbers are independent of it."""
        random = torch.Generator(device=device or self.device)
        return random.manual_seed((self.seed * 1_000_003 + stream) % (2**63 - 1))


@dataclass(frozen=True)
class Stage:
    """One training of a fit, as it is named to users and on disk."""

    title: str  # in the progress bar, errors and logs: "stage 2 (matching)"
    file: str  # of its checkpoint: "stage-2.pt"
    advice: str  # what to lower when it diverges: "the matcher's lr"


def resolve_device(name: str) -> torch.device:
    """The torch device for "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:<index>"."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(
            f"device={name!r} is unknown; choose one of 'auto', 'cpu', 'cuda', 'cuda:<index>'."
        )
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= _n_cuda_devices():
        raise ValueError(
            f"device={name!r} was asked for, but PyTorch finds {_n_cuda_devices()} CUDA devices "
            f"here; use device='auto' or 'cpu'."
        )
    return device


def _n_cuda_devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 0

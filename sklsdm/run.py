"""Settings of one fit: device, seed, random streams, checkpoint folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch

from sklsdm.distributed import Group, current_group
from sklsdm.storage.fit_folder import FitFolder, SharedFolder


class Stream(IntEnum):
    """The random streams of one fit, one for each use. Changing a number changes the draws.

    Numbers from 1,000 to 999,999 are left to matchers and autoencoders that users write.
    """

    AUTOENCODER_WEIGHTS = 0
    AUTOENCODER_STEPS = 1
    AUTOENCODER_HELD_OUT = 2
    SHARPENING_WEIGHTS = 3
    SHARPENING_STEPS = 4
    MATCHER_WEIGHTS = 10
    MATCHER_STEPS = 11
    MATCHER_HELD_OUT = 12
    TRANSPORT_PLANS = 13
    CRITIC_WEIGHTS = 20
    DISTILLATION = 30
    PAIRING_CANDIDATES = 31
    PAIRING_DRAWS = 32
    CLASSIFIER_WEIGHTS = 33
    CLASSIFIER_STEPS = 34
    PAIRING_MARGINAL = 35
    PSEUDO_HELD_OUT = 36
    LABEL_WEIGHTS = 37
    LABEL_STEPS = 38
    LOOKS = 40


@dataclass(frozen=True)
class Run:
    """Settings of one fit that both stages need."""

    device: torch.device
    seed: int
    verbose: int = 0
    # Keeps the states of its trainings while it is unfinished.
    checkpoint: FitFolder | SharedFolder | None = None
    prefix: str = ""  # of the names of these states
    group: Group | None = None  # of processes that fit together
    is_trial: bool = False  # whether this is a short fit that is only compared with others

    def within(self, name: str) -> Run:
        """These settings, with other names for the states of its trainings."""
        return replace(self, prefix=f"{self.prefix}{name}-")

    def stream(self, stream: int) -> torch.Generator:
        """One of the independent random streams of this fit, on its device."""
        return self._generator(stream, self.device)

    def own_stream(self, stream: int) -> torch.Generator:
        """The stream where a fit has one process; in a group, one that each process has alone."""
        if self.group is None:
            return self.stream(stream)
        words = np.random.SeedSequence([self.seed, stream, self.group.rank]).generate_state(1)
        return torch.Generator(self.device).manual_seed(int(words[0]))

    def weights(self, stream: int) -> torch.Generator:
        """The stream on the CPU: initial weights are drawn there, to be equal on every device."""
        return self._generator(stream, torch.device("cpu"))

    def _generator(self, stream: int, device: torch.device) -> torch.Generator:
        random = torch.Generator(device=device)
        # The factor exceeds every stream number, so no two pairs (seed, stream) share a generator.
        return random.manual_seed((self.seed * 1_000_003 + stream) % (2**63 - 1))


def resolve_device(name: str | torch.device) -> torch.device:
    """The torch device that `name` stands for; "auto" is CUDA where available, else the CPU.

    In a group of processes on one machine, each has a GPU of its own where there are as many, and
    they share those there are where there are fewer.
    """
    group = current_group()
    if group is not None and str(name) in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", group.local_rank % torch.cuda.device_count())
    if isinstance(name, str) and name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", str(name)):
        raise ValueError(
            f"device={name!r} is unknown; choose one of 'auto', 'cpu', 'cuda', 'cuda:<index>', "
            f"'mps', or a torch.device of one of these kinds."
        )
    device = torch.device(name)
    found = _n_devices(device.type)
    if (device.index or 0) >= found:
        raise ValueError(
            f"device={name!r} was asked for, but PyTorch finds {found} {device.type.upper()} "
            f"devices here; use device='auto' or 'cpu'."
        )
    return device


def _n_devices(kind: str) -> int:
    """The number of devices of this kind that PyTorch finds."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())

"""Where and how one fit runs: device, seed, random streams, checkpoint folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import torch

from sklsdm._version import __version__
from sklsdm.hashing import content_hash

# Parameters that change neither the result nor what can be resumed.
_NOT_PART_OF_THE_FIT = ("checkpoint", "verbose")


class Stream(IntEnum):
    """The random streams of one fit, by use. The numbers are part of what a seed draws.

    Those from 1,000 to 999,999 are left to parts that users write.
    """

    AUTOENCODER_WEIGHTS = 0
    AUTOENCODER_STEPS = 1
    AUTOENCODER_HELD_OUT = 2
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


@dataclass(frozen=True)
class Run:
    """What both stages need to know of the fit that they are part of."""

    device: torch.device
    seed: int
    verbose: int = 0
    checkpoint: Path | None = None  # folder for the state of an unfinished fit

    def stream(self, stream: int) -> torch.Generator:
        """A random stream of this fit, on its device; the streams are independent."""
        return self._generator(stream, self.device)

    def weights(self, stream: int) -> torch.Generator:
        """The stream on the CPU, where initial weights are drawn whatever the device."""
        return self._generator(stream, torch.device("cpu"))

    def _generator(self, stream: int, device: torch.device) -> torch.Generator:
        random = torch.Generator(device=device)
        return random.manual_seed((self.seed * 1_000_003 + stream) % (2**63 - 1))


@dataclass(frozen=True)
class Stage:
    """One training of a fit, as it is named to users and on disk."""

    title: str  # in the progress bar, errors and logs: "stage 2 (matching)"
    file: str  # of its checkpoint: "stage-2.pt"
    advice: str  # what to lower when it diverges: "the matcher's lr"


def resolve_device(name: str | torch.device) -> torch.device:
    """The torch device for "auto" (CUDA where there is one), a device's name or the device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", str(name)):
        raise ValueError(
            f"device={name!r} is unknown; choose one of 'auto', 'cpu', 'cuda', 'cuda:<index>', "
            f"'mps', or a torch.device of these."
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
    """How many devices of a kind PyTorch finds."""
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(kind == "cpu" or torch.backends.mps.is_available())


def fit_folder(root: str | Path, params: dict[str, Any], arrays: Iterable[Any]) -> Path:
    """Folder below `root` for the fit with these parameters on these arrays (None allowed).

    Its name is a hash of both and of the package's version, so that fits which may end in other
    draws never meet in one folder.
    """
    part = {name: params[name] for name in params if name not in _NOT_PART_OF_THE_FIT}
    return Path(root) / content_hash(__version__, part, list(arrays))[:24]


def remembered_seed(folder: Path, seed: int) -> int:
    """The seed with which the fit in `folder` began; `seed` is noted where it begins now."""
    path = folder / "seed.json"
    if path.exists():
        return int(json.loads(path.read_text())["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": seed}))
    return seed

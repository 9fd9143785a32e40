"""Where an unfinished fit leaves its state: a folder named by its parameters and data."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from sklsdm._validation import row_blocks

# What changes neither the result nor what can be resumed.
_NOT_PART_OF_THE_FIT = ("checkpoint", "verbose")


def resume_folder(root: str | Path, params: dict[str, Any], arrays: list[Any]) -> Path:
    """Folder below `root` for the fit with these parameters on these arrays (None allowed).

    Its name is a hash of both, so the folds and candidates of a search do not meet.
    """
    digest = hashlib.sha256()
    for name in sorted(params):
        if name not in _NOT_PART_OF_THE_FIT:
            text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(params[name]))
            digest.update(f"{name}={text};".encode())
    for array in arrays:
        if array is None:
            digest.update(b"none;")
            continue
        digest.update(f"{array.shape}{array.dtype};".encode())
        for rows in row_blocks(array):
            digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return Path(root) / digest.hexdigest()[:24]


def remembered_seed(folder: Path, seed: int) -> int:
    """The seed with which the fit in `folder` began; `seed` is noted where it begins now."""
    path = folder / "seed.json"
    if path.exists():
        return int(json.loads(path.read_text())["seed"])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"seed": seed}))
    return seed

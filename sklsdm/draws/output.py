"""Where draws are stored: arrays of the user or new ones, checked before and after."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.draws.memory import available_memory
from sklsdm.storage.mapped import check_whole, reserve

_SURELY_FREE = 2**24  # bytes for draws
_NUMPYS = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}


def check_out(
    out: NDArray[Any] | None, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """The array to fill with draws: `out` after checking it, or a new one if it is None."""
    if out is None:
        return allocate(shape, dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array or memmap, got {type(out).__name__}.")
    if isinstance(out, np.ma.MaskedArray):
        raise TypeError("out must be a plain array, got a masked one; pass out.data.")
    if not out.flags.writeable:
        raise ValueError(
            "out is read-only; pass an array that can be written to (a memmap with mode 'r+')."
        )
    if out.shape != shape or out.dtype.kind != "f" or not out.flags.c_contiguous:
        order = "" if out.flags.c_contiguous else " that is not C-contiguous"
        raise ValueError(
            f"out must be a C-contiguous float array of shape {shape}, got an array of shape "
            f"{out.shape} and dtype {out.dtype}{order}: pass numpy.empty({shape})."
        )
    if isinstance(out, np.memmap) and out.mode != "c":
        check_whole("out", out)
        if out.filename is not None and os.path.exists(out.filename):  # else it was unlinked
            with open(out.filename, "r+b") as file:
                reserve(out, file, f"out={str(out.filename)!r}")
    return out


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A new array for draws; raises if it is larger than the memory that is available."""
    n_bytes = math.prod(shape) * dtype.itemsize
    # Asking takes as long as a few draws.
    limit = available_memory() if n_bytes > _SURELY_FREE else n_bytes
    try:
        if n_bytes <= limit:
            return np.empty(shape, dtype)
    except MemoryError:  # a limit of this process, which the system does not tell
        pass
    raise ValueError(
        f"{'x'.join(map(str, shape))} draws of {dtype} take {n_bytes / 2**30:,.1f} GiB, but "
        f"{limit / 2**30:,.1f} GiB are available: ask for a smaller n_samples, or pass "
        f"out=, for example numpy.lib.format.open_memmap('draws.npy', 'w+', dtype='{dtype}', "
        f"shape={shape})."
    )


def check_outcome(
    name: str, values: NDArray[Any], what: str, rows: NDArray[np.intp] | None = None
) -> None:
    """Raise if networks gave values (n, ...) that are not finite.

    `what` tells what they are, such as "code". They came of the `rows` (n,) of the argument `name`,
    in order where `rows` is None; an empty `name` stands for no argument at all.
    """
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    place = int(np.argmax(bad.reshape(len(values), -1).any(axis=1)))
    row = place if rows is None else int(rows[place])
    if not name:
        raise ValueError(
            f"The fitted law gives a {what} that is not finite; fit again with a lower matcher__lr."
        )
    raise ValueError(
        f"Row {row} of {name} gives a {what} that is not finite. Either the row is too far from "
        f"those of fit, or training went astray: pass values like those of fit, or fit again with "
        f"a lower matcher__lr."
    )


def store(draws: Tensor, out: NDArray[Any]) -> None:
    """Write finite draws into `out` of their shape; raises where its dtype is too narrow."""
    if out.dtype == _NUMPYS[draws.dtype]:
        torch.from_numpy(out).copy_(draws)  # without another copy on the way
        return
    write(draws.cpu().numpy(), out)


def write(drawn: NDArray[Any], out: NDArray[Any]) -> None:
    """Write finite draws into `out`; raises where they became infinite, its dtype being narrow."""
    with np.errstate(over="ignore", under="ignore"):
        out[...] = drawn
    if np.can_cast(drawn.dtype, out.dtype) or np.isfinite(out).all():
        return
    raise ValueError(
        f"out has dtype {out.dtype}, whose largest number is {np.finfo(out.dtype).max:.3g}, "
        f"but a draw is {np.abs(drawn).max():.3g}; pass an array of dtype {drawn.dtype}."
    )

"""Files that are mapped into memory: a missing block would end the process, so it is looked for."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any

import numpy as np

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_whole(name: str, array: np.memmap[Any, Any]) -> None:
    """Raise if the file of a memmap was cut short after it was opened."""
    mapped = getattr(array, "_mmap", None)
    if mapped is None:
        return
    needed = _start(array) + len(mapped)
    if mapped.size() < needed:
        raise ValueError(
            f"{name} is a memmap of {array.filename}, which was cut to {mapped.size():,} bytes "
            f"after it was opened; {needed:,} are needed. Write the file again and open it anew."
        )


def reserve(array: np.memmap[Any, Any], file: Any, name: str) -> None:
    """Have the system set aside the blocks of a mapped file that is going to be written.

    A new file has none yet, and if the disk is full when one is needed, the process is ended.
    `file` is the file, open for writing. An OSError says that there is no room for `name`.
    """
    if not hasattr(os, "posix_fallocate"):  # macOS and Windows
        return
    mapped: Any = getattr(array, "_mmap", None)
    if os.fstat(file.fileno()).st_size != mapped.size():
        return  # another file has taken the name since
    try:
        os.posix_fallocate(file.fileno(), _start(array), len(mapped))
    except OSError as error:
        if error.errno in _NO_ROOM:  # others: this file system cannot do it
            raise OSError(
                error.errno,
                f"There is no room for the {len(mapped) / 2**30:.1f} GiB of {name} "
                f"({error.strerror})",
            ) from error


def _start(array: np.memmap[Any, Any]) -> int:
    """Where in its file the mapping of a memmap begins."""
    return array.offset - array.offset % mmap.ALLOCATIONGRANULARITY

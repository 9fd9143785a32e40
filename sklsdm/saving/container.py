"""The file itself: one safetensors file with all arrays, a JSON document and a checksum.

The document and the checksum are the two entries of the file's metadata, so that every reader of
safetensors can look at all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_DOCUMENT, _CHECKSUM = "sklsdm", "sha256"
_MOST_TEXT = 8 * 2**20  # bytes of the document
_MOST_HEADER = 4 * _MOST_TEXT  # bytes: the document with its quotes escaped, and names of arrays
# The first bytes of files that users may take for one of ours.
_OTHERS = {
    b"\x80": "a pickle, such as joblib.dump and pickle.dump write",
    b"PK": "a zip archive, such as torch.save, skops.io.dump and numpy.savez write",
    **dict.fromkeys(
        (b"x\x01", b"x\x5e", b"x\x9c", b"x\xda", b"\x1f\x8b", b"BZh", b"\x5d\x00\x00", b"\xfd7zXZ")
        + (b"\x04\x22\x4d\x18",),
        "compressed data, such as joblib.dump writes with compress=",  # zlib, gzip, bz2, xz, lz4
    ),
}


def pack(document: str, arrays: Arrays) -> bytes:
    """The contents of a file.

    Raises ValueError if the document is larger than `unpack` accepts.
    """
    metadata = {_DOCUMENT: document, _CHECKSUM: _checksum(document, arrays)}
    data = safetensors.numpy.save(dict(arrays), metadata)
    if len(document) > _MOST_TEXT or _header_size(data) > _MOST_HEADER:
        raise ValueError(
            f"The model has more settings and names than fit in a file ({_MOST_TEXT:,} bytes of "
            f"JSON); use joblib.dump."
        )
    return data


def unpack(data: bytes) -> tuple[str, dict[str, NDArray[Any]]]:
    """The document and the arrays of a file's contents.

    No more memory is taken than a small multiple of the length of `data`.

    Raises
    ------
    ValueError
        The contents were not made by `pack`, or not all of them are there unchanged.
    """
    size = _header_size(data)
    if not 0 < size <= min(len(data) - 8, _MOST_HEADER):
        raise ValueError(_not_ours(data))
    try:
        arrays = safetensors.numpy.load(data)
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        document, checksum = metadata.pop(_DOCUMENT), metadata.pop(_CHECKSUM)
    except Exception as error:  # whatever the parsers raise
        raise ValueError(_not_ours(data)) from error
    if metadata or len(document) > _MOST_TEXT or checksum != _checksum(document, arrays):
        raise ValueError("its checksum does not fit its contents, so the file was altered")
    return document, arrays


def _header_size(data: bytes) -> int:
    """Bytes of the header of a safetensors file, which follows this number itself."""
    return int.from_bytes(data[:8], "little")


def _checksum(document: str, arrays: Arrays) -> str:
    """SHA-256 of the document and of names, dtypes, shapes and bytes of all arrays."""
    layout = [[name, arrays[name].dtype.str, arrays[name].shape] for name in sorted(arrays)]
    digest = hashlib.sha256(json.dumps([document, layout]).encode())
    for name in sorted(arrays):
        digest.update(arrays[name].reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _not_ours(data: bytes) -> str:
    for start, what in _OTHERS.items():
        if data.startswith(start):
            return f"it is no file of sklsdm.save; it begins like {what}"
    return "it is no file of sklsdm.save, or it was cut off or altered"


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; a pipe or a device, which may never end, is refused."""
    path.stat()  # raises FileNotFoundError
    if not path.is_file():
        raise ValueError("it is no regular file")
    return path.read_bytes()

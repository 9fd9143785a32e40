"""Where unpaired responses may lie: arrays, memmaps, files, Dask arrays and torch Datasets.

All of them become rows: an object with `shape`, `dtype`, `len` and `rows[slice or indices]`, from
which blocks of bounded size are read.
"""

from __future__ import annotations

import math
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm._validation import check_finite, check_numeric, described, number_kind
from sklsdm.blocks import row_slices
from sklsdm.reading import as_numbers, named_in_errors, read_numbers, read_plain
from sklsdm.storage.mapped import check_whole

NAME = "Y_unpaired"  # the argument, in messages
_MAGIC = b"\x93NUMPY"  # how a .npy file begins


def open_rows(value: Any) -> Any:
    """`Y_unpaired` as rows of finite numbers, wherever they lie; what is read is checked."""
    if tuple(getattr(value, "shape", ()))[:1] == (0,):
        raise ValueError(
            f"{NAME} holds no rows, got shape {tuple(value.shape)}; without unpaired responses "
            f"pass None."
        )
    if isinstance(value, torch.utils.data.DataLoader):
        raise TypeError(
            f"{NAME} is a DataLoader; pass its dataset (loader.dataset), which is batched and "
            f"shuffled during fit."
        )
    if isinstance(value, Iterator):
        raise TypeError(
            f"{NAME} is a {type(value).__name__}, which can be read only once; pass an array, or "
            f"list({NAME})."
        )
    if isinstance(value, str | Path):
        value = [value]
    if isinstance(value, torch.utils.data.Dataset):
        rows: Any = DatasetRows(value)
    elif _are_paths(value):
        rows = ShardRows([Path(path) for path in value])
    elif is_dask_array(value):
        rows = MemmapRows(spool(value))
    elif isinstance(value, np.memmap) and isinstance(value := read_numbers(NAME, value), np.memmap):
        rows = MemmapRows(value)
    else:
        return check_numeric(NAME, value)
    as_numbers(NAME, np.empty(0, rows.dtype))  # raises for other dtypes
    check_finite(NAME, rows)
    rows.is_checked = True
    return rows


def _are_paths(value: Any) -> bool:
    """Whether these are paths; raises if a list holds nothing, or paths beside other things."""
    if not isinstance(value, list | tuple):
        return False
    if len(value) == 0:
        raise ValueError(
            f"{NAME} is an empty list. If it comes from a search for files, none was found; "
            f"without unpaired responses pass None."
        )
    n_paths = sum(isinstance(part, str | Path) for part in value)
    if 0 < n_paths < len(value):
        raise TypeError(
            f"{NAME} is a list of {n_paths} paths and {len(value) - n_paths} other things; pass "
            f"paths of .npy files only, or responses only."
        )
    return n_paths > 0


def is_dask_array(value: Any) -> bool:
    """Whether this is a Dask array; Dask is not imported for it."""
    return type(value).__module__.partition(".")[0] == "dask" and hasattr(value, "chunks")


class Rows(ABC):
    """Base of rows that are read where they lie, in blocks.

    Once all were found finite (`is_checked`), they must stay so whenever they are read again.
    """

    is_checked = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        found = self._read(rows)
        if self.is_checked and found.dtype.kind == "f" and not np.isfinite(found).all():
            raise ValueError(
                f"{NAME} has changed since the start of fit: it holds NaN or infinite values now."
            )
        return found.reshape(len(found), *self.shape[1:])

    @abstractmethod
    def _read(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        """The rows of a slice or of these numbers, as an array."""

    def give_shape(self, row_shape: tuple[int, ...]) -> None:
        """Give rows another shape, of as many numbers."""
        self.shape = (len(self), *row_shape)


class MemmapRows(Rows):
    """A memmap whose file may be cut short meanwhile: reading on would end the process."""

    def __init__(self, array: np.memmap[Any, Any]) -> None:
        super().__init__(array.shape, array.dtype)
        self.array = array

    def _read(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        check_whole(NAME, self.array)
        return np.asarray(self.array[rows])


class ShardRows(Rows):
    """The rows of several .npy files, one file after another; each is opened while it is read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        shards = [self._open(path) for path in self.paths]
        first = shards[0]
        for path, shard in zip(self.paths, shards, strict=True):
            if shard.shape[1:] != first.shape[1:] or shard.dtype != first.dtype:
                raise ValueError(
                    f"All files of {NAME} must have one dtype and, after the first axis, one "
                    f"shape, but {self.paths[0]} has {first.dtype} and shape {first.shape}, and "
                    f"{path} has {shard.dtype} and shape {shard.shape}."
                )
        self.ends = np.cumsum([len(shard) for shard in shards])
        if self.ends[-1] == 0:
            raise ValueError(f"{NAME}: its files hold no rows; pass None instead.")
        self.row_shape = first.shape[1:]
        super().__init__((int(self.ends[-1]), *self.row_shape), first.dtype)

    @staticmethod
    def _open(path: Path) -> NDArray[Any]:
        if path.is_dir():
            raise ValueError(
                f"{NAME}: {path} is a folder; pass the files, such as "
                f"sorted(Path({str(path)!r}).glob('*.npy'))."
            )
        try:
            with open(path, "rb") as file:
                if file.read(len(_MAGIC)) != _MAGIC:
                    raise ValueError(
                        f"{NAME}: {path} is no .npy file. Read it (a table by pandas.read_csv) and "
                        f"pass the array, or store that by numpy.save and pass its path."
                    )
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, f"{NAME}: no such file", str(path)) from error
        try:
            shard = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{NAME}: {path} cannot be read as a .npy file: {error}") from error
        if not isinstance(shard, np.ndarray) or shard.ndim == 0:
            raise ValueError(f"{NAME}: {path} must hold one array with an axis of rows.")
        return shard

    def _read(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        found = np.empty((len(rows), *self.row_shape), dtype=self.dtype)
        files = np.searchsorted(self.ends, rows, side="right")
        for file in np.unique(files):
            shard = self._open(self.paths[file])
            start = 0 if file == 0 else self.ends[file - 1]
            expected = (int(self.ends[file] - start), *self.row_shape)
            if shard.shape != expected or shard.dtype != self.dtype:
                raise ValueError(
                    f"{NAME}: {self.paths[file]} has changed since the start of fit, from "
                    f"{self.dtype} and shape {expected} to {shard.dtype} and shape {shard.shape}."
                )
            here = files == file
            found[here] = shard[rows[here] - start]
        return found


class DatasetRows(Rows):
    """A map-style torch Dataset. An item is a response, or a tuple or list that begins with one."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        kind = type(dataset).__name__
        if not hasattr(dataset, "__len__"):
            raise TypeError(
                f"{NAME} is a {kind} without a length; pass a map-style Dataset (with __len__ and "
                f"__getitem__)."
            )
        with named_in_errors(NAME):
            n_rows = len(dataset)
        if n_rows == 0:
            raise ValueError(f"{NAME} is a Dataset without items; pass None instead.")
        first = self._responses([0])
        self.row_shape = first.shape[1:]
        super().__init__((n_rows, *self.row_shape), first.dtype)

    def _responses(self, rows: Sequence[int]) -> NDArray[Any]:
        with named_in_errors(NAME):
            if hasattr(self.dataset, "__getitems__"):
                items = [_response(item) for item in self.dataset.__getitems__(list(rows))]
            else:  # copied one by one, since all may be one buffer that is filled anew
                items = [_response(self.dataset[int(row)]).copy() for row in rows]
            if len(items) != len(rows):
                raise ValueError(f"{NAME} was asked for {len(rows)} items and gave {len(items)}.")
            return as_numbers(NAME, np.stack(items))

    def _read(self, rows: slice | NDArray[Any]) -> NDArray[Any]:
        numbers = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows.tolist()
        if len(numbers) == 0:
            return np.empty((0, *self.row_shape), dtype=self.dtype)
        found = self._responses(numbers)
        if found.shape[1:] != self.row_shape or number_kind(found.dtype) != number_kind(self.dtype):
            raise ValueError(
                f"{NAME} is a Dataset whose items hold {described(self.dtype)} of shape "
                f"{self.row_shape} at first and {described(found.dtype)} of shape "
                f"{found.shape[1:]} in rows {numbers[0]} to {numbers[-1]}; give all of them one "
                f"dtype and shape."
            )
        return found


def _response(item: Any) -> NDArray[Any]:
    """The response of an item of a Dataset, which may be a tuple of it and other things."""
    return np.asarray(read_plain(NAME, item[0] if isinstance(item, tuple | list) else item))


def _as_declared(block: Any, place: int) -> NDArray[Any]:
    """A chunk of a Dask array, or an error where it is not what the array's metadata say."""
    found = np.asarray(block.compute())
    if found.shape != block.shape or not np.can_cast(found.dtype, block.dtype, "same_kind"):
        raise ValueError(
            f"chunk {place} of the Dask array has shape {found.shape} and dtype {found.dtype}, but "
            f"the array declares {block.shape} and {block.dtype}; correct the chunks, shape, dtype "
            f"or meta with which it was made"
        )
    return np.ascontiguousarray(found, dtype=block.dtype)


def spool(array: Any) -> np.memmap[Any, Any]:
    """A Dask array, computed once and chunk by chunk, in a temporary file that goes with it.

    `fit` reads the responses once in every epoch; without the file each time would be a computation
    of the whole array.
    """
    if any(math.isnan(side) for side in array.shape):
        raise ValueError(
            f"{NAME} is a Dask array of unknown chunk sizes, shape {array.shape}; call its "
            f"compute_chunk_sizes() first, or make it by to_dask_array(lengths=True)."
        )
    array = array.rechunk(dict.fromkeys(range(1, array.ndim), -1))
    with tempfile.TemporaryFile() as file:
        try:
            for place in range(array.numblocks[0]):
                with named_in_errors(NAME):
                    chunk = _as_declared(array.blocks[place], place)
                for rows in row_slices(len(chunk), math.prod(chunk.shape[1:])):
                    file.write(chunk[rows].tobytes())
            file.write(b"\0")  # since an empty file cannot be mapped
            file.flush()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{NAME}, a Dask array of {array.nbytes / 2**30:.1f} GiB, could not be written to "
                f"a temporary file in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR to a "
                f"folder with more room",
            ) from error
        return np.memmap(file, dtype=array.dtype, mode="r", shape=array.shape)

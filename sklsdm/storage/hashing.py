"""A content hash: equal settings and data give the same hash in every process."""

from __future__ import annotations

import functools
import hashlib
import re
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sklsdm.blocks import row_blocks

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def content_hash(*values: Any) -> str:
    """The SHA-256, as hexadecimal digits, of the contents of the values.

    What enters the hash depends on the kind of value: of numbers and strings the value; of arrays
    and tensors the bytes (read block by block); of torch modules the class, settings and weights;
    of functions the code and the variables in their closure; of random generators the state; of
    objects with `get_params` the class and parameters; of all others the class and attributes.
    """
    digest = hashlib.sha256()
    for value in values:
        _add(digest, value, ())
    return digest.hexdigest()


def _add(digest: Any, value: Any, above: tuple[int, ...]) -> None:
    """Add `value` to the digest; `above` holds the ids of the objects that contain it."""
    if id(value) in above:
        digest.update(b"<itself>")
        return
    inside = (*above, id(value))
    if isinstance(value, _PLAIN):
        digest.update(f"{type(value).__name__}:{value!r};".encode())
    elif _is_array(value):
        _add_array(digest, value, inside)
    else:
        digest.update(f"{_kind(value)}[".encode())
        for name, part in _parts(value):
            digest.update(f"{name}=".encode())
            _add(digest, part, inside)
        digest.update(b"];")


def _is_array(value: Any) -> bool:
    sliced = hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__len__")
    return sliced and not isinstance(value, np.generic)


def _add_array(digest: Any, value: Any, inside: tuple[int, ...]) -> None:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous()
        if value.dtype == torch.bfloat16:
            value = value.float()
        value = value.numpy()
    digest.update(f"array{tuple(value.shape)}{value.dtype};".encode())
    if value.dtype == object:
        _add(digest, np.asarray(value).tolist(), inside)
    elif value.shape == ():
        digest.update(np.asarray(value).tobytes())
    else:
        for rows in row_blocks(value):
            digest.update(np.ascontiguousarray(value[rows]).tobytes())


def _kind(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The parts of `value` that enter the hash, with their names."""
    if isinstance(value, Mapping):
        return sorted(((repr(key), part) for key, part in value.items()), key=lambda pair: pair[0])
    if isinstance(value, list | tuple):
        return [("", part) for part in value]
    if isinstance(value, set | frozenset):
        return [("", part) for part in sorted(value, key=repr)]
    if isinstance(value, np.random.RandomState):
        return [("state", list(value.get_state()))]
    if isinstance(value, np.random.Generator):
        return [("state", value.bit_generator.state)]
    if isinstance(value, np.generic | np.dtype | torch.dtype | torch.device | type | slice):
        return [("is", repr(value))]
    if isinstance(value, nn.Module):
        settings = {k: v for k, v in vars(value).items() if not k.startswith("_")}
        return [
            ("settings", settings),
            ("own", dict(value._parameters)),
            ("buffers", dict(value._buffers)),
            ("modules", dict(value._modules)),
        ]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    if isinstance(value, types.MethodType):
        return [("self", value.__self__), ("func", value.__func__)]
    if isinstance(value, types.FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return [("code", value.__code__), ("encloses", cells), ("defaults", defaults)]
    if isinstance(value, types.CodeType):
        return [("code", value.co_code), ("names", value.co_names), ("consts", value.co_consts)]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return [("params", value.get_params(deep=False))]
    if hasattr(value, "__array__"):
        return [("values", np.asarray(value))]
    if hasattr(value, "__dict__"):
        return [("attributes", vars(value))]
    return [("is", re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value)))]

"""An estimator as a tree of plain JSON values and a table of arrays.

None, booleans, integers, finite floats, strings and lists stand for themselves. Everything else is
an object ``{"is": kind, ...}``; `decode.py` lists the kinds.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from sklsdm.autoencoders.wrapped import TorchCoder
from sklsdm.modules import PackedModule, RebuildableModule
from sklsdm.reading import NUMBER_KINDS
from sklsdm.saving.boosters import pack_booster
from sklsdm.saving.classes import FUNCTIONS, known_modules, known_objects, may_be_own
from sklsdm.saving.forests import pack_trees
from sklsdm.saving.modules import arrays_of, check_config, describe
from sklsdm.saving.one_hot import check_one_hot

MOST_LEVELS = 100  # of values inside each other
LARGEST_INTEGER = 2**64 - 1
FOLDERS = ("checkpoint", "memory")  # attributes that name one of this machine, and are not saved
# Whose metadata requests are saved (sklearn.utils.metadata_routing).
ROUTED = ("fit", "predict", "score", "transform", "inverse_transform", "split")


class Encoder:
    """Turns values into JSON values; their arrays are collected in `arrays`.

    `left_out` has the names of settings that are not saved.
    """

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.left_out: set[str] = set()
        self._objects, self._modules = known_objects(), known_modules()
        self._level = 0

    def encode(self, value: Any, where: str) -> Any:
        """The JSON value of `value`; `where` names it in errors.

        Raises TypeError if something in it cannot be saved.
        """
        self._level += 1
        if self._level > MOST_LEVELS:
            raise TypeError(f"{where} contains itself, or too many values inside each other.")
        try:
            return self._encode(value, where)
        finally:
            self._level -= 1

    def _encode(self, value: Any, where: str) -> Any:
        if value is None or isinstance(value, bool | str):
            return value if type(value) is not np.str_ else str(value)
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, np.generic):
            return self._scalar(value, where)
        if type(value) is int and abs(value) <= LARGEST_INTEGER:
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"is": "float", "value": str(value)}
        if type(value) is list:
            return self._items(value, where)
        if type(value) in (tuple, set):
            items = sorted(value) if type(value) is set else value
            return {"is": type(value).__name__, "items": self._items(items, where)}
        if type(value) is dict:
            return {"is": "dict", "items": self._pairs(value, where)}
        if type(value) is slice:
            return {"is": "slice", "ends": [value.start, value.stop, value.step]}
        if isinstance(value, np.dtype):
            return {"is": "dtype", "name": self._numeric(value, where).str}
        if isinstance(value, type) and issubclass(value, np.generic):
            return {"is": "type", "name": self._numeric(np.dtype(value), where).str}
        if isinstance(value, torch.device):
            return {"is": "device", "name": str(value)}
        if isinstance(value, types.FunctionType) and value in FUNCTIONS.values():
            return {"is": "function", "name": value.__name__}
        if type(value) is HistGradientBoostingRegressor:
            return {"is": "booster", "content": self.encode(pack_booster(value), where)}
        if isinstance(value, RebuildableModule):
            value = PackedModule(value)
        if isinstance(value, PackedModule):
            return self._packed(value, where)
        if isinstance(value, nn.Module):
            return self._own_module(value, where)
        return self._object(value, where)

    # ------------------------------------------------------------------ plain values
    def _items(self, items: Any, where: str) -> list[Any]:
        return [self.encode(item, f"{where}[{place}]") for place, item in enumerate(items)]

    def _pairs(self, pairs: Mapping[Any, Any], where: str) -> list[Any]:
        return [
            [self.encode(key, f"a key of {where}"), self.encode(item, f"{where}[{key!r}]")]
            for key, item in pairs.items()
        ]

    def _state(self, state: Mapping[str, Any], where: str) -> dict[str, Any]:
        return {name: self.encode(value, f"{where}.{name}") for name, value in state.items()}

    def _scalar(self, value: np.generic, where: str) -> Any:
        dtype = self._numeric(value.dtype, where)
        return {"is": "scalar", "dtype": dtype.str, "value": self.encode(value.item(), where)}

    @staticmethod
    def _numeric(dtype: np.dtype[Any], where: str) -> np.dtype[Any]:
        """The dtype in little-endian order, which files have."""
        if dtype.kind not in NUMBER_KINDS or dtype.itemsize > 8:
            raise TypeError(f"{where} holds numbers of dtype {dtype}, which cannot be saved.")
        return dtype.newbyteorder("<")

    def _array(self, value: NDArray[Any], where: str) -> dict[str, Any]:
        if isinstance(value, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(value)
            parts = {"data": np.asarray(value.data), "mask": mask}
            return {"is": "masked", **{k: self._array(v, where) for k, v in parts.items()}}
        if type(value) is not np.ndarray:
            raise TypeError(f"{where} is a {type(value).__name__}, which cannot be saved.")
        if value.dtype == object:
            items = self._items(value.ravel().tolist(), where)
            return {"is": "objects", "shape": list(value.shape), "items": items}
        if value.dtype.kind == "U":
            width = max(1, value.dtype.itemsize // 4)
            codes = np.ascontiguousarray(value.astype(f"<U{width}")).reshape(-1)
            found = self._array(codes.view("<u4").reshape(*value.shape, width), where)
            return {"is": "text", "codes": found}
        dtype = self._numeric(value.dtype, where)
        by_columns = value.flags.f_contiguous and not value.flags.c_contiguous
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.array(value.T if by_columns else value, dtype=dtype, order="C")
        return {"is": "array", "name": name, "by_columns": by_columns}

    # ------------------------------------------------------------------ objects and modules
    def _class_name(self, kind: type, known: Mapping[str, type], where: str) -> str:
        """The name of a class in the file; the user's own classes have theirs too."""
        name = kind.__name__
        if known.get(name) is kind or (name not in known and may_be_own(kind)):
            return name
        if name in known and may_be_own(kind):
            raise TypeError(
                f"{where} is of your class {name}, whose name one of sklsdm's or scikit-learn's "
                f"has too; rename it to save it."
            )
        raise TypeError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}, which sklsdm.save does not "
            f"write; {_instead(kind)}."
        )

    def _object(self, value: Any, where: str) -> dict[str, Any]:
        kind = type(value)
        name = self._class_name(kind, self._objects, where)
        state = dict(value.__getstate__() or {})
        node: dict[str, Any] = {"is": "object", "class": name}
        requests = state.pop("_metadata_request", None)
        if requests is not None:
            node["requests"] = self.encode(_requests(requests), where)
        if kind is OneHotEncoder:
            try:
                check_one_hot(value)
            except ValueError as error:
                raise TypeError(f"{where}: {error}.") from error
        if kind is ExtraTreesRegressor and "estimators_" in state:
            node["trees"] = self.encode(pack_trees(state.pop("estimators_")), where)
        node["state"] = self._state(self._without_code_and_folders(state), where)
        return node

    def _without_code_and_folders(self, state: dict[str, Any]) -> dict[str, Any]:
        for name in ("callbacks", *FOLDERS):
            if state.get(name):
                self.left_out.add(name)
                state[name] = None
        if "callbacks_" in state:
            state["callbacks_"] = []
        return state

    def _packed(self, packed: PackedModule, where: str) -> dict[str, Any]:
        if packed.copy is not None:
            return self._own_module(packed.copy, where)
        check_config(packed.config)
        return {
            "is": "module",
            "class": self._class_name(packed.kind, self._modules, where),
            "config": self._state(packed.config, where),
            "arrays": self._state(packed.arrays, where),
        }

    def _own_module(self, module: nn.Module, where: str) -> dict[str, Any]:
        if isinstance(module, TorchCoder):
            return {
                "is": "torch coder",
                "state": self._state(
                    {
                        "encoder": module.encoder,
                        "decoder": module.decoder,
                        "input_shape": module.input_shape,
                        "output_shapes": module.output_shapes,
                    },
                    where,
                ),
            }
        try:
            arrays = arrays_of(module)
        except TypeError as error:
            raise TypeError(f"{where} cannot be saved: {error}.") from error
        return {
            "is": "own module",
            **describe(module),
            "arrays": self._state(arrays, where),
        }


def _instead(kind: type) -> str:
    """What to do where an object of this class is not saved."""
    if issubclass(kind, np.random.Generator | np.random.RandomState):
        return "set it to an integer or None first, with set_params"
    return "joblib.dump does, in a file that only those who trust you should load (docs/saving.md)"


def _requests(requests: Any) -> dict[str, dict[str, Any]]:
    """The metadata that an object asks for, by method."""
    found = {name: getattr(requests, name).requests for name in ROUTED}
    return {name: dict(each) for name, each in found.items() if each}

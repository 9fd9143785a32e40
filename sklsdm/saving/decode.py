"""The way back from JSON values and arrays to an estimator, for files that may be malicious.

Classes and functions come from the tables of `classes.py` or from the user, never from the file.
Every array of the file is used once, so that no more memory is taken than the file has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from sklsdm.autoencoders.wrapped import TorchCoder
from sklsdm.reading import NUMBER_KINDS
from sklsdm.saving.boosters import unpack_booster
from sklsdm.saving.classes import FUNCTIONS, known_modules, known_objects
from sklsdm.saving.encode import FOLDERS, LARGEST_INTEGER, MOST_LEVELS, ROUTED
from sklsdm.saving.forests import unpack_trees
from sklsdm.saving.modules import fill_own, rebuild
from sklsdm.saving.one_hot import check_one_hot

Node = dict[str, Any]


class Decoder:
    """Turns the JSON values of a file back into objects.

    Parameters
    ----------
    arrays : dict of str to ndarray
        All arrays of the file; each is taken out when it is used.
    modules : sequence of nn.Module
        The user's modules, for weights that belong to no class of this package.
    classes : sequence of type
        The user's own classes.
    """

    def __init__(
        self,
        arrays: dict[str, NDArray[Any]],
        modules: Sequence[nn.Module] = (),
        classes: Sequence[type] = (),
    ) -> None:
        self.arrays = arrays
        self._own_modules = modules
        self._objects, self._modules = known_objects(classes), known_modules(classes)
        self._level = 0
        self._kinds: Mapping[str, Callable[[Node], Any]] = {
            "array": self._array,
            "booster": lambda node: unpack_booster(self.decode(node["content"])),
            "device": lambda node: torch.device(_text(node["name"])),
            "dict": lambda node: {self.decode(k): self.decode(v) for k, v in node["items"]},
            "dtype": lambda node: _dtype(node["name"]),
            "float": lambda node: {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}[node["value"]],
            "function": lambda node: FUNCTIONS[node["name"]],
            "masked": lambda node: np.ma.MaskedArray(*self._both(node, "data", "mask")),
            "module": self._module,
            "object": self._object,
            "objects": self._objects_array,
            "own module": lambda node: fill_own(
                node, self._state(node["arrays"]), self._own_modules
            ),
            "scalar": lambda node: _dtype(node["dtype"]).type(self.decode(node["value"])),
            "set": lambda node: set(self.decode(node["items"])),
            "slice": lambda node: slice(*map(self.decode, node["ends"])),
            "text": self._text_array,
            "torch coder": self._torch_coder,
            "tuple": lambda node: tuple(self.decode(node["items"])),
            "type": lambda node: _dtype(node["name"]).type,
        }

    def decode(self, node: Any) -> Any:
        """The value of a JSON value. Raises for whatever `Encoder.encode` cannot have written."""
        self._level += 1
        if self._level > 3 * MOST_LEVELS:
            raise ValueError("too many values inside each other")
        try:
            if isinstance(node, list):
                return [self.decode(item) for item in node]
            if isinstance(node, dict):
                return self._kinds[node["is"]](node)
            if isinstance(node, int) and abs(node) > LARGEST_INTEGER:
                raise ValueError("an integer is too large")
            return node
        finally:
            self._level -= 1

    def _both(self, node: Node, *names: str) -> list[Any]:
        return [self.decode(node[name]) for name in names]

    def _state(self, node: Node) -> dict[str, Any]:
        return {name: self.decode(value) for name, value in node.items()}

    # ------------------------------------------------------------------ arrays
    def _array(self, node: Node) -> NDArray[Any]:
        name = node["name"]
        if name not in self.arrays:
            raise ValueError(f"array {name!r} is missing or used twice")
        array = self.arrays.pop(name)
        return array.T if node["by_columns"] else array

    def _objects_array(self, node: Node) -> NDArray[Any]:
        items = self.decode(node["items"])
        found = np.empty(len(items), dtype=object)
        for place, item in enumerate(items):
            found[place] = item
        return found.reshape(node["shape"])

    def _text_array(self, node: Node) -> NDArray[Any]:
        codes = self.decode(node["codes"])
        if codes.dtype != np.uint32 or (codes.size and codes.max() > 0x10FFFF):
            raise ValueError("a text holds what is no character")
        *shape, width = codes.shape
        return np.ascontiguousarray(codes).reshape(-1).view(f"<U{width}").reshape(shape)

    # ------------------------------------------------------------------ objects and modules
    def _object(self, node: Node) -> Any:
        kind = self._class(node, self._objects)
        state = self._state(node["state"])
        for name in state:
            _check_attribute(kind, name)
        if any(state.get(name) for name in FOLDERS):
            raise ValueError("it names a folder of this machine")
        if kind is ExtraTreesRegressor and "trees" in node:
            packed = self.decode(node["trees"])
            state["estimators_"] = unpack_trees(
                packed, state["n_features_in_"], state["n_outputs_"]
            )
        found = kind.__new__(kind)
        if hasattr(found, "__setstate__"):
            found.__setstate__(state)
        else:
            found.__dict__.update(state)
        if kind is OneHotEncoder:
            check_one_hot(found)
        if "requests" in node:
            _set_requests(found, self.decode(node["requests"]))
        return found

    def _module(self, node: Node) -> nn.Module:
        kind = self._class(node, self._modules)
        return rebuild(kind, self._state(node["config"]), self._state(node["arrays"]))

    def _torch_coder(self, node: Node) -> TorchCoder:
        coder = TorchCoder.__new__(TorchCoder)
        nn.Module.__init__(coder)
        for name in ("encoder", "decoder", "input_shape", "output_shapes"):
            setattr(coder, name, self.decode(node["state"][name]))
        return coder.requires_grad_(False).eval()

    @staticmethod
    def _class(node: Node, known: Mapping[str, type]) -> Any:
        name = node["class"]
        if name not in known:
            raise ValueError(
                f"it needs your class {name!r}; pass load(path, classes=[...]) that class if you "
                f"trust it"
            )
        return known[name]


def _check_attribute(kind: type, name: str) -> None:
    """Raise if an attribute would hide a method or a property of its class."""
    hidden = getattr(kind, name, None)
    if name.startswith("__") or callable(hidden) or isinstance(hidden, property):
        raise ValueError(f"{kind.__name__} has no attribute {name!r} to set")


def _dtype(name: Any) -> np.dtype[Any]:
    dtype = np.dtype(_text(name))
    if dtype.kind not in NUMBER_KINDS:
        raise ValueError(f"numbers of dtype {name!r} are not in such files")
    return dtype


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _set_requests(found: Any, requests: dict[str, dict[str, Any]]) -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        for method in ROUTED:
            if method in requests:
                getattr(found, f"set_{method}_request")(**requests[method])

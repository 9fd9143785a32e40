"""Torch modules in a file: rebuilt from recorded arguments, or loaded into those of the user."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklsdm._validation import warn_user

Arrays = Mapping[str, NDArray[Any]]

_MOST_MEMBERS = 1000  # of a list among the arguments of a module
_MOST_SHOWN = 4000  # characters of a module's text that are kept
_CALLS_PER_ARRAY = 100  # of torch functions while a module is built
_NO_FIT = "the settings of a network do not fit its weights"
_BFLOAT16 = ":bfloat16"  # ends the names of arrays that hold the bits of such numbers


def rebuild(kind: Any, config: dict[str, Any], arrays: Arrays) -> nn.Module:
    """The module ``kind(**config)`` with these weights, in evaluation mode.

    Raises ValueError if the weights do not fit. Neither time nor memory grows beyond what the
    weights take, whatever `config` holds.
    """
    check_config(config)
    state = tensors_of(arrays)
    with _Sparing(state):
        module = kind(**config)
    own = module.state_dict(keep_vars=True)
    if _shapes(own) != _shapes(state):
        raise ValueError(_NO_FIT)
    for name, value in own.items():  # torch's default dtype may be another here than there
        value.data = value.data.to(state[name].dtype)
    module.load_state_dict(state)
    return module.eval()


def check_config(config: Mapping[str, Any]) -> None:
    """Raise if an argument of a module lists more members than a network has layers."""
    for name, value in config.items():
        if isinstance(value, list | tuple | np.ndarray) and len(value) > _MOST_MEMBERS:
            raise ValueError(f"a network's {name} may have {_MOST_MEMBERS} members at most")


class _Sparing(TorchFunctionMode):
    """While it is active, no tensor much larger than the weights of `state` is made, nor many."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.most_numbers = 10_000 + 2 * sum(value.numel() for value in state.values())
        self.calls_left = 1000 + _CALLS_PER_ARRAY * len(state)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        sides = [abs(side) for side in _integers([args, list(kwargs.values())]) if side]
        if func is torch.eye and len(sides) == 1:
            sides += sides  # it stands for both
        self.calls_left -= 1
        if math.prod(sides) > self.most_numbers or self.calls_left < 0:
            raise ValueError(_NO_FIT)
        return func(*args, **kwargs)


def _integers(value: Any) -> Iterator[int]:
    """All integers among the arguments of a function; where it makes a tensor, its sides."""
    if type(value) is int:
        yield value
    elif isinstance(value, list | tuple):
        for member in value:
            yield from _integers(member)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes of weights by name."""
    return {name: tuple(value.shape) for name, value in state.items()}


# ---------------------------------------------------------------------------- weights as arrays
def arrays_of(module: nn.Module) -> dict[str, NDArray[Any]]:
    """The state dict of a module as arrays.

    Raises TypeError if it holds anything but tensors of real numbers.
    """
    found = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor) or value.is_complex() or value.is_quantized:
            raise TypeError(f"{name} of a {type(module).__name__} is no tensor of real numbers")
        value = value.detach().cpu()
        if value.dtype == torch.bfloat16:  # which NumPy does not have
            name, value = name + _BFLOAT16, value.contiguous().view(torch.int16)
        found[name] = value.numpy().copy()
    return found


def tensors_of(arrays: Arrays) -> dict[str, Tensor]:
    """The state dict that `arrays_of` turned into arrays."""
    found = {}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError("the weights of a network are no arrays")
        value = torch.from_numpy(array)
        if name.endswith(_BFLOAT16):
            name, value = name.removesuffix(_BFLOAT16), value.view(torch.bfloat16)
        found[name] = value
    return found


# ---------------------------------------------------------------------------- the user's modules
def describe(module: nn.Module) -> dict[str, Any]:
    """What a file says of a module that it cannot rebuild."""
    return {
        "class": type(module).__name__,
        "text": repr(module)[:_MOST_SHOWN],
        "training": module.training,
    }


def fill_own(
    described: Mapping[str, Any], arrays: Arrays, modules: Sequence[nn.Module]
) -> nn.Module:
    """A copy of the user's module that fits the description, with the weights of the file."""
    state = tensors_of(arrays)
    name, text = described["class"], described["text"]
    fitting = [
        module
        for module in modules
        if type(module).__name__ == name and _shapes(module.state_dict()) == _shapes(state)
    ]
    if not fitting:
        raise ValueError(
            f"it needs a module of yours: pass load(path, modules=[...]) a {name} with the weights "
            f"{_shapes(state)}, which printed as\n"
            f"{text}\nwhen it was saved"
        )
    same = [module for module in fitting if repr(module)[:_MOST_SHOWN] == text]
    if not same:
        warn_user(
            f"The {name} in modules has weights of the right shapes, but prints differently from "
            f"the one that was saved, which was\n{text}"
        )
    module = copy.deepcopy((same or fitting)[0]).cpu()
    module.load_state_dict(state)
    return module.train(bool(described["training"]))

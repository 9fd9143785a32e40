"""How modules are pickled: as class, arguments and arrays, from which they are rebuilt."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import nn

from sklsdm.public_calls import in_own_modes


class _RecordsArguments(type):
    """Metaclass that notes in `config` the arguments with which a module was made."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        module: Any = super().__call__(*args, **kwargs)
        init = inspect.signature(type(module).__init__)
        given = init.bind(module, *args, **kwargs).arguments
        module.config = {name: given[name] for name in given if name not in ("self", "generator")}
        return module


class RebuildableModule(nn.Module, metaclass=_RecordsArguments):
    """A module that can be made again from `config`, its arguments without the `generator`.

    `generator` is the `torch.Generator` from which weights are drawn. A module made without one
    is uninitialised until a state dict is loaded.
    """

    config: dict[str, Any]


class PackedModule:
    """A module in a form that can be unpickled on machines without its device.

    A :class:`RebuildableModule` is kept as class, arguments and numpy arrays, any other module as
    a copy on the CPU.
    """

    def __init__(self, module: Any) -> None:
        self.kind = type(module)
        self.copy: nn.Module | None = None
        if isinstance(module, RebuildableModule):
            self.config = module.config
            self.arrays = {k: v.detach().cpu().numpy() for k, v in module.state_dict().items()}
        else:
            self.copy = copy.deepcopy(module).cpu()

    @in_own_modes
    def unpack(self) -> nn.Module:
        if self.copy is not None:
            return self.copy
        if not issubclass(self.kind, RebuildableModule):  # a file of skops may name any class
            raise TypeError(f"{self.kind.__name__} is no module that can be rebuilt.")
        module = self.kind(**self.config)
        module.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.arrays.items()})
        return module.eval()


class ModuleHolder:
    """Mixin: modules among the attributes are packed in pickles and copies, and unpacked on CPU."""

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        state = dict(parent.__getstate__())
        return {k: PackedModule(v) if isinstance(v, nn.Module) else v for k, v in state.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {k: v.unpack() if isinstance(v, PackedModule) else v for k, v in state.items()}
        parent: Any = super()
        if hasattr(parent, "__setstate__"):
            parent.__setstate__(state)
        else:
            self.__dict__.update(state)

    def to(self, device: torch.device) -> None:
        """Move every module among the attributes."""
        for value in vars(self).values():
            if isinstance(value, nn.Module):
                value.to(device)

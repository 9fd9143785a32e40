"""Training that starts from the networks of an earlier fit instead of new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Start:
    """Where the training of a part starts, and whether a later one may go on from it."""

    earlier: Any | None  # the fitted part to go on from; None: new networks
    prefix: str  # of the part's parameters, such as "matcher__", for messages


class StartsWarm:
    """Mixin of a part whose training may go on from an earlier fit (`warm_start=True`)."""

    _start_of_training: Start | None = None  # None: new networks, and none will go on from them

    @property
    def _goes_on(self) -> bool:
        """Whether training starts from an earlier fit."""
        start = self._start_of_training
        return start is not None and start.earlier is not None

    @property
    def _was_trained_before(self) -> bool:
        """Whether it starts from an earlier fit whose own training has taken steps.

        Ctrl-C may have prevented them, and `wgan` takes none on fewer than 20 pairs.
        """
        start = self._start_of_training
        return start is not None and "train_loss" in getattr(start.earlier, "history_", {})

    def _at_start(self, name: str, module: Module) -> Module:
        """`module`, just made, with the weights that the earlier fit has in its attribute `name`.

        Without an earlier fit, or where that one has no such module, its weights stay.
        """
        start = self._start_of_training
        earlier = None if start is None else getattr(start.earlier, name, None)
        if start is None or earlier is None:
            return module
        if _layout(module) != _layout(earlier):
            raise ValueError(_other_network(self, start.earlier, start.prefix))
        module.load_state_dict(earlier.state_dict())
        return module


@contextmanager
def started(part: Any, earlier: Any | None, prefix: str) -> Iterator[None]:
    """Context in which the fit of `part` goes on from `earlier`, or begins what others go on from.

    Parts that are not trained take no notice.
    """
    part._start_of_training = Start(earlier, prefix)
    try:
        yield
    finally:
        del part._start_of_training  # a part does not keep the one before it


def _layout(module: nn.Module) -> tuple[str, dict[str, Any]]:
    """Layers and shapes, which weights must have in common to be exchanged."""
    return str(module), {name: tuple(v.shape) for name, v in module.state_dict().items()}


def _other_network(part: Any, earlier: Any, prefix: str) -> str:
    """The message for a network that the weights of the earlier fit do not fit."""
    now, before = part.get_params(deep=False), earlier.get_params(deep=False)
    changed = [
        f"{prefix}{name}={now[name]!r} (it was {before[name]!r})"
        for name in now
        if name in before and repr(now[name]) != repr(before[name])
    ]
    reason = f" Since the fit before these have changed: {', '.join(changed)}." if changed else ""
    return (
        f"warm_start=True goes on with the networks of the fit before, but {type(part).__name__} "
        f"now has others.{reason} Set back what changes layers or their widths, or fit anew with "
        f"warm_start=False."
    )

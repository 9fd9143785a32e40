"""Training that survives a kill: the whole state after each epoch, and the way back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback, LRScheduler

from sklsdm.nets.base import TrainingNet


class Checkpoint(Callback):
    """Save all that training depends on after each epoch, and go on from it where a file exists.

    Modules, optimizers, the moving average, the random state, the history and what the callbacks
    of this package remember are saved, so that a resumed training ends in the same result as an
    unbroken one. Users' own callbacks start afresh, but for skorch's rate schedulers, which go on
    too. Must stand last among the callbacks: the epoch in which another stops training is then
    not saved, but done again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        if not self.path.exists():
            return
        state = torch.load(self.path, map_location=net.device, weights_only=True)
        net.restore(state["net"] | {"random": _on_cpu(state["net"]["random"])})
        for row in state["history"]:
            net.history.new_epoch()
            for name, value in row.items():
                net.history.record(name, value)
        for name, callback in net.callbacks_:
            _remember(callback, state["callbacks"].get(name, {}))

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        state = {
            "net": net.snapshot(),
            "history": [
                {key: value for key, value in row.items() if key != "batches"}
                for row in net.history
            ],
            "callbacks": {name: _memory(callback) for name, callback in net.callbacks_},
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".part")
        torch.save(state, draft)
        os.replace(draft, self.path)  # whole or not at all


def _memory(callback: Callback) -> dict[str, Any]:
    """What one of our callbacks, or a rate scheduler, remembers from epoch to epoch."""
    if isinstance(callback, LRScheduler):
        state = callback.lr_scheduler_.state_dict()
        plain = (bool, int, float, str, list, type(None))  # the rest are settings of its own
        kept = {name: value for name, value in state.items() if isinstance(value, plain)}
        return {"scheduler": kept, "batch_idx_": callback.batch_idx_}
    names = getattr(callback, "remembers", ())
    return {name: getattr(callback, name) for name in names}


def _remember(callback: Callback, memory: dict[str, Any]) -> None:
    """Give back to a callback what `_memory` took from it."""
    for name, value in memory.items():
        if name == "scheduler":
            callback.lr_scheduler_.load_state_dict(value)
        else:
            setattr(callback, name, value)


def _on_cpu(state: Any) -> Any:
    return None if state is None else state.cpu()

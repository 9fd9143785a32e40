"""Checkpoints: training that was killed resumes after its last complete epoch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from skorch.callbacks import Callback, LRScheduler

from sklsdm.nets.base import TrainingNet
from sklsdm.run import own_draft


class Checkpoint(Callback):
    """Save the state of training after each epoch, and resume from the file if it exists.

    Modules, optimizers, moving average, random state, history and the state of the built-in
    callbacks are saved, so that resumed training ends in the same result as training without a
    break. skorch's LRScheduler resumes as well; all other callbacks of the user start anew.

    It must be the last callback. If another one stops training in an epoch, that epoch is not
    saved; training that resumes repeats it and stops there again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        try:
            state = torch.load(self.path, map_location=net.device, weights_only=True)
        except FileNotFoundError:
            return
        net.restore(state["net"] | {"random": _on_cpu(state["net"]["random"])})
        for row in state["history"]:
            net.history.new_epoch()
            for name, value in row.items():
                net.history.record(name, value)
        for name, callback in net.callbacks_:
            _set_state(callback, state["callbacks"].get(name, {}))

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        state = {
            "net": net.snapshot(),
            "history": [
                {key: value for key, value in row.items() if key != "batches"}
                for row in net.history
            ],
            "callbacks": {name: _state(callback) for name, callback in net.callbacks_},
        }
        # Written under a name that no other thread or process uses, and then renamed: a kill never
        # leaves half a file, and equal fits at the same time do not disturb each other.
        draft = own_draft(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, draft)
            os.replace(draft, self.path)
        except (FileNotFoundError, RuntimeError):
            if draft.exists():
                raise
            # An equal fit has ended and removed the folder. The next epoch is saved in a new one.


def _state(callback: Callback) -> dict[str, Any]:
    """The state that a built-in callback, or an LRScheduler, needs from earlier epochs."""
    if isinstance(callback, LRScheduler):
        state = callback.lr_scheduler_.state_dict()
        # Entries of other types, such as functions, are settings and do not change.
        plain = (bool, int, float, str, list, type(None))
        kept = {name: value for name, value in state.items() if isinstance(value, plain)}
        return {"scheduler": kept, "batch_idx_": callback.batch_idx_}
    names = getattr(callback, "remembers", ())
    return {name: getattr(callback, name) for name in names}


def _set_state(callback: Callback, state: dict[str, Any]) -> None:
    """Give a callback the state that `_state` returned."""
    for name, value in state.items():
        if name == "scheduler":
            callback.lr_scheduler_.load_state_dict(value)
        else:
            setattr(callback, name, value)


def _on_cpu(state: Any) -> Any:
    return None if state is None else state.cpu()

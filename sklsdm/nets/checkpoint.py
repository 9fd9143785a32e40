"""Checkpoints: training that was killed resumes after its last complete epoch."""

from __future__ import annotations

import io
from typing import Any

import torch
from skorch.callbacks import Callback, LRScheduler

from sklsdm.nets.base import TrainingNet
from sklsdm.storage.fit_folder import FitFolder, SharedFolder


class Checkpoint(Callback):
    """Save the state of training after each epoch, and resume from the last one if there is one.

    Modules, optimizers, moving average, random state, history and the state of the built-in
    callbacks are saved, so that resumed training ends in the same result as training without a
    break. skorch's LRScheduler resumes as well; all other callbacks of the user start anew. Reading
    a state runs no code from the file.

    It must be the last callback. If another one stops training in an epoch, that epoch is not
    saved; training that resumes repeats it and stops there again.
    """

    def __init__(self, folder: FitFolder | SharedFolder, name: str) -> None:
        self.folder = folder
        self.name = name

    def on_train_begin(self, net: TrainingNet, **kwargs: Any) -> None:
        for path, content in self.folder.states(self.name):
            start = _training_state(net)
            try:
                buffer = io.BytesIO(content)
                _resume(net, torch.load(buffer, map_location=net.device, weights_only=True))
                return
            except Exception as error:  # a state of other networks may raise anything
                _resume(net, start)
                kind = type(error).__name__
                self.folder.set_aside(path, f"holds no state of this training ({kind})")

    def on_epoch_end(self, net: TrainingNet, **kwargs: Any) -> None:
        content = io.BytesIO()
        torch.save(_training_state(net), content)
        self.folder.save(self.name, content.getbuffer())


def _training_state(net: TrainingNet) -> dict[str, Any]:
    """All that the next epoch depends on."""
    return {
        "net": net.snapshot(),
        "history": [
            {key: value for key, value in row.items() if key != "batches"} for row in net.history
        ],
        "callbacks": {name: _state(callback) for name, callback in net.callbacks_},
    }


def _resume(net: TrainingNet, state: dict[str, Any]) -> None:
    """Return to a state that `_training_state` has returned."""
    net.restore(state["net"] | {"random": _on_cpu(state["net"]["random"])})
    net.history.clear()
    for row in state["history"]:
        net.history.new_epoch()
        for name, value in row.items():
            net.history.record(name, value)
    for name, callback in net.callbacks_:
        _set_state(callback, state["callbacks"].get(name, {}))


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
    if "scheduler" in state:
        callback.lr_scheduler_.load_state_dict(state["scheduler"])
        callback.batch_idx_ = state["batch_idx_"]
    for name in getattr(callback, "remembers", ()):
        setattr(callback, name, state[name])


def _on_cpu(state: Any) -> Any:
    return None if state is None else state.cpu()

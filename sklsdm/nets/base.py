"""The base of our skorch nets: the epoch loop, interruption, averaged parameters, snapshots."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, LRScheduler, PrintLog
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from sklsdm.distributed import Group, is_first
from sklsdm.nets.progress import EpochProgress
from sklsdm.nets.recording import StepRecorder
from sklsdm.nets.repeatable import repeatable_convolutions

_BATCH_HOOKS = ("on_batch_begin", "on_batch_end", "on_grad_computed")


class StopTraining(KeyboardInterrupt):
    """Raised by a callback to end training; unlike Ctrl-C this does not count as interruption."""


class TrainingNet(NeuralNet):
    """A skorch net whose data is an iterable of batches that are already on the device.

    `fit(batches)` takes an object with `__len__` (steps in one epoch) and `__iter__`. For speed,
    the loss is summed on the device and read once an epoch (`history[-1, "train_loss"]`), and
    hooks on batches and gradients are called only for callbacks that define them. `interrupted_`
    says whether Ctrl-C ended training. With `ema_decay` > 0, `averaged_` holds the exponential
    moving average of the parameters of `module_`. `random` is the generator that the batches draw
    from; its state is part of a snapshot. With a `group` of processes, each trains on its share of
    every batch; losses are means over all, and decisions are made by what the first process has.
    A criterion that says `recordable = True` consists of operations on tensors and of `on_cpu`, so
    that a GPU can repeat a step by itself (`StepRecorder`).
    """

    def __init__(
        self,
        module: Any,
        *args: Any,
        ema_decay: float = 0.0,
        random: torch.Generator | None = None,
        group: Group | None = None,
        **kwargs: Any,
    ) -> None:
        self.ema_decay = ema_decay
        self.random = random
        self.group = group
        kwargs.setdefault("train_split", None)
        kwargs.setdefault("batch_size", 1)  # skorch's ProgressBar then counts batches
        super().__init__(module, *args, **kwargs)

    @property
    def _default_callbacks(self) -> list[tuple[str, Callback]]:
        return []  # `default_callbacks` gives the built-in and the user's callbacks in one list

    def initialize(self) -> TrainingNet:
        super().initialize()
        self.interrupted_ = False
        self._restart_average()
        self._batch_callbacks = {
            hook: [cb for _, cb in self.callbacks_ if _defines(cb, hook)] for hook in _BATCH_HOOKS
        }
        self._recorder = StepRecorder(self)
        return self

    def initialize_callbacks(self) -> TrainingNet:
        super().initialize_callbacks()
        logs = any(isinstance(callback, PrintLog) for _, callback in self.callbacks_)
        if logs and is_first():
            self.verbose = 1  # PrintLog prints nothing at verbose=0
        return self

    def get_dataset(self, X: Any, y: Any = None) -> Any:
        return X

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        return dataset

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        getattr(self, method_name)(self, **cb_kwargs)
        for _, callback in self.callbacks_:
            try:
                getattr(callback, method_name)(self, **cb_kwargs)
            except KeyboardInterrupt as stop:
                if isinstance(callback, EarlyStopping):  # skorch's own raises KeyboardInterrupt
                    raise StopTraining from stop
                raise

    def _notify_batch(self, hook: str, **kwargs: Any) -> None:
        for callback in self._batch_callbacks[hook]:
            getattr(callback, hook)(self, **kwargs)

    def run_single_epoch(
        self,
        iterator: Any,
        training: bool,
        prefix: str,
        step_fn: Callable[..., dict[str, Tensor]],
        **fit_params: Any,
    ) -> None:
        if iterator is None:
            return
        self._set_training(training)
        self.history.new_batch()  # one per epoch: some callbacks read the last batch
        totals: dict[str, Tensor] = {}
        count = 0
        self._recorder.begin_epoch(len(iterator))
        for batch in iterator:
            self._notify_batch("on_batch_begin", batch=batch, training=training)
            step = self._recorder.take(batch, partial(step_fn, **fit_params))
            if training:
                self.average()
            for name, value in step.items():
                totals[name] = totals[name] + value if name in totals else value
            self._notify_batch("on_batch_end", batch=batch, training=training, **step)
            count += 1
        for name, total in totals.items():
            mean = total / count if self.group is None else self.group.mean(total / count)
            self.history.record(f"{prefix}_{name}", mean.item())
        self.history.record(f"{prefix}_batch_count", count)

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> TrainingNet:
        if not self.initialized_:
            self.initialize()
        fit_params.pop("_routing_method", None)
        try:
            with repeatable_convolutions(torch.device(self.device)):
                self._train(X, y, fit_params)
        finally:
            for _, callback in self.callbacks_:
                if isinstance(callback, EpochProgress):
                    callback.close()
            self._recorder.forget()
        for _, callback in self.callbacks_:
            if isinstance(callback, LRScheduler):
                callback.lr_scheduler_ = None  # it holds the optimizer, which must not be pickled
        return self

    def _train(self, X: Any, y: Any, fit_params: dict[str, Any]) -> None:
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, epochs=self.max_epochs - len(self.history), **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self.interrupted_ = True
        self.notify("on_train_end", X=X, y=y)

    def load_params(self, *args: Any, **kwargs: Any) -> None:
        super().load_params(*args, **kwargs)
        self._restart_average()

    def _get_module(self, name: str, msg: str) -> Any:
        """The module that skorch saves or loads; for a criterion without state, an empty one."""
        if name == "criterion_" and not hasattr(self.criterion_, "state_dict"):
            return nn.Module()
        return super()._get_module(name, msg)

    def update(self, name: str, optimizer: torch.optim.Optimizer, loss: Tensor, batch: Any) -> None:
        """One optimizer step for module `name`; the gradient hooks run before the step."""
        if not (isinstance(loss, Tensor) and loss.numel() == 1 and loss.requires_grad):
            got = type(loss).__name__
            if isinstance(loss, Tensor):
                got += f" of shape {tuple(loss.shape)}, requires_grad={loss.requires_grad}"
            raise TypeError(
                f"The objective must return a tensor of one number that depends on the network's "
                f"parameters, got a {got}."
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._batch_callbacks["on_grad_computed"]:
            self._notify_batch(
                "on_grad_computed",
                named_parameters=list(getattr(self, name).named_parameters()),
                batch=batch,
                training=True,
            )
        optimizer.step()

    @property
    def n_steps_taken(self) -> int:
        """Training steps taken so far, in all epochs."""
        return sum(row.get("train_batch_count", 0) for row in self.history)

    # skorch keeps the module or optimizer called `name` in the attribute `name_`.
    @property
    def modules(self) -> dict[str, Any]:
        """All modules, by name."""
        return {name: getattr(self, f"{name}_") for name in self._modules}

    @property
    def optimizers(self) -> dict[str, Any]:
        """All optimizers, by name."""
        return {name: getattr(self, f"{name}_") for name in self._optimizers}

    def agreed(self, value: Tensor) -> Tensor:
        """A value by which training is steered, as the first process of the group has it."""
        return value if self.group is None else self.group.tensor_from_first(value)

    def _restart_average(self) -> None:
        self._to_average = list(self.module_.parameters())
        self.averaged_ = [p.detach().clone() for p in self._to_average]
        self._n_averaged = 0

    @torch.no_grad()
    def is_finite(self) -> Tensor:
        """Whether all parameters of all modules are finite, as a boolean () on the device."""
        finite = [p.isfinite().all() for m in self.modules.values() for p in m.parameters()]
        return torch.stack(finite).all() if finite else torch.tensor(True, device=self.device)

    @torch.no_grad()
    def average(self) -> None:
        """Update the averaged parameters; the decay is smaller in the first steps."""
        if self.ema_decay <= 0:
            return
        self._n_averaged += 1
        decay = min(self.ema_decay, self._n_averaged / (10 + self._n_averaged))
        torch._foreach_lerp_(self.averaged_, self._to_average, 1 - decay)

    @contextmanager
    def averaged(self) -> Any:
        """Context in which `module_` has the averaged parameters."""
        if self.ema_decay <= 0:
            yield self.module_
            return
        own = list(self.module_.parameters())
        kept = [p.detach().clone() for p in own]
        try:
            _assign(own, self.averaged_)
            yield self.module_
        finally:
            _assign(own, kept)

    def snapshot(self) -> dict[str, Any]:
        """A copy of all state that later steps depend on.

        It holds the states of modules, optimizers, averaged parameters and random generator.
        """
        return {
            "modules": {name: _copied(m.state_dict()) for name, m in self.modules.items()},
            "optimizers": {name: _copied(o.state_dict()) for name, o in self.optimizers.items()},
            "averaged": [p.clone() for p in self.averaged_],
            "n_averaged": self._n_averaged,
            "random": None if self.random is None else self.random.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Return to the state of a `snapshot`."""
        for name, values in state["modules"].items():
            self.modules[name].load_state_dict(values)
        for name, values in state["optimizers"].items():
            self.optimizers[name].load_state_dict(copy.deepcopy(values))
        self.averaged_ = [p.clone() for p in state["averaged"]]
        self._n_averaged = state["n_averaged"]
        if self.random is not None:
            self.random.set_state(state["random"])


def _defines(callback: Callback, hook: str) -> bool:
    """Whether the callback, or its class, overrides this hook of skorch's Callback."""
    own = hook in getattr(callback, "__dict__", {})
    return own or getattr(type(callback), hook) is not getattr(Callback, hook)


@torch.no_grad()
def _assign(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _copied(state: Any) -> Any:
    """Copy of a state dict; tensors are cloned, since state_dict() returns the live ones."""
    if isinstance(state, Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return type(state)((key, _copied(value)) for key, value in state.items())
    if isinstance(state, list):
        return [_copied(value) for value in state]
    return state


_THREADS = ThreadpoolController()


def one_thread() -> Any:
    """Context in which torch operations called from this thread run on one core.

    Small networks are fastest this way, and several processes do not compete for cores. Only the
    OpenMP limit of the calling thread is changed, and it is restored at the end.
    """
    return _THREADS.limit(limits=1, user_api="openmp")


def history_arrays(history: Any) -> dict[str, NDArray[np.float64]]:
    """Losses and scores by epoch of a skorch history, as arrays."""
    names = {k: None for row in history for k in row if k.endswith(("loss", "score"))}
    return {k: np.array([row[k] for row in history if k in row], dtype=float) for k in names}

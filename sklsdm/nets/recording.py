"""Training steps on CUDA: one is recorded as graphs, and the others are replays of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.nets.optimizers import Adam, AdamW
from sklsdm.nets.waiting import CountWaiting
from sklsdm.on_cpu import Function, compute_on_cpu, taken_over

Losses = dict[str, Tensor]

_DEVICES = ("cuda",)
_FEWEST_STEPS = 100  # recording takes as long as tens of steps: it pays where so many follow
_STEPS_BEFORE = 3  # taken one by one first: they make the optimizers' moments

_ONE_AT_A_TIME = threading.Lock()  # recordings of several threads
_LOG = logging.getLogger("sklsdm")


class StepRecorder:
    """Takes the training steps of a net; on CUDA it records one and replays it.

    The kernels of small networks run for microseconds, and a GPU then waits for the CPU, which
    launches some hundred of them one by one in each step. A CUDA graph holds the kernels of a
    whole step, with losses, gradients and optimizers, and is launched by one call. Where the CPU
    computes something in the midst of a step (`on_cpu`), one graph ends and another begins.
    Results are those of steps taken one by one.

    A replay repeats what the GPU did and runs no Python. So a step is recorded only if the
    criterion says that it consists of operations on tensors and of `on_cpu` (`recordable`), all
    modules are of classes of this package or of PyTorch, without hooks, no callback asks for
    batches or gradients, and one process trains. What else a recording depends on is looked at
    before each epoch; where it has changed, a step is recorded anew. Where the CPU waits for the
    GPU within a step, or recording fails, steps are taken one by one.

    Parameters
    ----------
    net : TrainingNet
        The net that trains, initialised.
    """

    def __init__(self, net: Any) -> None:
        self.net = net
        self.recording: Recording | None = None
        kind = torch.device(net.device).type
        self._may_record = kind in _DEVICES and _has_recordable_steps(net)
        self._worth_it = False  # of the present epoch
        self._n_taken = 0
        self._known: list[Any] = []

    def begin_epoch(self, n_steps: int) -> None:
        """Drop a recording that is out of date; an epoch has `n_steps` steps."""
        if self.recording is not None:
            if _dependencies(self.net) == self._known:
                self.recording.set_rates()
            else:
                self.forget()
                self._may_record = _has_recordable_steps(self.net)
        left = n_steps * (self.net.max_epochs - len(self.net.history) + 1)
        self._worth_it = self._may_record and left >= _FEWEST_STEPS

    def take(self, step: list[Any], train_step: Callable[[Any], Losses]) -> Losses:
        """One training step, by `train_step(step)` or by a replay of it; its losses."""
        if self.recording is not None and self.recording.suits(step):
            return self.recording.replay(step)
        if self.recording is not None or not self._worth_it:
            return train_step(step)
        self._n_taken += 1
        if self._n_taken < _STEPS_BEFORE:
            return train_step(step)
        with CountWaiting() as waiting:
            losses = train_step(step)
        if waiting.found.total():
            self._give_up(", ".join(waiting.found))
        else:
            self._record(step, train_step)
        return losses

    def forget(self) -> None:
        """Free the recording and the gradients that lie in its memory."""
        if self.recording is not None:
            self.recording = None
            for optimizer in self.net.optimizers.values():
                optimizer.zero_grad(set_to_none=True)
        self._n_taken = 0

    def _record(self, step: list[Any], train_step: Callable[[Any], Losses]) -> None:
        try:
            self.recording = Recording(self.net, step, train_step)
            self._known = _dependencies(self.net)
        except (RuntimeError, AttributeError) as error:  # a graph cannot hold it, or torch differs
            self._give_up(str(error))

    def _give_up(self, reason: str) -> None:
        _LOG.info("Steps are taken one by one, since one cannot be recorded: %s", reason)
        self._may_record = self._worth_it = False
        for optimizer in self.net.optimizers.values():
            optimizer.zero_grad(set_to_none=True)  # they may lie in memory of the recording


class Recording:
    """One training step as CUDA graphs.

    Parameters
    ----------
    net : TrainingNet
        The net; its optimizers have moments for all parameters that a step moves.
    step : list of Tensor or of named tuples of tensors
        Batches like those of the steps to come.
    train_step : callable
        Takes the step; it is recorded, not carried out.

    Raises
    ------
    RuntimeError
        The step has an operation that makes the CPU wait for the GPU.
    """

    def __init__(self, net: Any, step: list[Any], train_step: Callable[[Any], Losses]) -> None:
        self._step = [_copy_of(batch) for batch in step]
        self._inputs = _tensors_in(self._step)
        self._optimizers = list(net.optimizers.values())
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)  # so that gradients lie in the graph's memory
            optimizer.read_rates_from_device()
        try:
            self._launch, self._losses = record(
                lambda: train_step(self._step), torch.device(net.device), net.random
            )
        finally:
            self._rates = [optimizer.read_own_rates() for optimizer in self._optimizers]

    def suits(self, step: list[Any]) -> bool:
        """Whether the batches have the shapes that were recorded."""
        return [part.shape for part in _tensors_in(step)] == [part.shape for part in self._inputs]

    def replay(self, step: list[Any]) -> Losses:
        """Take one step, and return its losses in tensors of their own."""
        torch._foreach_copy_(self._inputs, _tensors_in(step))
        self._launch()
        return {name: loss.clone() for name, loss in self._losses.items()}

    def set_rates(self) -> None:
        """Let later replays have the present learning rates."""
        for optimizer, rates in zip(self._optimizers, self._rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                rate.fill_(group["lr"])


def record(
    compute: Callable[[], Losses], device: torch.device, random: torch.Generator | None
) -> tuple[Callable[[], None], Losses]:
    """Record what `compute` does on the GPU; a call that repeats it, and the results' tensors.

    `random` is the generator that `compute` draws from; replays go on in its stream. Other threads
    may give work to the GPU meanwhile, but not draw from CUDA's own generator.
    """
    try:
        return _capture(compute, device, random)
    except RuntimeError:
        # A recording that was broken off leaves generators as if it went on; a short one ends that.
        _capture(
            lambda: {"none": torch.zeros(1, dtype=torch.float32, device=device)}, device, random
        )
        raise


def _capture(
    compute: Callable[[], Losses], device: torch.device, random: torch.Generator | None
) -> tuple[Callable[[], None], Losses]:
    capture = _Capture(device, random)
    with _ONE_AT_A_TIME, torch.cuda.device(device), capture, taken_over(capture.cut):
        results = compute()
    return capture.replay, results


class _Capture:
    """Context that records as graphs what is done within it, with the CPU's part between them.

    They share one pool of memory: what an earlier graph computes is still there in a later one.
    """

    def __init__(self, device: torch.device, random: torch.Generator | None) -> None:
        self._random = random
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()
        self._parts: list[Callable[[], None]] = []

    def __enter__(self) -> _Capture:
        graph = torch.cuda.CUDAGraph()
        if self._random is not None and torch.__version__ < "2.14":  # later ones find generators
            graph.register_generator_state(self._random)
        self._graph = torch.cuda.graph(
            graph, self._pool, stream=self._stream, capture_error_mode="thread_local"
        )
        self._graph.__enter__()
        self._parts.append(graph.replay)
        return self

    def __exit__(self, *error: Any) -> None:
        self._graph.__exit__(*error)

    def cut(self, function: Function, value: Tensor, result: Tensor) -> None:
        """End a graph, note what the CPU computes after it, and begin another one."""
        self.__exit__(None, None, None)
        self._parts.append(partial(compute_on_cpu, function, value, result))
        self.__enter__()

    def replay(self) -> None:
        """Repeat everything."""
        for part in self._parts:
            part()


def is_recordable(criterion: Any) -> bool:
    """Whether a criterion says that it consists of operations on tensors and of `on_cpu`.

    What a class of a user inherits from ours does not count: it may have added other things.
    """
    own = vars(type(criterion)), getattr(criterion, "__dict__", {})
    said = is_ours(criterion) or any("recordable" in each for each in own)
    return bool(said and getattr(criterion, "recordable", False))


def is_ours(part: Any) -> bool:
    """Whether a function, also one with arguments filled in, or an object's class is of ours."""
    part = part.func if isinstance(part, partial) else part
    return str(getattr(part, "__module__", "")).startswith("sklsdm.")


def _has_recordable_steps(net: Any) -> bool:
    """Whether the steps of a net are known to be such operations alone."""
    return bool(
        is_recordable(net.criterion_)
        and net.group is None
        and not any(net._batch_callbacks.values())
        and all(isinstance(optimizer, Adam | AdamW) for optimizer in net.optimizers.values())
        and all(map(_is_plain, _modules_of(net)))
    )


def are_plain(module: nn.Module) -> bool:
    """Whether a module and all its parts are of ours or of torch, without hooks."""
    return all(map(_is_plain, module.modules()))


def _is_plain(module: nn.Module) -> bool:
    return type(module).__module__.startswith(("sklsdm.", "torch.")) and _n_hooks(module) == 0


def _modules_of(net: Any) -> list[nn.Module]:
    parts = net.modules.values()
    return [each for part in parts if isinstance(part, nn.Module) for each in part.modules()]


def _n_hooks(module: nn.Module) -> int:
    hooks = module._forward_hooks, module._forward_pre_hooks
    return sum(map(len, (*hooks, module._backward_hooks, module._backward_pre_hooks)))


def _dependencies(net: Any) -> list[Any]:
    """What a recording has taken as it was: settings, addresses, hooks, what is trained."""
    found = list(_looked_at(net.criterion_))
    for module in _modules_of(net):
        found += [_n_hooks(module), *(buffer.data_ptr() for buffer in module.buffers(False))]
    for optimizer in net.optimizers.values():
        for group in optimizer.param_groups:
            found.append([group[name] for name in ("betas", "eps", "weight_decay")])
            for parameter in group["params"]:
                moments = optimizer.state.get(parameter, {}).values()
                addresses = [value.data_ptr() for value in (parameter, *moments)]
                found.append((addresses, parameter.requires_grad))
    return found


def _looked_at(part: Any) -> Iterator[Any]:
    """Numbers and texts in an object of ours, the addresses of its tensors, what else it holds."""
    if isinstance(part, Tensor):
        yield part.data_ptr()
    elif isinstance(part, bool | int | float | str):
        yield part
    elif is_ours(type(part)) and hasattr(part, "__dict__") and not isinstance(part, nn.Module):
        yield id(part)
        for name, value in vars(part).items():
            yield name
            yield from _looked_at(value)
    else:
        yield id(part)


def _tensors_in(step: list[Any]) -> list[Tensor]:
    return [part for batch in step for part in _parts(batch) if part is not None]


def _parts(batch: Any) -> Iterable[Tensor | None]:
    return (batch,) if isinstance(batch, Tensor) else batch


def _copy_of(batch: Any) -> Any:
    if isinstance(batch, Tensor):
        return batch.clone()
    return type(batch)(*(None if part is None else part.clone() for part in batch))

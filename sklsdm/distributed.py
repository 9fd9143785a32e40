"""One fit by several processes: each takes a share of every batch of stage 1."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Group", "processes"]


@dataclass(frozen=True)
class Group:
    """The processes that fit together, as one of them sees them.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    size : int
        Number of processes.
    local_rank : int
        Number of this process on its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is the process that prints and writes files."""
        return self.rank == 0

    def from_first(self, value: Any) -> Any:
        """The value that the first process has; values must be picklable."""
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def tensor_from_first(self, value: Tensor) -> Tensor:
        """The tensor that the first process has."""
        value = value.contiguous()
        dist.broadcast(value, src=0)
        return value

    @torch.no_grad()
    def same_state(self, module: nn.Module) -> None:
        """Give a module the parameters and buffers that it has in the first process."""
        for value in module.state_dict().values():
            value.copy_(self.tensor_from_first(value.clone()))


_GROUP: ContextVar[Group | None] = ContextVar("_GROUP", default=None)


def current_group() -> Group | None:
    """The group in which this thread fits; None where it fits alone."""
    return _GROUP.get()


def is_first() -> bool:
    """Whether this process is the one that prints and writes files."""
    group = current_group()
    return group is None or group.is_first


@contextmanager
def processes(backend: str | None = None) -> Iterator[Group]:
    """Context in which the processes that torchrun has started fit together.

    ``torchrun --nproc-per-node=2 script.py`` starts a script twice. Inside this context both call
    `fit` with the same parameters and the same data, and end with the same fit. In each training
    step of stage 1 every process takes its share of the batch, so `autoencoder__batch_size` is that
    of all processes together, and the result is that of one process up to rounding. (Where the loss
    draws noise or depends on a whole batch, as that of "vae" does, it is so on average.) Gradients
    are averaged by PyTorch's `DistributedDataParallel`. All else, stage 2 included, every process
    does by itself, with equal seeds: on equal hardware all get the same. Only the first one shows
    progress, warns and writes checkpoints. In a script that is started in the ordinary way the
    context does nothing.

    Where an error ends one process, torchrun ends the others.

    Parameters
    ----------
    backend : str or None, default=None
        How processes talk, see `torch.distributed`: None is "cpu:gloo,cuda:nccl" where each process
        has a GPU of its own, which "auto" and "cuda" as `device` then stand for, else "gloo". A
        group that the script has made already is used as it is.

    Yields
    ------
    Group
        `rank`, `size` and `is_first`, for what the script itself prints and writes.

    Examples
    --------
    >>> from sklsdm import LSDMRegressor
    >>> from sklsdm.datasets import make_arms
    >>> from sklsdm.distributed import processes
    >>> arms = make_arms(60, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", random_state=0).set_params(matcher__max_steps=20)
    >>> with processes() as group:
    ...     est = est.fit(arms.X, arms.y)
    ...     if group.is_first:
    ...         print(f"fitted by {group.size}")
    fitted by 1
    """
    made = dist.is_available() and dist.is_initialized()
    if not made and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Group()
        return
    if not made:
        dist.init_process_group(backend or _backend())
    rank = dist.get_rank()
    group = Group(rank, dist.get_world_size(), int(os.environ.get("LOCAL_RANK", rank)))
    token = _GROUP.set(group if group.size > 1 else None)
    try:
        yield group
    finally:
        _GROUP.reset(token)
        if not made:
            dist.destroy_process_group()


def _backend() -> str:
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if not dist.is_nccl_available() or torch.cuda.device_count() < here:
        return "gloo"
    return "cpu:gloo,cuda:nccl"  # by nccl alone, what is on the CPU could not be exchanged


class _Loss(nn.Module):
    """The loss of a module as a module: what PyTorch makes parallel has to be one."""

    def __init__(self, module: nn.Module, criterion: Any) -> None:
        super().__init__()
        self.module = module
        self.criterion = criterion

    def forward(self, batch: Any) -> Tensor:
        return self.criterion(self.module, batch)


def parallel_loss(module: nn.Module, criterion: Any) -> Any:
    """The loss of a batch as a function: its gradients are means over all processes.

    All processes get the weights that the module has in the first one.
    """
    return DistributedDataParallel(_Loss(module, criterion)).__call__

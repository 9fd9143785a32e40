"""Adam and AdamW by torch's fused kernels, with little work around them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch


def _undecorated(method: Any) -> Any:
    """A method of torch's Optimizer without its decorator, which imports torch._dynamo."""
    return getattr(method, "__wrapped__", method)


class _OneCounter:
    """Mixin for an optimizer of torch: parameters that start together share their count of steps.

    With ``fused=True`` torch's own step sorts the parameters by device and raises the count of each
    by an operation of its own, which for small networks on a CPU takes several times as long as the
    kernel. Results are equal bit by bit. Its other methods import torch._dynamo, for compilers,
    which takes most of a second of the first fit in a process.
    """

    add_param_group = _undecorated(torch.optim.Optimizer.add_param_group)
    state_dict = _undecorated(torch.optim.Optimizer.state_dict)
    load_state_dict = _undecorated(torch.optim.Optimizer.load_state_dict)
    zero_grad = _undecorated(torch.optim.Optimizer.zero_grad)

    kernel: ClassVar[Callable[..., None]]
    _rates: list[torch.Tensor] | None = None  # on the device, where steps read them there
    param_groups: list[dict[str, Any]]
    state: defaultdict[torch.Tensor, Any]

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move all parameters that have a gradient; a closure is not called."""
        for index, group in enumerate(self.param_groups):
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._start([p for p in moved if p not in self.state])
                states = [self.state[p] for p in moved]
                counts = [state["step"] for state in states]
                distinct = {id(count): count for count in counts}
                if len(moved) < len(group["params"]):
                    self._pause([p for p in group["params"] if p.grad is None], distinct)
                torch._foreach_add_(list(distinct.values()), 1.0)
                beta1, beta2 = group["betas"]
                type(self).kernel(
                    moved,
                    [p.grad for p in moved],
                    [state["exp_avg"] for state in states],
                    [state["exp_avg_sq"] for state in states],
                    [],
                    counts,
                    lr=self._rate(index),
                    beta1=beta1,
                    beta2=beta2,
                    weight_decay=group["weight_decay"],
                    eps=group["eps"],
                    amsgrad=False,
                    maximize=False,
                )

    def _rate(self, index: int) -> Any:
        """The learning rate of a group; on CUDA as a recorded step reads it, as float32."""
        if self._rates is not None:
            return self._rates[index]
        group = self.param_groups[index]
        is_cuda = group["params"][0].is_cuda
        return float(np.float32(group["lr"])) if is_cuda else group["lr"]

    def read_rates_from_device(self) -> None:
        """Let steps read the learning rates from tensors () beside the parameters.

        A step that is recorded and replayed then has later rates, once they are written there.
        """
        self._rates = [
            torch.tensor(group["lr"], dtype=torch.float32, device=group["params"][0].device)
            for group in self.param_groups
        ]

    def read_own_rates(self) -> list[torch.Tensor]:
        """Let steps read the groups' own learning rates again; returns the tensors."""
        rates, self._rates = self._rates or [], None
        return rates

    def _start(self, parameters: list[torch.Tensor]) -> None:
        """Zero moments, as torch names them, for parameters that are moved for the first time."""
        if not parameters:
            return
        count = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
        for parameter in parameters:
            self.state[parameter] = {
                "step": count,
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def _pause(self, parameters: list[torch.Tensor], raised: dict[int, torch.Tensor]) -> None:
        """A count of its own for each parameter that does not move now and shares a raised one."""
        for state in (self.state[p] for p in parameters if p in self.state):
            if id(state["step"]) in raised:
                state["step"] = state["step"].clone()


class Adam(_OneCounter, torch.optim.Adam):
    """``torch.optim.Adam(params, lr, betas, fused=True)``."""

    kernel = staticmethod(torch._fused_adam_)

    def __init__(
        self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, fused=True)


class AdamW(_OneCounter, torch.optim.AdamW):
    """``torch.optim.AdamW(params, lr, weight_decay=weight_decay, fused=True)``."""

    kernel = staticmethod(torch._fused_adamw_)

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 1e-2) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)

"""What a public call runs under: torch modes of its own, and one fit of its estimator."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

import torch

Method = TypeVar("Method", bound=Callable[..., Any])
Estimator = TypeVar("Estimator")

_AUTOCAST_DEVICES = ("cpu", "cuda", "mps")


@contextmanager
def own_modes() -> Iterator[None]:
    """Context in which torch records gradients and has no autocast, whatever the caller has set.

    It also ends inference mode, and makes the CPU the default device. All of these modes belong to
    the calling thread, so that other threads keep theirs. The default dtype belongs to the whole
    process and is left alone: every tensor made in this package names its dtype.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _AUTOCAST_DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def in_own_modes(method: Method) -> Method:
    """Decorator of a public method that trains or computes: it runs in :func:`own_modes`."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        with own_modes():
            return method(*args, **kwargs)

    return cast(Method, call)


def on_one_fit(method: Method) -> Method:
    """Decorator of a public method that only reads what `fit` has learnt.

    It runs in :func:`own_modes`, on the estimator as it was at the call: another thread may refit
    it meanwhile. (Such a method cannot set attributes.)
    """

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with own_modes():
            return method(as_it_is(self), *args, **kwargs)

    return cast(Method, call)


def as_it_is(estimator: Estimator) -> Estimator:
    """A second object with the attributes that the estimator has now; their values are shared.

    A class whose values change in `fit` says in `__copy__` how they are copied too.
    """
    if hasattr(estimator, "__copy__"):
        return cast(Estimator, estimator.__copy__())
    found = object.__new__(type(estimator))
    found.__dict__ = estimator.__dict__.copy()
    return found


def take_over(estimator: Any, learnt: dict[str, Any]) -> None:
    """Replace all attributes that `fit` has set by those of `learnt`, in one assignment.

    A thread that is drawing then finds either the old fit or the new one.
    """
    kept = {name: value for name, value in vars(estimator).items() if not is_learnt(name)}
    estimator.__dict__ = kept | learnt


def learnt_by(estimator: Any) -> dict[str, Any]:
    """The attributes that `fit` has set."""
    return {name: value for name, value in vars(estimator).items() if is_learnt(name)}


def is_learnt(name: str) -> bool:
    """Whether an attribute of this name is set by `fit`."""
    return name.endswith("_") and not name.startswith("__")

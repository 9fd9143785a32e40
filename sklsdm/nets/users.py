"""The user's callbacks: which of them can work in our nets, and how copies of a part hold them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from sklearn.base import clone
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LRScheduler,
    PassthroughScoring,
    WandbLogger,
)
from torch.optim.lr_scheduler import LRScheduler as TorchScheduler
from torch.optim.lr_scheduler import ReduceLROnPlateau

# What the history holds at the end of each epoch, or may be put there by skorch's callbacks.
_ALWAYS_RECORDED = ("train_loss", "train_loss_best")
_MAYBE_RECORDED = ("train_critic_loss", "train_batch_count", "epoch", "dur", "event_lr", "event_cp")

_CANNOT_WORK: tuple[tuple[tuple[type, ...], str], ...] = (
    (
        (EpochScoring, BatchScoring, PassthroughScoring),
        "scores batches of X and y, or predictions, and these nets have neither. Monitor "
        "'valid_loss', or write a callback of your own whose on_epoch_end calls "
        "net.history.record(name, value) with a score of net.module_",
    ),
    (
        (InputShapeSetter,),
        "builds the module anew for the width of X, but the networks are built for your data "
        "before training begins. Leave it out",
    ),
)


# ---------------------------------------------------------------------------- what is refused
def check_callbacks(callbacks: Any, name: str = "callbacks") -> list[Callback]:
    """The user's callbacks without their names; an error where one cannot work.

    Parameters
    ----------
    callbacks : sequence of skorch callbacks or of pairs (name, callback), or None
        The user's.
    name : str, default="callbacks"
        Of the parameter, for the error.
    """
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise TypeError(
            f"{name} must be a list of skorch callbacks or None, got {callbacks!r}; put a single "
            f"callback in a list."
        )
    found = []
    taken: set[str] = set()
    for place, entry in enumerate(callbacks):
        label = f"{name}[{place}]"
        callback = entry
        if isinstance(entry, list | tuple) and len(entry) == 2:
            own, callback = entry
            if not isinstance(own, str):
                raise TypeError(f"{label} must have a string as its name, got {own!r}.")
            if own in taken:
                raise ValueError(f"{label} has the name {own!r}, which another one has already.")
            taken.add(own)
        if not isinstance(callback, Callback):
            raise TypeError(f"{label} {_no_callback(callback)}")
        reason = _reason(callback)
        if reason:
            raise ValueError(f"{label} cannot work: {type(callback).__name__} {reason}.")
        found.append(callback)
    return found


def _no_callback(value: Any) -> str:
    """What is wrong with `value`, which is no skorch callback, and what to pass instead."""
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, TorchScheduler):
        return (
            f"is a schedule of PyTorch's; pass skorch.callbacks.LRScheduler("
            f"policy={kind.__name__}), with the schedule's own arguments after it."
        )
    if isinstance(value, type) and issubclass(value, Callback):
        return f"is the class {value.__name__}; pass an object, such as {value.__name__}()."
    return (
        f"must be a skorch callback, or a pair (name, callback), got {value!r} "
        f"({type(value).__name__}); derive your own from skorch.callbacks.Callback."
    )


def _reason(callback: Callback) -> str:
    """Why this callback cannot work in our nets; empty where it can."""
    for types, reason in _CANNOT_WORK:
        if isinstance(callback, types):
            return reason
    if isinstance(callback, Checkpoint | EarlyStopping) and callback.load_best:
        return (
            "was given load_best=True, but after training the state with the best held-out score "
            "is kept in any case. Leave load_best=False"
        )
    by_batch = isinstance(callback, LRScheduler) and callback.step_every == "batch"
    if by_batch and _is_plateau(callback) and not callable(callback.monitor):
        return (
            "was given step_every='batch' with ReduceLROnPlateau, but losses are recorded once an "
            "epoch. Use step_every='epoch'"
        )
    return ""


def check_monitors(callbacks: Sequence[Callback], where: str, held_out: str | None) -> None:
    """Raise where a callback monitors a key that no epoch will have.

    `held_out` is the name of the held-out score in the history, None where there is none. A key
    that is unknown here is allowed after a callback that is not skorch's own, which may record it.
    """
    recorded = list(_ALWAYS_RECORDED)
    if held_out is not None:
        for name in dict.fromkeys(("valid_loss", held_out)):
            recorded += [name, f"{name}_best"]
    for place, callback in enumerate(callbacks):
        if not type(callback).__module__.startswith("skorch."):
            return
        key = _monitored(callback)
        if key is None or key in recorded or key in _MAYBE_RECORDED:
            continue
        label = f"callbacks[{place}] of {where} ({type(callback).__name__})"
        if held_out is None and key.startswith("valid_"):
            raise ValueError(
                f"{label} needs {key!r}, but no rows are held out in this fit: there are too few, "
                f"or validation_fraction=0. {_without_held_out(callback)}"
            )
        raise ValueError(
            f"{label} monitors {key!r}, which no epoch records. Recorded are "
            f"{', '.join(map(repr, recorded))}, and what a callback of your own before it records."
        )


def _without_held_out(callback: Callback) -> str:
    if isinstance(callback, WandbLogger):
        return "Hold rows out, or pass save_model=False."
    best = "_best" if isinstance(callback, Checkpoint) else ""
    return f"Hold rows out, or pass monitor='train_loss{best}'."


def _monitored(callback: Callback) -> str | None:
    """The key of the history that a callback of skorch's looks for in every epoch."""
    if isinstance(callback, WandbLogger):
        return "valid_loss_best" if callback.save_model else None
    watches = isinstance(callback, Checkpoint | EarlyStopping) or _is_plateau(callback)
    return callback.monitor if watches and isinstance(callback.monitor, str) else None


def _is_plateau(callback: Callback) -> bool:
    policies = (ReduceLROnPlateau, "ReduceLROnPlateau")
    return isinstance(callback, LRScheduler) and callback.policy in policies


# ---------------------------------------------------------------------------- copies of a part
class CallbackHolder:
    """Mixin of a part with a parameter `callbacks`: what becomes of them when it is cloned.

    A clone has copies of the callbacks, as it has of all other parameters: the folds of a search
    must not share a logger. It also remembers the originals, without pickling them: an
    estimator's `fit` trains in a clone of the estimator, where the user's own objects are wanted
    (:func:`clone_to_fit`).
    """

    callbacks: Sequence[Any] | None
    _copied_from: tuple[Any, Any]  # the copies, and what they are copies of

    def __sklearn_clone__(self) -> Self:
        own: Any = self
        parent: Any = super()
        params = own.get_params(deep=False)
        if "callbacks" not in params:
            return parent.__sklearn_clone__()
        # scikit-learn would build each callback anew from get_params(), without what it recorded,
        # and fail where its __init__ sets an attribute that is no argument.
        plain: Any = type(self)(**params | {"callbacks": None})
        parent = super(CallbackHolder, plain)
        fresh = parent.__sklearn_clone__()
        fresh.callbacks = copy_callbacks(self.callbacks)
        fresh._copied_from = (fresh.callbacks, self.callbacks)
        return fresh

    def __getstate__(self) -> dict[str, Any]:
        parent: Any = super()
        return {k: v for k, v in parent.__getstate__().items() if k != "_copied_from"}


def clone_to_fit(part: Any) -> Any:
    """A clone of a part, to be fitted, with the user's own callbacks.

    `part` belongs to the clone of an estimator in which `fit` trains; its callbacks are copies
    made for that clone, so the clone returned gets the objects that those were copied from.
    """
    fresh = clone(part)
    if isinstance(part, CallbackHolder):
        copies, originals = getattr(part, "_copied_from", (None, None))
        fresh.callbacks = originals if part.callbacks is copies else part.callbacks
    return fresh


def copy_callbacks(callbacks: Any) -> Any:
    """Copies that share nothing with the originals, but for what cannot be copied.

    A callback that refuses to be copied, since it holds an open file or a connection, is shared;
    so is one whose `__sklearn_clone__` returns itself.
    """
    if not isinstance(callbacks, list | tuple):
        return callbacks
    own_way = {
        id(callback): callback.__sklearn_clone__()
        for callback in _without_names(callbacks)
        if hasattr(callback, "__sklearn_clone__") and not isinstance(callback, type)
    }
    try:  # at once, so that callbacks which refer to each other still do
        return copy.deepcopy(list(callbacks), dict(own_way))
    except Exception:  # whatever an attribute raises that cannot be copied
        return [_copied_or_shared(entry, dict(own_way)) for entry in callbacks]


def _copied_or_shared(entry: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(entry, memo)
    except Exception:
        return entry


def _without_names(callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of a list in which pairs (name, callback) may stand."""
    pairs = (list, tuple)
    return [entry[-1] if isinstance(entry, pairs) and entry else entry for entry in callbacks]

"""The user's callbacks: checks that they can work in our nets, and their copies in clones."""

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

# Keys of the history at the end of an epoch: always there, or recorded by some nets and callbacks.
_ALWAYS_RECORDED = ("train_loss", "train_loss_best")
_MAYBE_RECORDED = ("train_critic_loss", "train_batch_count", "epoch", "dur", "event_lr", "event_cp")

_CANNOT_WORK: tuple[tuple[tuple[type, ...], str], ...] = (
    (
        (EpochScoring, BatchScoring, PassthroughScoring),
        "scores batches of X and y, or predictions, which these nets do not have. Monitor "
        "'valid_loss', or write a callback of your own whose on_epoch_end calls "
        "net.history.record(name, value) with a score of net.module_",
    ),
    (
        (InputShapeSetter,),
        "builds a new module for the width of X, but the networks here are built for your data "
        "before training begins. Leave it out",
    ),
)


# ---------------------------------------------------------------------------- what is refused
def check_callbacks(callbacks: Any, name: str = "callbacks") -> list[Callback]:
    """The user's callbacks without their names, if all of them can work in our nets.

    Parameters
    ----------
    callbacks : list or tuple of skorch callbacks or of pairs (name, callback), or None
        The user's callbacks.
    name : str, default="callbacks"
        Name of the parameter, for error messages.

    Returns
    -------
    list of skorch callbacks

    Raises
    ------
    TypeError
        `callbacks` is no list or tuple, or a member is no callback.
    ValueError
        A name occurs twice, or a callback needs what our nets do not have.
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
                raise ValueError(f"{label} has the name {own!r}, which an earlier one already has.")
            taken.add(own)
        if not isinstance(callback, Callback):
            raise TypeError(f"{label} {_no_callback(callback)}")
        reason = _reason(callback)
        if reason:
            raise ValueError(f"{label} cannot work: {type(callback).__name__} {reason}.")
        found.append(callback)
    return found


def _no_callback(value: Any) -> str:
    """What `value`, no skorch callback, is and what to pass instead, as the end of a message."""
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, TorchScheduler):
        return (
            f"is a PyTorch scheduler; pass skorch.callbacks.LRScheduler(policy={kind.__name__}), "
            f"with the scheduler's arguments after it."
        )
    if isinstance(value, type) and issubclass(value, Callback):
        return f"is the class {value.__name__}; pass an object, such as {value.__name__}()."
    return (
        f"must be a skorch callback, or a pair (name, callback), got {value!r} "
        f"({type(value).__name__}); derive your own from skorch.callbacks.Callback."
    )


def _reason(callback: Callback) -> str:
    """Why this callback cannot work in our nets, as the end of a message; empty if it can."""
    for types, reason in _CANNOT_WORK:
        if isinstance(callback, types):
            return reason
    if isinstance(callback, Checkpoint | EarlyStopping) and callback.load_best:
        return (
            "was given load_best=True, but the state with the best held-out score is always kept "
            "after training. Use load_best=False"
        )
    by_batch = isinstance(callback, LRScheduler) and callback.step_every == "batch"
    if by_batch and _is_plateau(callback) and not callable(callback.monitor):
        return (
            "was given step_every='batch' with ReduceLROnPlateau, but losses are recorded once an "
            "epoch. Use step_every='epoch'"
        )
    return ""


def check_monitors(callbacks: Sequence[Callback], where: str, held_out: str | None) -> None:
    """Raise if a callback of skorch monitors a key that the history will not have.

    `held_out` is the key of the held-out score in the history, or None if nothing is held out. The
    check ends at the first callback that is not one of skorch's, since it may record any key.
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
            f"{label} monitors {key!r}, which is not recorded. Recorded are "
            f"{', '.join(map(repr, recorded))}, and what your own callbacks before it record."
        )


def _without_held_out(callback: Callback) -> str:
    """What the user can do if a callback needs a held-out score and there is none."""
    if isinstance(callback, WandbLogger):
        return "Hold rows out, or pass save_model=False."
    best = "_best" if isinstance(callback, Checkpoint) else ""
    return f"Hold rows out, or pass monitor='train_loss{best}'."


def _monitored(callback: Callback) -> str | None:
    """The key that a callback of skorch reads from the history in every epoch, if any."""
    if isinstance(callback, WandbLogger):
        return "valid_loss_best" if callback.save_model else None
    watches = isinstance(callback, Checkpoint | EarlyStopping) or _is_plateau(callback)
    return callback.monitor if watches and isinstance(callback.monitor, str) else None


def _is_plateau(callback: Callback) -> bool:
    policies = (ReduceLROnPlateau, "ReduceLROnPlateau")
    return isinstance(callback, LRScheduler) and callback.policy in policies


# ---------------------------------------------------------------------------- copies of a part
class CallbackHolder:
    """Mixin for a part with a parameter `callbacks`: says how they are cloned.

    A clone has copies of the callbacks, as of all other parameters, so that the folds of a search
    do not share a logger. But an estimator's `fit` trains a clone of the estimator, and there the
    user's own objects must be called. The clone therefore also refers to the originals, which
    :func:`clone_to_fit` uses; this reference is not pickled.
    """

    callbacks: Sequence[Any] | None
    _copied_from: tuple[Any, Any]  # the copies and their originals

    def __sklearn_clone__(self) -> Self:
        own: Any = self
        parent: Any = super()
        params = own.get_params(deep=False)
        if "callbacks" not in params:
            return parent.__sklearn_clone__()
        # scikit-learn would rebuild each callback from get_params(). That loses what the callback
        # recorded, and fails if its __init__ sets an attribute that is not an argument.
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
    """An unfitted clone of a part that has the user's own callbacks, not copies.

    `part` belongs to the clone of the estimator that `fit` trains, so its callbacks are copies of
    the user's. The clone returned here gets the originals.
    """
    fresh = clone(part)
    if isinstance(part, CallbackHolder):
        copies, originals = getattr(part, "_copied_from", (None, None))
        fresh.callbacks = originals if part.callbacks is copies else part.callbacks
    return fresh


def copy_callbacks(callbacks: Any) -> Any:
    """Deep copies of the callbacks.

    A callback that cannot be copied, for example because it holds an open file or a connection,
    is shared with the original list; so is one whose `__sklearn_clone__` returns itself.
    """
    if not isinstance(callbacks, list | tuple):
        return callbacks
    cloned = {
        id(callback): callback.__sklearn_clone__()
        for callback in _without_names(callbacks)
        if hasattr(callback, "__sklearn_clone__") and not isinstance(callback, type)
    }
    try:  # all in one call, so that callbacks which refer to each other still do
        return copy.deepcopy(list(callbacks), dict(cloned))
    except Exception:  # an attribute that cannot be copied may raise anything
        return [_copied_or_shared(entry, dict(cloned)) for entry in callbacks]


def _copied_or_shared(entry: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(entry, memo)
    except Exception:
        return entry


def _without_names(callbacks: Sequence[Any]) -> list[Any]:
    """The callbacks of a list whose members may be pairs (name, callback)."""
    pairs = (list, tuple)
    return [entry[-1] if isinstance(entry, pairs) and entry else entry for entry in callbacks]

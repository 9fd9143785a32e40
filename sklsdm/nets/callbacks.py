"""All callbacks of one training run, built-in ones and the user's, in the order they run in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklsdm.nets.checkpoint import Checkpoint
from sklsdm.nets.divergence import DivergenceGuard, FinalLook
from sklsdm.nets.held_out import BestSoFar, HeldOutScore, KeepBest
from sklsdm.nets.looks import Look
from sklsdm.nets.progress import EpochProgress
from sklsdm.nets.rates import built_in_schedule
from sklsdm.nets.users import check_callbacks, check_monitors
from sklsdm.run import Run
from sklsdm.stages import Stage


def default_callbacks(
    stage: Stage,
    *,
    run: Run,
    held_out: HeldOutScore | None = None,
    patience: int | None = None,
    users: Sequence[Any] | None = None,
    tolerance: float = 0.0,
    doubt: float | None = None,
    look: Look | None = None,
) -> list[Any]:
    """The built-in callbacks and the user's, in the order in which they must run.

    The user's callbacks run after the losses and the held-out score of the epoch are recorded, and
    before the state to keep is updated. skorch refuses a name that occurs twice, so the built-in
    callbacks have names that a user is unlikely to choose.

    Parameters
    ----------
    stage : Stage
        The training run: its title and its checkpoint file.
    run : Run
        The fit that it is part of.
    held_out : HeldOutScore or None, default=None
        The score by which the state to keep is chosen; None keeps the last state.
    patience : int or None, default=None
        Epochs without a better score before training stops; None never stops it.
    users : sequence of skorch callbacks or None, default=None
        The user's callbacks, or pairs (name, callback).
    tolerance : float, default=0.0
        By how much the kept state may be worse than the best, see :class:`KeepBest`.
    doubt : float or None, default=None
        By how much it must be better than the start, see :class:`KeepBest`.
    look : Look or None, default=None
        A look at what the network gives, after each epoch and at the end.

    Returns
    -------
    list of callbacks and of pairs (name, callback)

    Raises
    ------
    TypeError, ValueError
        One of the user's callbacks cannot work.
    """
    theirs = check_callbacks(users)
    check_monitors(theirs, stage.title, None if held_out is None else held_out.name)
    callbacks: list[Any] = [
        ("sklsdm_rate", built_in_schedule(theirs)),
        ("sklsdm_divergence", DivergenceGuard(stage, look, is_trial=run.is_trial)),
    ]
    scores = ["train_loss"]
    if held_out is not None:
        callbacks.append(("sklsdm_held_out", held_out))
        scores += dict.fromkeys((held_out.name, "valid_loss"))
    callbacks.append(("sklsdm_best_so_far", BestSoFar(scores)))
    callbacks += users or []
    if run.verbose:
        callbacks.append(("sklsdm_progress", EpochProgress(stage.title, run.verbose)))
    callbacks.append(("sklsdm_best", KeepBest(held_out, patience, tolerance, doubt)))
    if look is not None:
        callbacks.append(("sklsdm_final_look", FinalLook(stage, look)))
    if run.checkpoint is not None:
        callbacks.append(("sklsdm_checkpoint", Checkpoint(run.checkpoint, run.prefix + stage.file)))
    return callbacks

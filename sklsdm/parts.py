"""Training settings that matchers and trained autoencoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm.modules import ModuleHolder
from sklsdm.nets import CallbackHolder, check_callbacks, history_arrays
from sklsdm.parameters import Declared, Rule, above, integer, learnt, or_none, parameter
from sklsdm.starting import StartsWarm

CALLBACKS = Rule(
    "list of skorch callbacks or None", lambda name, value: check_callbacks(value, name)
)
# How a critic of images is trained: in stage 1 the one that sharpens a decoder, and in stage 2.
IMAGE_CRITIC_BETAS = (0.0, 0.99)  # of Adam, for it and for what it judges
IMAGE_CRITIC_PENALTY = 0.3  # weight of the penalty on its slope at real and at drawn images


class TrainedPart(StartsWarm, CallbackHolder, ModuleHolder, Declared):
    """A matcher, or an autoencoder that is trained."""

    lr: float = parameter(
        default=1e-3,
        rule=above(0.0),
        doc="Initial learning rate of Adam; it falls to zero along half a cosine.",
    )
    batch_size: int = parameter(
        default=128, rule=integer(1), doc="Rows in one training step (at most all of them)."
    )
    n_iter_no_change: int | None = parameter(
        default=10,
        rule=or_none(integer(1)),
        doc="""Training stops after this many epochs in a row without a better held-out score. With
        None it never stops early. An epoch of stage 2 has at most 100 steps.""",
    )
    callbacks: Sequence[Any] | None = parameter(
        default=None,
        rule=CALLBACKS,
        doc="""They run beside the built-in ones, before each epoch's parameters may become those to
        keep; see docs/callbacks.md.""",
    )
    history_: dict[str, NDArray[np.float64]] = learnt(
        """Losses and held-out scores by epoch; names that begin with "start_" are of a training
        that went before, as with `start="diffusion"`.""",
        "dict of str to ndarray",
    )
    n_steps_: int = learnt(
        "Number of training steps that this network has taken, those of its start included."
    )
    best_step_: int = learnt(
        "Training steps after which the state was reached that is kept; 0 is the start."
    )
    best_score_: list[float] | None = learnt(
        "Held-out score of the state that is kept, lower being better: its mean and standard "
        "error. None where nothing was held out.",
        "list of two floats or None",
    )
    start_score_: list[float] | None = learnt(
        "The same score of the state before the first step.", "list of two floats or None"
    )
    far_share_: float = learnt(
        """Share of the draws (stage 1: reconstructions) that were looked at when training had ended
        and are not finite, or more than 30 half-ranges of the data from their middle."""
    )
    callbacks_: list[Any] = learnt(
        "The callbacks that training called: those of `callbacks`, without their names.",
        "list of skorch callbacks",
    )

    def _note_training(self, net: Any, before: Any = None) -> None:
        """Take from a trained net what it tells of its training, and of that of a net before."""
        self.history_ = history_arrays(net.history)
        self.n_steps_ = net.n_steps_taken
        self.callbacks_ = check_callbacks(self.callbacks)
        self.best_step_, self.best_score_, self.start_score_ = net.choice_
        self.far_share_ = net.far_share_
        if before is None:
            return
        earlier = history_arrays(before.history)
        self.history_ |= {f"start_{name}": values for name, values in earlier.items()}
        self.n_steps_ += before.n_steps_taken
        if self.best_step_ > 0:
            self.best_step_ += before.n_steps_taken
        else:  # the start was kept, which is the state that the earlier training kept
            self.best_step_ = before.choice_.step
        self.start_score_ = before.choice_.start

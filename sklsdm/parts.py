"""Training settings that matchers and trained autoencoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm.modules import ModuleHolder
from sklsdm.nets import CallbackHolder, check_callbacks
from sklsdm.parameters import Declared, Rule, above, integer, learnt, or_none, parameter


class TrainedPart(CallbackHolder, ModuleHolder, Declared):
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
        rule=Rule(
            "list of skorch callbacks or None", lambda name, value: check_callbacks(value, name)
        ),
        doc="""They run beside the built-in ones, before each epoch's parameters may become those to
        keep; see docs/callbacks.md.""",
    )
    history_: dict[str, NDArray[np.float64]] = learnt(
        "Losses and held-out scores by epoch.", "dict of str to ndarray"
    )
    callbacks_: list[Any] = learnt(
        "The callbacks that training called: those of `callbacks`, without their names.",
        "list of skorch callbacks",
    )

"""A callback that shows the progress of one training."""

from __future__ import annotations

from typing import Any

from skorch.callbacks import Callback

from sklsdm.progress import Progress


class EpochProgress(Callback):
    """Progress over the epochs of one stage, with its losses and held-out scores.

    (skorch's ProgressBar shows one bar for each epoch, over its batches.) The net calls `close` if
    training ends in an error.
    """

    def __init__(self, title: str, verbose: int) -> None:
        self.title = title
        self.verbose = verbose
        self.progress_: Progress | None = None

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.progress_ is None:  # only now is it known how many epochs a resumed fit has behind
            done = len(net.history) - 1
            self.progress_ = Progress(self.title, net.max_epochs, "epoch", self.verbose, done)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        assert self.progress_ is not None
        row = {k: v for k, v in net.history[-1].items() if k.endswith(("loss", "score"))}
        if any(name.startswith("valid_") and name.endswith("_score") for name in row):
            row.pop("valid_loss", None)  # equal to the score of draws
        self.progress_.advance({key.removeprefix("train_"): value for key, value in row.items()})

    def on_train_end(self, net: Any, **kwargs: Any) -> None:
        is_short = len(net.history) < net.max_epochs and not net.interrupted_
        self.close("stopped early" if is_short else "")

    def close(self, note: str = "") -> None:
        """Close the bar, if there is one."""
        if self.progress_ is not None:
            self.progress_.close(note)
        self.progress_ = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "progress_": None}

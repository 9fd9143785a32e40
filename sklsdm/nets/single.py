"""A net with one module and one loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklsdm.nets.base import TrainingNet


class SingleNet(TrainingNet):
    """One module trained on `criterion_(module_, batch) -> loss` (a scalar tensor).

    What is iterated over are steps, each a list of one batch.
    """

    def train_step(self, step: Any, **fit_params: Any) -> dict[str, Tensor]:
        (batch,) = step
        loss = self.criterion_(self.module_, batch)
        self.update("module_", self.optimizer_, loss, batch)
        self.average()
        return {"loss": loss.detach()}

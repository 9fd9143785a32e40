"""A net with one module and one loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklsdm.nets.base import TrainingNet


class SingleNet(TrainingNet):
    """A net that trains one module on the loss `criterion_(module_, batch)`, a scalar tensor.

    The data yields steps, each a list with one batch.
    """

    def train_step(self, step: Any, **fit_params: Any) -> dict[str, Tensor]:
        (batch,) = step
        loss = self.criterion_(self.module_, batch)
        self.update("module_", self.optimizer_, loss, batch)
        self.average()
        return {"loss": loss.detach()}

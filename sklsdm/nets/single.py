"""A net with one module and one loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklsdm.nets.base import TrainingNet


class SingleNet(TrainingNet):
    """One module trained on `criterion_(module_, batch) -> loss` (a scalar tensor)."""

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        loss = self.criterion_(self.module_, batch)
        self.update("module_", self.optimizer_, loss, batch)
        self.average()
        return {"loss": loss.detach()}

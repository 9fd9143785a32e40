"""A net with one module and one loss."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklsdm.distributed import parallel_loss
from sklsdm.nets.base import TrainingNet


class SingleNet(TrainingNet):
    """A net that trains one module on the loss `criterion_(module_, batch)`, a scalar tensor.

    The data yields steps, each a list with one batch.
    """

    _parallel: Any = None  # the loss of a batch, where a group of processes trains

    def initialize(self) -> SingleNet:
        super().initialize()
        if self.group is not None:
            self._parallel = parallel_loss(self.module_, self.criterion_)
        return self

    def train_step(self, step: Any, **fit_params: Any) -> dict[str, Tensor]:
        (batch,) = step
        if self._parallel is None:
            loss = self.criterion_(self.module_, batch)
        else:
            loss = self._parallel(batch)
        self.update("module_", self.optimizer_, loss, batch)
        return {"loss": loss.detach()}

"""A net with two players, a generator (`module_`) and a critic (`critic_`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sklsdm.nets.base import TrainingNet


class AdversarialNet(TrainingNet):
    """A net that trains a generator and a critic in turn, each with its own optimizer.

    `criterion_` has `critic_loss(generator, critic, batch)` and
    `generator_loss(generator, critic, batch)`, both scalar tensors. A step is a list of batches:
    each but the last is used for one step of the critic, the last for the generator's step.
    """

    def __init__(self, module: Any, critic: Any, *args: Any, **kwargs: Any) -> None:
        self.critic = critic
        self.critic_optimizer = kwargs.pop("critic_optimizer")
        super().__init__(module, *args, **kwargs)

    def initialize_module(self) -> AdversarialNet:
        super().initialize_module()
        self.critic_ = self.initialized_instance(self.critic, self.get_params_for("critic"))
        return self

    def initialize_optimizer(self, triggered_directly: bool | None = None) -> AdversarialNet:
        for name, module in (("optimizer", self.module_), ("critic_optimizer", self.critic_)):
            args, kwargs = self.get_params_for_optimizer(name, module.named_parameters())
            setattr(self, f"{name}_", getattr(self, name)(*args, **kwargs))
        return self

    def train_step(self, step: Any, **fit_params: Any) -> dict[str, Tensor]:
        *critic_batches, last = step
        for part in critic_batches:
            critic_loss = self.criterion_.critic_loss(self.module_, self.critic_, part)
            self.update("critic_", self.critic_optimizer_, critic_loss, part)
        # The generator's step needs no gradients of the critic. Those that a user's callback froze
        # must stay frozen afterwards.
        trained = [p for p in self.critic_.parameters() if p.requires_grad]
        self.critic_.requires_grad_(False)
        try:
            loss = self.criterion_.generator_loss(self.module_, self.critic_, last)
            self.update("module_", self.optimizer_, loss, last)
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)
        return {"loss": loss.detach(), "critic_loss": critic_loss.detach()}

"""A net with two players, a generator (`module_`) and critics (`critic_`), and what they lose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch
from sklsdm.functional.penalties import flatness_penalty, gradient_penalty
from sklsdm.modules import Critics
from sklsdm.nets.base import TrainingNet

Loss = Callable[[Tensor, Tensor], Tensor]


class AdversarialNet(TrainingNet):
    """Two modules and two optimizers; each batch holds the critic's batches and the generator's.

    `criterion_` has `critic_loss(generator, critic, batch)` and
    `generator_loss(generator, critic, batch)`, both scalar tensors. A batch is a sequence: all
    but its last element feed one critic step each, the last one the generator step.
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

    def train_step(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        *critic_batches, last = batch
        for part in critic_batches:
            critic_loss = self.criterion_.critic_loss(self.module_, self.critic_, part)
            self.update("critic_", self.critic_optimizer_, critic_loss, part)
        trained = [p for p in self.critic_.parameters() if p.requires_grad]  # the user may freeze
        self.critic_.requires_grad_(False)
        loss = self.criterion_.generator_loss(self.module_, self.critic_, last)
        self.update("module_", self.optimizer_, loss, last)
        for parameter in trained:
            parameter.requires_grad_(True)
        self.average()
        return {"loss": loss.detach(), "critic_loss": critic_loss.detach()}


class SlopePenalty:
    """A penalty on the critic's slope in z, or in (x, z) where `joint`.

    `kind`: "one-sided" and "two-sided" hold it near 1 at random points between real and drawn;
    "flat" pulls it to 0 at both ends (R1 + R2). Nothing is computed where `weight` is 0.
    """

    def __init__(self, kind: str, weight: float, joint: bool = False) -> None:
        self.kind = kind
        self.weight = weight
        self.joint = joint

    def __call__(
        self, critic: Any, features: Tensor, real: Tensor, drawn: Tensor, mix: Tensor
    ) -> Tensor:
        """The weighted penalty; all arguments have b rows."""
        if self.kind != "flat":
            values, points = self._values(critic, features, torch.lerp(real, drawn, mix))
            one_sided = self.kind == "one-sided"
            return self.weight * gradient_penalty(values, points, one_sided=one_sided)
        both = torch.cat([features, features])
        values, points = self._values(critic, both, torch.cat([real, drawn]))
        # The mean over both ends is half of R1 + R2.
        return self.weight * 2 * flatness_penalty(values, points)

    def _values(self, critic: Any, features: Tensor, latent: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's values and the leaf in which their slope is taken."""
        if self.joint and features.shape[1]:
            points = torch.cat([features.detach(), latent], dim=1).requires_grad_(True)
            return critic.mlp(points).squeeze(-1), points
        points = latent.requires_grad_(True)
        return critic(features, points), points


class AdversarialObjective:
    """Losses of both players on the pairs and, where there is a second critic, on all codes.

    Parameters
    ----------
    critic_loss, generator_loss : callables
        Scalars of critic values: real (b, 1), drawn (b, n_draws). See `functional.adversarial`.
    penalty : SlopePenalty
        Added to the critics' loss.
    unpaired_weight : float
        Weight of the unconditional critic in the generator's loss.
    n_draws : int
        Draws for each condition.
    """

    def __init__(
        self,
        critic_loss: Loss,
        generator_loss: Loss,
        penalty: SlopePenalty,
        unpaired_weight: float,
        n_draws: int,
    ) -> None:
        self.loss_of_critic = critic_loss
        self.loss_of_generator = generator_loss
        self.penalty = penalty
        self.unpaired_weight = unpaired_weight
        self.n_draws = n_draws

    def _draw(self, generator: nn.Module, batch: PairBatch) -> Tensor:
        """Draws (b * n_draws, k), those of one condition one after another."""
        return generator(batch.condition.repeat_interleave(self.n_draws, dim=0), batch.noise)

    def _values(
        self, critic: Any, features: Tensor, real: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Critic values, real (b, 1) and drawn (b, n_draws)."""
        repeated = features.repeat_interleave(self.n_draws, dim=0)
        values = critic(torch.cat([features, repeated]), torch.cat([real, drawn]))
        return values[: len(real), None], values[len(real) :].view(len(real), self.n_draws)

    def critic_loss(self, generator: nn.Module, critics: Critics, batch: PairBatch) -> Tensor:
        """Loss of the critics; the generator gets no gradient."""
        with torch.no_grad():
            drawn = self._draw(generator, batch)
        features = critics.joint.features(batch.condition)
        matches = [(critics.joint, features, batch.latent)]
        if critics.marginal is not None and batch.other is not None:
            matches.append((critics.marginal, features[:, :0], batch.other))
        losses = []
        for critic, seen, real in matches:
            losses.append(self.loss_of_critic(*self._values(critic, seen, real, drawn)))
            if self.penalty.weight > 0:
                first = drawn[:: self.n_draws]
                losses.append(self.penalty(critic, seen, real, first, batch.mix))
        return torch.stack(losses).sum()

    def generator_loss(self, generator: nn.Module, critics: Critics, batch: PairBatch) -> Tensor:
        """Loss of the generator against critics whose parameters are frozen."""
        drawn = self._draw(generator, batch)
        features = critics.joint.features(batch.condition)
        loss = self.loss_of_generator(*self._values(critics.joint, features, batch.latent, drawn))
        if critics.marginal is not None and batch.other is not None:
            values = self._values(critics.marginal, features[:, :0], batch.other, drawn)
            loss = loss + self.unpaired_weight * self.loss_of_generator(*values)
        return loss

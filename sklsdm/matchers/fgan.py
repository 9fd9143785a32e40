"""Matching in an f-divergence by a critic that estimates it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from sklsdm._validation import check_choice, check_real
from sklsdm.functional.divergences import (
    DIVERGENCES,
    Divergence,
    donsker_varadhan_bound,
    variational_bound,
)
from sklsdm.matchers.base import AdversarialMatcher, Plan
from sklsdm.nets import AdversarialObjective, SlopePenalty

KNOWN = (*DIVERGENCES, "kl-dv")


def critic_loss(real: Tensor, drawn: Tensor, divergence: Divergence | None) -> Tensor:
    """Minus the bound that the critic raises; None stands for Donsker and Varadhan's."""
    if divergence is None:
        return -donsker_varadhan_bound(real, drawn)
    return -variational_bound(real, drawn, divergence)


def generator_loss(real: Tensor, drawn: Tensor, divergence: Divergence | None) -> Tensor:
    """The part of the bound that the generator lowers."""
    if divergence is None:
        return -drawn.mean()
    return -divergence.conjugate_at_value(drawn).mean()


class FGANMatcher(AdversarialMatcher):
    def __init__(
        self,
        divergence: str = "kl",
        *,
        n_critic: int = 1,
        gradient_penalty: float = 0.2,
        n_draws: int = 1,
        critic_widths: Sequence[int] = (128, 128, 128),
        critic_lr: float = 5e-4,
        widths: Sequence[int] = (128, 128, 128),
        activation: str = "leaky_relu",
        noise_dim: int | str = "auto",
        max_steps: int = 3000,
        lr: float = 5e-4,
        betas: tuple[float, float] = (0.5, 0.9),
        batch_size: int = 256,
        ema_decay: float = 0.995,
        unpaired_weight: float | str = "auto",
        n_iter_no_change: int | None = 10,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.divergence = divergence
        self.n_critic = n_critic
        self.gradient_penalty = gradient_penalty
        self.n_draws = n_draws
        self.critic_widths = critic_widths
        self.critic_lr = critic_lr
        self.widths = widths
        self.activation = activation
        self.noise_dim = noise_dim
        self.max_steps = max_steps
        self.lr = lr
        self.betas = betas
        self.batch_size = batch_size
        self.ema_decay = ema_decay
        self.unpaired_weight = unpaired_weight
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        super().validate()
        check_choice("matcher__divergence", self.divergence, KNOWN)
        check_real("matcher__gradient_penalty", self.gradient_penalty, 0.0)

    def _objective(self, plan: Plan) -> Callable[[], AdversarialObjective]:
        divergence = DIVERGENCES.get(self.divergence)
        return partial(
            AdversarialObjective,
            partial(critic_loss, divergence=divergence),
            partial(generator_loss, divergence=divergence),
            SlopePenalty("flat", self.gradient_penalty),
            plan.unpaired_weight,
            self.n_draws,
        )

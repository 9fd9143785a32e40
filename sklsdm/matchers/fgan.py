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
    r"""Match the joint law of (X, H(X, η)) to that of (X, E(Y)) in an f-divergence.

    .. math:: \min_H \max_T E T(X, E(Y)) - E f^*(T(X, H(X, η))),

    where the critic's output v enters as T = a(v), which keeps T in the domain of the convex
    conjugate f*. With P the law of the pairs and Q that of the draws:

    - "kl": :math:`KL(Q \| P)`, T = −exp(−v). This is GCDS's objective,
      :math:`E D(X, H) - E e^{D(X, E(Y))}` with D = −v (Nowozin et al. call it reverse KL).
    - "kl-dv": the same divergence in the form of Donsker and Varadhan,
      :math:`E D(X, H) - \log E e^{D(X, E(Y))}`.
    - "reverse-kl": :math:`KL(P \| Q)`, T = v, f* = exp(t − 1).
    - "js": Jensen-Shannon, T = (ln 2 − ln(1 + exp(−v)))/2.
    - "pearson": :math:`\int (p - q)^2 / q`, T = v, f* = t + t²/4.
    - "hellinger": squared, :math:`\int (\sqrt p - \sqrt q)^2`, T = 1 − exp(−v).

    When to use: to compare divergences; "kl" is the case of GCDS. Cost: as `wgan` with as many
    critic steps.

    Parameters
    ----------
    divergence : {"kl", "kl-dv", "reverse-kl", "js", "pearson", "hellinger"}, default="kl"
        Which one; see above.
    n_critic : int, default=1
        Critic steps for each generator step.
    gradient_penalty : float >= 0, default=0.2
        Weight γ of the penalty γ/2 · (R1 + R2) on the critic's squared slope in z at codes and
        draws. These divergences are infinite for laws on separate sets; the penalty is what
        leaves the generator a gradient there.
    n_draws : int, default=1
        Draws for each condition in one step, all of which the critic sees.
    critic_widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the critic.
    critic_lr : float, default=5e-4
        Initial rate of its Adam.
    widths : sequence of int, default=(128, 128, 128)
        Hidden widths of the generator.
    activation : {"leaky_relu", "relu", "elu", "silu", "gelu"}, default="leaky_relu"
        Between the layers of both.
    noise_dim : int or "auto", default="auto"
        Dimension of the noise; "auto" is the latent dimension, at least 8.
    max_steps : int, default=3000
        Most generator steps; no more than 10 for each code learnt from are taken.
    lr : float, default=5e-4
        Initial rate of the generator's Adam; both rates fall to zero along half a cosine.
    betas : tuple of two floats, default=(0.5, 0.9)
        Of both Adams.
    batch_size : int, default=256
        Pairs in one step (no more than there are, at least 16).
    ema_decay : float in [0, 1), default=0.995
        Of the moving average of the generator's parameters, which is what draws.
    condition_noise : float >= 0, default=0.0
        Spread of Gaussian noise on x in every step, in standard deviations of X's columns
        (`scale_X`). With few pairs for the columns of X it keeps the law from clinging to them.
    unpaired_weight : float >= 0 or "auto", default="auto"
        With `unpaired="match"` or "pair", the weight of an unconditional critic between draws and
        all codes. "auto" is twice the unpaired share, 2 N / (n + N).
    n_iter_no_change : int or None, default=10
        Stop after so many times 100 steps without a lower energy score of held-out pairs.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Nowozin, Cseke & Tomioka 2016, "f-GAN" (arXiv 1606.00709), tables 1 and 2; Zhou, Jiao, Liu &
    Huang 2022, "A deep generative approach to conditional sampling" (GCDS, JASA,
    arXiv 2110.10277) for "kl"; Chong & Feng 2026 (arXiv 2603.04223), proposition 4.2.
    """

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
        condition_noise: float = 0.0,
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
        self.condition_noise = condition_noise
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

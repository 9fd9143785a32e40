"""Matching in an f-divergence by a critic that estimates it."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from sklsdm.functional.divergences import (
    DIVERGENCES,
    Divergence,
    donsker_varadhan_bound,
    variational_bound,
)
from sklsdm.matchers.adversarial import AdversarialMatcher, CriticLoss
from sklsdm.modules import SlopePenalty
from sklsdm.parameters import one_of, parameter

KNOWN = (*DIVERGENCES, "kl-dv")


def critic_loss(real: Tensor, drawn: Tensor, divergence: Divergence | None) -> Tensor:
    """Minus the bound that the critic maximises; None stands for Donsker and Varadhan's."""
    if divergence is None:
        return -donsker_varadhan_bound(real, drawn)
    return -variational_bound(real, drawn, divergence)


def generator_loss(real: Tensor | None, drawn: Tensor, divergence: Divergence | None) -> Tensor:
    """The part of the bound that depends on the generator, which minimises it."""
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

    When to use: to compare divergences; "kl" is the one of GCDS. Cost: that of `wgan` with
    `start="linear"` and as many critic steps.

    References
    ----------
    Nowozin, Cseke & Tomioka 2016, "f-GAN" (arXiv 1606.00709), tables 1 and 2; Zhou, Jiao, Liu &
    Huang 2022, "A deep generative approach to conditional sampling" (GCDS, JASA,
    arXiv 2110.10277) for "kl"; Chong & Feng 2026 (arXiv 2603.04223), proposition 4.2.
    """

    divergence: str = parameter(
        default="kl",
        rule=one_of(*KNOWN),
        doc="Divergence that the critic estimates, one of those listed above.",
        kw_only=False,
    )
    gradient_penalty: float = parameter(
        default=0.2,
        doc="""Weight γ of the penalty γ/2 · (R1 + R2) on the critic's squared slope in z, at codes
        (R1) and at draws (R2). Between laws on separate sets these divergences are infinite or
        constant; there it is the penalty that leaves the generator a useful gradient.""",
    )
    critic_lr: float = 5e-4

    def _losses(self) -> tuple[CriticLoss, CriticLoss]:
        divergence = DIVERGENCES.get(self.divergence)
        return (
            partial(critic_loss, divergence=divergence),
            partial(generator_loss, divergence=divergence),
        )

    def _penalty(self) -> SlopePenalty:
        return SlopePenalty("flat", self.gradient_penalty)

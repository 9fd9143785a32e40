r"""f-divergences in variational form, from the critic's values.

With P the law of the data and Q that of the draws, both with densities,

.. math:: D_f(P \| Q) = E_Q f(p / q) = \sup_T E_P T - E_Q f^*(T),

where f is convex with f(1) = 0, :math:`f^*(t) = \sup_u (t u - f(u))`, and the best T is
:math:`f'(p / q)` [1]_. The critic's value v may be any number: an activation a maps it to
T = a(v), which lies in the domain of f* [2]_.

References
----------
.. [1] X. Nguyen, M. J. Wainwright and M. I. Jordan, "Estimating divergence functionals and the
   likelihood ratio by convex risk minimization", IEEE Trans. Inf. Theory 56 (2010), lemma 1.
.. [2] S. Nowozin, B. Cseke and R. Tomioka, "f-GAN" (arXiv 1606.00709, 2016), tables 1 and 2.
.. [3] X. Zhou, Y. Jiao, J. Liu and J. Huang, "A deep generative approach to conditional
   sampling" (GCDS, arXiv 2110.10277), the objective of section 3.
.. [4] M. D. Donsker and S. R. S. Varadhan, "Asymptotic evaluation of certain Markov process
   expectations for large time, IV", Comm. Pure Appl. Math. 36 (1983), theorem 2.1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["DIVERGENCES", "Divergence", "donsker_varadhan_bound", "variational_bound"]

_LOG2 = math.log(2.0)
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Divergence:
    """The functions of one divergence, all elementwise.

    `conjugate_at_value` is f*(a(v)) in one expression: for large v, `conjugate` of `activation`
    would overflow or lose digits by cancellation.
    """

    f: Function
    derivative: Function  # f'(u), the best T where u = p / q
    conjugate: Function  # f*(t)
    activation: Function  # a(v)
    conjugate_at_value: Function


KL = Divergence(
    f=lambda u: -u.log(),
    derivative=lambda u: -1 / u,
    conjugate=lambda t: -1 - (-t).log(),
    activation=lambda v: -(-v).exp(),
    conjugate_at_value=lambda v: v - 1,
)
REVERSE_KL = Divergence(
    f=lambda u: u * u.log(),
    derivative=lambda u: 1 + u.log(),
    conjugate=lambda t: (t - 1).exp(),
    activation=lambda v: v,
    conjugate_at_value=lambda v: (v - 1).exp(),
)
JS = Divergence(
    f=lambda u: (u * u.log() - (u + 1) * ((u + 1) / 2).log()) / 2,
    derivative=lambda u: (2 * u / (u + 1)).log() / 2,
    conjugate=lambda t: -(2 - (2 * t).exp()).log() / 2,
    activation=lambda v: (_LOG2 - softplus(-v)) / 2,
    conjugate_at_value=lambda v: (softplus(v) - _LOG2) / 2,
)
PEARSON = Divergence(
    f=lambda u: (u - 1).square(),
    derivative=lambda u: 2 * (u - 1),
    conjugate=lambda t: t + t.square() / 4,
    activation=lambda v: v,
    conjugate_at_value=lambda v: v + v.square() / 4,
)
HELLINGER = Divergence(
    f=lambda u: (u.sqrt() - 1).square(),
    derivative=lambda u: 1 - u.rsqrt(),
    conjugate=lambda t: t / (1 - t),
    activation=lambda v: -torch.expm1(-v),
    conjugate_at_value=lambda v: torch.expm1(v),
)
"""Squared Hellinger distance, :math:`∫ (√p - √q)^2`, between 0 and 2."""

DIVERGENCES = {
    "kl": KL,
    "reverse-kl": REVERSE_KL,
    "js": JS,
    "pearson": PEARSON,
    "hellinger": HELLINGER,
}


def variational_bound(real: Tensor, drawn: Tensor, divergence: Divergence) -> Tensor:
    r""":math:`E_P a(v) - E_Q f^*(a(v))`, a lower bound of the divergence, [2]_ equation 6.

    `real` and `drawn` are the critic's values at points of P and of Q, in any shape.
    """
    return divergence.activation(real).mean() - divergence.conjugate_at_value(drawn).mean()


def donsker_varadhan_bound(real: Tensor, drawn: Tensor) -> Tensor:
    r""":math:`-E_Q v - \log E_P e^{-v}`, a lower bound of :math:`KL(Q \| P)`, [4]_.

    At the same values it is at least :func:`variational_bound` for "kl". At the best critic the
    two are equal.
    """
    flat = -real.flatten()
    return -drawn.mean() - (torch.logsumexp(flat, 0) - math.log(len(flat)))

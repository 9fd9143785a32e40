"""Losses of critic and generator, computed from the critic's values.

Shapes: ``real`` (b, 1) holds the critic's values at the codes of b pairs, ``drawn`` (b, m) those at
m draws for each of their conditions. Training the critic raises its values at the codes of the
pairs and lowers those at draws.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

__all__ = [
    "relativistic_critic_loss",
    "relativistic_generator_loss",
    "wasserstein_critic_loss",
    "wasserstein_generator_loss",
]


def wasserstein_critic_loss(real: Tensor, drawn: Tensor) -> Tensor:
    r""":math:`-(E f(x, z) - E f(x, h))`: at the best 1-Lipschitz critic f this is minus W1.

    Arjovsky, Chintala & Bottou 2017 (arXiv 1701.07875), equation 2.
    """
    return drawn.mean() - real.mean()


def wasserstein_generator_loss(real: Tensor | None, drawn: Tensor) -> Tensor:
    r""":math:`-E f(x, h)`; `real` is not used, since it does not depend on the generator."""
    return -drawn.mean()


def relativistic_critic_loss(real: Tensor, drawn: Tensor) -> Tensor:
    r""":math:`E \log(1 + \exp(f(x, h) - f(x, z)))`, real and drawn paired at the same x.

    Huang, Gokaslan, Kuleshov & Tompkin 2025 (arXiv 2501.05441), equation 2, after
    Jolicoeur-Martineau 2019 (arXiv 1807.00734).
    """
    return softplus(drawn - real).mean()


def relativistic_generator_loss(real: Tensor, drawn: Tensor) -> Tensor:
    r""":math:`E \log(1 + \exp(f(x, z) - f(x, h)))`: the critic's loss with the roles swapped."""
    return softplus(real - drawn).mean()

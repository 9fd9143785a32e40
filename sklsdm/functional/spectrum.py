"""Does z follow a wave of x? A spectrum of dependence, for laws of any shape."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["dependence_spectrum"]


def dependence_spectrum(column: Tensor, features: Tensor, frequencies: Tensor) -> Tensor:
    r"""How strongly features of z go with the waves :math:`e^{i f x}`, (m,), one per frequency.

    .. math:: S(f) = \frac{n \sum_d |\frac1n \sum_j \psi_d(z_j) e^{i f x_j}|^2}
        {\sum_d \mathrm{Var}\, \psi_d}

    for x in `column` (n,), centred features ψ (n, D) and `frequencies` (m,). Where z does not
    depend on x, S(f) has mean 1. It is the periodogram of n unevenly spaced values (Scargle 1982,
    The Astrophysical Journal 263, equation 3), summed over features. With enough different
    features of z every kind of dependence shows, not only that of its mean.
    """
    power = column.new_zeros(len(frequencies))
    for wave in (torch.cos, torch.sin):
        power += (wave(frequencies[:, None] * column) @ features).square().sum(dim=1)
    return power / (len(column) * features.var(dim=0, correction=0).sum().clamp(min=1e-12))

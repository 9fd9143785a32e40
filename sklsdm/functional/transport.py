r"""Optimal transport between samples with equal weights.

The optional package POT [1]_ computes exact plans, on the CPU; it is imported when it is used.
Entropic plans are computed on the device of their costs, without a transfer to the CPU: each step
of a training loop computes several of them.

References
----------
.. [1] R. Flamary et al., "POT: Python Optimal Transport", JMLR 22 (2021).
.. [2] J. Feydy et al., "Interpolating between optimal transport and MMD using Sinkhorn
   divergences" (arXiv 1810.02733, 2019), equation 3.
.. [3] G. Peyré and M. Cuturi, "Computational optimal transport", Found. Trends Mach. Learn. 11
   (2019), sections 2.5, 4.2 and 4.4.
.. [4] B. Schmitzer, "Stabilized sparse scaling algorithms for entropy regularized transport
   problems" (arXiv 1610.06519, 2019), section 3.1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "condition_scale",
    "exact_plan",
    "import_pot",
    "sinkhorn_divergence",
    "sinkhorn_plan",
    "sinkhorn_self_plan",
    "squared_cost",
    "transport_cost",
]

_N_ITER = 150  # Sinkhorn's iterations between two samples
_PER_LOGARITHM = 50  # iterations of which one is taken with logarithms
_N_SELF_ITER = 30  # between a sample and itself; each about halves the error
_LEAST_MASS = 1e-290  # added to each entry of a kernel, so that no row or column sums to 0


def import_pot() -> Any:
    """The module `ot`, or an ImportError that says how to install it."""
    try:
        import ot
    except ImportError as error:
        raise ImportError(
            "The matcher 'transport' needs the package POT, which is not installed; run: pip "
            "install 'sklsdm[transport]'"
        ) from error
    return ot


def squared_cost(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (n, m) of the rows of `a` (n, q) and `b` (m, q)."""
    cost = a.square().sum(dim=1)[:, None] + b.square().sum(dim=1) - 2 * a @ b.T
    return cost.clamp(min=0.0)


def transport_cost(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """Half the squared distances ("quadratic") or the city-block distances ("l1"), (n, m)."""
    return torch.cdist(a, b, p=1.0) if kind == "l1" else squared_cost(a, b) / 2


def condition_scale(condition: Tensor) -> float:
    """Factor of conditions (n, p) that makes their mean squared distance 2; 0 if all are equal."""
    spread = condition.var(dim=0, correction=0).sum().item() if condition.shape[1] else 0.0
    return spread**-0.5 if spread > 0 else 0.0


@torch.no_grad()
def exact_plan(cost: Tensor) -> tuple[Tensor, Tensor]:
    r"""Exact optimal transport for a cost (n, m), both sides with equal weights, [3]_.

    Returns the dual potential v (m,) of the columns, centred, such that
    :math:`u_i = \min_j (c_{ij} - v_j)` is that of the rows; and the column (n,) to which each row
    sends most of its mass.
    """
    ot = import_pot()
    n, m = cost.shape
    matrix = cost.double().cpu().numpy()
    plan, log = ot.emd(ot.unif(n), ot.unif(m), matrix, numItermax=100 * (n + m) ** 2, log=True)
    potential = torch.as_tensor(log["v"]).to(cost)
    return potential - potential.mean(), torch.as_tensor(plan.argmax(axis=1)).to(cost.device)


@torch.no_grad()
def sinkhorn_plan(cost: Tensor, epsilon: float, n_iter: int = _N_ITER) -> Tensor:
    r"""The plan π (n, m) that minimises :math:`\langle π, c \rangle + ε KL(π \| a ⊗ b)`, [3]_.

    The marginals a and b are uniform. Takes `n_iter` of Sinkhorn's iterations, rounded up to a
    multiple of 50, in float64. One of 50 is taken with logarithms, which find potentials f and g of
    any size; the others scale the kernel exp(f + g − c / ε), which then does not underflow [4]_.
    The number of iterations is fixed, since a test of convergence would make a GPU wait.
    """
    negative = cost.double() / -epsilon
    n, m = cost.shape
    f, g = negative.new_zeros((n, 1)), negative.new_zeros((1, m))
    for _ in range(-(-n_iter // _PER_LOGARITHM)):
        f = math.log(m) - (negative + g).logsumexp(dim=1, keepdim=True)
        g = math.log(n) - (negative + f).logsumexp(dim=0, keepdim=True)
        kernel = (negative + (f + g)).exp_().add_(_LEAST_MASS)
        left, right = kernel.new_ones(n), kernel.new_ones(m)
        for _ in range(_PER_LOGARITHM - 1):  # in place: small kernels cost less than new tensors
            left.addmv_(kernel, right, beta=0, alpha=1 / m).reciprocal_()
            right.addmv_(kernel.T, left, beta=0, alpha=1 / n).reciprocal_()
        f, g = f + left.log()[:, None], g + right.log()
    return (left[:, None] * kernel * right / (n * m)).to(cost.dtype)


@torch.no_grad()
def sinkhorn_self_plan(cost: Tensor, epsilon: float) -> Tensor:
    r"""The plan of :func:`sinkhorn_plan` for a sample and itself, whose cost (n, n) is symmetric.

    One potential serves both sides. The mean of its old value and of Sinkhorn's update halves the
    error near the solution, whatever ε is ([2]_, section 3). Sinkhorn's own iterations take
    hundreds where ε is small.
    """
    n = len(cost)
    kernel = (cost.double() / -epsilon).exp_()  # 1 on the diagonal, so that no row underflows
    scaling = kernel.new_ones(n)
    for _ in range(_N_SELF_ITER):
        scaling = (n * scaling / (kernel @ scaling)).sqrt_()
    return (scaling[:, None] * kernel * (scaling / n**2)).to(cost.dtype)


def sinkhorn_divergence(
    a: Tensor, b: Tensor, epsilon: float, n_iter: int = _N_ITER, *, constant: bool = True
) -> Tensor:
    r"""Debiased Sinkhorn divergence of the samples a (n, q) and b (m, q), a scalar, [2]_:

    .. math:: S(a, b) = OT_ε(a, b) - \tfrac12 OT_ε(a, a) - \tfrac12 OT_ε(b, b),

    for the squared Euclidean cost. Not negative, and 0 where the laws are equal. Differentiable:
    the gradient of OT_ε is that of its cost at the optimal plan. Without `constant` the term
    OT_ε(a, a) is left out, which does not depend on b: enough for a loss that moves b. The plan
    between a and b takes `n_iter` iterations.
    """
    cost, self_cost = squared_cost(a, b), squared_cost(b, b)
    total = _entropic_cost(cost, sinkhorn_plan(cost, epsilon, n_iter), epsilon)
    total = total - _entropic_cost(self_cost, sinkhorn_self_plan(self_cost, epsilon), epsilon) / 2
    if not constant:
        return total
    self_cost = squared_cost(a, a)
    return total - _entropic_cost(self_cost, sinkhorn_self_plan(self_cost, epsilon), epsilon) / 2


def _entropic_cost(cost: Tensor, plan: Tensor, epsilon: float) -> Tensor:
    """OT_ε; its gradient is that of the cost at a fixed plan, by the envelope theorem."""
    divergence = torch.xlogy(plan, plan * plan.numel()).sum()  # KL(π ‖ a ⊗ b)
    return (plan * cost).sum() + epsilon * divergence

r"""Flow matching on straight paths: its loss, the coupling of a batch, and the integration.

A flow carries noise n at time 0 to a datum u at time 1. Training takes points
u_t = (1 − t)·n + t·u on the straight path between them; the velocity field is the regression of
u − n on (u_t, t) [1]_.

References
----------
.. [1] Y. Lipman et al., "Flow matching for generative modeling" (arXiv 2210.02747, 2023),
   equations 20-23 with σ_min = 0.
.. [2] H. K. Cheng and A. Schwing, "The curse of conditions: analyzing and improving optimal
   transport for conditional flow-based generation" (arXiv 2503.10636, 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from sklsdm.functional.assignment import assign

__all__ = ["SAMPLERS", "couple", "flow_residual", "integrate"]

Field = Callable[[Tensor, Tensor], Tensor]  # of a point (n, k) and a time (1, 1) or (n, 1)

SAMPLERS = ("euler", "heun", "midpoint")


def flow_residual(field: Field, target: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """v(u_t, t) − (u − n), (n, k); its mean square is the loss of [1]_, equation 23."""
    return field(torch.lerp(noise, target, time), time) - (target - noise)


@torch.no_grad()
def couple(noise: Tensor, target: Tensor, condition: Tensor, weight: float, size: int) -> Tensor:
    """Reorder noise (n, k) so that each row lies near its target and comes from a similar x.

    Exact assignment, within blocks of `size` rows, for the cost ‖n − u‖² + weight · d(x, x'),
    where d is the mean squared difference of the conditions that target and noise came with
    [2]_. With a large weight, rows swap noise only where their conditions agree, so the noise
    stays N(0, I) given x. With weight 0 (plain mini-batch transport) it does not, and draws are
    biased.
    """
    costs = []
    for n, u, x in zip(noise.split(size), target.split(size), condition.split(size), strict=True):
        cost = torch.cdist(u, n).square()
        if x.shape[1]:
            cost += weight * torch.cdist(x, x).square() / x.shape[1]
        costs.append(pad(cost, (0, min(size, len(noise)) - len(n))))
    return noise[assign(torch.cat(costs))]


def integrate(field: Field, noise: Tensor, n_steps: int, sampler: str) -> Tensor:
    """Points (n, k) at time 1 of the flow from `noise` at time 0, in equal steps."""
    state, step = noise, 1.0 / n_steps
    for index in range(n_steps):
        time = noise.new_full((1, 1), index * step)
        slope = field(state, time)
        if sampler == "midpoint":
            slope = field(state + step / 2 * slope, time + step / 2)
        elif sampler == "heun":
            slope = (slope + field(state + step * slope, time + step)) / 2
        state = state + step * slope
    return state

"""Outputs in one order in all responses: a low and a high, the points of a rising curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor

from sklsdm.inputs.repeated import RepeatedValues
from sklsdm.inputs.rules import RuleByOutput, as_constant

_FEWEST_BROKEN = 5.0  # responses that would be in another order, where none is
_MOST_OUTPUTS = 64  # of which each is compared with each
_MOST_CHAINS = 16
_PASSES = 2  # over the chains; of two that share outputs the second may disturb the first


@dataclass(frozen=True)
class OrderedOutputs(RuleByOutput):
    """Chains of outputs that never fall from one to the next. Draws of a chain are sorted."""

    chains: tuple[NDArray[np.intp], ...]  # columns, the smallest output first

    @property
    def text(self) -> str:
        shown = " and ".join(str(chain.tolist()) for chain in self.chains)
        return f"values in rising order in columns {shown}"

    def _follow(self, rows: NDArray[np.float64]) -> NDArray[np.bool_]:
        rises = [(np.diff(rows[:, chain], axis=1) >= 0).all(axis=1) for chain in self.chains]
        return np.stack(rises, axis=1)

    def _for_some(self, kept: NDArray[np.bool_]) -> OrderedOutputs:
        return OrderedOutputs(
            tuple(chain for chain, is_kept in zip(self.chains, kept, strict=True) if is_kept)
        )

    def keep(self, values: Tensor) -> Tensor:
        for _ in range(1 if len(self.chains) == 1 else _PASSES):
            for chain in self.chains:
                columns = as_constant(chain, values.device)
                # topk and not sort, for which ONNX has no operator.
                rising = values.index_select(1, columns).topk(len(chain), dim=1).values.flip(1)
                values = values.index_copy(1, columns, rising)
        return values


def find_orders(
    rows: NDArray[np.float64],
    columns: NDArray[np.intp],
    repeated: Sequence[RepeatedValues] = (),
) -> tuple[OrderedOutputs, ...]:
    """The orders of some columns of responses (n, q).

    Two outputs are in order if the second is below the first in no response, where five or more
    would be if the outputs were independent, and also if their difference had a Gaussian law. Only
    responses count for this that have none of the `repeated` values there. Of many outputs, the
    points of a curve, only all together are asked.
    """
    own = rows.copy()
    for each in repeated:
        own[np.isin(rows[:, each.start], each.values), each.start] = np.nan
    if len(columns) == rows.shape[1] > 2:
        for curve in (columns, columns[::-1].copy()):
            rises = (np.diff(rows[:, curve], axis=1) >= 0).all()
            if rises and any(
                _is_evidence(own[:, low], own[:, high]) for low, high in pairwise(curve)
            ):
                return (OrderedOutputs((curve,)),)
    if not 2 <= len(columns) <= _MOST_OUTPUTS:
        return ()
    rising = columns[np.argsort(rows[:, columns].mean(axis=0), kind="stable")]
    follows = np.zeros((len(rising), len(rising)), dtype=bool)
    for low, high in combinations(range(len(rising)), 2):
        first, second = rising[low], rising[high]
        if (rows[:, second] >= rows[:, first]).all():
            follows[low, high] = _is_evidence(own[:, first], own[:, second])
    chains = _chains(follows)
    if not 0 < len(chains) <= _MOST_CHAINS:
        return ()
    return (OrderedOutputs(tuple(rising[chain] for chain in chains)),)


def _is_evidence(low: NDArray[np.float64], high: NDArray[np.float64]) -> bool:
    """Whether two outputs (n,) would be in another order in five rows, if that were no rule."""
    counts = np.isfinite(low) & np.isfinite(high)
    low, high = low[counts], high[counts]
    above, n_rows = high - low, len(low)
    if n_rows == 0 or above.std() == 0:
        return False
    by_law = n_rows * norm.cdf(-above.mean() / above.std())
    if_independent = np.searchsorted(np.sort(high), low).mean()
    return bool(min(by_law, if_independent) >= _FEWEST_BROKEN)


def _chains(follows: NDArray[np.bool_]) -> Sequence[list[int]]:
    """Chains in which each follows the one before, that cover all pairs of which one follows."""
    left, found = follows.copy(), []
    while left.any():
        chain = list(np.argwhere(left)[0])
        while follows[chain[-1]].any():
            chain.append(int(np.argmax(follows[chain[-1]])))
        left[np.ix_(chain, chain)] = False
        found.append([int(place) for place in chain])
    return found

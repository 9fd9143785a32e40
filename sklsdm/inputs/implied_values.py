"""Outputs that have one value wherever another output has one: no claim, and an amount of 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sklsdm.inputs.repeated import FEWEST_ROWS, RepeatedValues
from sklsdm.inputs.rules import ImpliedValues

_FEWEST_EQUAL = 5  # responses with one value of an output, where another output has one value
_FEWEST_MISSING = 5  # of them that would have other values if the outputs were independent
_MOST_CHANCE = 1e-4  # that none of them has another value by chance
_MOST_LEADERS = 64  # outputs of which each is tried


def find_implied_values(
    rows: NDArray[np.float64], repeated: Sequence[RepeatedValues]
) -> tuple[ImpliedValues, ...]:
    """The values of outputs of responses (n, q) that imply values of other outputs.

    Leaders are outputs with `repeated` values, first those that take few. Followers are those that
    do not take few values: the combinations of those that do are known. Fewer than 20 responses
    are not asked.
    """
    if len(rows) < FEWEST_ROWS:
        return ()
    few = {each.start for each in repeated if each.are_all}
    follows = np.ptp(rows, axis=0) > 0
    follows[list(few)] = False
    leaders = sorted(repeated, key=lambda each: (not each.are_all, each.start))[:_MOST_LEADERS]
    found: list[ImpliedValues] = []
    for leader in leaders:
        if _is_implied(leader, found):
            continue
        for value in leader.values:
            rule = _implied_by(rows, leader.start, float(value), follows)
            if rule is not None:
                found.append(rule)
    return tuple(found)


def _implied_by(
    rows: NDArray[np.float64], leader: int, value: float, follows: NDArray[np.bool_]
) -> ImpliedValues | None:
    """What one value of an output implies in the columns that may follow it."""
    leads = rows[:, leader] == value
    led = rows[leads]
    if len(led) < _FEWEST_EQUAL:
        return None
    columns = np.flatnonzero(follows & (np.ptp(led, axis=0) == 0))
    columns = columns[columns != leader]
    others, implied = rows[np.ix_(~leads, columns)], led[0, columns]
    elsewhere = others == implied
    share = (len(led) + elsewhere.sum(axis=0)) / len(rows)
    depend = len(led) * (1 - share) >= _FEWEST_MISSING
    depend &= len(led) * np.log(share) <= np.log(_MOST_CHANCE)
    if not depend.any():
        return None
    above, below = (others > implied).all(axis=0), (others < implied).all(axis=0)
    sides = above.astype(np.float64) - below
    found = (columns, implied, elsewhere.any(axis=0), sides)
    return ImpliedValues(leader, value, *(each[depend] for each in found))


def _is_implied(repeated: RepeatedValues, rules: Sequence[ImpliedValues]) -> bool:
    """Whether an output has all its repeated values only where another output implies them."""
    known = [
        value
        for rule in rules
        for value in rule.implied[(rule.followers == repeated.start) & ~rule.occurs_elsewhere]
    ]
    return set(repeated.values.tolist()) <= set(known)

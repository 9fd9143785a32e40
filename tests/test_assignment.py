"""Assignments, and what the CPU computes in the midst of a step."""

import itertools

import pytest
import torch
from helpers import normal

from sklsdm.functional.assignment import assign
from sklsdm.nets.waiting import CountWaiting
from sklsdm.on_cpu import compute_on_cpu, computes_on_cpu, on_cpu, taken_over


def cheapest(cost):
    rows = range(len(cost))
    return min(itertools.permutations(rows), key=lambda order: cost[list(rows), list(order)].sum())


@pytest.mark.parametrize("n", [1, 6])
def test_one_block_is_the_cheapest_assignment(n):
    cost = normal(n, n)
    assert tuple(assign(cost).tolist()) == cheapest(cost)


def test_each_block_is_assigned_by_itself():
    cost = normal(10, 4)
    found = assign(cost)
    blocks = [cost[:4], cost[4:8], cost[8:, :2]]
    expected = [start + j for start, b in zip((0, 4, 8), blocks, strict=True) for j in cheapest(b)]
    assert found.tolist() == expected


def test_costs_that_are_not_finite_still_give_partners():
    cost = normal(5, 3)
    cost[0], cost[1, 1] = float("nan"), float("inf")
    assert sorted(assign(cost).tolist()) == list(range(5))


def test_what_another_takes_over_is_not_computed():
    calls, value, result = [], normal(3, 1), torch.zeros(3, 1)
    with taken_over(lambda *call: calls.append(call)):
        assert on_cpu(abs, value, result) is result
    assert len(calls) == 1
    assert (result == 0).all()
    compute_on_cpu(*calls[0])
    torch.testing.assert_close(result, value.abs().float())
    on_cpu(abs, 2 * value, result)  # in the context no more
    torch.testing.assert_close(result, 2 * value.abs().float())


def test_what_is_meant_to_wait_is_not_counted():
    def doubled(array):
        assert computes_on_cpu()
        return 2 * array

    with CountWaiting() as counter:
        on_cpu(lambda array: doubled(torch.from_numpy(array).sum().item() + array), *zeros())
        assert not counter.found
        with pytest.raises(ZeroDivisionError):
            on_cpu(lambda array: 1 / 0, *zeros())
        zeros()[0].sum().item()
    assert counter.found.total() == 1


def zeros():
    return torch.zeros(2), torch.zeros(2)

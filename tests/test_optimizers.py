"""Our Adam and AdamW against torch's own, bit by bit."""

import copy

import pytest
import torch

from sklsdm.nets import Adam, AdamW

CASES = [
    (Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.5, 0.9)}),
    (AdamW, torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}),
]


def parameters():
    random = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (5,), ()]
    return [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]


def move(optimizer, weights, n_steps):
    """Steps down a loss that bends; the parameter that is frozen gets no gradient."""
    for _ in range(n_steps):
        optimizer.zero_grad()
        sum((w.square() + w.sin()).sum() for w in weights if w.requires_grad).backward()
        optimizer.step()


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_steps_are_those_of_torch(ours, torchs, settings):
    """Also where a parameter joins later, and where a state is handed from one to the other."""
    ends = []
    for kind, further in ((ours, {}), (torchs, {"fused": True})):
        weights = parameters()
        weights[1].requires_grad_(False)
        optimizer = kind(weights, **settings, **further)
        move(optimizer, weights, 3)
        weights[1].requires_grad_(True)
        move(optimizer, weights, 3)
        ends.append((weights, optimizer))
    (found, mine), (wanted, theirs) = ends
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert not torch.equal(found[1], parameters()[1])
    steps = [float(mine.state[w]["step"]) for w in found]
    assert steps == [float(theirs.state[w]["step"]) for w in wanted] == [6.0, 3.0, 6.0]
    mine.load_state_dict(copy.deepcopy(theirs.state_dict()))
    move(mine, found, 2)
    move(theirs, wanted, 2)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize(("ours", "torchs", "settings"), CASES)
def test_a_parameter_may_pause(ours, torchs, settings):
    ends = []
    for kind, further in ((ours, {}), (torchs, {"fused": True})):
        weights = parameters()
        optimizer = kind(weights, **settings, **further)
        for moves in (True, False, True):
            weights[1].requires_grad_(moves)
            move(optimizer, weights, 3)
        ends.append((weights, [float(optimizer.state[w]["step"]) for w in weights]))
    (found, mine), (wanted, theirs) = ends
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert mine == theirs == [9.0, 6.0, 9.0]


def test_parameters_without_gradients_stay():
    weights = parameters()
    Adam(weights).step()
    assert all(torch.equal(a, b) for a, b in zip(weights, parameters(), strict=True))

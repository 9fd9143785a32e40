"""The plain loops that benchmarks/speed.py compares with take the steps that ours take."""

import importlib
from pathlib import Path

import pytest
import torch
from helpers import plain_regressor
from skorch.callbacks import Callback
from torch.testing import assert_close

from sklsdm.datasets import make_arms
from sklsdm.matchers import MATCHERS
from sklsdm.nets.base import StopTraining

pytest.importorskip("ot")


class BothSteps(Callback):
    """At the first epoch, one plain step and one of the net's own from the same state.

    Both are steps down the gradient: Adam would also move what has no gradient but rounding.
    """

    def __init__(self, step):
        self.step = step

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        self.batches_ = X

    def on_epoch_begin(self, net, **kwargs):
        net.optimizer_ = torch.optim.SGD(net.module_.parameters(), lr=0.1)
        if hasattr(net, "critic_"):
            net.critic_optimizer_ = torch.optim.SGD(net.critic_.parameters(), lr=0.1)
        self.start_ = [p.detach().clone() for p in net.module_.parameters()]
        state, batch = net.snapshot(), next(iter(self.batches_))
        random = net.random.get_state()
        ends = []
        for step in (self.step, lambda net, batch: net.train_step(batch)):
            net.restore(state)
            net.random.set_state(random)
            step(net, batch)
            moved = [p.detach().clone() for p in net.module_.parameters()]
            if hasattr(net, "critic_"):
                moved += [p.detach().clone() for p in net.critic_.parameters()]
            ends.append(moved)
        self.ends_ = ends
        raise StopTraining

    def __sklearn_clone__(self):
        return self


@pytest.mark.filterwarnings("ignore:Stage 2 learnt nothing")
@pytest.mark.parametrize("unpaired", ["latent", "match"])
@pytest.mark.parametrize("matcher", list(MATCHERS))
def test_one_step_is_the_same(matcher, unpaired, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    both = BothSteps(importlib.import_module("plain_loops").STEPS[matcher])
    arms = make_arms(120, random_state=0)
    est = plain_regressor(matcher=matcher, unpaired=unpaired, random_state=0)
    est.set_params(matcher__callbacks=[both], matcher__widths=(16,), matcher__max_steps=20)
    est.fit(arms.X[:80], arms.y[:80], arms.y[80:])
    plain, ours = both.ends_
    assert any(not torch.equal(a, b) for a, b in zip(plain, both.start_, strict=False))
    # Plans of Sinkhorn are equal up to the tolerance of POT, and so are the gradients.
    assert_close(plain, ours, rtol=0, atol=3e-3 if matcher == "sinkhorn" else 1e-6)

"""What skorch and our callbacks add to an epoch: the same nets and batches in a plain torch loop.

    python benchmarks/overhead.py

Inside a real fit, rounds of one bare epoch and one epoch of our net (default callbacks on) are
timed in turn; printed are the medians and the median of the ratios, pair by pair. One thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.nets.base import StopTraining


class Rounds(Callback):
    """At the first epoch of a fit, time bare epochs against whole epochs of the net, and stop."""

    def __init__(self, plain: Callable[[Any, Any], None], n_rounds: int) -> None:
        self.plain = plain
        self.n_rounds = n_rounds
        self.times_: list[tuple[float, float]] = []

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.batches_ = X
        self.running_ = False

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.running_:
            return
        self.running_ = True
        for _ in range(self.n_rounds + 1):
            start = time.perf_counter()
            self.plain(net, self.batches_)
            middle = time.perf_counter()
            net.fit_loop(self.batches_, epochs=1)
            self.times_.append((middle - start, time.perf_counter() - middle))
        raise StopTraining

    def __sklearn_clone__(self) -> Rounds:
        return self  # the estimator clones its parts; the times must come back to us


def reconstruction_loop(net: Any, batches: Any) -> None:
    """Stage 1 by hand."""
    net.module_.train()
    for batch in batches:
        net.optimizer_.zero_grad(set_to_none=True)
        loss = (net.module_(batch) - batch).square().mean()
        loss.backward()
        net.optimizer_.step()


def energy_loop(net: Any, batches: Any) -> None:
    """The energy matcher by hand, moving average of the parameters included."""
    parameters = list(net.module_.parameters())
    for batch in batches:
        net.optimizer_.zero_grad(set_to_none=True)
        net.criterion_(net.module_, batch).backward()
        net.optimizer_.step()
        with torch.no_grad():
            torch._foreach_lerp_(net.averaged_, parameters, 0.005)


def wgan_loop(net: Any, batches: Any) -> None:
    """The WGAN by hand, moving average of the parameters included."""
    parameters = list(net.module_.parameters())
    for *critic_batches, last in batches:
        for batch in critic_batches:
            net.critic_optimizer_.zero_grad(set_to_none=True)
            net.criterion_.critic_loss(net.module_, net.critic_, batch).backward()
            net.critic_optimizer_.step()
        net.critic_.requires_grad_(False)
        net.optimizer_.zero_grad(set_to_none=True)
        net.criterion_.generator_loss(net.module_, net.critic_, last).backward()
        net.optimizer_.step()
        net.critic_.requires_grad_(True)
        with torch.no_grad():
            torch._foreach_lerp_(net.averaged_, parameters, 0.005)


def stage_one(n_rows: int, n_rounds: int) -> list[tuple[float, float]]:
    """Times of stage 1 on `n_rows` responses of 64 numbers."""
    y = np.random.default_rng(0).normal(size=(n_rows, 64)).astype(np.float32)
    rounds = Rounds(reconstruction_loop, n_rounds)
    model = LSDMRegressor(13, autoencoder="mlp", random_state=0)
    model.set_params(autoencoder__callbacks=[rounds], matcher__max_steps=1)
    model.fit(y[:50, :2], y[:50], y[50:])
    return rounds.times_


def stage_two(matcher: str, n_rounds: int) -> list[tuple[float, float]]:
    """Times of stage 2 (100 steps an epoch) on the arms, 1,350 pairs and 150 held out."""
    arms = make_arms(1500, random_state=1000)
    rounds = Rounds(wgan_loop if matcher == "wgan" else energy_loop, n_rounds)
    model = LSDMRegressor(matcher=matcher, random_state=0)
    model.set_params(matcher__callbacks=[rounds]).fit(arms.X, arms.y)
    return rounds.times_


def main() -> None:
    """Time every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else arguments.rounds
    cases = {
        "stage 1, mlp, 1,257 x 64": lambda: stage_one(1397, rounds),
        "stage 1, mlp, 18,000 x 64": lambda: stage_one(20_000, rounds),
        "stage 2, wgan, arms": lambda: stage_two("wgan", rounds),
        "stage 2, energy, arms": lambda: stage_two("energy", rounds),
    }
    print(f"{'one epoch':28}{'plain loop, ms':>16}{'our net, ms':>14}{'ratio':>8}")
    for name, run in cases.items():
        pairs = run()[1:]  # the first pair warms up
        ratio = statistics.median(ours / plain for plain, ours in pairs)
        plain, ours = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:28}{plain:16.1f}{ours:14.1f}{ratio:8.3f}", flush=True)


if __name__ == "__main__":
    main()

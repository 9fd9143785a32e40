"""Pairs that come in parts: one fit that goes on, against fits anew of the last part and of all.

    python benchmarks/going_on.py

Three parts of 200 pairs (X, y) of the arms problem come one after another; each fit may take 300
steps of "energy". Printed are the energy score of draws for 500 fresh conditions after each part
(lower is better) and the processor's seconds of all fits, as means over seeds.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.scorers import neg_energy_score

N_PARTS, N_PAIRS, N_SEEDS, N_STEPS = 3, 200, 2, 300


def make(seed: int, warm_start: bool) -> LSDMRegressor:
    """The estimator; the condition encoder is fixed, so that only the networks differ."""
    est = LSDMRegressor(
        matcher="energy", condition_encoder="flatten", warm_start=warm_start, random_state=seed
    )
    return est.set_params(matcher__max_steps=N_STEPS)


def scores_and_seconds(est: Any, parts: list[Any], test: Any) -> list[tuple[float, float]]:
    """Energy score after each fit to one of the parts, and the seconds of the fits until then."""
    found, seconds = [], 0.0
    for X, y in parts:
        start = time.process_time()
        est.fit(X, y)
        seconds += time.process_time() - start
        found.append((-neg_energy_score(est, test.X, test.y), seconds))
    return found


def main() -> None:
    """Print one line for each way of fitting."""
    test = make_arms(500, random_state=99)
    results: dict[str, list[Any]] = {"goes on": [], "last part anew": [], "all parts anew": []}
    for seed in range(N_SEEDS):
        made = [make_arms(N_PAIRS, random_state=10 * seed + number) for number in range(N_PARTS)]
        parts = [(part.X, part.y) for part in made]
        growing = [
            tuple(np.concatenate([part[axis] for part in parts[: count + 1]]) for axis in (0, 1))
            for count in range(N_PARTS)
        ]
        for name, warm, data in (
            ("goes on", True, parts),
            ("last part anew", False, parts),
            ("all parts anew", False, growing),
        ):
            results[name].append(scores_and_seconds(make(seed, warm), data, test))
    for name, found in results.items():
        means = np.mean(found, axis=0)
        scores = " ".join(f"{score:.4f}" for score, _ in means)
        print(f"{name:>14}: energy score {scores}; {means[-1, 1]:.0f} s in all")


if __name__ == "__main__":
    main()

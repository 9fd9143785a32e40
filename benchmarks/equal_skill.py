"""Seconds of a default fit of the arms that reaches an energy skill, of the oracle's.

    PYTHONPATH=checkout python benchmarks/equal_skill.py SEED [PEER]

Fits with more and more steps of stage 2, each from the start, on 1,500 pairs; the first that
reaches the skill counts, with the CPU seconds of that fit alone. The skill is .88, or that of a
peer (`peers.py`), whose seconds are printed too; without one, those of a fit by default are. It is
started by `speed.py` for two versions of the package, so it needs only what all of them have, and
prints JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np

import sklsdm
from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.metrics import energy_score

SKILL = 0.88
STEPS = (300, 500, 700, 1000, 1500, 2000)
N_DRAWS = 100


def main() -> None:
    """Print seconds, steps and skill of the shortest fit that suffices."""
    seed = int(sys.argv[1])
    train, test = (make_arms(n, random_state=s + seed) for n, s in ((1500, 1000), (2000, 9000)))
    random = np.random.default_rng(seed)
    marginal = train.y[random.integers(len(train.y), size=(len(test.y), N_DRAWS))]
    worst = energy_score(test.y, marginal)
    best = energy_score(test.y, test.sample(test.X, N_DRAWS, random_state=seed))

    def skill_of(draws: Any) -> float:
        return float((worst - energy_score(test.y, draws)) / (worst - best))

    def fitted(model: LSDMRegressor) -> tuple[float, float]:
        """Seconds of the fit, and its skill."""
        start = time.process_time()
        model.fit(train.X, train.y)
        seconds = time.process_time() - start
        return seconds, skill_of(model.sample(test.X, N_DRAWS, random_state=seed))

    found: dict[str, Any] = {"package": sklsdm.__file__}
    needed = SKILL
    if len(sys.argv) > 2:
        from peers import available_peers  # not where only a checkout is measured

        peer = available_peers([sys.argv[2]])[sys.argv[2]]
        peer(train.X[:50], train.y[:50], seed)  # imports its package
        start = time.process_time()
        draw = peer(train.X, train.y, seed)
        found["peer_seconds"] = time.process_time() - start
        needed = found["peer_skill"] = skill_of(draw(test.X, N_DRAWS, seed))
    else:
        found["default_seconds"], found["default_skill"] = fitted(LSDMRegressor(random_state=seed))
    seconds, skill, n_steps = math.inf, 0.0, 0
    for n_steps in STEPS:
        model = LSDMRegressor(random_state=seed).set_params(matcher__max_steps=n_steps)
        seconds, skill = fitted(model)
        if skill >= needed:
            break
    else:
        seconds = math.inf
    print(json.dumps(found | {"seconds": seconds, "skill": skill, "steps": n_steps}))


if __name__ == "__main__":
    main()

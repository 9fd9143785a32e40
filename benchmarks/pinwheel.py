"""The pinwheel: a law that turns three times over the range of x, from x alone.

    python benchmarks/pinwheel.py [--quick] [--seeds 3 4 5] [--only "diffusion, periodic"]

2,000 training pairs, 1,000 test conditions, 20 draws a row: the share of the draws near a blade,
the energy score, and the share of central 90 % intervals that hold the response. The last two
hardly tell the truth from draws that ignore x. Seconds are the processor's, on one thread. "wgan"
is `LSDMRegressor()`; all rows of ours choose their condition encoder by themselves. The periodic
one was tuned on seed 0. A run of some rows replaces only those of the JSON.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor, NotImprovedWarning
from sklsdm.datasets import Problem, make_pinwheel, share_near_a_blade
from sklsdm.metrics import energy_score, interval_coverage

N_DRAWS = 20
SEEDS = (3, 4, 5)
Method = Callable[[Problem, NDArray[Any], int], NDArray[Any]]


def oracle(train: Problem, X: NDArray[Any], seed: int) -> NDArray[Any]:
    return train.sample(X, N_DRAWS, random_state=seed)


def marginal(train: Problem, X: NDArray[Any], seed: int) -> NDArray[Any]:
    return train.y[np.random.default_rng(seed).integers(len(train.y), size=(len(X), N_DRAWS))]


def neighbours(train: Problem, X: NDArray[Any], seed: int) -> NDArray[Any]:
    nearest = NearestNeighbors(n_neighbors=5).fit(train.X).kneighbors(X)[1]
    chosen = np.random.default_rng(seed).integers(5, size=(len(X), N_DRAWS))
    return train.y[np.take_along_axis(nearest, chosen, axis=1)]


def ours(matcher: str, encoder: str = "auto", **settings: Any) -> Method:
    def draw(train: Problem, X: NDArray[Any], seed: int) -> NDArray[Any]:
        est = LSDMRegressor(matcher=matcher, condition_encoder=encoder, random_state=seed)
        est.set_params(**settings).fit(train.X, train.y)
        return est.sample(X, N_DRAWS, random_state=seed)

    return draw


def all_methods(quick: bool) -> dict[str, Method]:
    short = {"matcher__max_steps": 20} if quick else {}
    methods: dict[str, Method] = {
        "oracle": oracle,
        "marginal": marginal,
        "5 nearest pairs": neighbours,
    }
    for matcher in ("wgan", "mdn", "diffusion"):
        methods[matcher] = ours(matcher, **short)
    longer = short or {"matcher__max_steps": 6000}
    methods["wgan, 6,000 steps"] = ours("wgan", **longer)
    recipe = {"matcher__lr": 3e-3, "matcher__n_steps": 16}
    methods["diffusion, recipe"] = ours("diffusion", **longer, **recipe)
    components = short | {"matcher__n_components": 30}
    methods["mdn, 30 components"] = ours("mdn", **components)
    return methods


def run(name: str, method: Method, seed: int) -> dict[str, Any]:
    train, test = make_pinwheel(random_state=seed), make_pinwheel(1000, random_state=1000 + seed)
    began = time.process_time()
    draws = method(train, test.X, seed)
    seconds = time.process_time() - began
    ends = np.quantile(draws, [0.05, 0.95], axis=1).swapaxes(0, 1)
    return {
        "method": name,
        "seed": seed,
        "near": share_near_a_blade(test.X, draws),
        "energy_score": float(energy_score(test.y, draws)),
        "coverage": float(interval_coverage(test.y, ends)),
        "seconds": seconds,
        "date": time.strftime("%Y-%m-%d"),
    }


def summarise(rows: list[dict[str, Any]]) -> None:
    table = []
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        keys = ("energy_score", "coverage", "seconds")
        mean = {key: np.mean([row[key] for row in own]) for key in keys}
        near = [row["near"] for row in own]
        error = np.std(near, ddof=1) / len(near) ** 0.5 if len(near) > 1 else 0.0
        table.append(
            [
                name,
                f"{np.mean(near):.3f} +- {error:.3f}",
                f"{mean['energy_score']:.3f}",
                f"{mean['coverage']:.3f}",
                f"{mean['seconds']:.1f}",
            ]
        )
    print_table(["method", "near a blade", "energy score", "coverage of 90 %", "seconds"], table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short fits, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", NotImprovedWarning)
    methods = all_methods(given.quick)
    rows = [] if given.quick else kept_rows("pinwheel")
    for seed in given.seeds:
        for name in given.only or methods:
            replace_row(rows, run(name, methods[name], seed), ("method", "seed"))
            if not given.quick:
                save_results("pinwheel", sorted({row["seed"] for row in rows}), rows)
    summarise(rows)


if __name__ == "__main__":
    main()

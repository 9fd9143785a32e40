"""The arms: a three-armed conditional law, every matcher beside honest baselines.

    python benchmarks/arms.py [--quick] [--seeds 0 1 2] [--matchers wgan energy]

1,500 training and 5,000 test pairs, 200 draws a row. skill_vs_oracle is (marginal − model) /
(marginal − oracle) of the mean energy score; coverage is that of central 90 % intervals of both
outputs. One thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from common import print_table, save_results
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.matchers import MATCHERS
from sklsdm.metrics import energy_score, interval_coverage

N_DRAWS = 200
Array = NDArray[np.float64]
# fit(X, y, seed) gives draw(X, seed) -> (n, N_DRAWS, 2)
Draw = Callable[[Array, int], Array]


def marginal(X: Array, y: Array, seed: int) -> Draw:
    """Training responses drawn at random: ignores X."""
    return lambda Z, s: y[np.random.default_rng(s).integers(len(y), size=(len(Z), N_DRAWS))]


def least_squares(X: Array, y: Array, seed: int) -> Draw:
    """Least squares plus bootstrapped residuals."""
    line = LinearRegression().fit(X, y)
    residuals = y - line.predict(X)

    def draw(Z: Array, s: int) -> Array:
        chosen = np.random.default_rng(s).integers(len(y), size=(len(Z), N_DRAWS))
        return line.predict(Z)[:, None] + residuals[chosen]

    return draw


def nearest_neighbours(X: Array, y: Array, seed: int, k: int = 25) -> Draw:
    """Responses of the k nearest conditions, drawn at random."""
    index = NearestNeighbors(n_neighbors=k).fit(X)

    def draw(Z: Array, s: int) -> Array:
        near = index.kneighbors(Z, return_distance=False)
        chosen = np.random.default_rng(s).integers(k, size=(len(Z), N_DRAWS))
        return y[np.take_along_axis(near, chosen, axis=1)]

    return draw


def matcher(name: str, quick: bool) -> Callable[[Array, Array, int], Draw]:
    """One of our matchers with its defaults."""

    def fit(X: Array, y: Array, seed: int) -> Draw:
        model = LSDMRegressor(matcher=name, random_state=seed)
        if quick:
            model.set_params(matcher__max_steps=300)
        model.fit(X, y)
        return lambda Z, s: model.sample(Z, N_DRAWS, random_state=s)

    return fit


def judge(draws: Array, y: Array, bounds: tuple[float, float]) -> dict[str, float]:
    """Energy score, oracle-relative skill and coverage of draws."""
    worst, best = bounds
    score = energy_score(y, draws)
    interval = np.quantile(draws, [0.05, 0.95], axis=1).swapaxes(0, 1)
    return {
        "energy_score": score,
        "skill_vs_oracle": (worst - score) / (worst - best),
        "coverage": interval_coverage(y, interval),
    }


def run_seed(seed: int, names: list[str], quick: bool) -> list[dict[str, float | str]]:
    """All methods on one training set."""
    train = make_arms(1500, random_state=1000 + seed)
    test = make_arms(500 if quick else 5000, random_state=9000 + seed)
    oracle = test.sample(test.X, N_DRAWS, random_state=seed)
    best = energy_score(test.y, oracle)
    worst = energy_score(test.y, marginal(train.X, train.y, seed)(test.X, seed))
    rows: list[dict[str, float | str]] = [
        {"method": "oracle", "seed": seed, **judge(oracle, test.y, (worst, best))}
    ]
    methods = {
        "marginal": marginal,
        "least squares + bootstrap": least_squares,
        "kNN(25) resampling": nearest_neighbours,
        **{name: matcher(name, quick) for name in names},
    }
    for name, fit in methods.items():
        start = time.perf_counter()
        draw = fit(train.X, train.y, seed)
        middle = time.perf_counter()
        draws = draw(test.X, seed)
        end = time.perf_counter()
        row = {"method": name, "seed": seed, **judge(draws, test.y, (worst, best))}
        rows.append({**row, "fit_s": middle - start, "draw_s": end - middle})
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()})
    return rows


def summarise(rows: list[dict]) -> None:
    """Means over seeds, with the spread of the skill."""
    table = []
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        column = {k: np.array([row.get(k, 0.0) for row in mine]) for k in mine[0] if k != "method"}
        skill = column["skill_vs_oracle"]
        table.append(
            [
                name,
                f"{column['energy_score'].mean():.4f}",
                f"{100 * skill.mean():.0f} ± {100 * skill.std():.0f} %",
                f"{column['coverage'].mean():.3f}",
                f"{column.get('fit_s', np.zeros(1)).mean():.1f}",
                f"{column.get('draw_s', np.zeros(1)).mean():.2f}",
            ]
        )
    print_table(
        ["method", "energy score", "skill vs oracle", "coverage of 90 %", "fit s", "draw s"], table
    )


def main() -> None:
    """Run all seeds, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small budgets, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--matchers", nargs="+", default=sorted(MATCHERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in arguments.seeds:
        rows += run_seed(seed, arguments.matchers, arguments.quick)
    print()
    summarise(rows)
    if not arguments.quick:
        print(f"\nwritten: {save_results('arms', arguments.seeds, rows).name}")


if __name__ == "__main__":
    main()

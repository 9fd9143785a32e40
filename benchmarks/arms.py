"""The arms: a three-armed conditional law, every matcher beside the peers (peers.py).

    python benchmarks/arms.py [--quick] [--seeds 0 1 2] [--matchers wgan energy] [--peers NAME]

1,500 training and 5,000 test pairs, 200 draws a row. skill_vs_oracle is (marginal − model) /
(marginal − oracle) of the mean energy score; coverage is that of central 90 % intervals of both
outputs. One thread. "wgan" is `LSDMRegressor()`, tuned on seeds 10 to 13; "wgan, former default"
has the settings of version 0.1, for its time in the same run. Seconds are the processor's. A run of
some methods (`--matchers` or `--peers` alone, or both; empty for none) replaces only their rows of
the JSON.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from common import CRITIC_ALONE, kept_rows, print_table, replace_row, save_results
from numpy.typing import NDArray
from peers import Draw, Fit, available_peers, marginal

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.matchers import MATCHERS, ZukoFlowMatcher
from sklsdm.metrics import energy_score, interval_coverage

N_DRAWS = 200
Array = NDArray[np.float64]
OURS: dict[str, dict[str, Any]] = {name: {"matcher": name} for name in sorted(MATCHERS)} | {
    "wgan, former default": {"condition_encoder": "flatten"} | CRITIC_ALONE
}
if find_spec("zuko") is not None:
    OURS["spline flow of zuko"] = {"matcher": ZukoFlowMatcher()}


def ours(name: str, quick: bool) -> Fit:
    """One of our matchers, by default or with a recipe's settings."""

    def fit(X: Array, y: Array, seed: int) -> Draw:
        model = LSDMRegressor(random_state=seed).set_params(**OURS[name])
        if quick:
            model.set_params(matcher__max_steps=300)
        model.fit(X, y)
        return lambda Z, n_draws, s: model.sample(Z, n_draws, random_state=s)

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


def run_seed(seed: int, methods: dict[str, Fit], quick: bool) -> list[dict[str, float | str]]:
    """All methods on one training set."""
    train = make_arms(1500, random_state=1000 + seed)
    test = make_arms(500 if quick else 5000, random_state=9000 + seed)
    oracle = test.sample(test.X, N_DRAWS, random_state=seed)
    best = energy_score(test.y, oracle)
    worst = energy_score(test.y, marginal(train.X, train.y, seed)(test.X, N_DRAWS, seed))
    rows: list[dict[str, float | str]] = [
        {"method": "oracle", "seed": seed, **judge(oracle, test.y, (worst, best))}
    ]
    for name, fit in methods.items():
        start = time.process_time()
        draw = fit(train.X, train.y, seed)
        middle = time.process_time()
        draws = draw(test.X, N_DRAWS, seed)
        end = time.process_time()
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


def asked_methods(
    peers: Sequence[str] | None, matchers: Sequence[str] | None, quick: bool
) -> dict[str, Fit]:
    """Methods by name: all, or those asked for."""
    known = available_peers()
    if peers is None and matchers is None:
        peers, matchers = list(known), list(OURS)
    peers, matchers = peers or [], matchers or []
    if unknown := (set(peers) - set(known)) | (set(matchers) - set(OURS)):
        raise SystemExit(f"{sorted(unknown)} not among {[*known, *OURS]}")
    return {name: known[name] for name in peers} | {name: ours(name, quick) for name in matchers}


def order(row: dict) -> tuple[int, bool, bool]:
    """Seeds in turn; in each the oracle first, our matchers last."""
    return row["seed"], row["method"] != "oracle", row["method"] in OURS


def main() -> None:
    """Run all seeds, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small budgets, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--matchers", nargs="*")
    parser.add_argument("--peers", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    methods = asked_methods(arguments.peers, arguments.matchers, arguments.quick)
    rows = [] if arguments.quick else kept_rows("arms")
    for seed in arguments.seeds:
        for row in run_seed(seed, methods, arguments.quick):
            replace_row(rows, row, ("method", "seed"))
    rows.sort(key=order)
    print()
    summarise(rows)
    if not arguments.quick:
        seeds = sorted({row["seed"] for row in rows})
        print(f"\nwritten: {save_results('arms', seeds, rows).name}")


if __name__ == "__main__":
    main()

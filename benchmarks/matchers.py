"""Every matcher on two small problems: eight Gaussians without conditions, digits by class.

    python benchmarks/matchers.py [--quick] [--seeds 0 1 2] [--problems eight_gaussians digits]

Data, judges and settings are those of docs/examples/eight_gaussians.py and docs/examples/digits.py
(100 labelled and 1,297 unlabelled digits, `unpaired="match"`); matchers have their defaults. One
thread.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from sklearn.svm import SVC

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.datasets import make_eight_gaussians
from sklsdm.matchers import MATCHERS

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "examples"))
import digits as digits_example
import eight_gaussians as gaussians_example

QUICK_STEPS = 200
Row = dict[str, float]


def eight_gaussians(matcher: str, seed: int, quick: bool) -> Row:
    """Shares of 10,000 draws by mode (12.5 % each in truth) and near one."""
    data = make_eight_gaussians(2000, random_state=seed).y
    model = LSDMGenerator(matcher=matcher, random_state=seed)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS)
    start = time.perf_counter()
    model.fit(data)
    middle = time.perf_counter()
    draws = model.sample(10_000, random_state=seed)
    end = time.perf_counter()
    shares, near = gaussians_example.judge(draws)
    return {
        "near_a_mode": near,
        "least_share": float(shares.min()),
        "largest_share": float(shares.max()),
        "fit_s": middle - start,
        "draw_s": end - middle,
    }


def digits(matcher: str, seed: int, quick: bool) -> Row:
    """Accuracy and energy distance by class of 100 draws of each class."""
    data = digits_example.split_digits(seed)
    flat = data["train"].reshape(len(data["train"]), -1)
    classifier = SVC(gamma="scale").fit(flat, data["train_labels"])
    model = LSDMRegressor(digits_example.LATENT_DIM, matcher, unpaired="match", random_state=seed)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS)
    X = digits_example.one_hot(data["pair_labels"])
    start = time.perf_counter()
    model.fit(X, data["pairs"], data["unlabelled"])
    middle = time.perf_counter()
    found = digits_example.judge(model, data, classifier)
    return {
        "accuracy": found["accuracy"],
        "energy_distance": found["energy_distance"],
        "fit_s": middle - start,
        "draw_s": time.perf_counter() - middle,
    }


PROBLEMS: dict[str, Callable[[str, int, bool], Row]] = {
    "eight_gaussians": eight_gaussians,
    "digits": digits,
}


def main() -> None:
    """Fit every matcher on every seed; print and write a table for each problem."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 steps, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--matchers", nargs="+", choices=MATCHERS, default=list(MATCHERS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for problem in arguments.problems:
        name = f"matchers_{problem}"
        rows, table = [] if arguments.quick else kept_rows(name), []
        for matcher in arguments.matchers:
            mine = [PROBLEMS[problem](matcher, s, arguments.quick) for s in arguments.seeds]
            for seed, row in zip(arguments.seeds, mine, strict=True):
                replace_row(rows, {"matcher": matcher, "seed": seed, **row}, ("matcher", "seed"))
            columns = {key: np.array([row[key] for row in mine]) for key in mine[0]}
            cells = [f"{v.mean():.3f} ± {v.std():.3f}" for v in columns.values()]
            print(matcher, dict(zip(columns, cells, strict=True)), flush=True)
            table.append([matcher, *cells])
        print_table(["matcher", *columns], table)
        if not arguments.quick:
            seeds = sorted({row["seed"] for row in rows})
            print(f"written: {save_results(name, seeds, rows).name}")


if __name__ == "__main__":
    main()

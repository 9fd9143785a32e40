"""Conformal intervals: coverage at nominal .9 with and without, per output and joint.

    SKLSDM_DATA=folder python benchmarks/conformal.py
    ... [--quick] [--sets uci_concrete digits] [--splits 0 1] [--table]

Of the training rows of a split (tables.py) four fifths fit, a fifth, chosen at random, calibrate,
and the test rows tell the coverage. Training and test rows of these sets are a random split of one
table, so that the pairs are exchangeable. "digits" are scikit-learn's images of 8 x 8 pixels by
class: 500 fit, 200 calibrate, the others test. What is fitted is `LSDMRegressor()` but for the
condition encoder, which is named ("trees" for tables, "flatten" for labels): comparing encoders
takes most of the time and changes no guarantee. "Per output" is the mean share of outputs in their
own interval, "joint" the share of rows with all outputs inside; the last column is the standard
deviation, over the splits, of whichever the intervals aim at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from tables import SETS, Split
from tabular import QUICK_STEPS, chosen_names, table_parser

from sklsdm import LSDMRegressor

Array = NDArray[Any]
COVERAGE = 0.9
TABLES = ("uci_concrete", "uci_energy", "nyc_taxi_small", "gefcom2014_load")
DIGITS = "digits"
KINDS: dict[str, dict[str, bool]] = {
    "plain": {},
    "conformal": {"conformal": True},
    "conformal, joint": {"conformal": True, "joint": True},
}


def digits_split(seed: int) -> Split:
    """Handwritten digits by class, 700 to train."""
    raw = load_digits()
    order = np.random.default_rng(100 + seed).permutation(len(raw.target))
    X, y = np.eye(10)[raw.target][order], (raw.images / 16)[order].astype(np.float32)
    return Split(X[:700], y[:700], X[700:], y[700:])


def run(name: str, number: int, quick: bool) -> Iterator[dict[str, Any]]:
    """Rows of one split of one set."""
    split = digits_split(number) if name == DIGITS else SETS[name](number, quick)
    order = np.random.default_rng(300 + number).permutation(len(split.y))
    n_calibrate = 200 if name == DIGITS else len(order) // 5
    calibrate, fit = np.split(order, [n_calibrate])
    encoder = "flatten" if name == DIGITS else "trees"
    model = LSDMRegressor(condition_encoder=encoder, random_state=number)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS)
    model.fit(split.X[fit], split.y[fit])
    start = time.process_time()
    model.conformalize(split.X[calibrate], split.y[calibrate])
    seconds = time.process_time() - start
    y = split.y_test.reshape(len(split.y_test), -1)
    for kind, settings in KINDS.items():
        found = model.predict_interval(split.X_test, COVERAGE, **settings)
        low, high = np.moveaxis(found.reshape(len(y), 2, -1), 1, 0)
        inside = (low <= y) & (y <= high)
        yield {
            "kind": kind,
            "n_fit": len(fit),
            "n_calibrate": len(calibrate),
            "n_outputs": y.shape[1],
            "per_output": float(inside.mean()),
            "worst_output": float(inside.mean(axis=0).min()),
            "joint": float(inside.all(axis=1).mean()),
            "width": float((high - low).mean()),
            "conformalize_s": seconds,
        }


def summarise(rows: Sequence[dict[str, Any]]) -> None:
    """Means over the splits, and the standard deviation of the coverage aimed at."""
    columns = ("per_output", "worst_output", "joint", "width", "conformalize_s")
    table = []
    for name, kind in dict.fromkeys((row["set"], row["kind"]) for row in rows):
        mine = [row for row in rows if row["set"] == name and row["kind"] == kind]
        size = [f"{mine[0][key]:,}" for key in ("n_outputs", "n_fit", "n_calibrate")]
        aim = [row["joint" if "joint" in kind else "per_output"] for row in mine]
        means = [f"{np.mean([row[column] for row in mine]):.3f}" for column in columns]
        table.append([name, kind, *size, str(len(mine)), *means, f"{np.std(aim):.3f}"])
    header = ["set", "intervals", "outputs", "fitted", "calibrated", "splits", "per output"]
    header += ["worst output", "joint", "mean width", "conformalize s", "sd of the aim"]
    print(f"Coverage at nominal {COVERAGE:g}")
    print_table(header, table)


def main() -> None:
    """Run the rows asked for, keep the JSON, print the table."""
    parser = table_parser(__doc__, "300 rows, short fits, no JSON")
    parser.add_argument("--table", action="store_true", help="run nothing, print the kept rows")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    kept = [] if arguments.quick else kept_rows("conformal")
    sets = chosen_names(arguments.sets, [*TABLES, DIGITS], "--sets")
    for name in [] if arguments.table else sets:
        for number in arguments.splits:
            for row in run(name, number, arguments.quick):
                row = {"set": name, "split": number} | row | {"date": time.strftime("%Y-%m-%d")}
                replace_row(kept, row, ("set", "split", "kind"))
            print(name, number, flush=True)
            if not arguments.quick:
                save_results("conformal", sorted({row["split"] for row in kept}), kept)
    summarise(kept)


if __name__ == "__main__":
    main()

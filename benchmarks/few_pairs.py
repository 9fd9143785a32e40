"""Few pairs: energy score and coverage of fits to 60 and 120 pairs of the eleven tables.

    SKLSDM_DATA=folder python benchmarks/few_pairs.py [--quick] [--sets uci_yacht wage]
    ... [--splits 0 1] [--sizes 60 120] [--only default quantile-forest] [--tuning --splits 10]

Sets, splits, test rows, scores and methods are those of tabular.py; of its training rows so many
are taken at random. There are no unpaired responses. Splits 0 and 1 are reported.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from peers import Fit
from tables import SETS
from tabular import CHOSEN, DEFAULT, N_DRAWS, chosen_names, paired_methods, table_parser, timed

SIZES = (60, 120)
KEYS = ("set", "split", "n_pairs", "method")


def run(name: str, number: int, n: int, methods: dict[str, Fit]) -> Iterator[dict[str, Any]]:
    """Rows of n pairs of one split of one set."""
    split = SETS[name](number, False)
    pairs = np.random.default_rng(200 + number).permutation(len(split.y))[:n]
    groups = None if split.groups is None else split.groups[pairs]
    for method, fit in methods.items():
        scores, _ = timed(
            lambda fit=fit: fit(split.X[pairs], split.y[pairs], number, groups),
            lambda draw: draw(split.X_test, N_DRAWS, number),
            split.y_test,
        )
        yield {"set": name, "split": number, "n_pairs": n, "method": method} | scores


def summarise(rows: Sequence[dict[str, Any]]) -> None:
    """Each method beside the default, over the sets and splits that both have."""
    by_key = {tuple(row[key] for key in KEYS): row for row in rows}
    table = []
    for n in sorted({row["n_pairs"] for row in rows}):
        for method in dict.fromkeys(row["method"] for row in rows):
            mine = [row for row in rows if (row["n_pairs"], row["method"]) == (n, method)]
            both = [(row, by_key.get((row["set"], row["split"], n, DEFAULT))) for row in mine]
            ratios = [row["energy_score"] / own["energy_score"] for row, own in both if own]
            covered = np.array([row["coverage"] for row in mine])
            table.append(
                [
                    str(n),
                    method,
                    str(len(mine)),
                    f"{np.exp(np.mean(np.log(ratios))):.3f}" if ratios else "",
                    f"{covered.mean():.3f}",
                    f"{np.abs(covered - 0.9).mean():.3f}",
                    f"{covered.min():.2f}",
                    f"{np.mean([row['fit_s'] for row in mine]):.1f}",
                ]
            )
    header = ["pairs", "method", "fits", "energy score / default's", "coverage of 90 %"]
    print_table([*header, "mean distance from .9", "lowest", "fit s"], table)


def main() -> None:
    """Run the rows asked for, keep the JSON, print the table."""
    parser = table_parser(__doc__, "short fits of one set, no JSON")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=list(SIZES), help="numbers of pairs"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods")
    parser.add_argument("--tuning", action="store_true", help="no JSON; for splits not reported")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sets = chosen_names(arguments.sets, list(SETS), "--sets")
    known = paired_methods(arguments.quick, asked=arguments.only)
    only = chosen_names(arguments.only, [name for name in known if name != CHOSEN], "--only")
    keeps = not (arguments.quick or arguments.tuning)
    kept = kept_rows("few_pairs") if keeps else []
    for number in arguments.splits[:1] if arguments.quick else arguments.splits:
        for name in sets[:1] if arguments.quick else sets:
            for n in arguments.sizes:
                for row in run(name, number, n, {method: known[method] for method in only}):
                    row["date"] = time.strftime("%Y-%m-%d")
                    print(*(round(v, 4) if isinstance(v, float) else v for v in row.values()))
                    replace_row(kept, row, KEYS)
                    if keeps:
                        save_results("few_pairs", sorted({row["split"] for row in kept}), kept)
    summarise(kept)


if __name__ == "__main__":
    main()

"""Images by class from 250 labelled and 29,750 unlabelled ones: are they sharp, and of their class?

    python benchmarks/images_by_class.py [--quick] [--data fashion] [--seeds 0] [--only default]

Digits (`--data mnist`) or clothes (Fashion-MNIST, `--data fashion`), 25 labelled a class. "default"
is `LSDMRegressor()`; "default, all labels" is told all 30,000 labels, which shows what wrong
pseudo-labels cost. 10,000 images are drawn, 1,000 of each class, and compared with the test set by
the judge that sees blur and texture (`judge.py --sharp`), which no estimator sees; "reconstruction"
rows are of 10,000 fresh images. Seconds are the processor's, on one thread. Rows go into the JSON
as they come; a run of some rows replaces only those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, mean_cells, print_table, replace_row, save_results
from judge import FETCH, Bench, load_bench
from mnist_matchers import (
    DRAWS_PER_CLASS,
    N_FRESH,
    N_PER_CLASS,
    N_UNLABELLED,
    QUICK_DRAWS,
    QUICK_FRESH,
    QUICK_STEPS,
    QUICK_UNLABELLED,
    Array,
    Split,
    draw_by_class,
    one_hot,
    resample,
    split_mnist,
)

from sklsdm import LSDMRegressor

ALL_LABELS = "default, all labels"
METHODS = ("default", ALL_LABELS)


def labels_of(images: Array, data: str) -> Array:
    """The true labels of some training images."""
    known, labels = FETCH[data]("train")
    by_bytes = {image.tobytes(): label for image, label in zip(known, labels, strict=True)}
    return np.array([by_bytes[image.tobytes()] for image in images])


def fit(name: str, split: Split, seed: int, data: str, quick: bool) -> LSDMRegressor:
    """The estimator of one row, fitted."""
    model = LSDMRegressor(random_state=seed)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS, autoencoder__max_epochs=1)
    if name != ALL_LABELS:
        return model.fit(one_hot(split.pair_labels), split.pairs, split.unlabelled)
    labels = np.concatenate([split.pair_labels, labels_of(split.unlabelled, data)])
    return model.fit(one_hot(labels), np.concatenate([split.pairs, split.unlabelled]))


def run_seed(
    seed: int, names: list[str], bench: Bench, data: str, quick: bool
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    sizes = (QUICK_UNLABELLED, QUICK_FRESH) if quick else (N_UNLABELLED, N_FRESH)
    split = split_mnist(seed, N_PER_CLASS, *sizes, FETCH[data])
    per_class = QUICK_DRAWS if quick else DRAWS_PER_CLASS
    fresh = split.fresh / np.float32(255)
    yield {"method": "real, fresh"} | bench.full_score(fresh, split.fresh_labels, split.seen)
    again, labels = resample(split, seed, per_class)
    yield {"method": "labelled, drawn again"} | bench.full_score(again, labels, split.seen)
    for name in names:
        start = time.process_time()
        model = fit(name, split, seed, data, quick)
        middle = time.process_time()
        draws, labels = draw_by_class(model, per_class)
        end = time.process_time()
        row = {"method": name, "fit_s": middle - start, "draw_s": end - middle}
        yield row | {"latent_dim": model.latent_dim_} | bench.full_score(draws, labels, split.seen)
        if name != ALL_LABELS:
            rebuilt = model.reconstruct(split.fresh)
            yield {"method": f"reconstruction, {name}"} | bench.full_score(
                rebuilt, split.fresh_labels, split.seen
            )


COLUMNS = {
    "accuracy": ("accuracy", "{:.3f}"),
    "fd": ("FD", "{:.1f}"),
    "class_fd": ("class FD", "{:.1f}"),
    "recall": ("recall", "{:.2f}"),
    "nearest": ("nearest", "{:.2f}"),
    "fit_s": ("fit s", "{:.0f}"),
    "draw_s": ("draw s", "{:.0f}"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Means over seeds."""
    table = []
    for key in dict.fromkeys((row["data"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["data"], row["method"]) == key]
        table.append([*key, str(len(mine)), *mean_cells(mine, COLUMNS)])
    print_table(["data", "method", "seeds", *(title for title, _ in COLUMNS.values())], table)


def main() -> None:
    """Run the rows asked for, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 images, short fits, no JSON")
    parser.add_argument("--data", nargs="+", choices=("mnist", "fashion"), default=["fashion"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for data in arguments.data:
        bench = load_bench(0, arguments.cache, arguments.quick, data, sharp=True)
        print(f"judge of {data}: accuracy {bench.accuracy:.4f} on test images", flush=True)
        for seed in arguments.seeds:
            for row in run_seed(seed, arguments.only, bench, data, arguments.quick):
                row = {"data": data, "seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
                rows.append(row)
                shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
                print(shown, flush=True)
                if not arguments.quick:
                    kept = kept_rows("images_by_class")  # another run may have added some
                    replace_row(kept, row, ("data", "method", "seed"))
                    save_results("images_by_class", sorted({r["seed"] for r in kept}), kept)
    print()
    summarise(rows)


if __name__ == "__main__":
    main()

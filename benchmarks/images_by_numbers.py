"""Images by numbers: digits by how much ink they have, how far they lean and how wide they are.

    python benchmarks/images_by_numbers.py [--quick] [--data mnist] [--noise 0] [--seeds 0]

The condition of an image is three numbers that are measured on it, standardised, plus normal noise
of `--noise` standard deviations. 500 images have it, 29,500 have none. "default" is
`LSDMRegressor()`; "latent only" uses the others in stage 1 alone; "all numbers" is told those of
all 30,000; "5 nearest pairs" draws one of the five images whose numbers are nearest. 10,000 images
are drawn, one for the numbers of each test image, and compared with the test set by the judge that
sees blur and texture (`judge.py --sharp`): FD, and its mean over nine parts of the test set, by
thirds of ink and lean. "error" is the mean absolute difference between the numbers measured on a
draw and those of the test image whose condition was given, in standard deviations. Seconds are the
processor's, on one thread. Rows go into the JSON as they come; a run of some rows replaces only
those.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, mean_cells, print_table, replace_row, save_results
from judge import FETCH, Judge, class_frechet, frechet_distance, load_judge, nearest_distance
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor

Array = NDArray[Any]
METHODS = ("5 nearest pairs", "latent only", "default", "all numbers")
N_PAIRS, N_OTHERS = 500, 29_500
N_NEIGHBOURS = 5


def measure(images: Array) -> Array:
    """Ink (its logarithm), lean and width (n, 3) of images (n, 28, 28) of bytes."""
    ink = images.astype(np.float64) / 255
    total = ink.sum(axis=(1, 2)) + 1e-9
    places = np.arange(ink.shape[1])
    x = places - (ink.sum(axis=1) @ places / total)[:, None]
    y = places - (ink.sum(axis=2) @ places / total)[:, None]
    across = np.einsum("nij,nj->n", ink, x**2) / total
    down = np.einsum("nij,ni->n", ink, y**2) / total
    both = np.einsum("nij,ni,nj->n", ink, y, x) / total
    return np.column_stack([np.log(total), both / down, np.sqrt(across)])


@dataclass(frozen=True)
class Problem:
    """Images as bytes with their conditions; `numbers` are those of the test set, without noise."""

    pairs: Array
    X: Array
    others: Array
    X_others: Array
    test: Array
    X_test: Array
    mean: Array
    std: Array

    def numbers(self, images: Array) -> Array:
        """What is measured on images, standardised."""
        return (measure(images) - self.mean) / self.std


def make_problem(seed: int, data: str, noise: float, n_others: int) -> Problem:
    """A random split of the training images, and the test set."""
    images, _ = FETCH[data]("train")
    test, _ = FETCH[data]("test")
    random = np.random.default_rng(seed)
    order = random.permutation(len(images))
    pairs, others = images[order[:N_PAIRS]], images[order[N_PAIRS : N_PAIRS + n_others]]
    known = measure(pairs)
    mean, std = known.mean(axis=0), known.std(axis=0)
    X, X_others, X_test = (
        (measure(part) - mean) / std + noise * random.normal(size=(len(part), 3))
        for part in (pairs, others, test)
    )
    return Problem(pairs, X, others, X_others, test, X_test, mean, std)


def draw(name: str, problem: Problem, seed: int, quick: bool) -> tuple[Array, float | None]:
    """One image in [0, 1] for each test condition, and the R2 at which conditions were found."""
    if name == "5 nearest pairs":
        nearest = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(problem.X)
        found = nearest.kneighbors(problem.X_test, return_distance=False)
        chosen = np.random.default_rng(seed).integers(N_NEIGHBOURS, size=len(found))
        return problem.pairs[found[np.arange(len(found)), chosen]] / np.float32(255), None
    model = LSDMRegressor(random_state=seed)
    if quick:
        model.set_params(matcher__max_steps=100, autoencoder__max_epochs=1)
    if name == "all numbers":
        X = np.concatenate([problem.X, problem.X_others])
        model.fit(X, np.concatenate([problem.pairs, problem.others]))
    else:
        model.set_params(unpaired="latent" if name == "latent only" else "auto")
        model.fit(problem.X, problem.pairs, problem.others)
    return model.sample(problem.X_test, random_state=seed)[:, 0], model.reverse_r2_


def judged(draws: Array, problem: Problem, judge: Judge) -> dict[str, float]:
    """FD, FD by thirds, error of the numbers, distance to the nearest image that was seen."""
    images = problem.test / np.float32(255)
    features, real = judge.features(draws), judge.features(images)
    truth = problem.numbers(problem.test)
    ends = np.quantile(truth, [1 / 3, 2 / 3], axis=0)
    part = sum(3**k * np.searchsorted(ends[:, k], truth[:, k]) for k in (0, 1))
    seen = np.concatenate([problem.pairs, problem.others]) / np.float32(255)
    return {
        "fd": frechet_distance(features, real),
        "part_fd": class_frechet(features, part, real, part),
        "error": float(np.abs(problem.numbers(255 * draws) - truth).mean()),
        "nearest": nearest_distance(draws, seen),
    }


def run_seed(
    seed: int, names: list[str], judge: Judge, data: str, noise: float, quick: bool
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    problem = make_problem(seed, data, noise, 6000 if quick else N_OTHERS)
    for name in names:
        start = time.process_time()
        draws, r2 = draw(name, problem, seed, quick)
        row = {"method": name, "seconds": time.process_time() - start}
        yield row | ({} if r2 is None else {"r2": r2}) | judged(draws, problem, judge)


COLUMNS = {
    "fd": ("FD", "{:.1f}"),
    "part_fd": ("FD by thirds", "{:.1f}"),
    "error": ("error", "{:.2f}"),
    "nearest": ("nearest", "{:.2f}"),
    "r2": ("R2", "{:.2f}"),
    "seconds": ("seconds", "{:.0f}"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Means over seeds."""
    table = []
    for key in dict.fromkeys((row["data"], row["noise"], row["method"]) for row in rows):
        mine = [row for row in rows if (row["data"], row["noise"], row["method"]) == key]
        table.append([*map(str, key), str(len(mine)), *mean_cells(mine, COLUMNS)])
    print_table(
        ["data", "noise", "method", "seeds", *(title for title, _ in COLUMNS.values())], table
    )


def main() -> None:
    """Run the rows asked for, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6,000 images, short fits, no JSON")
    parser.add_argument("--data", choices=("mnist", "fashion"), default="mnist")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    judge = load_judge(0, arguments.cache, arguments.quick, arguments.data, True)
    found = {"data": arguments.data, "noise": arguments.noise}
    for seed in arguments.seeds:
        for row in run_seed(
            seed, arguments.only, judge, arguments.data, arguments.noise, arguments.quick
        ):
            row = found | {"seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
            rows.append(row)
            shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
            print(shown, flush=True)
            if not arguments.quick:
                kept = kept_rows("images_by_numbers")  # another run may have added some
                replace_row(kept, row, ("data", "noise", "method", "seed"))
                save_results("images_by_numbers", sorted({r["seed"] for r in kept}), kept)
    print()
    summarise(rows)


if __name__ == "__main__":
    main()

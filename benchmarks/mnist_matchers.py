"""MNIST by class from 250 labelled digits (m = 13): every matcher, every latent space.

    python benchmarks/mnist_matchers.py [--quick] [--seeds 0] [--only conv:wgan mlp] [--cache DIR]

25 labelled digits a class and 29,750 unlabelled ones, drawn by seed; all settings are defaults. One
row of the table is every matcher with "auto" (convolutions here), one column every latent space
with the critic alone; `--only` takes a latent space, a matcher, or one pair of them. 10,000 digits
are drawn, 1,000 of each class, and compared with the test set by a classifier of our own
(judge.py); "real" are 10,000 training digits that no estimator saw. Stage 1 is fitted once for each
latent space and seed. Time is the processor's, on one thread; the time of stage 2 includes encoding
all responses. Stage 2 uses the unlabelled codes (`unpaired="match"`); "diffusion-pair" and "wgan-
pair" are recipes with pseudo-pairs (`RECIPES`). Rows go into the JSON as they come; a run of some
rows replaces only those.
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
from common import CRITIC_ALONE, kept_rows, print_table, replace_row, save_results
from judge import Bench, load_bench
from numpy.typing import NDArray
from sklearn.decomposition import FastICA
from torch import Tensor

from sklsdm import LSDMRegressor
from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.datasets import fetch_mnist
from sklsdm.matchers import MATCHERS

Array = NDArray[Any]
LATENT_DIM, N_PER_CLASS, N_UNLABELLED, N_FRESH, DRAWS_PER_CLASS = 13, 25, 29_750, 10_000, 1000
QUICK_UNLABELLED, QUICK_FRESH, QUICK_DRAWS = 1750, 2000, 200
QUICK_STEPS, QUICK_EPOCHS = 200, 2
UNTRAINED = ("pca", "FastICA")  # no epochs to cut
LATENT_SPACES: dict[str, Any] = {
    "conv": "auto",
    "mlp": "mlp",
    "vae": "vae",
    "dpa": "dpa",
    "pca": "pca",
    "FastICA": FastICA(LATENT_DIM, tol=1e-3, max_iter=1000, random_state=0),
}
# Recipes: settings beside the defaults, under a name of their own.
RECIPES: dict[str, dict[str, Any]] = {
    "diffusion-pair": {
        "matcher": "diffusion",
        "unpaired": "pair",
        "matcher__max_steps": 10_000,
        "matcher__widths": (256, 256, 256),
    },
    "wgan-pair": {"matcher": "wgan", "unpaired": "pair"},
    "critic alone": CRITIC_ALONE | {"unpaired": "match"},
    "critic alone, pair": CRITIC_ALONE | {"unpaired": "pair"},
}
CELLS = [("conv", name) for name in (*MATCHERS, *RECIPES)] + [
    (space, "critic alone") for space in LATENT_SPACES if space != "conv"
]


@dataclass(frozen=True)
class Split:
    """Digits as bytes: labelled, unlabelled, and fresh ones that no estimator sees."""

    pairs: Array
    pair_labels: Array
    unlabelled: Array
    fresh: Array
    fresh_labels: Array
    seen: Array  # all that the estimator sees, in [0, 1]


def split_mnist(
    seed: int, n_per_class: int, n_unlabelled: int, n_fresh: int, fetch: Any = fetch_mnist
) -> Split:
    """A random split of the training images, with as many labelled of each class."""
    images, labels = fetch()
    order = np.random.default_rng(seed).permutation(len(images))
    taken = np.concatenate([order[labels[order] == k][:n_per_class] for k in range(10)])
    rest = order[~np.isin(order, taken)]
    unlabelled, fresh = rest[:n_unlabelled], rest[n_unlabelled:][:n_fresh]
    return Split(
        images[taken],
        labels[taken],
        images[unlabelled],
        images[fresh],
        labels[fresh],
        images[np.concatenate([taken, unlabelled])] / np.float32(255),
    )


def one_hot(labels: Array) -> Array:
    """The condition X: one column a class."""
    return np.eye(10)[labels]


class FittedLatentSpace(BaseAutoencoder):
    """A fitted stage 1 used as it is, so that several matchers share it."""

    def __init__(self, fitted: BaseAutoencoder) -> None:
        self.fitted = fitted

    def __sklearn_clone__(self) -> FittedLatentSpace:
        return FittedLatentSpace(self.fitted)  # the estimator clones its parts, which unfits them

    def natural_dim(self, form: Any) -> int:
        return self.fitted.latent_dim_

    def _fit_coder(self, responses: Any, latent_dim: int, held_out: Any, run: Any) -> Any:
        return self.fitted.coder_

    def fit(self, responses: Any, latent_dim: int, held_out: Any, run: Any) -> FittedLatentSpace:
        super().fit(responses, latent_dim, held_out, run)
        self.decoder_noise_dim_ = self.fitted.decoder_noise_dim_
        self.code_shape_ = self.fitted.code_shape_
        self.history_ = self.fitted.history_
        return self

    def encode(self, target: Tensor) -> Tensor:
        return self.fitted.encode(target)

    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.fitted.decode(latent, noise)


def fit_latent_space(autoencoder: Any, split: Split, seed: int, epochs: int | None) -> Any:
    """Stage 1 (a stage 2 of one step comes with it), and its seconds."""
    model = LSDMRegressor(LATENT_DIM, "energy", autoencoder=autoencoder, random_state=seed)
    model.set_params(matcher__max_steps=1)
    if epochs is not None:
        model.set_params(autoencoder__max_epochs=epochs)
    start = time.process_time()
    unlabelled = split.unlabelled if len(split.unlabelled) else None
    model.fit(one_hot(split.pair_labels), split.pairs, unlabelled)
    return model, time.process_time() - start


def draw_by_class(model: LSDMRegressor, per_class: int) -> tuple[Array, Array]:
    """`per_class` digits of each class, and their labels."""
    labels = np.repeat(np.arange(10), per_class)
    return model.sample(one_hot(labels), random_state=0)[:, 0], labels


def resample(split: Split, seed: int, per_class: int) -> tuple[Array, Array]:
    """`per_class` labelled digits of each class, drawn again, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), per_class)
    rows = [rng.choice(np.flatnonzero(split.pair_labels == k), per_class) for k in range(10)]
    return split.pairs[np.concatenate(rows)] / np.float32(255), labels


def training_record(model: LSDMRegressor) -> dict[str, Any]:
    """Steps taken by stage 2, and the held-out scores."""
    matcher = model.matcher_
    monitor = next(name for name in matcher.history_ if name.startswith("valid_"))
    scores = matcher.history_[monitor]
    return {
        "steps": matcher.n_steps_,
        "most_steps": matcher.max_steps,
        "monitor": monitor,
        "held_out": [round(float(score), 4) for score in scores],
    }


def reference_rows(
    bench: Bench, split: Split, seed: int, per_class: int
) -> Iterator[dict[str, Any]]:
    """What needs no estimator: fresh real digits, and the labelled ones drawn again."""
    fresh = split.fresh / np.float32(255)
    yield {"latent_space": "", "matcher": "real, fresh"} | bench.full_score(
        fresh, split.fresh_labels, split.seen
    )
    again, labels = resample(split, seed, per_class)
    row = bench.full_score(again, labels, split.seen)
    yield {"latent_space": "", "matcher": "resampled pairs"} | row


def run_seed(
    seed: int, cells: list[tuple[str, str]], bench: Bench, quick: bool
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    split = split_mnist(
        seed,
        N_PER_CLASS,
        QUICK_UNLABELLED if quick else N_UNLABELLED,
        QUICK_FRESH if quick else N_FRESH,
    )
    per_class = QUICK_DRAWS if quick else DRAWS_PER_CLASS
    yield from reference_rows(bench, split, seed, per_class)
    for space in dict.fromkeys(space for space, _ in cells):
        epochs = QUICK_EPOCHS if quick and space not in UNTRAINED else None
        first, seconds = fit_latent_space(LATENT_SPACES[space], split, seed, epochs)
        again = first.reconstruct(split.fresh)
        common = {"latent_space": space, "stage_1_s": seconds}
        yield (
            common
            | {"matcher": "reconstruction"}
            | bench.full_score(again, split.fresh_labels, split.seen)
        )
        shared = FittedLatentSpace(first.autoencoder_)
        for matcher in [matcher for where, matcher in cells if where == space]:
            settings = RECIPES.get(matcher, {"matcher": matcher, "unpaired": "match"})
            model = LSDMRegressor(LATENT_DIM, autoencoder=shared, random_state=seed)
            model.set_params(**settings)
            if quick:
                model.set_params(matcher__max_steps=QUICK_STEPS)
            start = time.process_time()
            model.fit(one_hot(split.pair_labels), split.pairs, split.unlabelled)
            middle = time.process_time()
            draws, labels = draw_by_class(model, per_class)
            end = time.process_time()
            row = common | {"matcher": matcher, "stage_2_s": middle - start, "draw_s": end - middle}
            yield (row | bench.full_score(draws, labels, split.seen) | training_record(model))


COLUMNS = {
    "accuracy": ("accuracy", "{:.3f}"),
    "fd": ("FD", "{:.1f}"),
    "class_fd": ("class FD", "{:.1f}"),
    "precision": ("precision", "{:.2f}"),
    "recall": ("recall", "{:.2f}"),
    "density": ("density", "{:.2f}"),
    "coverage": ("coverage", "{:.2f}"),
    "nearest": ("nearest", "{:.2f}"),
    "steps": ("steps", "{:.0f}"),
    "stage_1_s": ("stage 1 s", "{:.0f}"),
    "stage_2_s": ("stage 2 s", "{:.0f}"),
    "draw_s": ("draw s", "{:.2f}"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Means over seeds, real digits and resampling first."""
    table = []
    for key in dict.fromkeys((row["latent_space"], row["matcher"]) for row in rows):
        mine = [row for row in rows if (row["latent_space"], row["matcher"]) == key]
        cells = []
        for name, (_, form) in COLUMNS.items():
            values = [row[name] for row in mine if row.get(name) is not None]
            cells.append(form.format(np.mean(values)) if values else "")
        table.append([key[0], key[1], str(len(mine)), *cells])
    print_table(
        ["latent space", "matcher", "seeds", *(title for title, _ in COLUMNS.values())], table
    )


def chosen_cells(only: list[str] | None) -> list[tuple[str, str]]:
    """Cells of the table that `--only` names, in its order."""
    if only is None:
        return CELLS
    chosen = [
        (space, matcher)
        for space, matcher in CELLS
        if {space, matcher, f"{space}:{matcher}"} & set(only)
    ]
    known = {word for cell in CELLS for word in (*cell, ":".join(cell))}
    if unknown := set(only) - known:
        raise SystemExit(f"--only: {sorted(unknown)} not among {sorted(known)}")
    return chosen


def main() -> None:
    """Run the cells asked for, print the table, keep the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 digits, short fits, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="e.g. energy, vae, conv:flow")
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    arguments = parser.parse_args()
    cells = chosen_cells(arguments.only)
    torch.set_num_threads(1)
    bench = load_bench(0, arguments.cache, arguments.quick)
    print(f"judge: accuracy {bench.accuracy:.4f} on {len(bench.labels):,} test digits", flush=True)
    rows: list[dict[str, Any]] = []
    kept = [] if arguments.quick else kept_rows("mnist_matchers")
    for seed in arguments.seeds:
        for row in run_seed(seed, cells, bench, arguments.quick):
            row = {"seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
            rows.append(row)
            shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
            print({k: v for k, v in shown.items() if k != "held_out"}, flush=True)
            if not arguments.quick:
                replace_row(kept, row, ("latent_space", "matcher", "seed"))
                save_results("mnist_matchers", sorted({row["seed"] for row in kept}), kept)
    print()
    summarise(rows)


if __name__ == "__main__":
    main()

"""MNIST by class from few labelled digits: how accuracy and distances move with n and N.

    python benchmarks/mnist_semi_supervised.py [--quick] [--seeds 0] [--only ours] [--cache DIR]

Two curves: n + N = 3,000 digits of which n are labelled; n = 250 labelled digits beside N without
a label. As many labelled digits of each class; 1,000 digits of each class are drawn and judged as
in mnist_matchers.py. "the paper's recipe" is a critic alone, with unlabelled digits in stage 1
only, all pairs and all steps; "ours" the recipe of docs/choosing.md, `diffusion` with pseudo-pairs,
on the same stage 1; "default" is `LSDMRegressor()`. With N = 0 all are the supervised case. "WGAN
in pixel space" and the conditional VAE see the n pairs and nothing else. Time is the processor's,
on one thread; but for "default", that of stage 1 stands in the row of its reconstructions.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import CRITIC_ALONE, kept_rows, print_table, replace_row, save_results
from judge import Bench, load_bench
from mnist_matchers import (
    DRAWS_PER_CLASS,
    LATENT_DIM,
    N_FRESH,
    QUICK_DRAWS,
    QUICK_EPOCHS,
    QUICK_FRESH,
    QUICK_STEPS,
    RECIPES,
    Array,
    FittedLatentSpace,
    Split,
    draw_by_class,
    fit_latent_space,
    one_hot,
    resample,
    split_mnist,
)
from torch import Tensor, nn

from sklsdm import LSDMRegressor

TOTAL, N_PAIRS = 3000, 250
N_LABELLED = (50, 100, 250, 500, 1000)
N_UNLABELLED = (0, 1000, 5000, 29_750)
QUICK_TOTAL, QUICK_LABELLED, QUICK_UNLABELLED = 1000, (50, 250), (0, 750)
BY_PAIRS = ("resampled pairs", "conditional VAE", "WGAN in pixel space")
BY_BOTH = ("the paper's recipe", "ours", "default", "reconstruction")
PICTURE = Path(__file__).parents[1] / "docs" / "mnist_semi_supervised.png"


class ConditionalVAE(nn.Module):
    """Kingma & Welling's autoencoder given the class: MLPs, Bernoulli pixels, N(0, I) codes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(784 + 10, 512), nn.SiLU(), nn.Linear(512, 256), nn.SiLU(),
            nn.Linear(256, 2 * LATENT_DIM),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(LATENT_DIM + 10, 256), nn.SiLU(), nn.Linear(256, 512), nn.SiLU(),
            nn.Linear(512, 784),
        )  # fmt: skip

    def loss(self, digits: Tensor, classes: Tensor, noise: Tensor) -> Tensor:
        """Minus the evidence bound of rows (b, 784) given one-hot classes (b, 10)."""
        mean, log_spread = self.encoder(torch.cat([digits, classes], dim=1)).chunk(2, dim=1)
        codes = mean + log_spread.exp() * noise
        logits = self.decoder(torch.cat([codes, classes], dim=1))
        missed = nn.functional.binary_cross_entropy_with_logits(logits, digits, reduction="none")
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1) - log_spread
        return (missed.sum(dim=1) + divergence.sum(dim=1)).mean()

    @torch.no_grad()
    def draw(self, classes: Tensor, noise: Tensor) -> Tensor:
        """The pixels' probabilities (b, 28, 28)."""
        return self.decoder(torch.cat([noise, classes], dim=1)).sigmoid().view(-1, 28, 28)


def fit_conditional_vae(split: Split, seed: int, max_steps: int) -> ConditionalVAE:
    """Trained on all pairs for all steps: stopping at the best held-out bound draws far worse."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ConditionalVAE()
    digits = torch.from_numpy(split.pairs / np.float32(255)).flatten(1)
    classes = torch.from_numpy(one_hot(split.pair_labels)).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(max_steps):
        rows = torch.randint(len(digits), (64,), generator=random)
        noise = torch.randn((64, LATENT_DIM), generator=random)
        optimizer.zero_grad()
        model.loss(digits[rows], classes[rows], noise).backward()
        optimizer.step()
    return model


def draw_from_vae(model: ConditionalVAE, per_class: int) -> tuple[Array, Array]:
    """`per_class` digits of each class, and their labels."""
    labels = np.repeat(np.arange(10), per_class)
    noise = torch.randn((len(labels), LATENT_DIM), generator=torch.Generator().manual_seed(0))
    return model.draw(torch.from_numpy(one_hot(labels)).float(), noise).numpy(), labels


def fit_matcher(split: Split, seed: int, quick: bool, **settings: Any) -> LSDMRegressor:
    """Our estimator with its defaults but for `settings`."""
    model = LSDMRegressor(LATENT_DIM, random_state=seed).set_params(**settings)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS)
    unlabelled = split.unlabelled if len(split.unlabelled) else None
    return model.fit(one_hot(split.pair_labels), split.pairs, unlabelled)


def by_pairs(split: Split, seed: int, quick: bool, per_class: int) -> dict[str, Callable[[], Any]]:
    """Methods that see pairs only; each gives draws and their labels."""
    pixels = CRITIC_ALONE | {"autoencoder": "identity", "latent_dim": "auto"}
    steps = QUICK_STEPS if quick else 3000
    return {
        "resampled pairs": lambda: resample(split, seed, per_class),
        "conditional VAE": lambda: draw_from_vae(
            fit_conditional_vae(split, seed, steps), per_class
        ),
        "WGAN in pixel space": lambda: draw_by_class(
            fit_matcher(split, seed, quick, **pixels), per_class
        ),
    }


def by_both(split: Split, seed: int, quick: bool, per_class: int) -> dict[str, Callable[[], Any]]:
    """Methods that see unlabelled digits too; stage 1 is fitted when it is first needed."""
    fitted: list[LSDMRegressor] = []

    def stage_1() -> LSDMRegressor:
        if not fitted:
            epochs = QUICK_EPOCHS if quick else None
            fitted.append(fit_latent_space("auto", split, seed, epochs)[0])
        return fitted[0]

    def matched(**settings: Any) -> Any:
        shared = FittedLatentSpace(stage_1().autoencoder_)
        model = fit_matcher(split, seed, quick, autoencoder=shared, **settings)
        return draw_by_class(model, per_class)

    return {
        "reconstruction": lambda: (stage_1().reconstruct(split.fresh), split.fresh_labels),
        "the paper's recipe": lambda: matched(
            **CRITIC_ALONE, unpaired="latent", validation_fraction=0.0
        ),
        "ours": lambda: matched(**RECIPES["diffusion-pair"]),
        "default": lambda: draw_by_class(
            fit_matcher(split, seed, quick, latent_dim="auto"), per_class
        ),
    }


def points(quick: bool) -> list[tuple[int, int]]:
    """(n, N) of both curves, those without unlabelled digits first."""
    total, labelled = (QUICK_TOTAL, QUICK_LABELLED) if quick else (TOTAL, N_LABELLED)
    first = [(n, 0) for n in labelled] + [(n, total - n) for n in labelled]
    second = [(N_PAIRS, N) for N in (QUICK_UNLABELLED if quick else N_UNLABELLED)]
    return list(dict.fromkeys(first + second))


def run_seed(seed: int, only: list[str], bench: Bench, quick: bool) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    per_class = QUICK_DRAWS if quick else DRAWS_PER_CLASS
    n_fresh = QUICK_FRESH if quick else N_FRESH
    split = split_mnist(seed, N_PAIRS // 10, 0, n_fresh)
    real = {"method": "real, fresh", "n": 0, "N": 0}
    yield real | bench.score(split.fresh / np.float32(255), split.fresh_labels)
    for n, N in points(quick):
        split = split_mnist(seed, n // 10, N, n_fresh)
        methods = by_both(split, seed, quick, per_class)
        if N == 0:
            methods |= by_pairs(split, seed, quick, per_class)
        for name, draw in methods.items():
            if name not in only:
                continue
            start = time.process_time()
            digits, labels = draw()
            seconds = time.process_time() - start
            yield {"method": name, "n": n, "N": N, "fit_draw_s": seconds} | bench.score(
                digits, labels
            )


COLUMNS = {
    "accuracy": ("accuracy", "{:.3f}"),
    "fd": ("FD", "{:.1f}"),
    "class_fd": ("class FD", "{:.1f}"),
    "fit_draw_s": ("s", "{:.0f}"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Means over seeds."""
    table = []
    for key in dict.fromkeys((row["method"], row["n"], row["N"]) for row in rows):
        mine = [row for row in rows if (row["method"], row["n"], row["N"]) == key]
        cells = []
        for name, (_, form) in COLUMNS.items():
            values = [row[name] for row in mine if name in row]
            cells.append(form.format(np.mean(values)) if values else "")
        table.append([key[0], f"{key[1]:,}", f"{key[2]:,}", str(len(mine)), *cells])
    print_table(["method", "n", "N", "seeds", *(title for title, _ in COLUMNS.values())], table)


def curve(
    rows: list[dict[str, Any]], method: str, measure: str, places: list[tuple[int, int]]
) -> list[float]:
    """Means over seeds of one method at the places (n, N); NaN where it was not run."""
    found = []
    for n, N in places:
        if method == "real, fresh":
            wanted = [(method, 0, 0)]
        else:
            wanted = [(method, n, 0 if method in BY_PAIRS else N)]
        values = [row[measure] for row in rows if (row["method"], row["n"], row["N"]) in wanted]
        found.append(float(np.mean(values)) if values else math.nan)
    return found


STYLES = {
    "real, fresh": ("0.35", ":"),
    "reconstruction": ("0.35", "--"),
    "default": ("C2", "^-"),
    "ours": ("C0", "o-"),
    "the paper's recipe": ("C1", "s-"),
    "conditional VAE": ("C3", "v-"),
    "WGAN in pixel space": ("C4", "d-"),
    "resampled pairs": ("C5", "x-"),
}


def draw_picture(path: Path, rows: list[dict[str, Any]], quick: bool) -> None:
    """Accuracy, FD and class FD (rows) along both curves (columns)."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    total, labelled = (QUICK_TOTAL, QUICK_LABELLED) if quick else (TOTAL, N_LABELLED)
    curves = {
        f"n + N = {total:,}: labelled digits n": [(n, total - n) for n in labelled],
        f"n = {N_PAIRS}: unlabelled digits N": [
            (N_PAIRS, N) for N in (QUICK_UNLABELLED if quick else N_UNLABELLED)
        ],
    }
    measures = {"accuracy": "accuracy", "fd": "FD", "class_fd": "FD by class"}
    figure, axes = plt.subplots(3, 2, figsize=(9, 9.5), sharex="col", sharey="row")
    for j, (title, places) in enumerate(curves.items()):
        for axis, (measure, name) in zip(axes[:, j], measures.items(), strict=True):
            for method, (colour, style) in STYLES.items():
                values = curve(rows, method, measure, places)
                axis.plot(range(len(places)), values, style, color=colour, label=method, ms=5)
            if measure != "accuracy":
                axis.set_yscale("log")
                ticks = [3, 10, 30, 100, 300, 1000]
                axis.set_yticks(ticks, [str(tick) for tick in ticks])
                axis.minorticks_off()
            axis.grid(axis="y", alpha=0.3)
            if j == 0:
                axis.set_ylabel(name)
        axes[-1, j].set_xticks(range(len(places)), [f"{place[j]:,}" for place in places])
        axes[-1, j].set_xlabel(title)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=4, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Run both curves, print the table, keep the JSON, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="four points, short fits, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[*BY_PAIRS, *BY_BOTH], metavar="METHOD")
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    parser.add_argument("--out", type=Path, help="the picture; default: in docs, none if --quick")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    bench = load_bench(0, arguments.cache, quick)
    print(f"judge: accuracy {bench.accuracy:.4f} on {len(bench.labels):,} test digits", flush=True)
    rows: list[dict[str, Any]] = []
    kept = [] if quick else kept_rows("mnist_semi_supervised")
    only = arguments.only or [*BY_PAIRS, *BY_BOTH]
    for seed in arguments.seeds:
        for row in run_seed(seed, only, bench, quick):
            row = {"seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
            rows.append(row)
            print(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True
            )
            replace_row(kept, row, ("method", "n", "N", "seed"))
            if not quick:
                seeds = sorted({row["seed"] for row in kept})
                save_results("mnist_semi_supervised", seeds, kept)
    print()
    summarise(rows)
    path = arguments.out or (None if quick else PICTURE)
    if path is not None:
        draw_picture(path, kept, quick)


if __name__ == "__main__":
    main()

"""Colour images, 32 x 32, of three classes: drawn by class, and from 8 x 8 pixels.

    python benchmarks/colour.py [--quick] [--part classes] [--seeds 0] [--only ours] [--cache DIR]

Airplanes, automobiles and ships of CIFAR-10 (cifar3.npz in the folder SKLSDM_DATA; decoded from
JPEG files, so that the images have slight traces the originals lack). A small classifier, trained
here on all training images, is the judge (judge.py --data cifar3); FD is the Frechet distance to
the 3,000 test images in its features. Read its figures against the rows of real images.

Part "classes": 50 labelled images a class and 11,850 without a label; 1,000 draws a class. "real,
fresh" are 3,000 training images that no estimator sees (but the judge does), "reconstruction" the
same through stage 1. "ours" is `LSDMRegressor()` with no setting at all, "ours, pairs only" the
same without the unlabelled images. The conditional VAE (convolutions) sees the pairs only. Recall
is that of Kynkaanniemi et al. 2019 with 5 neighbours, "nearest" the median distance to an image
that was seen.

Part "super": from 4 x 4 block means to images, 1,000 pairs and 14,000 unpaired images, one draw
for each test image; measured as in super_resolution.py, whose recipe "ours" is with 64 latent
dimensions, not tuned on these images; "default" is `LSDMRegressor(y_range=(0, 1))`. Consistency is
the mean absolute difference of the draw's block means and the input; CRPS and diversity come from
20 draws for each of 500 inputs.

Seconds are the processor's, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from judge import FETCH, Bench, frechet_distance, load_bench
from mnist_matchers import Split
from numpy.typing import NDArray
from super_resolution import (
    Draw,
    bicubic,
    fit_code_images,
    fit_nearest,
    fit_ours,
    measure,
    reduce_images,
    sampler,
)
from torch import Tensor, nn

from sklsdm import ImageGridDisplay, LSDMRegressor

Array = NDArray[Any]

N_CLASSES, N_PER_CLASS, N_FRESH, DRAWS_PER_CLASS, VAE_STEPS, VAE_DIM = 3, 50, 3000, 1000, 3000, 64
QUICK_FRESH, QUICK_UNLABELLED, QUICK_DRAWS, QUICK_STEPS = 300, 600, 100, 50
N_PAIRS, N_SCORED, LATENT_DIM = 1000, 500, 64
QUICK_PAIRS, QUICK_TEST, QUICK_SCORED = 200, 300, 20
METHODS = {
    "classes": ("resampled pairs", "conditional VAE", "ours, pairs only", "ours"),
    "super": ("bicubic", "nearest pair", "pairs only", "ours", "default"),
}
TITLES = {"classes": "By class, 50 labelled a class:", "super": "From 8 x 8 to 32 x 32 pixels:"}
COLUMNS = {
    "classes": {
        "accuracy": ("accuracy", "{:.3f}"),
        "fd": ("FD", "{:.1f}"),
        "class_fd": ("class FD", "{:.1f}"),
        "recall": ("recall", "{:.2f}"),
        "nearest": ("nearest", "{:.2f}"),
        "latent_dim": ("m", "{:.0f}"),
        "fit_s": ("fit s", "{:.0f}"),
        "draw_s": ("draw s", "{:.1f}"),
    },
    "super": {
        "fd": ("FD", "{:.1f}"),
        "absolute": ("consistency", "{:.4f}"),
        "crps": ("CRPS", "{:.4f}"),
        "diversity": ("diversity", "{:.4f}"),
        "fit_s": ("fit s", "{:.0f}"),
        "draw_s": ("draw s", "{:.1f}"),
    },
}


# ---------------------------------------------------------------------------- by class
class ConditionalVAE(nn.Module):
    """Kingma & Welling's autoencoder given the class: convolutions, N(0, I) codes."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        channels, height, width = shape
        inner = (128, height // 8, width // 8)
        flat = 128 * inner[1] * inner[2]
        self.down = nn.Sequential(
            nn.Conv2d(channels, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.SiLU(),
            nn.Conv2d(64, 128, 3, 2, 1), nn.SiLU(), nn.Flatten(),
        )  # fmt: skip
        self.encoder = nn.Sequential(
            nn.Linear(flat + N_CLASSES, 256), nn.SiLU(), nn.Linear(256, 2 * VAE_DIM)
        )
        self.decoder = nn.Sequential(
            nn.Linear(VAE_DIM + N_CLASSES, 256), nn.SiLU(), nn.Linear(256, flat), nn.SiLU(),
            nn.Unflatten(1, inner), nn.ConvTranspose2d(128, 64, 4, 2, 1), nn.SiLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.SiLU(),
            nn.ConvTranspose2d(32, channels, 4, 2, 1),
        )  # fmt: skip

    def loss(self, images: Tensor, classes: Tensor, noise: Tensor) -> Tensor:
        """Minus the evidence bound of images (b, c, h, w) given one-hot classes (b, 3)."""
        seen = torch.cat([self.down(images), classes], dim=1)
        mean, log_spread = self.encoder(seen).chunk(2, dim=1)
        codes = mean + log_spread.exp() * noise
        logits = self.decoder(torch.cat([codes, classes], dim=1))
        missed = nn.functional.binary_cross_entropy_with_logits(logits, images, reduction="none")
        divergence = 0.5 * (mean.square() + (2 * log_spread).exp() - 1) - log_spread
        return missed.flatten(1).sum(dim=1).mean() + divergence.sum(dim=1).mean()

    @torch.no_grad()
    def draw(self, labels: Array) -> Array:
        """The pixels' probabilities (n, c, h, w) for codes drawn from N(0, I)."""
        noise = torch.randn((len(labels), VAE_DIM), generator=torch.Generator().manual_seed(0))
        codes = torch.cat([noise, torch.from_numpy(one_hot(labels)).float()], dim=1)
        return torch.cat([self.decoder(part).sigmoid() for part in codes.split(500)]).numpy()


def fit_conditional_vae(split: Split, seed: int, max_steps: int) -> ConditionalVAE:
    """Trained on all pairs for all steps, as that of mnist_semi_supervised.py."""
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ConditionalVAE(split.pairs.shape[1:])
    images = torch.from_numpy(split.pairs / np.float32(255))
    classes = torch.from_numpy(one_hot(split.pair_labels)).float()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for _ in range(max_steps):
        rows = torch.randint(len(images), (64,), generator=random)
        noise = torch.randn((64, VAE_DIM), generator=random)
        optimizer.zero_grad()
        model.loss(images[rows], classes[rows], noise).backward()
        optimizer.step()
    return model.eval()


def one_hot(labels: Array) -> Array:
    """The condition X: one column a class."""
    return np.eye(N_CLASSES)[labels]


def split_images(seed: int, quick: bool) -> Split:
    """A random split of the training images, with as many labelled of each class."""
    images, labels = FETCH["cifar3"]("train")
    order = np.random.default_rng(seed).permutation(len(images))
    taken = np.concatenate([order[labels[order] == k][:N_PER_CLASS] for k in range(N_CLASSES)])
    rest = order[~np.isin(order, taken)]
    n_fresh = QUICK_FRESH if quick else N_FRESH
    fresh, unlabelled = rest[:n_fresh], rest[n_fresh:][: QUICK_UNLABELLED if quick else None]
    return Split(
        images[taken],
        labels[taken],
        images[unlabelled],
        images[fresh],
        labels[fresh],
        images[np.concatenate([taken, unlabelled])] / np.float32(255),
    )


def fit_by_class(name: str, split: Split, seed: int, quick: bool) -> LSDMRegressor:
    """Our estimator by class, under one of its names in `METHODS`."""
    model = LSDMRegressor(random_state=seed)
    if quick:
        model.set_params(matcher__max_steps=QUICK_STEPS, autoencoder__max_epochs=1)
    unlabelled = None if name == "ours, pairs only" else split.unlabelled
    return model.fit(one_hot(split.pair_labels), split.pairs, unlabelled)


def run_classes(
    seed: int, only: Sequence[str], bench: Bench, quick: bool, picture: Path | None
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    split = split_images(seed, quick)
    labels = np.repeat(np.arange(N_CLASSES), QUICK_DRAWS if quick else DRAWS_PER_CLASS)
    fresh = split.fresh / np.float32(255)
    real = bench.full_score(fresh, split.fresh_labels, split.seen)
    yield {"method": "real, fresh"} | real
    for name in only:
        row: dict[str, Any] = {"method": name}
        start = time.process_time()
        if name == "resampled pairs":
            rng = np.random.default_rng(seed)
            rows = [rng.choice(np.flatnonzero(split.pair_labels == k)) for k in labels]
            draws = split.pairs[rows] / np.float32(255)
        elif name == "conditional VAE":
            vae = fit_conditional_vae(split, seed, QUICK_STEPS if quick else VAE_STEPS)
            row["fit_s"] = time.process_time() - start
            draws = vae.draw(labels)
        else:
            model = fit_by_class(name, split, seed, quick)
            row |= {"fit_s": time.process_time() - start, "latent_dim": model.latent_dim_}
            row |= {"unpaired": model.unpaired_}
            start = time.process_time()
            draws = model.sample(one_hot(labels), random_state=0)[:, 0]
            row["draw_s"] = time.process_time() - start
        yield row | bench.full_score(draws, labels, split.seen)
        if name in ("ours", "ours, pairs only"):
            again = model.reconstruct(split.fresh)
            floor = bench.full_score(again, split.fresh_labels, split.seen)
            yield {"method": name.replace("ours", "reconstruction")} | floor
        if name == "ours" and picture is not None:
            draw_picture(picture, model, split)


def draw_picture(path: Path, model: LSDMRegressor, split: Split) -> None:
    """Fresh images, their reconstructions, draws and the images nearest to them, by class."""
    shown = [split.fresh[split.fresh_labels == k][:5] for k in range(N_CLASSES)]
    ImageGridDisplay.from_estimator(
        model,
        np.eye(N_CLASSES),
        n_samples=5,
        real=np.stack(shown),
        reconstructions=True,
        nearest=np.concatenate([split.pairs, split.unlabelled]),
        labels=["airplane", "automobile", "ship"],
        random_state=0,
    ).figure_.savefig(path, dpi=110)


# ---------------------------------------------------------------------------- super-resolution
def run_super(
    seed: int, only: Sequence[str], bench: Bench, quick: bool
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    images = FETCH["cifar3"]("train")[0]
    images = images[np.random.default_rng(seed).permutation(len(images))] / np.float32(255)
    truth = FETCH["cifar3"]("test")[0][: QUICK_TEST if quick else None] / np.float32(255)
    n_pairs, n_scored = (QUICK_PAIRS, QUICK_SCORED) if quick else (N_PAIRS, N_SCORED)
    pairs, unpaired = images[:n_pairs], images[n_pairs:][: QUICK_UNLABELLED if quick else None]
    real = bench.judge.features(unpaired[:N_FRESH])
    yield {"method": "real", "fd": frechet_distance(real, bench.features)}
    for name in only:
        start = time.process_time()
        draw: Draw = bicubic
        if name == "nearest pair":
            draw = fit_nearest(pairs)
        elif name == "default":
            draw = sampler(fit_code_images(pairs, unpaired, seed, quick, "wgan"))
        elif name != "bicubic":
            others = unpaired if name == "ours" else None
            model = fit_ours(pairs, others, seed, quick, LATENT_DIM)
            draw = sampler(model)
        seconds = time.process_time() - start
        yield {"method": name, "fit_s": seconds} | measure(draw, truth, bench, n_scored)
        if name == "ours":
            again = model.reconstruct(truth)
            floor = frechet_distance(bench.judge.features(again), bench.features)
            missed = reduce_images(again) - reduce_images(truth)
            yield {
                "method": "reconstruction",
                "fd": floor,
                "absolute": float(np.abs(missed).mean()),
            }


# ---------------------------------------------------------------------------- all together
def summarise(rows: list[dict[str, Any]]) -> None:
    """For each part the means over seeds and their standard deviation."""
    for place, part in enumerate(dict.fromkeys(row["part"] for row in rows)):
        table = []
        mine = [row for row in rows if row["part"] == part]
        for method in dict.fromkeys(row["method"] for row in mine):
            cells = []
            for name, (_, form) in COLUMNS[part].items():
                values = [row[name] for row in mine if row["method"] == method and name in row]
                spread = len(values) > 1 and not name.endswith("_s")
                text = form.format(np.mean(values)) if values else ""
                cells.append(f"{text} ± {form.format(np.std(values))}" if spread else text)
            seeds = sum(row["method"] == method for row in mine)
            table.append([method, str(seeds), *cells])
        print(("\n" if place else "") + TITLES[part] + "\n")
        print_table(["method", "seeds", *(title for title, _ in COLUMNS[part].values())], table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the parts and methods asked for, keep the JSON, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer images, short fits, no JSON")
    parser.add_argument("--part", choices=METHODS, help="default: both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    names = list(dict.fromkeys(name for part in METHODS.values() for name in part))
    parser.add_argument("--only", nargs="+", choices=names, metavar="METHOD", default=names)
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    parser.add_argument("--out", type=Path, help="a picture of what 'ours' draws by class")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bench = load_bench(0, given.cache, given.quick, "cifar3")
    print(f"judge: accuracy {bench.accuracy:.4f} on {len(bench.labels):,} test images", flush=True)
    kept = [] if given.quick else kept_rows("colour")
    parts = [given.part] if given.part else list(METHODS)
    for part in parts:
        only = [name for name in METHODS[part] if name in given.only]
        for seed in given.seeds:
            found = (
                run_classes(seed, only, bench, given.quick, given.out)
                if part == "classes"
                else run_super(seed, only, bench, given.quick)
            )
            for row in found:
                row = {"part": part, "seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
                shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
                print(shown, flush=True)
                replace_row(kept, row, ("part", "method", "seed"))
                if not given.quick:
                    save_results("colour", sorted({row["seed"] for row in kept}), kept)
    print()
    summarise([row for row in kept if row["part"] in parts])


if __name__ == "__main__":
    main()

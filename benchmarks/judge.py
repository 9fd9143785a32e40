"""A judge of drawn images: a classifier that no estimator sees, and what it measures.

    python benchmarks/judge.py [--data mnist] [--quick] [--seed 0] [--cache FOLDER]

Convolutions and 64 ReLU features, trained with light noise on one thread: two convolutions on the
60,000 training digits of MNIST (or pieces of clothing of Fashion-MNIST: `--data fashion`), three on
the 15,000 colour images, 32 x 32, of three classes of CIFAR-10 (`--data cifar3`, a file in the
folder SKLSDM_DATA), mirrored at random. It has seen every training image, so that real images
outside the estimator's share get a slightly better accuracy from it than the test set does. Another
judge gives other distances: read each against the rows of real images that the same judge scored.
`--sharp` is a judge with small convolutions, trained without noise, which sees blur and texture.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import euclidean_distances
from torch import Tensor, nn

from sklsdm.datasets import fetch_fashion_mnist, fetch_mnist, load_benchmark

Array = NDArray[np.floating]


def fetch_cifar3(subset: str = "train") -> tuple[NDArray[Any], NDArray[Any]]:
    """Colour images (n, 3, 32, 32) as bytes, and their classes: airplane, automobile, ship."""
    arrays = load_benchmark("cifar3")
    return arrays[f"x_{subset}"], arrays[f"y_{subset}"].astype(np.int64)


FETCH = {"mnist": fetch_mnist, "fashion": fetch_fashion_mnist, "cifar3": fetch_cifar3}
N_EPOCHS, BATCH_SIZE, LR, NOISE = 5, 128, 4e-3, 0.1
COLOUR_EPOCHS = 12
WIDTHS = {1: (16, 32), 3: (32, 64, 128)}  # channels after each convolution, by those of an image
QUICK_EPOCHS = 1
N_NEIGHBOURS = 5
N_NEAREST = 1000
_BLOCK = 1000


# ---------------------------------------------------------------------------- the classifier
class Judge(nn.Module):
    """Logits of up to ten classes from 64 ReLU features of images (h, w) or (3, h, w) in [0, 1]."""

    def __init__(self, shape: Sequence[int] = (28, 28), sharp: bool = False) -> None:
        super().__init__()
        n_in, *sides = shape if len(shape) == 3 else (1, *shape)
        layers: list[nn.Module] = []
        for n_out in WIDTHS[n_in]:
            if sharp:
                layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            else:
                layers += [nn.Conv2d(n_in, n_out, 5, stride=2, padding=2), nn.ReLU()]
            n_in, sides = n_out, [(side + 1) // 2 for side in sides]
        if sharp:
            layers.append(nn.Dropout(0.2))
        self.body = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(n_in * sides[0] * sides[1], 64), nn.ReLU()
        )
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))

    @torch.no_grad()
    def features(self, images: Array) -> Array:
        """Features (n, 64) of images (n, h, w) or (n, 3, h, w) in [0, 1]."""
        blocks = (
            _with_channels(np.asarray(images[start : start + _BLOCK], np.float32))
            for start in range(0, len(images), _BLOCK)
        )
        return torch.cat([self.body(block) for block in blocks]).double().numpy()

    @torch.no_grad()
    def classes(self, features: Array) -> NDArray[np.int64]:
        """The class of each row of features."""
        return self.head(torch.from_numpy(features).float()).argmax(dim=1).numpy()


def _with_channels(images: NDArray[np.float32]) -> Tensor:
    """Images (n, h, w) or (n, c, h, w) as a tensor (n, c, h, w)."""
    found = torch.from_numpy(np.ascontiguousarray(images))
    return found if found.ndim == 4 else found[:, None]


def _untrained(seed: int, shape: Sequence[int], sharp: bool = False) -> Judge:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Judge(shape, sharp)


def train_judge(
    images: Array, labels: NDArray[np.int64], seed: int, n_epochs: int, sharp: bool = False
) -> Judge:
    """A judge trained on images (n, h, w) or (n, 3, h, w) in [0, 1].

    Colour images are mirrored at random. The global random state is as it was, afterwards.
    """
    with torch.random.fork_rng(devices=[]):  # dropout draws from it
        torch.manual_seed(seed)
        return _train(_untrained(seed, images.shape[1:], sharp), images, labels, seed, n_epochs)


def _train(
    judge: Judge, images: Array, labels: NDArray[np.int64], seed: int, n_epochs: int
) -> Judge:
    noise = 0.0 if any(isinstance(layer, nn.Dropout) for layer in judge.body) else NOISE
    random = torch.Generator().manual_seed(seed)
    shown = _with_channels(np.asarray(images, np.float32))
    classes = torch.from_numpy(labels)
    n_steps = n_epochs * (len(shown) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=n_steps)
    for _ in range(n_epochs):
        order = torch.randperm(len(shown), generator=random)
        for rows in order[: len(order) // BATCH_SIZE * BATCH_SIZE].view(-1, BATCH_SIZE):
            batch = shown[rows]
            noisy = batch + noise * torch.randn(batch.shape, generator=random)
            if images.ndim == 4:
                turned = torch.rand((len(batch), 1, 1, 1), generator=random) < 0.5
                noisy = torch.where(turned, noisy.flip(-1), noisy)
            loss = nn.functional.cross_entropy(judge(noisy), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval().requires_grad_(False)


def load_judge(
    seed: int = 0,
    cache: Path | None = None,
    quick: bool = False,
    data: str = "mnist",
    sharp: bool = False,
) -> Judge:
    """The judge of this seed, from `cache` (a folder of the system's for temporary files where
    None), trained and kept there the first time."""
    folder = cache or Path(tempfile.gettempdir()) / "sklsdm-judge"
    n_epochs = QUICK_EPOCHS if quick else COLOUR_EPOCHS if data == "cifar3" else N_EPOCHS
    path = folder / f"{data}{'-sharp' if sharp else ''}-seed{seed}-epochs{n_epochs}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as kept:
            state = {name: torch.from_numpy(kept[name]) for name in kept.files}
        judge = _untrained(seed, state.pop("shape", torch.tensor([28, 28])).tolist(), sharp)
        judge.load_state_dict(state)
        return judge.eval().requires_grad_(False)
    images, labels = FETCH[data]("train")
    judge = train_judge(images / np.float32(255), labels, seed, n_epochs, sharp)
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.npz")
    weights = {name: value.numpy() for name, value in judge.state_dict().items()}
    np.savez(part, shape=np.array(images.shape[1:]), **weights)
    os.replace(part, path)
    return judge


# ---------------------------------------------------------------------------- distances
def gaussian_frechet(mean_a: Array, cov_a: Array, mean_b: Array, cov_b: Array) -> float:
    """Squared Frechet distance of two normal laws:
    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))."""
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    shared = np.linalg.eigvalsh(root @ cov_b @ root)
    spread = np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(np.clip(shared, 0, None)).sum()
    return float(np.square(mean_a - mean_b).sum() + max(spread, 0.0))


def frechet_distance(a: Array, b: Array) -> float:
    """`gaussian_frechet` of the means and covariances of two samples (n, d) and (m, d)."""
    return gaussian_frechet(
        a.mean(axis=0), np.cov(a, rowvar=False), b.mean(axis=0), np.cov(b, rowvar=False)
    )


def class_frechet(a: Array, labels_a: Array, b: Array, labels_b: Array) -> float:
    """Mean of the Frechet distances between the samples of each class."""
    classes = np.unique(labels_b)
    return float(np.mean([frechet_distance(a[labels_a == k], b[labels_b == k]) for k in classes]))


def neighbour_radii(rows: Array, k: int = N_NEIGHBOURS) -> Array:
    """Distance of each row to its k-th nearest other row."""
    radii = []
    for start in range(0, len(rows), _BLOCK):
        distances = euclidean_distances(rows[start : start + _BLOCK], rows)
        radii.append(np.partition(distances, k, axis=1)[:, k])  # place 0 is the row itself
    return np.concatenate(radii)


def neighbour_scores(
    real: Array, drawn: Array, real_radii: Array | None = None, k: int = N_NEIGHBOURS
) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A ball about a row reaches its k-th nearest neighbour in its own sample. Precision: share of
    drawn rows in a real ball; recall: share of real rows in a drawn ball; density: real balls
    about a drawn row, over k; coverage: share of real balls with a drawn row in them.
    """
    real_radii = neighbour_radii(real, k) if real_radii is None else real_radii
    drawn_radii = neighbour_radii(drawn, k)
    covered = np.zeros(len(real), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    inside = []
    for start in range(0, len(drawn), _BLOCK):
        block = slice(start, start + _BLOCK)
        distances = euclidean_distances(drawn[block], real)
        in_real = distances <= real_radii
        inside.append(in_real.sum(axis=1))
        covered |= in_real.any(axis=0)
        recalled |= (distances <= drawn_radii[block, None]).any(axis=0)
    counts = np.concatenate(inside)
    return {
        "precision": float((counts > 0).mean()),
        "recall": float(recalled.mean()),
        "density": float(counts.mean() / k),
        "coverage": float(covered.mean()),
    }


def nearest_distance(images: Array, seen: Array) -> float:
    """Median distance, in pixels, of up to 1,000 of `images` to the nearest image in `seen`.

    The rows taken are spread evenly. Set it beside that of fresh images, and of their
    reconstructions, which lie nearer: below those, draws copy what was seen.
    """
    rows = np.linspace(0, len(images) - 1, min(N_NEAREST, len(images))).astype(int)
    some = images.reshape(len(images), -1)[rows].astype(np.float32)
    flat = seen.reshape(len(seen), -1).astype(np.float32)
    sizes = np.square(flat).sum(axis=1)
    least = [
        (np.square(part).sum(axis=1) + (sizes - 2 * part @ flat.T).min(axis=1)).clip(min=0)
        for part in np.array_split(some, max(1, len(some) // 100))
    ]
    return float(np.median(np.sqrt(np.concatenate(least))))


# ---------------------------------------------------------------------------- all together
@dataclass(frozen=True)
class Bench:
    """A judge with what it found in the test set."""

    judge: Judge
    features: Array
    labels: NDArray[np.int64]
    radii: Array
    accuracy: float

    def score(self, images: Array, labels: Array) -> dict[str, float]:
        """Accuracy, FD and class FD of images in [0, 1] for asked labels (n,)."""
        return self._scores(self.judge.features(images), labels)

    def _scores(self, features: Array, labels: Array) -> dict[str, float]:
        return {
            "accuracy": float((self.judge.classes(features) == labels).mean()),
            "fd": frechet_distance(features, self.features),
            "class_fd": class_frechet(features, labels, self.features, self.labels),
        }

    def full_score(self, images: Array, labels: Array, seen: Array) -> dict[str, float]:
        """`score`, with the measures by neighbours: near the test set, near what was `seen`.

        `seen` are the images, in [0, 1], that the estimator was fitted on.
        """
        features = self.judge.features(images)
        return {
            **self._scores(features, labels),
            **neighbour_scores(self.features, features, self.radii),
            "nearest": nearest_distance(images, seen),
        }


def load_bench(
    seed: int = 0,
    cache: Path | None = None,
    quick: bool = False,
    data: str = "mnist",
    sharp: bool = False,
) -> Bench:
    """The judge of this seed beside the test set (`quick`: a fifth of it)."""
    judge = load_judge(seed, cache, quick, data, sharp)
    images, labels = (part[:: 5 if quick else 1] for part in FETCH[data]("test"))
    features = judge.features(images / np.float32(255))
    accuracy = float((judge.classes(features) == labels).mean())
    return Bench(judge, features, labels, neighbour_radii(features), accuracy)


def main() -> None:
    """Train (or load) the judge and print its accuracy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one epoch, a fifth of the test set")
    parser.add_argument("--data", choices=list(FETCH), default="mnist")
    parser.add_argument("--sharp", action="store_true", help="sees blur and texture")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    bench = load_bench(
        arguments.seed, arguments.cache, arguments.quick, arguments.data, arguments.sharp
    )
    print(
        f"accuracy on {len(bench.labels):,} test images {bench.accuracy:.4f}, "
        f"{(bench.features.max(axis=0) > 0).sum()} of 64 features alive, "
        f"{time.process_time() - start:.0f} CPU s"
    )


if __name__ == "__main__":
    main()

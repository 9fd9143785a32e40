"""Handwritten digits by class from 100 labelled ones, with and without 1,297 unlabelled ones.

Run by `make demo`. Data: scikit-learn's bundled digits (8 x 8 pixels, 16 grey levels).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from sklsdm import LSDMRegressor
from sklsdm.metrics import energy_distance

N_LABELLED = 100
N_HELD_OUT = 400
LATENT_DIM = 13
DRAWS_PER_CLASS = 100


def split_digits(seed: int) -> dict[str, np.ndarray]:
    """100 labelled digits (stratified), 1,297 unlabelled, 400 held out; pixels in [0, 1]."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8).astype(np.float32)
    train, test, y_train, y_test = train_test_split(
        images, labels, test_size=N_HELD_OUT, stratify=labels, random_state=seed
    )
    pairs, rest, y_pairs, _ = train_test_split(
        train, y_train, train_size=N_LABELLED, stratify=y_train, random_state=seed
    )
    return {
        "pairs": pairs,
        "pair_labels": y_pairs,
        "unlabelled": rest,
        "train": train,
        "train_labels": y_train,
        "test": test,
        "test_labels": y_test,
    }


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Labels as rows of zeros and one 1: the condition X."""
    return np.eye(10, dtype=np.float32)[labels]


def judge(model: LSDMRegressor, data: dict[str, np.ndarray], classifier: SVC) -> dict[str, float]:
    """Accuracy of the drawn digits, energy distance by class, reconstruction error."""
    labels = np.repeat(np.arange(10), DRAWS_PER_CLASS)
    draws = model.sample(one_hot(labels), random_state=0)[:, 0]
    flat = draws.reshape(len(draws), -1)
    test = data["test"].reshape(N_HELD_OUT, -1)
    distances = [
        energy_distance(flat[labels == k], test[data["test_labels"] == k]) for k in range(10)
    ]
    error = np.square(model.reconstruct(data["test"]) - data["test"]).mean()
    return {
        "accuracy": float(classifier.score(flat, labels)),
        "energy_distance": float(np.mean(distances)),
        "reconstruction": float(error / data["test"].var()),
    }


def draw_picture(path: Path, rows: dict[str, np.ndarray]) -> None:
    """Blocks of digits side by side, one class a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(rows), figsize=(4.2 * len(rows), 4.9))
    for axis, (title, digits) in zip(axes, rows.items(), strict=True):
        columns = digits.shape[1]
        padded = np.pad(digits, ((0, 0), (0, 0), (1, 0), (1, 0)), constant_values=0.5)
        tiles = padded.transpose(0, 2, 1, 3).reshape(10 * 9, columns * 9)
        axis.imshow(tiles, cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(title, fontsize=12)
        axis.set_yticks(np.arange(10) * 9 + 4.5, range(10))
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    figure.suptitle("Digits drawn by class from 100 labelled examples", fontsize=14)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Fit both arms, print their scores, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("digits.png"))
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    arguments = parser.parse_args()

    data = split_digits(arguments.seed)
    flat = data["train"].reshape(len(data["train"]), -1)
    classifier = SVC(gamma="scale").fit(flat, data["train_labels"])
    on_real = classifier.score(data["test"].reshape(N_HELD_OUT, -1), data["test_labels"])
    print(f"classifier on the {N_HELD_OUT} held-out real digits: accuracy {on_real:.3f}\n")

    X, Y = one_hot(data["pair_labels"]), data["pairs"]
    arms = {
        f"{N_LABELLED} labelled only": None,
        f"{N_LABELLED} labelled + {len(data['unlabelled']):,} unlabelled": data["unlabelled"],
    }
    show = np.random.default_rng(0)
    picture = {
        "real digits (held out)": np.stack(
            [show.choice(data["test"][data["test_labels"] == k], 10) for k in range(10)]
        )
    }
    table = []
    for name, unlabelled in arms.items():
        print(f"fitting: {name}", flush=True)
        model = LSDMRegressor(
            latent_dim=LATENT_DIM,
            matcher="wgan",
            random_state=arguments.seed,
            verbose=int(not arguments.quiet),
        )
        start = time.perf_counter()
        model.fit(X_paired=X, Y_paired=Y, Y_unpaired=unlabelled)
        seconds = time.perf_counter() - start
        table.append((name, judge(model, data, classifier), seconds))
        drawn = model.sample(one_hot(np.arange(10)), 10, random_state=0)
        picture[f"drawn; trained on {name}"] = drawn

    heads = [("accuracy of", 14), ("energy distance", 18), ("reconstruction", 16), ("fit", 7)]
    units = [("drawn digits", 14), ("to real, by class", 18), ("error", 16), ("s", 7)]
    print("\n" + " " * 34 + "".join(f"{text:>{width}}" for text, width in heads))
    print(f"{'trained on':34}" + "".join(f"{text:>{width}}" for text, width in units))
    for name, scores, seconds in table:
        print(
            f"{name:34}{scores['accuracy']:14.3f}{scores['energy_distance']:18.3f}"
            f"{scores['reconstruction']:16.3f}{seconds:7.1f}"
        )
    print("\n(reconstruction error of held-out digits, as a share of their variance)")
    draw_picture(arguments.out, picture)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

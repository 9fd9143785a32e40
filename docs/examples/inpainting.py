"""Handwritten digits from their upper left quarter: 2,000 pairs and 58,000 unpaired digits.

    SKLSDM_DATA=folder python docs/examples/inpainting.py [--quick]

Data: MNIST; the condition is the upper left 14 x 14 pixels, the response the whole digit. Draws are
scored on 1,000 test digits, on the pixels not seen (CRPS, diversity) and on those seen (error),
beside the digits of the nearest pairs and the same estimator without the unpaired digits.
`--validate` scores 1,000 training digits, kept out of the fit, in place of the test digits.

The quarter is part of the digit, so that ridge regression finds it in every unpaired digit: all of
them become pairs (`unpaired_`, `reverse_r2_`). No setting is chosen for these data.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor
from sklsdm.datasets import fetch_mnist
from sklsdm.metrics import crps

N_PAIRS, N_SCORED, N_DRAWS, N_SHOWN = 2000, 1000, 20, 8
N_NEIGHBOURS = 10
HEADS = ("CRPS", "MSE of mean", "error, seen", "diversity", "fit s")


def quarter(images: np.ndarray) -> np.ndarray:
    """The part that is seen: (..., 28, 28) to (..., 14, 14)."""
    return images[..., :14, :14]


def unseen(images: np.ndarray) -> np.ndarray:
    """The other pixels, as rows: (..., 28, 28) to (..., 588)."""
    mask = np.ones((28, 28), dtype=bool)
    mask[:14, :14] = False
    return images[..., mask]


def split_images(seed: int, validate: bool, quick: bool) -> tuple[np.ndarray, ...]:
    """Digits of the pairs, unpaired and to be scored, in [0, 1]."""
    train = fetch_mnist()[0]
    rng = np.random.default_rng(seed)
    train = train[rng.permutation(len(train))]
    if validate:
        train, scored = train[:-N_SCORED], train[-N_SCORED:]
    else:
        test = fetch_mnist("test")[0]
        scored = test[rng.permutation(len(test))[:N_SCORED]]
    unpaired = train[N_PAIRS : 10_000 if quick else None]
    return tuple((part / np.float32(255)) for part in (train[:N_PAIRS], unpaired, scored))


def nearest_pairs(pairs: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Digits of the pairs whose quarters are nearest, nearest first, (n, N_NEIGHBOURS, 28, 28)."""
    search = NearestNeighbors(n_neighbors=N_NEIGHBOURS).fit(quarter(pairs).reshape(-1, 196))
    return pairs[search.kneighbors(seen.reshape(-1, 196))[1]]


def print_scores(name: str, truth: np.ndarray, draws: np.ndarray, seconds: float) -> None:
    """One line of the table; the error on the seen quarter is a root mean square."""
    hidden = unseen(draws)
    values = (
        crps(unseen(truth), hidden),
        np.square(hidden.mean(axis=1) - unseen(truth)).mean(),
        np.sqrt(np.square(quarter(draws) - quarter(truth)[:, None]).mean()),
        hidden.std(axis=1).mean(),
    )
    print(f"{name:28}" + "".join(f"{v:13.4f}" for v in values) + f"{seconds:9.1f}", flush=True)


def draw_picture(path: Path, columns: list[tuple[str, np.ndarray]]) -> None:
    """One image a line; a column for each way."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = (1.25 * len(columns), 1.2 * N_SHOWN + 0.9)
    figure, axes = plt.subplots(N_SHOWN, len(columns), figsize=size)
    for (title, images), line in zip(columns, axes.T, strict=True):
        line[0].set_title(title, fontsize=10)
        for image, axis in zip(images, line, strict=False):
            axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axis.set_axis_off()
    figure.suptitle("The rest of a digit, given its upper left quarter")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit both arms, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matcher", default="wgan")
    parser.add_argument("--validate", action="store_true", help="score training digits kept out")
    parser.add_argument("--quick", action="store_true", help="8,000 unpaired digits, short fits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("inpainting.png"))
    arguments = parser.parse_args()
    try:
        parts = split_images(arguments.seed, arguments.validate, arguments.quick)
    except OSError as error:  # no data: the message says what to do
        parser.exit(1, f"{error}\n")
    pairs, unpaired, truth = parts
    seen = quarter(truth)

    print(f"{'':28}" + "".join(f"{head:>13}" for head in HEADS[:-1]) + f"{HEADS[-1]:>9}")
    near = nearest_pairs(pairs, seen)
    print_scores(f"nearest {N_NEIGHBOURS} pairs", truth, near, 0.0)
    shown = {}
    for name, extra in (("2,000 pairs", None), (f"and {len(unpaired):,} unpaired", unpaired)):
        model = LSDMRegressor(
            matcher=arguments.matcher, y_range=(0, 1), random_state=arguments.seed
        )
        if arguments.quick:
            model.set_params(autoencoder__max_epochs=1, matcher__max_steps=200)
        start = time.perf_counter()
        model.fit(quarter(pairs)[:, None], pairs, extra)
        seconds = time.perf_counter() - start
        shown[name] = model.sample(seen[:, None], N_DRAWS, random_state=0)
        print_scores(name, truth, shown[name], seconds)
    r2 = model.reverse_r2_
    print(f"pseudo-pairs: {model.n_pseudo_pairs_:,}, R2 of their conditions {r2:.3f}")
    draws, supervised = shown[name], shown["2,000 pairs"]
    given = np.full_like(truth, 0.3)
    given[:, :14, :14] = seen
    columns = [("input", given), ("nearest pair", near[:, 0]), ("pairs only", supervised[:, 0])]
    columns += [(f"draw {j + 1}", draws[:, j]) for j in range(4)]
    draw_picture(arguments.out, [*columns, ("truth", truth)])
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

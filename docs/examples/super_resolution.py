"""Pieces of clothing at 28 x 28 pixels from 7 x 7: 2,000 pairs and 58,000 unpaired images.

    SKLSDM_DATA=folder python docs/examples/super_resolution.py [--quick]

Data: Fashion-MNIST; the condition is an image of 4 x 4 block means. Draws are scored on 1,000 test
images beside bicubic interpolation, ridge regression with bootstrapped residuals, and the same
estimator without the unpaired images. The fit with them takes about eleven minutes of one core.
`--validate` scores 1,000 training images, kept out of the fit, in place of the test images.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom
from sklearn.linear_model import RidgeCV

from sklsdm import LSDMRegressor
from sklsdm.datasets import fetch_fashion_mnist
from sklsdm.metrics import crps

N_PAIRS, N_SCORED, N_DRAWS, N_SHOWN = 2000, 1000, 20, 8
HEADS = ("CRPS", "MSE of mean", "consistency", "diversity", "fit s")


def reduce_images(images: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 blocks: (..., 28, 28) to (..., 7, 7)."""
    return images.reshape(*images.shape[:-2], 7, 4, 7, 4).mean(axis=(-3, -1))


def split_images(seed: int, validate: bool, quick: bool) -> tuple[np.ndarray, ...]:
    """Images of the pairs, unpaired and to be scored, in [0, 1]."""
    train = fetch_fashion_mnist()[0]
    rng = np.random.default_rng(seed)
    train = train[rng.permutation(len(train))]
    if validate:
        train, scored = train[:-N_SCORED], train[-N_SCORED:]
    else:
        test = fetch_fashion_mnist("test")[0]
        scored = test[rng.permutation(len(test))[:N_SCORED]]
    unpaired = train[N_PAIRS : 10_000 if quick else None]
    return tuple((part / np.float32(255)) for part in (train[:N_PAIRS], unpaired, scored))


def rivals(pairs: np.ndarray, low: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draws (n, m, 28, 28) of bicubic interpolation (m = 1) and of ridge regression."""
    cubic = zoom(low, (1, 4, 4), order=3, mode="nearest", grid_mode=True).clip(0, 1)
    x, y = reduce_images(pairs).reshape(len(pairs), -1), pairs.reshape(len(pairs), -1)
    line = RidgeCV(np.logspace(-3, 3, 7)).fit(x, y)
    rows = np.random.default_rng(seed).integers(len(y), size=(len(low), N_DRAWS))
    draws = line.predict(low.reshape(len(low), -1))[:, None] + (y - line.predict(x))[rows]
    return {
        "bicubic": cubic[:, None],
        "ridge + bootstrap": draws.clip(0, 1).reshape(len(low), N_DRAWS, 28, 28),
    }


def print_scores(name: str, truth: np.ndarray, draws: np.ndarray, seconds: float) -> None:
    """One line of the table; of a single draw, the CRPS is its mean absolute error."""
    values = (
        crps(truth, draws, fair=draws.shape[1] > 1),
        np.square(draws.mean(axis=1) - truth).mean(),
        np.sqrt(np.square(reduce_images(draws) - reduce_images(truth)[:, None]).mean()),
        draws.std(axis=1).mean(),
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
    figure.suptitle("7 x 7 to 28 x 28 pixels, test images")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    """Fit both arms, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--validate", action="store_true", help="score training images kept out")
    parser.add_argument("--quick", action="store_true", help="8,000 unpaired images, short fits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("super_resolution.png"))
    arguments = parser.parse_args()
    try:
        parts = split_images(arguments.seed, arguments.validate, arguments.quick)
    except OSError as error:  # no data: the message says what to do
        parser.exit(1, f"{error}\n")
    pairs, unpaired, truth = parts
    low = reduce_images(truth)

    print(f"{'':28}" + "".join(f"{head:>13}" for head in HEADS[:-1]) + f"{HEADS[-1]:>9}")
    shown = rivals(pairs, low, arguments.seed)
    for name, draws in shown.items():
        print_scores(name, truth, draws, 0.0)
    for name, extra in (("2,000 pairs", None), (f"and {len(unpaired):,} unpaired", unpaired)):
        model = LSDMRegressor(y_range=(0, 1), random_state=arguments.seed)
        if arguments.quick:
            model.set_params(autoencoder__max_epochs=2, matcher__max_steps=300)
        start = time.perf_counter()
        model.fit(reduce_images(pairs).reshape(-1, 1, 7, 7), pairs, extra)
        seconds = time.perf_counter() - start
        shown[name] = model.sample(low.reshape(-1, 1, 7, 7), N_DRAWS, random_state=0)
        print_scores(name, truth, shown[name], seconds)
    draws, supervised = shown[name], shown["2,000 pairs"]
    columns = [("input", low), ("bicubic", shown["bicubic"][:, 0])]
    columns += [("pairs only", supervised[:, 0])]
    columns += [(f"draw {j + 1}", draws[:, j]) for j in range(3)]
    draw_picture(arguments.out, [*columns, ("truth", truth)])
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

"""Digits by two numbers, how much ink they have and how far they lean, that few digits have.

    SKLSDM_DATA=folder python docs/examples/digits_by_numbers.py [--quick] [--out docs/numbers.png]

Data: MNIST (from the folder, or from OpenML). Both numbers are measured on 500 digits; 9,500 come
without. Fits `LSDMRegressor()`, which takes some ten minutes of one core, and plots one draw for
each of six leans (rows) and ten amounts of ink (columns), within two standard deviations.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from sklsdm import LSDMRegressor
from sklsdm.datasets import fetch_mnist

N_KNOWN, N_OTHERS = 500, 9500


def measure(images: NDArray[Any]) -> NDArray[np.float64]:
    """Ink and lean (n, 2) of images (n, h, w)."""
    ink = images.astype(np.float64)
    total = ink.sum(axis=(1, 2))
    places = np.arange(ink.shape[1])
    x = places - (ink.sum(axis=1) @ places / total)[:, None]
    y = places - (ink.sum(axis=2) @ places / total)[:, None]
    both, down = np.einsum("nij,ni,nj->n", ink, y, x), np.einsum("nij,ni->n", ink, y**2)
    return np.column_stack([np.log(total), both / down])


def main() -> None:
    """Fit, draw, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short fit")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "numbers.png")
    arguments = parser.parse_args()
    images, _ = fetch_mnist()
    order = np.random.default_rng(arguments.seed).permutation(len(images))
    images = images[order[: N_KNOWN + N_OTHERS]]
    X = measure(images[:N_KNOWN])
    est = LSDMRegressor(random_state=arguments.seed, verbose=1)
    if arguments.quick:
        est.set_params(matcher__max_steps=200)
    start = time.process_time()
    est.fit(X, images[:N_KNOWN], images[N_KNOWN:])
    print(f"{time.process_time() - start:.0f} s of fit; R2 of the numbers {est.reverse_r2_:.2f}")

    steps = X.mean(axis=0) + np.linspace(-2, 2, 10)[:, None] * X.std(axis=0)
    lean = X[:, 1].mean() + np.linspace(-2, 2, 6) * X[:, 1].std()
    grid = np.array([[ink, slope] for slope in lean for ink in steps[:, 0]])
    draws = est.sample(grid, random_state=0)[:, 0].reshape(6, 10, 28, 28)
    error = np.abs(measure(draws.reshape(-1, 28, 28) * 255) - grid).mean(axis=0) / X.std(axis=0)
    print(f"mean error of ink and lean, in standard deviations: {error.round(2)}")
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.imshow(draws.transpose(0, 2, 1, 3).reshape(6 * 28, 10 * 28), cmap="gray_r")
    axes.set(xlabel="ink →", ylabel="← leans back    leans forward →", xticks=[], yticks=[])
    figure.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

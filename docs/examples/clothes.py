"""Pieces of clothing by class from 250 labelled and 29,750 unlabelled images.

    SKLSDM_DATA=folder python docs/examples/clothes.py [--quick] [--out docs/clothes.png]

Data: Fashion-MNIST (from the folder, or from OpenML). Fits `LSDMRegressor()`, which takes about
seven minutes of one core, and plots draws of each class beside real images that the fit did not
see, their reconstructions, and the training image nearest to each draw.
`python benchmarks/images_by_class.py --only default` measures the same fit.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from sklsdm import ImageGridDisplay, LSDMRegressor
from sklsdm.datasets import fetch_fashion_mnist

CLASSES = ["T-shirt", "trousers", "pullover", "dress", "coat"]
CLASSES += ["sandal", "shirt", "sneaker", "bag", "boot"]
N_PER_CLASS, N_UNLABELLED, N_SHOWN = 25, 29_750, 4


def main() -> None:
    """Fit, draw, save the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2,000 images, a short fit")
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "clothes.png")
    arguments = parser.parse_args()
    images, labels = fetch_fashion_mnist()
    order = np.random.default_rng(arguments.seed).permutation(len(images))
    by_class = [order[labels[order] == k] for k in range(10)]
    taken = np.concatenate([rows[:N_PER_CLASS] for rows in by_class])
    rest = order[~np.isin(order, taken)]
    n_unlabelled = 2000 if arguments.quick else N_UNLABELLED
    unlabelled, unseen = images[rest[:n_unlabelled]], rest[n_unlabelled:]
    real = np.stack([images[unseen[labels[unseen] == k][:N_SHOWN]] for k in range(10)])

    est = LSDMRegressor(random_state=arguments.seed, verbose=1)
    if arguments.quick:
        est.set_params(matcher__max_steps=200)
    start = time.process_time()
    est.fit(np.eye(10)[labels[taken]], images[taken], unlabelled)
    print(f"{time.process_time() - start:.0f} s of fit; {est.n_pseudo_pairs_:,} pseudo-pairs")
    display = ImageGridDisplay.from_estimator(
        est,
        np.eye(10),
        2 * N_SHOWN,
        real=real,
        reconstructions=True,
        nearest=np.concatenate([images[taken], unlabelled]),
        labels=CLASSES,
        random_state=0,
    )
    display.figure_.savefig(arguments.out, dpi=110)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

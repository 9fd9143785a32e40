"""The test of paired against unpaired responses: its level, what it finds, and what it costs.

    python benchmarks/shift.py [--quick]

Level: share of 500 pairs of samples (30 and 70 rows, of one law) with a p-value up to .001, .01
and .05; and the same for 20 fits of an MLP to 180 noisy rows, which it remembers: 90 pairs and 90
others. Power: scikit-learn's digits, one class of ten missing among the pairs, each class once;
codes are 20 principal components. Cost: seconds of the
processor for samples of one law, and a default fit of 500 pairs and 2,000 others beside it.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import print_table
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.shift import FIT_LEVEL, shift_between

Array = NDArray[Any]
LEVELS = (FIT_LEVEL, 0.01, 0.05)
LAWS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal, 3 outputs": lambda rng, n: rng.normal(size=(n, 3)),
    "counts": lambda rng, n: rng.poisson(1.0, size=(n, 1)),
    "coin": lambda rng, n: rng.integers(0, 2, size=(n, 1)),
    "heavy-tailed, 2 outputs": lambda rng, n: rng.standard_cauchy(size=(n, 2)),
}


def shares(p_values: list[float]) -> list[str]:
    """Share of the p-values up to each level."""
    return [f"{np.mean(np.array(p_values) <= level):.4f}" for level in LEVELS]


def fit(y: Array, n_pairs: int, seed: int, **settings: Any) -> LSDMRegressor:
    """A fit whose first stage matters: the first rows of y are paired, with conditions of noise."""
    X = np.random.default_rng(seed).normal(size=(n_pairs, 1))
    fixed = {"matcher": "energy", "unpaired": "latent", "condition_encoder": "flatten"}
    model = LSDMRegressor(random_state=seed).set_params(**fixed, matcher__max_steps=1, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y[:n_pairs], y[n_pairs:])


def level(n_samples: int, n_fits: int) -> None:
    """Shares of small p-values under one law."""
    rng = np.random.default_rng(0)
    table = []
    for name, law in LAWS.items():
        found = [shift_between(law(rng, 30), law(rng, 70), rng).p_value for _ in range(n_samples)]
        table.append([name, str(n_samples), *shares(found)])
    found = []
    for seed in range(n_fits):
        y = rng.normal(size=(180, 60)).astype(np.float32)
        memory = {"latent_dim": 20, "autoencoder__max_epochs": 60, "autoencoder__lr": 0.01}
        found.append(fit(y, 90, seed, autoencoder="mlp", **memory).unpaired_shift_.p_value)
    table.append(["codes of an MLP", str(n_fits), *shares(found)])
    print_table(["one law", "samples", *(f"p <= {each:g}" for each in LEVELS)], table)


def power(n_classes: int) -> None:
    """Number of missing classes that a fit finds, by the number of pairs."""
    raw = load_digits()
    y = raw.data / 16
    table = []
    for n_pairs in (100, 150, 250):
        found = []
        for missing in range(n_classes):
            order = np.random.default_rng(missing).permutation(len(y))
            pairs = order[raw.target[order] != missing][:n_pairs]
            rows = np.concatenate([pairs, np.setdiff1d(order, pairs)])
            model = fit(y[rows], n_pairs, missing, autoencoder="pca", latent_dim=20)
            found.append(model.unpaired_shift_)
        n_clear = sum(each.is_clear for each in found)
        strength = np.mean([each.strength for each in found])
        table.append([str(n_pairs), f"{n_clear} of {n_classes}", f"{strength:.2f}"])
    print_table(["pairs, one class of ten missing", "found", "mean strength"], table)


def cost() -> None:
    """Seconds of the test under one law, and of a default fit."""
    rng = np.random.default_rng(0)
    table = []
    for n, m in ((100, 1000), (500, 1000), (1000, 1000)):
        each = []
        for _ in range(5):
            start = time.process_time()
            shift_between(rng.normal(size=(n, 10)), rng.normal(size=(m, 10)), rng)
            each.append(time.process_time() - start)
        table.append([f"the test, {n} and {m} rows", f"{np.median(each):.2f}"])
    arms = make_arms(2500, random_state=0)
    start = time.process_time()
    LSDMRegressor(random_state=0).fit(arms.X[:500], arms.y[:500], arms.y[500:])
    table.append(
        ["a default fit, 500 pairs and 2,000 others", f"{time.process_time() - start:.2f}"]
    )
    print_table(["", "seconds"], table)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer samples and fits")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    level(*(50, 3) if quick else (500, 20))
    print()
    power(2 if quick else 10)
    print()
    cost()


if __name__ == "__main__":
    main()

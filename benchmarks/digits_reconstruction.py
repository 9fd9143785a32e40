"""What 1,297 unlabelled digits do for the latent space of 100 labelled ones (m = 13).

    python benchmarks/digits_reconstruction.py [--quick] [--seeds 0 1 2]

Each arm gets the best of our autoencoders and settings, chosen on a validation split of its own
responses; the error printed is that of 400 held-out digits, as a share of their variance.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from common import print_table, save_results
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklsdm import LSDMRegressor

LATENT_DIM = 13
CANDIDATES: dict[str, dict[str, Any]] = {
    "pca": {"autoencoder": "pca"},
    "mlp, widths (256, 128)": {"autoencoder": "mlp"},
    "mlp, widths (512, 256)": {"autoencoder": "mlp", "autoencoder__widths": (512, 256)},
    "mlp, widths (128,)": {"autoencoder": "mlp", "autoencoder__widths": (128,)},
    "mlp, lr 3e-4": {"autoencoder": "mlp", "autoencoder__lr": 3e-4},
}


def fit_autoencoder(settings: dict[str, Any], images: np.ndarray, seed: int) -> LSDMRegressor:
    """An estimator whose stage 1 saw `images`; stage 2 is cut to one step."""
    model = LSDMRegressor(LATENT_DIM, random_state=seed).set_params(**settings)
    model.set_params(matcher__max_steps=1)
    return model.fit(np.zeros((len(images), 1)), images)


def relative_error(model: LSDMRegressor, images: np.ndarray) -> float:
    """Mean squared reconstruction error as a share of the images' variance."""
    return float(np.square(model.reconstruct(images) - images).mean() / images.var())


def best_of(images: np.ndarray, seed: int, names: list[str]) -> tuple[str, float]:
    """The candidate with the lowest error on a fifth of `images`, kept from its fit."""
    fit, check = train_test_split(images, test_size=0.2, random_state=seed)
    errors = {
        name: relative_error(fit_autoencoder(CANDIDATES[name], fit, seed), check) for name in names
    }
    name = min(errors, key=lambda key: errors[key])
    return name, errors[name]


def main() -> None:
    """Choose, refit, and compare both arms."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two candidates, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = list(CANDIDATES)[:2] if arguments.quick else list(CANDIDATES)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).reshape(-1, 8, 8).astype(np.float32)
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        train, test, y_train, _ = train_test_split(
            images, labels, test_size=400, stratify=labels, random_state=seed
        )
        pairs = train_test_split(train, train_size=100, stratify=y_train, random_state=seed)[0]
        for arm, seen in (("100 labelled only", pairs), ("and 1,297 unlabelled", train)):
            chosen, validation = best_of(seen, seed, names)
            error = relative_error(fit_autoencoder(CANDIDATES[chosen], seen, seed), test)
            rows.append(
                {
                    "arm": arm,
                    "seed": seed,
                    "chosen": chosen,
                    "validation_error": validation,
                    "held_out_error": error,
                }
            )
    print_table(
        ["arm", "seed", "chosen on validation", "validation error", "held-out error"],
        [
            [
                row["arm"],
                str(row["seed"]),
                row["chosen"],
                f"{row['validation_error']:.4f}",
                f"{row['held_out_error']:.4f}",
            ]
            for row in rows
        ],
    )
    errors = {
        arm: np.array([row["held_out_error"] for row in rows if row["arm"] == arm])
        for arm in dict.fromkeys(row["arm"] for row in rows)
    }
    small, large = errors.values()
    print(f"\nerror with / without the unlabelled digits: {(large / small).mean():.3f}")
    if not arguments.quick:
        print(f"written: {save_results('digits_reconstruction', arguments.seeds, rows).name}")


if __name__ == "__main__":
    main()

"""Latent spaces of 30,000 MNIST digits (m = 13): held-out error and time, on one thread.

    python benchmarks/latent_spaces.py [--quick] [--seeds 0] [--only conv mlp]

Stage 1 alone, with each autoencoder's defaults and some variants. The error is that of 10,000
test digits, as a share of their variance and as mean squared error of a pixel in [0, 1]; the
draws of a stochastic decoder are scored by the reconstruction's mean. Time is the processor's.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from common import print_table, save_results

from sklsdm import LSDMRegressor
from sklsdm.datasets import fetch_mnist

LATENT_DIM, N_RESPONSES = 13, 30_000
CANDIDATES: dict[str, dict[str, Any]] = {
    "pca": {"autoencoder": "pca"},
    "mlp": {"autoencoder": "mlp"},
    "mlp, widths (256, 128), 60 epochs": {
        "autoencoder": "mlp",
        "autoencoder__widths": (256, 128),
        "autoencoder__max_epochs": 60,
        "autoencoder__lr": 1e-3,
        "autoencoder__batch_size": 128,
    },
    "conv": {"autoencoder": "conv"},
    "conv, lipschitz 2": {"autoencoder": "conv", "autoencoder__lipschitz": 2.0},
    "vae": {"autoencoder": "vae"},
    "dpa": {"autoencoder": "dpa"},
}


def measure(settings: dict[str, Any], images: np.ndarray, test: np.ndarray, seed: int) -> Any:
    """Errors, seconds and epochs of one stage 1."""
    model = LSDMRegressor(LATENT_DIM, matcher="energy", random_state=seed).set_params(**settings)
    model.set_params(matcher__max_steps=1)
    start = time.process_time()
    model.fit(np.zeros((len(images), 1)), images)
    seconds = time.process_time() - start
    error = float(np.square(model.reconstruct(test) - test / 255.0).mean())
    codes = torch.from_numpy(model.encode(test))
    return {
        "relative_error": error / float((test / 255.0).var()),
        "pixel_error": error,
        "seconds": seconds,
        "epochs": len(model.history_["autoencoder"].get("train_loss", [])),
        "slope": model.autoencoder_.decoder_slope(codes.std(dim=0)),
    }


def main() -> None:
    """Fit every candidate and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="3,000 digits, 1 epoch, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=CANDIDATES, default=list(CANDIDATES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = fetch_mnist()[0][: 3000 if arguments.quick else N_RESPONSES]
    test = fetch_mnist("test")[0]
    rows = []
    for seed in arguments.seeds:
        for name in arguments.only:
            settings = dict(CANDIDATES[name])
            if arguments.quick and name != "pca":
                settings["autoencoder__max_epochs"] = 1
            rows.append({"name": name, "seed": seed} | measure(settings, images, test, seed))
    print_table(
        ["autoencoder", "seed", "error / variance", "pixel MSE", "epochs", "CPU s", "slope <="],
        [
            [
                row["name"],
                str(row["seed"]),
                f"{row['relative_error']:.4f}",
                f"{row['pixel_error']:.5f}",
                str(row["epochs"]),
                f"{row['seconds']:.0f}",
                f"{row['slope']:.2f}",
            ]
            for row in rows
        ],
    )
    if not arguments.quick:
        print(f"written: {save_results('latent_spaces', arguments.seeds, rows).name}")


if __name__ == "__main__":
    main()

"""Do two commits draw the same? One line for each matcher, use of unpaired data and latent space.

    python benchmarks/same_draws.py > before.txt        # at the first commit
    python benchmarks/same_draws.py > after.txt         # at the second
    diff before.txt after.txt                           # nothing: the same draws, bit for bit

A line holds the first digits of the SHA-256 of draws, means and scores, for fixed seeds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import warnings
from collections.abc import Callable

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # sums over several threads differ in their last bits

import numpy as np
from sklearn.base import clone

from sklsdm import LSDMGenerator, LSDMRegressor
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.datasets import make_arms
from sklsdm.matchers import MATCHERS

STEPS = 120


def digest(*arrays: object) -> str:
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return found.hexdigest()[:16]


def fitted(est: LSDMRegressor, X: np.ndarray, y: np.ndarray, unpaired: np.ndarray | None) -> str:
    est.fit(X, y, unpaired)
    draws = est.sample(X[:7], 5, random_state=3)
    return digest(draws, est.predict(X[:7]), est.score(X[:30], y[:30]))


def budget(kind: str, name: str) -> dict[str, object]:
    if kind == "matcher":
        return {"matcher__max_steps": STEPS}
    trains = name not in ("pca", "identity")
    return {"autoencoder__max_epochs": 2} if trains else {}


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blurred spots (n, 16, 16), uint8, and their places (n, 2)."""
    random = np.random.default_rng(seed)
    place = random.uniform(4, 12, (n, 2))
    grid = np.arange(16)
    rows = np.exp(-((grid - place[:, :1]) ** 2) / 6)
    columns = np.exp(-((grid - place[:, 1:]) ** 2) / 6)
    return (255 * rows[:, :, None] * columns[:, None]).astype(np.uint8), place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="lines whose name holds this")
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    arms = make_arms(400, random_state=0)
    X, y, unpaired = arms.X[:80], arms.y[:80], arms.y[80:]
    labels = np.eye(3)[np.digitize(arms.X[:, 0], [-0.4, 0.4])]
    spots, places = images(300, 1)

    def show(name: str, make: Callable[[], str]) -> None:
        if only in name:
            print(f"{name:44s} {make()}", flush=True)

    for name in MATCHERS:
        base = LSDMRegressor(matcher=name, random_state=0).set_params(**budget("matcher", name))
        for use in ("latent", "match", "pair", "auto"):
            # Without held-out pairs the last state draws, not the start where it was best.
            held = 0.1 if use == "auto" else 0.0
            est = clone(base).set_params(unpaired=use, validation_fraction=held)
            show(f"{name} numbers {use}", lambda est=est: fitted(est, X, y, unpaired))
        est = clone(base).set_params(unpaired="pair", validation_fraction=0.0)
        show(f"{name} labels pair", lambda est=est: fitted(est, labels[:80], y, unpaired))
        est = clone(base).set_params(validation_fraction=0.0)
        show(f"{name} pairs only", lambda est=est: fitted(est, X, y, None))
        generator = LSDMGenerator(matcher=name, random_state=0)
        generator.set_params(**budget("matcher", name))
        show(
            f"{name} generator",
            lambda g=generator: digest(g.fit(arms.y).sample(20, random_state=1), g.score(arms.y)),
        )
    for name in AUTOENCODERS:
        data = (places[:60], spots[:60], spots[60:])
        dim = "auto" if name in ("identity", "feature-map") else 5
        est = LSDMRegressor(dim, "energy", autoencoder=name, unpaired="match", random_state=0)
        est.set_params(**budget("matcher", "energy"), **budget("autoencoder", name))
        show(f"autoencoder {name}", lambda est=est, data=data: fitted(est, *data))
    est = LSDMRegressor(5, "wgan", autoencoder="pca", unpaired="match", random_state=0)
    est.set_params(validation_fraction=0.0)
    est.set_params(**budget("matcher", "wgan"))
    show("image conditions", lambda: fitted(est, spots[:60, None], spots[:60], spots[60:]))
    for key, value in (
        ("loss", "r3gan"),
        ("critic", "groupsort"),
        ("penalty_on", "joint"),
        ("n_draws", 3),
        ("n_critic", 2),
        ("condition_noise", 0.2),
    ):
        est = LSDMRegressor(matcher="wgan", unpaired="match", random_state=0)
        est.set_params(validation_fraction=0.0)
        est.set_params(**budget("matcher", "wgan"), **{f"matcher__{key}": value})
        show(f"wgan {key}={value}", lambda est=est: fitted(est, X, y, unpaired))
    est = LSDMRegressor(matcher="flow", random_state=0).set_params(matcher__distil=True)
    show("flow distil", lambda: fitted(est.set_params(**budget("matcher", "flow")), X, y, None))
    est = LSDMRegressor(5, "energy", autoencoder="mlp", random_state=0)
    est.set_params(**budget("matcher", "energy"), **budget("autoencoder", "mlp"))
    est.set_params(autoencoder__lipschitz=1.5)
    show("autoencoder mlp lipschitz", lambda: fitted(est, places[:60], spots[:60], spots[60:]))


if __name__ == "__main__":
    main()

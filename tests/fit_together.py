"""Fits by the processes that torchrun has started; test_distributed.py reads what they leave.

Run as: torchrun --standalone --nproc-per-node=2 tests/fit_together.py FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from sklsdm import LSDMRegressor
from sklsdm.distributed import processes


def data(n_unpaired=500):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    mixing = rng.normal(size=(3, 60))
    noise = rng.normal(size=(n_unpaired, 3))
    return X, np.sin(X @ mixing), np.sin(noise @ mixing)


def regressor(autoencoder="mlp", **params):
    est = LSDMRegressor(
        4, "energy", autoencoder=autoencoder, condition_encoder="flatten", unpaired="match"
    )
    est.set_params(matcher__max_steps=20, autoencoder__max_epochs=2, autoencoder__batch_size=50)
    return est.set_params(**params)


def main(folder):
    X, y, unpaired = data()
    with processes() as group:
        place = f"{group.rank}-of-{group.size}"
        est = regressor(random_state=0, verbose=1, checkpoint=folder / "states")
        est.fit(X, np.where(X[:, :1] < 9, y, 0), unpaired)
        np.savez(
            folder / f"mlp-{place}.npz",
            draws=est.sample(X, 2, random_state=0),
            **est.history_["autoencoder"],
        )
        # With noise in the loss and a seed from the system the fits still agree.
        est = regressor("vae", autoencoder__n_iter_no_change=1).fit(X, y, unpaired)
        np.save(folder / f"vae-{place}.npy", est.sample(X, 2, random_state=0))
        try:
            est.fit(X, y, data(500 - group.rank)[2])
        except ValueError as error:
            (folder / f"error-{place}.txt").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

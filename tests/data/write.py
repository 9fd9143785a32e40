"""Writes a regressor and a generator of this version, with draws, for tests/test_saving.py.

Run `python tests/data/write.py` once for every version that is released, and commit the files.
"""

from pathlib import Path

import numpy as np

import sklsdm
from sklsdm.encoders import TreesConditionEncoder
from sklsdm.matchers import EnergyMatcher

FOLDER = Path(__file__).parent


def write(name: str, est: sklsdm.LSDMRegressor | sklsdm.LSDMGenerator, **kept: np.ndarray) -> None:
    path = FOLDER / f"{name}-{sklsdm.__version__}.safetensors"
    sklsdm.save(est, path)
    np.savez_compressed(path.with_suffix(".npz"), **kept)


def main() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = X + rng.normal(size=(60, 2))
    matcher = EnergyMatcher(max_steps=20, widths=(8,))
    encoder = TreesConditionEncoder(n_estimators=50, min_samples_leaf=15)
    regressor = sklsdm.LSDMRegressor(matcher=matcher, condition_encoder=encoder, random_state=0)
    regressor.fit(X, y)
    write("regressor", regressor, X=X, draws=regressor.sample(X, 3, random_state=1))
    generator = sklsdm.LSDMGenerator(matcher=matcher, random_state=0).fit(y)
    write("generator", generator, draws=generator.sample(9, random_state=1))


if __name__ == "__main__":
    main()

"""Uses an installed sklsdm as a new user does; `python -I tests/smoke.py` in any environment.

It needs nothing but what the package requires, and says where the package was found.
"""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

import sklsdm


def main() -> None:
    """Fit, draw, save, load; compare the versions."""
    home = Path(sklsdm.__file__).parent
    if not home.is_relative_to(sys.prefix):
        raise SystemExit(f"sklsdm was imported from {home}, not from this environment")
    if version("sklsdm") != sklsdm.__version__ or not (home / "py.typed").exists():
        raise SystemExit("the version of the package and that of the code differ, or no py.typed")
    arms = sklsdm.datasets.make_arms(200, random_state=0)
    est = sklsdm.LSDMRegressor(random_state=0).set_params(matcher__max_steps=20)
    est.fit(arms.X[:100], arms.y[:100], arms.y[100:])
    draws = est.sample(arms.X[:5], n_samples=3, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        sklsdm.save(est, Path(folder) / "arms.safetensors")
        same = sklsdm.load(Path(folder) / "arms.safetensors")
    if not np.array_equal(draws, same.sample(arms.X[:5], n_samples=3, random_state=0)):
        raise SystemExit("a saved and loaded fit draws otherwise")
    print(f"sklsdm {sklsdm.__version__} in {home}: draws of shape {draws.shape}")


if __name__ == "__main__":
    main()

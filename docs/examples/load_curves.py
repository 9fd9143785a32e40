"""Daily electricity load given temperature and weekday: a fan of draws, scored against rivals.

    SKLSDM_DATA=folder python docs/examples/load_curves.py

Data: GEFCom2014, load track, in `gefcom2014_load.npz` (hourly load and 25 stations' temperatures,
2012 and 2013). Every fifth day is held out. Half of the other days are pairs, all are responses.
The 24 temperatures say much the same: noise on them in training (`condition_noise`, picked on other
splits of the same days, see docs/lessons.md) lowers the score by a tenth and more.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors

import sklsdm
from sklsdm.datasets import load_benchmark
from sklsdm.metrics import energy_score, interval_coverage, variogram_score

N_DRAWS = 200


def load_days() -> tuple[np.ndarray, np.ndarray]:
    """Conditions (730, 34) and load curves (730, 24): temperature by hour, weekday, season."""
    raw = load_benchmark("gefcom2014_load")
    temperature = raw["temperature"].mean(axis=2)
    weekday = np.eye(7)[raw["weekday"].astype(int)]
    date = raw["date"].astype(int)
    angle = 2 * np.pi * (30.4 * (date[:, 1] - 1) + date[:, 2]) / 365
    season = np.column_stack([np.sin(angle), np.cos(angle)])
    smooth = temperature.mean(axis=1, keepdims=True)
    return np.hstack([temperature, weekday, season, smooth]), raw["load"].astype(np.float64)


def rivals(X: np.ndarray, y: np.ndarray, X_test: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draws of methods that need nothing but the pairs."""
    rng = np.random.default_rng(seed)
    scale = X.std(axis=0) + 1e-9
    near = NearestNeighbors(n_neighbors=15).fit(X / scale).kneighbors(X_test / scale)[1]
    line = RidgeCV(np.logspace(-2, 4, 13)).fit(X / scale, y)
    residuals = y - line.predict(X / scale)
    picks = rng.integers(15, size=(len(X_test), N_DRAWS))
    rows = rng.integers(len(y), size=(len(X_test), N_DRAWS))
    return {
        "marginal": y[rows],
        "kNN(15) resampling": y[np.take_along_axis(near, picks, axis=1)],
        "ridge + bootstrap": line.predict(X_test / scale)[:, None] + residuals[rows],
    }


def judge(draws: np.ndarray, y: np.ndarray) -> str:
    """Energy score, variogram score and coverage, as a line of a table."""
    interval = np.quantile(draws, [0.05, 0.95], axis=1).swapaxes(0, 1)
    return (
        f"{energy_score(y, draws):14.4f}{variogram_score(y, draws):18.3f}"
        f"{interval_coverage(y, interval):18.3f}"
    )


def draw_picture(path: Path, y: np.ndarray, draws: np.ndarray) -> None:
    """Fans of four held-out days."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    hours = np.arange(24)
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), sharey=True)
    for axis, day in zip(axes, np.linspace(5, len(y) - 5, 4).astype(int), strict=True):
        for low, high in ((0.05, 0.95), (0.25, 0.75)):
            band = np.quantile(draws[day], [low, high], axis=0)
            axis.fill_between(hours, *band, color="tab:blue", alpha=0.25, linewidth=0)
        axis.plot(hours, draws[day, :8].T, color="tab:blue", linewidth=0.6)
        axis.plot(hours, y[day], color="black", linewidth=2)
        axis.set_xlabel("hour")
    axes[0].set_ylabel("load (share of the maximum)")
    figure.suptitle("Held-out days (black), draws, 50 % and 90 % bands")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Fit, print the table, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matcher", default="diffusion")
    parser.add_argument("--condition-noise", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("load_curves.png"))
    arguments = parser.parse_args()
    X, y = load_days()
    held = np.arange(len(y)) % 5 == 0
    rng = np.random.default_rng(arguments.seed)
    train = rng.permutation(np.flatnonzero(~held))
    pairs, rest = train[: len(train) // 2], train[len(train) // 2 :]
    forecasts = rivals(X[pairs], y[pairs], X[held], arguments.seed)
    for name, unpaired in (("sklsdm, pairs only", None), ("sklsdm, and unpaired", y[rest])):
        model = sklsdm.LSDMRegressor(6, arguments.matcher, random_state=arguments.seed)
        model.set_params(matcher__condition_noise=arguments.condition_noise)
        model.fit(X[pairs], y[pairs], unpaired)
        forecasts[name] = model.sample(X[held], N_DRAWS, random_state=0)
    print(f"{'':24}{'energy score':>14}{'variogram score':>18}{'coverage of 90 %':>18}")
    for name, draws in forecasts.items():
        print(f"{name:24}{judge(draws, y[held])}")
    draw_picture(arguments.out, y[held], draws)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

"""Where a New York taxi goes, given pick-up and fare: maps of draws, scored against rivals.

    SKLSDM_DATA=folder python docs/examples/taxi.py
    SKLSDM_DATA=folder python docs/examples/taxi.py --compare      # of matchers, a few minutes

Data: `nyc_taxi_small.npz`, a sample of the public trip records, in its own partition: 7,744 trips
to train, 1,655 to choose the matcher and the rivals' settings, 1,658 to test. The condition is
the pick-up (km) and the logarithm of the fare, the response the drop-off (km). The second part of
the table has a tenth of the pairs, and the other drop-offs without their pick-ups.

The validation part prefers "mdn" from pairs only, whether all or a tenth, and "energy" where there
are unpaired drop-offs. Found (seed 0): "mdn" is ahead of nearest neighbours, by more where pairs
are few. The unpaired drop-offs hardly help here.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor
from sklsdm.datasets import load_benchmark
from sklsdm.metrics import energy_score, interval_coverage, interval_width

N_DRAWS = 200
CENTRE = np.array([-73.97, 40.75])
KM_PER_DEGREE = np.array([84.4, 111.2])  # at this latitude
MATCHERS = ("mdn", "diffusion", "flow", "energy", "wgan")
NEIGHBOURS = (5, 10, 25, 50, 100)
PLACES = {  # lon, lat, fare; shown in the picture
    "Penn Station, fare 6": (-73.9935, 40.7506, 6.0),
    "Penn Station, fare 12": (-73.9935, 40.7506, 12.0),
    "LaGuardia airport, fare 30": (-73.8726, 40.7740, 30.0),
    "Kennedy airport, fare 52": (-73.7822, 40.6448, 52.0),
}
Trips = tuple[np.ndarray, np.ndarray]


def kilometres(positions: np.ndarray) -> np.ndarray:
    """Longitude and latitude as km east and north of the centre."""
    return (np.asarray(positions, dtype=np.float64) - CENTRE) * KM_PER_DEGREE


def conditions(rows: np.ndarray) -> np.ndarray:
    """Pick-up (km east, km north) and logarithm of the fare, (n, 3)."""
    return np.column_stack([kilometres(rows[:, :2]), np.log(rows[:, 2])])


def load_trips() -> dict[str, Trips]:
    """Conditions and drop-offs of the parts "train", "valid" and "test"."""
    raw = load_benchmark("nyc_taxi_small")
    return {
        part: (conditions(raw[f"x_{part}"]), kilometres(raw[f"y_{part}"]))
        for part in ("train", "valid", "test")
    }


def resample_neighbours(train: Trips, X: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Draws from the drop-offs of the k nearest conditions, (n, N_DRAWS, 2)."""
    scale = train[0].std(axis=0)
    near = NearestNeighbors(n_neighbors=k).fit(train[0] / scale).kneighbors(X / scale)[1]
    picks = np.random.default_rng(seed).integers(k, size=(len(X), N_DRAWS))
    return train[1][np.take_along_axis(near, picks, axis=1)]


def rivals(train: Trips, valid: Trips, X: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Draws of methods that need nothing but the pairs; k is chosen on `valid`."""
    y = train[1]
    rows = np.random.default_rng(seed).integers(len(y), size=(len(X), N_DRAWS))
    line = RidgeCV(np.logspace(-4, 2, 7)).fit(train[0], y)
    residuals = y - line.predict(train[0])

    def loss(k: int) -> float:
        return energy_score(valid[1], resample_neighbours(train, valid[0], k, seed))

    k = min(NEIGHBOURS, key=loss)
    return {
        "marginal": y[rows],
        "least squares + bootstrap": line.predict(X)[:, None] + residuals[rows],
        f"kNN({k}) resampling": resample_neighbours(train, X, k, seed),
    }


def compare(arms: dict[str, tuple[Trips, np.ndarray | None]], valid: Trips, seed: int) -> None:
    """Energy score of each matcher on the validation part."""
    print(f"{'':12}" + "".join(f"{name:>27}" for name in arms))
    for matcher in MATCHERS:
        print(f"{matcher:12}", end="", flush=True)
        for pairs, unpaired in arms.values():
            model = LSDMRegressor(matcher=matcher, random_state=seed).fit(*pairs, unpaired)
            draws = model.sample(valid[0], N_DRAWS, random_state=0)
            print(f"{energy_score(valid[1], draws):27.4f}", end="", flush=True)
        print()


def print_scores(name: str, y: np.ndarray, draws: np.ndarray) -> None:
    """One line of the table."""
    interval = np.quantile(draws, [0.05, 0.95], axis=1).swapaxes(0, 1)
    print(
        f"{name:34}{energy_score(y, draws):15.4f}{interval_coverage(y, interval):18.3f}"
        f"{interval_width(interval):11.2f}",
        flush=True,
    )


def draw_picture(path: Path, model: LSDMRegressor, trips: dict[str, Trips]) -> None:
    """Draws for four pick-ups, above the real drop-offs of held-out trips like them."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    town = trips["train"][1]
    X = np.vstack([trips["valid"][0], trips["test"][0]])
    y = np.vstack([trips["valid"][1], trips["test"][1]])
    figure, axes = plt.subplots(
        2, len(PLACES), figsize=(3.6 * len(PLACES), 8.4), sharex=True, sharey=True
    )
    for (name, place), (above, below) in zip(PLACES.items(), axes.T, strict=True):
        condition = conditions(np.array([place]))
        gap = np.abs(X - condition)
        like = (np.hypot(gap[:, 0], gap[:, 1]) < 1.0) & (gap[:, 2] < np.log(1.25))
        draws = model.sample(condition, 300, random_state=0)[0]
        above.set_title(f"{name}\n300 draws", fontsize=11)
        below.set_title(f"{like.sum()} real trips like it", fontsize=11)
        for axis, points in ((above, draws), (below, y[like])):
            axis.scatter(*town.T, s=1, color="0.85", linewidths=0, rasterized=True)
            axis.scatter(*points.T, s=9, color="tab:blue", alpha=0.6, linewidths=0)
            axis.plot(*condition[0, :2], marker="*", markersize=14, color="tab:red", mec="white")
            axis.set(xlim=(-8, 18), ylim=(-16, 17), aspect="equal")
        below.set_xlabel("km east")
    for axis in axes[:, 0]:
        axis.set_ylabel("km north")
    figure.suptitle(
        "Taxi drop-offs given pick-up (star) and fare. Grey: all training drop-offs.\n"
        "Below: held-out trips from within 1 km, fare within 25 %",
        fontsize=12,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Fit with all pairs and with a tenth, print the tables, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", action="store_true", help="only compare matchers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("taxi.png"))
    arguments = parser.parse_args()
    try:
        trips = load_trips()
    except OSError as error:  # no data: the message says what to set
        parser.exit(1, f"{error}\n")

    train, valid, (X, y) = trips["train"], trips["valid"], trips["test"]
    order = np.random.default_rng(arguments.seed).permutation(len(train[1]))
    few, rest = np.split(order, [len(order) // 10])
    tenth, unpaired = (train[0][few], train[1][few]), train[1][rest]
    if arguments.compare:
        print(f"energy score (km) on {len(valid[1]):,} validation trips")
        arms = {
            f"{len(order):,} pairs": (train, None),
            f"{len(few)} pairs": (tenth, None),
            f"{len(few)} and unpaired": (tenth, unpaired),
        }
        compare(arms, valid, arguments.seed)
        return

    print(f"{'':34}{'energy score':>15}{'coverage':>18}{'width':>11}")
    print(f"{'':34}{'km':>15}{'of 90 % intervals':>18}{'km':>11}")
    models = []
    for pairs, arms in (
        (train, [("mdn", None)]),
        (tenth, [("mdn", None), ("mdn", unpaired), ("energy", None), ("energy", unpaired)]),
    ):
        print(f"{len(pairs[1]):,} pairs")
        for name, draws in rivals(pairs, valid, X, arguments.seed).items():
            print_scores(f"  {name}", y, draws)
        for matcher, extra in arms:
            model = LSDMRegressor(matcher=matcher, random_state=arguments.seed)
            models.append(model.fit(*pairs, extra))
            name = f"  {matcher}" + ("" if extra is None else f", and {len(extra):,} unpaired")
            print_scores(name, y, model.sample(X, N_DRAWS, random_state=0))
    draw_picture(arguments.out, models[0], trips)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

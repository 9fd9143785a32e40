"""Smooth laws with little noise, as simulators have them: few runs, up to 100 outputs.

    python benchmarks/simulators.py [--quick] [--laws borehole pendulum] [--seeds 0 1]
    ... [--sizes 100 400] [--only default]

Inputs are uniform on a cube; noise of 5 % of its standard deviation is added to each output, and
outputs are standardised. The test has 500 rows. Scores are those of tabular.py. "Gaussian process"
is scikit-learn's, one for each of up to ten principal components of the responses, with a length
scale for each input, its numbers by the marginal likelihood. A run of some rows replaces only those
of the JSON.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from common import kept_rows, print_table, replace_row, save_results
from numpy.typing import NDArray
from peers import Draw, Fit, available_peers
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.preprocessing import StandardScaler
from tabular import DEFAULT, N_DRAWS, chosen_names, fit_ours, timed

Array = NDArray[Any]
NOISE, N_TEST = 0.05, 500
SIZES, SEEDS = (100,), (0,)
KEYS = ("law", "n_pairs", "seed", "method")
PROCESS, WITHOUT, ORACLE = "Gaussian process", "trees, no Gaussian process", "oracle"


def branin(x: Array) -> Array:
    a, b = 15 * x[:, 0] - 5, 15 * x[:, 1]
    square = (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2
    return (square + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10)[:, None]


def borehole(x: Array) -> Array:
    """Flow of water through a borehole (Harper & Gupta 1983), eight inputs."""
    low = np.array([0.05, 100, 63070, 990, 63.1, 700, 1120, 9855])
    high = np.array([0.15, 50000, 115600, 1110, 116, 820, 1680, 12045])
    radius, far, upper, head, lower, base, length, conductivity = (low + x * (high - low)).T
    logarithm = np.log(far / radius)
    share = 1 + 2 * length * upper / (logarithm * radius**2 * conductivity) + upper / lower
    return (2 * np.pi * upper * (head - base) / (logarithm * share))[:, None]


def friedman(x: Array) -> Array:
    """Friedman's first law; five of its ten inputs do not matter."""
    waves = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    return (waves + 10 * x[:, 3] + 5 * x[:, 4])[:, None]


def pendulum(x: Array) -> Array:
    """The angle at 20 times, by the first angle, the first speed and the length."""
    angle, speed, length = 2 * x[:, 0], 2 * x[:, 1], 0.5 + x[:, 2]
    found = []
    for step in range(400):
        speed = speed - 0.02 * 9.8 / length * np.sin(angle)
        angle = angle + 0.02 * speed
        if step % 20 == 19:
            found.append(angle)
    return np.stack(found, axis=1)


def decay(x: Array) -> Array:
    """A damped oscillation with a trend, at 29 times."""
    times = np.linspace(0, 5, 30)[1:]
    rate, turns = 0.2 + 2 * x[:, :1], 1 + 4 * x[:, 1:2]
    return np.exp(-times * rate) * np.cos(times * turns) + 0.5 * x[:, 2:3] * times


def spectrum(x: Array) -> Array:
    """A peak that moves, widens and grows over 100 wavelengths, beside one that stays."""
    waves = np.linspace(0, 1, 100)
    moving = np.exp(-((waves - 0.2 - 0.6 * x[:, :1]) ** 2) / (2 * (0.02 + 0.05 * x[:, 1:2]) ** 2))
    return (0.5 + x[:, 2:3]) * moving + 0.3 * x[:, 3:4] * np.exp(-((waves - 0.5) ** 2) / 0.005)


LAWS: dict[str, tuple[Callable[[Array], Array], int]] = {
    "branin": (branin, 2),
    "borehole": (borehole, 8),
    "friedman": (friedman, 10),
    "pendulum": (pendulum, 3),
    "decay": (decay, 3),
    "spectrum": (spectrum, 4),
}


def gaussian_process(X: Array, y: Array, seed: int, groups: Array | None = None) -> Draw:
    """scikit-learn's, for each principal component; what these leave out is drawn as noise."""
    inputs, outputs = StandardScaler().fit(X), StandardScaler().fit(y)
    target = outputs.transform(y)
    axes = PCA(min(10, y.shape[1]), random_state=seed).fit(target)
    codes = axes.transform(target)
    left = (target - axes.inverse_transform(codes)).std(axis=0)
    kernel = ConstantKernel() * RBF(np.ones(X.shape[1])) + WhiteKernel(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = [
            GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed).fit(
                inputs.transform(X), column
            )
            for column in codes.T
        ]

    def draw(Z: Array, n_draws: int, s: int) -> Array:
        random = np.random.default_rng(s)
        found = [model.predict(inputs.transform(Z), return_std=True) for model in models]
        mean, spread = (np.stack(each, axis=1)[:, None] for each in zip(*found, strict=True))
        shape = (len(Z), n_draws)
        drawn = mean + spread * random.normal(size=(*shape, len(models)))
        rows = axes.inverse_transform(drawn.reshape(-1, len(models)))
        rows = rows + left * random.normal(size=rows.shape)
        return outputs.inverse_transform(rows).reshape(*shape, -1)

    return draw


def methods_of(quick: bool) -> dict[str, Fit]:
    wanted = ("least squares + bootstrap", "quantile-forest")
    peers = {name: fit for name, fit in available_peers().items() if name in wanted}
    without = {"condition_encoder": "trees", "condition_encoder__gaussian_process": False}
    return peers | {
        PROCESS: gaussian_process,
        WITHOUT: fit_ours(quick, 1, without),
        DEFAULT: fit_ours(quick, 1, {}),
    }


def run(law: str, n: int, seed: int, methods: dict[str, Fit]) -> Iterator[dict[str, Any]]:
    """Rows of one law, n pairs and one seed; the oracle knows law and noise."""
    function, n_inputs = LAWS[law]
    random = np.random.default_rng([seed, list(LAWS).index(law)])
    X = random.uniform(size=(n + N_TEST, n_inputs))
    mean = function(X)
    noise = NOISE * mean.std(axis=0)
    y = mean + noise * random.normal(size=mean.shape)
    units = StandardScaler().fit(y[:n])
    y = units.transform(y)

    def oracle(*_: Any) -> Draw:
        def draw(Z: Array, n_draws: int, s: int) -> Array:
            drawn = np.random.default_rng(s).normal(size=(len(Z), n_draws, y.shape[1]))
            return units.transform(function(Z))[:, None] + noise / units.scale_ * drawn

        return draw

    for method, fit in {ORACLE: oracle, **methods}.items():
        scores, _ = timed(
            lambda fit=fit: fit(X[:n], y[:n], seed, None),
            lambda draw: draw(X[n:], N_DRAWS, seed),
            y[n:],
        )
        given = {"law": law, "n_pairs": n, "seed": seed, "method": method}
        yield given | scores | {"date": time.strftime("%Y-%m-%d")}


def summarise(rows: list[dict[str, Any]]) -> None:
    """A row for each law and number of pairs, the energy scores of all methods beside."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    table = []
    for law, n in dict.fromkeys((row["law"], row["n_pairs"]) for row in rows):
        own = [row for row in rows if (row["law"], row["n_pairs"]) == (law, n)]
        of = {name: [row for row in own if row["method"] == name] for name in names}
        scores = [f"{np.mean([r['energy_score'] for r in of[name]]):.3f}" for name in names]
        ours = [np.mean([row[key] for row in of[DEFAULT]]) for key in ("coverage", "fit_s")]
        table.append([law, f"{n}", *scores, f"{ours[0]:.3f}", f"{ours[1]:.0f}"])
    print_table(["law", "pairs", *names, "coverage of 90 %, default", "fit s"], table)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short fits of one law, no JSON")
    parser.add_argument("--laws", nargs="+", metavar="LAW")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="pairs")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--only", nargs="+", metavar="NAME", help="methods")
    given = parser.parse_args(arguments)
    methods = methods_of(given.quick)
    chosen = set(chosen_names(given.only, [ORACLE, *methods], "--only"))
    methods = {name: fit for name, fit in methods.items() if name in chosen}
    laws = chosen_names(given.laws, list(LAWS), "--laws")
    if given.quick:
        laws, given.sizes, given.seeds = laws[:1], [40], [0]
    rows = [] if given.quick else kept_rows("simulators")
    for law in laws:
        for n in given.sizes:
            for seed in given.seeds:
                for row in run(law, n, seed, methods):
                    print(*row.values(), flush=True)
                    replace_row(rows, row, KEYS)
                    if not given.quick:
                        save_results("simulators", SEEDS, rows)
    summarise(rows)


if __name__ == "__main__":
    main()

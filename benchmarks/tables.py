"""The tables of tabular.py: how each is read, split and scaled.

Conditions are standardised, and responses divided by their spread, over the training rows. UCI
sets come in their published splits. All others are split at random by the split's number:

- storms24: training rows are 80 % of the storms up to 2012, test rows random records since;
- nyc_taxi_small, ames_housing, wage: 80 % of the rows train;
- gefcom2014_load: 580 days train, 150 test;
- chicago_ridership: 80 % of the weeks train, and the rest are the test. Weeks stay whole, since the
  days of a week resemble each other, and weeks, as storms, are the groups to hold out by.

Categories (ames_housing, wage) become indicators of the levels that at least five training rows
have; the rare levels of a column are put together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm.datasets import load_benchmark

Array = NDArray[Any]
N_TEST = 1000
QUICK_TRAIN, QUICK_TEST = 300, 100
FEWEST = 5  # training rows of a level that is not rare


@dataclass(frozen=True)
class Split:
    """Conditions (n, p) standardised, responses (n, q) over their spread, by training rows."""

    X: Array
    y: Array
    X_test: Array
    y_test: Array
    groups: Array | None = None  # (n,): rows that belong together, such as those of one storm


def make_split(
    X: Array,
    y: Array,
    train: Array,
    test: Array,
    seed: int,
    quick: bool,
    groups: Array | None = None,
) -> Split:
    """Scaled parts of one table; of the test rows at most N_TEST."""
    rng = np.random.default_rng(seed)
    test = rng.permutation(test)[: QUICK_TEST if quick else N_TEST]
    if quick:
        train = rng.permutation(train)[:QUICK_TRAIN]
    X, y = X.astype(np.float64), y.astype(np.float64)
    centre, spread = X[train].mean(axis=0), X[train].std(axis=0)
    X = (X - centre) / np.where(spread > 1e-9, spread, 1.0)
    y = (y - y[train].mean(axis=0)) / y[train].std(axis=0)
    groups = None if groups is None else groups[train]
    return Split(X[train], y[train], X[test], y[test], groups)


def load_uci(name: str, seed: int, quick: bool) -> Split:
    """A published split of a UCI table; all its outputs."""
    raw = load_benchmark(f"uci_{name}")
    y = np.hstack([raw["y"], raw["y_extra"]]) if "y_extra" in raw else raw["y"]
    return make_split(raw["x"], y, raw["index_train"][seed], raw["index_test"][seed], seed, quick)


def load_storms(seed: int, quick: bool) -> Split:
    """80 % of the storms up to 2012, records of later ones."""
    raw = load_benchmark("storms24")
    storms = np.unique(raw["storm_train"])
    some = np.random.default_rng(100 + seed).permutation(storms)[: int(0.8 * len(storms))]
    train = np.flatnonzero(np.isin(raw["storm_train"], some))
    n_train = len(raw["x_train"])
    X, y = (np.vstack([raw[f"{c}_train"], raw[f"{c}_test"]]) for c in "xy")
    test = np.arange(n_train, len(X))
    return make_split(X, y, train, test, seed, quick, raw["storm_train"])


def load_taxi(seed: int, quick: bool) -> Split:
    """Pick-up and logarithm of the fare, drop-off; the file's parts put together."""
    raw = load_benchmark("nyc_taxi_small")
    X, y = (np.vstack([raw[f"{c}_{part}"] for part in ("train", "valid", "test")]) for c in "xy")
    X = np.column_stack([X[:, :2], np.log(X[:, 2])])
    order = np.random.default_rng(100 + seed).permutation(len(X))
    return make_split(X, y, *np.split(order, [int(0.8 * len(X))]), seed, quick)


def load_curves(seed: int, quick: bool) -> Split:
    """Mean temperature by hour, weekday and season; the day's 24 loads."""
    raw = load_benchmark("gefcom2014_load")
    temperature = raw["temperature"].mean(axis=2)
    angle = 2 * np.pi * (30.4 * (raw["date"][:, 1] - 1) + raw["date"][:, 2]) / 365
    season = np.column_stack([np.sin(angle), np.cos(angle)])
    X = np.hstack([temperature, np.eye(7)[raw["weekday"]], season])
    order = np.random.default_rng(100 + seed).permutation(len(X))
    return make_split(X, raw["load"], order[150:], order[:150], seed, quick)


def load_ridership(seed: int, quick: bool) -> Split:
    """A day's weather, games, weekday and season; entries at 20 stations. Weeks stay whole."""
    raw = load_benchmark("chicago_ridership")
    days = raw["date"].astype("datetime64[D]")
    week = (days - days[0]).astype(int) // 7
    some = np.random.default_rng(100 + seed).permutation(week.max() + 1)
    train = np.isin(week, some[: int(0.8 * len(some))])
    rows = np.flatnonzero(train), np.flatnonzero(~train)
    return make_split(raw["x"], raw["y"], *rows, seed, quick, week)


def load_mixed(name: str, seed: int, quick: bool) -> Split:
    """A table with numbers and categories."""
    raw = load_benchmark(name)
    order = np.random.default_rng(100 + seed).permutation(len(raw["y"]))
    train, test = np.split(order, [int(0.8 * len(order))])
    X = np.hstack([raw["x_numeric"], one_hot(raw["x_categorical"], train)])
    return make_split(X, raw["y"], train, test, seed, quick)


def one_hot(table: Array, train: Array) -> Array:
    """Indicators (n, levels) of the columns' levels, as the training rows have them.

    Levels of fewer than FEWEST training rows, and those that only test rows have, are put together:
    none of their column's indicators is 1. Two levels need one indicator; a column with a single
    level that is not rare is dropped.
    """
    columns = [np.empty((len(table), 0))]
    for column in table.T:
        levels, counts = np.unique(column[train], return_counts=True)
        levels = levels[counts >= FEWEST]
        shown = levels[1:] if len(levels) <= 2 else levels
        columns.append((column[:, None] == shown).astype(np.float64))
    return np.hstack(columns)


SETS: dict[str, Callable[[int, bool], Split]] = {
    "uci_concrete": partial(load_uci, "concrete"),
    "uci_energy": partial(load_uci, "energy"),
    "uci_power": partial(load_uci, "power"),
    "uci_yacht": partial(load_uci, "yacht"),
    "uci_naval": partial(load_uci, "naval"),
    "storms24": load_storms,
    "nyc_taxi_small": load_taxi,
    "gefcom2014_load": load_curves,
    "chicago_ridership": load_ridership,
    "ames_housing": partial(load_mixed, "ames_housing"),
    "wage": partial(load_mixed, "wage"),
}

"""The peers: what a user would take instead, all behind one call.

    fit(X, y, seed, groups=None) -> draw(X, n_draws, seed) -> draws (n, n_draws, q)

X is (n, p), y (n, q); rows of one group are held out together. Honest floors first (marginal, least
squares, nearest neighbours), then engression, quantile-forest, zuko's densities and treeffuser,
each only where its package is installed. All but the settings written here are the packages'
defaults; whatever is chosen on data is chosen on a tenth of the training pairs.
`python benchmarks/peers.py` lists them.

treeffuser 0.2.0 wants other versions of numpy and scikit-learn than the rest, so its rows come from
an environment of its own, and go into the same JSON:

    python -m venv other && . other/bin/activate
    pip install -e . "numpy<2" "pandas<3" einops jaxtyping lightgbm ml-collections
    pip install --no-deps treeffuser==0.2.0
    SKLSDM_DATA=folder python benchmarks/tabular.py --only treeffuser

`--no-deps` since it pins scikit-learn 1.5.0 and lightgbm 4.3.0, though it works with later ones.
Where its draws would take more than some ten minutes on one core, there are fewer of them: at least
10, and the rows say how many (`n_draws`). Energy score and CRPS do not depend on their number in
expectation. The variogram score does, slightly, and intervals of m draws of the true law cover
0.9 (m - 1) / (m + 1) of the responses where .9 is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from sklsdm.metrics import energy_score

Array = NDArray[Any]
Draw = Callable[[Array, int, int], Array]  # of X, n_draws, seed
Groups = NDArray[Any] | None  # (n,)
Fit = Callable[..., Draw]  # of X, y, seed, groups

HELD_OUT = 0.1
BATCH, CHECK_STEPS, MOST_STEPS = 256, 50, 3000
FEW_OUTPUTS = 8
SMALLEST_LEAVES = (1, 5, 20, 50)
MOST_TREES, FEWEST_DRAWS = 400_000_000, 10  # of treeffuser's draws: some ten minutes
PATIENCE, LR_PATIENCE = 20, 6  # checks without a better held-out likelihood
_CHUNK = 1 << 18  # numbers of conditions repeated at once while drawing


# ---------------------------------------------------------------------------- floors
def marginal(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """Training responses drawn at random: ignores X."""
    return lambda Z, n_draws, s: y[_rows(len(y), len(Z), n_draws, s)]


def least_squares(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """Least squares plus bootstrapped residuals."""
    line = LinearRegression().fit(X, y)
    residuals = y - line.predict(X)
    return lambda Z, n_draws, s: (
        line.predict(Z)[:, None] + residuals[_rows(len(y), len(Z), n_draws, s)]
    )


def nearest_neighbours(X: Array, y: Array, seed: int, groups: Groups = None, k: int = 25) -> Draw:
    """Responses of the k nearest conditions, drawn at random."""
    index = NearestNeighbors(n_neighbors=k).fit(X)

    def draw(Z: Array, n_draws: int, s: int) -> Array:
        near = index.kneighbors(Z, return_distance=False)
        return y[np.take_along_axis(near, _rows(k, len(Z), n_draws, s), axis=1)]

    return draw


def _rows(below: int, n: int, n_draws: int, seed: int) -> Array:
    return np.random.default_rng(seed).integers(below, size=(n, n_draws))


# ---------------------------------------------------------------------------- quantile-forest
def quantile_forest(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """A quantile forest, its smallest leaf chosen on held-out pairs.

    A draw is a training row from the leaf of a random tree, which are the forest's own weights; so
    the outputs of a draw belong together, where the package forecasts each by itself.
    """
    train, held = hold_out(len(y), seed, groups)
    spread = _Scale(y).spread

    def loss(leaf: int) -> float:
        draws = _fit_forest(X[train], y[train], seed, leaf)(X[held], 100, seed)
        return float(energy_score(y[held] / spread, draws / spread))

    return _fit_forest(X, y, seed, min(SMALLEST_LEAVES, key=loss))


def _fit_forest(X: Array, y: Array, seed: int, leaf: int) -> Draw:
    from quantile_forest import RandomForestQuantileRegressor

    forest = RandomForestQuantileRegressor(min_samples_leaf=leaf, random_state=seed, n_jobs=1)
    forest.fit(X, y if y.shape[1] > 1 else y[:, 0])
    leaves = forest.apply(X)
    order = np.argsort(leaves, axis=0, kind="stable")
    sorted_leaves = np.take_along_axis(leaves, order, axis=0)

    def draw(Z: Array, n_draws: int, s: int) -> Array:
        rng = np.random.default_rng(s)
        trees = rng.integers(leaves.shape[1], size=(len(Z), n_draws))
        share = rng.uniform(size=trees.shape)
        chosen = np.empty(trees.shape, dtype=np.intp)
        for tree, at in enumerate(forest.apply(Z).T):
            first = np.searchsorted(sorted_leaves[:, tree], at, side="left")
            size = np.searchsorted(sorted_leaves[:, tree], at, side="right") - first
            row, place = np.nonzero(trees == tree)
            within = (share[row, place] * size[row]).astype(np.intp)
            chosen[row, place] = order[first[row] + within, tree]
        return y[chosen]

    return draw


# ---------------------------------------------------------------------------- engression
def engression(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """Engression as it comes: 500 epochs of the full batch."""
    from engression import engression as fit

    with _seeded(seed):
        model = fit(_float(X), _float(y), verbose=False)
    return _engression_draw(model)


def engression_validated(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """Engression with rate 1e-3 and its best state on held-out pairs."""
    from engression import engression as fit

    train, held = hold_out(len(y), seed, groups)
    with _seeded(seed):
        model = fit(
            *(_float(X[train]), _float(y[train])),
            x_val=_float(X[held]),
            y_val=_float(y[held]),
            lr=1e-3,
            verbose=False,
        )
    return _engression_draw(model)


def _engression_draw(model: Any) -> Draw:
    def draw(Z: Array, n_draws: int, s: int) -> Array:
        with _seeded(s):
            draws = model.sample(_float(Z), sample_size=n_draws)  # (n, q, n_draws)
        return draws.swapaxes(1, 2).numpy()

    return draw


# ---------------------------------------------------------------------------- zuko
def mixture_density(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """zuko's mixture density network: ten Gaussians, full or diagonal by held-out energy score.

    One output has one kind; beyond FEW_OUTPUTS full ones are slow and (on load curves) worse.
    """
    from zuko.mixtures import GMM

    def make(n_outputs: int, n_features: int, covariance_type: str) -> Any:
        return GMM(
            *(n_outputs, n_features),
            components=10,
            covariance_type=covariance_type,
            hidden_features=(128, 128),
        )

    kinds = ["full", "diagonal"] if 1 < y.shape[1] <= FEW_OUTPUTS else ["diagonal"]
    draws = [
        _fit_density(partial(make, covariance_type=kind), X, y, seed, groups) for kind in kinds
    ]
    held = hold_out(len(y), seed, groups)[1]
    spread = _Scale(y).spread

    def loss(draw: Draw) -> float:
        return float(energy_score(y[held] / spread, draw(X[held], 100, seed) / spread))

    return min(draws, key=loss) if len(draws) > 1 else draws[0]


def spline_flow(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """zuko's neural spline flow: three autoregressive transforms."""
    from zuko.flows import NSF

    def make(n_outputs: int, n_features: int) -> Any:
        return NSF(n_outputs, n_features, transforms=3, hidden_features=(64, 64))

    return _fit_density(make, X, y, seed, groups)


def _fit_density(
    make: Callable[[int, int], Any], X: Array, y: Array, seed: int, groups: Groups
) -> Draw:
    """Maximum likelihood on standardised pairs, with the best state on held-out ones.

    Adam from 1e-3; the rate is halved after LR_PATIENCE checks that were no better.
    """
    scale_x, scale_y = _Scale(X), _Scale(y)
    condition, target = _float(scale_x.forward(X)), _float(scale_y.forward(y))
    train, held = hold_out(len(y), seed, groups)
    with _seeded(seed):
        density = make(y.shape[1], X.shape[1])
        _train_density(density, condition[train], target[train], condition[held], target[held])

    @torch.no_grad()
    def draw(Z: Array, n_draws: int, s: int) -> Array:
        block = max(1, _CHUNK // (n_draws * max(y.shape[1], 8)))
        with _seeded(s):
            parts = [
                density(rows).sample((n_draws,)).swapaxes(0, 1)
                for rows in _float(scale_x.forward(Z)).split(block)
            ]
        return scale_y.back(torch.cat(parts).numpy())

    return draw


def _train_density(density: Any, x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor) -> None:
    optimizer = torch.optim.Adam(density.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=LR_PATIENCE)
    best, state, since = np.inf, deepcopy(density.state_dict()), 0
    for step in range(1, MOST_STEPS + 1):
        rows = torch.randint(len(x), (min(BATCH, len(x)),))
        loss = -density(x[rows]).log_prob(y[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(density.parameters(), 5.0)
        if torch.isfinite(norm):
            optimizer.step()
        if step % CHECK_STEPS:
            continue
        with torch.no_grad():
            held = -density(x_held).log_prob(y_held).mean().item()
        rate.step(held if np.isfinite(held) else 1e9)
        since += 1
        if held < best:
            best, state, since = held, deepcopy(density.state_dict()), 0
        if since >= PATIENCE:
            break
    density.load_state_dict(state)


class _Scale:
    """Mean 0 and spread 1 by column; constant columns are only centred."""

    def __init__(self, table: Array) -> None:
        self.mean, spread = table.mean(axis=0), table.std(axis=0)
        self.spread = np.where(spread > 1e-12, spread, 1.0)

    def forward(self, table: Array) -> Array:
        return (table - self.mean) / self.spread

    def back(self, table: Array) -> Array:
        return table * self.spread + self.mean


def hold_out(n: int, seed: int, groups: Groups = None) -> tuple[Array, Array]:
    """Rows to train on, and rows to choose by: a tenth of the rows, or of the groups."""
    members = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    order = np.random.default_rng(seed).permutation(members.max() + 1)
    count = int(np.ceil(HELD_OUT * len(order)))
    if groups is None:
        return order[count:], order[:count]
    held = np.isin(members, order[:count])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _float(table: Array) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(table), dtype=torch.float32)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """torch's global state set to `seed`, and back as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# ---------------------------------------------------------------------------- treeffuser
def treeffuser(X: Array, y: Array, seed: int, groups: Groups = None) -> Draw:
    """treeffuser as it comes: a diffusion whose score is boosted trees, one model for each output.

    It chooses rows for early stopping by itself, so groups are not looked at. There are fewer draws
    than asked for where they would take longer than MOST_TREES trees, each for one row and draw.
    """
    from treeffuser import Treeffuser

    model = Treeffuser(seed=seed, n_jobs=1).fit(X, y)
    n_trees = sum(model.score_model.n_estimators_true)

    def draw(Z: Array, n_draws: int, s: int) -> Array:
        affordable = max(FEWEST_DRAWS, MOST_TREES // (n_trees * len(Z)))
        return model.sample(Z, min(n_draws, affordable), seed=s).swapaxes(0, 1)

    return draw


# ---------------------------------------------------------------------------- the table of peers
_NEEDS: dict[str, tuple[str | None, Fit]] = {
    "marginal": (None, marginal),
    "least squares + bootstrap": (None, least_squares),
    "kNN(25) resampling": (None, nearest_neighbours),
    "quantile-forest": ("quantile_forest", quantile_forest),
    "engression": ("engression", engression),
    "engression, lr 1e-3": ("engression", engression_validated),
    "zuko mixture density": ("zuko", mixture_density),
    "zuko spline flow": ("zuko", spline_flow),
    "treeffuser": ("treeffuser", treeffuser),
}
_ELSEWHERE = {"treeffuser"}  # packages that need an environment of their own


def available_peers(asked: Sequence[str] | None = None) -> dict[str, Fit]:
    """The peers whose package is installed.

    A line is printed for each package that is missing, of those that `asked` needs (None: all).
    """
    missing = {package for package, _ in _NEEDS.values() if package and not find_spec(package)}
    names = _NEEDS if asked is None else _NEEDS.keys() & set(asked)
    for package in sorted(missing & {_NEEDS[name][0] for name in names}):
        where = "see benchmarks/peers.py" if package in _ELSEWHERE else "pip install .[benchmarks]"
        print(f"{package} is not installed: its rows are left out ({where})")
    return {name: fit for name, (package, fit) in _NEEDS.items() if package not in missing}


def package_of(method: str) -> dict[str, str]:
    """The package of a peer and its version, for the peer's rows; empty for all other methods."""
    package = _NEEDS.get(method, (None,))[0]
    return {"package": f"{package} {version(package)}"} if package else {}


if __name__ == "__main__":
    for peer in available_peers():
        print(peer)

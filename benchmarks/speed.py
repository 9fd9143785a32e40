"""How fast training and drawing are, each beside the same work in a few lines of plain torch.

    python benchmarks/speed.py [--quick] [--part training|drawing|user|skill] [--only sinkhorn]
    python benchmarks/speed.py --part skill --against FOLDER
    python benchmarks/speed.py --device cuda [--part training|drawing|user]

Everything runs on one thread and is measured in CPU time (on CUDA in wall time, with the device
waited for), in rounds in which the two sides take turns; printed are medians, and the median of the
ratios round by round. A ratio below 1 says that sklsdm is the faster one.

Training: a default fit is stopped in its first epoch, and its networks and batches are handed to
the plain loop, with torch's own fused Adam, so that an epoch of 100 steps differs only in the loop,
in Adam's bookkeeping and in the way a loss is computed. A second plain loop, "Adam's defaults",
leaves out `fused`, as most loops by hand do. Both compute the loss as the papers write it: autograd
twice for the slope of a critic, conditions repeated for several draws. For `diffusion`, `flow`,
`transport` and `mdn` they call our own loss, and the ratio is the cost of skorch and of our
callbacks.

Drawing: 100,000 draws by `sample`, beside the generator's and the decoder's forward pass on the
same noise, with units restored, in batches of the same size, into one array, which both sides
share: the time in which the system finds 300 MB of new memory varies more than all the rest.

User: seconds of what users wait for. They have no plain side. On CUDA these are `LSDMRegressor()`
on 250 labelled and 29,750 unlabelled digits, and 10,000 draws from it.

Skill: seconds that a peer takes to fit the arms, and that ours takes to reach its energy skill:
whole fits with more and more steps, the first that gets there counts. With `--against`, which names
a checkout of other code (such as a `git worktree`), also those that either takes to a skill of .88
of the oracle's, and those of a fit by default. "plain" is the peer or the other code.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise, product
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from mnist_matchers import one_hot, split_mnist
from plain_loops import STEPS, reconstruction_step
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms
from sklsdm.matchers import MATCHERS
from sklsdm.nets.base import StopTraining, one_thread

Times = list[tuple[float, ...]]  # of each round, the seconds of every side; ours is the last


def seconds(device: str) -> float:
    """CPU seconds of this process; on CUDA the time on the clock when the device has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Rounds(Callback):
    """At the first epoch of a fit, time plain epochs against whole epochs of the net, and stop.

    The plain sides are a loop with fused Adam and one with Adam's defaults.
    """

    def __init__(self, step: Callable[[Any, Any], None], n_rounds: int) -> None:
        self.step = step
        self.n_rounds = n_rounds
        self.times_: Times = []

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        self.batches_ = X
        self.running_ = False

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.running_:
            return
        self.running_ = True

        ours = {name: getattr(net, name + "_") for name in net._optimizers}

        def plain(optimizers: dict[str, torch.optim.Optimizer]) -> None:
            net.module_.train()
            for name, optimizer in optimizers.items():
                setattr(net, name + "_", optimizer)
            for batch in self.batches_:
                self.step(net, batch)
            for name, optimizer in ours.items():
                setattr(net, name + "_", optimizer)

        sides = [
            partial(plain, {name: torchs_own(each, fused) for name, each in ours.items()})
            for fused in (True, None)
        ]
        sides.append(lambda: net.fit_loop(self.batches_, epochs=1))
        self.times_ = alternate(sides, self.n_rounds, torch.device(net.device).type)
        raise StopTraining

    def __sklearn_clone__(self) -> Rounds:
        return self  # the estimator clones its parts; the times must come back to us


def torchs_own(optimizer: torch.optim.Optimizer, fused: bool | None) -> torch.optim.Optimizer:
    """torch's own Adam or AdamW with the settings of ours."""
    group = dict(optimizer.param_groups[0])
    kind = torch.optim.AdamW if isinstance(optimizer, torch.optim.AdamW) else torch.optim.Adam
    settings = {name: group[name] for name in ("lr", "betas", "weight_decay")}
    return kind(group["params"], fused=fused, **settings)


def alternate(sides: Sequence[Callable[[], Any]], n_rounds: int, device: str) -> Times:
    """Seconds of all sides, in turn; a first round warms up and does not count."""
    times = []
    for _ in range(n_rounds + 1):
        clock = [seconds(device)]
        for side in sides:
            side()
            clock.append(seconds(device))
        times.append(tuple(end - start for start, end in pairwise(clock)))
    return times[1:]


# ------------------------------------------------------------------ training
def stage_one(n_rounds: int, device: str) -> Times:
    """Stage 1 on 18,000 responses of 64 numbers."""
    y = np.random.default_rng(0).normal(size=(20_000, 64)).astype(np.float32)
    rounds = Rounds(reconstruction_step, n_rounds)
    model = LSDMRegressor(13, autoencoder="mlp", random_state=0)
    model.set_params(autoencoder__callbacks=[rounds], matcher__max_steps=1, device=device)
    model.fit(y[:50, :2], y[:50], y[50:])
    return rounds.times_


def stage_two(matcher: str, unpaired: str, n_rounds: int, device: str) -> Times:
    """Stage 2 on the arms: 1,500 pairs or, with "match", 300 pairs and 1,200 responses."""
    arms = make_arms(1500, random_state=1000)
    rounds = Rounds(STEPS[matcher], n_rounds)
    model = LSDMRegressor(matcher=matcher, unpaired=unpaired, condition_encoder="flatten")
    model.set_params(matcher__callbacks=[rounds], random_state=0, device=device)
    if "matcher__n_iter_no_change" in model.get_params():
        model.set_params(matcher__n_iter_no_change=None)  # rounds are epochs, which must not stop
    if matcher == "wgan":
        model.set_params(matcher__start="linear")  # no other training comes first
    if unpaired == "match":
        model.fit(arms.X[:300], arms.y[:300], arms.y[300:])
    else:
        model.fit(arms.X, arms.y)
    return rounds.times_


# ------------------------------------------------------------------ drawing
def few_steps(X: Any, y: Any, **params: Any) -> LSDMRegressor:
    """A fit of hardly any steps: draws cost as much as those of a long one."""
    model = LSDMRegressor(condition_encoder="flatten", unpaired="match", random_state=0, **params)
    model.set_params(matcher__max_steps=2)
    if "autoencoder" in params:
        model.set_params(autoencoder__max_epochs=1)
    return model.fit(X, y)


def image_model(matcher: str, device: str) -> tuple[LSDMRegressor, Any]:
    """Images of 28 x 28 pixels from conditions of five columns, by ten latent dimensions."""
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 5))
    y = (255 * random.uniform(size=(400, 28, 28))).astype(np.uint8)
    return few_steps(X, y, latent_dim=10, matcher=matcher, autoencoder="mlp", device=device), X


def two_output_model(matcher: str, device: str) -> tuple[LSDMRegressor, Any]:
    """The arms: two outputs, one column of conditions."""
    arms = make_arms(400, random_state=0)
    return few_steps(arms.X, arms.y, matcher=matcher, device=device), arms.X


@torch.no_grad()
def bare_pass(model: LSDMRegressor, X: Any, out: np.ndarray) -> None:
    """Fill `out` with draws by the two networks alone, in batches as large as those of `sample`."""
    sampler, device = model._sampler(), model.device_
    mean, scale = (
        torch.as_tensor(part, dtype=torch.float32, device=device)
        for part in (sampler.latent_standardiser.mean, sampler.latent_standardiser.scale)
    )
    form = sampler.form
    y_mean, y_scale = (
        torch.as_tensor(part, device=device).to(torch.from_numpy(np.empty(0, form.dtype)).dtype)
        for part in (form.standardiser.mean, form.standardiser.scale)
    )
    condition = torch.from_numpy(model._encode_X(X)).to(device)
    condition = condition.repeat_interleave(out.shape[1], dim=0)
    random = torch.Generator(device).manual_seed(0)
    onto = torch.from_numpy(out.reshape(len(condition), form.width))
    matcher, batch = sampler.matcher, sampler._chunk()
    for start in range(0, len(condition), batch):
        rows = condition[start : start + batch]
        noise = torch.randn((len(rows), matcher.noise_dim_), generator=random, device=device)
        latent = matcher._draw(matcher.network_, rows, noise) * scale + mean
        values = sampler.autoencoder.decode(latent) * y_scale + y_mean
        onto[start : start + batch] = values.clamp(0, 1) if form.is_bytes else values


def drawing(
    make: Callable[[str, str], Any], matcher: str, n_draws: int, n_rounds: int, device: str
) -> Times:
    """Seconds of the bare pass and of `sample`."""
    model, X = make(matcher, device)
    X = X[:100]
    form = model._response_format_
    out = np.zeros((len(X), n_draws // len(X), *form.shape), form.dtype)
    with one_thread():
        plain = partial(bare_pass, model, X, out)
        ours = partial(model.sample, X, out.shape[1], random_state=0, out=out)
        return alternate([plain, ours], n_rounds, device)


# ------------------------------------------------------------------ what users wait for
def process_seconds(statement: str) -> float:
    """Wall seconds of a fresh process that runs a statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def import_seconds() -> float:
    """Wall seconds of importing sklsdm, less those of its dependencies."""
    base = "import sklearn, torch, skorch"
    return process_seconds(f"{base}, sklsdm") - process_seconds(base)


def small_table() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 10))
    return X, X[:, 0] + 0.5 * random.normal(size=200)


def small_fit() -> float:
    """CPU seconds of ``LSDMRegressor().fit`` on 200 rows and 10 columns."""
    X, y = small_table()
    start = time.process_time()
    LSDMRegressor(random_state=0).fit(X, y)
    return time.process_time() - start


SEARCHED: dict[str, list[Any]] = {"matcher__lr": [1e-3, 2e-3], "matcher__n_critic": [1, 2]}


def grid_speedup() -> float:
    """How many times faster GridSearchCV is with two jobs than with one, in wall time."""
    X, y = small_table()
    model = LSDMRegressor(condition_encoder="flatten", random_state=0)
    seconds = []
    for n_jobs in (1, 2):
        search = GridSearchCV(model, SEARCHED, n_jobs=n_jobs)  # 20 fits, and one more
        start = time.perf_counter()
        search.fit(X, y)
        seconds.append(time.perf_counter() - start)
    return seconds[0] / seconds[1]


USER: dict[str, tuple[str, Callable[[], float], int]] = {
    "import torch": ("wall s", partial(process_seconds, "import torch"), 7),
    "import sklearn": ("wall s", partial(process_seconds, "import sklearn"), 7),
    "import sklsdm": ("wall s", partial(process_seconds, "import sklsdm"), 7),
    "import sklsdm, beyond sklearn, torch and skorch": ("wall s", import_seconds, 7),
    "LSDMRegressor().fit, 200 x 10": ("CPU s", small_fit, 3),
    "GridSearchCV, n_jobs=2 against 1": ("times as fast", grid_speedup, 1),
}


def digits_seconds(device: str) -> tuple[float, float]:
    """Wall seconds of `LSDMRegressor()` on 250 labelled and 29,750 other digits, and of draws."""
    split = split_mnist(0, 25, 29_750, 0)
    conditions = one_hot(split.pair_labels)
    start = time.perf_counter()
    model = LSDMRegressor(random_state=0, device=device)
    model.fit(conditions, split.pairs, split.unlabelled)
    middle = time.perf_counter()
    model.sample(np.eye(10), 1000, random_state=0)
    return middle - start, time.perf_counter() - middle


# ------------------------------------------------------------------ time to equal skill
PEER = "zuko mixture density"


def seconds_to_skill(checkout: Path, seed: int, *peer: str) -> dict[str, Any]:
    """CPU seconds until the code in a checkout has reached a skill; infinity where it does not.

    A process of its own imports the package from the checkout. The skill is .88, or a peer's.
    """
    script = Path(__file__).with_name("equal_skill.py")
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    found = subprocess.run(
        [sys.executable, str(script), str(seed), *peer],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    if Path(result["package"]).parents[1] != checkout.resolve():
        raise SystemExit(f"{result['package']} was imported, not the package in {checkout}")
    return result


def skill_rows(n_rounds: int, against: str | None) -> Any:
    """A peer, and where told the other code, beside ours, in turn on as many data sets."""
    here = Path(__file__).parents[1]
    if find_spec(PEER.split()[0]) is not None:
        beside = [seconds_to_skill(here, seed, PEER) for seed in range(n_rounds)]
        pairs = [(each["peer_seconds"], each["seconds"]) for each in beside]
        yield row_of("skill", f"arms to the skill of {PEER}", pairs, 1)
    if against is None:
        return
    sides = Path(against), here
    both = [[seconds_to_skill(side, seed) for side in sides] for seed in range(n_rounds)]
    commit = subprocess.run(
        ["git", "-C", against, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    for case, key in (("to a skill of .88", "seconds"), ("by default", "default_seconds")):
        pairs = [(other[key], ours[key]) for other, ours in both]
        yield row_of("skill", f"arms {case}, against {commit or against}", pairs, 1)


# ------------------------------------------------------------------ rows
def row_of(part: str, case: str, times: Times, unit: float) -> dict[str, Any]:
    """Medians of all sides, `unit` of them a second, and of the ratios of ours to the others."""
    row: dict[str, Any] = {"part": part, "case": case}
    *others, ours = zip(*times, strict=True)
    for suffix, other in zip(("", "_by_defaults"), others, strict=False):
        row["plain" + suffix] = unit * statistics.median(other)
        row["ratio" + suffix] = statistics.median(b / a for a, b in zip(other, ours, strict=True))
    row["ours"] = unit * statistics.median(ours)
    return row | {"date": time.strftime("%Y-%m-%d"), "rounds": len(times)}


def training_rows(n_rounds: int, device: str, only: str) -> Any:
    first = "stage 1, mlp, 18,000 x 64"
    if only in first:
        yield row_of("training", first, stage_one(n_rounds, device), 1e3)
    for matcher, use in product(MATCHERS, ("latent", "match")):
        case = f"{matcher}, {use}"
        if only in case:
            yield row_of("training", case, stage_two(matcher, use, n_rounds, device), 10)


def drawing_rows(n_rounds: int, n_draws: int, device: str, only: str) -> Any:
    makers = {"28 x 28 images": image_model, "two outputs": two_output_model}
    for name, matcher in product(makers, ("wgan", "diffusion")):
        case = f"{name}, {matcher}"
        if only in case:
            times = drawing(makers[name], matcher, n_draws, n_rounds, device)
            yield row_of("drawing", case, times, 1e6 / n_draws)


def user_rows(n_rounds: int, only: str) -> Any:
    for case, (unit, measure, repeats) in USER.items():
        if only not in case:
            continue
        times = min(n_rounds, repeats)
        value = statistics.median(measure() for _ in range(times))
        yield {"part": "user", "case": case, "ours": value, "unit": unit, "rounds": times} | {
            "date": time.strftime("%Y-%m-%d")
        }


def digits_rows(device: str) -> Any:
    """One fit, the first of its process, which also loads CUDA's libraries."""
    cases = ("LSDMRegressor().fit, 250 of 30,000 digits labelled", "10,000 draws of digits")
    for case, value in zip(cases, digits_seconds(device), strict=True):
        row = {"part": "user", "case": case, "ours": value, "unit": "wall s", "rounds": 1}
        yield row | {"date": time.strftime("%Y-%m-%d")}


UNITS = {
    "training": "ms a step (stage 1: an epoch)",
    "drawing": "µs a draw",
    "skill": "s",
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """A table for each part."""
    device = next((row["device"] for row in rows if "device" in row), None)
    clock = "CPU " if device is None else ""
    if device is not None:
        print(f"On one {device}:\n")
    for part, unit in UNITS.items():
        here = [row for row in rows if row["part"] == part]
        other = "other code" if part == "skill" else "plain torch"
        columns = {other: "plain", "sklsdm": "ours", "ratio": "ratio"}
        if any("plain_by_defaults" in row for row in here):
            columns |= {"Adam's defaults": "plain_by_defaults", "ratio to it": "ratio_by_defaults"}
        cells = [
            [row["case"], *(f"{row[key]:.2f}" if key in row else "" for key in columns.values())]
            for row in here
        ]
        if cells:
            print_table([f"{part}, {clock}{unit}", *columns], cells)
            print()
    here = [row for row in rows if row["part"] == "user"]
    if here:
        cells = [[row["case"], f"{row['ours']:.2f} {row['unit']}"] for row in here]
        print_table(["what users wait for", "median"], cells)


def gpu() -> dict[str, str]:
    """The name of the GPU, for the rows."""
    return {"device": torch.cuda.get_device_name()}


def main() -> None:
    """Time every case, print and save the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="two rounds; nothing is saved")
    parser.add_argument("--part", choices=("training", "drawing", "user", "skill"))
    parser.add_argument("--only", default="", help="cases whose name holds this; not of `skill`")
    parser.add_argument("--against", metavar="FOLDER", help="a checkout of other code")
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else arguments.rounds
    device, n_draws = arguments.device, 10_000 if arguments.quick else 100_000
    only = arguments.only
    parts: dict[str, Callable[[], Any]] = {
        "training": lambda: training_rows(rounds, device, only),
        "drawing": lambda: drawing_rows(rounds, n_draws, device, only),
        "user": lambda: user_rows(rounds, only) if device == "cpu" else digits_rows(device),
        "skill": lambda: skill_rows(min(rounds, 3), arguments.against),
    }
    name, where = ("speed", {}) if device == "cpu" else ("speed_cuda", gpu())
    warnings.simplefilter("ignore")
    rows = kept_rows(name)
    for part, measure in parts.items():
        for row in measure() if arguments.part in (None, part) else ():
            print(row["case"], f"{row.get('ratio', row['ours']):.3f}", flush=True)
            replace_row(rows, row | where, ("part", "case"))
            if not arguments.quick:
                save_results(name, [0], rows)
    summarise(rows)


if __name__ == "__main__":
    main()

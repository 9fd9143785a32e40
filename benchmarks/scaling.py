"""Memory and time of stage 1 as unpaired responses grow from 10,000 to 2,000,000, in files.

    python benchmarks/scaling.py [--quick] [--only draw]

The responses are rows of 784 bytes, drawn by the benchmark from a law of 13 dimensions into a .npy
file in a temporary folder (1.6 GB for the largest, deleted afterwards; TMPDIR chooses the disk).
Each size runs in a process of its own: `LSDMRegressor(13, unpaired="latent")` with 1,000 pairs and
all the others as `Y_unpaired=np.load(path, mmap_mode="r")`; stage 1 takes one epoch in batches of
1,024 and stage 2 twenty steps. Memory is what the process holds beside files and libraries (RssAnon
of /proc/self/status, hence Linux only): the most in `fit`, looked at every 10 ms. Seconds are those
of the whole fit, by the processor and by the clock, on one thread. The goal is memory for the
largest within 400 MiB of that for 10,000.

The last rows set rows a second of an epoch read from the file against one from memory: alternating,
by the processor, medians. The goal is .8. And processor time of a million draws of two numbers, by
`sample` and by `sklsdm.dask.sample` in chunks of 500,000 draws, on this thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, save_results
from image_memory import Peak, held_mib
from numpy.typing import NDArray

import sklsdm
from sklsdm import LSDMRegressor
from sklsdm.autoencoders import MLPAutoencoder
from sklsdm.batches import RowBatches, StreamedBatches
from sklsdm.datasets import make_arms
from sklsdm.inputs.responses import Responses
from sklsdm.inputs.unpaired import check_unpaired
from sklsdm.run import Run

WIDTH, DIM, N_PAIRS = 784, 13, 1000
SIZES = (10_000, 100_000, 2_000_000)
QUICK = (2000, 10_000)
RATE_ROWS, RATE_REPEATS = 60_000, 5
GOAL_MIB, GOAL_RATE = 400, 0.8
_BLOCK = 20_000


def make_rows(n: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Rows (n, 784) of bytes: waves whose 13 amplitudes are random."""
    amplitudes = random.normal(size=(n, DIM)).astype(np.float32)
    place = np.linspace(0, 1, WIDTH, dtype=np.float32)
    waves = np.stack([np.sin(2 * np.pi * (k + 1) * place + k) for k in range(DIM)])
    values = np.tanh(amplitudes @ waves / 3)
    return np.asarray(127.5 + 127.5 * values, dtype=np.uint8)


def write_rows(path: Path, n: int) -> None:
    """A .npy file of n rows, written block by block."""
    random = np.random.default_rng(0)
    file = np.lib.format.open_memmap(path, "w+", dtype=np.uint8, shape=(n, WIDTH))
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        file[start:stop] = make_rows(stop - start, random)
    file.flush()


def fit_case(path: Path) -> dict[str, Any]:
    """Memory and seconds of one fit to the rows of a file."""
    unpaired = np.load(path, mmap_mode="r")
    y = make_rows(N_PAIRS, np.random.default_rng(1))
    x = y[:, ::56].astype(np.float32)
    model = LSDMRegressor(DIM, unpaired="latent", condition_encoder="flatten", random_state=0)
    model.set_params(autoencoder="mlp", matcher__max_steps=20)
    model.set_params(autoencoder__max_epochs=1, autoencoder__batch_size=1024)
    before, clock, processor = held_mib(), time.perf_counter(), time.process_time()
    with Peak() as peak:
        model.fit(x, y, unpaired)
    return {
        "rows": len(unpaired),
        "file_mib": unpaired.nbytes / 2**20,
        "before_mib": before,
        "fit_mib": peak.mib,
        "processor_s": time.process_time() - processor,
        "clock_s": time.perf_counter() - clock,
    }


def seconds_of_an_epoch(batches: Any, coder: Any) -> float:
    """Processor seconds of training steps on all batches, as stage 1 makes them."""
    optimizer = torch.optim.AdamW(coder.parameters(), fused=True)
    start = time.process_time()
    for (rows,) in batches:
        optimizer.zero_grad()
        (coder(rows) - rows).square().mean().backward()
        optimizer.step()
    return time.process_time() - start


def rate_case(path: Path) -> dict[str, Any]:
    """Rows a second of an epoch, read from the file and from memory."""
    unpaired = np.load(path, mmap_mode="r")[:RATE_ROWS]
    y = make_rows(N_PAIRS, np.random.default_rng(1))
    responses = Responses(y, check_unpaired(unpaired, y))
    part, run = MLPAutoencoder(), Run(torch.device("cpu"), 0)
    coder = part._module(responses.format, DIM, run.weights(0))
    rows, random = np.arange(len(responses)), run.stream(1)
    streamed = StreamedBatches(responses, rows, part.batch_size, random, run.device)
    resident = RowBatches(responses.take(rows), part.batch_size, random)
    seconds: dict[str, list[float]] = {"file": [], "memory": []}
    for _ in range(RATE_REPEATS):
        seconds["file"].append(seconds_of_an_epoch(streamed, coder))
        seconds["memory"].append(seconds_of_an_epoch(resident, coder))
    rates = {kind: len(rows) / float(np.median(each)) for kind, each in seconds.items()}
    return {"rows": len(rows), "file_rate": rates["file"], "memory_rate": rates["memory"]}


def draw_case(path: Path) -> dict[str, Any]:
    """Processor seconds of draws, plain and through Dask; no file is read."""
    import dask.array as da

    arms = make_arms(200, random_state=0)
    model = LSDMRegressor(matcher="energy", condition_encoder="flatten", random_state=0)
    model.set_params(matcher__max_steps=20).fit(arms.X, arms.y)
    x = np.tile(arms.X, (1000, 1))
    lazy = sklsdm.dask.sample(model, da.from_array(x, chunks=(100_000, 2)), 5, random_state=0)
    ways: dict[str, Callable[[], Any]] = {
        "plain": lambda: model.sample(x, 5, random_state=0),
        "dask": lambda: lazy.compute(scheduler="synchronous"),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(RATE_REPEATS):
        for way, draw in ways.items():
            start = time.process_time()
            draw()
            seconds[way].append(time.process_time() - start)
    medians = {f"{way}_s": float(np.median(each)) for way, each in seconds.items()}
    return {"draws": 5 * len(x)} | medians


PARTS = {
    "fit": (fit_case, "fit_mib"),
    "rate": (rate_case, "file_rate"),
    "draw": (draw_case, "draws"),
}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Print the tables."""
    fits = [row for row in rows if "fit_mib" in row]
    if fits:
        _summarise_fits(fits)
    for row in rows:
        if "file_rate" in row:
            share = row["file_rate"] / row["memory_rate"]
            print(
                f"\nrows a second of an epoch over {row['rows']:,}: {row['file_rate']:,.0f} from "
                f"the file, {row['memory_rate']:,.0f} from memory: {share:.2f} (goal: {GOAL_RATE})"
            )
        if "draws" in row:
            print(
                f"\n{row['draws']:,} draws: {row['plain_s']:.2f} s by sample, "
                f"{row['dask_s']:.2f} s by sklsdm.dask.sample"
            )


def _summarise_fits(fits: list[dict[str, Any]]) -> None:
    columns = ("rows", "file_mib", "before_mib", "fit_mib", "processor_s", "clock_s")
    heads = ("rows", "file MiB", "before MiB", "fit MiB", "processor s", "clock s")
    table = [[f"{row[name]:,.0f}" for name in columns] for row in fits]
    slopes = [f"{1e6 * row['processor_s'] / row['rows']:.0f}" for row in fits]
    print_table([*heads, "µs a row"], [[*r, s] for r, s in zip(table, slopes, strict=True)])
    more = fits[-1]["fit_mib"] - fits[0]["fit_mib"]
    print(f"\nmore memory for the largest: {more:.0f} MiB (goal: at most {GOAL_MIB})")


def main() -> None:
    """Run the sizes, each in a process of its own, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2,000 and 10,000 rows; not saved")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)  # what this process runs
    given = parser.parse_args()
    if given.inside:
        torch.set_num_threads(1)
        part, path = given.inside
        print(json.dumps(PARTS[part][0](Path(path))))
        return
    sizes = QUICK if given.quick else SIZES
    if "fit" not in given.only:
        sizes = (RATE_ROWS,)
    renewed = {PARTS[part][1] for part in given.only}
    rows = [] if given.quick else [r for r in kept_rows("scaling") if not renewed & set(r)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "unpaired.npy"
        for n in sizes:
            write_rows(path, n)
            if "fit" in given.only:
                rows.append(run_inside("fit", path))
        rows += [run_inside(part, path) for part in given.only if part != "fit"]
    summarise(rows)
    if not given.quick:
        save_results("scaling", [0], rows)


def run_inside(part: str, path: Path) -> dict[str, Any]:
    """What one part finds, in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "--inside", part, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()

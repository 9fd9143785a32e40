"""Many fits and draws in one process, one after another and in eight threads: is anything left?

    python benchmarks/soak.py [--quick]

Each part makes 200 fits and 2,000 calls of `sample`, by every matcher in turn with a few steps
each; every tenth call of `sample` comes after a fit. In the second part eight threads share the
work. Some fits have a checkpoint folder, some raise an error in a callback. Ten times in each part
it is looked at what the process holds: memory beside files and libraries (RssAnon of
/proc/self/status, hence Linux only) after a garbage collection, threads of Python and of the
system, open files, child processes, and files left in the checkpoint folder. The first tenth
fills caches; memory is flat if the rest of the part grows by less than 16 MiB, and nothing else
may grow at all. Every draw is compared with the first one of an equal fit, bit by bit.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, save_results
from image_memory import held_mib
from numpy.typing import NDArray
from skorch.callbacks import Callback

from sklsdm import LSDMRegressor
from sklsdm.matchers import MATCHERS

N_FITS, N_DRAWS_A_FIT, N_LOOKS, N_THREADS = 200, 10, 10, 8
QUICK = 24, 3  # fits and looks
MOST_GROWTH_MIB = 16
MAX_STEPS = 20
COLUMNS = ("fits", "draws", "held MiB", "threads", "tasks", "files", "children", "left files", "s")


class Fails(Callback):
    """A user's callback that raises an error."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError


class Soak:
    """The fits and draws of one part, and what they left."""

    def __init__(self, folder: Path) -> None:
        random = np.random.default_rng(0)
        self.X, self.y = random.normal(size=(100, 3)), random.normal(size=(100, 4))
        self.more = random.normal(size=(300, 4))
        self.folder = folder
        self.first: dict[str, NDArray[Any]] = {}
        self.n_failed, self.n_drawn, self.n_unequal = 0, 0, 0
        self._lock = threading.Lock()

    def one_fit(self, number: int) -> None:
        """A fit, its draws, and now and then a fit that fails."""
        matcher = list(MATCHERS)[number % len(MATCHERS)]
        est = LSDMRegressor(
            matcher=matcher, condition_encoder="flatten", unpaired="match", random_state=0
        ).set_params(matcher__max_steps=MAX_STEPS)
        if number % 5 == 0:
            est.set_params(checkpoint=self.folder / str(number))
        est.fit(self.X, self.y, self.more)
        for _ in range(N_DRAWS_A_FIT):
            self._compare(matcher, est.sample(self.X, 5, random_state=0))
        if number % 10 == 0:
            est.set_params(matcher__callbacks=[Fails()], checkpoint=None)
            try:
                est.fit(self.X, self.y, self.more)
            except ZeroDivisionError:
                with self._lock:
                    self.n_failed += 1
            self._compare(matcher, est.sample(self.X, 5, random_state=0), counted=False)

    def _compare(self, matcher: str, draws: NDArray[Any], counted: bool = True) -> None:
        with self._lock:
            first = self.first.setdefault(matcher, draws)
            self.n_drawn += counted
            self.n_unequal += not np.array_equal(first, draws)

    def look(self, n_fits: int, start: float) -> dict[str, float]:
        """What the process holds now."""
        gc.collect()
        return {
            "fits": n_fits,
            "draws": self.n_drawn,
            "held MiB": held_mib(),
            "threads": threading.active_count(),
            "tasks": len(os.listdir("/proc/self/task")),
            "files": len(os.listdir("/proc/self/fd")),
            "children": sum(
                len(Path(f"/proc/self/task/{task}/children").read_text().split())
                for task in os.listdir("/proc/self/task")
            ),
            "left files": sum(path.is_file() for path in self.folder.rglob("*")),
            "s": time.perf_counter() - start,
        }


def one_after_another(work: Callable[[int], None], numbers: range) -> None:
    """All the work in this thread."""
    for number in numbers:
        work(number)


def in_threads(work: Callable[[int], None], numbers: range) -> None:
    """All the work, shared among eight threads that then end."""
    with ThreadPoolExecutor(N_THREADS) as threads:
        list(threads.map(work, numbers))


def run_part(
    run: Callable[[Callable[[int], None], range], None], n_fits: int, n_looks: int
) -> tuple[Soak, list[dict[str, float]]]:
    """Make the fits of one part; returns what was looked at on the way."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few steps learn nothing
        soak, start = Soak(Path(folder)), time.perf_counter()
        edges = np.linspace(0, n_fits, n_looks + 1).astype(int).tolist()
        looks = []
        for first, last in itertools.pairwise(edges):
            run(soak.one_fit, range(first, last))
            looks.append(soak.look(last, start))
    return soak, looks


def growth(looks: list[dict[str, float]]) -> dict[str, float]:
    """By how much everything grew from the first look to the last."""
    names = ("held MiB", "threads", "tasks", "files", "children", "left files")
    return {name: looks[-1][name] - looks[0][name] for name in names}


def summarise(rows: list[dict[str, Any]]) -> None:
    """A table of the looks of each part, and what grew."""
    for part in rows:
        print(
            f"{part['part']}: {part['fits']} fits, {part['failed']} that failed on purpose, "
            f"{part['draws']} calls of `sample`, {part['unequal']} of them other than the first "
            f"of an equal fit; memory grew by {part['growth']['held MiB']:.1f} MiB, "
            f"{'nothing else' if not part['leaks'] else ', '.join(part['leaks'])} grew.\n"
        )
        looks = [[f"{look[name]:.0f}" for name in COLUMNS] for look in part["looks"]]
        print_table(COLUMNS, looks)
        print()


def soak(n_fits: int, n_looks: int) -> list[dict[str, Any]]:
    """Both parts: one after another, and in eight threads."""
    rows = []
    for title, run in (("One after another", one_after_another), ("Eight threads", in_threads)):
        done, looks = run_part(run, n_fits, n_looks)
        grown = growth(looks)
        rows.append(
            {
                "part": title,
                "fits": n_fits,
                "failed": done.n_failed,
                "draws": done.n_drawn,
                "unequal": done.n_unequal,
                "growth": grown,
                "leaks": [name for name in grown if name != "held MiB" and grown[name] > 0],
                "looks": looks,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="24 fits a part; writes nothing")
    quick = parser.parse_args().quick
    rows = soak(*(QUICK if quick else (N_FITS, N_LOOKS)))
    summarise(rows)
    if not quick:
        print(save_results("soak", [0], rows))
    if any(row["leaks"] or row["growth"]["held MiB"] > MOST_GROWTH_MIB for row in rows):
        raise SystemExit("Something grew.")
    if any(row["unequal"] for row in rows):
        raise SystemExit("Draws differ.")


if __name__ == "__main__":
    main()

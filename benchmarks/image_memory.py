"""Memory and seconds of a fit to many images: 30,000 of 3 x 32 x 32 pixels, 3,000 of 3 x 64 x 64.

    python benchmarks/image_memory.py [--quick] [--only 3000x64]

Each case runs in a process of its own: `LSDMRegressor()` with 1,000 pairs by class and all other
images unpaired, then 3,000 draws. Stage 1 takes one epoch in place of at most eight, and stage 2
fifty steps in place of at most 1,500, which shows the memory and neither the quality nor the
seconds of a whole fit. The images are smooth random ones, as bytes. Memory is what the process
holds beside files and libraries (RssAnon of /proc/self/status, hence Linux only), looked at every
10 ms: "before" with the packages imported and the images made, then the most in `fit` and in
`sample`. The goal is 2,048 MiB for the first case. Seconds are the processor's, on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import print_table
from numpy.typing import NDArray

from sklsdm import LSDMRegressor

CASES = {"30000x32": (30_000, 32), "3000x64": (3000, 64)}
QUICK = {"600x16": (600, 16)}
N_PAIRS, N_DRAWS, N_CLASSES = 1000, 3000, 3
GOAL_MIB = 2048
_BLOCK = 1000
COLUMNS = {
    "images": ("images MiB", "{:.0f}"),
    "before": ("before MiB", "{:.0f}"),
    "fit": ("fit MiB", "{:.0f}"),
    "sample": ("sample MiB", "{:.0f}"),
    "fit_s": ("fit s", "{:.0f}"),
    "sample_s": ("sample s", "{:.1f}"),
}


def held_mib() -> float:
    """What this process holds in memory that belongs to no file, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("/proc/self/status has no RssAnon; this benchmark needs Linux.")


class Peak:
    """Watches `held_mib` in a thread while the block runs; then `mib` is the most it was."""

    def __enter__(self) -> Peak:
        self.mib = held_mib()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._ended.set()
        self._thread.join()
        self.mib = max(self.mib, held_mib())

    def _watch(self) -> None:
        while not self._ended.wait(0.01):
            self.mib = max(self.mib, held_mib())


def make_images(n: int, side: int, labels: NDArray[Any]) -> NDArray[np.uint8]:
    """Smooth random images (n, 3, side, side); each class is brighter in a channel of its own."""
    random = torch.Generator().manual_seed(0)
    images = np.empty((n, 3, side, side), dtype=np.uint8)
    for start in range(0, n, _BLOCK):
        block = slice(start, start + _BLOCK)
        coarse = 0.6 * torch.rand((len(images[block]), 3, 4, 4), generator=random)
        coarse[np.arange(len(coarse)), labels[block]] += 0.4
        smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
        images[block] = (255 * smooth).to(torch.uint8).numpy()
    return images


def run_case(n: int, side: int) -> dict[str, float]:
    """Memory and seconds of one case."""
    labels = np.random.default_rng(0).integers(N_CLASSES, size=n)
    images = make_images(n, side, labels)
    pairs = min(N_PAIRS, n // 2)
    model = LSDMRegressor(random_state=0)
    model.set_params(autoencoder__max_epochs=1, matcher__max_steps=50)
    found = {"images": images.nbytes / 2**20, "before": held_mib()}
    start = time.process_time()
    with Peak() as peak:
        model.fit(np.eye(N_CLASSES)[labels[:pairs]], images[:pairs], images[pairs:])
    found |= {"fit": peak.mib, "fit_s": time.process_time() - start}
    asked = np.eye(N_CLASSES)[np.arange(N_DRAWS) % N_CLASSES]
    start = time.process_time()
    with Peak() as peak:
        model.sample(asked, random_state=0)
    return found | {"sample": peak.mib, "sample_s": time.process_time() - start}


def main() -> None:
    """Run the cases, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="600 images of 16 x 16 pixels")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # the case that this process runs
    given = parser.parse_args()
    if given.inside:
        torch.set_num_threads(1)
        print(json.dumps(run_case(*(CASES | QUICK)[given.inside])))
        return
    table = []
    for name in QUICK if given.quick else given.only:
        command = [sys.executable, "-W", "ignore", __file__, "--inside", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
        n, side = (CASES | QUICK)[name]
        cells = [form.format(found[key]) for key, (_, form) in COLUMNS.items()]
        table.append([f"{n:,} of 3 x {side} x {side}", *cells])
    print_table(["images", *(title for title, _ in COLUMNS.values())], table)
    print(f"\ngoal for 30,000 of 3 x 32 x 32: at most {GOAL_MIB:,} MiB")


if __name__ == "__main__":
    main()

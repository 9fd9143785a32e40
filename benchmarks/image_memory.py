"""Memory and seconds of a fit to many images: 30,000 of 3 x 32 x 32 pixels, 3,000 of 3 x 64 x 64.

    python benchmarks/image_memory.py [--quick] [--only 3000x64]
    python benchmarks/image_memory.py --whole [--quick] [--picture draws.png]

Each case runs in a process of its own: `LSDMRegressor()` with 1,000 pairs by class and all other
images unpaired, then 3,000 draws. Stage 1 takes one epoch in place of at most eight, and stage 2
fifty steps in place of at most 1,500, which shows the memory and neither the quality nor the
seconds of a whole fit. The images are smooth random ones, as bytes. Memory is what the process
holds beside files and libraries (RssAnon of /proc/self/status, hence Linux only), looked at every
10 ms: "before" with the packages imported and the images made, then the most in `fit` and in
`sample`. The goal is 2,048 MiB for the first case. Seconds are the processor's, on one thread.

With `--whole` it is a whole fit to 3,000 images of 3 x 64 x 64 pixels, 300 of which are paired,
and 1,000 draws. Four numbers tell whether these are sensible: the share of draws that are brightest
in the channel of their class, their mean and standard deviation over those of the images, and the
share of their variance that the law of the images excludes, which interpolates 4 x 4 values.
`--picture` draws a row of images and two of draws for each class.
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
WHOLE = {"3000x64": (3000, 64)}
N_PAIRS, N_DRAWS, N_CLASSES = 1000, 3000, 3
N_PAIRS_WHOLE, N_DRAWS_WHOLE = 300, 1000
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
COLUMNS_OF_DRAWS = {
    "of_class": ("of their class", "{:.3f}"),
    "mean": ("mean", "{:.2f}"),
    "std": ("std", "{:.2f}"),
    "excluded": ("excluded", "{:.3f}"),
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


def run_case(n: int, side: int, whole: bool, picture: str | None) -> dict[str, float]:
    """Memory and seconds of one case, and of a whole fit what its draws are like."""
    labels = np.random.default_rng(0).integers(N_CLASSES, size=n)
    images = make_images(n, side, labels)
    pairs = min(N_PAIRS_WHOLE if whole else N_PAIRS, n // 2)
    model = LSDMRegressor(random_state=0)
    if not whole:
        model.set_params(autoencoder__max_epochs=1, matcher__max_steps=50)
    found = {"images": images.nbytes / 2**20, "before": held_mib()}
    start = time.process_time()
    with Peak() as peak:
        model.fit(np.eye(N_CLASSES)[labels[:pairs]], images[:pairs], images[pairs:])
    found |= {"fit": peak.mib, "fit_s": time.process_time() - start}
    asked = np.arange(N_DRAWS_WHOLE if whole else N_DRAWS) % N_CLASSES
    start = time.process_time()
    with Peak() as peak:
        draws = model.sample(np.eye(N_CLASSES)[asked], random_state=0)[:, 0]
    found |= {"sample": peak.mib, "sample_s": time.process_time() - start}
    if picture is not None:
        draw_picture(picture, images[:60] / 255, labels[:60], draws[:60], asked[:60])
    return found | (compare(draws, asked, images) if whole else {})


def compare(
    draws: NDArray[Any], asked: NDArray[np.intp], images: NDArray[np.uint8]
) -> dict[str, float]:
    """What draws (m, 3, side, side) for the classes asked for (m,) are like beside the images."""
    real = images[: len(draws)] / 255
    coarse = torch.eye(16, dtype=torch.float64).reshape(16, 1, 4, 4)
    smooth = torch.nn.functional.interpolate(coarse, size=draws.shape[2:], mode="bilinear")
    basis = np.linalg.qr(smooth.reshape(16, -1).T.numpy())[0]
    rows = draws.reshape(len(draws), 3, -1).astype(float)
    beyond = rows - rows @ basis @ basis.T
    return {
        "of_class": float((rows.mean(axis=2).argmax(axis=1) == asked).mean()),
        "mean": float(draws.mean() / real.mean()),
        "std": float(draws.std() / real.std()),
        "excluded": float(np.square(beyond).mean() / draws.var()),
    }


def draw_picture(
    path: str,
    images: NDArray[Any],
    labels: NDArray[np.intp],
    draws: NDArray[Any],
    asked: NDArray[np.intp],
) -> None:
    """A row of ten images and two rows of ten draws for each class, as a PNG."""
    import matplotlib.image

    rows = []
    for label in range(N_CLASSES):
        of_draws = draws[asked == label]
        rows += [images[labels == label][:10], of_draws[:10], of_draws[10:20]]
    lines = [np.concatenate(list(row.transpose(0, 2, 3, 1)), axis=1) for row in rows]
    matplotlib.image.imsave(path, np.clip(np.concatenate(lines), 0, 1))


def main() -> None:
    """Run the cases, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="600 images of 16 x 16 pixels")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--whole", action="store_true", help="a whole fit, of 64 x 64 pixels")
    parser.add_argument("--picture", help="a PNG to write, of draws of a whole fit")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # the case that this process runs
    given = parser.parse_args()
    if given.picture and not given.whole:
        parser.error("--picture shows draws of whole fits: pass --whole, too")
    if given.inside:
        torch.set_num_threads(1)
        case = (CASES | QUICK)[given.inside]
        print(json.dumps(run_case(*case, whole=given.whole, picture=given.picture)))
        return
    columns = COLUMNS | (COLUMNS_OF_DRAWS if given.whole else {})
    options = ["--whole"] * given.whole
    options += ["--picture", given.picture] if given.picture else []
    table = []
    for name in QUICK if given.quick else WHOLE if given.whole else given.only:
        command = [sys.executable, "-W", "ignore", __file__, "--inside", name, *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout)
        n, side = (CASES | QUICK)[name]
        cells = [form.format(found[key]) for key, (_, form) in columns.items()]
        table.append([f"{n:,} of 3 x {side} x {side}", *cells])
    print_table(["images", *(title for title, _ in columns.values())], table)
    print(f"\ngoal for 30,000 of 3 x 32 x 32: at most {GOAL_MIB:,} MiB")


if __name__ == "__main__":
    main()

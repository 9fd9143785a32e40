"""Super-resolution of clothing, 7 x 7 to 28 x 28 pixels: is a draw real, and does it fit its input?

    python benchmarks/super_resolution.py [--quick] [--seeds 0 1 2] [--only ours] [--cache DIR]

Fashion-MNIST, 2,000 pairs and 58,000 unpaired images; the input is an image's 4 x 4 block means,
and each of the 10,000 test inputs gets one draw. FD: Frechet distance of the draws to the test
images in the features of a classifier (judge.py --data fashion). Consistency: root mean square of
the draw's block means minus the input. Diversity: standard deviation by pixel of 20 draws for each
of 1,000 inputs, and CRPS of those. "real" are the 58,000 images and "reconstruction" the test
images through the autoencoder, the floor of what it can draw. "ours" is `flow` in 32 numbers,
chosen on training images, and "pairs only" the same without the unpaired images. "default" is
`LSDMRegressor(y_range=(0, 1))`, "codes as images" the same with `diffusion`. "ridge" is the mean of
ridge regression, "nearest pair" the image of the pair with the nearest input (20 draws: of the 20
nearest). Seconds are the processor's, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import kept_rows, print_table, replace_row, save_results
from judge import Bench, frechet_distance, load_bench
from numpy.typing import NDArray
from scipy.ndimage import zoom
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import NearestNeighbors

from sklsdm import LSDMRegressor
from sklsdm.datasets import fetch_fashion_mnist
from sklsdm.metrics import crps

Array = NDArray[Any]
# Of inputs (n, h, w) or (n, c, h, w) and a count m: draws (n, m, 4h, 4w) or (n, m, c, 4h, 4w).
Draw = Callable[[Array, int], Array]

N_PAIRS, N_SCORED, N_DRAWS, LATENT_DIM = 2000, 1000, 20, 32
QUICK_UNPAIRED, QUICK_TEST, QUICK_SCORED = 8000, 2000, 200
METHODS = ("bicubic", "ridge", "nearest pair", "pairs only", "ours", "codes as images", "default")
COLUMNS = {
    "fd": ("FD", "{:.1f}"),
    "consistency": ("consistency", "{:.4f}"),
    "diversity": ("diversity", "{:.4f}"),
    "crps": ("CRPS", "{:.4f}"),
    "fit_s": ("fit s", "{:.0f}"),
    "draw_s": ("draw s", "{:.1f}"),
}


def reduce_images(images: Array) -> Array:
    """Means of 4 x 4 blocks: (..., 4h, 4w) to (..., h, w)."""
    height, width = (side // 4 for side in images.shape[-2:])
    return images.reshape(*images.shape[:-2], height, 4, width, 4).mean(axis=(-3, -1))


def with_channels(low: Array) -> Array:
    """Inputs as conditions (n, c, h, w)."""
    return low if low.ndim == 4 else low[:, None]


def bicubic(low: Array, n_draws: int) -> Array:
    """Cubic splines through the input's pixels, the same for each draw."""
    factors = (*[1] * (low.ndim - 2), 4, 4)
    image = zoom(low, factors, order=3, mode="nearest", grid_mode=True).clip(0, 1)
    return np.repeat(image[:, None], n_draws, axis=1)


def fit_ridge(pairs: Array) -> Draw:
    """The mean of ridge regression, its penalty by cross-validation."""
    x, y = reduce_images(pairs).reshape(len(pairs), -1), pairs.reshape(len(pairs), -1)
    line = RidgeCV(np.logspace(-3, 3, 7)).fit(x, y)

    def draw(low: Array, n_draws: int) -> Array:
        image = line.predict(low.reshape(len(low), -1)).clip(0, 1).reshape(-1, 1, 28, 28)
        return np.repeat(image, n_draws, axis=1)

    return draw


def fit_nearest(pairs: Array) -> Draw:
    """The images of the nearest pairs, the nearest first."""
    index = NearestNeighbors().fit(reduce_images(pairs).reshape(len(pairs), -1))

    def draw(low: Array, n_draws: int) -> Array:
        rows = index.kneighbors(low.reshape(len(low), -1), n_draws, return_distance=False)
        return pairs[rows]

    return draw


def fit_ours(
    pairs: Array, unpaired: Array | None, seed: int, quick: bool, latent_dim: int = LATENT_DIM
) -> Any:
    """`flow` in a few numbers; of images, 32 score well and 64 show plaid on plain cloth."""
    model = LSDMRegressor(
        *(latent_dim, "flow"),
        autoencoder="conv",
        condition_encoder="conv",
        unpaired="latent",
        y_range=(0, 1),
        random_state=seed,
    )
    model.set_params(
        autoencoder__max_epochs=2 if quick else 4, matcher__max_steps=300 if quick else 3000
    )
    return model.fit(with_channels(reduce_images(pairs)), pairs, unpaired)


def fit_code_images(
    pairs: Array, unpaired: Array | None, seed: int, quick: bool, matcher: str = "diffusion"
) -> Any:
    """A matcher of codes that are images, by default but for the range of the pixels."""
    model = LSDMRegressor(matcher=matcher, y_range=(0, 1), random_state=seed)
    if quick:
        model.set_params(autoencoder__max_epochs=1, matcher__max_steps=200)
    return model.fit(with_channels(reduce_images(pairs)), pairs, unpaired)


def sampler(model: LSDMRegressor) -> Draw:
    """Draws of a fitted estimator, always with the same noise."""
    return lambda low, n_draws: model.sample(with_channels(low), n_draws, random_state=0)


def measure(draw: Draw, truth: Array, bench: Bench, n_scored: int) -> dict[str, float]:
    """All columns of one method, with the seconds that one draw for each input took."""
    low = reduce_images(truth)
    start = time.process_time()
    images = draw(low, 1)[:, 0]
    seconds = time.process_time() - start
    some = draw(low[:n_scored], N_DRAWS)
    missed = reduce_images(images) - low
    return {
        "fd": frechet_distance(bench.judge.features(images), bench.features),
        "consistency": float(np.sqrt(np.square(missed).mean())),
        "absolute": float(np.abs(missed).mean()),
        "diversity": float(some.std(axis=1).mean()),
        "crps": float(crps(truth[:n_scored], some, fair=bool(some.std(axis=1).any()))),
        "draw_s": seconds,
    }


def run_seed(
    seed: int, only: list[str], bench: Bench, truth: Array, quick: bool
) -> Iterator[dict[str, Any]]:
    """All rows of one seed, as they come."""
    images = fetch_fashion_mnist()[0] / np.float32(255)
    images = images[np.random.default_rng(seed).permutation(len(images))]
    pairs, unpaired = images[:N_PAIRS], images[N_PAIRS:][: QUICK_UNPAIRED if quick else None]
    n_scored = QUICK_SCORED if quick else N_SCORED
    yield {"method": "real", "fd": frechet_distance(bench.judge.features(unpaired), bench.features)}
    for name in only:
        start = time.process_time()
        model = None
        draw: Draw
        if name in ("pairs only", "ours"):
            model = fit_ours(pairs, unpaired if name == "ours" else None, seed, quick)
            draw = sampler(model)
        elif name in ("codes as images", "default"):
            matcher = "wgan" if name == "default" else "diffusion"
            model = fit_code_images(pairs, unpaired, seed, quick, matcher)
            draw = sampler(model)
        else:
            fits = {"ridge": fit_ridge, "nearest pair": fit_nearest}
            draw = fits[name](pairs) if name in fits else bicubic
        seconds = time.process_time() - start
        yield {"method": name, "fit_s": seconds} | measure(draw, truth, bench, n_scored)
        if name in ("ours", "codes as images"):
            again = model.reconstruct(truth)
            floor = frechet_distance(bench.judge.features(again), bench.features)
            error = float(np.sqrt(np.square(reduce_images(again) - reduce_images(truth)).mean()))
            of = "" if name == "ours" else f", {name}"
            yield {"method": f"reconstruction{of}", "fd": floor, "consistency": error}


def summarise(rows: list[dict[str, Any]]) -> None:
    """Means over seeds and their standard deviation."""
    table = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        cells = []
        for name, (_, form) in COLUMNS.items():
            values = [row[name] for row in mine if name in row]
            spread = len(values) > 1 and not name.endswith("_s")
            text = form.format(np.mean(values)) if values else ""
            cells.append(f"{text} ± {form.format(np.std(values))}" if spread else text)
        table.append([method, str(len(mine)), *cells])
    print_table(["method", "seeds", *(title for title, _ in COLUMNS.values())], table)


def main() -> None:
    """Run the methods asked for, keep the JSON, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer images, short fits, no JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--cache", type=Path, help="folder for the trained judge")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    bench = load_bench(0, arguments.cache, quick, "fashion")
    print(f"judge: accuracy {bench.accuracy:.4f} on {len(bench.labels):,} test images", flush=True)
    truth = fetch_fashion_mnist("test")[0][: QUICK_TEST if quick else None] / np.float32(255)
    kept = [] if quick else kept_rows("super_resolution")
    for seed in arguments.seeds:
        for row in run_seed(seed, arguments.only, bench, truth, quick):
            row = {"seed": seed} | row | {"date": time.strftime("%Y-%m-%d")}
            shown = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            print(*shown.values(), flush=True)
            replace_row(kept, row, ("method", "seed"))
            if not quick:
                save_results("super_resolution", sorted({row["seed"] for row in kept}), kept)
    summarise(kept)


if __name__ == "__main__":
    main()

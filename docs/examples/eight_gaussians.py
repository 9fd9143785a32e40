"""Eight Gaussians without conditions: latent space optimal transport, its map drawn as arrows.

    python docs/examples/eight_gaussians.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from sklsdm import LSDMGenerator
from sklsdm.datasets import make_eight_gaussians

CENTRES = 2 * np.column_stack(
    [np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)]
)
SPREAD = 0.1


def judge(draws: np.ndarray) -> tuple[np.ndarray, float]:
    """Share of the draws by mode, and share within 3√2 standard deviations of a mode."""
    distance = np.linalg.norm(draws[:, None] - CENTRES, axis=-1)
    shares = np.bincount(distance.argmin(axis=1), minlength=8) / len(draws)
    return shares, float((distance.min(axis=1) <= 3 * np.sqrt(2) * SPREAD).mean())


def draw_picture(path: Path, data: np.ndarray, draws: np.ndarray) -> None:
    """The data, and the draws."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), sharex=True, sharey=True)
    for axis, points, title in zip(axes, (data, draws), ("data", "draws"), strict=True):
        axis.scatter(*points[:2000].T, s=3, alpha=0.4, linewidths=0)
        axis.set_title(title)
        axis.set_aspect("equal")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Fit, print the shares, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matcher", default="transport")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("eight_gaussians.png"))
    arguments = parser.parse_args()
    data = make_eight_gaussians(2000, random_state=arguments.seed).y
    model = LSDMGenerator(matcher=arguments.matcher, random_state=arguments.seed).fit(data)
    draws = model.sample(10_000, random_state=0)
    shares, near = judge(draws)
    print("share of the draws by mode (12.5 % each):", np.round(100 * shares, 1))
    print(f"within 3√2 standard deviations of a mode: {100 * near:.1f} %")
    draw_picture(arguments.out, data, draws)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

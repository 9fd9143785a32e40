"""Eight Gaussians without conditions: latent space optimal transport, its map drawn as arrows.

python docs/examples/eight_gaussians.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from sklsdm import LSDMGenerator
from sklsdm.datasets import make_eight_gaussians

CENTRES = 2 * np.column_stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)])
SPREAD = 0.1


def judge(draws: np.ndarray) -> tuple[np.ndarray, float]:
    """Share of the draws by mode, and share within 3√2 standard deviations of a mode."""
    distance = np.linalg.norm(draws[:, None] - CENTRES, axis=-1)
    shares = np.bincount(distance.argmin(axis=1), minlength=8) / len(draws)
    return shares, float((distance.min(axis=1) <= 3 * np.sqrt(2) * SPREAD).mean())


def transport_arrows(model: LSDMGenerator, data: np.ndarray, n: int) -> tuple[np.ndarray, ...]:
    """Gaussian starts (n, 2) and where the generator carries them, in the space of the data."""
    noise = torch.randn(n, model.matcher_.noise_dim_, generator=torch.Generator().manual_seed(1))
    nothing = noise[:, :0]  # no condition
    with torch.no_grad():
        start = model.matcher_.network_.start(nothing, noise)
    codes = model.encode(data)  # stage 2 sees them standardised
    ends = (start, model.matcher_.draw(nothing, noise))
    return tuple(model.decode(codes.mean(0) + codes.std(0) * end.numpy()) for end in ends)


def draw_picture(
    path: Path, data: np.ndarray, draws: np.ndarray, arrows: tuple[np.ndarray, ...] | None
) -> None:
    """The data, the draws, and the map of one-step matchers."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_panels = 2 if arrows is None else 3
    size = (4.4 * n_panels, 4.6)
    figure, axes = plt.subplots(1, n_panels, figsize=size, sharex=True, sharey=True)
    for axis, points, title in zip(axes, (data, draws), ("data", "draws"), strict=False):
        axis.scatter(*points[:2000].T, s=3, alpha=0.4, linewidths=0)
        axis.set_title(title)
        axis.set_aspect("equal")
    if arrows is not None:
        start, end = arrows
        axes[2].quiver(
            *start.T, *(end - start).T, angles="xy", scale_units="xy", scale=1, width=0.002,
            color="0.6",
        )  # fmt: skip
        axes[2].scatter(*start.T, s=6, label="start: Gaussian")
        axes[2].scatter(*end.T, s=6, label="end: draw")
        axes[2].set_title("the generator's map")
        axes[2].set_aspect("equal")
        axes[2].legend(loc="upper right", fontsize=8)
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
    one_step = hasattr(model.matcher_.network_, "start")
    arrows = transport_arrows(model, data, 300) if one_step else None
    draw_picture(arguments.out, data, draws, arrows)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main()

"""
Super-resolution of a photograph
================================

From 4 x 4 to 16 x 16 pixels: many sharp images have the same block means, so that an answer is a
draw. Patches of a photograph that comes with scikit-learn: 800 with their block means, 6,000
without, and 200 for the test, from eight strips that no other patch touches.
"""

# %%
# Patches
# -------
import numpy as np
from sklearn.datasets import load_sample_image

from sklsdm import ImageGridDisplay, LSDMRegressor
from sklsdm.metrics import crps

photograph = load_sample_image("china.jpg").mean(axis=2) / 255  # 427 x 640, grey
rng = np.random.default_rng(0)


def patches(n, columns):
    """Patches (n, 16, 16), their left sides among `columns`."""
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (16, 16))
    return windows[rng.integers(len(windows), size=n), rng.choice(columns, size=n)]


def reduce(images):
    """Means of 4 x 4 pixels (n, 1, 4, 4): the condition, an image of one channel."""
    return images.reshape(-1, 1, 4, 4, 4, 4).mean(axis=(3, 5))


left = np.arange(625)
train, test = patches(6800, left[(left % 80 >= 16) & (left % 80 <= 64)]), patches(200, left[::80])

# %%
# Fit and draw
# ------------
est = LSDMRegressor(y_range=(0, 1), random_state=0)
est.fit(reduce(train[:800]), train[:800], train[800:])
print(f"unpaired patches tell their block means: R2 of {est.reverse_r2_:.3f}, {est.unpaired_!r}")
draws = est.sample(reduce(test), 20, random_state=0)

# %%
# Are they right?
# ---------------
# A draw should keep the block means that were asked for, and the truth should be like one of the
# draws: their CRPS is lower than that of the block means enlarged. The intervals of pixels are too
# narrow, since what the latent space cannot hold (see ``est.reconstruct``) is not drawn.
enlarged = reduce(test)[:, 0].repeat(4, axis=1).repeat(4, axis=2)
missed = np.abs(reduce(draws.reshape(-1, 16, 16)) - reduce(test).repeat(20, axis=0)).mean()
low, high = np.quantile(draws, [0.05, 0.95], axis=1)
print(f"block means are missed by {missed:.3f}, their spread is {reduce(test).std():.3f}")
print(f"CRPS of draws {crps(test, draws):.4f}, of block means {np.abs(enlarged - test).mean():.4f}")
print(f"intervals of 90 % cover {np.mean((low <= test) & (test <= high)):.2f}")

# %%
# What was asked for, four draws, and the truth.
shown = np.argsort(-test.std(axis=(1, 2)))[:40:5]
groups = {"block means": enlarged[shown][:, None], "draws": draws[shown, :4]}
ImageGridDisplay(groups | {"truth": test[shown][:, None]}).plot()

"""
Colour images by class
======================

Responses may be images of several channels, ``(n, c, h, w)``. Made-up pictures here: discs,
rings and crosses in colours of their own, at random places. 60 are labelled, 900 are not.
"""

# %%
# Pictures
# --------
import numpy as np

from sklsdm import ImageGridDisplay, LSDMRegressor

KINDS = ("disc", "ring", "cross")
COLOURS = np.array([[0.9, 0.3, 0.2], [0.2, 0.6, 0.9], [0.4, 0.8, 0.3]])


def picture(kind, rng):
    """One image (3, 12, 12) in [0, 1]."""
    row, column = rng.uniform(4.5, 6.5, 2)
    v, h = np.mgrid[:12, :12]
    distance = np.hypot(v - row, h - column)
    cross = np.minimum(abs(v - row), abs(h - column)) + 10 * (distance > 4.5)
    depth = (distance - 3.5, abs(distance - 3.5) - 1, cross - 1)[kind]
    shape = np.clip(0.5 - depth, 0, 1)
    colour = np.clip(COLOURS[kind] + rng.normal(0, 0.07, 3), 0, 1)
    return 1 - shape * (1 - colour[:, None, None])


rng = np.random.default_rng(0)
labels = rng.integers(3, size=960)
images = np.stack([picture(kind, rng) for kind in labels])
X = np.eye(3)[labels]

# %%
# Fit and draw
# ------------
# 432 numbers a picture. Unlabelled pictures teach the latent space, and what pictures there are.
est = LSDMRegressor(latent_dim=8, y_range=(0, 1), random_state=0)
est.set_params(matcher__max_steps=1000)
est.fit(X[:60], images[:60], images[60:])
print("use of the unlabelled pictures:", est.unpaired_)

# %%
# Real ones, their reconstructions, and draws. Draws are as sharp as reconstructions.
real = np.stack([images[60:][labels[60:] == kind][:4] for kind in range(3)])
ImageGridDisplay.from_estimator(
    est, np.eye(3), 6, real=real, reconstructions=True, labels=KINDS, random_state=0
)

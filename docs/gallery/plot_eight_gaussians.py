"""
No conditions: a law in the plane
=================================

``LSDMGenerator`` draws from p(Y). The data are eight narrow Gaussians on a circle. The matcher is
optimal transport in latent space: a minimisation, no adversary.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np

from sklsdm import LSDMGenerator
from sklsdm.datasets import make_eight_gaussians

data = make_eight_gaussians(1000, random_state=0).y
est = LSDMGenerator(matcher="transport", random_state=0).fit(data)
draws = est.sample(2000, random_state=0)

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 3.6), sharex=True, sharey=True, layout="constrained")
for axis, (name, points) in zip(axes, {"data": data, "draws": draws}.items(), strict=True):
    axis.scatter(*points.T, s=3)
    axis.set(title=name, aspect="equal")

# %%
# Each mode has an eighth of the truth.
angle = np.arctan2(draws[:, 1], draws[:, 0])
mode = np.round(angle / (np.pi / 4)).astype(int) % 8
print("share of the draws by mode, in percent:", np.bincount(mode, minlength=8) / 20)

"""
Three modes that a mean cannot show
===================================

The law of y given x has three arms, whose directions turn with x and whose length grows with it.
Its mean is 0 for every x, so that any method that predicts means learns nothing. Draws show the
arms, and since the true law is known here, they can be held against it.
"""

# %%
# Fit
# ---
# 1,500 pairs. The default matcher is the paper's, with a critic; "diffusion" is nearer to the
# truth in few dimensions and takes 16 passes for a draw.
import matplotlib.pyplot as plt
import numpy as np

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_arms

arms = make_arms(1500, random_state=0)
models = {
    name: LSDMRegressor(matcher=name, random_state=0).fit(arms.X, arms.y)
    for name in ("wgan", "diffusion")
}

# %%
# Draws beside the truth
# ----------------------
x = np.array([[-0.8, 0.5], [0.5, -0.5]])
clouds = {"truth": arms.sample(x, 400, random_state=1)}
clouds |= {name: model.sample(x, 400, random_state=1) for name, model in models.items()}

figure, axes = plt.subplots(2, 3, figsize=(8, 5.6), sharex=True, sharey=True, layout="constrained")
for column, (name, cloud) in zip(axes.T, clouds.items(), strict=True):
    for axis, points, at in zip(column, cloud, x, strict=True):
        axis.scatter(*arms.y.T, s=2, color="0.85")
        axis.scatter(*points.T, s=4, color="tab:blue")
        axis.set(title=f"{name}, x = ({at[0]}, {at[1]})", aspect="equal")

# %%
# Scores
# ------
# The energy score is compressed: between ignoring x and the truth lie nine percent. The skill is
# the share of that way.
from sklsdm.metrics import energy_score

test = make_arms(500, random_state=1)
truth = energy_score(test.y, test.sample(test.X, 200, random_state=0))
shuffled = np.random.default_rng(0).integers(len(arms.y), size=(len(test.y), 200))
ignorant = energy_score(test.y, arms.y[shuffled])
for name, model in models.items():
    score = energy_score(test.y, model.sample(test.X, 200, random_state=0))
    print(
        f"{name:10} energy score {score:.3f}, skill {(ignorant - score) / (ignorant - truth):.0%}"
    )

"""
A map from a million draws, with Dask
=====================================

``sklsdm.dask.sample`` gives draws as a lazy ``dask.array``: chunks are drawn where and when they
are needed, on one machine or on many, and what is computed from them need not fit into memory.
Neither workers nor chunks change the draws.
"""

# %%
# A fit
# -----
import dask.array as da
import matplotlib.pyplot as plt
import numpy as np

import sklsdm
from sklsdm.datasets import make_arms

arms = make_arms(1500, random_state=0)
est = sklsdm.LSDMRegressor(matcher="mdn", condition_encoder="flatten", random_state=0)
est.fit(arms.X, arms.y)

# %%
# A question at 14,400 places
# ---------------------------
# How likely is it that both numbers of y are positive? 70 draws at each x of a grid, averaged
# chunk by chunk.
ticks = np.linspace(-1, 1, 120)
grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
X = da.from_array(grid, chunks=(3600, 2))
draws = sklsdm.dask.sample(est, X, n_samples=70, random_state=0)
print(draws)

probability = (draws[..., 0] > 0.5).mean(axis=1).compute().reshape(120, 120)

# %%
# The map, beside the truth
# -------------------------
truth = (arms.sample(grid, 70, random_state=0)[..., 0] > 0.5).mean(axis=1).reshape(120, 120)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), sharey=True, layout="constrained")
for axis, (name, found) in zip(axes, {"draws": probability, "truth": truth}.items(), strict=True):
    shown = axis.pcolormesh(ticks, ticks, found, vmin=0, vmax=truth.max())
    axis.set(title=name, xlabel="first column of x", aspect="equal")
axes[0].set_ylabel("second column of x")
figure.colorbar(shown, ax=axes, label="probability")

# %%
# Other chunks, the same draws
# ----------------------------
# Noise belongs to the number of a row, so that a chunk that a lost worker took along is drawn
# again alike.
other = sklsdm.dask.sample(est, X.rechunk((1800, 2)), n_samples=70, random_state=0)
print("equal:", bool((other[:4000] == draws[:4000]).all().compute()))

"""
Curves: a day's load given temperature and weekday
==================================================

A response may be a curve. Made-up electricity loads of 24 hours: heating when it is cold, a
morning peak on working days, and an evening whose height and time nobody knows before.
"""

# %%
# 60 days with a weather record, 600 without
# ------------------------------------------
import matplotlib.pyplot as plt
import numpy as np

from sklsdm import LSDMRegressor
from sklsdm.metrics import crps, energy_score

rng = np.random.default_rng(0)
hours = np.arange(24)


def loads(temperature, working, rng):
    """Load curves (n, 24)."""
    n = len(temperature)
    heating = np.clip(15 - temperature, 0, None)[:, None] / 40 * (1 + 0.2 * np.cos(hours / 3.8))
    morning = working[:, None] * np.exp(-((hours - 8) ** 2) / 4)
    height, when = rng.uniform(0.3, 1.0, (n, 1)), 19 + rng.normal(0, 1, (n, 1))
    evening = height * np.exp(-((hours - when) ** 2) / 5)
    return 1 + heating + 0.6 * morning + evening + 0.03 * rng.normal(size=(n, 24))


temperature, working = rng.uniform(-5, 25, 760), (rng.random(760) < 5 / 7).astype(float)
X, y = np.column_stack([temperature, working]), loads(temperature, working, rng)

est = LSDMRegressor(4, "diffusion", autoencoder="mlp", random_state=0)
est.fit(X[:60], y[:60], y[60:660])
X_test, y_test = X[660:], y[660:]
draws = est.sample(X_test, 200, random_state=0)

# %%
# Fans
# ----
# Bands of 50 and 90 %, five draws, and the day as it was (black). Draws are smooth curves with one
# evening peak each, which bands alone do not show.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
for axis, day in zip(axes, (0, 1, 2), strict=True):
    for tail in (0.05, 0.25):
        low, high = np.quantile(draws[day], [tail, 1 - tail], axis=0)
        axis.fill_between(hours, low, high, color="tab:blue", alpha=0.25, linewidth=0)
    axis.plot(hours, draws[day, :5].T, color="tab:blue", linewidth=0.7)
    axis.plot(hours, y_test[day], color="black")
    kind = "working day" if X_test[day, 1] else "weekend"
    axis.set(title=f"{kind}, {X_test[day, 0]:.0f} °C", xlabel="hour")
axes[0].set_ylabel("load")

# %%
# Beside the pairs alone
# ----------------------
# Sixty days show the shapes already: here the other curves bring hardly anything, and harm nothing.
# :doc:`Where they help <plot_unpaired>` is an example of its own.
alone = LSDMRegressor(4, "diffusion", autoencoder="mlp", random_state=0).fit(X[:60], y[:60])
for name, curves in {
    "60 pairs": alone.sample(X_test, 200, random_state=0),
    "and 600 unpaired curves": draws,
}.items():
    joint, each = energy_score(y_test, curves), crps(y_test, curves)
    print(f"{name:24} energy score {joint:.3f}, CRPS {each:.4f}")

"""
Every display on one page
=========================

Pictures of a fit follow scikit-learn's displays: ``from_estimator`` computes and plots. Here is
each of them once; :doc:`images have a grid of their own <plot_digits_by_class>`.
"""

# %%
# Draws given x: one output
# -------------------------
# A fan: the median and central bands of 50 and 90 %, with the pairs as points. Noise is skewed
# and grows away from the middle.
import numpy as np

from sklsdm import (
    CalibrationDisplay,
    ConditionalSampleDisplay,
    LatentSpaceDisplay,
    LSDMRegressor,
    TrainingDisplay,
    UnpairedCurveDisplay,
)

rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, (700, 1))
y = np.sin(2 * X[:, 0]) + (0.1 + 0.2 * np.abs(X[:, 0])) * rng.gumbel(size=700)
est = LSDMRegressor(matcher="mdn", condition_encoder="flatten", random_state=0)
est.set_params(matcher__max_steps=600).fit(X[:400], y[:400])

X_test, y_test = X[400:], y[400:]
fan = ConditionalSampleDisplay.from_estimator(est, X_test, y_test)
print("bands of", fan.coverages)

# %%
# Draws given x: two outputs
# --------------------------
# A scatter plot at a few x, over all responses in grey.
from sklsdm.datasets import make_arms

arms = make_arms(1500, random_state=0)
plane = LSDMRegressor(matcher="mdn", condition_encoder="flatten", random_state=0)
plane.fit(arms.X, arms.y)
at = [[-0.8, 0.5], [0.5, -0.5]]
ConditionalSampleDisplay.from_estimator(plane, at, background=arms.y, random_state=0)

# %%
# Draws given x: curves
# ---------------------
# A band over time and some draws for each x. Black are the observed curves.
time = np.linspace(0, 1, 40)
phase = rng.uniform(0, 2 * np.pi, (700, 1))
curves = (2.5 + X) * np.sin(2 * np.pi * time + phase) + 3 * X
waves = LSDMRegressor(4, "energy", autoencoder="pca", condition_encoder="flatten", random_state=0)
waves.set_params(matcher__max_steps=600).fit(X[:400], curves[:400])
few = [int(np.argmin(np.abs(X_test[:, 0] - value))) for value in (-1.5, 1.5)]
ConditionalSampleDisplay.from_estimator(waves, X_test[few], curves[400:][few], random_state=0)

# %%
# Did both stages learn?
# ----------------------
# Losses and held-out scores, with the start and the state that was chosen.
TrainingDisplay.from_estimator(waves)

# %%
# Does stage 2 fill the latent space?
# -----------------------------------
# Points are codes of responses that the fit has not seen, lines are contours of drawn codes.
LatentSpaceDisplay.from_estimator(waves, X_test, curves[400:], random_state=0)

# %%
# Are the probabilities right?
# ----------------------------
# Left coverage against what was asked for, right the ranks of y among its draws: flat is right.
CalibrationDisplay.from_estimator(est, X_test, y_test)

# %%
# Would more unpaired responses help?
# -----------------------------------
# A fit for each number of unpaired responses and each split. Two moons by class, with 20 pairs.
from sklsdm.datasets import make_two_moons

moons = make_two_moons(620, random_state=0)
few_pairs = LSDMRegressor(
    matcher="mdn", unpaired="match", condition_encoder="flatten", random_state=0
)
few_pairs.set_params(matcher__max_steps=300)
UnpairedCurveDisplay.from_estimator(
    few_pairs, moons.X[:20], moons.y[:20], moons.y[20:], sizes=[0, 60, 600], cv=3, random_state=0
)

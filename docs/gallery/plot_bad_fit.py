"""
Diagnosis of a bad fit
======================

The draws below look right, the intervals are right, and the energy score is next to that of the
truth. Yet the draws ignore x. ``diagnose`` finds it, on pairs that the fit has not seen.
"""

# %%
# A law that turns quickly
# ------------------------
# Five blades that turn several times over the range of x. The default matcher, told to see x
# as it is, misses it.
import matplotlib.pyplot as plt

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_pinwheel

wheel = make_pinwheel(3000, random_state=0)
X, y, X_test, y_test = wheel.X[:2000], wheel.y[:2000], wheel.X[2000:], wheel.y[2000:]
bad = LSDMRegressor(condition_encoder="flatten", random_state=0).fit(X, y)
print(f"energy skill {bad.score(X_test, y_test):.3f}")

# %%
# The page
# --------
diagnosis = bad.diagnose(X_test, y_test)
print(diagnosis)

# %%
# Follow the advice
# -----------------
good = LSDMRegressor(matcher="diffusion", condition_encoder="periodic", random_state=0)
good.set_params(matcher__max_steps=3000).fit(X, y)
print("\n".join(good.diagnose(X_test, y_test).advice))

# %%
# Seen at one x
# -------------
x = X_test[:1]
clouds = {
    "truth": wheel.sample(x, 400, random_state=0)[0],
    "bad": bad.sample(x, 400, random_state=0)[0],
    "after the advice": good.sample(x, 400, random_state=0)[0],
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharex=True, sharey=True, layout="constrained")
for axis, (name, points) in zip(axes, clouds.items(), strict=True):
    axis.scatter(*points.T, s=4)
    axis.set(title=name, aspect="equal")

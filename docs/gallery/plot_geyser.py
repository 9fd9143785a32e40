"""
The geyser: what comes after an eruption
========================================

Old Faithful is the classic of conditional laws: after a short eruption the next one comes soon and
is long; after a long one it takes longer, and the next may be short or long. The record here is
made up, with the numbers of Azzalini & Bowman (1990, Applied Statistics 39) in mind, so that the
truth is known.
"""

# %%
# A record of 900 eruptions
# -------------------------
# x is how long an eruption lasted. The response is what follows: the wait until the next
# eruption, and how long that one lasts, in minutes. Of 600 of them nobody has seen the eruption
# before, say because it was night: these responses have no x.
import matplotlib.pyplot as plt
import numpy as np

from sklsdm import ConditionalSampleDisplay, LSDMRegressor


def durations(long, rng):
    """Minutes of long and of short eruptions."""
    n = len(long)
    return np.where(long, rng.normal(4.3, 0.4, n), rng.normal(1.9, 0.25, n))


def following(lasted, rng):
    """Wait and duration (n, 2) after eruptions that lasted so many minutes."""
    n = len(lasted)
    wait = 33 + 10.5 * lasted + rng.normal(0, 5, n)
    next_long = (lasted < 3) | (rng.random(n) < 0.45)
    return np.column_stack([wait, durations(next_long, rng)])


rng = np.random.default_rng(0)
X = durations(rng.random(900) < 0.65, rng)[:, None]
y = following(X[:, 0], rng)

est = LSDMRegressor(matcher="mdn", y_range=(0, None), random_state=0)
est.fit(X[:300], y[:300], y[300:])
print("use of the responses without x:", est.unpaired_)

# %%
# Draws after a short and after a long eruption
# ---------------------------------------------
figure, axis = plt.subplots(figsize=(6.4, 4), layout="constrained")
ConditionalSampleDisplay.from_estimator(
    est,
    [[1.9], [4.3]],
    background=y,
    labels=["after 1.9 minutes", "after 4.3 minutes"],
    random_state=0,
    ax=axis,
)
axis.set(xlabel="wait for the next eruption (min)", ylabel="how long it lasts (min)")

# %%
# Questions are counts of draws
# -----------------------------
# How likely is it that the next eruption is a long one, and that it comes within 80 minutes?
asked = np.array([[1.9], [4.3]])
draws = est.sample(asked, 4000, random_state=0)
truth = np.stack([following(np.full(4000, x), np.random.default_rng(1)) for x in asked[:, 0]])
for name, found in {"draws": draws, "truth": truth}.items():
    late, long = found[..., 0] > 80, found[..., 1] > 3
    print(name, "long:", long.mean(axis=1).round(2), "within 80:", (~late).mean(axis=1).round(2))

"""
What unpaired responses give, and when they give nothing
========================================================

The same question for two laws: how does the score of held-out pairs change with the number of
responses without x? Two moons by class, where responses of a class lie together; and a law of one
output that changes with x, where y alone says nothing of how it does.
"""

# %%
# Scores for 0 to 1,000 unpaired responses
# ----------------------------------------
import matplotlib.pyplot as plt

from sklsdm import LSDMRegressor
from sklsdm.datasets import make_skewed, make_two_moons

n_unpaired = (0, 100, 1000)
laws = {
    "two moons, 20 pairs": (make_two_moons(2020, random_state=0), 20),
    "skewed, 100 pairs": (make_skewed(2100, random_state=0), 100),
}


def skills(law, n):
    """Energy skill on 1,000 held-out pairs, and the use that was chosen, by number of responses."""
    found = []
    for extra in n_unpaired:
        est = LSDMRegressor(matcher="mdn", condition_encoder="flatten", random_state=0)
        est.fit(law.X[:n], law.y[:n], law.y[n : n + extra] if extra else None)
        found.append((est.score(law.X[-1000:], law.y[-1000:]), est.unpaired_))
    return found


found = {name: skills(law, n) for name, (law, n) in laws.items()}
for name, pairs in found.items():
    print(name, [f"{use} {skill:.3f}" for skill, use in pairs])

# %%
# Left it may help, right it cannot: there "auto" chooses "none" more often than not, and nothing is
# lost.
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for axis, (name, pairs) in zip(axes, found.items(), strict=True):
    axis.plot(range(3), [skill for skill, _ in pairs], "o-")
    axis.set_xticks(range(3), [str(n) for n in n_unpaired])
    axis.set(title=name, xlabel="unpaired responses", ylabel="energy skill")
    axis.margins(y=0.5)

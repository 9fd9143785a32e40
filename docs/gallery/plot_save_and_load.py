"""
Saving, sharing and looking inside
==================================

``sklsdm.save`` writes one safetensors file. Loading it runs no code of the file, a changed byte
is noticed, and other programs can read the arrays.
"""

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from safetensors import safe_open

import sklsdm

law = sklsdm.datasets.make_skewed(800, random_state=0)
est = sklsdm.LSDMRegressor(matcher="energy", random_state=0).fit(law.X, law.y)
path = Path(tempfile.mkdtemp()) / "skewed.safetensors"
sklsdm.save(est, path)
print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")

# %%
# The same draws
# --------------
again = sklsdm.load(path)
x = np.column_stack([np.linspace(-1, 1, 50), np.zeros(50)])
before, after = (model.sample(x, 500, random_state=0) for model in (est, again))
print("equal:", np.array_equal(before, after))

figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for tail in (0.05, 0.25):
    low, high = np.quantile(after, [tail, 1 - tail], axis=1)
    axis.fill_between(x[:, 0], low, high, color="tab:blue", alpha=0.25, linewidth=0)
axis.plot(law.X[:, 0], law.y, ".", markersize=2, color="0.4")
axis.set(xlabel="first column of x", ylabel="y", title="bands of 50 and 90 % after loading")
axis.set_ylim(-4, 4)  # a few observations lie outside

# %%
# Looking inside
# --------------
with safe_open(path, framework="np") as file:
    document = json.loads(file.metadata()["sklsdm"])
    arrays = list(file.keys())
print(document["versions"]["sklsdm"], len(arrays), "arrays")

# %%
# A changed byte
# --------------
contents = bytearray(path.read_bytes())
contents[-1] ^= 1
damaged = path.with_name("damaged.safetensors")
damaged.write_bytes(contents)
try:
    sklsdm.load(damaged)
except ValueError as error:
    print(str(error).replace(str(damaged), damaged.name))

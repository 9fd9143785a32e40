"""
A mixed table in a Pipeline
===========================

Numbers, categories and missing values in one pandas DataFrame, two responses: the monthly rent of
a flat, and the days until it was let. The flats are made up; those in the centre are let
either at once or late.
"""

# %%
# The table
# ---------
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from sklsdm import LSDMRegressor, make_sampling_pipeline

rng = np.random.default_rng(0)
n = 1200
flats = pd.DataFrame(
    {
        "area": rng.uniform(20, 120, n).round(),
        "year": rng.integers(1950, 2020, n).astype(float),
        "district": rng.choice(["centre", "north", "river"], n),
    }
)
centre = flats["district"] == "centre"
rent = flats["area"] * (8 + 4 * centre + (flats["year"] - 1950) / 35)
rent *= np.exp(0.12 * rng.normal(size=n))
days = rng.gamma(4, 2, n) + 40 * (rng.random(n) < 0.5 * centre)
flats.loc[rng.random(n) < 0.1, "year"] = np.nan
y = np.column_stack([rent, days])
print(flats.head(3))

# %%
# The Pipeline
# ------------
# ``make_sampling_pipeline`` is scikit-learn's Pipeline with ``sample`` and its kin.
columns = make_column_transformer(
    (OneHotEncoder(sparse_output=False), ["district"]),
    (SimpleImputer(add_indicator=True), ["area", "year"]),
)
model = make_sampling_pipeline(
    columns, LSDMRegressor(matcher="diffusion", y_range=(0, None), random_state=0)
)
model.fit(flats[:1000], y[:1000])
print(f"energy skill on 200 other flats: {model.score(flats[1000:], y[1000:]):.2f}")

# %%
# Draws
# -----
asked = pd.DataFrame(
    {"area": [70.0, 70.0], "year": [1990.0, 1990.0], "district": ["centre", "north"]}
)
clouds = model.sample(asked, 400, random_state=0)
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
axis.scatter(*y.T, s=3, color="0.8", label="all flats")
for cloud, name in zip(clouds, asked["district"], strict=True):
    axis.scatter(*cloud.T, s=5, label=f"70 square metres, {name}")
axis.set(xlabel="rent", ylabel="days until let")
axis.legend()

# %%
# Any question about the two is a count of draws.
late = (clouds[..., 1] > 30).mean(axis=1)
print(f"probability of more than 30 days: centre {late[0]:.2f}, north {late[1]:.2f}")

# %%
# Trees instead
# -------------
# ``condition_encoder="trees"`` takes the DataFrame as it is, categories and NaN included.
trees = LSDMRegressor(
    matcher="diffusion", condition_encoder="trees", y_range=(0, None), random_state=0
)
trees.fit(flats[:1000], y[:1000])
print(f"energy skill {trees.score(flats[1000:], y[1000:]):.2f}")

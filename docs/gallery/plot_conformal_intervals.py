"""
Intervals that keep their coverage
==================================

Intervals from draws are as good as the draws. With pairs that the fit has not seen they become a
promise: a new response lies inside with the probability that was asked for. The data are
scikit-learn's 442 diabetes patients; the response is the progress of the disease after a year.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

from sklsdm import LSDMRegressor
from sklsdm.metrics import interval_coverage, interval_width

X, y = load_diabetes(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=150, random_state=0)
X_fit, X_more, y_fit, y_more = train_test_split(X, y, test_size=130, random_state=0)

est = LSDMRegressor(matcher="energy", random_state=0).fit(X_fit, y_fit)
est.conformalize(X_more, y_more)

# %%
# Coverage and width on 150 patients that neither saw. By chance alone the coverage of so few
# varies by some 3 % around what it is.
kinds = {"from draws": False, "conformal": True}
for name, conformal in kinds.items():
    intervals = est.predict_interval(X_test, 0.9, conformal=conformal)
    found, width = interval_coverage(y_test, intervals), interval_width(intervals)
    print(f"{name:11} coverage {found:.2f} (.90 asked), width {width:.0f}")

# %%
# Patients in the order of the predicted mean.
order = np.argsort(est.predict(X_test))
figure, axis = plt.subplots(figsize=(8, 3.6), layout="constrained")
rank = np.arange(len(order))
low, high = est.predict_interval(X_test, 0.9, conformal=False)[order].T
axis.fill_between(rank, low, high, step="mid", alpha=0.25, linewidth=0, label="from draws")
bounds = est.predict_interval(X_test, 0.9, conformal=True)[order]
axis.step(rank, bounds, where="mid", color="tab:orange", label=["conformal", None])
axis.plot(y_test[order], ".", color="black", label="observed")
axis.set(xlabel="patients, by predicted mean", ylabel="progress after a year")
axis.legend()

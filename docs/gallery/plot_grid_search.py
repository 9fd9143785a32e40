"""
A grid search
=============

An estimator is a scikit-learn estimator: parameters of both stages are searched by name, scorers
rate draws, and the unpaired responses pass through the folds whole.
"""

# %%
# Settings
# --------
# Digits by class, as images; 200 labelled ones. ``Unpaired`` keeps scikit-learn from slicing the
# others where their number happens to be that of the pairs.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

import sklsdm
from sklsdm import LSDMRegressor

digits = load_digits()
images = digits.images / 16
X = np.eye(10)[digits.target]

grid = {"latent_dim": [4, 8, 16], "matcher": ["energy", "mdn"]}
est = LSDMRegressor(unpaired="latent", random_state=0)
est.set_params(autoencoder__max_epochs=8, matcher__max_steps=600)
search = GridSearchCV(est, grid, scoring=sklsdm.scorers.neg_energy_score, cv=2)
search.fit(X[:200], images[:200], Y_unpaired=sklsdm.Unpaired(images[200:]))
print(search.best_params_)

# %%
# Scores
# ------
scores = -search.cv_results_["mean_test_score"].reshape(3, 2)  # latent dimensions, matchers
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, values in zip(grid["matcher"], scores.T, strict=True):
    axis.plot(grid["latent_dim"], values, "o-", label=name)
axis.set(xlabel="latent_dim", ylabel="energy score of held-out pairs", xticks=grid["latent_dim"])
axis.legend(title="matcher")

# %%
# Draws
# -----
# The search has no ``sample`` of its own; ``sklsdm.sample`` finds the estimator inside.
print(sklsdm.sample(search, np.eye(10), n_samples=3).shape)

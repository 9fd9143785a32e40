"""
Digits by class from 100 labelled ones
======================================

scikit-learn's bundled digits: 100 labelled, 1,297 without a label. A response is an image
(8 x 8 pixels), a condition a class.
"""

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklsdm import ImageGridDisplay, LSDMRegressor

digits = load_digits()
images, labels = 1 - digits.images / 16, digits.target  # dark ink on white
X = np.eye(10)[labels]  # one column for each class
train, test = train_test_split(
    np.arange(len(labels)), test_size=400, stratify=labels, random_state=0
)
pairs, rest = train_test_split(train, train_size=100, stratify=labels[train], random_state=0)

est = LSDMRegressor(latent_dim=13, y_range=(0, 1), random_state=0)
est.fit(X[pairs], images[pairs], images[rest])

# %%
# Draws
# -----
# Real digits beside their reconstructions and draws, one class a row.
real = np.stack([images[test][labels[test] == k][:3] for k in range(10)])
ImageGridDisplay.from_estimator(est, np.eye(10), 8, real=real, reconstructions=True, random_state=0)

# %%
# Do they belong to their class?
# ------------------------------
# A classifier that learnt from all training labels is asked.
from sklearn.svm import SVC

judge = SVC().fit(images[train].reshape(len(train), -1), labels[train])
asked = np.repeat(np.arange(10), 50)
drawn = est.sample(np.eye(10)[asked], random_state=0).reshape(len(asked), -1)
on_real = judge.score(images[test].reshape(len(test), -1), labels[test])
print(f"accuracy on real digits {on_real:.2f}, on drawn ones {judge.score(drawn, asked):.2f}")

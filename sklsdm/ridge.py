"""Penalties among which ridge regression chooses, by leaving one pair out."""

import numpy as np

# Tables that follow a formula have columns that say nearly the same and hardly any noise: there
# the small penalties are needed (docs/lessons.md).
RIDGE_PENALTIES = np.logspace(-6, 4, 21)

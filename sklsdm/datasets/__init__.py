"""Problems whose true conditional law is known, and loaders for real data.

``make_*`` functions return a :class:`Problem`: training pairs together with the true law of y given
X, its exact draws, mean and standard deviation at any X. A model is then measured against the truth
and not only against the noise of held-out responses.

An int as ``random_state`` gives the same problem on every machine with the same numpy: it seeds
``numpy.random.default_rng``, and the conditions are drawn first, then the responses.

References
----------
.. [1] X. Zhou, Y. Jiao, J. Liu and J. Huang, "A deep generative approach to conditional
   sampling" (GCDS), JASA (2022), arXiv 2110.10277, Table 1, as its official code draws it.
.. [2] S. Song, T. Wang, G. Shen, Y. Lin and J. Huang, "Wasserstein generative regression",
   arXiv 2306.15163.
.. [3] H. Liu et al., "Latent space optimal transport for generative models", arXiv 1809.05964.
"""

from sklsdm.datasets.fetch import fetch_fashion_mnist, fetch_mnist, load_benchmark
from sklsdm.datasets.gcds import make_gcds
from sklsdm.datasets.laws import (
    make_arms,
    make_asymmetric_mixture,
    make_checkerboard,
    make_eight_gaussians,
    make_helix,
    make_pinwheel,
    make_rings,
    make_skewed,
    make_two_moons,
    share_near_a_blade,
    share_on_a_square,
)
from sklsdm.datasets.problem import Problem

__all__ = [
    "Problem",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "load_benchmark",
    "make_arms",
    "make_asymmetric_mixture",
    "make_checkerboard",
    "make_eight_gaussians",
    "make_gcds",
    "make_helix",
    "make_pinwheel",
    "make_rings",
    "make_skewed",
    "make_two_moons",
    "share_near_a_blade",
    "share_on_a_square",
]

"""Problems whose true conditional law is known, and loaders for real data.

``make_*`` functions return a :class:`Problem`: training pairs together with exact draws, and where
a formula exists the mean and standard deviation, of the true law of y given X at any X. A model
is then measured against the truth and not only against the noise of held-out responses.

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

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from sklearn.datasets import fetch_openml

from sklsdm._validation import check_choice, check_integer, check_numeric, check_real
from sklsdm.randomness import RandomState, as_generator

__all__ = [
    "Problem",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "load_benchmark",
    "make_arms",
    "make_asymmetric_mixture",
    "make_eight_gaussians",
    "make_gcds",
    "make_helix",
    "make_rings",
    "make_two_moons",
]

Array = NDArray[Any]
Moment = Callable[[ArrayLike], Array]
DATA_VARIABLE = "SKLSDM_DATA"
_BLOCK = 1 << 22  # numbers of repeated conditions at once while drawing


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    r"""Pairs drawn from a known law, with the law itself.

    Attributes
    ----------
    X : ndarray of shape (n, p), or None
        Conditions; None for an unconditional problem.
    y : ndarray of shape (n,) or (n, q)
        Responses, one for each row of X.
    name : str
        The problem's name.
    law : callable
        ``law(X, rng)`` draws one response for each row of X.
    mean, std : callable or None
        ``mean(X)`` and ``std(X)`` of the true law, of shape (len(X), \*y_shape); None where no
        formula is known.

    Examples
    --------
    >>> from sklsdm.datasets import make_arms
    >>> problem = make_arms(200, random_state=0)
    >>> problem
    Problem('arms', X (200, 2), y (200, 2))
    >>> problem.sample(problem.X[:5], n_samples=100, random_state=1).shape
    (5, 100, 2)
    """

    X: Array | None
    y: Array
    name: str
    law: Callable[[Array, Generator], Array] = field(repr=False)
    mean: Moment | None = None
    std: Moment | None = None

    def __repr__(self) -> str:
        condition = "no X" if self.X is None else f"X {self.X.shape}"
        return f"Problem({self.name!r}, {condition}, y {self.y.shape})"

    def sample(
        self, X: ArrayLike | None, n_samples: int = 1, *, random_state: RandomState = None
    ) -> Array:
        r"""Exact draws of the true law.

        Parameters
        ----------
        X : array-like of shape (n, p), or None
            Conditions to draw at; None for an unconditional problem, and only there.
        n_samples : int, default=1
            Draws for each row.
        random_state : int, RandomState, Generator or None, default=None
            For the draws.

        Returns
        -------
        ndarray of shape (n, n_samples, \*y_shape), or (n_samples, \*y_shape) without X
        """
        check_integer("n_samples", n_samples, 1)
        rng = as_generator(random_state)
        if self.X is None:
            if X is not None:
                raise ValueError(f"X must be None: the problem {self.name!r} is unconditional.")
            return self.law(np.empty((n_samples, 0)), rng)
        condition = self._check_condition(X)
        step = max(1, _BLOCK // (n_samples * condition.shape[1]))
        blocks = [condition[i : i + step] for i in range(0, len(condition), step)]
        drawn = [self.law(np.repeat(block, n_samples, axis=0), rng) for block in blocks]
        return np.concatenate(drawn).reshape(len(condition), n_samples, *self.y.shape[1:])

    def _check_condition(self, X: ArrayLike | None) -> Array:
        condition = check_numeric("X", X).astype(np.float64)
        wanted = np.asarray(self.X).shape[1]
        if condition.ndim != 2 or condition.shape[1] != wanted:
            raise ValueError(f"X must have shape (n, {wanted}), got {condition.shape}.")
        return condition


def _problem(
    name: str,
    X: Array,
    law: Callable[[Array, Generator], Array],
    rng: Generator,
    mean: Moment | None = None,
    std: Moment | None = None,
) -> Problem:
    return Problem(X=X, y=law(X, rng), name=name, law=law, mean=mean, std=std)


def _start(n_samples: int, noise: float, random_state: RandomState) -> Generator:
    """Check the arguments that all problems share."""
    check_integer("n_samples", n_samples, 1)
    check_real("noise", noise, 0)
    return as_generator(random_state)


def _polar(radius: ArrayLike, angle: Array) -> Array:
    """Points (n, 2) at a radius and an angle."""
    return np.asarray(radius)[..., None] * np.column_stack([np.cos(angle), np.sin(angle)])


# ---------------------------------------------------------------------------- arms
def make_arms(
    n_samples: int = 1500, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    r"""Three arms: a two-dimensional response with three modes that turn and stretch with x.

    x is uniform on [-1, 1]², k uniform on {0, 1, 2}, and

    .. math:: y = (1 + x_2 / 2) (\cos a, \sin a) + \epsilon, \quad a = \pi x_1 / 2 + 2 \pi k / 3,

    with independent N(0, noise²) errors. The conditional mean is 0 everywhere, so that any method
    that models the mean alone learns nothing. At noise .1 the energy score of the truth is about
    .610, of the marginal law .671.

    Parameters
    ----------
    n_samples : int, default=1500
        Pairs.
    noise : float, default=0.1
        Standard deviation of the errors.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        With mean and std.
    """
    rng = _start(n_samples, noise, random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    std = partial(_arms_std, noise=noise)
    return _problem("arms", X, partial(_arms_law, noise=noise), rng, _zero_mean, std)


def _arms_law(X: Array, rng: Generator, noise: float) -> Array:
    arm = rng.integers(3, size=len(X))
    points = _polar(1 + X[:, 1] / 2, np.pi * X[:, 0] / 2 + 2 * np.pi * arm / 3)
    return points + noise * rng.normal(size=points.shape)


def _zero_mean(X: ArrayLike) -> Array:
    return np.zeros((len(np.asarray(X)), 2))


def _arms_std(X: ArrayLike, noise: float) -> Array:
    """Three directions at thirds of a turn have mean 0 and covariance half the identity."""
    radius = 1 + np.asarray(X)[:, 1] / 2
    return np.repeat(np.sqrt(radius**2 / 2 + noise**2)[:, None], 2, axis=1)


# ---------------------------------------------------------------------------- GCDS, Table 1
def make_gcds(
    task: str = "T1",
    n_samples: int = 5000,
    *,
    noise: float | None = None,
    random_state: RandomState = None,
) -> Problem:
    r"""The four problems of the GCDS paper's Table 1 [1]_, as its official code draws them.

    X is N(0, I) in p dimensions, e is N(0, 1) unless said:

    - T1 (p = 5): :math:`y = x_1^2 + \exp((x_2 + x_3)/3) + \sin(x_4 x_5) + e`
    - T2 (p = 5): :math:`y = x_1^2 + \exp(x_2 + x_3/3) + x_4 - x_5 + (.5 + x_2^2/2 + x_5^2/2) e`
    - T3 (p = 30): :math:`y = (5 + x_1^2/3 + x_2/2 + x_3/2 + x_4 + x_5) \exp(e/2)`, with e an equal
      mixture of N(2, 1) and N(-2, 1)
    - T4 (p = 5): :math:`y = \pm x_1 + .25 e`, either sign with probability one half

    The protocol there: n = 5,000, ten replicates, 2,000 test points, 10,000 draws each; mean
    squared error of the conditional mean and standard deviation.

    Parameters
    ----------
    task : {"T1", "T2", "T3", "T4"}, default="T1"
        Which one.
    n_samples : int, default=5000
        Pairs.
    noise : float, optional
        Factor of e; None for the paper's, 1 and in T4 .25.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        With y of shape (n,), mean and std.
    """
    check_choice("task", task, _GCDS)
    law, mean, std, p, usual = _GCDS[task]
    factor = usual if noise is None else noise
    rng = _start(n_samples, factor, random_state)
    X = rng.normal(size=(n_samples, p))
    moments = partial(mean, noise=factor), partial(std, noise=factor)
    return _problem(f"gcds_{task}", X, partial(law, noise=factor), rng, *moments)


def _columns(X: ArrayLike) -> list[Array]:
    """x1 to x5."""
    return list(np.asarray(X, dtype=np.float64)[:, :5].T)


def _t1_mean(X: ArrayLike, noise: float) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return x1**2 + np.exp((x2 + x3) / 3) + np.sin(x4 * x5)


def _t1_std(X: ArrayLike, noise: float) -> Array:
    return np.full(len(np.asarray(X)), float(noise))


def _t2_mean(X: ArrayLike, noise: float) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return x1**2 + np.exp(x2 + x3 / 3) + x4 - x5


def _t2_std(X: ArrayLike, noise: float) -> Array:
    _, x2, _, _, x5 = _columns(X)
    return noise * (0.5 + x2**2 / 2 + x5**2 / 2)


def _t1_law(X: Array, rng: Generator, noise: float) -> Array:
    return _t1_mean(X, noise) + _t1_std(X, noise) * rng.normal(size=len(X))


def _t2_law(X: Array, rng: Generator, noise: float) -> Array:
    return _t2_mean(X, noise) + _t2_std(X, noise) * rng.normal(size=len(X))


def _t3_factor(X: ArrayLike) -> Array:
    x1, x2, x3, x4, x5 = _columns(X)
    return 5 + x1**2 / 3 + x2 / 2 + x3 / 2 + x4 + x5


def _t3_law(X: Array, rng: Generator, noise: float) -> Array:
    error = rng.choice([-2.0, 2.0], size=len(X)) + rng.normal(size=len(X))
    return _t3_factor(X) * np.exp(0.5 * noise * error)


def _t3_exponential(t: float) -> float:
    """E exp(t e) of e = ±2 + N(0, 1): exp(t²/2) cosh(2t)."""
    return float(np.exp(t**2 / 2) * np.cosh(2 * t))


def _t3_mean(X: ArrayLike, noise: float) -> Array:
    return _t3_factor(X) * _t3_exponential(0.5 * noise)


def _t3_std(X: ArrayLike, noise: float) -> Array:
    variance = _t3_exponential(noise) - _t3_exponential(0.5 * noise) ** 2
    return np.abs(_t3_factor(X)) * np.sqrt(variance)


def _t4_law(X: Array, rng: Generator, noise: float) -> Array:
    return rng.choice([-1.0, 1.0], size=len(X)) * X[:, 0] + noise * rng.normal(size=len(X))


def _t4_mean(X: ArrayLike, noise: float) -> Array:
    return np.zeros(len(np.asarray(X)))


def _t4_std(X: ArrayLike, noise: float) -> Array:
    return np.hypot(_columns(X)[0], noise)


# law, mean, std, number of conditions, the paper's factor of the error
_GCDS: dict[
    str, tuple[Callable[..., Array], Callable[..., Array], Callable[..., Array], int, float]
]
_GCDS = {
    "T1": (_t1_law, _t1_mean, _t1_std, 5, 1.0),
    "T2": (_t2_law, _t2_mean, _t2_std, 5, 1.0),
    "T3": (_t3_law, _t3_mean, _t3_std, 30, 1.0),
    "T4": (_t4_law, _t4_mean, _t4_std, 5, 0.25),
}


# ---------------------------------------------------------------------------- plane curves
def make_two_moons(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    r"""Two interleaved half circles, given which one.

    x is 0 or 1 with equal probability, t uniform on [0, pi]; y is :math:`(\cos t, \sin t)` for
    x = 0 and :math:`(1 - \cos t, 1/2 - \sin t)` for x = 1, plus N(0, noise²) errors.

    Parameters
    ----------
    n_samples : int, default=1000
        Pairs.
    noise : float, default=0.1
        Standard deviation of the errors.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        X of shape (n, 1) holds 0.0 and 1.0; with mean and std.
    """
    rng = _start(n_samples, noise, random_state)
    X = rng.integers(2, size=(n_samples, 1)).astype(np.float64)
    std = partial(_moons_std, noise=noise)
    return _problem("two_moons", X, partial(_moons_law, noise=noise), rng, _moons_mean, std)


def _moons_law(X: Array, rng: Generator, noise: float) -> Array:
    upper = _polar(1.0, rng.uniform(0, np.pi, size=len(X)))
    points = np.where(X == 0, upper, np.array([1.0, 0.5]) - upper)
    return points + noise * rng.normal(size=points.shape)


def _moons_mean(X: ArrayLike) -> Array:
    upper = np.array([0.0, 2 / np.pi])
    return np.where(np.asarray(X) == 0, upper, np.array([1.0, 0.5]) - upper)


def _moons_std(X: ArrayLike, noise: float) -> Array:
    variance = np.array([0.5, 0.5 - 4 / np.pi**2]) + noise**2
    return np.tile(np.sqrt(variance), (len(np.asarray(X)), 1))


def make_helix(
    n_samples: int = 5000, *, noise: float = 0.4, random_state: RandomState = None
) -> Problem:
    r"""A spiral whose centre moves with x: a curve as conditional law, after [2]_.

    .. math:: y = (2x + u \sin 2u,\; 2x + u \cos 2u) + \epsilon,

    x standard normal, u uniform on [0, 2 pi], independent N(0, noise²) errors (the laws of x, u
    and the errors are our choice).

    Parameters
    ----------
    n_samples : int, default=5000
        Pairs.
    noise : float, default=0.4
        Standard deviation of the errors.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        With mean and std.
    """
    rng = _start(n_samples, noise, random_state)
    X = rng.normal(size=(n_samples, 1))
    std = partial(_helix_std, noise=noise)
    return _problem("helix", X, partial(_helix_law, noise=noise), rng, _helix_mean, std)


def _helix_law(X: Array, rng: Generator, noise: float) -> Array:
    u = rng.uniform(0, 2 * np.pi, size=len(X))
    spiral = u[:, None] * np.column_stack([np.sin(2 * u), np.cos(2 * u)])
    return 2 * X + spiral + noise * rng.normal(size=spiral.shape)


def _helix_mean(X: ArrayLike) -> Array:
    """E u sin 2u = -1/2 and E u cos 2u = 0, by parts."""
    return 2 * np.asarray(X) + np.array([-0.5, 0.0])


def _helix_std(X: ArrayLike, noise: float) -> Array:
    """E u² sin² 2u = E u²/2 - 1/16 and E u² cos² 2u = E u²/2 + 1/16, with E u² = 4 pi²/3."""
    half = 2 * np.pi**2 / 3
    variance = np.array([half - 1 / 16 - 1 / 4, half + 1 / 16]) + noise**2
    return np.tile(np.sqrt(variance), (len(np.asarray(X)), 1))


def make_rings(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    r"""A circle of radius x around the origin.

    x is uniform on [.5, 2] (our choice), the angle uniform, with N(0, noise²) errors. The
    conditional mean is 0 and every direction is alike, yet the law is far from Gaussian.

    Parameters
    ----------
    n_samples : int, default=1000
        Pairs.
    noise : float, default=0.1
        Standard deviation of the errors.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        With mean and std.
    """
    rng = _start(n_samples, noise, random_state)
    X = rng.uniform(0.5, 2, size=(n_samples, 1))
    std = partial(_rings_std, noise=noise)
    return _problem("rings", X, partial(_rings_law, noise=noise), rng, _zero_mean, std)


def _rings_law(X: Array, rng: Generator, noise: float) -> Array:
    points = _polar(X[:, 0], rng.uniform(0, 2 * np.pi, size=len(X)))
    return points + noise * rng.normal(size=points.shape)


def _rings_std(X: ArrayLike, noise: float) -> Array:
    return np.repeat(np.sqrt(np.asarray(X) ** 2 / 2 + noise**2), 2, axis=1)


# ---------------------------------------------------------------------------- mixtures
def make_asymmetric_mixture(
    n_samples: int = 2000, *, noise: float = 1.0, random_state: RandomState = None
) -> Problem:
    r"""Two unequal modes that part and meet with x: :math:`\frac23 N(a, 1) + \frac13 N(-a, .25)`.

    :math:`a = 1 + x_1 + x_2 / 2` with x standard normal in two dimensions. .25 is the variance of
    the smaller mode, its standard deviation is .5.

    Parameters
    ----------
    n_samples : int, default=2000
        Pairs.
    noise : float, default=1.0
        Factor of both modes' standard deviations.
    random_state : int, RandomState, Generator or None, default=None
        For the pairs.

    Returns
    -------
    Problem
        With y of shape (n,), mean and std.
    """
    rng = _start(n_samples, noise, random_state)
    X = rng.normal(size=(n_samples, 2))
    law, std = partial(_mixture_law, noise=noise), partial(_mixture_std, noise=noise)
    return _problem("asymmetric_mixture", X, law, rng, _mixture_mean, std)


def _mixture_centre(X: ArrayLike) -> Array:
    table = np.asarray(X)
    return 1 + table[:, 0] + table[:, 1] / 2


def _mixture_law(X: Array, rng: Generator, noise: float) -> Array:
    large = rng.uniform(size=len(X)) < 2 / 3
    centre = _mixture_centre(X) * np.where(large, 1.0, -1.0)
    return centre + noise * np.where(large, 1.0, 0.5) * rng.normal(size=len(X))


def _mixture_mean(X: ArrayLike) -> Array:
    return _mixture_centre(X) / 3


def _mixture_std(X: ArrayLike, noise: float) -> Array:
    """Between the modes 8a²/9, within them (2/3) 1 + (1/3) .25 = .75."""
    return np.sqrt(8 * _mixture_centre(X) ** 2 / 9 + 0.75 * noise**2)


def make_eight_gaussians(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    """Eight small Gaussians on a circle of radius 2, unconditional, as in [3]_.

    Parameters
    ----------
    n_samples : int, default=1000
        Responses.
    noise : float, default=0.1
        Standard deviation of each Gaussian.
    random_state : int, RandomState, Generator or None, default=None
        For the responses.

    Returns
    -------
    Problem
        With X None; ``problem.sample(None, 500)`` has shape (500, 2).
    """
    rng = _start(n_samples, noise, random_state)
    law = partial(_eight_gaussians_law, noise=noise)
    y = law(np.empty((n_samples, 0)), rng)
    return Problem(X=None, y=y, name="eight_gaussians", law=law)


def _eight_gaussians_law(X: Array, rng: Generator, noise: float) -> Array:
    points = _polar(2.0, np.pi * rng.integers(8, size=len(X)) / 4)
    return points + noise * rng.normal(size=points.shape)


# ---------------------------------------------------------------------------- real data
def fetch_mnist(
    subset: str = "train", *, data_home: str | os.PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Handwritten digits, from the folder ``SKLSDM_DATA`` or from OpenML.

    Where the environment variable ``SKLSDM_DATA`` names a folder with ``mnist.npz`` (arrays
    x_train, y_train, x_test, y_test), that file; otherwise scikit-learn's ``fetch_openml``
    downloads "mnist_784" and keeps it.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        60,000 or 10,000 images, in the original order.
    data_home : path-like, optional
        scikit-learn's cache folder, for ``fetch_openml``.

    Returns
    -------
    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,), int64

    Raises
    ------
    OSError
        Neither way leads to the data, or the file cannot be read.
    """
    return _fetch_images("mnist", "mnist_784", subset, data_home)


def fetch_fashion_mnist(
    subset: str = "train", *, data_home: str | os.PathLike[str] | None = None
) -> tuple[Array, Array]:
    """Pieces of clothing in the format of MNIST, from ``SKLSDM_DATA`` or from OpenML.

    Parameters
    ----------
    subset : {"train", "test"}, default="train"
        60,000 or 10,000 images, in the original order.
    data_home : path-like, optional
        scikit-learn's cache folder, for ``fetch_openml``.

    Returns
    -------
    images : ndarray of shape (n, 28, 28), uint8
    labels : ndarray of shape (n,), int64
        0 to 9: T-shirt/top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle
        boot.

    Raises
    ------
    OSError
        Neither way leads to the data, or the file cannot be read.
    """
    return _fetch_images("fashion_mnist", "Fashion-MNIST", subset, data_home)


def load_benchmark(name: str) -> dict[str, Array]:
    """All arrays of ``<name>.npz`` in the folder that ``SKLSDM_DATA`` names.

    Parameters
    ----------
    name : str
        Name of the data set, without folder and ending.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    ValueError
        ``name`` is not a plain name.
    OSError
        The variable is not set, there is no such file, or it cannot be read.
    """
    if not isinstance(name, str) or name in {"", ".", ".."} or Path(name).name != name:
        raise ValueError(f"name must be a plain file name without folder and ending, got {name!r}.")
    path = _data_file(name)
    if path is None:
        raise OSError(
            f"The environment variable {DATA_VARIABLE} is not set: set it to the folder that "
            f"holds {name}.npz."
        )
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.npz"))
        raise FileNotFoundError(
            f"There is no {path}; the folder ({DATA_VARIABLE}) holds {known or 'no .npz files'}."
        )
    return _read_npz(path)


def _data_file(name: str) -> Path | None:
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder) / f"{name}.npz" if folder else None


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        # np.load leaves a file that it opened itself open when it is not a zip archive
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise OSError(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def _fetch_images(
    name: str, openml_name: str, subset: str, data_home: str | os.PathLike[str] | None
) -> tuple[Array, Array]:
    check_choice("subset", subset, ("train", "test"))
    path = _data_file(name)
    if path is not None and path.is_file():
        arrays = _read_npz(path)
        try:
            images, labels = arrays[f"x_{subset}"], arrays[f"y_{subset}"]
        except KeyError as error:
            raise OSError(f"{path} lacks the array {error}, it has {sorted(arrays)}.") from None
        return images.astype(np.uint8, copy=False), labels.astype(np.int64)
    try:
        with warnings.catch_warnings():  # the error below says what the retries' warnings say
            warnings.filterwarnings("ignore", message="A network error occurred")
            bunch = fetch_openml(openml_name, version=1, as_frame=False, data_home=data_home)
    except (OSError, ValueError, ImportError) as error:
        tried = f"{DATA_VARIABLE} is not set" if path is None else f"there is no {path}"
        raise OSError(
            f"{openml_name} was found neither way: {tried}, and fetch_openml failed "
            f"({type(error).__name__}: {error}). Set {DATA_VARIABLE} to a folder that holds "
            f"{name}.npz with x_train, y_train, x_test and y_test, or allow the download."
        ) from None  # the message names the cause; urllib's traceback is 40 lines
    rows = slice(0, 60_000) if subset == "train" else slice(60_000, None)  # OpenML joins the two
    images = np.asarray(bunch.data[rows]).reshape(-1, 28, 28).astype(np.uint8)
    return images, np.asarray(bunch.target[rows]).astype(np.int64)

"""Laws in one and two dimensions: arms, a board, curves, skewed errors, mixtures of Gaussians.

Each has a function that draws, and one each for the mean and the standard deviation. All three
take the conditions and the size of the noise.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from sklsdm.datasets.problem import Array, Problem, build_problem, checked_generator
from sklsdm.randomness import RandomState


def _polar(radius: ArrayLike, angle: Array) -> Array:
    """Points (n, 2) at a radius and an angle."""
    return np.asarray(radius)[..., None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _zero_mean(X: ArrayLike, noise: float) -> Array:
    return np.zeros((len(np.asarray(X)), 2))


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
        Draws the pairs: an int gives the same ones every time.

    Returns
    -------
    Problem
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return build_problem("arms", X, rng, noise, _arms_law, _zero_mean, _arms_std)


def _arms_law(X: Array, rng: Generator, noise: float) -> Array:
    arm = rng.integers(3, size=len(X))
    points = _polar(1 + X[:, 1] / 2, np.pi * X[:, 0] / 2 + 2 * np.pi * arm / 3)
    return points + noise * rng.normal(size=points.shape)


def _arms_std(X: ArrayLike, noise: float) -> Array:
    """The three directions, 120 degrees apart, have mean 0 and covariance I / 2."""
    radius = 1 + np.asarray(X)[:, 1] / 2
    return np.repeat(np.sqrt(radius**2 / 2 + noise**2)[:, None], 2, axis=1)


# ---------------------------------------------------------------------------- pinwheel
_TURNS, _N_BLADES, _TWIST = 3, 5, 0.5
_BLADE = (0.3, 1.5)  # radii between which a blade lies


def make_pinwheel(
    n_samples: int = 2000, *, noise: float = 0.03, random_state: RandomState = None
) -> Problem:
    r"""A pinwheel of five bent blades that turns three times over the range of x.

    x is uniform on [-1, 1], k uniform on {0, ..., 4}, r uniform on [0.3, 1.5], and

    .. math:: y = r (\cos a, \sin a) + \epsilon, \quad a = 3 \pi x + 2 \pi k / 5 + r / 2,

    with independent N(0, noise²) errors. Mean and spread do not depend on x, and the energy score
    hardly tells the truth from draws that ignore x: measure with :func:`share_near_a_blade`.

    Parameters
    ----------
    n_samples : int, default=2000
        Pairs.
    noise : float, default=0.03
        Standard deviation of the errors.
    random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 1))
    return build_problem("pinwheel", X, rng, noise, _pinwheel_law, _zero_mean, _pinwheel_std)


def _pinwheel_law(X: Array, rng: Generator, noise: float) -> Array:
    blade = rng.integers(_N_BLADES, size=len(X))
    radius = rng.uniform(*_BLADE, size=len(X))
    turn = _TURNS * np.pi * X[:, 0] + 2 * np.pi * blade / _N_BLADES
    points = _polar(radius, turn + _TWIST * radius)
    return points + noise * rng.normal(size=points.shape)


def _pinwheel_std(X: ArrayLike, noise: float) -> Array:
    """Five directions, evenly spaced, have covariance I / 2, times the mean squared radius."""
    low, high = _BLADE
    squared_radius = (low**2 + low * high + high**2) / 3
    return np.full((len(np.asarray(X)), 2), np.sqrt(squared_radius / 2 + noise**2))


def share_near_a_blade(X: ArrayLike, draws: ArrayLike, distance: float = 0.1) -> float:
    """Share of the draws (n, m, 2) within `distance` of a blade of the pinwheel at X (n, 1).

    The distance is taken along the circle through the draw. With :func:`make_pinwheel`'s noise
    the true law has about .998, and draws that ignore x .21.
    """
    points = np.asarray(draws)
    radius = np.linalg.norm(points, axis=-1)
    turn = _TURNS * np.pi * np.asarray(X)[:, :1] + _TWIST * radius
    blades = (np.arctan2(points[..., 1], points[..., 0]) - turn) * _N_BLADES / (2 * np.pi)
    off = np.abs(blades - np.round(blades)) * 2 * np.pi / _N_BLADES * radius
    return float((off < distance).mean())


# ---------------------------------------------------------------------------- checkerboard
_BOARD = 4  # squares along a side, each of length 1, around the origin


def make_checkerboard(
    n_samples: int = 2000, *, noise: float = 0.02, random_state: RandomState = None
) -> Problem:
    r"""A checkerboard whose squares are shifted by x; what leaves it on one side enters opposite.

    x is uniform on [-1, 1]², c uniform on the eight black squares of a board of 4 x 4 squares that
    covers [-2, 2]², and

    .. math:: y = ((c + x + 2) \bmod 4) - 2 + \epsilon,

    with independent N(0, noise²) errors. Without the errors each output by itself is uniform on
    [-2, 2] at every x, so only draws of both outputs together can show what x does: measure with
    :func:`share_on_a_square`.

    Parameters
    ----------
    n_samples : int, default=2000
        Pairs.
    noise : float, default=0.02
        Standard deviation of the errors.
    random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return build_problem(
        "checkerboard", X, rng, noise, _checkerboard_law, _zero_mean, _checkerboard_std
    )


def _checkerboard_law(X: Array, rng: Generator, noise: float) -> Array:
    column = rng.integers(_BOARD, size=len(X))
    row = 2 * rng.integers(_BOARD // 2, size=len(X)) + column % 2  # black: the sum is even
    corner = np.column_stack([column, row])
    points = (corner + rng.uniform(size=corner.shape) + X) % _BOARD - _BOARD / 2
    return points + noise * rng.normal(size=points.shape)


def _checkerboard_std(X: ArrayLike, noise: float) -> Array:
    """A uniform law on an interval of length 4 has variance 16 / 12."""
    return np.full((len(np.asarray(X)), 2), np.sqrt(_BOARD**2 / 12 + noise**2))


def share_on_a_square(X: ArrayLike, draws: ArrayLike) -> float:
    """Share of the draws (n, m, 2) on a black square of the checkerboard shifted by X (n, 2).

    With :func:`make_checkerboard`'s noise the true law has about .96, and draws that ignore x .5.
    """
    points = np.asarray(draws)
    squares = np.floor(points - np.asarray(X)[:, None])  # the board's side is even: no wrapping
    black = squares.sum(axis=-1) % 2 == 0
    inside = (np.abs(points) <= _BOARD / 2).all(axis=-1)
    return float((black & inside).mean())


# ---------------------------------------------------------------------------- plane curves
def make_two_moons(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    r"""Two interleaved half circles; x tells which of them y lies on.

    x is 0 or 1 with equal probability, t uniform on [0, pi]; y is :math:`(\cos t, \sin t)` for
    x = 0 and :math:`(1 - \cos t, 1/2 - \sin t)` for x = 1, plus N(0, noise²) errors.

    Parameters
    ----------
    n_samples, noise, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
        X of shape (n, 1) holds 0.0 and 1.0.
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.integers(2, size=(n_samples, 1)).astype(np.float64)
    return build_problem("two_moons", X, rng, noise, _moons_law, _moons_mean, _moons_std)


def _moons_law(X: Array, rng: Generator, noise: float) -> Array:
    upper = _polar(1.0, rng.uniform(0, np.pi, size=len(X)))
    points = np.where(X == 0, upper, np.array([1.0, 0.5]) - upper)
    return points + noise * rng.normal(size=points.shape)


def _moons_mean(X: ArrayLike, noise: float) -> Array:
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
    n_samples, noise, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.normal(size=(n_samples, 1))
    return build_problem("helix", X, rng, noise, _helix_law, _helix_mean, _helix_std)


def _helix_law(X: Array, rng: Generator, noise: float) -> Array:
    u = rng.uniform(0, 2 * np.pi, size=len(X))
    spiral = u[:, None] * np.column_stack([np.sin(2 * u), np.cos(2 * u)])
    return 2 * X + spiral + noise * rng.normal(size=spiral.shape)


def _helix_mean(X: ArrayLike, noise: float) -> Array:
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
    conditional mean is 0 and the covariance a multiple of I, yet the law is far from Gaussian.

    Parameters
    ----------
    n_samples, noise, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.uniform(0.5, 2, size=(n_samples, 1))
    return build_problem("rings", X, rng, noise, _rings_law, _zero_mean, _rings_std)


def _rings_law(X: Array, rng: Generator, noise: float) -> Array:
    points = _polar(X[:, 0], rng.uniform(0, 2 * np.pi, size=len(X)))
    return points + noise * rng.normal(size=points.shape)


def _rings_std(X: ArrayLike, noise: float) -> Array:
    return np.repeat(np.sqrt(np.asarray(X) ** 2 / 2 + noise**2), 2, axis=1)


# ---------------------------------------------------------------------------- skewed errors
def make_skewed(
    n_samples: int = 2000, *, noise: float = 1.0, random_state: RandomState = None
) -> Problem:
    r"""One output whose spread and skew change with x, from a long left tail to a long right one.

    .. math:: y = x_1 + \mathrm{noise} \cdot e^{x_2} (w (E_1 - 1) - (1 - w)(E_2 - 1)),
        \quad w = (1 + x_1) / 2,

    x uniform on [-1, 1]², E_1 and E_2 exponential with mean 1. The mean is :math:`x_1`, and the
    skewness goes from -2 at :math:`x_1 = -1` to 2 at :math:`x_1 = 1`.

    Parameters
    ----------
    noise : float, default=1.0
        Factor of the errors.
    n_samples, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
        With y of shape (n,).
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.uniform(-1, 1, size=(n_samples, 2))
    return build_problem("skewed", X, rng, noise, _skewed_law, _skewed_mean, _skewed_std)


def _skewed_law(X: Array, rng: Generator, noise: float) -> Array:
    up, down = rng.exponential(size=(2, len(X))) - 1
    w = (1 + X[:, 0]) / 2
    return X[:, 0] + noise * np.exp(X[:, 1]) * (w * up - (1 - w) * down)


def _skewed_mean(X: ArrayLike, noise: float) -> Array:
    return np.asarray(X, dtype=np.float64)[:, 0]


def _skewed_std(X: ArrayLike, noise: float) -> Array:
    """Both exponentials have variance 1, and w² + (1 - w)² = (1 + x1²) / 2."""
    table = np.asarray(X)
    return noise * np.exp(table[:, 1]) * np.sqrt((1 + table[:, 0] ** 2) / 2)


# ---------------------------------------------------------------------------- mixtures
def make_asymmetric_mixture(
    n_samples: int = 2000, *, noise: float = 1.0, random_state: RandomState = None
) -> Problem:
    r"""Two unequal modes that part and meet with x: :math:`\frac23 N(a, 1) + \frac13 N(-a, .25)`.

    :math:`a = 1 + x_1 + x_2 / 2` with x standard normal in two dimensions. .25 is the variance of
    the smaller mode, its standard deviation is .5.

    Parameters
    ----------
    noise : float, default=1.0
        Factor of both modes' standard deviations.
    n_samples, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
        With y of shape (n,).
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = rng.normal(size=(n_samples, 2))
    return build_problem(
        "asymmetric_mixture", X, rng, noise, _mixture_law, _mixture_mean, _mixture_std
    )


def _mixture_centre(X: ArrayLike) -> Array:
    table = np.asarray(X)
    return 1 + table[:, 0] + table[:, 1] / 2


def _mixture_law(X: Array, rng: Generator, noise: float) -> Array:
    large = rng.uniform(size=len(X)) < 2 / 3
    centre = _mixture_centre(X) * np.where(large, 1.0, -1.0)
    return centre + noise * np.where(large, 1.0, 0.5) * rng.normal(size=len(X))


def _mixture_mean(X: ArrayLike, noise: float) -> Array:
    return _mixture_centre(X) / 3


def _mixture_std(X: ArrayLike, noise: float) -> Array:
    """The variance is 8a²/9 between the modes and (2/3) 1 + (1/3) .25 = .75 within them."""
    return np.sqrt(8 * _mixture_centre(X) ** 2 / 9 + 0.75 * noise**2)


def make_eight_gaussians(
    n_samples: int = 1000, *, noise: float = 0.1, random_state: RandomState = None
) -> Problem:
    """Eight small Gaussians on a circle of radius 2, unconditional, as in [3]_.

    Parameters
    ----------
    noise : float, default=0.1
        Standard deviation of each Gaussian.
    n_samples, random_state
        As for :func:`make_arms`.

    Returns
    -------
    Problem
        With X of shape (n, 0); ``problem.sample(None, 500)`` has shape (500, 2).
    """
    rng = checked_generator(n_samples, noise, random_state)
    X = np.empty((n_samples, 0))
    return build_problem(
        "eight_gaussians", X, rng, noise, _eight_gaussians_law, _zero_mean, _eight_gaussians_std
    )


def _eight_gaussians_law(X: Array, rng: Generator, noise: float) -> Array:
    points = _polar(2.0, np.pi * rng.integers(8, size=len(X)) / 4)
    return points + noise * rng.normal(size=points.shape)


def _eight_gaussians_std(X: ArrayLike, noise: float) -> Array:
    """Eight centres, evenly spaced at radius 2, have mean 0 and covariance 2 I."""
    return np.full((len(np.asarray(X)), 2), np.sqrt(2 + noise**2))

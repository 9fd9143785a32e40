"""The two terms of the risk bound: which stage is the weak one?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from sklsdm.diagnosis.base import Array, Evidence, EvidenceStream, Fit, entry
from sklsdm.metrics import energy_distance

_MOST_POINTS = 500  # in a sample whose exact optimal transport is computed
_N_SPLITS = 3  # random halves over which distances are averaged
_N_CODES = 32  # codes at which the decoder's slope is measured
_MOST_DIRECTIONS = 64  # of the latent space, along which it is measured
_STEP = 0.01  # standard deviations of the codes


@dataclass(frozen=True, eq=False)
class RiskBound:
    r"""The risk bound on held-out pairs, and its terms.

    .. math:: W_1((X, D(H)), (X, Y)) \le E\|Y - D(E(Y))\| + \max(1, L)\, W_1((X, H), (X, E(Y)))

    for a decoder D with Lipschitz constant L: the triangle inequality through (X, D(E(Y))). All
    of X, Y and the codes are standardised, and the norm of each is the root mean square over its
    columns. The joint norm is Euclidean.

    Attributes
    ----------
    reconstruction_error : float
        The first term, of stage 1; for a stochastic decoder with its noise.
    latent_distance, latent_distance_real : float
        The Wasserstein distance in the second term, of stage 2, and that of two halves of the
        real pairs at the same size. It is exact optimal transport between samples, which is
        larger than the distance of the laws, and more so in many dimensions: only what exceeds
        the real value speaks against stage 2.
    latent_energy, latent_energy_real : float
        The energy distances of the same samples, whose expectation is that of the laws: about 0
        where the codes are right.
    lipschitz : float or None
        Upper bound on L from the norms of the decoder's layers; None where none is known.
    local_slopes : ndarray of shape (c,), float64
        Norms of the decoder's Jacobian at codes, real and drawn.
    bound : float or None
        The right-hand side; None without `lipschitz`.
    output_distance, output_distance_real : float
        The left-hand side, and its value for two halves of the real pairs.
    reconstruction_distance : float
        The left-hand side for reconstructions in place of draws.
    n_points : int
        Points in each sample of the distances.
    stochastic_decoder : bool
        Whether the decoder draws what the code does not hold. `reconstruction_error` then
        includes the noise of the responses, and `stage_1` is the excess distance instead.
    """

    reconstruction_error: float
    latent_distance: float
    latent_distance_real: float
    latent_energy: float
    latent_energy_real: float
    lipschitz: float | None
    local_slopes: Array
    bound: float | None
    output_distance: float
    output_distance_real: float
    reconstruction_distance: float
    n_points: int
    stochastic_decoder: bool
    stage_1: float = field(init=False)
    stage_2: float = field(init=False)

    def __post_init__(self) -> None:
        excess = max(0.0, self.reconstruction_distance - self.output_distance_real)
        stage_1 = excess if self.stochastic_decoder else self.reconstruction_error
        beyond = max(0.0, self.latent_distance - self.latent_distance_real)
        object.__setattr__(self, "stage_1", stage_1)
        object.__setattr__(self, "stage_2", max(1.0, self.local_slope) * beyond)

    @property
    def local_slope(self) -> float:
        """Median norm of the decoder's Jacobian."""
        return float(np.median(self.local_slopes))

    def lines(self) -> list[str]:
        slope = f"local {self.local_slope:.2f}, at most {self.local_slopes.max():.2f}"
        known = "no bound known" if self.lipschitz is None else f"at most {self.lipschitz:.2f}"
        draws = f"{self.output_distance:.3f} (real against real {self.output_distance_real:.3f})"
        if self.bound is not None:
            draws += f", bound {self.bound:.3f}"
        return [
            entry("reconstruction error (stage 1)", f"{self.reconstruction_error:.3f}"),
            entry(
                "W1 of (x, code) (stage 2)",
                f"{self.latent_distance:.3f} (real against real {self.latent_distance_real:.3f})",
            ),
            entry(
                "energy distance of (x, code)",
                f"{self.latent_energy:.4f} (real against real {self.latent_energy_real:.4f})",
            ),
            entry("decoder's Lipschitz constant", f"{known}; {slope}"),
            entry("W1 of (x, draw)", draws),
            entry(
                "what each stage adds", f"stage 1: {self.stage_1:.3f}, stage 2: {self.stage_2:.3f}"
            ),
        ]


def judge_risk(evidence: Evidence) -> RiskBound:
    """The terms of the risk bound; averages over the fits, where several are pooled.

    The law of pooled draws is a mixture, and W1 is convex, so the mean of the bounds is a bound.
    """
    random = evidence.random(EvidenceStream.RISK)
    terms = [_terms(fit, evidence, random) for fit in evidence.fits]
    by_name = {name: [one[name] for one in terms] for name in terms[0]}
    slopes, bounds = by_name.pop("local_slopes"), by_name.pop("bound")
    constants = by_name.pop("lipschitz")
    return RiskBound(
        **{name: float(np.mean(values)) for name, values in by_name.items()},
        lipschitz=None if None in constants else max(constants),
        local_slopes=np.concatenate(slopes),
        bound=None if None in bounds else float(np.mean(bounds)),
        n_points=points_per_sample(len(evidence.y)),
        stochastic_decoder=evidence.fits[0].sampler.autoencoder.decoder_noise_dim_ > 0,
    )


def _terms(fit: Fit, evidence: Evidence, random: np.random.Generator) -> dict[str, Any]:
    """The fields of :class:`RiskBound` that are those of one fit."""
    rebuilt = fit.reconstruct(random)
    distances = _distances(fit, evidence, rebuilt, random)
    error = float(root_mean_square(rebuilt - evidence.y).mean())
    width = fit.codes.shape[1] ** 0.5
    lipschitz = None if fit.slope_bound is None else fit.slope_bound * width
    bound = risk_bound(error, distances["latent_distance"], lipschitz)
    return {
        **distances,
        "reconstruction_error": error,
        "lipschitz": lipschitz,
        "local_slopes": local_slopes(fit, random),
        "bound": None if fit.sampler.autoencoder.adds_residuals else bound,
    }


def _distances(
    fit: Fit, evidence: Evidence, rebuilt: Array, random: np.random.Generator
) -> dict[str, float]:
    """The distances of :class:`RiskBound`, averaged over random halves of the pairs."""
    x, y = evidence.condition, evidence.y
    real_codes, drawn_codes = joint(x, fit.codes), joint(x, fit.drawn_codes)
    real, drawn, reconstructed = joint(x, y), joint(x, fit.drawn), joint(x, rebuilt)
    half = points_per_sample(len(y))
    by_split = []
    for _ in range(_N_SPLITS):
        order = random.permutation(len(y))
        a, b = order[:half], order[half : 2 * half]
        by_split.append(
            {
                "latent_distance": both_ways(wasserstein, drawn_codes, real_codes, a, b),
                "latent_distance_real": wasserstein(real_codes[a], real_codes[b]),
                "latent_energy": both_ways(energy_distance, drawn_codes, real_codes, a, b),
                "latent_energy_real": energy_distance(real_codes[a], real_codes[b]),
                "output_distance": both_ways(wasserstein, drawn, real, a, b),
                "output_distance_real": wasserstein(real[a], real[b]),
                "reconstruction_distance": both_ways(wasserstein, reconstructed, real, a, b),
            }
        )
    return {name: float(np.mean([split[name] for split in by_split])) for name in by_split[0]}


def points_per_sample(n_pairs: int) -> int:
    """Half of the pairs, or 500."""
    return min(_MOST_POINTS, n_pairs // 2)


def risk_bound(error: float, latent_distance: float, lipschitz: float | None) -> float | None:
    """The right-hand side of the bound; None if no Lipschitz constant is known."""
    return None if lipschitz is None else error + max(1.0, lipschitz) * latent_distance


def root_mean_square(rows: Array) -> Array:
    """Norm (n,) of rows (n, q) that is 1 where every column is 1."""
    return np.sqrt(np.square(rows, dtype=np.float64).mean(axis=1))


def joint(condition: Array, values: Array) -> Array:
    """Points (n, p + q) whose Euclidean norm is the joint one of root mean squares."""
    parts = [part.astype(np.float64) / part.shape[1] ** 0.5 for part in (condition, values)]
    return np.concatenate(parts, axis=1)


def wasserstein(a: Array, b: Array) -> float:
    """Exact 1-Wasserstein distance of two samples (n, q) of one size."""
    cost = cdist(a, b)
    return float(cost[linear_sum_assignment(cost)].mean())


def both_ways(
    distance: Callable[[Array, Array], float], drawn: Array, real: Array, a: Array, b: Array
) -> float:
    """Distance of what is drawn for one half of the conditions from the real other half."""
    return (distance(drawn[a], real[b]) + distance(drawn[b], real[a])) / 2


def local_slopes(fit: Fit, random: np.random.Generator) -> Array:
    """Norms of the mean decoder's Jacobian at real and drawn codes, by central differences.

    Where the latent space has more than 64 dimensions, only the leading principal directions of
    its codes are looked at.
    """
    chosen = [
        codes[random.permutation(len(codes))[: _N_CODES // 2]]
        for codes in (fit.codes, fit.drawn_codes)
    ]
    points = np.concatenate(chosen).astype(np.float64)
    k = points.shape[1]
    directions = np.eye(k)
    if k > _MOST_DIRECTIONS:
        centred = fit.codes - fit.codes.mean(axis=0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][:_MOST_DIRECTIONS]
    columns = [
        (fit.decode(points + _STEP * way) - fit.decode(points - _STEP * way)) / (2 * _STEP)
        for way in directions
    ]
    jacobian = np.stack(columns, axis=2).astype(np.float64)  # (c, q, directions)
    return np.linalg.norm(jacobian, ord=2, axis=(1, 2)) * (k / jacobian.shape[1]) ** 0.5

"""Calibration: are probabilities right, for each output and for all outputs together?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chisquare, norm

from sklsdm.blocks import row_slices
from sklsdm.diagnosis.base import LEVEL, Array, Evidence, EvidenceStream, entry, p_text

LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
_MOST_OUTPUTS = 50  # that are judged by themselves; of more, evenly spaced ones
_FEWEST_FOR_TEN_BINS = 100


@dataclass(frozen=True, eq=False)
class Calibration:
    """Ranks of the observed responses among their draws, and what follows from them.

    Attributes
    ----------
    outputs : ndarray of shape (q,), int
        Outputs that are judged, numbered in the flattened response; at most 50.
    pit : ndarray of shape (n, q), float64
        Probability integral transforms: the share of draws below the response, ties and steps
        broken at random. Uniform on [0, 1] if the law is right.
    p_values : ndarray of shape (q,), float64
        Chi-square tests of their uniformity, not corrected for the number of outputs.
    joint_pit : ndarray of shape (n,), float64
        The same for the mean distance of the whole response to its draws, ranked among the
        draws' own: near 1 where the response lies farther out than the draws.
    joint_p_value : float
        Test of its uniformity.
    levels : ndarray of shape (k,), float64
        Nominal coverages.
    coverage : ndarray of shape (k, q), float64
        Share of responses in the central interval of each level, by output.
    joint_coverage : ndarray of shape (k,), float64
        Share of responses among the innermost draws of each level.
    skill : float or None
        Energy skill, as `score` has it; None without reference responses.
    """

    outputs: Array
    pit: Array
    p_values: Array
    joint_pit: Array
    joint_p_value: float
    levels: Array
    coverage: Array
    joint_coverage: Array
    skill: float | None

    @property
    def p_value(self) -> float:
        """Smallest p-value of the outputs and of all together, times their number (Bonferroni)."""
        found = [*self.p_values, self.joint_p_value]
        return float(min(1.0, len(found) * min(found)))

    @property
    def worst_output(self) -> int:
        """Place, among the judged outputs, of the one whose test is clearest."""
        return int(np.argmin(self.p_values))

    def fault(self) -> str | None:
        """ "narrow", "wide", "biased" or "shape"; None where no test speaks."""
        if self.p_value >= LEVEL:
            return None
        n = len(self.pit)
        # Mean square deviation from 1/2: 1/12 for uniform values, with variance 1/180.
        spread = (np.square(self.pit - 0.5).mean(axis=0) - 1 / 12) * (180 * n) ** 0.5
        shift = (self.pit.mean(axis=0) - 0.5) * (12 * n) ** 0.5
        outer = (self.joint_pit.mean() - 0.5) * (12 * n) ** 0.5
        strengths = {
            "narrow": max(spread.max(), outer),
            "wide": max(-spread.min(), -outer),
            "biased": np.abs(shift).max(),
        }
        clearest = max(strengths, key=lambda name: strengths[name])
        clear = norm.isf(LEVEL / (3 * (len(self.outputs) + 1)))
        return clearest if strengths[clearest] > clear else "shape"

    def lines(self) -> list[str]:
        shown = [self.levels.tolist().index(level) for level in (0.5, 0.8, 0.9, 0.95)]
        at = "  ".join(f"{self.levels[place]:>5.0%}" for place in shown)
        each = "  ".join(f"{self.coverage[place].mean():>5.1%}" for place in shown)
        joint = "  ".join(f"{self.joint_coverage[place]:>5.1%}" for place in shown)
        error = (0.9 * 0.1 / len(self.pit)) ** 0.5
        worst, many = self.worst_output, len(self.outputs)
        found = [
            entry("nominal coverage", at),
            entry("found, each output" if many > 1 else "found", each),
            entry("found, whole response", joint),
            entry("", f"(a standard error at 90%: {error:.1%})"),
            entry(
                "ranks of y among draws uniform?",
                f"{p_text(min(1.0, many * self.p_values[worst]))}"
                + (f" (output {self.outputs[worst]}, of {many})" if many > 1 else ""),
            ),
            entry("rank of the whole response?", p_text(self.joint_p_value)),
        ]
        if self.skill is not None:
            found.append(entry("energy skill", f"{self.skill:.3f} (0: no better than ignoring x)"))
        return found


def judge_calibration(evidence: Evidence) -> Calibration:
    """Ranks of responses among their draws, with tests."""
    return calibration_of(
        evidence.y, evidence.draws, evidence.random(EvidenceStream.CALIBRATION), evidence.skill
    )


def calibration_of(
    y: Array, draws: Array, random: np.random.Generator, skill: float | None = None
) -> Calibration:
    """Ranks of responses y (n, q) among their draws (n, m, q), with tests."""
    q = y.shape[1]
    outputs = np.unique(np.linspace(0, q - 1, min(q, _MOST_OUTPUTS)).astype(int))
    pit = transforms(y[:, outputs], draws[:, :, outputs], random)
    distances = mean_distances(y, draws)
    joint = transforms(distances[:, 0], distances[:, 1:], random)
    centre = 2 * np.abs(pit - 0.5)
    return Calibration(
        outputs=outputs,
        pit=pit,
        p_values=np.array([uniformity(column) for column in pit.T]),
        joint_pit=joint,
        joint_p_value=uniformity(joint),
        levels=LEVELS,
        coverage=(centre[None] <= LEVELS[:, None, None]).mean(axis=1),
        joint_coverage=(joint[None] <= LEVELS[:, None]).mean(axis=1),
        skill=skill,
    )


def transforms(y: Array, draws: Array, random: np.random.Generator) -> Array:
    """Randomised probability integral transforms of y (n, ...) among draws (n, m, ...).

    Uniform on [0, 1] if y and its draws are exchangeable, with ties or without.
    """
    below = (draws < y[:, None]).sum(axis=1)
    ties = (draws == y[:, None]).sum(axis=1)
    return (below + random.uniform(size=y.shape) * (ties + 1)) / (draws.shape[1] + 1)


def uniformity(values: Array) -> float:
    """p-value of a chi-square test that values (n,) in [0, 1] are uniform."""
    counts = np.histogram(values, bins=bins_of_ranks(len(values)), range=(0, 1))[0]
    return float(chisquare(counts).pvalue)


def bins_of_ranks(n_rows: int) -> int:
    """Bins of a histogram of so many transforms: 10, or 5 of fewer than 100."""
    return 10 if n_rows >= _FEWEST_FOR_TEN_BINS else 5


def mean_distances(y: Array, draws: Array) -> Array:
    """Mean distance (n, 1 + m) of y, and of each draw, to all others of its pool {y, draws}.

    This is the energy score's rank statistic: S. Allen, J. Ziegel and D. Ginsbourger (2024),
    "Assessing the calibration of multivariate probabilistic forecasts", QJRMS 150.
    """
    n, m, q = draws.shape
    found = np.empty((n, m + 1))
    for rows in row_slices(n, (m + 1) * (m + 1 + q)):
        pool = np.concatenate([y[rows, None], draws[rows]], axis=1).astype(np.float64)
        pool -= pool.mean(axis=1, keepdims=True)
        squares = np.square(pool).sum(axis=2)
        products = pool @ pool.transpose(0, 2, 1)
        squared = squares[:, :, None] + squares[:, None] - 2 * products
        found[rows] = np.sqrt(np.clip(squared, 0, None)).sum(axis=2) / m
    return found

"""What the judgements share: the evidence they look at, and how they print and export."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from sklsdm.blocks import spread_rows
from sklsdm.draws.drawing import Sampler

Array = NDArray[Any]

LEVEL = 0.01  # of every test by which a fault is named
_MOST_COLUMNS = 20  # that a classifier sees of x or of y as they are
_MOST_ROWS = 2000  # of each sample, by which these components are found
_N_COMPONENTS = 20  # principal components that it sees of wider ones


class EvidenceStream(IntEnum):
    """The uses of random numbers in a diagnosis. Changing a number changes what it finds."""

    PAIRS = 0  # which pairs are looked at, and the seeds of their draws
    RISK = PAIRS  # reads the same numbers from the start
    CALIBRATION = 1
    FOLLOWING = 2
    REBUILT = 3  # noise of the reconstructions
    SHIFT = 4


def evidence_stream(seed: int, use: EvidenceStream) -> np.random.Generator:
    """The random stream of one use in a diagnosis with this seed: none changes another."""
    return np.random.default_rng([seed, use])


@dataclass(frozen=True, eq=False)
class Fit:
    """One fitted estimator, with its latent space open: codes, reconstructions and draws."""

    sampler: Sampler
    codes: Array  # (n, k): standardised codes of the observed responses
    drawn_codes: Array  # (n, k): one standardised code drawn for each condition
    drawn: Array  # (n, q): the standardised responses that these decode to
    slope_bound: float | None  # upper bound on the decoder's Lipschitz constant, as in `decode`

    def decode(self, codes: Array, noise: Array | None = None) -> Array:
        """Standardised rows (n, q) for standardised codes (n, k), not clipped to a range.

        Without `noise` a stochastic decoder gives their mean.
        """
        autoencoder = self.sampler.autoencoder
        mean, scale = self.sampler.latent_standardiser.mean, self.sampler.latent_standardiser.scale
        latent = torch.from_numpy((codes * scale + mean).astype(np.float32))
        eps = None if noise is None else torch.from_numpy(noise.astype(np.float32))
        return autoencoder.decode_block(latent, self.sampler.device, eps).cpu().numpy()

    def noise(self, n_rows: int, random: np.random.Generator) -> Array:
        """Noise (n, d) of a stochastic decoder; d is 0 for others."""
        return random.normal(size=(n_rows, self.sampler.autoencoder.decoder_noise_dim_))

    def reconstruct(self, random: np.random.Generator) -> Array:
        """Standardised reconstructions (n, q), as they are drawn: with noise, inside the range."""
        rows = torch.from_numpy(self.decode(self.codes, self.noise(len(self.codes), random)))
        return self.sampler.form.inside(rows).numpy()


@dataclass(frozen=True, eq=False)
class Evidence:
    """Pairs that were not used in `fit`, and draws for their conditions, all standardised."""

    rows: NDArray[np.intp]  # (n,): which of the pairs passed in are looked at
    X: Array  # (n, ...): their conditions as numbers
    condition: Array  # (n, p): standardised conditions
    encoded: Array  # (n, p'): conditions as the networks see them; a classifier sees these
    y: Array  # (n, q): responses
    draws: Array  # (n, m, q): independent draws
    reference: Array | None  # (r, q): training responses
    fits: Sequence[Fit]
    skill: float | None  # energy skill
    seed: int

    def random(self, use: EvidenceStream) -> np.random.Generator:
        """The random stream of one use (:func:`evidence_stream`)."""
        return evidence_stream(self.seed, use)

    @cached_property
    def rebuilt(self) -> Array:
        """Reconstructions (n, q) of the responses, by the fits in turn, as draws are dealt."""
        random, n_fits = self.random(EvidenceStream.REBUILT), len(self.fits)
        rows = [fit.reconstruct(random) for fit in self.fits]
        mixed = rows[0].copy()
        for place in range(1, n_fits):
            mixed[place::n_fits] = rows[place][place::n_fits]
        return mixed

    def for_classifier(self) -> tuple[Array, Array, Array]:
        """Conditions (n, p), responses (n, q) and draws (n, m, q), few columns each."""
        n, m, q = self.draws.shape
        (condition,) = condense(self.encoded)
        y, draws = condense(self.y, self.draws.reshape(n * m, q))
        return condition, y, draws.reshape(n, m, -1)


def condense(*samples: Array) -> list[Array]:
    """Samples (n_i, q) of one kind as they are, or as principal components of all if q is large."""
    if samples[0].shape[1] <= _MOST_COLUMNS:
        return list(samples)
    together = np.concatenate([s[spread_rows(len(s), _MOST_ROWS)] for s in samples])
    pca = PCA(min(_N_COMPONENTS, *together.shape), random_state=0).fit(np.nan_to_num(together))
    return [pca.transform(np.nan_to_num(sample)) for sample in samples]


def as_plain(value: Any) -> Any:
    """A judgement as dicts, lists, numbers and strings, for JSON; NaN, as X may hold, as None.

    A dict holds the fields of a judgement, and its properties: the verdicts.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        names += [name for name, _ in inspect.getmembers(type(value), _is_property)]
        return {name: as_plain(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray | np.generic):
        plain = np.asarray(value)
        if plain.dtype.kind == "f" and np.isnan(plain).any():
            is_nan = np.isnan(plain)
            plain = plain.astype(object)
            plain[is_nan] = None
        return plain.tolist()
    if isinstance(value, list | tuple):
        return [as_plain(one) for one in value]
    return value


def _is_property(member: Any) -> bool:
    return isinstance(member, property)


def entry(label: str, text: str) -> str:
    """One line of the report."""
    return f"  {label:<38} {text}"


def p_text(p_value: float) -> str:
    """A p-value as it is printed."""
    return f"p = {p_value:.3f}" if p_value >= 1e-3 else "p < 0.001"

"""`diagnose`: gathers what the judgements of :mod:`sklsdm.diagnosis` look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import _safe_indexing

from sklsdm._validation import check_same_rows
from sklsdm.autoencoders import AUTOENCODERS
from sklsdm.diagnosis import (
    Diagnosis,
    Evidence,
    Fit,
    Settings,
    judge_calibration,
    judge_following,
    judge_memorisation,
    judge_modes,
    judge_risk,
)
from sklsdm.diagnosis.advice import TOO_FAVOURABLE
from sklsdm.diagnosis.base import EvidenceStream, evidence_stream
from sklsdm.draws.seen import share_seen, warn_if_seen
from sklsdm.encoders import ENCODERS
from sklsdm.inputs.unpaired import check_unpaired
from sklsdm.matchers import MATCHERS
from sklsdm.metrics.classifier import FEWEST_ROWS
from sklsdm.nets import one_thread
from sklsdm.public_calls import on_one_fit
from sklsdm.randomness import RandomState, draw_seed
from sklsdm.reading import read_plain
from sklsdm.shift import MAX_ROWS, Shift, compare_some

Array = NDArray[Any]

MAX_PAIRS = 2000  # that are looked at
_DRAWS = (99, 49, 19)  # for each pair: with y they make 100, 50 or 20 ranks, whole tenths
_MOST_NUMBERS = 2**24  # in all draws together
_MOST_PASSES = 2**22  # of a network for all draws together


class DiagnoseMixin(ABC):
    """`diagnose`, for an estimator that draws responses given conditions."""

    @abstractmethod
    def sample(
        self, X: ArrayLike, n_samples: int = 1, *, random_state: RandomState = None
    ) -> NDArray[Any]:
        """Draws (n, n_samples, *y_shape)."""

    @abstractmethod
    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """The energy skill."""

    def _about_model(self) -> dict[str, Any]:
        """Those of the `Settings` that depend on what is wrapped around an LSDMRegressor."""
        kind = type(self).__name__
        return {"model": kind, "prefix": "", "is_pooled": False, "is_search": False}

    @abstractmethod
    def _fits(self, X: Any) -> Sequence[tuple[Any, Any]]:
        """The fitted estimators that draw, each with X as it takes it."""

    @on_one_fit
    def diagnose(
        self,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any = None,
        *,
        random_state: RandomState = 0,
    ) -> Diagnosis:
        """Judge the draws on pairs that `fit` has not seen: can they be trusted?

        It measures what either stage loses, whether the draws follow x, whether probabilities are
        right, whether training responses are repeated, and whether modes are missing.
        `print` of the result is a page that ends in advice.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of at least 24 pairs, better 1,000 or more; of more than 2,000 some are
            chosen at random. They must follow the law of those in `fit`.
        y : array-like of shape (n, *y_shape)
            Their responses.
        Y_unpaired : array-like, memmap, torch Dataset or Unpaired, optional
            Responses without conditions that `fit` has not seen either: it is tested whether they
            follow the law of `y`. None shows what `fit` found out about its own
            (`unpaired_shift_`).
        random_state : int, RandomState, Generator or None, default=0
            Seeds draws, splits and classifiers.

        Returns
        -------
        sklsdm.diagnosis.Diagnosis

        Raises
        ------
        ValueError, TypeError
            Bad input, as in :meth:`sample` and :meth:`score`, or fewer than 24 pairs.

        Notes
        -----
        All draws together hold at most 2**24 numbers: for large responses there are 19 for each
        pair in place of 99, then fewer pairs. 500 pairs take a few seconds.
        """
        X = read_plain("X", X)
        estimator, inner_X = self._fits(X)[0]
        estimator._encode_X(inner_X)  # raises where draws would, before any are made
        target: Array = estimator._check_rows(y, "y")
        check_same_rows("X", inner_X, "y", target)
        if len(target) < FEWEST_ROWS:
            raise ValueError(
                f"X and y hold {len(target)} pairs, but diagnose needs at least {FEWEST_ROWS} "
                f"that were not used in fit, and better 1,000."
            )
        unpaired = check_unpaired(Y_unpaired, target, estimator._response_names())
        seed = draw_seed(random_state)
        with one_thread():
            evidence = _gather(self, X, target, seed)
            settings = _settings(self, estimator, evidence)
            return _judge(estimator, settings, evidence, unpaired)


def _gather(model: Any, X: Any, y: Array, seed: int) -> Evidence:
    """Up to 2,000 pairs and their draws, with the latent spaces of all fits."""
    random = evidence_stream(seed, EvidenceStream.PAIRS)
    first = model._fits(X)[0][0]
    n_pairs, n_draws = _sizes(len(y), first)
    rows = np.sort(random.permutation(len(y))[:n_pairs])
    X, y = _safe_indexing(X, rows), y[rows]
    fits = model._fits(X)
    estimator, inner_X = fits[0]
    numbers = estimator._check_X(inner_X)
    form = estimator._response_format_
    draws = model.sample(X, n_draws, random_state=int(random.integers(2**31 - 1)))
    flat = form.flatten(draws.reshape(-1, *form.shape)).reshape(n_pairs, n_draws, form.width)
    reference = estimator._reference_
    return Evidence(
        rows=rows,
        X=numbers,
        condition=np.nan_to_num(estimator._conditions_.rows(numbers)),
        encoded=estimator._encode_X(inner_X),
        y=form.flatten(y),
        draws=flat,
        reference=None if reference is None else form.flatten(reference),
        fits=[_open(fit, own_X, y, int(random.integers(2**31 - 1))) for fit, own_X in fits],
        skill=None if reference is None else model.score(X, y),
        seed=seed,
    )


def _sizes(n_pairs: int, estimator: Any) -> tuple[int, int]:
    """How many pairs are looked at, and how many draws are made for each."""
    width, passes = estimator._response_format_.width, estimator._sampler().n_passes
    most = min(_MOST_NUMBERS // width, _MOST_PASSES // passes)
    n_pairs = min(n_pairs, MAX_PAIRS, max(FEWEST_ROWS, most // _DRAWS[-1]))
    fitting = [n_draws for n_draws in _DRAWS if n_pairs * n_draws <= most]
    return n_pairs, fitting[0] if fitting else _DRAWS[-1]


def _open(estimator: Any, X: Any, y: Array, seed: int) -> Fit:
    """The latent space of one fit, with one draw for each condition, as code and as response."""
    standardiser = estimator._latent_standardiser_
    form = estimator._response_format_
    sampler = estimator._sampler()
    spread = torch.tensor(standardiser.scale, dtype=torch.float32, device=sampler.device)
    return Fit(
        sampler=sampler,
        codes=standardiser.forward(estimator.encode(y)),
        drawn_codes=standardiser.forward(estimator.sample_latent(X, random_state=seed)[:, 0]),
        drawn=form.flatten(estimator.sample(X, random_state=seed)[:, 0]),
        slope_bound=estimator.autoencoder_.decoder_slope(spread),
    )


def _judge(estimator: Any, settings: Settings, evidence: Evidence, unpaired: Any) -> Diagnosis:
    shift = estimator.unpaired_shift_
    if unpaired is not None:
        shift = _shift(estimator, evidence, unpaired)
    share = share_seen(evidence.reference, estimator.n_paired_, evidence.y)
    warn_if_seen(share, TOO_FAVOURABLE)
    return Diagnosis(
        n_pairs=len(evidence.y),
        n_draws=evidence.draws.shape[1],
        share_seen=share,
        settings=settings,
        risk=judge_risk(evidence),
        calibration=judge_calibration(evidence),
        following=judge_following(evidence),
        memorisation=judge_memorisation(evidence),
        modes=judge_modes(evidence),
        shift=shift,
    )


def _shift(estimator: Any, evidence: Evidence, unpaired: Any) -> Shift | None:
    """The test of `fit`, on the pairs and responses passed in; `examples` are rows of these."""
    random = evidence.random(EvidenceStream.SHIFT)
    chosen = np.sort(random.permutation(len(unpaired))[:MAX_ROWS])
    standardiser = estimator._latent_standardiser_
    other = standardiser.forward(estimator.encode(np.asarray(unpaired[chosen])))
    codes = torch.from_numpy(np.concatenate([evidence.fits[0].codes, other]))
    none, seed = np.arange(0), int(random.integers(2**31 - 1))
    compared = compare_some(codes, standardiser.scale, len(evidence.rows), none, seed)
    if compared is None:
        return None
    found = compared.found
    rows = chosen if found.is_of_unpaired else evidence.rows
    return replace(found, examples=tuple(rows[list(found.examples)].tolist()))


def _settings(model: DiagnoseMixin, estimator: Any, evidence: Evidence) -> Settings:
    return Settings(
        **model._about_model(),
        matcher=_name(estimator.matcher_, MATCHERS),
        autoencoder=_name(estimator.autoencoder_, AUTOENCODERS),
        condition_encoder=_name(estimator.condition_encoder_, ENCODERS),
        latent_dim=estimator.latent_dim_,
        n_outputs=evidence.y.shape[1],
        n_paired=estimator.n_paired_,
        n_unpaired=estimator.n_unpaired_,
        validation_fraction=float(estimator.validation_fraction),
        n_fits=len(evidence.fits),
    )


def _name(part: Any, table: Any) -> str:
    """The name of a part in its table, or that of its class."""
    names = [name for name, kind in table.items() if kind is type(part)]
    return names[0] if names else type(part).__name__

"""LSDMRegressor: draws from p(Y | X), learnt from few pairs and many responses without X."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin, clone
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data
from torch import Tensor

from sklsdm._validation import (
    check_choice,
    check_finite,
    check_integer,
    check_numeric,
    check_real,
    check_response_shape,
    check_same_rows,
    errors_name,
    shape_text,
)
from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.estimator import LatentSpaceEstimator, check_out
from sklsdm.exceptions import DistributionShiftWarning
from sklsdm.functional import scores
from sklsdm.functional.imputation import are_labels
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.metrics import skill
from sklsdm.nets import is_as_good, one_thread
from sklsdm.nets.run import Run, resolve_device
from sklsdm.pairing import draw_pseudo_pairs
from sklsdm.randomness import RandomState, draw_seed
from sklsdm.responses import (
    Responses,
    Standardiser,
    fit_standardiser,
    flat_rows,
    open_unpaired,
)

UNPAIRED_USES = ("auto", "latent", "match", "pair")
# In the order in which they are preferred, where unpaired responses outnumber the pairs.
LABEL_USES = ("pair", "match", "latent")
NUMBER_USES = ("match", "latent", "pair")
CONDITION_ENCODERS = ("auto", "flatten", "conv")
MAX_REFERENCE = 2000
MIN_HELD_OUT_TO_CHOOSE = 20  # fewer pairs cannot tell the uses of unpaired responses apart
PSEUDO_HELD_OUT = 256  # pairs and pseudo-pairs with labels that choose the state
MAX_JUDGED = 1024  # held-out pairs that choose the use of unpaired responses
MIN_PAIRS_TO_HOLD_OUT = 20
MAX_UNPAIRED_HELD_OUT = 2000
N_MEAN_DRAWS = 256
N_QUANTILE_DRAWS = 1024
N_SCORE_DRAWS = 64
FAR_OUTSIDE = 6.0


def _paired_names(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Let `fit` take X_paired= and Y_paired= too, without showing them to introspection."""

    @functools.wraps(fit)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        for place, (alias, name) in enumerate((("X_paired", "X"), ("Y_paired", "y"))):
            if alias in kwargs:
                if name in kwargs or len(args) > place:
                    raise TypeError(f"fit got both {alias}= and {name}=; give one of them.")
                kwargs[name] = kwargs.pop(alias)
        return fit(self, *args, **kwargs)

    return wrapped


@dataclass(frozen=True)
class _Conditions:
    """How conditions came and how they are standardised."""

    shape: tuple[int, ...]  # of one condition: (p,) or (c, h, w)
    standardiser: Standardiser
    encoder: str

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        return self.shape if self.encoder == "conv" else None

    def rows(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Conditions as standardised flat rows."""
        return self.standardiser.forward(flat_rows(X))


def preferred_uses(labels: bool, outnumbered: bool) -> tuple[str, ...]:
    """Uses of unpaired responses, the preferred first, for such conditions.

    `outnumbered` are the pairs, by the unpaired responses.
    """
    if not outnumbered:
        return ("latent", "match", "pair")
    return LABEL_USES if labels else NUMBER_USES


def choose_use(held_out: dict[str, NDArray[np.float64]]) -> str:
    """Of scores by held-out pair, for each use, the first that the best do not clearly beat."""
    rows = {use: torch.from_numpy(scores) for use, scores in held_out.items()}
    best = min(rows.values(), key=lambda scores: float(scores.mean()))
    return next(use for use, scores in rows.items() if is_as_good(scores, best))


class LSDMRegressor(RegressorMixin, LatentSpaceEstimator):
    """Conditional generation by latent space distribution matching, from pairs and unpaired Y.

    Stage 1 learns a latent space (E, D) of the responses from all of them, paired and unpaired.
    Stage 2 trains a generator H(x, η) on the pairs so that (X, H(X, η)) follows the law of
    (X, E(Y)). A draw from p(Y | X = x) is D(H(x, η)): one pass, no iteration.

    Parameters
    ----------
    latent_dim : int or "auto", default="auto"
        Dimension of the latent space. "auto": the number of outputs up to eight of them;
        above, 1.5 times the intrinsic dimension of the responses (Levina & Bickel 2004), rounded
        up. Capped, with a warning, below the number of responses.
    matcher : str or matcher object, default="wgan"
        How stage 2 matches: "wgan", "energy", "fgan", "diffusion", "flow", "transport",
        "sinkhorn" or "mdn"; see `sklsdm.matchers`. Its settings are reachable as
        `matcher__<name>`, also while it is a name.
    autoencoder : str, autoencoder object, transformer or pair of modules, default="auto"
        Stage 1: "mlp", "conv" (images), "vae", "dpa" (stochastic decoder), "pca", "identity", or
        "auto": the identity up to eight outputs, convolutions for images from 16×16 pixels,
        else an MLP. Also any scikit-learn transformer with `inverse_transform`, and a pair
        ``(encoder, decoder)`` of torch modules, whose own dimension is the latent one; see
        `sklsdm.autoencoders`.
    condition_encoder : {"auto", "flatten", "conv"}, default="auto"
        How X enters the networks: rows as they are ("flatten"), images through convolutions
        ("conv"); "auto" is "conv" for images.
    unpaired : {"latent", "match", "pair", "auto"}, default="auto"
        Use of the unpaired responses: in stage 1 only ("latent", the paper); also in stage 2,
        where the generated codes must then reproduce the law of all codes ("match"); or also as
        pseudo-pairs, with conditions from a model of x given the code (`sklsdm.pairing`), the
        codes that get none being matched as before ("pair"). "auto" fits stage 2 in all three
        ways and lets the held-out pairs choose: of those within a standard error of the best,
        "latent" before "match" before "pair" where the pairs are not outnumbered. Where they are:
        "pair", "match", "latent" for labels (each different x comes four times or more, on
        average), "match", "latent", "pair" for numbers. Where fewer than 20 pairs are held out the
        first of these is taken at once ("match" where `matcher__unpaired_weight` is given).
    y_range : None or pair (low, high), default=None
        Range of the responses; every draw, mean and quantile is brought back into it. Each end
        is a number, None for an open one, or an array that fits one response: (0, 1) for pixels
        and one-hot rows, (0, None) for amounts. Responses outside it are an error. uint8 images
        always have (0, 1). See the Notes.
    scale_X : bool, default=True
        Standardise X inside (columns of rows; images by one number).
    validation_fraction : float in [0, 1), default=0.1
        Share of the pairs kept apart to choose the state of both stages, from 20 pairs on. With 0
        all pairs are learnt from, to the last step, and the last state draws. Ignored where
        `X_val`, `y_val` are given.
    store_reference : bool, default=True
        Keep up to 2,000 training responses, which `score` compares with.
    device : {"auto", "cpu", "cuda", "cuda:<index>"}, default="auto"
        Where to compute; "auto" takes CUDA where there is one.
    random_state : int, RandomState, Generator or None, default=None
        Seeds everything random in `fit`. Equal seeds on one machine give equal results.
        A Generator or RandomState moves on with every fit; `clone` copies it, so that a clone
        starts from the same state.
    verbose : int, default=0
        1 shows a progress bar for each stage.
    checkpoint : path-like or None, default=None
        Folder for the state of an unfinished fit. A fit that was killed goes on from there when
        it is called again with equal parameters and data, and ends in the same result; each
        fit has a folder of its own in it, which is removed at the end.

    Attributes
    ----------
    latent_dim_ : int
        Dimension of the latent space.
    autoencoder_ : BaseAutoencoder
        The fitted stage 1.
    matcher_ : BaseMatcher
        The fitted stage 2.
    unpaired_ : str
        Use of the unpaired responses that was chosen: "latent", "match" or "pair".
    held_out_scores_ : dict of str to ndarray of shape (v,), float64
        By each use of the unpaired responses that was tried, the energy score of every held-out
        pair (at most 1,024), as in `score`: what the choice was made by. Empty where there was
        nothing to choose.
    n_pseudo_pairs_ : int
        Number of unpaired responses whose condition was guessed, with `unpaired_="pair"`.
    history_ : dict
        `history_["autoencoder"]` and `history_["matcher"]`: losses and held-out scores by epoch,
        as arrays.
    interrupted_ : bool
        Whether Ctrl-C ended stage 2; the best state until then was kept.
    y_shape_ : tuple
        Shape of one response; () where y is 1-D.
    n_paired_, n_unpaired_ : int
        Number of pairs and of unpaired responses seen.
    n_features_in_ : int
        Number of columns of X (channels, for images).
    feature_names_in_ : ndarray of str
        Names of X's columns, where X has string names.

    Notes
    -----
    Memory in `sample`, `predict` and `score` is bounded by the batch, whatever is asked for.
    Unpaired responses must follow the same law as the paired ones.

    `y_range` moves a draw outside the range to its nearest point in it. That never takes it
    further from a response (so no reconstruction error and no bound on one grows), and gives
    back what heaps up at an end exactly, such as black pixels or dry days. It does not bend a
    density near an open end: for amounts over several magnitudes fit the logarithm, and take the
    exponential of the draws.

    References
    ----------
    Chong & Feng 2026, "Latent space distribution matching" (arXiv 2603.04223).

    Examples
    --------
    >>> from sklsdm import LSDMRegressor
    >>> from sklsdm.datasets import make_arms
    >>> arms = make_arms(300, random_state=0)
    >>> est = LSDMRegressor(matcher="energy", random_state=0)
    >>> est = est.set_params(matcher__max_steps=100).fit(arms.X, arms.y)
    >>> est.sample(arms.X[:5], n_samples=3, random_state=0).shape
    (5, 3, 2)
    """

    # Travels through Pipelines and searches with metadata routing on, without set_fit_request.
    __metadata_request__fit: ClassVar = {"Y_unpaired": True, "X_val": True, "y_val": True}

    unpaired_: str
    y_shape_: tuple[int, ...]
    n_paired_: int
    n_unpaired_: int
    n_pseudo_pairs_: int
    held_out_scores_: dict[str, NDArray[np.float64]]

    def __init__(
        self,
        latent_dim: int | str = "auto",
        matcher: str | BaseMatcher = "wgan",
        *,
        autoencoder: str | BaseAutoencoder = "auto",
        condition_encoder: str = "auto",
        unpaired: str = "auto",
        y_range: Any = None,
        scale_X: bool = True,
        validation_fraction: float = 0.1,
        store_reference: bool = True,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.matcher = matcher
        self.autoencoder = autoencoder
        self.condition_encoder = condition_encoder
        self.unpaired = unpaired
        self.y_range = y_range
        self.scale_X = scale_X
        self.validation_fraction = validation_fraction
        self.store_reference = store_reference
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint

    # ------------------------------------------------------------------ fitting
    @_paired_names
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        Y_unpaired: Any = None,
        *,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> LSDMRegressor:
        """Learn p(Y | X) from the pairs (X, y) and responses without conditions.

        Also takes the pairs as `X_paired=`, `Y_paired=`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions of the pairs: rows of numbers, or images.
        y : array-like of shape (n,), (n, q), (n, h, w) or (n, c, h, w)
            Responses of the pairs. uint8 images are scaled by 1/255 and drawn in [0, 1].
        Y_unpaired : array-like, memmap, torch Dataset or Unpaired, optional
            Responses without a condition, shaped like `y` after the first axis. The pairs' own
            may be among them: copies of held-out ones are kept from stage 2. In cross-validation
            wrap them in :class:`sklsdm.Unpaired`. None: the supervised case.
        X_val, y_val : array-like, optional
            Pairs on which the state to keep is chosen, in place of a share of the pairs. In a
            plain Pipeline X_val is not transformed: use :class:`sklsdm.SamplingPipeline`.

        Returns
        -------
        LSDMRegressor
            This estimator. After an error it is what it was before the call.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; the message names the argument.
        DivergenceError
            Training stayed non-finite after retries at lower rates.
        KeyboardInterrupt
            On Ctrl-C; in stage 2 after the best state so far was kept (`interrupted_`).
        """
        seed = draw_seed(self.random_state)
        fresh = clone(self)
        with one_thread():
            fresh._fit(X, y, Y_unpaired, X_val, y_val, seed)
        self._adopt(fresh)
        if self.interrupted_:
            raise KeyboardInterrupt
        return self

    def _fit(self, X: Any, y: Any, Y_unpaired: Any, X_val: Any, y_val: Any, seed: int) -> None:
        self._validate_settings()
        resolve_device(self.device)
        X, y = self._check_pairs(X, y)
        unpaired = open_unpaired(Y_unpaired, y)
        run = self._run(seed, [X, y, unpaired, X_val, y_val])
        seed = run.seed
        self._conditions_ = self._condition_format(X)
        responses = Responses(y, unpaired, self.y_range)
        self._response_format_ = responses.format
        self.y_shape_ = responses.format.shape
        validation = self._check_validation_pairs(X_val, y_val)
        self._warn_constant()
        self.n_paired_ = len(y)
        self.n_unpaired_ = len(responses) - len(y)
        self._keep_reference(y, seed)

        held = self._hold_out_pairs(len(y), seed) if validation is None else np.arange(0)
        codes = self._fit_latent_space(responses, self._hold_out(held, responses, seed), run)
        condition = torch.from_numpy(self._conditions_.rows(X)).to(run.device)
        train = torch.from_numpy(np.setdiff1d(np.arange(len(y)), held)).to(run.device)
        if validation is None:
            validation = self._conditions_.rows(X[held]), y[held]
        held_condition, y_held = validation
        copies = responses.unpaired_copies(self._response_format_.flatten(y_held))
        others = np.setdiff1d(np.arange(len(y), len(responses)), copies)
        data = MatchingData(
            condition=condition[train],
            latent=codes[train],
            held_condition=torch.from_numpy(held_condition).to(run.device),
            held_latent=self._standard_codes(y_held, run.device),
            codes=codes[torch.cat([train, torch.from_numpy(others).to(run.device)])]
            if len(others)
            else None,
            image_shape=self._conditions_.image_shape,
        )
        judged = held_condition[:MAX_JUDGED], y_held[:MAX_JUDGED]
        self._fit_stage_2(data, judged, run)
        self._finish(run)

    def _fit_stage_2(
        self, data: MatchingData, judged: tuple[NDArray[np.float32], NDArray[Any]], run: Run
    ) -> None:
        """Stage 2 in every way that `unpaired` allows; the held-out pairs choose."""
        fitted: dict[str, BaseMatcher] = {}
        n_pseudo = {}
        held_out: dict[str, NDArray[np.float64]] = {}
        interrupted = False
        uses = self._uses(data)
        for use in uses:
            folder = None if run.checkpoint is None else run.checkpoint / use
            try:
                own = self._data_for(use, data, run)
            except KeyboardInterrupt:
                if not fitted:
                    raise
                interrupted = True
                break
            self._fit_matcher(own, replace(run, checkpoint=folder))
            interrupted = self.matcher_.interrupted_
            if interrupted and fitted:
                break
            fitted[use], n_pseudo[use] = self.matcher_, own.n_pseudo
            if len(uses) > 1:
                held_out[use] = self._energy_scores(*judged)
            if interrupted:
                break
        self.held_out_scores_ = held_out
        self.unpaired_ = choose_use(held_out) if held_out else next(iter(fitted))
        self.n_pseudo_pairs_ = n_pseudo[self.unpaired_]
        self.matcher_ = fitted[self.unpaired_]
        self.matcher_.interrupted_ = interrupted

    def _uses(self, data: MatchingData) -> tuple[str, ...]:
        """Uses of the unpaired responses to try, the one to prefer first."""
        if data.codes is None:
            return ("latent",)
        if self.unpaired != "auto":
            return (self.unpaired,)
        uses = preferred_uses(are_labels(data.condition), self.n_unpaired_ > self.n_paired_)
        if len(data.held_latent) >= MIN_HELD_OUT_TO_CHOOSE:
            return uses
        return uses[:1] if self._part("matcher").unpaired_weight == "auto" else ("match",)

    def _data_for(self, use: str, data: MatchingData, run: Run) -> MatchingData:
        """What stage 2 learns from where unpaired responses are used so."""
        if use == "latent" or data.codes is None:
            return replace(data, codes=None)
        if use == "match":
            return data
        max_steps = self._part("matcher").max_steps
        n_pairs = len(data.latent)
        pseudo = draw_pseudo_pairs(data, data.codes[n_pairs:], run, max_steps)
        condition, latent, times = pseudo.condition, pseudo.latent, 1
        held_condition, held_latent = data.held_condition, data.held_latent
        if pseudo.by_label:  # sure labels: some help the few held-out pairs to choose the state
            count = max(0, min(len(latent) // 10, PSEUDO_HELD_OUT - len(held_latent)))
            random = run.generator(36)
            order = torch.randperm(len(latent), generator=random, device=random.device)
            held, kept = order[:count], order[count:]
            held_condition = torch.cat([held_condition, condition[held]])
            held_latent = torch.cat([held_latent, latent[held]])
            condition, latent = condition[kept], latent[kept]
        else:  # drawn numbers are vague: half of what is seen are pairs
            times = max(1, round(len(latent) / n_pairs))
        return replace(
            data,
            condition=torch.cat([data.condition.repeat(times, 1), condition]),
            latent=torch.cat([data.latent.repeat(times, 1), latent]),
            held_condition=held_condition,
            held_latent=held_latent,
            n_pseudo=len(pseudo.latent),
        )

    def _validate_settings(self) -> None:
        check_choice("unpaired", self.unpaired, UNPAIRED_USES)
        check_choice("condition_encoder", self.condition_encoder, CONDITION_ENCODERS)
        fraction = check_real("validation_fraction", self.validation_fraction, 0.0)
        if fraction >= 1:
            raise ValueError(f"validation_fraction must be below 1, got {fraction}.")
        matcher = self._part("matcher")
        matcher.validate()
        self._part("autoencoder").validate()
        if self.unpaired == "latent" and matcher.unpaired_weight != "auto":
            raise ValueError(
                f"matcher__unpaired_weight={matcher.unpaired_weight!r} is read only where stage 2 "
                f"uses the unpaired responses, but unpaired='latent'; set unpaired='match' or "
                f"leave the weight 'auto'."
            )

    def _check_pairs(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        X = self._check_X(X, reset=True)
        y = check_numeric("y", y)
        check_response_shape("y", y)
        check_same_rows("X", X, "y", y)
        if len(y) < 2:
            raise ValueError(
                f"X and y hold n_samples = {len(y)} pair, but {type(self).__name__} needs at "
                f"least 2."
            )
        return X, y

    def _check_X(self, X: Any, *, reset: bool = False, name: str = "X") -> NDArray[Any]:
        """X as finite numbers, with the features (names and shape) seen in fit."""
        with errors_name(name):
            X = validate_data(
                self, X, reset=reset, dtype="numeric", allow_nd=True, ensure_all_finite=False
            )
        check_finite(name, X)
        if X.ndim not in (2, 4):
            raise ValueError(f"{name} must have shape (n, p) or (n, c, h, w), got {X.shape}.")
        if not reset and X.shape[1:] != self._conditions_.shape:
            wanted = shape_text("n", self._conditions_.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {X.shape}.")
        return X

    def _condition_format(self, X: NDArray[Any]) -> _Conditions:
        encoder = self.condition_encoder
        if encoder == "conv" and X.ndim != 4:
            raise ValueError(
                f"condition_encoder='conv' needs images X of shape (n, c, h, w), got {X.shape}."
            )
        if encoder == "auto":
            encoder = "conv" if X.ndim == 4 else "flatten"
        rows = flat_rows(X)
        standardiser = Standardiser(np.zeros(1), np.ones(1))
        if self.scale_X:
            standardiser = fit_standardiser(iter([rows]), shared=X.ndim == 4)
        return _Conditions(X.shape[1:], standardiser, encoder)

    def _check_validation_pairs(
        self, X_val: Any, y_val: Any
    ) -> tuple[NDArray[np.float32], NDArray[Any]] | None:
        """Standardised conditions and raw responses of X_val, y_val; None where not given."""
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val go together, but {missing} is None.")
        X_val = self._check_X(X_val, name="X_val")
        y_val = self._check_rows(y_val, "y_val")
        check_same_rows("X_val", X_val, "y_val", y_val)
        rows = self._conditions_.rows(X_val)
        if self.scale_X and np.abs(np.median(rows, axis=0)).max() > FAR_OUTSIDE:
            warnings.warn(
                f"X_val lies far outside X: the median of a column is more than {FAR_OUTSIDE:g} "
                f"standard deviations off. Was it transformed as X was? A plain Pipeline does not "
                f"(transform_input=['X_val'] with metadata routing, or SamplingPipeline, does).",
                DistributionShiftWarning,
                stacklevel=5,
            )
        return rows, y_val

    def _warn_constant(self) -> None:
        constant = np.flatnonzero(self._response_format_.standardiser.constant)
        if len(constant):
            warnings.warn(
                f"Response column(s) {constant[:10].tolist()} are constant and are drawn as that "
                f"constant.",
                stacklevel=5,
            )

    def _hold_out_pairs(self, n_pairs: int, seed: int) -> NDArray[np.intp]:
        """Pairs kept apart from both stages to choose the state; none below 20 pairs."""
        if n_pairs < MIN_PAIRS_TO_HOLD_OUT:
            return np.arange(0)
        count = min(n_pairs - 2, int(np.ceil(self.validation_fraction * n_pairs)))
        return np.sort(np.random.default_rng(seed).permutation(n_pairs)[:count])

    def _hold_out(
        self, pairs: NDArray[np.intp], responses: Responses, seed: int
    ) -> NDArray[np.intp]:
        """Rows kept apart from stage 1: those pairs and the like share of the other responses."""
        first = 0 if len(pairs) == 0 else self.n_paired_
        others = len(responses) - first
        if others < MIN_PAIRS_TO_HOLD_OUT:
            return pairs
        count = min(MAX_UNPAIRED_HELD_OUT, int(np.ceil(self.validation_fraction * others)))
        random = np.random.default_rng(seed + 1)
        return np.concatenate([pairs, first + random.choice(others, count, replace=False)])

    def _standard_codes(self, y: NDArray[Any], device: torch.device) -> Tensor:
        """Standardised codes (n, k) of raw responses, as stage 2 sees them."""
        codes = self._encode_rows(self._response_format_.flatten(y))
        return torch.from_numpy(self._latent_standardiser_.forward(codes)).to(device)

    def _keep_reference(self, y: NDArray[Any], seed: int) -> None:
        """Training responses and their spread, in the units that are drawn."""
        rows = flat_rows(y)
        chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MAX_REFERENCE])
        spread = rows.std(axis=0) if y.ndim <= 2 else np.full(rows.shape[1], rows.std())
        self._spread_ = np.where(spread > 0, spread, 1.0)
        self._reference_ = rows[chosen] if self.store_reference else None

    # ------------------------------------------------------------------ drawing
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Draw from p(Y | X): D(H(x, η)) with fresh noise for every draw.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        n_samples : int, default=1
            Draws for each condition.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the noise; equal seeds give equal draws on one kind of device.
        batch_size : int or "auto", default="auto"
            Draws made at once. It bounds the memory and does not change the draws.
        out : ndarray or memmap of shape (n, n_samples, *y_shape), optional
            Filled and returned, for draws that do not fit in memory.

        Returns
        -------
        ndarray of shape (n, n_samples, *y_shape)
            In y's float dtype (float64 for integers, float32 for uint8 images).

        Raises
        ------
        ValueError, TypeError
            Bad input, `n_samples` or `batch_size` below 1, an `out` that does not fit, or more
            draws than fit in this machine's memory.
        """
        form = self._fitted_format()
        return self._sample(
            X, n_samples, random_state, batch_size, out, form.shape, form.dtype, self._decode
        )

    def sample_latent(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
    ) -> NDArray[np.float32]:
        """Draw codes H(x, η); `decode` of them are the draws of `sample` for the same seed.

        (With a stochastic decoder such as "dpa", the means of those draws given the code.)

        Returns
        -------
        ndarray of shape (n, n_samples, latent_dim_), float32
        """
        self._fitted_format()
        shape, dtype = (self.latent_dim_,), np.dtype(np.float32)
        return self._sample(X, n_samples, random_state, batch_size, None, shape, dtype, _as_is)

    def _sample(
        self,
        X: ArrayLike,
        n_samples: int,
        random_state: RandomState,
        batch_size: int | str,
        out: NDArray[Any] | None,
        tail: tuple[int, ...],
        dtype: np.dtype[Any],
        last: Callable[[Tensor, Tensor], Tensor],
    ) -> NDArray[Any]:
        n_samples = check_integer("n_samples", n_samples, 1)
        if batch_size != "auto":
            check_integer("batch_size", batch_size, 1)
        seed = draw_seed(random_state)
        condition = self._conditions_.rows(self._check_X(X))
        shape = (len(condition), n_samples, *tail)
        out = check_out(out, shape, dtype)
        self._fill(out, condition, seed, batch_size, last)
        return out

    # ------------------------------------------------------------------ forecasts
    def predict(
        self, X: ArrayLike, return_std: bool = False
    ) -> NDArray[np.float64] | tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Conditional mean, and standard deviation, over 256 draws with shared noise.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        return_std : bool, default=False
            Also return the conditional standard deviation of each output.

        Returns
        -------
        mean : ndarray of shape (n, *y_shape), float64
        std : ndarray of shape (n, *y_shape), float64
            Only where `return_std`.
        """
        condition = self._check_condition(X)
        mean = np.empty((len(condition), self._response_format_.width))
        std = np.empty_like(mean)
        for rows, draws in self._banked_draws(condition, N_MEAN_DRAWS):
            exact = draws.double()
            mean[rows] = exact.mean(dim=1).cpu().numpy()
            if return_std:
                std[rows] = exact.std(dim=1, correction=0).cpu().numpy()
        shape = (len(condition), *self.y_shape_)
        return (mean.reshape(shape), std.reshape(shape)) if return_std else mean.reshape(shape)

    def predict_quantiles(
        self, X: ArrayLike, quantiles: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> NDArray[np.float64]:
        """Conditional quantiles of each output, over 1,024 draws with shared noise.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        quantiles : sequence of float in (0, 1), default=(0.05, 0.5, 0.95)
            Levels.

        Returns
        -------
        ndarray of shape (n, len(quantiles), *y_shape), float64
        """
        levels = _check_levels(quantiles)
        condition = self._check_condition(X)
        found = np.empty((len(condition), len(levels), self._response_format_.width))
        for rows, draws in self._banked_draws(condition, N_QUANTILE_DRAWS):
            exact = draws.double()
            at = torch.as_tensor(levels, dtype=exact.dtype, device=exact.device)
            found[rows] = torch.quantile(exact, at, dim=1).transpose(0, 1).cpu().numpy()
        return found.reshape(len(condition), len(levels), *self.y_shape_)

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> NDArray[np.float64]:
        """Central interval of each output that holds it with probability `coverage`.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        coverage : float in (0, 1), default=0.9
            Nominal coverage of each single output.

        Returns
        -------
        ndarray of shape (n, 2, *y_shape), float64
            Lower and upper ends.
        """
        coverage = check_real("coverage", coverage, 0.0, open_low=True)
        if coverage >= 1:
            raise ValueError(f"coverage must lie strictly between 0 and 1, got {coverage}.")
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Energy skill: the share of the energy score of "ignore X" that the draws save.

        1 − ES(draws) / ES(training responses as forecast), on outputs divided by the training
        pairs' spread, with 64 draws a row. 0 is no better than ignoring X; the true law of a
        noisy response scores below 1. Higher is better.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        y : array-like of shape (n, *y_shape)
            Their responses.
        sample_weight : array-like of shape (n,), optional
            Weights of the rows.

        Returns
        -------
        float
        """
        condition = self._check_condition(X)
        if self._reference_ is None:
            raise ValueError(
                "score compares with training responses, but store_reference=False kept none; "
                "fit with store_reference=True or use a scorer of sklsdm.scorers."
            )
        y = self._check_rows(y, "y")
        check_same_rows("X", condition, "y", y)
        target = torch.from_numpy(flat_rows(y) / self._spread_)
        reference = torch.from_numpy(self._reference_ / self._spread_)
        marginal = scores.energy_score_shared(reference, target)
        return skill(self._energy_scores(condition, y), marginal.numpy(), sample_weight)

    def _energy_scores(
        self, condition: NDArray[np.float32], y: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Energy score of each pair, over the training pairs' spread."""
        target = torch.from_numpy(flat_rows(y) / self._spread_)
        spread = torch.from_numpy(self._spread_)
        found = [
            scores.energy_score(draws.cpu().double() / spread, target[rows])
            for rows, draws in self._banked_draws(condition, N_SCORE_DRAWS)
        ]
        return torch.cat(found).numpy()

    # ------------------------------------------------------------------ checks
    def _check_condition(self, X: Any) -> NDArray[np.float32]:
        self._fitted_format()
        return self._conditions_.rows(self._check_X(X))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags


def _as_is(latent: Tensor, noise: Tensor) -> Tensor:
    return latent


def _check_levels(quantiles: Sequence[float]) -> NDArray[np.float64]:
    with errors_name("quantiles"):
        levels = np.atleast_1d(np.asarray(quantiles, dtype=np.float64))
    if levels.ndim != 1 or len(levels) == 0 or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"quantiles must be levels strictly between 0 and 1, got {quantiles!r}.")
    return levels

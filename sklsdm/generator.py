"""LSDMGenerator: draws from the law of a data set, without conditions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin, clone
from sklearn.utils.validation import validate_data

from sklsdm._validation import (
    check_finite,
    check_integer,
    check_real,
    check_response_shape,
    errors_name,
)
from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.estimator import LatentSpaceEstimator, check_out
from sklsdm.functional import scores
from sklsdm.matchers import BaseMatcher, MatchingData
from sklsdm.nets import one_thread
from sklsdm.nets.run import resolve_device
from sklsdm.randomness import RandomState, draw_seed
from sklsdm.responses import Responses, flat_rows

MIN_ROWS_TO_HOLD_OUT = 20
MAX_HELD_OUT = 2000
N_SCORE_DRAWS = 1000
MAX_SCORE_ROWS = 2000


def _data_name(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Let `fit` take the data as `Y=` too, without showing it to introspection."""

    @functools.wraps(fit)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        if "Y" in kwargs:
            if args or "X" in kwargs:
                raise TypeError("fit got both Y= and X; they are the same argument, give one.")
            kwargs["X"] = kwargs.pop("Y")
        return fit(self, *args, **kwargs)

    return wrapped


class LSDMGenerator(DensityMixin, LatentSpaceEstimator):
    """Generation without conditions: the law of the codes is matched in a latent space.

    Stage 1 learns a latent space (E, D) of the data; stage 2 a generator H(η) whose law is that
    of E(Y). A draw is D(H(η)). With the default matcher this is latent space optimal transport:
    a minimisation, no adversary.

    Parameters
    ----------
    latent_dim : int or "auto", default="auto"
        As in :class:`LSDMRegressor`.
    matcher : str or matcher object, default="transport"
        How stage 2 matches; its settings are reachable as `matcher__<name>`.
    autoencoder : str or autoencoder object, default="auto"
        Stage 1, as in :class:`LSDMRegressor`.
    validation_fraction : float in [0, 1), default=0.1
        Share of the data kept apart to choose the state of both stages, from 20 rows on. With 0
        all rows are learnt from, to the last step, and the last state draws.
    device : {"auto", "cpu", "cuda", "cuda:<index>"}, default="auto"
        Where to compute; "auto" takes CUDA where there is one.
    random_state : int, RandomState, Generator or None, default=None
        Seeds everything random in `fit`.
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
    autoencoder_, matcher_ : BaseAutoencoder, BaseMatcher
        The fitted stages.
    history_ : dict
        Losses of both stages by epoch, as in :class:`LSDMRegressor`.
    x_shape_ : tuple
        Shape of one row of the data.
    n_features_in_ : int
        Number of columns (channels or lines, for images).

    References
    ----------
    Liu, Guo, Lei, Shu, Yau, Samaras & Gu 2018, "Latent space optimal transport for generative
    models" (arXiv 1809.05964); Chong & Feng 2026 (arXiv 2603.04223).

    Examples
    --------
    >>> from sklsdm import LSDMGenerator
    >>> from sklsdm.datasets import make_eight_gaussians
    >>> data = make_eight_gaussians(500, random_state=0).y
    >>> model = LSDMGenerator(matcher="energy", random_state=0).set_params(matcher__max_steps=50)
    >>> model.fit(data).sample(3, random_state=0).shape
    (3, 2)
    """

    latent_dim_: int
    x_shape_: tuple[int, ...]

    def __init__(
        self,
        latent_dim: int | str = "auto",
        matcher: str | BaseMatcher = "transport",
        *,
        autoencoder: str | BaseAutoencoder = "auto",
        validation_fraction: float = 0.1,
        device: str = "auto",
        random_state: RandomState = None,
        verbose: int = 0,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.matcher = matcher
        self.autoencoder = autoencoder
        self.validation_fraction = validation_fraction
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.checkpoint = checkpoint

    @_data_name
    def fit(self, X: ArrayLike, y: Any = None) -> LSDMGenerator:
        """Learn the law of the rows of X (also taken as `Y=`).

        Parameters
        ----------
        X : array-like or memmap of shape (n, q), (n, h, w) or (n, c, h, w)
            The data. uint8 images are scaled by 1/255 and drawn in [0, 1].
        y : ignored
            For scikit-learn's signature.

        Returns
        -------
        LSDMGenerator
            This estimator. After an error it is what it was before the call.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; the message names the argument.
        DivergenceError
            Training stayed non-finite after retries at lower rates.
        """
        seed = draw_seed(self.random_state)
        fresh = clone(self)
        with one_thread():
            fresh._fit(X, seed)
        self._adopt(fresh)
        if self.interrupted_:
            raise KeyboardInterrupt
        return self

    def _fit(self, X: Any, seed: int) -> None:
        fraction = check_real("validation_fraction", self.validation_fraction, 0.0)
        if fraction >= 1:
            raise ValueError(f"validation_fraction must be below 1, got {fraction}.")
        self._part("matcher").validate()
        self._part("autoencoder").validate()
        resolve_device(self.device)
        data = self._check_data(X)
        run = self._run(seed, [data])
        responses = Responses(data, None)
        self._response_format_ = responses.format
        self.x_shape_ = responses.format.shape
        spread = flat_rows(data[:MAX_SCORE_ROWS]).std(axis=0)
        self._spread_ = np.where(spread > 0, spread, 1.0) if data.ndim == 2 else spread.mean()

        held = self._hold_out(len(data), run.seed)
        codes = self._fit_latent_space(responses, held, run)
        train = torch.from_numpy(np.setdiff1d(np.arange(len(data)), held)).to(run.device)
        held_codes = codes[torch.from_numpy(held).to(run.device)]
        self._fit_matcher(
            MatchingData(
                condition=codes.new_empty((len(train), 0)),
                latent=codes[train],
                held_condition=codes.new_empty((len(held), 0)),
                held_latent=held_codes,
                codes=None,
                image_shape=None,
            ),
            run,
        )
        self._finish(run)

    def _check_data(self, X: Any) -> NDArray[Any]:
        with errors_name("X"):
            data = validate_data(self, X, dtype="numeric", allow_nd=True, ensure_all_finite=False)
        check_finite("X", data)
        check_response_shape("X", data)
        if len(data) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 rows of X, got n_samples = {len(data)}."
            )
        return data

    def _hold_out(self, n_rows: int, seed: int) -> NDArray[np.intp]:
        """Rows kept apart from both stages to choose the state; none below 20 rows."""
        if n_rows < MIN_ROWS_TO_HOLD_OUT:
            return np.arange(0)
        count = min(MAX_HELD_OUT, int(np.ceil(self.validation_fraction * n_rows)))
        return np.sort(np.random.default_rng(seed).choice(n_rows, count, replace=False))

    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Draw from the learnt law: D(H(η)).

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the noise; equal seeds give equal draws on one kind of device.
        batch_size : int or "auto", default="auto"
            Draws made at once; bounds the memory and does not change the draws.
        out : ndarray or memmap of shape (n_samples, *x_shape_), optional
            Filled and returned.

        Returns
        -------
        ndarray of shape (n_samples, *x_shape_)
            In X's float dtype (float64 for integers, float32 for uint8 images).
        """
        form = self._fitted_format()
        n_samples = check_integer("n_samples", n_samples, 1)
        if batch_size != "auto":
            check_integer("batch_size", batch_size, 1)
        out = check_out(out, (n_samples, *form.shape), form.dtype)
        condition = np.empty((n_samples, 0), dtype=np.float32)
        self._fill(out[:, None], condition, draw_seed(random_state), batch_size, self._decode)
        return out

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Minus the energy distance of 1,000 draws to the rows of X; higher is better.

        On outputs divided by the training data's spread (images: one number); at most 2,000 rows
        of X are read. 0 is reached, up to chance, where draws and X follow the same law.

        Parameters
        ----------
        X : array-like of shape (n, *x_shape_), n >= 2
            Data to compare with.
        y : ignored
            For scikit-learn's signature.

        Returns
        -------
        float
        """
        self._fitted_format()
        with errors_name("X"):
            validate_data(
                self, X, dtype="numeric", allow_nd=True, ensure_all_finite=False, reset=False
            )
        data = self._check_rows(X, "X")
        rows = flat_rows(data[:MAX_SCORE_ROWS]) / self._spread_
        draws = flat_rows(self.sample(N_SCORE_DRAWS, random_state=0)) / self._spread_
        return -float(scores.energy_distance(torch.from_numpy(draws), torch.from_numpy(rows)))

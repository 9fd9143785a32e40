"""LSDMGenerator: draws from the law of a data set, without conditions."""

from __future__ import annotations

from typing import Any, Self, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin

from sklsdm._validation import also_named, check_choice, check_integer, check_response_shape
from sklsdm.autoencoders import FeatureMapAutoencoder
from sklsdm.base import LatentSpaceEstimator
from sklsdm.blocks import spread_rows
from sklsdm.draws.output import check_out
from sklsdm.fitting.pairs import Pairs
from sklsdm.functional import scores
from sklsdm.inputs.categories import check_columns_of_numbers
from sklsdm.inputs.response_format import flat_rows
from sklsdm.matchers import MATCHERS, BaseMatcher
from sklsdm.parameters import anything, learnt, parameter
from sklsdm.public_calls import on_one_fit
from sklsdm.randomness import RandomState

_N_DRAWS_COMPARED = 1000
MAX_SCORE_ROWS = 2000  # rows of X, spread over it, that `score` reads


def _is_auto(matcher: Any) -> bool:
    return isinstance(matcher, str) and matcher == "auto"


class LSDMGenerator(DensityMixin, LatentSpaceEstimator):
    """Generation without conditions, by distribution matching in a latent space.

    Stage 1 learns an encoder E and a decoder D of the data. Stage 2 trains a generator H(η) with
    noise η so that H(η) follows the law of the codes E(Y). A draw is D(H(η)). By default the
    matcher is latent space optimal transport, which minimises a loss and needs no adversary; where
    codes are images, it is a critic.

    Notes
    -----
    `exact_values` is described at :class:`LSDMRegressor`.

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

    matcher: str | BaseMatcher = parameter(
        default="auto",
        rule=anything("str or matcher object"),
        doc=f"""Method of stage 2: {", ".join(f'"{name}"' for name in MATCHERS)}, or a matcher
        object; see `sklsdm.matchers`. "auto" is "wgan" where codes are images (250 images of 16
        and more pixels with `latent_dim="auto"`, or `autoencoder="feature-map"`), and "transport"
        else. The parameters of a matcher that is named can be set as `matcher__<name>`.""",
        kw_only=False,
    )
    # What matcher="auto" stands for. Before `fit` has seen the data, it is the one of the two that
    # needs no other package.
    _auto_matcher_ = "wgan"
    x_shape_: tuple[int, ...] = learnt("Shape of one row of the data.", "tuple")
    n_features_in_: int = learnt(
        "Length of X's second axis: columns, or channels or lines of images."
    )

    @overload
    def fit(self, X: ArrayLike, y: Any = None) -> Self: ...

    @overload
    def fit(self, *, Y: ArrayLike) -> Self: ...

    @also_named(Y="X")
    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Learn the law of the rows of X, which may also be passed as `Y=`.

        Parameters
        ----------
        X : array-like or memmap of shape (n, q), (n, h, w) or (n, c, h, w)
            The data. uint8 images are scaled by 1/255 and drawn in [0, 1].
        y : ignored
            For scikit-learn's signature.

        Returns
        -------
        LSDMGenerator
            This estimator. If `fit` raises an error, it stays as it was before the call.

        Raises
        ------
        ValueError, TypeError
            Bad input or parameters; the message names the argument.
        DivergenceError, KeyboardInterrupt, Exception
            As :meth:`LSDMRegressor.fit`, which also lists the warnings.
        """
        return self._fit_anew(lambda fresh, seed: fresh._learn(X, seed))

    def set_params(self, **params: Any) -> Self:
        asked = params.get("matcher", self.matcher)
        of_matcher = [name for name in params if name.startswith("matcher__")]
        if of_matcher and _is_auto(asked):
            raise ValueError(
                f"{of_matcher[0]} belongs to a matcher, but matcher='auto' names none: pass "
                f"matcher='transport' or 'wgan' as well."
            )
        return super().set_params(**params)

    def _given_part(self, part: str) -> Any:
        if part == "matcher" and isinstance(self.matcher, str):
            name = check_choice("matcher", self.matcher, ("auto", *MATCHERS))
            if name == "auto" and self.warm_start and hasattr(self, "matcher_"):
                return type(self.matcher_)()  # a further fit goes on with it
            return MATCHERS[self._auto_matcher_ if name == "auto" else name]()
        return super()._given_part(part)

    def _learn(self, X: Any, seed: int) -> None:
        data = self._check_data(X)
        run = self._run(seed, data)
        responses = self._open_responses(data, name="X")
        asked = self._new_part("autoencoder")
        fewest = MATCHERS["wgan"].fewest_code_images
        codes = asked.resolve(responses.format, self.latent_dim, len(responses), fewest)
        are_images = isinstance(codes, FeatureMapAutoencoder)
        self._auto_matcher_ = "wgan" if are_images else "transport"
        self._check_settings()
        self.x_shape_ = responses.format.shape
        pairs = Pairs(np.empty((len(data), 0), dtype=np.float32), data)
        self._fit_stages(pairs, responses, run)

    def _check_data(self, X: Any) -> NDArray[Any]:
        check_columns_of_numbers("X", X)
        data = self._check_features(X, reset=not self._knows_responses())
        if self._knows_responses():
            data = self._check_rows(data, "X")
        check_response_shape("X", data)
        if len(data) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 rows of X, got n_samples = {len(data)}."
            )
        return data

    def _response_names(self) -> NDArray[Any] | None:
        return getattr(self, "feature_names_in_", None)

    @on_one_fit
    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Draw from the learnt law, with new noise for every draw.

        Parameters
        ----------
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the noise; equal seeds give equal draws on one kind of device.
        batch_size : int or "auto", default="auto"
            Draws made at once. It limits the memory and changes draws by rounding at most. Where
            memory runs out all the same, it is halved, with a warning.
        out : ndarray or memmap of shape (n_samples, *x_shape_), optional
            C-contiguous float array to fill and return, for draws that do not fit in memory.

        Returns
        -------
        ndarray of shape (n_samples, *x_shape_)
            In X's float dtype (float64 for integers, float32 for uint8 images).

        Raises
        ------
        ValueError, TypeError
            `n_samples` or `batch_size` below 1, an `out` that does not fit, or more draws than
            this machine's memory can hold.
        """
        form = self._fitted_format()
        n_samples = check_integer("n_samples", n_samples, 1)
        out = check_out(out, (n_samples, *form.shape), form.dtype)
        no_condition = np.empty((1, 0), dtype=np.float32)
        self._fill(no_condition, n_samples, random_state, batch_size, out[None])
        return out

    @on_one_fit
    def sample_latent(
        self,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
    ) -> NDArray[np.float32]:
        """Draw codes H(η). For the same seed, `decode` of them gives the draws of `sample`.

        (With a stochastic decoder such as "dpa", their means.) Parameters are those of `sample`.

        Returns
        -------
        ndarray of shape (n_samples, latent_dim_), float32
        """
        self._fitted_format()
        no_condition = np.empty((1, 0), dtype=np.float32)
        return self._fill(no_condition, n_samples, random_state, batch_size, None, codes=True)[0]

    @on_one_fit
    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Minus the energy distance between 1,000 draws and the rows of X; higher is better.

        Columns are first divided by their standard deviations in the training data (images by one
        standard deviation). Of more than 2,000 rows, 2,000 are used, spread over X. The expected
        score is 0 if draws and X follow the same law, and negative otherwise.

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
        data = self._check_rows(self._check_features(X, reset=False), "X")
        if len(data) < 2:
            raise ValueError(f"score needs at least 2 rows of X, got {len(data)}.")
        rows = flat_rows(data[spread_rows(len(data), MAX_SCORE_ROWS)]) / self._response_std_
        draws = flat_rows(self.sample(_N_DRAWS_COMPARED, random_state=0)) / self._response_std_
        return -float(scores.energy_distance(torch.from_numpy(draws), torch.from_numpy(rows)))

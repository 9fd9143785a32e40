"""What both estimators do once they are fitted: codes, responses for codes, and draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted, validate_data

from sklsdm._validation import (
    check_column_names,
    check_finite,
    check_float32,
    check_has_columns,
    check_integer,
    check_numeric,
    check_unique_names,
    shape_text,
)
from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.draws.drawing import Sampler, check_batch_size
from sklsdm.draws.output import check_out, check_outcome
from sklsdm.fitting.latent_space import LatentSpace
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.matchers import BaseMatcher
from sklsdm.owner import PartsOwner
from sklsdm.parameters import learnt
from sklsdm.public_calls import in_own_modes, on_one_fit
from sklsdm.randomness import RandomState, draw_seed
from sklsdm.reading import as_numbers, named_in_errors, read_plain
from sklsdm.run import resolve_device


class FittedEstimator(PartsOwner):
    """The fitted half of the estimators: both networks, and what is computed with them."""

    latent_dim_: int = learnt("Dimension of the latent space.")
    autoencoder_: BaseAutoencoder = learnt("The fitted stage 1.")
    matcher_: BaseMatcher = learnt("The fitted stage 2.")
    device_: str = learnt("Device of the fitted networks.")

    def _take_space(self, space: LatentSpace) -> None:
        """Store the latent space in which this estimator draws."""
        self.autoencoder_ = space.autoencoder
        self.latent_dim_ = space.autoencoder.latent_dim_
        self._latent_standardiser_ = space.standardiser
        self._response_format_ = space.form
        self.device_ = str(space.device)

    # ------------------------------------------------------------------ the latent space
    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "matcher_")

    def _fitted_format(self) -> ResponseFormat:
        """The format of the responses seen in fit; raises NotFittedError before fit."""
        check_is_fitted(self, "matcher_")
        return self._response_format_

    @on_one_fit
    def encode(self, Y: ArrayLike) -> NDArray[np.float32]:
        """Encode responses: codes E(y) in the latent space.

        Parameters
        ----------
        Y : array-like of shape (n, ...)
            Responses, shaped as in fit after the first axis.

        Returns
        -------
        ndarray of shape (n, latent_dim_), float32

        Raises
        ------
        ValueError, TypeError
            `Y` has another shape than in fit, values outside the range, or is not numeric.
        """
        form = self._fitted_format()
        array, device = self._check_rows(Y, "Y"), torch.device(self.device_)
        blocks = (check_float32("Y", block) for block in form.flat_blocks(array))
        codes = self.autoencoder_.encode_blocks(blocks, device)
        check_outcome("Y", codes, "code")
        return codes

    @on_one_fit
    def decode(self, Z: ArrayLike) -> NDArray[Any]:
        """Decode codes: responses D(z), or their means for a stochastic decoder.

        Parameters
        ----------
        Z : array-like of shape (n, ..., latent_dim_)
            Codes, such as `encode` and `sample_latent` return.

        Returns
        -------
        ndarray of shape (n, ..., *shape of one response)
            In the dtype of draws.

        Raises
        ------
        ValueError, TypeError
            `Z` has another last axis, or is not numeric.
        """
        return self._decode(Z, "Z")

    def _decode(self, Z: Any, name: str) -> NDArray[Any]:
        """Responses for the codes Z, which come from the argument `name`."""
        form = self._fitted_format()
        codes = check_numeric(name, Z)
        if codes.ndim < 2 or codes.shape[-1] != self.latent_dim_:
            raise ValueError(
                f"Z must have shape (n, ..., {self.latent_dim_}) with the latent dimension last, "
                f"got {codes.shape}."
            )
        with np.errstate(over="ignore"):
            flat = codes.reshape(-1, self.latent_dim_).astype(np.float32)
        check_float32(name, flat)
        rows = self._sampler().decode_all(flat).astype(form.dtype)
        check_outcome(name, rows, "response")
        return rows.reshape(*codes.shape[:-1], *form.shape)

    @on_one_fit
    def reconstruct(self, Y: ArrayLike) -> NDArray[Any]:
        """Encode and decode responses: D(E(y)), with shape, units and dtype of draws.

        Parameters and errors are those of :meth:`encode`.
        """
        return self._decode(self.encode(Y), "Y")

    def _check_features(
        self, X: Any, *, reset: bool, name: str = "X", allow_nan: bool = False, hint: str = ""
    ) -> NDArray[Any]:
        """X as finite numbers; stores the names and number of features (`reset`) or checks them.

        `allow_nan` lets NaN pass; `hint` is added to the error where it does not.
        """
        plain = read_plain(name, X)
        check_has_columns(name, plain)
        check_unique_names(name, plain)
        with named_in_errors(name):
            X = validate_data(
                self,
                plain,
                reset=reset,
                dtype="numeric",
                allow_nd=True,
                ensure_all_finite=False,
            )
        X = as_numbers(name, X)
        names = getattr(self, "feature_names_in_", None)
        check_finite(name, X, allow_nan=allow_nan, hint=hint, columns=names)
        return X

    def _response_names(self) -> NDArray[Any] | None:
        """Names of the columns of the responses in fit, where they had names."""
        return getattr(self, "target_names_in_", None)

    def _check_rows(self, value: Any, name: str) -> NDArray[Any]:
        """Responses as finite numbers, with the shape and range of those seen in fit."""
        form = self._response_format_
        check_column_names(name, value, self._response_names())
        array = check_numeric(name, value)
        if array.ndim == 2 and array.shape[1] == 1 and form.shape == ():
            array = array[:, 0]
        if array.shape[1:] != form.shape:
            wanted = shape_text("n", form.shape)
            raise ValueError(f"{name} must have shape {wanted} as in fit, got {array.shape}.")
        form.check_bytes(name, array)
        form.check_range(name, array)
        return array

    # ------------------------------------------------------------------ drawing
    def _sampler(self) -> Sampler:
        """Draws with the fitted networks."""
        device = torch.device(self.device_)
        space = LatentSpace(
            self.autoencoder_, self._latent_standardiser_, self._response_format_, device
        )
        return space.sampler(self.matcher_)

    def _fill(
        self,
        condition: NDArray[np.float32],
        n_samples: int,
        random_state: RandomState,
        batch_size: int | str,
        out: NDArray[Any] | None,
        *,
        codes: bool = False,
    ) -> NDArray[Any]:
        """Draw responses (n, n_samples, *y_shape), or `codes`, for conditions (n, p)."""
        form, sampler = self._response_format_, self._sampler()
        n_samples = check_integer("n_samples", n_samples, 1)
        check_batch_size(batch_size)
        tail = (self.latent_dim_,) if codes else form.shape
        dtype = np.dtype(np.float32) if codes else form.dtype
        out = check_out(out, (len(condition), n_samples, *tail), dtype)
        finish: Callable[..., torch.Tensor] = _only_codes if codes else sampler.decode
        sampler.fill(out, condition, draw_seed(random_state), batch_size, finish)
        return out

    @in_own_modes
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if hasattr(self, "device_"):
            self.device_ = str(_available_device(self.device_))
            self.autoencoder_.to(torch.device(self.device_))
            self.matcher_.to(torch.device(self.device_))


def _only_codes(latent: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return latent


def _available_device(name: str) -> torch.device:
    """The device `name`, or the CPU if a model is loaded on a machine without that device."""
    try:
        return resolve_device(name)
    except ValueError:
        return torch.device("cpu")

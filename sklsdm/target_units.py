"""Draws in the units of y, of an estimator that was fitted to transformed responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.compose import TransformedTargetRegressor
from torch import Tensor

from sklsdm._validation import check_numeric
from sklsdm.blocks import row_blocks, spread_rows
from sklsdm.draws.drawing import Bank
from sklsdm.draws.forecasts import ForecastMixin
from sklsdm.draws.frames import AsFrame, check_frame, framed
from sklsdm.draws.output import check_out, write
from sklsdm.inputs.unpaired import check_unpaired
from sklsdm.public_calls import on_one_fit

_MOST_UNPAIRED = 20_000  # responses that are transformed for `diagnose`


class InTargetUnits(ForecastMixin):
    """An estimator inside a `TransformedTargetRegressor`, with draws in the units of y.

    Every draw goes through the inverse of the target's transformer; means and quantiles are those
    of such draws. (`TransformedTargetRegressor.predict` transforms the mean instead, which is
    another number unless the transformer is linear.)
    """

    def __init__(self, model: TransformedTargetRegressor, estimator: Any) -> None:
        self.model = model
        self.estimator = estimator
        with np.errstate(all="ignore"):  # zeros need not have an inverse: their shape is wanted
            one = self._inverse(np.zeros((1, *estimator.y_shape_)))
        self.y_shape_ = one.shape[1:]

    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: Any = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: AsFrame = False,
    ) -> Any:
        """Draws (n, n_samples, *y_shape) in the units of y."""
        check_frame(as_frame, X, self, "draw")
        is_in_place = out is not None and self.estimator.y_shape_ == self.y_shape_
        found = self.estimator.sample(
            X,
            n_samples,
            random_state=random_state,
            batch_size=batch_size,
            out=out if is_in_place else None,
        )
        if is_in_place:  # `out` may be larger than memory
            for rows in row_blocks(found):
                write(self._restored_draws(found[rows].astype(np.float64)), found[rows])
        else:
            found = self._restored_draws(found)
            if out is not None:
                out = check_out(out, found.shape, found.dtype)
                write(found, out)
                found = out
        return framed(found, X, as_frame, self, "draw", range(n_samples))

    @on_one_fit
    def diagnose(self, X: ArrayLike, y: ArrayLike, Y_unpaired: Any = None, **kwargs: Any) -> Any:
        """The diagnosis of the estimator inside, on the transformed responses it was fitted to."""
        target = check_numeric("y", y)
        unpaired = check_unpaired(Y_unpaired, target)
        if unpaired is not None:
            some = spread_rows(len(unpaired), _MOST_UNPAIRED)
            unpaired = self.transform(np.asarray(unpaired[some]))
        target = self.transform(target)
        return self.estimator.diagnose(X, target, unpaired, **kwargs)

    def _restored_draws(self, draws: NDArray[Any]) -> NDArray[Any]:
        """Transformed draws (n, n_samples, ...) in the units of y."""
        found = self._restore(draws.reshape(-1, *draws.shape[2:]))
        return found.reshape(*draws.shape[:2], *found.shape[1:])

    def _restore(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Transformed responses (m, ...) in the units of y, shaped as y was; they are finite."""
        found = self._inverse(rows)
        bad = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        if bad.any():
            raise ValueError(
                f"The inverse of the target's transformer ({self.model.transformer_!r}) is not "
                f"finite for {bad.sum()} of {len(bad)} draws, such as "
                f"{np.array2string(rows[bad][0], threshold=6, precision=3)}. Draws go beyond the "
                f"responses of fit: use a transformer with an inverse for all numbers, such as "
                f"QuantileTransformer or func=np.log with inverse_func=np.exp, or none "
                f"(LSDMRegressor standardises responses itself)."
            )
        return found

    def _inverse(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What the target's transformer makes of rows (m, ...), shaped as y was."""
        as_table = rows[:, None] if rows.ndim == 1 else rows
        found = np.asarray(self.model.transformer_.inverse_transform(as_table))
        one_dimensional = self.model._training_dim == 1
        return found[:, 0] if one_dimensional and found.ndim == 2 else found

    def transform(self, y: NDArray[Any]) -> NDArray[Any]:
        """Responses as the estimator inside has seen them."""
        found = self.model.transformer_.transform(y[:, None] if y.ndim == 1 else y)
        found = np.asarray(found)
        return found.reshape(len(found), *self.estimator.y_shape_)

    def _encode_X(self, X: Any) -> NDArray[np.float32]:
        return self.estimator._encode_X(X)

    def _sampler(self) -> Bank:
        return _RestoredBank(self.estimator._sampler(), self)

    def _fit_of_responses(self) -> Any:
        raise TypeError(
            "Conformal intervals are calibrated in the units in which an estimator was fitted: "
            "call conformalize and predict_interval of the regressor inside "
            "TransformedTargetRegressor (regressor_), on transformed responses, and transform the "
            "ends back."
        )

    def _conformal_interval(self, *args: Any) -> NDArray[np.float64]:
        return self._fit_of_responses()


@dataclass(frozen=True)
class _RestoredBank:
    """Draws of a bank in the units of y."""

    bank: Bank
    owner: InTargetUnits

    @property
    def width(self) -> int:
        """Number of outputs of one response."""
        return int(np.prod(self.owner.y_shape_, dtype=int))

    @property
    def n_passes(self) -> int:
        """Passes of a network that one draw takes."""
        return self.bank.n_passes

    def draws_with_shared_noise(
        self, condition: NDArray[np.float32], n_draws: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Draws (rows, n_draws, q) for blocks of rows."""
        inner_shape = self.owner.estimator.y_shape_
        for rows, draws in self.bank.draws_with_shared_noise(condition, n_draws):
            n, m = draws.shape[:2]
            flat = draws.double().cpu().numpy().reshape(n * m, *inner_shape)
            yield rows, torch.from_numpy(self.owner._restore(flat).reshape(n, m, -1))

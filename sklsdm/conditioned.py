"""An estimator with conditions: how X is checked and reaches the networks; draws given X."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sklsdm._validation import (
    check_both_or_none,
    check_channels_first,
    check_finite,
    check_numeric,
    check_response_shape,
    check_same_rows,
    column_names,
    warn_user,
)
from sklsdm.base import LatentSpaceEstimator
from sklsdm.draws.frames import AsFrame, check_frame, framed
from sklsdm.encoders import ENCODERS, BaseConditionEncoder
from sklsdm.fitting.pairs import Pairs
from sklsdm.inputs.categories import (
    CategoryColumns,
    check_columns_of_numbers,
    count_empty_rows,
    find_categories,
    refuse_categories,
)
from sklsdm.inputs.conditions import ConditionFormat, learn_format, warn_if_far
from sklsdm.inputs.extremes import warn_of_extremes
from sklsdm.owner import PartKind
from sklsdm.parameters import anything, flag, learnt, parameter
from sklsdm.public_calls import on_one_fit
from sklsdm.randomness import RandomState
from sklsdm.reading import is_frame


class ConditionedEstimator(LatentSpaceEstimator):
    """Base of the estimators of a law given X: checks X and turns it into what networks see."""

    condition_encoder: str | BaseConditionEncoder = parameter(
        default="auto",
        rule=anything("str or condition encoder object"),
        doc="""How X enters the networks: rows as they are ("flatten"), images through convolutions
        ("conv"), as predictions of the codes by trees, beside few columns ("trees", for tables),
        with sines and cosines of several frequencies ("periodic", for laws that turn quickly
        with x), or as the columns that the lasso selects ("lasso", for hundreds of columns of
        which few matter). "auto" is "conv" for images; for tables of 20 pairs or more it compares
        the others on the pairs, each by short fits to the rest, and takes the best. See
        `sklsdm.encoders`; settings are reachable as `condition_encoder__<name>`.""",
    )
    scale_X: bool = parameter(
        default=True,
        rule=flag(),
        doc="Standardise X in `fit`: each column by itself, all pixels of images together.",
    )
    condition_encoder_: BaseConditionEncoder = learnt("The fitted condition encoder.")
    n_features_in_: int = learnt("Number of columns of X (channels, for images).")
    feature_names_in_: NDArray[Any] = learnt(
        "Names of the columns of X, if they are all strings.", "ndarray of str"
    )

    _parts: ClassVar[Mapping[str, PartKind]] = {
        **LatentSpaceEstimator._parts,
        "condition_encoder": PartKind(ENCODERS, BaseConditionEncoder),
    }

    _columns_ = CategoryColumns()  # those of this fit, where X has categories

    def _check_X(self, X: Any, *, reset: bool = False, name: str = "X") -> NDArray[Any]:
        """X as numbers (n, p) or (n, c, h, w), with the features of fit unless `reset`."""
        takes_nan = self._encoder_takes("nan")
        hint = "" if takes_nan else ", or set condition_encoder='trees', which takes NaN in X"
        found = find_categories(name, X)
        if found and reset:
            if not self._encoder_takes("categories"):
                refuse_categories(name, X, found, self.condition_encoder)
            self._columns_ = CategoryColumns.learn(X, found)
        if found or self._columns_.places:
            X = self._columns_.read(self, X, found, name, reset=reset)
            names = self._names_of_numbers()
            check_finite(name, X, allow_nan=takes_nan, hint=hint, columns=names)
        else:
            with self._frames_named_for_strings(X):
                X = self._check_features(X, reset=reset, name=name, allow_nan=takes_nan, hint=hint)
        if X.ndim not in (2, 4):
            hint = f": pass images of one channel as {name}[:, None]" if X.ndim == 3 else ""
            raise ValueError(f"{name} must have shape (n, p) or (n, c, h, w), got {X.shape}{hint}.")
        check_channels_first(name, X)
        if not reset:
            self._conditions_.check(name, X)
        return X

    @contextmanager
    def _frames_named_for_strings(self, X: Any) -> Iterator[None]:
        """Context in which X is read; errors about strings or None say what "trees" reads."""
        try:
            yield
        except (TypeError, ValueError) as error:
            if is_frame(X) or not self._encoder_takes("categories") or not _holds_strings(X):
                raise
            raise type(error)(
                f"{str(error).rstrip('.')}. condition_encoder={self.condition_encoder!r} reads "
                f"columns of strings, and missing values, from a DataFrame: pass "
                f"pandas.DataFrame(X).infer_objects()."
            ) from error

    def _encoder_takes(self, what: str) -> bool:
        """Whether the encoder takes "nan" or "categories"; an unknown one is refused in `fit`."""
        encoder = self.condition_encoder
        kind = ENCODERS.get(encoder) if isinstance(encoder, str) else type(encoder)
        return getattr(kind, f"takes_{what}", False)

    def _learn_conditions(self, X: NDArray[Any]) -> ConditionFormat:
        """The format of the conditions X."""
        form = learn_format(X, self.scale_X, self._names_of_numbers())
        std = form.standardiser.scale if self.scale_X else None
        warn_of_extremes({"X": X}, std, self._names_of_numbers())
        return form

    def _names_of_numbers(self) -> Sequence[Any] | None:
        """Names of the columns of numbers in X, where they have names."""
        if self._columns_.places:
            return self._columns_.number_names()
        return getattr(self, "feature_names_in_", None)

    def _check_pairs(self, X: Any, y: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """X and y of `fit` as numbers; keeps the names of their columns."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None."
            )
        table, X = X, self._check_X(X, reset=not self._knows_conditions())
        y = self._check_rows(y, "y") if self._knows_responses() else self._check_first_y(y)
        check_same_rows("X", X, "y", y)
        if len(y) < 2:
            raise ValueError(
                f"X and y hold n_samples = {len(y)} pair, but {type(self).__name__} needs at "
                f"least 2."
            )
        _warn_of_empty_rows(table, X)
        return X, y

    def _check_first_y(self, y: Any) -> NDArray[Any]:
        """y as numbers, where no responses were seen before; keeps the names of its columns."""
        names = column_names("y", y)
        if names is not None:
            self.target_names_in_ = names
        check_columns_of_numbers("y", y)
        y = check_numeric("y", y)
        check_response_shape("y", y)
        return y

    def _knows_conditions(self) -> bool:
        """Whether this fit goes on from one with conditions, whose format and encoder it keeps."""
        return hasattr(self, "_conditions_")

    def _check_validation_pairs(self, X_val: Any, y_val: Any) -> Pairs | None:
        """Standardised conditions and raw responses from X_val and y_val; None if both are None."""
        check_both_or_none("X_val", X_val, "y_val", y_val)
        if X_val is None:
            return None
        X_val = self._check_X(X_val, name="X_val")
        y_val = self._check_rows(y_val, "y_val")
        check_same_rows("X_val", X_val, "y_val", y_val)
        rows = self._conditions_.rows(X_val, "X_val")
        if self.scale_X:
            warn_if_far("X_val", rows)
        return Pairs(rows, y_val)

    def _encode_X(self, X: Any) -> NDArray[np.float32]:
        """X, checked, as the rows (n, p) that the networks see: standardised and encoded."""
        self._fitted_format()
        return self.condition_encoder_.encode(self._conditions_.rows(self._check_X(X)))

    def _n_condition_columns(self) -> int:
        """Columns of what `_encode_X` returns."""
        none = np.empty((0, math.prod(self._conditions_.shape)), np.float32)
        return self.condition_encoder_.encode(none).shape[1]

    # ------------------------------------------------------------------ drawing
    @overload
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: Literal[False] = False,
    ) -> NDArray[Any]: ...

    @overload
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: AsFrame,
    ) -> Any: ...

    @on_one_fit
    def sample(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
        out: NDArray[Any] | None = None,
        as_frame: AsFrame = False,
    ) -> Any:
        """Draw from p(Y | X), with new noise for every draw.

        Parameters
        ----------
        X : array-like of shape (n, p) or (n, c, h, w)
            Conditions.
        n_samples : int, default=1
            Draws for each condition.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the noise; equal seeds give equal draws on one kind of device.
        batch_size : int or "auto", default="auto"
            Draws made at once. It limits the memory and changes draws by rounding at most. Where
            memory runs out all the same, it is halved, with a warning.
        out : ndarray or memmap of shape (n, n_samples, *y_shape), optional
            C-contiguous float array to fill and return, for draws that do not fit in memory.
        as_frame : bool, "pandas" or "polars", default=False
            Return a DataFrame with a line for each draw: columns "row" (the row's number in X, or
            its index in a pandas X), "draw" (from 0) and those of y by name. True is polars where X
            is a polars frame, else pandas.

        Returns
        -------
        ndarray of shape (n, n_samples, *y_shape), or DataFrame
            In y's float dtype (float64 for integers, float32 for uint8 images).

        Raises
        ------
        ValueError, TypeError
            Bad input, `n_samples` or `batch_size` below 1, an `out` that does not fit, or more
            draws than this machine's memory can hold; `as_frame` for responses that are images.
        """
        condition = self._encode_X(X)
        check_frame(as_frame, X, self, "draw")
        draws = self._fill(condition, n_samples, random_state, batch_size, out)
        return framed(draws, X, as_frame, self, "draw", range(n_samples))

    @on_one_fit
    def sample_latent(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        *,
        random_state: RandomState = None,
        batch_size: int | str = "auto",
    ) -> NDArray[np.float32]:
        """Draw codes H(x, η). For the same seed, `decode` of them gives the draws of `sample`.

        (With a stochastic decoder such as "dpa", their means.) Parameters are those of `sample`.

        Returns
        -------
        ndarray of shape (n, n_samples, latent_dim_), float32
        """
        condition = self._encode_X(X)
        return self._fill(condition, n_samples, random_state, batch_size, None, codes=True)


def _warn_of_empty_rows(table: Any, X: NDArray[Any]) -> None:
    """Warn of pairs without any condition; `table` is X as the user passed it, X as it was read.

    With one column nothing is said: there a missing value is a condition like any other.
    """
    n_columns, n_empty = X.shape[1], 0
    if is_frame(table):
        n_columns, n_empty = table.shape[1], count_empty_rows(table)
    elif X.ndim == 2:
        n_empty = int(np.isnan(X).all(axis=1).sum())
    if n_empty and n_columns > 1:
        warn_user(
            f"X holds nothing but missing values in {n_empty} of {len(X)} rows, which are used as "
            f"pairs all the same. Leave these rows out of X and y, and pass their responses as "
            f"Y_unpaired."
        )


def _holds_strings(X: Any) -> bool:
    """Whether strings or None are among the values of an array or of lists."""
    try:
        values = np.asarray(X, dtype=object).ravel()
    except Exception:  # what users pass may raise anything when it is read
        return False
    return any(value is None or isinstance(value, str) for value in values)

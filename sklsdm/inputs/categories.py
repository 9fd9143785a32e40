"""Columns of categories in a DataFrame of conditions, read as columns of 0 and 1."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import check_array, validate_data

from sklsdm._validation import warn_user
from sklsdm.reading import INSTEAD_OF_DATES, is_frame, named_in_errors

MOST_LEVELS = 30  # of one column; beyond that the rarest levels share one column of 0 and 1
_MOST_SHOWN = 5  # unseen levels in a warning

# How the names of pandas' and polars' dtypes start, in lower case.
_CATEGORY = re.compile(r"category|categorical|enum|str$|string|large_string|utf8|dictionary")
_DATE = re.compile(r"date|time|period|duration")  # also timestamp and timedelta
_DATE_TYPES = (
    datetime.date,  # also datetime and pandas' Timestamp
    datetime.time,
    datetime.timedelta,
    np.datetime64,
    np.timedelta64,
)
_NO_VALUES = (bytes, list, tuple, dict, set, np.ndarray)


def find_categories(name: str, X: Any) -> tuple[int, ...]:
    """Places of the columns of X that hold categories; none unless X is a DataFrame.

    Raises where X holds dates or times, or a column mixes strings with other things.
    """
    if not is_frame(X):
        return ()
    kinds = [_kind_of(_column(X, place)) for place in range(X.shape[1])]
    for kind, message in _REFUSED.items():
        wrong = [column for column, found in zip(X.columns, kinds, strict=True) if found == kind]
        if wrong:
            raise ValueError(f"{name} {message.format(columns=wrong)}.")
    return tuple(place for place, kind in enumerate(kinds) if kind == "category")


def count_empty_rows(X: Any) -> int:
    """Number of rows of the DataFrame X in which the values of all columns are missing."""
    missing = [_missing(_column(X, place)) for place in range(X.shape[1])]
    return int(np.logical_and.reduce(missing).sum())


def refuse_categories(name: str, X: Any, places: Sequence[int], encoder: Any) -> NoReturn:
    """Raise because the condition encoder reads numbers only, and say what to write."""
    columns = [X.columns[place] for place in places]
    raise ValueError(
        f"{name} holds categories in columns {columns}, but condition_encoder={encoder!r} reads "
        f"numbers only. Set condition_encoder='trees', or encode them first: "
        f"make_sampling_pipeline(make_column_transformer((OneHotEncoder(handle_unknown='ignore', "
        f"sparse_output=False), {columns}), remainder='passthrough'), LSDMRegressor())."
    )


def check_columns_of_numbers(name: str, Y: Any) -> None:
    """Raise for columns of a DataFrame of responses that hold no numbers, and name them."""
    columns = [Y.columns[place] for place in find_categories(name, Y)]
    if columns:
        raise ValueError(
            f"{name} holds strings or categories in columns {columns}, and draws are numbers. "
            f"Encode them first, as one column of 0 and 1 for each level: "
            f"pandas.get_dummies({name}, dtype=float). Draws of such columns are one-hot, too."
        )


@dataclass(frozen=True)
class CategoryColumns:
    """Which columns of the conditions hold categories, and their levels in `fit`.

    `read` puts the columns of numbers first, in their order, then one column of 0 and 1 for each
    level. A missing category is a level like any other. Of a column with more than 30 levels the
    rarest share one column. A level unseen in `fit` is read as one of these rare ones, or as no
    level (all zeros) where there are none, with a warning.
    """

    columns: tuple[Any, ...] = ()  # names of all columns
    places: tuple[int, ...] = ()  # of those that hold categories
    encoder: OneHotEncoder | None = None

    @classmethod
    def learn(cls, X: Any, places: tuple[int, ...]) -> Self:
        """Learn the levels of the columns of the DataFrame X at these places."""
        levels = _levels(X, places)
        empty = [
            X.columns[place]
            for place, column in zip(places, levels.T, strict=True)
            if len(column) and all(level is None for level in column)
        ]
        if empty:
            raise ValueError(f"X holds nothing but missing values in columns {empty}; drop them.")
        encoder = OneHotEncoder(
            max_categories=MOST_LEVELS, handle_unknown="infrequent_if_exist", sparse_output=False
        )
        with named_in_errors("X"):
            encoder.fit(levels)
        names = [X.columns[place] for place in places]
        _warn_of_single_rows(names, levels)
        return cls(tuple(X.columns), places, encoder)

    @property
    def numbers(self) -> list[int]:
        """Places of the columns that hold numbers."""
        return [place for place in range(len(self.columns)) if place not in self.places]

    def read(
        self, estimator: Any, X: Any, found: tuple[int, ...], name: str, *, reset: bool
    ) -> NDArray[Any]:
        """The DataFrame X, with categories in the places `found`, as an array of numbers.

        The estimator stores the names and number of its columns (`reset`), or checks them.
        """
        if not is_frame(X):
            raise TypeError(
                f"{name} must be a DataFrame as in fit, where columns "
                f"{self._names(self.places)} held categories, got {type(X).__name__}."
            )
        with named_in_errors(name):
            validate_data(estimator, X, reset=reset, skip_check_array=True)
        changed = sorted(set(found) - set(self.places))
        if changed:
            raise ValueError(
                f"{name} holds categories in columns {[X.columns[place] for place in changed]}, "
                f"which held numbers in fit."
            )
        assert self.encoder is not None
        levels = _levels(X, self.places)
        self._warn_of_unseen(levels, name)
        with named_in_errors(name):
            parts = [self.encoder.transform(levels)]
            if self.numbers:
                parts.insert(0, _as_array(X, self.numbers))
        return np.concatenate(parts, axis=1)

    def _names(self, places: Sequence[int]) -> list[Any]:
        return [self.columns[place] for place in places]

    def number_names(self) -> list[Any]:
        """Names of the columns of numbers, which `read` puts first."""
        return self._names(self.numbers)

    def _warn_of_unseen(self, levels: NDArray[Any], name: str) -> None:
        assert self.encoder is not None
        pooled = self.encoder.infrequent_categories_
        known = self.encoder.categories_
        for column, values, seen, rare in zip(
            self._names(self.places), levels.T, known, pooled, strict=True
        ):
            unseen = sorted(map(_shown, set(values) - set(seen)))
            if unseen:
                more = ", ..." if len(unseen) > _MOST_SHOWN else ""
                fallback = "no level (all zeros)" if rare is None else "one of the rare levels"
                warn_user(
                    f"{name} holds levels in column {column!r} that X had not in fit: "
                    f"{', '.join(unseen[:_MOST_SHOWN])}{more}. They are read as {fallback}."
                )


_REFUSED = {
    "date": f"holds dates or times in columns {{columns}}; {INSTEAD_OF_DATES}",
    "mixed": "mixes strings with other values in columns {columns}; make each column all strings "
    "or all numbers",
    "other": "holds neither numbers nor strings in columns {columns}, but bytes or lists; decode "
    "bytes to strings, and give each number of a list a column of its own",
}


def _column(X: Any, place: int) -> Any:
    """One column of a DataFrame, as a Series."""
    return X.iloc[:, place] if hasattr(X, "iloc") else X[:, place]


def _as_array(X: Any, places: list[int]) -> NDArray[Any]:
    """The columns of a DataFrame at these places, as numbers; missing ones are NaN."""
    part = X.iloc[:, places] if hasattr(X, "iloc") else X[:, places]
    return check_array(part, dtype="numeric", ensure_all_finite=False)


def _kind_of(series: Any) -> str:
    """What a column holds: "number" (or bool), "category", "date", "mixed" or "other"."""
    dtype = str(series.dtype).lower()
    if dtype == "object":
        return _kind_of_objects(series)
    if _CATEGORY.match(dtype):
        return "category"
    return "date" if _DATE.match(dtype) else "number"


def _kind_of_objects(series: Any) -> str:
    missing = _missing(series)
    types = {type(value) for value, gone in zip(series, missing, strict=True) if not gone}
    if any(issubclass(kind, _DATE_TYPES) for kind in types):
        return "date"
    if any(issubclass(kind, _NO_VALUES) for kind in types):
        return "other"
    strings = [issubclass(kind, str) for kind in types]
    if any(strings):
        return "category" if all(strings) else "mixed"
    return "number"


def _missing(series: Any) -> NDArray[np.bool_]:
    found = series.isna() if hasattr(series, "isna") else series.is_null()
    return np.asarray(found, dtype=bool)


def _levels(X: Any, places: Sequence[int]) -> NDArray[Any]:
    """The categories (n, columns) of a DataFrame as strings, and None where they are missing."""
    found = np.empty((len(X), len(places)), dtype=object)
    for column, place in enumerate(places):
        series = _column(X, place)
        pairs = zip(series, _missing(series), strict=True)
        found[:, column] = [None if gone else _as_text(value) for value, gone in pairs]
    return found


def _warn_of_single_rows(names: list[Any], levels: NDArray[Any]) -> None:
    """Warn of columns with many levels, most rows of which hold a level that no other row has."""
    for name, column in zip(names, levels.T, strict=True):
        given = [level for level in column if level is not None]
        found, counts = np.unique(given, return_counts=True)
        if len(found) > MOST_LEVELS and 2 * (counts == 1).sum() > len(column):
            warn_user(
                f"X holds {len(found)} different strings in column {name!r} of {len(column)} rows: "
                f"{str(found[0])!r}, ... What a single row holds says nothing about other rows. "
                f"Drop the column, or write the numbers that it means (of a date, days since the "
                f"first one, the month or the hour)."
            )


def _as_text(value: Any) -> str:
    """A level as a string; 1.0 is the level 1, as pandas turns integers beside gaps into floats."""
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    return str(value)


def _shown(level: str | None) -> str:
    return "a missing value" if level is None else repr(level)

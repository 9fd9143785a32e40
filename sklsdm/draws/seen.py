"""Whether pairs that are to judge or calibrate a fit are those that it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sklsdm._validation import warn_user
from sklsdm.blocks import row_hashes

SEEN = 0.5  # share of responses that equal a training response, from which on we speak of it
_MOST_REPEATED = 0.1  # share of the training responses that may equal another one


def share_seen(reference: NDArray[Any] | None, n_paired: int, y: NDArray[Any]) -> float:
    """Estimated share of responses that equal a training response.

    It is 0 where no training responses were kept, and where these repeat by themselves, so that a
    new response may equal one of them by chance.

    Parameters
    ----------
    reference : ndarray of shape (r, q) or None
        The training responses that were kept, chosen at random.
    n_paired : int
        Number of all paired training responses, at least r.
    y : ndarray of shape (n, q)
        The responses that are looked at, in the same units and dtype.
    """
    if reference is None:
        return 0.0
    known = np.unique(row_hashes(reference))
    n_kept = len(reference)
    # Two of all responses are n_paired / n_kept times as often equal as two of those kept.
    repeated = (n_kept - len(known)) / n_kept * n_paired / n_kept
    if repeated > _MOST_REPEATED:
        return 0.0
    found = float(np.isin(row_hashes(y), known).mean())
    return min(1.0, found * n_paired / n_kept)


def warn_if_seen(share: float, consequence: str) -> None:
    """Warn where most pairs were used in `fit`; `consequence` says what that does, in words."""
    if share >= SEEN:
        warn_user(f"{seen_text(share)}: {consequence}.")


def seen_text(share: float) -> str:
    """What was found and what to do, as a sentence whose end is open."""
    return (
        f"{share:.0%} of these responses equal a training response. Pass pairs that `fit` has not "
        f"seen"
    )

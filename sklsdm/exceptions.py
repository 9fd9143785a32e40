"""Errors and warnings of this package that users may want to catch."""

from __future__ import annotations


class DivergenceError(RuntimeError):
    """Training diverged, and retries at lower learning rates did not help.

    Losses, parameters or draws were not finite, or draws were far from the data.
    """


class DivergenceWarning(UserWarning):
    """A few draws of the fitted estimator are far off, and most are not."""


class NotImprovedWarning(UserWarning):
    """No state of a training was better than its start, on what was held out."""


class DistributionShiftWarning(UserWarning):
    """The responses or conditions passed in do not look like the training data."""

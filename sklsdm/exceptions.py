"""Errors and warnings of this package that users may want to catch."""

from __future__ import annotations


class DivergenceError(RuntimeError):
    """Training became non-finite, and retries at lower learning rates did not help."""


class NotImprovedWarning(UserWarning):
    """No state of a training was better than its start, on what was held out."""


class DistributionShiftWarning(UserWarning):
    """The responses or conditions passed in do not look like the training data."""

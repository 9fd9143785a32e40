"""Errors and warnings of this package that users may want to catch."""

from __future__ import annotations


class DivergenceError(RuntimeError):
    """Training stayed non-finite after every retry at a lower rate."""


class NotImprovedWarning(UserWarning):
    """No state of a training was better than its start, on what was held out."""


class DistributionShiftWarning(UserWarning):
    """The responses or conditions handed in do not look like those trained on."""

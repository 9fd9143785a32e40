"""Fitted estimators as files that are safe to share: loading one runs none of its contents."""

from sklsdm.saving.classes import skops_types
from sklsdm.saving.estimators import load, save

__all__ = ["load", "save", "skops_types"]

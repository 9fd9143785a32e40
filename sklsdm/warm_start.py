"""Fits that go on from an earlier one (`warm_start=True`): what they keep, what may not change."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.encoders import AutoConditionEncoder
from sklsdm.fitting.latent_space import LatentSpace
from sklsdm.owner import PartsOwner
from sklsdm.public_calls import learnt_by

# Only the first fit reads these parameters.
_READ_ONCE = ("latent_dim", "scale_X", "y_range", "exact_values")
# What `fit_unpaired` has learnt is kept beside what `sample` draws with, until the next fit.
STREAMED = {
    "autoencoder_": "_streamed_autoencoder_",
    "_latent_standardiser_": "_streamed_standardiser_",
    "_response_format_": "_streamed_format_",
}


def continue_from(fresh: PartsOwner, earlier: PartsOwner) -> None:
    """Give an unfitted clone what earlier fits have learnt; raise where that does not fit it.

    Stage 1 is that of `fit_unpaired`, where it was called after the last fit.
    """
    found = learnt_by(earlier)
    found.pop("_calibration_", None)  # it is that of the earlier fit's draws
    for name, streamed in STREAMED.items():
        if streamed in found:
            found[name] = found.pop(streamed)
    for name, value in found.items():
        setattr(fresh, name, value)
    _check_unchanged(fresh)


def settings_read_once(estimator: Any) -> dict[str, Any]:
    """Values of the parameters that only the first fit reads."""
    return {name: getattr(estimator, name) for name in _READ_ONCE if hasattr(estimator, name)}


def _check_unchanged(estimator: PartsOwner) -> None:
    """Raise if a parameter has changed since the fit with which `estimator` begins."""
    now = settings_read_once(estimator)
    for name, value in getattr(estimator, "_read_once_", {}).items():
        if not _are_equal(now[name], value):
            raise _changed(name, now[name], value)
    learnt = vars(estimator)
    for part in estimator._parts:
        fitted = learnt.get(f"{part}_")
        if fitted is None:
            continue
        given = estimator._given_part(part)
        if isinstance(given, BaseAutoencoder):
            given = given.like(fitted)
        if isinstance(given, AutoConditionEncoder):
            continue
        if type(given) is not type(fitted):
            raise _changed(part, getattr(estimator, part), type(fitted).__name__)
        if part == "condition_encoder":  # it is not fitted again
            for name, value in fitted.get_params(deep=False).items():
                if not _are_equal(getattr(given, name), value):
                    raise _changed(f"{part}__{name}", getattr(given, name), value)


def _are_equal(first: Any, second: Any) -> bool:
    """Whether two values of a parameter are the same; they may be arrays or hold some."""
    both = (np.asarray(v).tolist() if hasattr(v, "__array__") else v for v in (first, second))
    first, second = both
    kinds = [isinstance(value, list | tuple) for value in (first, second)]
    if not all(kinds):
        return not any(kinds) and bool(first == second)
    members = zip(first, second, strict=False)
    return len(first) == len(second) and all(_are_equal(a, b) for a, b in members)


def _changed(name: str, now: Any, before: Any) -> ValueError:
    return ValueError(
        f"{name}={now!r} has changed: the fit that warm_start=True goes on from had {before!r}. "
        f"Set it back, or fit anew with warm_start=False."
    )


def weights_of(estimator: Any) -> list[Any]:
    """The networks from which a fit of `estimator` starts; none if it is not fitted."""
    learnt = vars(estimator)
    found = [("autoencoder_", "coder_"), ("matcher_", "network_")]
    return [getattr(learnt[part], name) for part, name in found if part in learnt]


def earlier_space(estimator: Any, device: torch.device) -> LatentSpace:
    """A copy, on the device, of the latent space with which a fit of `estimator` begins."""
    autoencoder = copy.copy(estimator.autoencoder_)  # its networks are copied too
    autoencoder.to(device)
    form, standardiser = estimator._response_format_, estimator._latent_standardiser_
    return LatentSpace(autoencoder, standardiser, form, device)

"""A fitted estimator's way from conditions and noise to draws, as one torch module."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sklsdm.draws.drawing import Sampler
from sklsdm.encoders import (
    BaseConditionEncoder,
    FlattenConditionEncoder,
    LassoConditionEncoder,
    PeriodicConditionEncoder,
)
from sklsdm.inputs.repeated import RepeatedValues, between
from sklsdm.inputs.response_format import settlings_of, take_exact_values
from sklsdm.inputs.standardising import Standardiser
from sklsdm.modules import PotentialGenerator
from sklsdm.onnx.operators import use_traced_slope

_Constants = TypeVar("_Constants")

_CPU = torch.device("cpu")


class _Affine(nn.Module):
    """The way into or out of standardised numbers. Its constants are buffers, as export needs."""

    mean: Tensor
    scale: Tensor

    def __init__(self, standardiser: Standardiser, dtype: torch.dtype, *, inverse: bool) -> None:
        super().__init__()
        scale = standardiser.scale
        if not inverse:
            scale = np.where(standardiser.constant, 1.0, scale)
        self.inverse = inverse
        self.register_buffer("mean", torch.tensor(standardiser.mean, dtype=dtype))
        self.register_buffer("scale", torch.tensor(scale, dtype=dtype))

    def forward(self, values: Tensor) -> Tensor:
        values = values.to(self.mean.dtype)
        if self.inverse:
            return values * self.scale + self.mean
        return (values - self.mean) / self.scale


def _with_tensors(rule: _Constants) -> _Constants:
    """A rule, or what settles draws for it, with tensors: export does not follow arrays."""
    found = copy.copy(rule)
    for name, value in vars(rule).items():
        if isinstance(value, np.ndarray):
            value = torch.tensor(value.copy())
        elif isinstance(value, tuple):
            value = tuple(torch.tensor(each) for each in value)
        object.__setattr__(found, name, value)  # rules are frozen
    return found


class _Repeated(nn.Module):
    """`RepeatedValues.restore`, with its numbers as buffers and in operators that ONNX has."""

    values: Tensor
    lower: Tensor
    upper: Tensor
    shifts: Tensor

    def __init__(self, repeated: RepeatedValues, dtype: torch.dtype) -> None:
        super().__init__()
        for name in ("values", "lower", "upper", "shifts"):
            self.register_buffer(name, torch.tensor(getattr(repeated, name), dtype=dtype))
        n_halvings = len(repeated.values).bit_length()
        self.steps = [1 << power for power in reversed(range(n_halvings))]
        missing = (1 << n_halvings) - 1 - len(repeated.values)
        self.lower = F.pad(self.lower, (0, missing), value=float("nan"))  # which nothing reaches

    def forward(self, places: Tensor) -> Tensor:
        following = torch.zeros_like(places, dtype=torch.int64)
        for step in self.steps:  # a binary search, for which ONNX has no operator
            following = following + step * (places >= self.lower[following + (step - 1)])
        last = (following - 1).clamp(min=0)
        inside = (following > 0) & (places <= self.upper[last])
        others = between(self.values, following, places - self.shifts[following])
        return torch.where(inside, self.values[last], others)


class ConditionGraph(nn.Module):
    """Conditions (n, p) or (n, c, h, w) as the rows (n, p') that the networks see, float32."""

    selected: Tensor
    stays: Tensor

    def __init__(self, standardiser: Standardiser, encoder: BaseConditionEncoder) -> None:
        super().__init__()
        self.standardise = _Affine(standardiser, torch.float64, inverse=False)
        self.selects = isinstance(encoder, LassoConditionEncoder)
        if isinstance(encoder, LassoConditionEncoder):
            self.register_buffer("selected", torch.as_tensor(encoder.columns_))
            self.register_buffer("stays", torch.as_tensor(~encoder.left_out_).float())
        waves = getattr(encoder, "waves_", [])
        self.columns = [column for column, _ in waves]
        self.frequencies = [float(np.float32(frequency)) for _, frequency in waves]

    def forward(self, X: Tensor) -> Tensor:
        rows = self.standardise(X.flatten(1)).float()
        if self.selects:
            return rows.index_select(1, self.selected) * self.stays
        parts = [rows]
        for column, frequency in zip(self.columns, self.frequencies, strict=True):
            angle = frequency * rows[:, column : column + 1]
            parts += [angle.sin(), angle.cos()]
        return torch.cat(parts, dim=1) if len(parts) > 1 else rows


class CodeGraph(nn.Module):
    """Codes (n, k) in the autoencoder's units, for conditions and the matcher's noise (n, d)."""

    def __init__(self, sampler: Sampler, conditions: ConditionGraph | None) -> None:
        super().__init__()
        self.conditions = conditions
        self.matcher = copy.deepcopy(sampler.matcher)
        self.matcher.to(_CPU)
        self.network = self.matcher.network_  # export knows only modules that are attributes
        if isinstance(self.network, PotentialGenerator):
            use_traced_slope(self.network)
        self.restore = _Affine(sampler.latent_standardiser, torch.float32, inverse=True)

    def forward(self, X: Tensor | None, noise: Tensor) -> Tensor:
        rows = noise[:, :0] if X is None or self.conditions is None else self.conditions(X)
        return self.restore(self.matcher.draw(rows, noise))


class ResponseGraph(nn.Module):
    """Responses (n, *y_shape) in their own units, for codes (n, k) and the decoder's noise."""

    low: Tensor
    high: Tensor

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        form = sampler.form
        self.autoencoder = copy.deepcopy(sampler.autoencoder)
        self.autoencoder.to(_CPU)
        self.coder = self.autoencoder.coder_
        self.residuals = getattr(self.autoencoder, "residuals_", None)
        dtype = torch.float64 if form.dtype == np.float64 else torch.float32
        self.restore = _Affine(form.standardiser, dtype, inverse=True)
        self.repeated_columns = [each.columns for each in form.repeated]
        self.repeated = nn.ModuleList(_Repeated(each, dtype) for each in form.repeated)
        self.shape = form.shape
        self.settlings = tuple(map(_with_tensors, settlings_of(form.rules, form.repeated)))
        self.rules = tuple(map(_with_tensors, form.rules))
        self.is_clipped = form.range is not None
        if form.range is not None:
            for name, end in zip(("low", "high"), form.range, strict=True):
                self.register_buffer(name, torch.tensor(end, dtype=dtype))

    def forward(self, codes: Tensor, noise: Tensor) -> Tensor:
        rows = self.restore(self.autoencoder.decode(codes, noise))
        rows = take_exact_values(
            rows, self.settlings, self._with_repeated_values, self.rules, self._clipped
        )
        return rows.reshape(-1, *self.shape)

    def _with_repeated_values(self, rows: Tensor) -> Tensor:
        parts, done = [], 0
        for columns, repeated in zip(self.repeated_columns, self.repeated, strict=True):
            parts += [rows[:, done : columns.start], repeated(rows[:, columns])]
            done = columns.stop
        return torch.cat([*parts, rows[:, done:]], dim=1)

    def _clipped(self, rows: Tensor) -> Tensor:
        return torch.clamp(rows, self.low, self.high) if self.is_clipped else rows


class DrawGraph(nn.Module):
    """Draws for conditions (left out where there are none) and noise, side by side for both."""

    def __init__(self, codes: CodeGraph, responses: ResponseGraph, noise_dims: list[int]) -> None:
        super().__init__()
        self.codes = codes
        self.responses = responses
        self.noise_dims = noise_dims

    def forward(self, *inputs: Tensor) -> Tensor:
        *conditions, noise = inputs
        for_matcher, for_decoder = noise.split(self.noise_dims, dim=1)
        codes = self.codes(conditions[0] if conditions else None, for_matcher)
        return self.responses(codes, for_decoder)


def has_torch_form(encoder: Any) -> bool:
    """Whether :class:`ConditionGraph` does what this condition encoder does."""
    known = (FlattenConditionEncoder, PeriodicConditionEncoder, LassoConditionEncoder)
    return type(encoder).transform in [kind.transform for kind in known]

"""A neural spline flow of the package zuko as a density of a code's whitened residual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sklsdm.modules.fields import WhitenedResidual

# Functions that draw weights; those of `nn.init` hide the methods that they call from a mode.
_DRAWING = (
    Tensor.uniform_,
    Tensor.normal_,
    nn.init.uniform_,
    nn.init.normal_,
    nn.init.kaiming_uniform_,
    nn.init.kaiming_normal_,
)
_LAST_SCALE = 0.1  # of the last layers' first weights: the flow starts near the identity


class SplineFlow(WhitenedResidual):
    """p(u | x): the autoregressive monotonic splines of `zuko.flows.NSF` carry u to N(0, I)."""

    def __init__(
        self,
        condition_dim: int,
        latent_dim: int,
        n_transforms: int,
        n_bins: int,
        widths: Sequence[int],
        image_shape: Sequence[int] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        n_features = self._set_condition_encoder(image_shape, condition_dim, generator)
        self._add_linear_path(condition_dim, latent_dim)
        kind: Any = import_zuko().flows.NSF
        with _RandomFrom(generator):
            self.flow = kind(
                latent_dim,
                n_features,
                bins=n_bins,
                transforms=n_transforms,
                hidden_features=tuple(widths),
            ).float()
        with torch.no_grad():
            for transform in self.flow.transform.transforms:
                last = transform.hyper[-1]
                last.weight.mul_(_LAST_SCALE)
                last.bias.mul_(_LAST_SCALE)

    def _transform(self, condition: Tensor) -> Any:
        """zuko's transform of residuals to N(0, I), given conditions (..., p)."""
        features = self.features(condition.flatten(0, -2)).unflatten(0, condition.shape[:-1])
        return self.flow.transform(features if features.shape[-1] else None)

    def log_prob(self, condition: Tensor, latent: Tensor) -> Tensor:
        """ln p(u | x), (...), of the residuals of codes (..., k), for conditions (m, p).

        It is ln p(z | x) up to a constant, the logarithm of the determinant of L.
        """
        residual = self.residual(condition, latent)
        rows = condition.expand(*residual.shape[:-1], condition.shape[-1])
        normal, log_slope = self._transform(rows).call_and_ladj(residual)
        log_normal = -normal.square().sum(dim=-1) / 2 - self.dim / 2 * math.log(2 * math.pi)
        return log_normal + log_slope

    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Codes (n, k) for conditions (n, p) and noise (n, k)."""
        return self.latent(condition, self._transform(condition).inv(noise))


def import_zuko() -> Any:
    """The module `zuko`, or an ImportError that says how to install it."""
    try:
        import zuko
    except ImportError as error:
        raise ImportError(
            "The matcher ZukoFlowMatcher needs the package zuko, which is not installed; run: pip "
            "install 'sklsdm[zuko]'"
        ) from error
    return zuko


class _RandomFrom(TorchFunctionMode):
    """Context in which modules of others draw their first weights from `generator`.

    Without one they stay uninitialised. The global random state is not touched either way.
    """

    def __init__(self, generator: torch.Generator | None) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWING:
            if self.generator is None:
                return args[0] if args else kwargs["tensor"]
            kwargs = kwargs | {"generator": self.generator}
        return func(*args, **kwargs)

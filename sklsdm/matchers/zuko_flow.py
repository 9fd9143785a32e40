"""Maximum likelihood of a neural spline flow given the condition, with the package zuko."""

from __future__ import annotations

from collections.abc import Sequence

from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.likelihood import LikelihoodMatcher
from sklsdm.matchers.linear_start import start_linear
from sklsdm.modules import SplineFlow, import_zuko
from sklsdm.parameters import integer, parameter
from sklsdm.run import Stream


class ZukoFlowMatcher(LikelihoodMatcher):
    r"""Neural spline flow in latent space, by maximum likelihood; needs the package zuko.

    .. math:: p(z | x) = N(f(u; x); 0, I) \, |\det \partial f / \partial u|,

    where u is the whitened residual of z from ridge regression on x, and f a chain of
    autoregressive monotonic splines (`zuko.flows.NSF`). Codes without a condition add their
    likelihood under the mean of p(z | x) over the pairs' x. It has no name in
    `sklsdm.matchers.MATCHERS`, since zuko is not always installed: pass
    ``matcher=ZukoFlowMatcher()``.

    When to use: for few latent dimensions and smooth laws that are skewed or bent; `mdn` for
    modes apart. Cost: `n_transforms` networks and splines a step; a draw takes as many passes for
    each latent dimension, since splines are inverted one dimension after another. `activation`
    has no effect.

    References
    ----------
    Durkan, Bekasov, Murray & Papamakarios 2019, "Neural spline flows" (arXiv 1906.04032);
    Papamakarios, Pavlakou & Murray 2017 (arXiv 1705.07057) for the masked networks.
    """

    n_transforms: int = parameter(
        default=3,
        rule=integer(1),
        doc="Transforms in the chain. More can bend the law further, and take longer.",
        kw_only=False,
    )
    n_bins: int = parameter(default=8, rule=integer(2), doc="Pieces of one spline.", kw_only=False)
    widths: Sequence[int] = (64, 64)
    lr: float = 1e-3

    def _check_further(self, prefix: str) -> None:
        import_zuko()

    @property
    def n_passes(self) -> int:
        return int(self.n_transforms) * getattr(self, "noise_dim_", 1)

    def _noise_dim(self, latent_dim: int) -> int:
        return latent_dim

    def _module(self, data: MatchingData, plan: Plan) -> SplineFlow:
        density = SplineFlow(
            data.condition_dim,
            data.latent_dim,
            self.n_transforms,
            self.n_bins,
            self.widths,
            data.image_shape,
            plan.run.weights(Stream.MATCHER_WEIGHTS),
        )
        start_linear(density, data, invertible=True)
        return density

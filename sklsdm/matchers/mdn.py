"""Maximum likelihood of a mixture of Gaussians given the condition: the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from sklsdm.functional.mixtures import draw_mixture
from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.likelihood import LikelihoodMatcher
from sklsdm.matchers.linear_start import start_linear
from sklsdm.modules import MixtureDensity, in_turn
from sklsdm.parameters import integer, one_of, parameter
from sklsdm.run import Stream


class MDNMatcher(LikelihoodMatcher):
    r"""Mixture density network in latent space: the baseline by maximum likelihood.

    .. math:: p(z | x) = \sum_c w_c(x) N(z; μ_c(x), (P_c(x)^T P_c(x))^{-1}),

    where one network gives all parameters and z is the whitened residual from ridge regression on
    x. Codes without a condition add their likelihood under the mean of p(z | x) over the pairs' x.

    When to use: for few latent dimensions and smooth laws, where it is hard to beat. Components
    cannot bend, so a thin curved support takes a chain of them. Cost: one small backward pass a
    step, no critic; a draw takes one pass.

    References
    ----------
    Bishop 1994, "Mixture density networks" (NCRG/94/004); Williams 1996, "Using neural networks
    to model conditional multivariate densities" (Neural Computation 8) for the precisions.
    """

    n_components: int = parameter(
        default=10,
        rule=integer(1),
        doc="Gaussians in the mixture. More can follow more modes and bent shapes.",
        kw_only=False,
    )
    covariance: str = parameter(
        default="full",
        rule=one_of("full", "diagonal"),
        doc="""Covariance of each Gaussian. "diagonal" has fewer parameters, but needs several
        Gaussians where codes are correlated given x.""",
        kw_only=False,
    )
    widths: Sequence[int] = (128, 128)
    lr: float = 3e-4

    def _module(self, data: MatchingData, plan: Plan) -> MixtureDensity:
        density = MixtureDensity(
            data.condition_dim,
            data.latent_dim,
            self.n_components,
            self.covariance == "full",
            self.widths,
            self.activation,
            data.image_shape,
            plan.run.weights(Stream.MATCHER_WEIGHTS),
        )
        start_linear(density, data, invertible=True)
        return density

    def _noise_dim(self, latent_dim: int) -> int:
        return 1 + latent_dim

    def _draw(self, module: Any, condition: Tensor, noise: Tensor) -> Tensor:
        log_weights, means, precision = (in_turn(part, len(noise)) for part in module(condition))
        return module.latent(condition, draw_mixture(log_weights, means, precision, noise))

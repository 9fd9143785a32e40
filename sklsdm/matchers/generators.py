"""Base of the matchers that train a one-step generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import Tensor

from sklsdm.matchers.base import FEW_HELD_OUT, BaseMatcher, Plan
from sklsdm.matchers.data import MatchingData
from sklsdm.matchers.linear_start import start_linear
from sklsdm.matchers.noise_scale import HeldOut, best_noise_scale
from sklsdm.modules import ConditionalGenerator, ConvGenerator, PotentialGenerator
from sklsdm.nets import HeldOutScore
from sklsdm.parameters import above, integer, learnt, one_of, or_auto, parameter
from sklsdm.run import Run, Stream

Generator = TypeVar("Generator", ConditionalGenerator, PotentialGenerator)


class GeneratorMatcher(BaseMatcher):
    """A matcher that trains the one-step generator H(x, η) itself.

    All that a subclass must say is what the generator loses (`_objective`).
    """

    noise_dim: int | str = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc="""Dimension of the noise η. "auto" is the latent dimension, but at least 8 unless the
        generator may start at a diffusion's draws (`start`), and 64 where a generator of
        convolutions draws codes that are images.""",
    )

    held_out_score: str = parameter(
        default="multiscale",
        rule=one_of("multiscale", "energy"),
        doc="""Score of draws for held-out pairs by which the state is chosen. "multiscale" adds to
        the energy score a mean over Gaussian kernels of five widths, which sees narrow modes that
        the energy score hardly sees (`sklsdm.functional.scores.multiscale_score`).""",
    )

    noise_scale: float | str = parameter(
        default="auto",
        rule=or_auto(above(0.0)),
        doc="""Factor of the noise η in draws. Where pairs are few, the generator narrows onto them,
        and more noise widens its draws again. "auto" chooses it, from 1 to 3, by the multiscale
        score and the coverage of held-out pairs once a state is chosen. Where 1 to 19 are held out
        and fewer than 200 learnt from, or of 8 to 19 pairs none is held out, four further fits
        choose it, each of which leaves out a quarter of the pairs: the fit then takes two to four
        times as long, or one and a half times where these are of the diffusion at whose draws the
        generator starts (`start`). There are no such fits, and with fewer than 20 held out it is 1,
        for labels, pseudo-pairs, no conditions, and conditions or codes that are images. It is 1,
        too, where the start is kept.""",
    )

    noise_scale_: float = learnt("Factor of the noise η in draws.")

    def fit(self, data: MatchingData, run: Run) -> GeneratorMatcher:
        """Train on the pairs (and, where given, all codes); then choose the noise's scale."""
        self.noise_scale_ = 1.0 if self.noise_scale == "auto" else float(self.noise_scale)
        super().fit(data, run)
        if self._has_learnt and data.n_judges >= FEW_HELD_OUT:
            self.choose_noise_scale([self.for_held_out(data)], run)
        return self

    @property
    def _has_learnt(self) -> bool:
        """Whether draws come from another state than ridge regression, at which it starts."""
        return self.best_step_ > 0 or self._goes_on

    def needs_folds(self, data: MatchingData) -> bool:
        """Whether too few pairs were held out of these data to choose the noise's scale by them."""
        if self.noise_scale != "auto" or not self._has_learnt or data.n_pseudo > 0:
            return False
        is_few = 0 < data.n_judges < FEW_HELD_OUT
        return data.are_too_few_numbers or (is_few and data.are_numbers)

    def choose_noise_scale(self, held_out: Sequence[HeldOut], run: Run) -> None:
        """Set the noise's scale by pairs held out from this generator, and from others like it."""
        if self.noise_scale == "auto" and not isinstance(self.network_, ConvGenerator):
            self.noise_scale_ = best_noise_scale(held_out, run.stream(Stream.MATCHER_HELD_OUT))

    def draw(self, condition: Tensor, noise: Tensor) -> Tensor:
        return super().draw(condition, self.noise_scale_ * noise)

    def _held_out(self, objective: Any, data: MatchingData, plan: Plan) -> HeldOutScore | None:
        return self._score_of_draws(data, plan, self.held_out_score)

    def _module(self, data: MatchingData, plan: Plan) -> ConditionalGenerator:
        return started_generator(ConditionalGenerator, self, data, plan)

    def _noise_dim(self, latent_dim: int) -> int:
        return max(8, latent_dim) if self.noise_dim == "auto" else int(self.noise_dim)


def started_generator(
    kind: type[Generator], matcher: BaseMatcher, data: MatchingData, plan: Plan, **settings: Any
) -> Generator:
    """H(x, η) of a class `kind`, with the matcher's widths and `settings` of that class.

    It starts at ridge regression with Gaussian noise.
    """
    generator = kind(
        data.condition_dim,
        data.latent_dim,
        plan.noise_dim,
        matcher.widths,
        matcher.activation,
        data.image_shape,
        plan.run.weights(Stream.MATCHER_WEIGHTS),
        **settings,
    )
    start_linear(generator, data)
    return generator

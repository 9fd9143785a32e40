"""What matchers with critics share: both losses and the base class."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sklsdm.batches import PairBatch, PairBatches
from sklsdm.functional.scores import energy_score
from sklsdm.matchers.base import (
    FEW_HELD_OUT,
    Plan,
    Prepared,
    several_draws,
)
from sklsdm.matchers.data import ImagesOfCodes, MatchingData
from sklsdm.matchers.diffusion_start import STEPS_OF_DIFFUSION, StartingDiffusion, learn_draws
from sklsdm.matchers.generators import GeneratorMatcher
from sklsdm.matchers.label_loss import LabelLoss
from sklsdm.modules import ConvCritic, ConvGenerator, Critic, Critics, SlopePenalty
from sklsdm.nets import Adam, AdversarialNet, are_plain, is_ours
from sklsdm.parameters import (
    above,
    at_least,
    between,
    integer,
    learnt,
    multiple_of,
    one_of,
    pair_of,
    parameter,
    sequence_of,
)
from sklsdm.run import Run, Stream
from sklsdm.stages import MATCHING_BY_CRITIC, Stage

_CHANNELS_OF_IMAGES = 2  # of the critic of codes, for one of the critic of images
_NOISE_OF_IMAGES = 64  # numbers from which a code that is an image is drawn, unless told

CriticLoss = Callable[[Any, Tensor], Tensor]  # of critic values: real (b, 1), drawn (b, n_draws)


class View(NamedTuple):
    """What a critic judges, and the weight of its judgement in the generator's loss."""

    critic: Any
    features: Tensor  # (b, f) of the conditions; f is 0 where it sees none
    real: Tensor  # (b, k)
    drawn: Tensor  # (b n_draws, k), those of each condition in turn
    weight: float = 1.0


@dataclass(eq=False)
class AdversarialObjective:
    """Losses of critics and generator on the pairs and, with a second critic, on all codes.

    Attributes
    ----------
    loss_of_critic, loss_of_generator : callables
        Scalars of critic values: real (b, 1), drawn (b, n_draws). See
        `functional.critic_losses`.
    penalty : SlopePenalty
        Added to the loss of either critic.
    unpaired_weight : float
        Weight of the unconditional critic in the generator's loss.
    n_draws : int
        Draws for each condition.
    energy_weight : float
        Weight of the energy score of these draws in the generator's loss.
    relativistic : bool, default=False
        Whether the generator's loss depends on the critic's values at real codes. Otherwise they
        are not computed for it, and it gets None in their place.
    decoder : ImagesOfCodes, optional
        Of codes that are images, where a critic sees the images.
    label_loss : LabelLoss, optional
        How well draws go with their labels, added to the generator's loss.
    """

    loss_of_critic: CriticLoss
    loss_of_generator: CriticLoss
    penalty: SlopePenalty
    unpaired_weight: float
    n_draws: int
    energy_weight: float
    relativistic: bool = False
    decoder: ImagesOfCodes | None = None
    label_loss: LabelLoss | None = None

    def __post_init__(self) -> None:
        given = self.loss_of_critic, self.loss_of_generator, self.penalty
        sees_plain_images = self.decoder is None or are_plain(self.decoder.coder)
        self.recordable = all(map(is_ours, given)) and sees_plain_images

    def _values(
        self, critic: Any, features: Tensor, real: Tensor, drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Critic values, real (b, 1) and drawn (b, n_draws), from one pass.

        The code and the draws of a condition follow one another, so that what depends on the
        condition alone is computed once for them.
        """
        by_condition = drawn.view(len(real), self.n_draws, -1)
        together = torch.cat([real.unsqueeze(1), by_condition], dim=1).flatten(0, 1)
        values = critic(features, together).view(len(real), 1 + self.n_draws)
        return values[:, :1], values[:, 1:]

    def _views(self, critics: Critics, batch: PairBatch, drawn: Tensor) -> Iterator[View]:
        """What each critic judges of a batch and the draws (b n_draws, k) for it.

        Each is made when the one before has been judged: the order in which gradients add up, and
        so the last digits of a fit, depend on it.
        """
        features = critics.joint.features(batch.condition)
        yield View(critics.joint, features, batch.latent, drawn)
        if critics.marginal is not None and batch.other is not None:
            yield View(critics.marginal, features[:, :0], batch.other, drawn, self.unpaired_weight)
        if critics.images is not None:
            yield self._view_of_images(critics.images, batch, drawn)

    def _view_of_images(self, critic: Any, batch: PairBatch, drawn: Tensor) -> View:
        """That of the critic of images: the first half of the batch.

        Images take long to decode and to judge. More steps of half as many are worth more.
        """
        assert self.decoder is not None
        half = math.ceil(len(batch.latent) / 2)
        features = critic.features(batch.condition[:half])
        real = self.decoder(batch.latent[:half])
        return View(critic, features, real, self.decoder(drawn[: half * self.n_draws]))

    def critic_loss(self, generator: nn.Module, critics: Critics, batch: PairBatch) -> Tensor:
        """Loss of the critics; the generator gets no gradient."""
        with torch.no_grad():
            drawn = several_draws(generator, batch.condition, batch.noise)
        losses = []
        for critic, features, real, found, _ in self._views(critics, batch, drawn):
            losses.append(self.loss_of_critic(*self._values(critic, features, real, found)))
            if self.penalty.weight > 0:
                first = found[:: self.n_draws]
                losses.append(self.penalty(critic, features, real, first, batch.uniform))
        return torch.stack(losses).sum()

    def generator_loss(self, generator: nn.Module, critics: Critics, batch: PairBatch) -> Tensor:
        """Loss of the generator against critics whose parameters are frozen."""
        drawn = several_draws(generator, batch.condition, batch.noise)
        first, *others = map(self._against, self._views(critics, batch, drawn))
        loss = sum(others, first)
        if self.energy_weight > 0:
            grouped = drawn.view(len(batch.latent), self.n_draws, -1)
            loss = loss + self.energy_weight * energy_score(grouped, batch.latent).mean()
        if self.label_loss is not None:
            loss = loss + self.label_loss.weight * self.label_loss(batch.condition, drawn)
        return loss

    def _against(self, view: View) -> Tensor:
        """The generator's loss against one critic, times its weight."""
        critic, features, real, drawn, weight = view
        if self.relativistic:
            loss = self.loss_of_generator(*self._values(critic, features, real, drawn))
        else:
            values = critic(features, drawn)
            loss = self.loss_of_generator(None, values.view(len(real), self.n_draws))
        return loss if weight == 1 else weight * loss


class AdversarialMatcher(GeneratorMatcher):
    """Base of matchers with a critic of the pairs and, if all codes are matched, one of the codes.

    A subclass gives the losses of critic and generator (`_losses`) and the penalty on the
    critic's slope (`_penalty`), and may bring a critic of its own (`_critic`) and say that another
    one sees the images of codes that are images (`_seen_decoder`).
    """

    _stage: ClassVar[Stage] = MATCHING_BY_CRITIC

    lr: float = parameter(
        default=5e-4,
        doc="""Initial learning rate of the generator's Adam. It falls to zero along half a cosine,
        as the critic's does.""",
    )
    start: str = parameter(
        default="linear",
        rule=one_of("linear", "diffusion"),
        doc="""Where the generator starts. "linear" is ridge regression with Gaussian noise. With
        "diffusion" it then learns, by regression, what a `diffusion` matcher of the same data
        draws for equal noise, unless held-out pairs find these draws worse by more than a standard
        error. The critic moves on from there, and its state must be better by a standard error (by
        two, where fewer than 20 pairs are held out), but not where labels have unpaired responses.
        For numbers with fewer than 20 pairs there is no critic if none are held out. The diffusion
        takes up to three times `max_steps`, the regression as many as the critic, without
        `callbacks`. Given numbers, short fits of the diffusion compare uses of unpaired responses;
        given labels own ones do, which start at "linear", as do all fits with a `noise_dim` below
        the latent dimension. Ctrl-C in the diffusion skips the critic. Codes that are images have
        neither.""",
    )
    n_critic: int = parameter(
        default=1,
        rule=integer(1),
        doc="Critic steps for each generator step. With more, the fit takes longer.",
    )
    gradient_penalty: float = parameter(
        default=1.0, rule=at_least(0.0), doc="Weight of the penalty on the critic's slope."
    )
    n_draws: int = parameter(
        default=1,
        rule=integer(1),
        doc="""Draws for each condition in one step, all of which the critic sees. More make the
        steps less noisy and slower.""",
    )
    energy_weight: float = parameter(
        default=0.0,
        rule=at_least(0.0),
        doc="""Weight of the energy score of the draws for each pair in the generator's loss, beside
        the critic's. It needs at least two `n_draws`.""",
    )
    critic_widths: Sequence[int] = parameter(
        default=(128, 128, 128), rule=sequence_of(integer(1)), doc="Hidden widths of the critic."
    )
    channels: int = parameter(
        default=32,
        rule=multiple_of(8),
        doc="""Channels of the convolutions of critic and generator, a multiple of 8, where codes
        are images (`autoencoder="feature-map"`); `widths`, `critic_widths` and `activation` are
        not used then. A critic of the decoded images has half of them.""",
    )
    critic_lr: float = parameter(
        default=1e-3,
        rule=above(0.0),
        doc="""Initial learning rate of the critic's Adam. If it is larger than `lr`, the critic
        keeps up with the generator in fewer steps.""",
    )
    betas: tuple[float, float] = parameter(
        default=(0.5, 0.9),
        rule=pair_of(between(0.0, 1.0)),
        doc="""Decay rates (β1, β2) of the gradient's first and second moments in Adam, for critic
        and generator.""",
    )
    unpaired_weight: float | str = parameter(
        default="auto",
        doc="""With `unpaired="match"` or "pair", the weight of an unconditional critic between
        draws and all codes. "auto" is twice the unpaired share, 2 N / (n + N).""",
    )

    settings_: dict[str, Any] = learnt(
        """`lr`, `critic_lr`, `betas`, `n_draws`, `energy_weight` and `gradient_penalty` in use
        (with `wgan` also `loss`, `image_critic`, `label_weight` and `max_steps`): a value stands
        in place of each "auto"."""
    )
    diffusion_steps_: int = learnt(
        "Steps of the diffusion that was fitted first, to learn its draws; 0 where none was."
    )
    critic_: Any = learnt(
        "With `warm_start=True`, the critic of the pairs, with which the next fit goes on.",
        "torch.nn.Module",
    )
    code_critic_: Any = learnt("The same of the critic of all codes, or None.", "torch.nn.Module")
    image_critic_: Any = learnt("The same of the critic of images, or None.", "torch.nn.Module")

    _settings: ClassVar[tuple[str, ...]] = (
        *("lr", "critic_lr", "betas"),
        *("n_draws", "energy_weight", "gradient_penalty"),
    )

    def fit(self, data: MatchingData, run: Run) -> AdversarialMatcher:
        self.settings_ = self._settings_for(data)
        super().fit(data, run)
        return self

    def _settings_for(self, data: MatchingData) -> dict[str, Any]:
        """The values of `_settings`; a subclass puts numbers in place of "auto"."""
        found = {name: getattr(self, name) for name in self._settings}
        return found | {"betas": [float(beta) for beta in found["betas"]]}

    def _noise_dim(self, latent_dim: int) -> int:
        if self.start == "diffusion" and self.noise_dim == "auto":
            return latent_dim
        return super()._noise_dim(latent_dim)

    def for_trials(self, latent_dim: int) -> AdversarialMatcher | StartingDiffusion:
        """The diffusion at whose draws the generator starts: a critic learns little so soon."""
        return self._diffusion() if self._learns_diffusion(latent_dim) else self

    def _learns_diffusion(self, latent_dim: int) -> bool:
        """Whether codes that are vectors start at a diffusion, which needs as much noise."""
        return self.start == "diffusion" and self._noise_dim(latent_dim) >= latent_dim

    def _diffusion(self) -> StartingDiffusion:
        return StartingDiffusion(
            widths=self.widths,
            activation=self.activation,
            max_steps=STEPS_OF_DIFFUSION * self.step_limit,
            condition_noise=self.condition_noise,
            unpaired_weight=self.unpaired_weight,
        )

    def _prepare(self, module: Any, data: MatchingData, plan: Plan) -> Prepared:
        self.diffusion_steps_ = 0
        if plan.run.is_trial or data.code_shape or not self._learns_diffusion(data.latent_dim):
            return Prepared()
        diffusion = self._diffusion()
        held_out = self._score_of_draws(data, plan, self.held_out_score)
        ready = learn_draws(module, diffusion, data, plan, held_out, self.ema_decay)
        self.diffusion_steps_ = diffusion.n_steps_
        is_kept = plan.doubt == math.inf
        return ready._replace(is_enough=is_kept or data.are_too_few_numbers)

    def _check_further(self, prefix: str) -> None:
        weight: Any = self.energy_weight
        if weight != "auto" and weight > 0 and self.n_draws == 1:
            raise ValueError(
                f"{prefix}n_draws must be at least 2 with {prefix}energy_weight="
                f"{weight}, which compares draws with each other; got {self.n_draws}. "
                f"Set {prefix}energy_weight=0 for the critic alone."
            )

    @abstractmethod
    def _losses(self) -> tuple[CriticLoss, CriticLoss]:
        """The loss of the critic and that of the generator."""

    def _is_relativistic(self) -> bool:
        """Whether the generator's loss depends on the critic's values at real codes."""
        return False

    @abstractmethod
    def _penalty(self) -> SlopePenalty:
        """The penalty on the critic's slope."""

    def keeps_only_sure_labels(self, data: MatchingData) -> bool:
        # Images of a class vary too much for a score of few held-out codes to tell states apart,
        # and those whose class is hard to tell belong to the law as well.
        return data.code_shape is None or not data.are_labels

    def _plan(self, data: MatchingData, run: Run) -> Plan:
        plan = super()._plan(data, run)
        if data.code_shape is None:
            starts_anew = not (run.is_trial or self._was_trained_before)
            if starts_anew and self._learns_diffusion(data.latent_dim) and plan.tolerance == 0:
                plan = replace(plan, doubt=_doubt(data))
            return plan
        if self.noise_dim == "auto":
            plan = replace(plan, noise_dim=_NOISE_OF_IMAGES)
        if data.conditions_leave_images_open and not data.are_labels:
            # Images that go with a number vary too much for held-out codes to tell states apart.
            plan = replace(plan, tolerance=math.inf)
        return plan

    def _module(self, data: MatchingData, plan: Plan) -> Any:
        if data.code_shape is None:
            return super()._module(data, plan)
        return ConvGenerator(
            data.condition_dim,
            data.code_shape,
            plan.noise_dim,
            self.channels,
            image_shape=data.image_shape,
            generator=plan.run.weights(Stream.MATCHER_WEIGHTS),
        )

    def _critic(self, data: MatchingData, random: torch.Generator) -> Any:
        """A critic f(x, z), or f(z) where the data have no conditions."""
        dim, image_shape = data.condition_dim, data.image_shape
        if data.code_shape is not None:
            return ConvCritic(dim, data.code_shape, self.channels, image_shape, random)
        return Critic(
            dim, data.latent_dim, self.critic_widths, self.activation, image_shape, random
        )

    def _image_critic(self, data: MatchingData, random: torch.Generator) -> Any:
        """A critic f(x, D(z)) of the images that `_seen_decoder` gives, or None."""
        decoder, channels = self._seen_decoder(data), self.channels // _CHANNELS_OF_IMAGES
        if decoder is None:
            return None
        dim, given = data.condition_dim, data.image_shape
        return ConvCritic(dim, decoder.shape, channels, given, random, of_images=True)

    def _auto_weight(self, unpaired_share: float) -> float:
        return 2 * unpaired_share

    def _objective(self, module: Any, data: MatchingData, plan: Plan) -> AdversarialObjective:
        decoder = self._seen_decoder(data)
        return AdversarialObjective(
            *self._losses(),
            penalty=self._penalty(),
            unpaired_weight=plan.unpaired_weight,
            n_draws=self.settings_["n_draws"],
            energy_weight=self.settings_["energy_weight"],
            relativistic=self._is_relativistic(),
            decoder=None if decoder is None else decoder.frozen(),
            label_loss=self._learn_labels(data, plan),
        )

    def _learn_labels(self, data: MatchingData, plan: Plan) -> LabelLoss | None:
        """Fit a classifier that tells how well draws go with their labels; None where none does."""
        return None

    def _seen_decoder(self, data: MatchingData) -> ImagesOfCodes | None:
        """The decoder of the images that a critic sees; None where none does."""
        return None

    def _critics(self, data: MatchingData, plan: Plan) -> Critics:
        """The critics; a fit that goes on from another has those of that one."""
        random = plan.run.weights(Stream.CRITIC_WEIGHTS)
        joint = self._critic(data, random)
        marginal = None
        if plan.unpaired_weight > 0:
            marginal = self._critic(data.without_conditions(), random)
        images = self._image_critic(data, random)
        joint = self._at_start("critic_", joint)
        if images is not None:
            images = self._at_start("image_critic_", images)
        if marginal is not None:
            marginal = self._at_start("code_critic_", marginal)
        return Critics(joint, marginal, images)

    def _net(self, module: Any, data: MatchingData, plan: Plan) -> AdversarialNet:
        critics = self._critics(data, plan)
        objective = self._objective(module, data, plan)
        return AdversarialNet(
            module,
            critics,
            criterion=lambda: objective,
            optimizer__betas=tuple(self.settings_["betas"]),
            critic_optimizer=Adam,
            critic_optimizer__lr=self.settings_["critic_lr"],
            critic_optimizer__betas=tuple(self.settings_["betas"]),
            **self._net_settings(data, plan, self._stage, self._held_out(objective, data, plan))
            | {"lr": self.settings_["lr"]},
        )

    def _note_training(self, net: Any, before: Any = None) -> None:
        super()._note_training(net, before)
        if self._start_of_training is not None:
            critics = net.critic_
            self.critic_, self.code_critic_ = critics.joint, critics.marginal
            self.image_critic_ = critics.images

    def _batches(self, data: MatchingData, plan: Plan) -> PairBatches:
        n_draws = self.settings_["n_draws"]
        return self._pair_batches(data, plan, per_step=self.n_critic + 1, n_draws=n_draws)


def _doubt(data: MatchingData) -> float:
    """Standard errors by which the critic's work must improve on the draws that it starts from.

    Of many pairs in few groups it is infinite: all of five groups may like draws that are far too
    narrow for a sixth (docs/lessons.md).
    """
    if data.n_judges >= FEW_HELD_OUT:
        return 1.0
    return 2.0 if len(data.held_latent) < FEW_HELD_OUT else math.inf

"""Matching in 1-Wasserstein distance by a critic (the paper's matcher), and its R3GAN form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sklsdm.functional import critic_losses
from sklsdm.inputs.responses import ENOUGH_IMAGES
from sklsdm.matchers.adversarial import AdversarialMatcher, CriticLoss
from sklsdm.matchers.base import Plan
from sklsdm.matchers.data import ImagesOfCodes, MatchingData
from sklsdm.matchers.label_loss import LabelLoss, learn_labels
from sklsdm.modules import GroupSortCritic, SlopePenalty
from sklsdm.parameters import (
    above,
    at_least,
    between,
    flag,
    integer,
    one_of,
    or_auto,
    pair_of,
    parameter,
)
from sklsdm.parts import IMAGE_CRITIC_BETAS, IMAGE_CRITIC_PENALTY

LOSSES: dict[str, tuple[CriticLoss, CriticLoss]] = {
    "wgan": (critic_losses.wasserstein_critic_loss, critic_losses.wasserstein_generator_loss),
    "r3gan": (critic_losses.relativistic_critic_loss, critic_losses.relativistic_generator_loss),
}
# What "auto" stands for where codes are vectors.
_USUAL: dict[str, Any] = {
    "lr": 2e-3,
    "critic_lr": 4e-3,
    "betas": (0.5, 0.9),
    "gradient_penalty": 1.0,
    "loss": "wgan",
    "n_draws": 2,
    "energy_weight": 2.5,
    "image_critic": False,
    "label_weight": 0.0,
    "max_steps": 1500,
}
# What differs where they are images.
_OF_IMAGES = {"gradient_penalty": IMAGE_CRITIC_PENALTY, "loss": "r3gan"}
# What else differs where the condition leaves most of an image open: a label, a number, none at
# all. There the energy score and the usual betas gave draws further from real images, and a critic
# of the images nearer ones (docs/lessons.md).
_OF_OPEN_IMAGES = {
    "lr": 4e-3,
    "betas": IMAGE_CRITIC_BETAS,
    "n_draws": 1,
    "energy_weight": 0.0,
    "image_critic": True,
    "label_weight": 0.04,
}
_STEPS_OF_MANY_IMAGES = 3500
_FEWEST_PER_LABEL = 100  # pairs and pseudo-pairs; a classifier of fewer overfits
_MOST_PIXELS = 40 * 40  # of images that are decoded in each step, unless told
_PENALISED = 0.25  # share of the rows that a critic sees, where one sees images


def _auto_settings(data: MatchingData) -> dict[str, Any]:
    """What "auto" stands for, as far as that follows from the data alone."""
    if data.code_shape is None:
        return _USUAL
    are_open = data.conditions_leave_images_open
    found = _USUAL | _OF_IMAGES | (_OF_OPEN_IMAGES if are_open else {})
    if are_open and data.are_many:
        found["max_steps"] = _STEPS_OF_MANY_IMAGES
    are_small = data.decoder is None or math.prod(data.decoder.shape[-2:]) <= _MOST_PIXELS
    found["image_critic"] = (are_open or data.are_many) and are_small
    if data.are_labels and data.condition_dim:
        n_labels = len(data.condition.unique(dim=0))
        if len(data.latent) < _FEWEST_PER_LABEL * n_labels:
            found["label_weight"] = 0.0
    return found


class WGANMatcher(AdversarialMatcher):
    r"""Match the joint law of (X, H(X, η)) to that of (X, E(Y)) in 1-Wasserstein distance.

    .. math:: \min_H \max_{\|f\|_{Lip} \le 1} E f(X, E(Y)) - E f(X, H(X, η)),

    with a critic f held near 1-Lipschitz by a gradient penalty, or 1-Lipschitz by construction. The
    generator's loss also has a share of the energy score of draws for each pair (`energy_weight`),
    which keeps draws from narrowing; 0 is the paper's loss. By default a generator of vectors has
    learnt the draws of a diffusion before the critic's first step (`start`). `loss="r3gan"`
    replaces the difference by a relativistic pairing at the same x,

    .. math:: \max_f -E \log(1 + e^{f(X, H(X, η)) - f(X, E(Y))}) - \frac{γ}{2} (R_1 + R_2),

    with the mean squared slope :math:`R_1 = E\|∇_z f(X, E(Y))\|^2` at the codes and :math:`R_2` at
    the draws. Near its solution this game converges, while the plain one may circle around it.

    Where codes are images, generator and critic are convolutions, started anew, with other values
    of "auto" (`settings_`); the critic's value is v(z) + e(x)·h(z) (Miyato & Koyama 2018). For
    labels, without conditions, and from 250 pairs and pseudo-pairs (5,000 of images) on, a
    second such critic sees the decoded images (`image_critic`).

    When to use: this is the paper's choice. It keeps modes apart that score-based losses blur, and
    stays sharp in ten dimensions and more, images included. A larger `energy_weight` or
    `critic="groupsort"` widens intervals. For vectors "r3gan" needs longer fits. Cost: for vectors
    a diffusion and a regression on its draws, then `n_critic` critic steps (two backward passes
    each; one with "groupsort") for each generator step. A step with a critic of images takes about
    one and a half times as long as one without.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 2; Gulrajani et al. 2017 (arXiv 1704.00028);
    Petzka et al. 2018 (arXiv 1709.08894) for the one-sided penalty; Song et al. 2023 (arXiv
    2306.15163) for the idea of a second loss beside the critic's; Luhman & Luhman 2021 (arXiv
    2101.02388) for learning a diffusion's draws by regression; Miyato & Koyama 2018 (arXiv
    1802.05637) for the critic of images; Huang, Gokaslan, Kuleshov &
    Tompkin 2025 (arXiv 2501.05441) for "r3gan"; Anil, Lucas & Grosse 2019 (arXiv 1811.05381) for
    "groupsort"; Odena, Olah & Shlens 2017 (arXiv 1610.09585) for the classifier's loss.
    """

    fewest_code_images = ENOUGH_IMAGES
    _settings = (*AdversarialMatcher._settings, "loss", "image_critic", "label_weight", "max_steps")

    n_critic: int = parameter(default=1, kw_only=False)
    start: str = "diffusion"
    n_iter_no_change: int | None = 3
    batch_size: int = 128
    max_steps: Any = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc="""Largest number of training steps; from 100 on rounded down to a multiple of 100.
        No more than 10 are taken for each code that stage 2 learns from. "auto" is 1500, or 3500
        from 5,000 pairs and pseudo-pairs on, where a critic sees images (`image_critic`) and
        conditions are not images too.""",
    )
    lr: Any = parameter(
        default="auto",
        rule=or_auto(above(0.0)),
        doc="""Initial learning rate of the generator's Adam. It falls to zero along half a cosine,
        as the critic's does. "auto" is 2e-3. Where codes are images it is 4e-3 for labels,
        without conditions, and for numbers from 250 pairs and pseudo-pairs on (those
        that are held out count as well).""",
    )
    critic_lr: Any = parameter(
        default="auto",
        rule=or_auto(above(0.0)),
        doc="""Initial learning rate of the critic's Adam. If it is larger than `lr`, the critic
        keeps up with the generator in fewer steps. "auto" is 4e-3.""",
    )
    betas: Any = parameter(
        default="auto",
        rule=or_auto(pair_of(between(0.0, 1.0))),
        doc="""Decay rates (β1, β2) of the gradient's first and second moments in Adam, for critic
        and generator. "auto" is (0.5, 0.9). Where codes are images it is (0, 0.99) where `lr`
        is 4e-3.""",
    )
    n_draws: Any = parameter(
        default="auto",
        rule=or_auto(integer(1)),
        doc="""Draws for each condition in one step, all of which the critic sees. More make the
        steps less noisy and slower. "auto" is 2, or 1 where the weight of the energy score is 0
        by "auto".""",
    )
    energy_weight: Any = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""Weight of the energy score of the draws for each pair in the generator's loss, beside
        the critic's. It needs at least two `n_draws`. "auto" is 2.5, or 0 where `n_draws` is 1.
        Where codes are images it is 0 where `lr` by "auto" is 4e-3, too.""",
    )
    critic_widths: Sequence[int] = (128, 128)
    gradient_penalty: Any = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""Weight of the penalty on the critic's slope (γ for "r3gan"). Not used with
        `critic="groupsort"`. "auto" is 1, or 0.3 for "r3gan" where codes are images. Where a
        critic sees images, the penalty is computed for a quarter of the rows that each critic
        sees.""",
        kw_only=False,
    )
    loss: str = parameter(
        default="auto",
        rule=one_of("auto", *LOSSES),
        doc="""Loss of critic and generator: "wgan" is the first formula above, "r3gan" the
        second. "auto" is "wgan", or "r3gan" where codes are images.""",
    )
    critic: str = parameter(
        default="mlp",
        rule=one_of("mlp", "groupsort"),
        doc="""Network of the critic. "mlp" needs the penalty on its slope. "groupsort" has
        orthonormal weights and sorts pairs of units, so that its slope never exceeds 1 and no
        penalty is computed; its `critic_widths` must be even, and it does not use `activation`.""",
    )
    penalty: str = parameter(
        default="one-sided",
        rule=one_of("one-sided", "two-sided"),
        doc="""Whether only slopes above 1 are penalised ("one-sided") or those below 1 as well
        ("two-sided"). Used by `loss="wgan"` with `critic="mlp"`.""",
    )
    penalty_on: str = parameter(
        default="latent",
        rule=one_of("latent", "joint"),
        doc="""Whether the slope is limited in z alone ("latent") or in (x, z) ("joint"), be it by
        the penalty or by construction. For an image condition, its features stand for x.""",
    )

    image_critic: Any = parameter(
        default="auto",
        rule=or_auto(flag()),
        doc="""Whether a second critic sees the images D(z), where codes are images. It finds what
        the critic of codes overlooks; a step takes half as long again, or more for large images.
        "auto" is True for labels, without conditions, and from 250 pairs and pseudo-pairs on
        for numbers (5,000 for images), where the responses have at most 40 x 40 pixels. With
        `critic="groupsort"` none does.""",
    )

    label_weight: Any = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""Where codes are images and conditions are labels: weight in the generator's loss of a
        classifier of codes, which learns the labels of pairs and pseudo-pairs first. Draws then go
        with their labels more often, and vary a little less. "auto" is 0.04 from 100
        pairs and pseudo-pairs a label on, else 0. Where held-out pairs find that the classifier
        tells nothing, it is left out.""",
    )

    def _check_further(self, prefix: str) -> None:
        super()._check_further(prefix)
        uneven = [width for width in self.critic_widths if width % 2]
        if self.critic == "groupsort" and (uneven or not self.critic_widths):
            raise ValueError(
                f"{prefix}critic_widths must be one or more even numbers with critic='groupsort', "
                f"which sorts pairs of units; got {tuple(self.critic_widths)}."
            )

    def _critic(self, data: MatchingData, random: torch.Generator) -> Any:
        if self.critic == "mlp":
            return super()._critic(data, random)
        return GroupSortCritic(
            data.condition_dim,
            data.latent_dim,
            self.critic_widths,
            data.image_shape,
            random,
            joint=self.penalty_on == "joint",
        )

    def _seen_decoder(self, data: MatchingData) -> ImagesOfCodes | None:
        return data.decoder if self.settings_["image_critic"] else None

    def _learn_labels(self, data: MatchingData, plan: Plan) -> LabelLoss | None:
        weight = self.settings_["label_weight"]
        found = learn_labels(data, plan, weight) if weight > 0 else None
        if found is None:
            self.settings_["label_weight"] = 0.0
        return found

    def _settings_for(self, data: MatchingData) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self._settings}
        auto = [
            name for name, value in values.items() if isinstance(value, str) and value == "auto"
        ]
        by_data = _auto_settings(data)
        found = values | {name: by_data[name] for name in auto}
        # What is impossible is left out, also where it was asked for.
        if data.decoder is None or self.critic != "mlp":
            found["image_critic"] = False
        if not (data.code_shape and data.condition_dim and data.are_labels):
            found["label_weight"] = 0.0
        # What "auto" stands for hangs on the other settings, too.
        if "max_steps" in auto and not found["image_critic"]:
            found["max_steps"] = _USUAL["max_steps"]
        if "gradient_penalty" in auto and found["loss"] == "wgan":
            found["gradient_penalty"] = _USUAL["gradient_penalty"]
        if "energy_weight" in auto and found["n_draws"] == 1:
            found["energy_weight"] = 0.0
        if "n_draws" in auto and found["energy_weight"] > 0:
            found["n_draws"] = 2
        return found | {"betas": [float(beta) for beta in found["betas"]]}

    @property
    def step_limit(self) -> int:
        if self.max_steps != "auto":
            return int(self.max_steps)
        settings = getattr(self, "settings_", _USUAL)  # before `fit` the data are not known
        return int(settings["max_steps"])

    def _losses(self) -> tuple[CriticLoss, CriticLoss]:
        return LOSSES[self.settings_["loss"]]

    def _is_relativistic(self) -> bool:
        return self.settings_["loss"] == "r3gan"

    def _penalty(self) -> SlopePenalty:
        kind = "flat" if self._is_relativistic() else self.penalty
        weight = self.settings_["gradient_penalty"] if self.critic == "mlp" else 0.0
        share = _PENALISED if self.settings_["image_critic"] else 1.0
        return SlopePenalty(kind, weight, self.penalty_on == "joint", share)

"""How well drawn codes go with their labels, by a classifier of codes."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklsdm.batches import PairBatch
from sklsdm.functional.categorical import nearest_row
from sklsdm.matchers.base import FEW_HELD_OUT, Plan
from sklsdm.matchers.classifying import Recipe, fit_classifier
from sklsdm.matchers.data import MatchingData
from sklsdm.modules import CodeClassifier
from sklsdm.run import Stream
from sklsdm.stages import LABELS

_STEPS, _BATCH, _WIDTHS, _LR = 1500, 128, (256, 128), 2e-3
_NOISE = 0.1  # on codes, in their standard deviations
_SMOOTHING = 0.1  # of the labels, some of which are guesses


class LabelLoss:
    """Cross-entropy of the labels of conditions, as a fitted classifier tells them from codes.

    Odena, Olah & Shlens 2017 (arXiv 1610.09585), L_C, with a classifier that stays as it is.

    Parameters
    ----------
    classifier : torch.nn.Module
        ln p(label | z), (n, m), of codes (n, k).
    rows : Tensor of shape (m, p)
        The conditions that are the labels.
    weight : float, default=1.0
        Of this loss in that of the generator. A call gives it unweighted.
    """

    def __init__(self, classifier: nn.Module, rows: Tensor, weight: float = 1.0) -> None:
        self.classifier = classifier.requires_grad_(False)
        self.rows = rows
        self.weight = weight

    def __call__(self, condition: Tensor, drawn: Tensor) -> Tensor:
        """A scalar for conditions (b, p) and draws (b m, k), those of each in turn."""
        labels = nearest_row(condition, self.rows)
        labels = labels.repeat_interleave(len(drawn) // len(condition))
        return functional.nll_loss(self.classifier(drawn), labels)


class NoisyLabelObjective:
    """Loss of the classifier: cross-entropy of the labels, with a little noise on the codes."""

    recordable: ClassVar[bool] = True

    def __call__(self, classifier: Any, batch: PairBatch) -> Tensor:
        found = classifier(batch.latent + _NOISE * batch.noise)
        return functional.cross_entropy(found, batch.condition, label_smoothing=_SMOOTHING)


def learn_labels(data: MatchingData, plan: Plan, weight: float = 1.0) -> LabelLoss | None:
    """The loss with this `weight`, its classifier fitted to the pairs and pseudo-pairs.

    None where all have one label, or held-out pairs find their labels no likelier than by the
    labels' shares.
    """
    rows, labels = data.condition.unique(dim=0, return_inverse=True)
    if len(rows) < 2:
        return None
    run = plan.run
    weights = run.weights(Stream.LABEL_WEIGHTS)
    n_steps = min(_STEPS, plan.n_epochs * plan.epoch_steps)
    classifier = fit_classifier(
        CodeClassifier(data.latent_dim, len(rows), _WIDTHS, weights),
        NoisyLabelObjective(),
        (labels, data.latent, None),
        Recipe(LABELS, _LR, n_steps, _BATCH, ema_decay=0.0),
        run.stream(Stream.LABEL_STEPS),
        run,
        noise_dim=data.latent_dim,
    )
    loss = LabelLoss(classifier, rows, weight)
    if len(data.held_latent) >= FEW_HELD_OUT:
        shares = labels.bincount(minlength=len(rows)).to(torch.float32) / len(labels)
        by_shares = -shares.log()[nearest_row(data.held_condition, rows)].mean()
        if not loss(data.held_condition, data.held_latent) < by_shares:
            return None
    return loss

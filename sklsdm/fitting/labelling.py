"""Classifiers that tell which label unpaired responses have.

Images are classified by sight (see sight.py), all other responses by their codes. That classifier
learns from the pairs, and from all codes that a small move to where it changes most does not change
a class (virtual adversarial training, Miyato et al. 2018, arXiv 1704.03976): class borders then lie
where codes are few.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sklsdm.batches import PairBatch
from sklsdm.blocks import rows_per_block
from sklsdm.fitting.sight import log_weights_by_sight
from sklsdm.functional.virtual_adversarial import (
    class_entropy,
    divergence_of_classes,
    virtual_adversary,
)
from sklsdm.matchers.classifying import Recipe, fit_classifier
from sklsdm.matchers.data import MatchingData
from sklsdm.modules import CodeClassifier
from sklsdm.run import Run, Stream
from sklsdm.stages import PAIRING

# The classifier of codes. With four times the steps and width it found .972 instead of .965 of
# MNIST's hidden labels, in eight times the time (docs/lessons.md).
_STEPS, _BATCH, _WIDTHS, _LR = 2000, 256, (128, 128), 1e-3
# In standard deviations of the codes: noise on the pairs' codes, and the distance of the virtual
# adversary. The latter was chosen by the hidden labels of MNIST, seed 0 (docs/lessons.md).
_NOISE, _RADIUS = 0.1, 0.5


def label_log_weights(
    data: MatchingData,
    log_shares: Tensor,
    unpaired: Tensor,
    run: Run,
    max_steps: int,
) -> Iterator[Tensor]:
    """Yield ln p(label | response), (b, m), for each block of unpaired codes (N, k).

    The labels are the distinct conditions of the pairs (:func:`distinct_rows`), and `log_shares`
    (m,) their shares.
    """
    _, labels = data.condition.unique(dim=0, return_inverse=True)
    if data.images is None:
        return _by_code(data, labels, log_shares, unpaired, run, max_steps)
    return log_weights_by_sight(data.images, labels, len(log_shares), run, max_steps)


class CodeObjective:
    """Loss of the classifier of codes: supervised on the pairs, semi-supervised on all codes.

    The pairs add the cross-entropy, with a little noise on their codes. All codes add three terms:
    the KL divergence of the class probabilities at a virtual adversary from those at the code, so
    that they change smoothly; their entropy, so that they are near 0 or 1; and the KL divergence
    between their mean and the class shares in the pairs, so that the classes keep their shares.
    """

    recordable: ClassVar[bool] = True

    def __init__(self, log_shares: Tensor) -> None:
        self.log_shares = log_shares

    def __call__(self, classifier: nn.Module, batch: PairBatch) -> Tensor:
        assert batch.other is not None
        labelled = classifier(batch.latent + _NOISE * batch.noise)
        loss = functional.nll_loss(labelled, batch.condition)
        here = classifier(batch.other)
        moved = virtual_adversary(classifier, batch.other, batch.noise, _RADIUS)
        loss = loss + divergence_of_classes(here.detach(), classifier(moved)).mean()
        shares = here.exp().mean(dim=0, keepdim=True).clamp(min=1e-12).log()
        drift = divergence_of_classes(shares, self.log_shares[None]).sum()
        return loss + class_entropy(here).mean() + drift


def _by_code(
    data: MatchingData,
    labels: Tensor,
    log_shares: Tensor,
    unpaired: Tensor,
    run: Run,
    max_steps: int,
) -> Iterator[Tensor]:
    """Yield ln p(label | z) for each block of unpaired codes."""
    latent_dim = data.latent.shape[1]
    weights = run.weights(Stream.CLASSIFIER_WEIGHTS)
    fitted = fit_classifier(
        CodeClassifier(latent_dim, len(log_shares), _WIDTHS, weights),
        CodeObjective(log_shares),
        (labels, data.latent, data.latent if data.codes is None else data.codes),
        Recipe(PAIRING, _LR, min(_STEPS, max_steps), _BATCH),
        run.stream(Stream.CLASSIFIER_STEPS),
        run,
        noise_dim=latent_dim,
    )
    for block in unpaired.split(rows_per_block(len(log_shares))):
        with torch.no_grad():  # ends before the yield, so the caller keeps its own setting
            log_weight = fitted(block)
        yield log_weight

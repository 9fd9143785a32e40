"""Classifiers that tell which label unpaired responses have.

Images are classified by sight, all other responses by their codes. Both classifiers learn from the
pairs, and from all responses what does not change a class:

- a small move of the code to where the classifier changes most (virtual adversarial training,
  Miyato et al. 2018, arXiv 1704.03976): class borders then lie where codes are few;
- moves, light and hidden parts of an image, which is to have the class of the same image nearly
  unchanged (FixMatch, Sohn et al. 2020, arXiv 2001.07685); and left and right, where the pairs show
  that they do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sklsdm.batches import PairBatch
from sklsdm.blocks import row_slices, rows_per_block
from sklsdm.functional.augmentation import random_affine, random_changes, random_mirror
from sklsdm.functional.categorical import nearest_row
from sklsdm.functional.virtual_adversarial import (
    class_entropy,
    divergence_of_classes,
    virtual_adversary,
)
from sklsdm.inputs.images import SmallImages
from sklsdm.matchers.classifying import fit_classifier
from sklsdm.matchers.data import MatchingData
from sklsdm.modules import Cells, CodeClassifier, ImageClassifier, widest_output
from sklsdm.run import Run, Stage, Stream

PAIRING = Stage(
    "pairing", "pairing.state", "Set unpaired='match' or 'latent', which need no pairing"
)
_EMA = 0.99
# The classifier of codes. With four times the steps and width it found .972 instead of .965 of
# MNIST's hidden labels, in eight times the time (docs/lessons.md).
_STEPS, _BATCH, _WIDTHS, _LR = 2000, 256, (128, 128), 1e-3
# In standard deviations of the codes: noise on the pairs' codes, and the distance of the virtual
# adversary. The latter was chosen by the hidden labels of MNIST, seed 0 (docs/lessons.md).
_NOISE, _RADIUS = 0.1, 0.5
# The classifier of images; half the steps in a short fit, and twice where images are mirrored.
_IMAGE_STEPS, _IMAGE_BATCH, _IMAGE_LR = 500, 96, 2e-3
_MOST_IMAGES, _MOST_BYTES = 10_000, 256 * 2**20  # from which it learns: of pairs, and of others
_NEARLY_UNCHANGED = 0.5  # strength of the moves
# Pairs that tell whether images may be mirrored: so many at least and at most, in so many numbers.
_TO_MIRROR, _MOST_COMPARED = (30, 1000), 2**24
_ROUNDING = 1e-6  # of a mean of equal confidences


def label_log_weights(
    data: MatchingData,
    rows: Tensor,
    log_shares: Tensor,
    unpaired: Tensor,
    run: Run,
    max_steps: int,
) -> Iterator[Tensor]:
    """Yield ln p(label | response), (b, m), for each block of unpaired codes (N, k).

    `rows` (m, p) are the labels, as conditions, and `log_shares` (m,) their shares in the pairs.
    """
    labels = nearest_row(data.condition, rows)
    if data.images is None:
        return _by_code(data, labels, log_shares, unpaired, run, max_steps)
    return _by_sight(data.images, labels, len(rows), run, max_steps)


# ------------------------------------------------------------------------------ by their codes
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
        PAIRING,
        run.stream(Stream.CLASSIFIER_STEPS),
        run,
        lr=_LR,
        n_steps=min(_STEPS, max_steps),
        batch_size=_BATCH,
        noise_dim=latent_dim,
        ema_decay=_EMA,
    )
    for block in unpaired.split(rows_per_block(len(log_shares))):
        with torch.no_grad():  # ends before the yield, so the caller keeps its own setting
            log_weight = fitted(block)
        yield log_weight


# ------------------------------------------------------------------------------ by sight
class ImageObjective:
    """Loss of the classifier of images: supervised on the pairs, semi-supervised on all images.

    The pairs, moved a little, add the cross-entropy. All images add the cross-entropy of a strongly
    changed image with the class that is the likeliest for the same image nearly unchanged, where
    that class has at least the batch's mean confidence (a threshold that rises as the classifier
    learns, as in FreeMatch, Wang et al. 2023, arXiv 2205.07246). With `mirrors` each image is
    mirrored first with probability 1/2, anew in each step.
    """

    recordable: ClassVar[bool] = True

    def __init__(
        self, shape: tuple[int, int, int], random: torch.Generator, mirrors: bool = False
    ) -> None:
        self.shape = shape
        self.random = random
        self.mirrors = mirrors

    def __call__(self, classifier: nn.Module, batch: PairBatch) -> Tensor:
        assert batch.other is not None
        paired, unpaired = self._mirrored(batch.latent), self._mirrored(batch.other)
        with torch.no_grad():
            probability = classifier(self._moved(unpaired)).exp()
            confidence, guess = probability.max(dim=1)
            sure = confidence > confidence.mean() - _ROUNDING
        changed = random_changes(unpaired, self.shape, self.random)
        labelled, other = classifier(torch.cat([self._moved(paired), changed])).split(
            [len(batch.latent), len(batch.other)]
        )
        follow = functional.nll_loss(other, guess, reduction="none")
        return functional.nll_loss(labelled, batch.condition) + (sure * follow).mean()

    def _mirrored(self, images: Tensor) -> Tensor:
        return random_mirror(images, self.shape, self.random) if self.mirrors else images

    def _moved(self, images: Tensor) -> Tensor:
        return random_affine(images, self.shape, _NEARLY_UNCHANGED, self.random)


def _by_sight(
    images: SmallImages, labels: Tensor, n_labels: int, run: Run, max_steps: int
) -> Iterator[Tensor]:
    """Yield ln p(label | image) for each block of the unpaired images, which follow the pairs'."""
    n_pairs, width = len(labels), math.prod(images.shape)
    random = run.stream(Stream.CLASSIFIER_STEPS)
    steps = _IMAGE_STEPS // 2 if run.is_trial else _IMAGE_STEPS
    most = min(_MOST_IMAGES, _MOST_BYTES // (4 * width))
    paired, others = _spread(0, n_pairs, most), _spread(n_pairs, len(images), most)
    seen = images.take(np.concatenate([paired, others])).to(run.device)
    labels = labels[torch.from_numpy(paired).to(labels.device)]
    mirrors = _tells_mirrored(images.shape, labels, seen[: len(paired)])
    fitted = fit_classifier(
        ImageClassifier(images.shape, n_labels, run.weights(Stream.CLASSIFIER_WEIGHTS)),
        ImageObjective(images.shape, random, mirrors),
        (labels, seen[: len(paired)], seen),
        PAIRING,
        random,
        run,
        lr=_IMAGE_LR,
        n_steps=min(2 * steps if mirrors else steps, max_steps),
        batch_size=_IMAGE_BATCH,
        noise_dim=0,
        ema_decay=_EMA,
    )
    widest = widest_output([fitted], lambda: fitted(seen[:1]))
    size = rows_per_block(max(widest, fitted.cells.numbers_per_image))
    for start in range(n_pairs, len(images), size):
        block = images.take(np.arange(start, min(start + size, len(images)))).to(run.device)
        with torch.no_grad():
            log_weight = fitted(block)
        yield log_weight


def _tells_mirrored(shape: tuple[int, int, int], labels: Tensor, images: Tensor) -> bool:
    """Whether the pairs show that mirrored images (n, c h w) have the labels of the images.

    The nearest other image, by edges and light, tells a label. It is to tell that of mirrored
    images more often than the commonest label would, and not less often than that of the images as
    they are, both within two standard errors, and no label is to be lost in most of its images. Few
    pairs do not show it.
    """
    cells = Cells(shape)
    fewest, most = _TO_MIRROR
    most = min(most, _MOST_COMPARED // cells(images[:1]).numel())
    some = torch.from_numpy(_spread(0, len(labels), most)).to(labels.device)
    if len(some) < fewest:
        return False
    labels, images = labels[some], images[some]
    seen = _by_cells(cells, images)
    mirrored = _by_cells(cells, images.view(-1, *shape).flip(-1).flatten(1))
    itself = torch.eye(len(some), dtype=torch.bool, device=labels.device)
    plain, turned = (
        (labels[torch.cdist(rows, seen).masked_fill(itself, math.inf).argmin(dim=1)] == labels)
        .double()
        .cpu()
        for rows in (seen, mirrored)
    )
    labels = labels.cpu()
    lost = plain - turned
    n_images = labels.bincount().clamp(min=1)
    lost_by_label = labels.bincount(weights=lost) / n_images
    is_told = turned.mean() - _two_errors(turned) > n_images.max() / len(labels)
    return bool(is_told and lost.mean() <= _two_errors(lost) and lost_by_label.max() <= 0.5)


def _by_cells(cells: Cells, images: Tensor) -> Tensor:
    """Edges and light of images (n, c h w), flat."""
    blocks = row_slices(len(images), cells.numbers_per_image)
    return torch.cat([cells(images[rows]).flatten(1) for rows in blocks])


def _two_errors(values: Tensor) -> float:
    """Two standard errors of the mean."""
    return float(2 * values.std() / math.sqrt(len(values)))


def _spread(start: int, end: int, most: int) -> NDArray[np.intp]:
    """The whole numbers from `start` to below `end`, or `most` of them, evenly spread."""
    count = min(most, end - start)
    return start + np.arange(count, dtype=np.intp) * (end - start) // max(1, count)

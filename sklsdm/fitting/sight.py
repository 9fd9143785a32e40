"""A classifier that tells by sight which label unpaired images have.

It learns from the pairs, and from all images that moves, light and hidden parts do not change a
class: a strongly changed image is to have the class of the same image nearly unchanged (FixMatch,
Sohn et al. 2020, arXiv 2001.07685); and left and right, where the pairs show that they do not
matter. Then images that it sees as neighbours pass labels on to each other (label_graph.py).
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
from sklsdm.blocks import row_slices, rows_per_block, spread_rows
from sklsdm.fitting.label_graph import MOST_NEIGHBOURS, LabelGraph
from sklsdm.functional.augmentation import random_affine, random_changes, random_mirror
from sklsdm.inputs.images import SmallImages
from sklsdm.matchers.classifying import Recipe, fit_classifier
from sklsdm.modules import Cells, ImageClassifier, widest_output
from sklsdm.run import Run, Stream
from sklsdm.stages import PAIRING

_STEPS, _BATCH, _LR = 500, 96, 2e-3  # half in a short fit, and twice where images are mirrored
_MOST_IMAGES, _MOST_BYTES = 10_000, 256 * 2**20  # from which it learns: of pairs, and of others
_NEARLY_UNCHANGED = 0.5  # strength of the moves
# Pairs that tell whether images may be mirrored; with fewer than 30 they are not.
_FEWEST_TO_MIRROR, _MOST_TO_MIRROR = 30, 1000
_MOST_CELL_NUMBERS = 2**24  # that the cells of all these pairs have, edges and light
_ROUNDING = 1e-6  # of a mean of equal confidences


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


def log_weights_by_sight(
    images: SmallImages, labels: Tensor, n_labels: int, run: Run, max_steps: int
) -> Iterator[Tensor]:
    """Yield ln p(label | image) for each block of the unpaired images, which follow the pairs'."""
    n_pairs = len(labels)
    classifier = ImageClassifier(images.shape, n_labels, run.weights(Stream.CLASSIFIER_WEIGHTS))
    # Of each image pixels and features are kept, and some arrays of its classes' probabilities.
    n_numbers = max(math.prod(images.shape), classifier.n_features, 4 * n_labels)
    most = min(_MOST_IMAGES, max(1, _MOST_BYTES // (4 * n_numbers)))
    paired, others = spread_rows(n_pairs, most), n_pairs + spread_rows(len(images) - n_pairs, most)
    seen = images.take(np.concatenate([paired, others])).to(run.device)
    labels = labels[torch.from_numpy(paired).to(labels.device)]
    fitted = _fit(classifier, images.shape, seen, labels, run, max_steps)
    widest = widest_output([fitted], lambda: fitted(seen[:1]))
    size = rows_per_block(max(widest, fitted.cells.numbers_per_image, MOST_NEIGHBOURS * n_labels))
    graph = LabelGraph(*_look(fitted, seen, size), labels.cpu().numpy())
    for start in range(n_pairs, len(images), size):
        block = images.take(np.arange(start, min(start + size, len(images)))).to(run.device)
        probability = graph.beside_neighbours(*_look(fitted, block, size))
        yield torch.from_numpy(probability).to(run.device, torch.float32).log()


def _fit(
    classifier: ImageClassifier,
    shape: tuple[int, int, int],
    seen: Tensor,
    labels: Tensor,
    run: Run,
    max_steps: int,
) -> ImageClassifier:
    """The classifier, fitted; the first of the images `seen` have the `labels` (n,)."""
    random = run.stream(Stream.CLASSIFIER_STEPS)
    paired = seen[: len(labels)]
    mirrors = _tells_mirrored(shape, labels, paired)
    n_steps = min(_STEPS * (1 + mirrors) // (1 + run.is_trial), max_steps)
    return fit_classifier(
        classifier,
        ImageObjective(shape, random, mirrors),
        (labels, paired, seen),
        Recipe(PAIRING, _LR, n_steps, _BATCH),
        random,
        run,
    )


@torch.no_grad()
def _look(
    classifier: ImageClassifier, images: Tensor, size: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The features (n, d) of images and the probabilities (n, c) of their classes.

    They are computed for `size` images at a time.
    """
    features = np.empty((len(images), classifier.n_features), np.float32)
    probability = np.empty((len(images), classifier.n_classes), np.float32)
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        found = classifier.features(images[rows])
        features[rows] = found.cpu().numpy()
        probability[rows] = classifier.classes(found).exp().cpu().numpy()
    return features, probability


def _tells_mirrored(shape: tuple[int, int, int], labels: Tensor, images: Tensor) -> bool:
    """Whether the pairs show that mirrored images (n, c h w) have the labels of the images.

    The nearest other image, by edges and light, tells a label. It is to tell that of mirrored
    images more often than the commonest label would, and not less often than that of the images as
    they are, both within two standard errors, and no label is to be lost in most of its images. Few
    pairs do not show it.
    """
    cells = Cells(shape)
    most = min(_MOST_TO_MIRROR, _MOST_CELL_NUMBERS // cells(images[:1]).numel())
    some = torch.from_numpy(spread_rows(len(labels), most)).to(labels.device)
    if len(some) < _FEWEST_TO_MIRROR:
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

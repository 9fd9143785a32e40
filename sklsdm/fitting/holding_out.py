"""Which pairs and responses are held out from training, to choose the best state of each stage."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.autoencoders import MAX_HELD_OUT
from sklsdm.functional.categorical import are_labels
from sklsdm.inputs.responses import Responses
from sklsdm.matchers.data import FEW_PAIRS
from sklsdm.randomness import RowStream, row_stream

_FEW_OF_A_LABEL = 4  # images on average
FEW_LABELLED_IMAGES = 2000  # a tenth of fewer cannot tell which state draws best (docs/lessons.md)
_HELD_OUT_GROUPS = 20  # of equal size, that are held out if the next two numbers allow it
_MOST_OF_GROUPS = 0.2  # of the pairs, that are held out for this
_PAIRS_PER_GROUP = 2  # on average, from which on groups count as such
N_FOLDS = 3  # of a cross-fitted choice
CROSS_FITTED = 3000  # from so many pairs on, a choice is made on one fold
MAX_JUDGED = 1024  # pairs in that fold


def hold_out_pairs(
    n_pairs: int, fraction: float, seed: int, groups: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Indices of the pairs held out from both stages; none if there are fewer than 20 pairs.

    With `groups` whole groups are held out, as many as are needed for the wanted number, but none
    that has more than half of the pairs. Where groups are few, and of two pairs on average, a
    larger share is held out, up to a fifth: what few groups have in common by chance would choose
    the state. For the same reason 20 groups may be more than 2,000 pairs.
    """
    if n_pairs < FEW_PAIRS:
        return np.arange(0)
    random = row_stream(seed, RowStream.HELD_OUT_PAIRS)
    if groups is None:
        count = min(int(np.ceil(fraction * n_pairs)), n_pairs - 2, MAX_HELD_OUT)
        return np.sort(random.permutation(n_pairs)[:count])
    n_groups = int(groups.max()) + 1
    if fraction > 0 and _PAIRS_PER_GROUP * n_groups <= n_pairs:
        fraction = max(fraction, min(_HELD_OUT_GROUPS / n_groups, _MOST_OF_GROUPS))
    count = min(int(np.ceil(fraction * n_pairs)), n_pairs - 2)
    order, sizes = random.permutation(n_groups), np.bincount(groups)
    order = order[2 * sizes[order] <= n_pairs]
    held_before = sizes[order].cumsum() - sizes[order]
    is_needed = (held_before < MAX_HELD_OUT) | (np.arange(len(order)) < _HELD_OUT_GROUPS)
    chosen = order[(held_before < count) & is_needed][: n_groups - 1]  # one group is learnt from
    return np.flatnonzero(np.isin(groups, chosen))


def are_few_labelled_images(condition: NDArray[np.float32], responses: Responses) -> bool:
    """Whether there are fewer than 2,000 images, all with conditions (n, p) that are labels.

    Also if there are unlabelled ones, where a label has fewer than four images on average: a tenth
    of the labelled ones would be a large part of some label's.
    """
    if not responses.format.is_image or condition.shape[1] == 0:
        return False
    are_all = len(condition) == len(responses) < FEW_LABELLED_IMAGES
    if are_all and are_labels(torch.from_numpy(condition)):
        return True
    kinds = np.unique(condition, axis=0)
    are_classes = len(kinds) <= condition.shape[1] and all(
        len(np.unique(column)) <= 2 for column in kinds.T
    )
    return are_classes and len(condition) < _FEW_OF_A_LABEL * len(kinds)


def hold_out_rows(
    pairs: NDArray[np.intp], responses: Responses, fraction: float, seed: int
) -> NDArray[np.intp]:
    """Rows of `responses` held out from stage 1: the held-out pairs and some of the others.

    The others are the unpaired responses or, if no pairs are held out, all responses.
    """
    first = 0 if len(pairs) == 0 else responses.n_paired
    others = len(responses) - first
    if others < FEW_PAIRS:
        return pairs
    count = min(MAX_HELD_OUT, int(np.ceil(fraction * others)))
    random = row_stream(seed, RowStream.HELD_OUT_RESPONSES)
    return np.concatenate([pairs, first + random.choice(others, count, replace=False)])


def folds_of(
    n_pairs: int, seed: int, groups: NDArray[np.intp] | None = None
) -> list[NDArray[np.intp]]:
    """The held-out pairs of each fold of a cross-fitted choice; groups are never split.

    Below 3,000 pairs each pair is in one of three folds (two, for two groups). From there on there
    is one fold of at most 1,024 pairs, and of the last group in it. A group of more than half of
    the pairs is in no fold, and there is none where it leaves fewer than 20 pairs.
    """
    random = row_stream(seed, RowStream.FOLDS)
    members = np.arange(n_pairs) if groups is None else groups
    order = random.permutation(members.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    is_large = 2 * np.bincount(members) > n_pairs
    if is_large.any() and n_pairs - np.bincount(members).max() < FEW_PAIRS:
        return []
    if n_pairs < CROSS_FITTED:
        fold_of = np.where(is_large[members], -1, rank[members] % min(N_FOLDS, len(order)))
        found = [np.flatnonzero(fold_of == number) for number in range(N_FOLDS)]
        return [fold for fold in found if len(fold) > 0]
    order = order[~is_large[order]]
    before = np.concatenate([[0], np.bincount(members)[order].cumsum()])[: len(order)]
    held = order[before < MAX_JUDGED][: members.max()]
    return [np.flatnonzero(np.isin(members, held))]

"""What stage 2 learns from."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sklsdm.functional.categorical import are_labels
from sklsdm.inputs.images import SmallImages
from sklsdm.inputs.responses import ENOUGH_IMAGES, MANY_IMAGES

FEW_PAIRS = 20  # of fewer, none are held out, unless the user gives some


@dataclass(frozen=True)
class ImagesOfCodes:
    """Images of standardised codes.

    Attributes
    ----------
    coder : torch.nn.Module
        The autoencoder's network.
    mean, scale : Tensor of shape (k,)
        Of the codes in the autoencoder's units.
    shape : tuple of int
        (c, h, w) of an image, which is flat in the rows.
    """

    coder: Any
    mean: Tensor
    scale: Tensor
    shape: tuple[int, ...]

    def __call__(self, latent: Tensor) -> Tensor:
        """Standardised rows (n, c * h * w) of codes (n, k)."""
        return self.coder.decode(latent * self.scale + self.mean)

    def frozen(self) -> ImagesOfCodes:
        """A copy through which gradients pass, and whose weights need none."""
        return replace(self, coder=deepcopy(self.coder).requires_grad_(False))


@dataclass(frozen=True)
class ConditionsOfCodes:
    """Conditions that a regression recovered from unpaired responses.

    Attributes
    ----------
    condition : Tensor of shape (m, p)
    rows : Tensor of shape (m,), int64
        Which of the unpaired codes, which come last in `codes`, have them.
    """

    condition: Tensor
    rows: Tensor


@dataclass(frozen=True)
class MatchingData:
    """What stage 2 learns from, standardised and on the device.

    Attributes
    ----------
    condition : Tensor of shape (n, p)
        Of the pairs; images are flat.
    latent : Tensor of shape (n, k)
        Codes of the pairs, those of pseudo-pairs last.
    held_condition, held_latent : Tensor of shape (v, p) and (v, k)
        Pairs kept apart to choose the state; v may be 0.
    codes : Tensor of shape (n + N, k) or None
        Codes of all responses, where stage 2 uses the unpaired ones.
    images : SmallImages or None
        The images of `codes`, where they can be told apart by sight.
    recovered : ConditionsOfCodes or None
        Conditions of unpaired codes, where a regression recovered them.
    image_shape, code_shape : tuple of int or None
        (c, h, w) of conditions and of codes that are images, which are flat in the rows.
    decoder : ImagesOfCodes or None
        Of codes that are images.
    n_pseudo, n_held_pseudo : int
        How many pseudo-pairs there are, whose condition is a guess, and how many of them are held
        out.
    n_known : int or None
        How many, at the front, are pairs without repeats; None is all.
    groups, held_groups : Tensor of shape (n,) and (v,), int64, or None
        The number of the group of each pair, where pairs come in groups; a pseudo-pair is one by
        itself.
    """

    condition: Tensor
    latent: Tensor
    held_condition: Tensor
    held_latent: Tensor
    codes: Tensor | None = None
    images: SmallImages | None = None
    recovered: ConditionsOfCodes | None = None
    image_shape: tuple[int, ...] | None = None
    code_shape: tuple[int, ...] | None = None
    decoder: ImagesOfCodes | None = None
    n_pseudo: int = 0
    n_held_pseudo: int = 0
    n_known: int | None = None
    groups: Tensor | None = None
    held_groups: Tensor | None = None

    @property
    def condition_dim(self) -> int:
        """p, the number of columns of a condition."""
        return self.condition.shape[1]

    @property
    def latent_dim(self) -> int:
        """k, the dimension of a code."""
        return self.latent.shape[1]

    @property
    def are_vectors(self) -> bool:
        """Whether there are conditions, and neither they nor the codes are images."""
        return self.condition_dim > 0 and self.code_shape is None and self.image_shape is None

    @property
    def n_pairs(self) -> int:
        """How many pairs there are, without pseudo-pairs and repeats."""
        return len(self.latent) if self.n_known is None else self.n_known

    @cached_property
    def are_labels(self) -> bool:
        """Whether the conditions of the pairs are labels, or there are none.

        Pseudo-pairs do not count, since they repeat conditions of the pairs, numbers too.
        """
        return are_labels(self.condition[: self.n_pairs])

    @property
    def n_judges(self) -> int:
        """How many pairs are held out, or groups of pairs, which depend on each other."""
        if self.held_groups is None:
            return len(self.held_latent)
        return len(self.held_groups.unique())

    @property
    def n_all(self) -> int:
        """How many pairs and pseudo-pairs there are, with those that are held out."""
        return self.n_pairs + self.n_pseudo + len(self.held_latent) - self.n_held_pseudo

    @property
    def are_many(self) -> bool:
        """Whether pairs and pseudo-pairs are so many that a critic does not soon know each."""
        return self.n_all >= MANY_IMAGES

    @property
    def conditions_leave_images_open(self) -> bool:
        """Whether codes are images of which conditions leave most open: labels, numbers, none.

        Numbers count from 250 pairs and pseudo-pairs on: of fewer, the energy score still teaches
        how the draws follow them.
        """
        is_image_given = self.image_shape is not None
        return (
            self.code_shape is not None
            and not is_image_given
            and (self.are_labels or self.n_all >= ENOUGH_IMAGES)
        )

    @property
    def are_numbers(self) -> bool:
        """Whether codes that are vectors follow numbers: neither labels nor images."""
        return self.are_vectors and not self.are_labels

    @property
    def are_too_few_numbers(self) -> bool:
        """Whether they are so, and the pairs so few that none (or a single one) is held out."""
        return len(self.held_latent) < 2 and self.n_pairs < FEW_PAIRS and self.are_numbers

    def some_pairs(self, rows: Tensor) -> MatchingData:
        """These of the pairs (by number), and no codes without a condition."""
        condition, latent = self.condition[rows], self.latent[rows]
        n_known = None if self.n_known is None else int((rows < self.n_known).sum().item())
        groups = None if self.groups is None else self.groups[rows]
        pairs = replace(self, condition=condition, latent=latent, n_known=n_known, groups=groups)
        return replace(pairs, codes=None, images=None, recovered=None)

    def holding_out(self, pairs: MatchingData | None = None) -> MatchingData:
        """The same data to learn from, with the pairs of other data held out, or with none."""
        if pairs is None:
            pairs = self.some_pairs(self.latent.new_empty(0, dtype=torch.int64))
        return replace(
            self,
            held_condition=pairs.condition,
            held_latent=pairs.latent,
            held_groups=pairs.groups,
            n_held_pseudo=0,
        )

    def without_conditions(self) -> MatchingData:
        """The same codes, with conditions of no columns."""
        none, held = self.condition[:, :0], self.held_condition[:, :0]
        return replace(self, condition=none, held_condition=held, image_shape=None)

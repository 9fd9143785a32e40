"""What stage 2 is fitted on: the pairs, all responses and their codes, by setting and fold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from sklsdm.batches import room_for
from sklsdm.blocks import row_hashes
from sklsdm.encoders import BaseConditionEncoder
from sklsdm.fitting.latent_space import Coded
from sklsdm.fitting.pairs import Fold, Pairs
from sklsdm.fitting.reverse_regression import RecoveredConditions, recover_conditions
from sklsdm.inputs.images import SmallImages
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import MatchingData
from sklsdm.matchers.data import ConditionsOfCodes
from sklsdm.progress import write_line
from sklsdm.run import Run
from sklsdm.shift import Shift


@dataclass(frozen=True)
class Setting:
    """How stage 2 is fitted, and in which latent space."""

    use: str  # of unpaired responses
    coded: Coded
    encoder: BaseConditionEncoder | None = None  # None where there are no conditions


@dataclass(frozen=True)
class EncodedPairs:
    """Conditions of the pairs that a fold keeps and of those it holds out, (n, f) and (v, f)."""

    kept: NDArray[np.float32]
    held: NDArray[np.float32]


@dataclass(frozen=True)
class StageTwo:
    """What stage 2 is fitted on: the pairs, and all responses."""

    pairs: Pairs
    responses: Responses
    run: Run
    image_shape: tuple[int, ...] | None = None  # of conditions that convolutions read
    keeps_encoder: bool = False  # whether the condition encoder was fitted before, on other pairs
    codes_are_images: bool = False
    shift: Shift | None = None  # whether unpaired and paired responses follow one law, if tested
    left_out: NDArray[np.intp] = field(default_factory=lambda: np.arange(0))  # unpaired responses

    def nothing_held_out(self) -> Fold:
        """All pairs to learn from."""
        every = np.arange(len(self.pairs))
        return Fold(every, self.pairs.take(every[:0]))

    def groups_of(self, fold: Fold) -> NDArray[np.intp] | None:
        """The groups of the pairs that are kept, where pairs come in groups."""
        return None if self.pairs.groups is None else self.pairs.groups[fold.kept]

    @property
    def needs_conditions(self) -> bool:
        """Whether stage 2 needs conditions of unpaired responses, also vague ones.

        The generator of codes that are images learns from thousands of them, not from some hundred
        pairs. Where regression tells too little, a model of x given the code has to do. Where
        conditions are images too, a vague one would harm (docs/lessons.md).
        """
        return self.codes_are_images and self.image_shape is None

    @cached_property
    def recovered(self) -> RecoveredConditions | None:
        """The conditions that a regression finds from responses; None for labels, among others."""
        if self.pairs.are_labels or self.n_unpaired == 0:
            return None
        found = recover_conditions(
            self.pairs.condition,
            self.responses,
            self.run.seed,
            self.pairs.groups,
            may_be_vague=self.needs_conditions,
        )
        if found is not None and len(found.rows) and self.run.verbose:
            write_line(f"unpaired responses get conditions by regression (R2 = {found.r2:.2f})")
        return found

    @property
    def are_recovered(self) -> bool:
        """Whether unpaired responses have conditions by regression."""
        return self.recovered is not None and len(self.recovered.rows) > 0

    @property
    def n_unpaired(self) -> int:
        """Number of unpaired responses."""
        return len(self.responses) - len(self.pairs)

    @property
    def pairs_first(self) -> bool:
        """Whether pairing comes first: conditions are recovered, or needed for want of other ways.

        Not where there was no regression (:attr:`recovered`), nor where a test found that unpaired
        and paired responses follow two laws. There is no test of pairs in groups; then images need
        their conditions all the same.
        """
        if self.recovered is None:
            return False
        if self.shift is None:
            return self.needs_conditions
        return (self.are_recovered or self.needs_conditions) and not self.shift.is_clear

    def encode(self, setting: Setting, fold: Fold) -> EncodedPairs:
        """Fit the setting's encoder on the pairs that are kept, unless an earlier one is kept."""
        encoder, kept, held = setting.encoder, self.pairs.condition[fold.kept], fold.held.condition
        if encoder is None:
            return EncodedPairs(kept, held)
        if self.keeps_encoder:
            kept = encoder.encode(kept)
        else:
            rows = torch.from_numpy(fold.kept).to(setting.coded.codes.device)
            latent = setting.coded.codes[rows].cpu().numpy()
            kept = encoder.fit_encode(kept, latent, self.run.seed, self.groups_of(fold))
        return EncodedPairs(kept, encoder.encode(held))

    def data(
        self, setting: Setting, fold: Fold, encoded: EncodedPairs | None = None
    ) -> MatchingData:
        """The pairs of stage 2 for one fold and, where their use is in stage 2, unpaired codes.

        The encoder is fitted on the pairs that are kept, unless it has `encoded` these already.
        """
        coded, device = setting.coded, self.run.device
        encoded = encoded or self.encode(setting, fold)
        kept = torch.from_numpy(fold.kept).to(device)
        data = MatchingData(
            condition=torch.from_numpy(encoded.kept).to(device),
            latent=coded.codes[kept],
            held_condition=torch.from_numpy(encoded.held).to(device),
            held_latent=coded.space.encode(fold.held.y),
            groups=_on(device, self.groups_of(fold)),
            held_groups=_on(device, fold.held.groups),
            image_shape=self.image_shape,
            code_shape=coded.space.autoencoder.code_shape_,
            decoder=coded.space.decoder(),
        )
        return self._with_others(data, setting, fold) if setting.use in ("match", "pair") else data

    def _with_others(self, data: MatchingData, setting: Setting, fold: Fold) -> MatchingData:
        """The data with the codes of unpaired responses, after those of the pairs.

        Copies of the fold's held-out responses are left out, and those `left_out`. For "pair" there
        are also the unpaired images and the conditions that a regression recovered.
        """
        coded, n_pairs, device = setting.coded, len(self.pairs), self.run.device
        blocks = self.responses.format.flat_blocks(fold.held.y)
        held = np.concatenate([np.empty(0, np.uint64), *map(row_hashes, blocks)])
        copies = self.responses.unpaired_copies(held)
        others = np.arange(n_pairs, len(coded.codes))
        others = np.setdiff1d(others, np.concatenate([copies, self.left_out]))
        if len(others) == 0:
            return data
        rows = np.concatenate([fold.kept, others])
        codes = room_for(len(rows), coded.codes.shape[1], device)
        torch.index_select(coded.codes, 0, torch.from_numpy(rows).to(device), out=codes)
        if setting.use == "match":
            return replace(data, codes=codes)
        images = recovered = None
        if SmallImages.suit(self.responses) and coded.space.autoencoder.may_move_images:
            images = SmallImages(self.responses, rows)
        if self.recovered is not None and self.are_recovered:
            assert setting.encoder is not None
            recovered = _recovered_for(self.recovered, others, setting.encoder, device)
        return replace(data, codes=codes, images=images, recovered=recovered)


def _on(device: torch.device, groups: NDArray[np.intp] | None) -> torch.Tensor | None:
    """Groups, if any, as a tensor."""
    return None if groups is None else torch.from_numpy(groups).to(device)


def _recovered_for(
    recovered: RecoveredConditions,
    others: NDArray[np.intp],
    encoder: BaseConditionEncoder,
    device: torch.device,
) -> ConditionsOfCodes:
    """The conditions that a regression recovered, of the unpaired responses that are `others`."""
    here = np.isin(recovered.rows, others)
    places = np.searchsorted(others, recovered.rows[here])
    condition = encoder.encode(recovered.condition[here])
    return ConditionsOfCodes(*(torch.from_numpy(found).to(device) for found in (condition, places)))

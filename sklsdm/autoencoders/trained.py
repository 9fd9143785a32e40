"""Base classes of the autoencoders that are trained, and the limit on a decoder's slope."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sklsdm.autoencoders.base import (
    MAX_HELD_OUT,
    BaseAutoencoder,
    principal_coder,
    rows_within_memory,
    training_rows,
)
from sklsdm.batches import RowBatches, StreamedBatches, resident_limit
from sklsdm.blocks import rows_per_block, spread_rows
from sklsdm.distributed import Group
from sklsdm.functional.augmentation import random_affine
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.modules import (
    ACTIVATIONS,
    FULL_ITERATIONS,
    Coder,
    LinearCoder,
    MLPCoder,
    conv_side,
    widest_output,
)
from sklsdm.nets import (
    AdamW,
    HeldOutScore,
    Look,
    SingleNet,
    default_callbacks,
    is_recordable,
)
from sklsdm.parameters import (
    above,
    at_least,
    integer,
    one_of,
    or_auto,
    or_none,
    parameter,
    sequence_of,
)
from sklsdm.parts import TrainedPart
from sklsdm.randomness import RowStream, row_stream
from sklsdm.run import Run, Stream
from sklsdm.stages import AUTOENCODING
from sklsdm.storage.hashing import content_hash

RowLoss = Callable[[Any, Tensor], Tensor]  # of a coder and rows
Inside = Callable[[Tensor], Tensor]  # clips rows to the range of the responses

_REFERENCE_ROWS = 8192  # most rows from which the spread of codes is measured
_QUICK_ITERATIONS = 15  # power iterations for the decoder's slope in a training step
_MAX_CHANNELS = 64  # of a convolution
_FEW_IMAGES = 300  # up to which they are augmented fully
_ENOUGH_IMAGES = 10_000  # from which on they are not augmented
_LOOKED_AT = 64  # rows whose reconstructions are looked at after each epoch
LEAK = 0.3  # share of what exceeds the range that stays in training, to keep a gradient


class ReconstructionLoss:
    """Mean squared error of D(E(y)), in units of the responses' variance."""

    recordable: ClassVar[bool] = True

    def __init__(self, inside: Inside) -> None:
        self.inside = inside

    def __call__(self, coder: Any, target: Tensor) -> Tensor:
        return (self.inside(coder(target)) - target).square().mean()


class AugmentedLoss:
    """A loss of images that are moved at random, by a little, before each step."""

    def __init__(
        self, loss: RowLoss, image_shape: tuple[int, ...], strength: float, random: torch.Generator
    ) -> None:
        self.loss = loss
        self.recordable = is_recordable(loss)
        self.image_shape = image_shape
        self.strength = strength
        self.random = random

    def __call__(self, coder: Any, target: Tensor) -> Tensor:
        moved = random_affine(target, self.image_shape, self.strength, self.random)
        return self.loss(coder, moved)


class TrainedAutoencoder(TrainedPart, BaseAutoencoder):
    """Base of the autoencoders that are trained: a subclass gives the module and the loss.

    `_module` and `_loss` fill it in, `_start` sets where training starts. docs/extending.md has an
    example.

    The state with the lowest loss on held-out responses is kept, the start included. Where the
    responses have a range, decoded rows are clipped to it before the held-out loss, as draws are,
    and nearly so in training: the decoder need not give an image's black as exactly 0.
    """

    max_epochs: int = parameter(
        default=30,
        rule=integer(1),
        doc="""Largest number of epochs: passes over the responses, repeated within an epoch where
        one has fewer than 50 steps.""",
    )
    lr: float = 2e-3
    weight_decay: float = parameter(
        default=0.1,
        rule=at_least(0.0),
        doc="""Weight decay of AdamW, which regularises: each step shrinks the weights by the share
        `lr` times this.""",
    )

    augmentation: float | str = parameter(
        default="auto",
        rule=or_auto(at_least(0.0)),
        doc="""How far training images are turned, scaled, sheared and shifted at random, anew in
        each step, so that few images teach more: 1 is up to 11 degrees, 10 % and a fourteenth of
        the side, 0 not at all. Only stage 1 sees them so: draws follow the images as they are.
        "auto" is 1 for up to 300 images, falls with the square root of their number, and is 0 from
        10,000 on. Responses that are no images are never changed. With the number 0 (not where
        "auto" comes to 0) unpaired images get labels by their codes, too (`unpaired="pair"`),
        instead of by a classifier that learns from moved images.""",
    )

    @property
    def is_trained(self) -> bool:
        return True

    @property
    def may_move_images(self) -> bool:
        return self.augmentation != 0

    def _fewest_rows(self, latent_dim: int) -> int:
        """Rows to learn from, below which none are held out."""
        return 2

    def _min_steps(self, form: ResponseFormat) -> int:
        """Least number of steps in an epoch, however few rows there are."""
        return 50

    @abstractmethod
    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> Any:
        """The untrained module."""

    def _start(self, coder: Any, responses: Responses, rows: NDArray[np.intp], run: Run) -> None:
        """Set the weights from which training starts; the module's own unless overridden."""

    def _slope_limit(
        self, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> SlopeLimit | None:
        """The limit on the decoder's slope; None where there is none."""
        return None

    def _loss(self, inside: Inside, random: torch.Generator) -> RowLoss:
        """What training minimises: a callable that gives the loss of a coder and rows.

        It is called as ``loss(coder, target)`` with standardised rows (b, q) and returns a scalar
        tensor. `inside` brings rebuilt rows into the responses' range; noise is drawn from
        `random`.
        """
        return ReconstructionLoss(inside)

    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> Any:
        if run.group is not None:
            _check_same_data(responses, run.group)
        rows = training_rows(responses, held_out, self._fewest_rows(latent_dim))
        if len(rows) == len(responses):  # too few would be left to hold any out
            held_out = held_out[:0]
        weights = run.weights(Stream.AUTOENCODER_WEIGHTS)
        coder = self._module(responses.format, latent_dim, weights)
        if self._goes_on:
            coder = self._at_start("coder_", coder)
        else:
            self._start(coder, responses, rows, run)
        limit = self._slope_limit(responses, rows, run)
        random = run.stream(Stream.AUTOENCODER_STEPS)
        net = self._net(
            coder,
            self._training_loss(responses.format, len(rows), limit, random, run),
            self._held_out_score(responses, held_out, limit, run),
            self._look(responses, rows, run),
            random,
            run,
        )
        net.fit(self._batches(responses, rows, random, run))
        if net.interrupted_:
            raise KeyboardInterrupt
        self._note_training(net)
        fitted = net.module_.eval()
        if run.group is not None:  # buffers, such as those of batch norm, may differ
            run.group.same_state(fitted)
        if limit is not None:
            limit.settle(fitted)
        return fitted

    def _augmentation(self, form: ResponseFormat, n_rows: int) -> float:
        """How strongly the training responses are moved; 0 where they are not."""
        if not form.is_image:
            return 0.0
        if self.augmentation == "auto":
            strength = min(1.0, math.sqrt(_FEW_IMAGES / n_rows))
            return strength if n_rows < _ENOUGH_IMAGES else 0.0
        return float(self.augmentation)

    def _batches(
        self, responses: Responses, rows: NDArray[np.intp], random: torch.Generator, run: Run
    ) -> RowBatches | StreamedBatches:
        share = {} if run.group is None else {"rank": run.group.rank, "n_ranks": run.group.size}
        if 4 * len(rows) * responses.width <= resident_limit(run.device):
            resident = responses.take(rows).to(run.device)
            fewest = self._min_steps(responses.format)
            return RowBatches(resident, self.batch_size, random, fewest, **share)
        return StreamedBatches(responses, rows, self.batch_size, random, run.device, **share)

    def _training_loss(
        self,
        form: ResponseFormat,
        n_rows: int,
        limit: SlopeLimit | None,
        random: torch.Generator,
        run: Run,
    ) -> RowLoss:
        """What `_loss` says, for images that are moved and a slope that is limited, where asked."""
        noise = random if run.group is None else run.own_stream(Stream.AUTOENCODER_STEPS)
        loss = self._loss(form.clipping(run.device, LEAK), noise)
        strength = self._augmentation(form, n_rows)
        if strength > 0:
            loss = AugmentedLoss(loss, form.image_shape, strength, noise)
        return loss if limit is None else LimitedLoss(loss, limit)

    def _net(
        self,
        coder: Any,
        loss: RowLoss,
        held_out: HeldOutScore | None,
        look: Look,
        random: torch.Generator,
        run: Run,
    ) -> SingleNet:
        return SingleNet(
            coder,
            criterion=lambda: loss,
            optimizer=AdamW,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=self.max_epochs,
            random=random,
            group=run.group,
            device=str(run.device),
            verbose=0,
            callbacks=default_callbacks(
                AUTOENCODING,
                run=run,
                held_out=held_out,
                patience=self.n_iter_no_change,
                users=self.callbacks,
                look=look,
            ),
        )

    @staticmethod
    def _look(responses: Responses, rows: NDArray[np.intp], run: Run) -> Look:
        """A look at how a few training rows are rebuilt, against the range of all outputs."""
        some = rows[spread_rows(len(rows), _LOOKED_AT)]
        target = responses.take(some).to(run.device)
        return Look(
            lambda coder, count: coder.decode(coder.encode(target[:count])),
            target.min(),
            target.max(),
            what="reconstructions",
            n_rows=len(target),
            n_final=len(target),
        )

    def _held_out_score(
        self,
        responses: Responses,
        held_out: NDArray[np.intp],
        limit: SlopeLimit | None,
        run: Run,
    ) -> HeldOutScore | None:
        """The loss on (at most 2,000) held-out rows, (1,), always with the same noise."""
        if len(held_out) == 0:
            return None
        if len(held_out) > MAX_HELD_OUT:
            order = row_stream(run.seed, RowStream.JUDGED_ROWS).permutation(held_out)
            held_out = order[:MAX_HELD_OUT]
        target, inside = responses.take(held_out).to(run.device), responses.format.inside

        @torch.no_grad()
        def score(coder: Any) -> Tensor:
            if limit is not None:
                limit.settle(coder)
            loss = self._loss(inside, run.stream(Stream.AUTOENCODER_HELD_OUT))
            size = rows_per_block(2 * widest_output([coder], lambda: coder(target[:1])))
            blocks = [len(b) * loss(coder, b).view(1) for b in target.split(size)]
            return torch.cat(blocks).sum(dim=0, keepdim=True) / len(target)

        return HeldOutScore("valid_loss", score)


def _reference_rows(responses: Responses, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most 8,192 of the rows, spread over them."""
    return rows_within_memory(responses, rows[spread_rows(len(rows), _REFERENCE_ROWS)])


def _check_same_data(responses: Responses, group: Group) -> None:
    """Raise unless all processes of the group were given the same responses, by a few of them."""
    some = np.linspace(0, len(responses) - 1, 8).astype(np.intp)
    found = group.gather((len(responses), content_hash(responses.take(some))))
    if len(set(found)) > 1:
        raise ValueError(
            f"All processes must call fit with the same data, but those of rank 0 to "
            f"{group.size - 1} have {', '.join(f'{n:,}' for n, _ in found)} responses, not all of "
            f"them alike. Each process takes its share of the batches by itself: pass all data."
        )


class CoderAutoencoder(TrainedAutoencoder):
    """Base of autoencoders made of principal components plus a network on either side."""

    activation: str = parameter(
        default="silu", rule=one_of(*ACTIVATIONS), doc="Activation between the layers."
    )
    lipschitz: float | None = parameter(
        default=None,
        rule=or_none(above(0.0)),
        doc="""Limit on the decoder's slope: if a code moves by one standard deviation of the
        codes, the response moves by at most so many of its own standard deviations (root mean
        square over outputs). The slope is bounded by the layers' spectral norms, which exceeds
        the true one, so values below about 1 leave little room for curvature. None sets no
        limit.""",
    )

    def _start(self, coder: Any, responses: Responses, rows: NDArray[np.intp], run: Run) -> None:
        """Set the module's linear path to the principal components of the training rows."""
        latent_dim = len(coder.linear.components)
        start = principal_coder(
            responses, rows_within_memory(responses, rows, 2 * latent_dim), latent_dim, run.seed
        )
        coder.linear.load_state_dict(start.state_dict())

    def _fewest_rows(self, latent_dim: int) -> int:
        return latent_dim + 1  # of which principal components can be taken

    @staticmethod
    @torch.no_grad()
    def _linear_codes(coder: LinearCoder, responses: Responses, rows: NDArray[np.intp]) -> Tensor:
        """Codes of at most 8,192 training rows by the linear path, from which spreads are taken."""
        return coder.encode(responses.take(_reference_rows(responses, rows)))

    def _slope_limit(
        self, responses: Responses, rows: NDArray[np.intp], run: Run
    ) -> SlopeLimit | None:
        if self.lipschitz is None:
            return None
        reference = responses.take(_reference_rows(responses, rows)).to(run.device)
        return SlopeLimit(float(self.lipschitz), reference)


class DenseAutoencoder(CoderAutoencoder):
    """One whose networks are MLPs: by default those of an `MLPCoder`."""

    widths: Sequence[int] = parameter(
        default=(512, 256),
        rule=sequence_of(integer(1)),
        doc="Hidden widths of the encoder; the decoder mirrors them.",
    )

    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> Coder:
        return MLPCoder(form.width, latent_dim, self.widths, self.activation, random)


def automatic_channels(side: int, most_pixels: int) -> list[int]:
    """16, 32, 64, 64, ...: one entry for each halving, until `side` is at most `most_pixels`."""
    channels = [16]
    side = conv_side(side)
    while side > most_pixels:
        channels.append(min(2 * channels[-1], _MAX_CHANNELS))
        side = conv_side(side)
    return channels


class SlopeLimit:
    """Keeps a decoder's slope within `limit`, by the factor `gain` about its centre.

    The slope is that of :meth:`sklsdm.modules.Coder.slope`, in units of the codes' standard
    deviations: otherwise the encoder could evade the limit by giving larger codes.
    """

    def __init__(self, limit: float, reference: Tensor) -> None:
        self.limit = limit
        self.reference = reference

    def gain(self, coder: Coder, target: Tensor, n_iterations: int = FULL_ITERATIONS) -> Tensor:
        """The factor, at most 1, that brings the slope down to the limit."""
        spread = coder.encode(target).std(dim=0, correction=0)
        return (self.limit / coder.slope(spread, n_iterations)).clamp(max=1.0)

    @torch.no_grad()
    def settle(self, coder: Coder) -> None:
        """Set the gain that the fitted coder keeps, from the codes' spread over reference rows."""
        coder.gain = self.gain(coder, self.reference)


class LimitedLoss:
    """A loss of a coder whose gain is set anew for the weights of each step."""

    def __init__(self, loss: RowLoss, limit: SlopeLimit) -> None:
        self.loss = loss
        self.recordable = is_recordable(loss)
        self.limit = limit

    def __call__(self, coder: Any, target: Tensor) -> Tensor:
        coder.gain = self.limit.gain(coder, target, _QUICK_ITERATIONS)
        return self.loss(coder, target)

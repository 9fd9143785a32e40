"""What every autoencoder does, and the template of those that are trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, IncrementalPCA
from torch import Tensor

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.batches import RESIDENT_BYTES, RowBatches, StreamedBatches, resident_limit
from sklsdm.coders import SETTLED, Coder, LinearCoder
from sklsdm.modules import ACTIVATIONS, ModuleHolder
from sklsdm.nets import (
    CallbackHolder,
    HeldOutScore,
    SingleNet,
    Stage,
    check_callbacks,
    default_callbacks,
    history_arrays,
)
from sklsdm.nets.run import Run
from sklsdm.responses import BLOCK_ROWS, ResponseFormat, Responses

Loss = Callable[[Any, Tensor], Tensor]
Inside = Callable[[Tensor], Tensor]

_AUTOENCODING = Stage("stage 1 (autoencoder)", "stage-1.pt", "the autoencoder's lr")
_INCREMENTAL_ROWS = 8192
_REFERENCE_ROWS = 8192
_QUICK_ITERATIONS = 15
_LEAK = 0.3
_MAX_HELD_OUT = 2048


class BaseAutoencoder(ModuleHolder, BaseEstimator, ABC):
    """Stage 1: learns a low-dimensional latent space from all responses, paired and unpaired.

    Attributes
    ----------
    latent_dim_ : int
        Dimension of the latent space.
    decoder_noise_dim_ : int
        Numbers of noise that one draw of the decoder takes; 0 where it is deterministic.
    coder_ : torch.nn.Module
        The fitted pair, with `encode` and `decode`.
    history_ : dict of str to ndarray
        Losses by epoch; empty where nothing was trained.
    """

    latent_dim_: int
    decoder_noise_dim_: int = 0
    coder_: Any
    history_: dict[str, NDArray[np.float64]]

    def validate(self) -> None:
        """Raise on a parameter out of its range."""

    def choose(self, form: ResponseFormat, latent_dim: int | str) -> BaseAutoencoder:
        """The autoencoder to fit on responses that come in `form`; "auto" picks another."""
        return self

    def natural_dim(self, form: ResponseFormat) -> int | None:
        """The only latent dimension that fits responses in `form`; None if any does."""
        return None

    @abstractmethod
    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> BaseAutoencoder:
        """Fit on all rows but `held_out`, on which the state to keep is chosen."""

    @torch.no_grad()
    def encode(self, target: Tensor) -> Tensor:
        """Codes (n, k) of standardised rows (n, q)."""
        return self.coder_.encode(target)

    @torch.no_grad()
    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        """Standardised rows (n, q) of codes (n, k).

        A stochastic decoder draws them with `noise` (n, decoder_noise_dim_), and gives their mean
        without.
        """
        if noise is None or self.decoder_noise_dim_ == 0:
            return self.coder_.decode(latent)
        return self.coder_.decode(latent, noise)

    @torch.no_grad()
    def decoder_slope(self, spread: Tensor) -> float | None:
        """Bound on the decoder's Lipschitz constant, or None where none is known.

        Codes are counted in units of `spread` (k,), standardised rows by their root mean square
        over outputs. Noise is held fixed.
        """
        if not isinstance(self.coder_, Coder | LinearCoder):
            return None
        gain = self.coder_.gain.item() if isinstance(self.coder_, Coder) else 1.0
        return gain * self.coder_.slope(spread).item()

    def encode_all(self, responses: Responses, device: torch.device) -> Tensor:
        """Codes of all responses, (n + N, k), on the device, one bounded block at a time."""
        blocks = (self.encode(block.to(device)) for block in responses.blocks())
        return torch.cat(list(blocks))


class ReconstructionLoss:
    """Mean squared error of D(E(y)), in units of the responses' variance."""

    def __init__(self, inside: Inside) -> None:
        self.inside = inside

    def __call__(self, coder: Any, target: Tensor) -> Tensor:
        return (self.inside(coder(target)) - target).square().mean()


class TrainedAutoencoder(CallbackHolder, BaseAutoencoder):
    """Template of the autoencoders that are trained: a subclass says its module and its loss.

    The state with the lowest loss on held-out responses is kept, that before the first step
    included. Where the responses have a range, the loss sees rows brought into it, as they will
    be drawn: the decoder need not hit black exactly.

    Attributes
    ----------
    callbacks_ : list of skorch callbacks
        Those of `callbacks` that were called, in their order, without their names.
    """

    activation: str = "silu"
    max_epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    lipschitz: float | None = None
    n_iter_no_change: int | None
    callbacks: Sequence[Any] | None
    callbacks_: list[Any]
    _min_steps = 50  # of one epoch, however few the rows

    def validate(self) -> None:
        check_choice("autoencoder__activation", self.activation, ACTIVATIONS)
        check_integer("autoencoder__max_epochs", self.max_epochs, 1)
        check_real("autoencoder__lr", self.lr, 0.0, open_low=True)
        check_integer("autoencoder__batch_size", self.batch_size, 1)
        check_real("autoencoder__weight_decay", self.weight_decay, 0.0)
        if self.lipschitz is not None:
            check_real("autoencoder__lipschitz", self.lipschitz, 0.0, open_low=True)
        if self.n_iter_no_change is not None:
            check_integer("autoencoder__n_iter_no_change", self.n_iter_no_change, 1)
        check_callbacks(self.callbacks, type(self).__name__)

    @abstractmethod
    def _module(self, form: ResponseFormat, latent_dim: int, random: torch.Generator) -> Any:
        """The untrained module."""

    def _start(self, coder: Any, responses: Responses, rows: NDArray[np.intp], run: Run) -> None:
        """Set the module's linear path to the principal components of the training rows."""
        latent_dim = len(coder.linear.components)
        start = principal_coder(responses, rows, latent_dim, run.seed)
        coder.linear.load_state_dict(start.state_dict())

    @staticmethod
    @torch.no_grad()
    def _linear_codes(coder: LinearCoder, responses: Responses, rows: NDArray[np.intp]) -> Tensor:
        """Linear codes of a bounded number of training rows."""
        return coder.encode(responses.take(rows[:_REFERENCE_ROWS]))

    def _loss(self, inside: Inside, random: torch.Generator) -> Loss:
        """The loss of a batch; `inside` brings rows into range, noise is drawn from `random`."""
        return ReconstructionLoss(inside)

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> TrainedAutoencoder:
        rows = training_rows(responses, held_out)
        if len(rows) <= latent_dim:  # too few to spare any
            rows, held_out = np.arange(len(responses)), held_out[:0]
        coder = self._module(responses.format, latent_dim, run.generator(0, torch.device("cpu")))
        self._start(coder, responses, rows, run)
        limit = None
        if self.lipschitz is not None:
            reference = responses.take(rows[:_REFERENCE_ROWS]).to(run.device)
            limit = SlopeLimit(float(self.lipschitz), reference)
        check = responses.take(held_out[:_MAX_HELD_OUT]).to(run.device)
        random = run.generator(1)
        net = self._net(coder, responses.format, check, limit, random, run)
        net.fit(self._batches(responses, rows, random, run))
        if net.interrupted_:
            raise KeyboardInterrupt
        self.coder_ = net.module_.eval()
        if limit is not None:
            limit.settle(self.coder_)
        self.latent_dim_ = latent_dim
        self.history_ = history_arrays(net.history)
        self.callbacks_ = check_callbacks(self.callbacks, type(self).__name__)
        return self

    def _batches(
        self, responses: Responses, rows: NDArray[np.intp], random: torch.Generator, run: Run
    ) -> RowBatches | StreamedBatches:
        if 4 * len(rows) * responses.width <= resident_limit(run.device):
            resident = responses.take(rows).to(run.device)
            return RowBatches(resident, self.batch_size, random, self._min_steps)
        return StreamedBatches(responses, rows, self.batch_size, random, run.device)

    def _net(
        self,
        coder: Any,
        form: ResponseFormat,
        check: Tensor,
        limit: SlopeLimit | None,
        random: torch.Generator,
        run: Run,
    ) -> SingleNet:
        loss = self._loss(partial(form.inside, leak=_LEAK), random)
        score = self._held_out_loss(form, check, limit, run) if len(check) else None
        return SingleNet(
            coder,
            criterion=lambda: loss if limit is None else limit.within(loss),
            optimizer=torch.optim.AdamW,
            optimizer__fused=True,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=self.max_epochs,
            random=random,
            device=str(run.device),
            verbose=0,
            callbacks=default_callbacks(
                _AUTOENCODING,
                run=run,
                held_out=None if score is None else HeldOutScore("valid_loss", score),
                patience=self.n_iter_no_change,
                users=self.callbacks,
            ),
        )

    def _held_out_loss(
        self, form: ResponseFormat, check: Tensor, limit: SlopeLimit | None, run: Run
    ) -> Callable[[Any], Tensor]:
        """The loss on held-out rows, (1,), always with the same noise."""

        @torch.no_grad()
        def score(coder: Any) -> Tensor:
            if limit is not None:
                limit.settle(coder)
            loss = self._loss(form.inside, run.generator(2))
            blocks = [len(b) * loss(coder, b).view(1) for b in check.split(BLOCK_ROWS)]
            return torch.cat(blocks).sum(dim=0, keepdim=True) / len(check)

        return score


class SlopeLimit:
    """Keeps a decoder's slope within `limit` by scaling it about its centre.

    The slope is :meth:`sklsdm.coders.Coder.slope` in units of the codes' standard deviations, so
    that larger codes do not get round it.
    """

    def __init__(self, limit: float, reference: Tensor) -> None:
        self.limit = limit
        self.reference = reference

    def _gain(self, coder: Coder, target: Tensor, n_iterations: int) -> Tensor:
        spread = coder.encode(target).std(dim=0, correction=0)
        return (self.limit / coder.slope(spread, n_iterations)).clamp(max=1.0)

    def within(self, loss: Loss) -> Loss:
        """`loss` with the decoder scaled, as the weights are now."""

        def limited(coder: Any, target: Tensor) -> Tensor:
            coder.gain = self._gain(coder, target, _QUICK_ITERATIONS)
            return loss(coder, target)

        return limited

    @torch.no_grad()
    def settle(self, coder: Coder) -> None:
        """Set the gain for good, with the codes' spread over the reference rows."""
        coder.gain = self._gain(coder, self.reference, SETTLED)


def training_rows(responses: Responses, held_out: NDArray[np.intp]) -> NDArray[np.intp]:
    """Row numbers of all responses but those held out."""
    keep = np.ones(len(responses), dtype=bool)
    keep[held_out] = False
    return np.flatnonzero(keep)


def principal_coder(
    responses: Responses, rows: NDArray[np.intp], latent_dim: int, seed: int
) -> LinearCoder:
    """The leading principal components of the named rows, in one pass where they are many."""
    if 4 * len(rows) * responses.width <= RESIDENT_BYTES:
        pca = PCA(latent_dim, random_state=seed % 2**32).fit(responses.take(rows).numpy())
    else:
        pca = IncrementalPCA(latent_dim)
        for start in range(0, len(rows) - latent_dim, _INCREMENTAL_ROWS):
            pca.partial_fit(responses.take(rows[start : start + _INCREMENTAL_ROWS]).numpy())
    coder = LinearCoder(responses.width, latent_dim)
    coder.load_state_dict(
        {
            "center": torch.as_tensor(pca.mean_, dtype=torch.float32),
            "components": torch.as_tensor(pca.components_, dtype=torch.float32),
        }
    )
    return coder

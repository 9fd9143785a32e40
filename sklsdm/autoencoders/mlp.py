"""The MLP autoencoder, started from principal components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklsdm._validation import check_choice, check_integer, check_real
from sklsdm.autoencoders.base import (
    BaseAutoencoder,
    mean_square_error,
    principal_coder,
    training_rows,
)
from sklsdm.batches import RowBatches, StreamedBatches, resident_limit
from sklsdm.modules import ACTIVATIONS, MLPCoder
from sklsdm.nets import SingleNet, default_callbacks, history_arrays
from sklsdm.nets.run import Run
from sklsdm.responses import Responses

_MIN_STEPS = 50
_MAX_HELD_OUT = 2048


class ReconstructionLoss:
    """Mean squared error of D(E(y)), the stage-1 loss."""

    def __call__(self, coder: nn.Module, target: Tensor) -> Tensor:
        return (coder(target) - target).square().mean()


class MLPAutoencoder(BaseAutoencoder):
    """Principal components plus an MLP on either side, trained by reconstruction error.

    Encoder and decoder are each a linear path, started at the principal components, plus an
    MLP started near zero. The state with the lowest error on held-out responses is kept, that
    before the first step included, so the result is never worse there than PCA.

    When to use: the default for vectors, curves and small images. Cost: `max_epochs` passes.

    Parameters
    ----------
    widths : sequence of int, default=(256, 128)
        Hidden widths of the encoder; the decoder mirrors them.
    activation : {"silu", "elu", "gelu", "leaky_relu", "relu"}, default="silu"
        Between the layers.
    max_epochs : int, default=60
        Most passes over the responses (at least 50 steps each, however few they are).
    lr : float, default=1e-3
        Initial rate of AdamW; falls to zero along half a cosine.
    batch_size : int, default=128
        Responses in one step.
    weight_decay : float, default=0.1
        Of AdamW (per step: lr times this).
    n_iter_no_change : int or None, default=15
        Stop after so many epochs without a lower error on held-out responses; None never stops.
    callbacks : sequence of skorch callbacks or None, default=None
        Run besides ours, before the state to keep is chosen.

    References
    ----------
    Chong & Feng 2026 (arXiv 2603.04223), stage 1.
    """

    def __init__(
        self,
        widths: Sequence[int] = (256, 128),
        *,
        activation: str = "silu",
        max_epochs: int = 60,
        lr: float = 1e-3,
        batch_size: int = 128,
        weight_decay: float = 0.1,
        n_iter_no_change: int | None = 15,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        self.widths = widths
        self.activation = activation
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks

    def validate(self) -> None:
        for width in self.widths:
            check_integer("autoencoder__widths", width, 1)
        check_choice("autoencoder__activation", self.activation, ACTIVATIONS)
        check_integer("autoencoder__max_epochs", self.max_epochs, 1)
        check_real("autoencoder__lr", self.lr, 0.0, open_low=True)
        check_integer("autoencoder__batch_size", self.batch_size, 1)
        check_real("autoencoder__weight_decay", self.weight_decay, 0.0)
        if self.n_iter_no_change is not None:
            check_integer("autoencoder__n_iter_no_change", self.n_iter_no_change, 1)

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> MLPAutoencoder:
        rows = training_rows(responses, held_out)
        if len(rows) <= latent_dim:  # too few to spare any
            rows, held_out = np.arange(len(responses)), held_out[:0]
        coder = MLPCoder(
            responses.width,
            latent_dim,
            self.widths,
            self.activation,
            run.generator(0, torch.device("cpu")),
        )
        start = principal_coder(responses, rows, latent_dim, run.seed)
        coder.linear.load_state_dict(start.state_dict())
        check = responses.take(held_out[:_MAX_HELD_OUT]).to(run.device)
        random = run.generator(1)
        net = self._net(coder, check, random, run)
        net.fit(self._batches(responses, rows, random, run))
        if net.interrupted_:
            raise KeyboardInterrupt
        self.coder_ = net.module_.eval()
        self.latent_dim_ = latent_dim
        self.history_ = history_arrays(net.history)
        return self

    def _batches(
        self, responses: Responses, rows: NDArray[np.intp], random: torch.Generator, run: Run
    ) -> RowBatches | StreamedBatches:
        if 4 * len(rows) * responses.width <= resident_limit(run.device):
            resident = responses.take(rows).to(run.device)
            return RowBatches(resident, self.batch_size, random, _MIN_STEPS)
        return StreamedBatches(responses, rows, self.batch_size, random, run.device)

    def _net(
        self, coder: MLPCoder, check: Tensor, random: torch.Generator, run: Run
    ) -> SingleNet:
        watched = len(check) > 0
        return SingleNet(
            coder,
            criterion=ReconstructionLoss,
            optimizer=torch.optim.AdamW,
            optimizer__fused=True,
            optimizer__weight_decay=self.weight_decay,
            lr=self.lr,
            max_epochs=self.max_epochs,
            random=random,
            device=str(run.device),
            verbose=0,
            callbacks=[
                *(self.callbacks or []),
                *default_callbacks(
                    "stage 1 (autoencoder)",
                    "autoencoder__lr",
                    monitor="valid_loss" if watched else None,
                    score=(lambda module: mean_square_error(module, check)) if watched else None,
                    patience=self.n_iter_no_change,
                    tol=0.0,
                    verbose=run.verbose,
                ),
            ],
        )


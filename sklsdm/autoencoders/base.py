"""What every autoencoder does: fit on all responses, encode and decode rows on the device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA, IncrementalPCA
from torch import Tensor

from sklsdm.batches import RESIDENT_BYTES
from sklsdm.modules import LinearCoder, ModuleHolder
from sklsdm.nets.run import Run
from sklsdm.responses import BLOCK_ROWS, Responses

_INCREMENTAL_ROWS = 8192


class BaseAutoencoder(ModuleHolder, BaseEstimator, ABC):
    """Stage 1: learns a low-dimensional latent space from all responses, paired and unpaired.

    Attributes
    ----------
    latent_dim_ : int
        Dimension of the latent space.
    coder_ : torch.nn.Module
        The fitted pair, with `encode` and `decode`.
    history_ : dict of str to ndarray
        Losses by epoch; empty where nothing was trained.
    """

    latent_dim_: int
    coder_: Any
    history_: dict[str, NDArray[np.float64]]

    def validate(self) -> None:
        """Raise on a parameter out of its range."""

    def choose(self, width: int, latent_dim: int | str) -> BaseAutoencoder:
        """The autoencoder to fit on responses of `width` outputs; "auto" picks another."""
        return self

    def natural_dim(self, width: int) -> int | None:
        """The only latent dimension that fits responses of `width` outputs; None if any does."""
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
    def decode(self, latent: Tensor) -> Tensor:
        """Standardised rows (n, q) of codes (n, k)."""
        return self.coder_.decode(latent)

    def encode_all(self, responses: Responses, device: torch.device) -> Tensor:
        """Codes of all responses, (n + N, k), on the device, one bounded block at a time."""
        blocks = (self.encode(block.to(device)) for block in responses.blocks())
        return torch.cat(list(blocks))


def training_rows(responses: Responses, held_out: NDArray[np.intp]) -> NDArray[np.intp]:
    """Row numbers of all responses but those held out."""
    keep = np.ones(len(responses), dtype=bool)
    keep[held_out] = False
    return np.flatnonzero(keep)


def mean_square_error(coder: Any, target: Tensor) -> float:
    """Mean squared error of the reconstruction, in units of the responses' variance."""
    with torch.no_grad():
        total = sum(
            float((coder(block) - block).square().sum()) for block in target.split(BLOCK_ROWS)
        )
    return total / target.numel()


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

"""Base of the autoencoders: they encode responses as codes, and decode codes to responses."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA, IncrementalPCA
from torch import Tensor

from sklsdm.batches import room_for
from sklsdm.blocks import rows_per_block, spread_rows
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.responses import Responses
from sklsdm.modules import Coder, LinearCoder, ModuleHolder, widest_output
from sklsdm.parameters import Declared, learnt
from sklsdm.run import Run

MAX_HELD_OUT = 2000  # held-out rows by which the state of stage 1 is chosen
_WHOLE_BYTES = 256 * 2**20  # of rows that are read into memory together


class BaseAutoencoder(ModuleHolder, Declared, ABC):
    """Stage 1: learns a low-dimensional latent space from all responses, paired and unpaired."""

    latent_dim_: int = learnt("Dimension of the latent space.")
    decoder_noise_dim_: int = learnt(
        "Dimension of the noise that one draw of the decoder takes; 0 where it is deterministic."
    )
    code_shape_: tuple[int, ...] | None = learnt(
        "Shape (k, h, w) of codes that are images, flat in the rows; None for others."
    )
    coder_: Any = learnt(
        "The fitted encoder and decoder, as one object with `encode` and `decode`.",
        "torch.nn.Module",
    )
    numbers_per_row_: int = learnt(
        "Most numbers that a layer of the coder holds for one response; it bounds what is coded "
        "at once."
    )
    history_: dict[str, NDArray[np.float64]] = learnt(
        "Losses by epoch; empty where nothing was trained.", "dict of str to ndarray"
    )

    def resolve(
        self,
        form: ResponseFormat,
        latent_dim: int | str,
        n_responses: int = 0,
        fewest_images: float = math.inf,
    ) -> BaseAutoencoder:
        """The autoencoder to fit on responses in `form`: this one, unless it chooses another.

        The matcher can learn codes that are images from `fewest_images` responses on.
        """
        return self

    def like(self, fitted: BaseAutoencoder) -> BaseAutoencoder:
        """The autoencoder that goes on from `fitted`: this one, unless it chooses another."""
        return self

    @property
    def is_trained(self) -> bool:
        """Whether it is trained by steps, so that a later fit can go on from it."""
        return False

    @property
    def may_move_images(self) -> bool:
        """Whether an image that is moved a little counts as one of the same kind."""
        return True

    @property
    def adds_residuals(self) -> bool:
        """Whether draws get residuals, with which the decoder has no Lipschitz constant."""
        return False

    def check_format(self, form: ResponseFormat) -> None:
        """Raise where responses in `form` cannot be coded."""

    def natural_dim(self, form: ResponseFormat) -> int | None:
        """The only latent dimension that fits responses in `form`; None if any does."""
        return None

    @abstractmethod
    def _fit_coder(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> Any:
        """The coder, fitted on all rows but `held_out`, on which the state to keep is chosen."""

    def fit(
        self, responses: Responses, latent_dim: int, held_out: NDArray[np.intp], run: Run
    ) -> BaseAutoencoder:
        """Fit on all rows but `held_out`, on which the state to keep is chosen."""
        self.history_ = {}
        self.decoder_noise_dim_ = 0
        self.code_shape_ = None
        self.latent_dim_ = latent_dim
        self.coder_ = self._fit_coder(responses, latent_dim, held_out, run)
        one = responses.take(np.arange(1)).to(run.device)
        widest = widest_output([self.coder_], lambda: self.decode(self.encode(one)))
        self.numbers_per_row_ = max(widest, responses.width)
        return self

    @torch.no_grad()
    def encode(self, target: Tensor) -> Tensor:
        """Codes (n, k) of standardised rows (n, q)."""
        return self.coder_.encode(target)

    @torch.no_grad()
    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        """Standardised rows (n, q) of codes (n, k).

        A stochastic decoder draws them with `noise` (n, decoder_noise_dim_). Without it, it gives
        their mean.
        """
        if noise is None or self.decoder_noise_dim_ == 0:
            return self.coder_.decode(latent)
        return self.coder_.decode(latent, noise)

    @torch.no_grad()
    def decoder_slope(self, spread: Tensor) -> float | None:
        """Upper bound on the decoder's Lipschitz constant, or None where none is known.

        Residuals, which change by jumps, are left out.
        Distances of codes are measured in units of `spread` (k,), those of standardised rows by
        the root mean square over outputs. Noise is held fixed.
        """
        if not isinstance(self.coder_, Coder | LinearCoder):
            return None
        gain = self.coder_.gain.item() if isinstance(self.coder_, Coder) else 1.0
        return gain * self.coder_.slope(spread).item()

    def encode_all(self, responses: Responses, device: torch.device) -> Tensor:
        """Codes of all responses, (n + N, k), on the device; encoded in blocks of bounded size."""
        codes, start = room_for(len(responses), self.latent_dim_, device), 0
        for block in responses.blocks():
            codes[start : start + len(block)] = self.encode_block(block, device)
            start += len(block)
        return codes

    def encode_block(self, rows: Tensor, device: torch.device) -> Tensor:
        """Codes of rows (n, q), on the device; encoded in parts, so that memory is bounded."""
        if len(rows) == 0:  # scikit-learn's transformers refuse none
            return torch.empty((0, self.latent_dim_), dtype=torch.float32, device=device)
        parts = rows.split(rows_per_block(2 * self.numbers_per_row_))
        return torch.cat([self.encode(part.to(device)) for part in parts])

    def encode_blocks(
        self, blocks: Iterable[NDArray[np.float32]], device: torch.device
    ) -> NDArray[np.float32]:
        """Codes of rows (n, q) that come in blocks."""
        none = np.empty((0, self.latent_dim_), np.float32)
        codes = (self.encode_block(torch.from_numpy(rows), device) for rows in blocks)
        return np.concatenate([none, *(each.cpu().numpy() for each in codes)])

    def decode_block(
        self, latent: Tensor, device: torch.device, noise: Tensor | None = None
    ) -> Tensor:
        """Rows (n, q) of codes (n, k), on the device; decoded in parts, as in `encode_block`.

        A stochastic decoder draws by `noise` (n, d), and without noise gives its mean.
        """
        size = rows_per_block(2 * self.numbers_per_row_)
        noises = [None] * -(-len(latent) // size) if noise is None else noise.split(size)
        parts = zip(latent.split(size), noises, strict=True)
        return torch.cat(
            [self.decode(z.to(device), None if e is None else e.to(device)) for z, e in parts]
        )


def training_rows(
    responses: Responses, held_out: NDArray[np.intp], fewest: int = 1
) -> NDArray[np.intp]:
    """Rows of all responses but those held out; all rows where fewer than `fewest` are left."""
    keep = np.ones(len(responses), dtype=bool)
    keep[held_out] = False
    rows = np.flatnonzero(keep)
    return rows if len(rows) >= fewest else np.arange(len(responses))


def rows_within_memory(
    responses: Responses, rows: NDArray[np.intp], least: int = 2
) -> NDArray[np.intp]:
    """All rows if they take at most 256 MiB, else as many spread ones, at least `least`."""
    most = max(least, _WHOLE_BYTES // (4 * responses.width))
    return rows[spread_rows(len(rows), most)]


def principal_coder(
    responses: Responses, rows: NDArray[np.intp], latent_dim: int, seed: int
) -> LinearCoder:
    """The leading principal components of the given rows, incremental where they are many."""
    if 4 * len(rows) * responses.width <= _WHOLE_BYTES or len(rows) <= 2 * latent_dim:
        with np.errstate(invalid="ignore"):  # constant responses have no variance to explain
            pca = PCA(latent_dim, random_state=seed % 2**32).fit(responses.take(rows).numpy())
    else:
        pca = IncrementalPCA(latent_dim)
        step = max(rows_per_block(responses.width), 2 * latent_dim)
        for start in range(0, len(rows) - latent_dim, step):
            pca.partial_fit(responses.take(rows[start : start + step]).numpy())
    coder = LinearCoder(responses.width, latent_dim)
    coder.load_state_dict(
        {
            "center": torch.as_tensor(pca.mean_, dtype=torch.float32),
            "components": torch.as_tensor(pca.components_, dtype=torch.float32),
        }
    )
    return coder

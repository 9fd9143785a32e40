"""Draws of a fit in bounded memory: independent ones, and a bank with noise shared by all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc
from torch import Tensor

from sklsdm._validation import check_integer
from sklsdm.autoencoders import BaseAutoencoder
from sklsdm.blocks import rows_per_block
from sklsdm.draws.memory import available_memory
from sklsdm.draws.out_of_memory import in_batches
from sklsdm.draws.output import check_outcome, store
from sklsdm.inputs.response_format import ResponseFormat
from sklsdm.inputs.standardising import Standardiser
from sklsdm.matchers import BaseMatcher
from sklsdm.noise import standard_normal

_ROWS_ON_CPU, _BLOCKS_ON_GPU = 2048, 16  # draws made at once

_BYTES_PER_POINT = 40  # points of the unit cube, noise, draws, and those in double precision

_NOISE_ON_CPU, _NOISE_ON_GPU = 2**12, 2**16  # rows of noise made at once


class NoiseStream:
    """Rows of standard normal noise, which do not depend on how many are taken at once.

    They are always generated in blocks of `block` rows, and rows not yet taken are kept.
    """

    def __init__(self, dim: int, seed: int, device: torch.device) -> None:
        self.dim = dim
        self.block = self.block_on(device.type, dim)
        self.random = torch.Generator(device=device).manual_seed(seed)
        self.left = torch.empty((0, dim), dtype=torch.float32, device=device)

    @staticmethod
    def block_on(device_type: str, dim: int) -> int:
        """Rows made at once: on a GPU many, as far as memory is bounded."""
        return _NOISE_ON_CPU if device_type == "cpu" else min(_NOISE_ON_GPU, rows_per_block(dim))

    def take(self, n_rows: int) -> Tensor:
        """The next `n_rows` rows of noise, (n_rows, dim)."""
        parts, found = [self.left], len(self.left)
        while found < n_rows:
            parts.append(standard_normal((self.block, self.dim), self.random))
            found += self.block
        rows = torch.cat(parts) if len(parts) > 1 else parts[0]
        self.left = rows[n_rows:]
        return rows[:n_rows]

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Context in which rows are taken; if it ends in an error, they come again afterwards."""
        state, left = self.random.get_state(), self.left
        try:
            yield
        except BaseException:
            self.random.set_state(state)
            self.left = left
            raise


class Bank(Protocol):
    """What forecasts are made from: draws of which every row has the same noise."""

    @property
    def width(self) -> int:
        """Number of outputs of one response."""

    @property
    def n_passes(self) -> int:
        """Passes of a network that one draw takes."""

    def draws_with_shared_noise(
        self, condition: NDArray[np.float32], n_draws: int
    ) -> Iterator[tuple[slice, Tensor]]:
        """Draws (rows, n_draws, q) for blocks of rows of the conditions (n, p)."""


@dataclass(frozen=True)
class Sampler:
    """Turns conditions into draws: both fitted stages and the standardisations around them."""

    matcher: BaseMatcher
    autoencoder: BaseAutoencoder
    latent_standardiser: Standardiser  # of the autoencoder's codes; the matcher works on its output
    form: ResponseFormat
    device: torch.device

    @property
    def width(self) -> int:
        """Number of outputs of one response."""
        return self.form.width

    @property
    def n_passes(self) -> int:
        """Passes of the matcher's network that one draw takes."""
        return self.matcher.n_passes

    @property
    def noise_dims(self) -> list[int]:
        """Dimensions of a draw's noise: for the matcher, and for a stochastic decoder (else 0)."""
        return [self.matcher.noise_dim_, self.autoencoder.decoder_noise_dim_]

    def draw_latent(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Codes (b m, k) in the autoencoder's units, for conditions (b, p) and noise (b m, d)."""
        latent = self.matcher.draw(condition, noise)
        mean, scale = self.latent_standardiser.tensors(latent)
        return (latent * scale).add_(mean)

    def decode(self, latent: Tensor, noise: Tensor | None = None) -> Tensor:
        """Responses (b, q) in their own units, for codes (b, k) in the autoencoder's units.

        A stochastic decoder draws by `noise`; without noise it returns its mean.
        """
        return self.form.restore(self.autoencoder.decode(latent, noise))

    def fill(
        self,
        out: NDArray[Any],
        condition: NDArray[np.float32],
        seed: int,
        batch_size: int | str,
        finish: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Fill `out` (n, m, ...) with m draws for each of n conditions, a chunk at a time.

        `out` may be a part of a larger array, such as every second draw.
        Where memory runs out, chunks are halved, with a warning; the noise stays the same.

        `finish` turns drawn codes and the decoder's noise into what is stored: responses, or the
        codes themselves.
        """
        n_samples = out.shape[1]
        step = self._chunk() if batch_size == "auto" else int(batch_size)
        step -= step % n_samples if step > n_samples else 0  # all draws of a condition at once
        noise = NoiseStream(sum(self.noise_dims), seed, self.device)

        def draw(places: slice) -> None:
            with noise.undone_on_error():
                matcher_noise, decoder_noise = self._split(noise.take(places.stop - places.start))
                latent = self._draw_places(places, n_samples, condition, matcher_noise)
                draws = finish(latent, decoder_noise)
                total = draws.sum().cpu().numpy()
                if not np.isfinite(total):  # the sum of finite numbers is, unless they are huge
                    rows = np.arange(places.start, places.stop) // n_samples
                    found = draws.cpu().numpy()
                    check_outcome("X" if condition.shape[1] else "", found, "draw", rows)
                _store_places(draws, out, places)

        for _ in in_batches(len(out) * n_samples, step, draw):
            pass

    def _draw_places(
        self, places: slice, n_samples: int, condition: NDArray[np.float32], noise: Tensor
    ) -> Tensor:
        """Codes of some places among the draws of all conditions, `n_samples` of each in turn.

        The draws of the first and of the last condition may lie there in part.
        """
        codes = []
        for part in _by_condition(places, n_samples):
            given = condition[part.start // n_samples : -(-part.stop // n_samples)]
            own_noise = noise[part.start - places.start : part.stop - places.start]
            codes.append(self.draw_latent(torch.from_numpy(given).to(self.device), own_noise))
        return torch.cat(codes) if len(codes) > 1 else codes[0]

    def on_stretched_axes(self) -> Sampler:
        """A sampler whose draws are neither rounded to repeated values nor clipped."""
        return replace(self, form=self.form.without_exact_values())

    def draws_with_shared_noise(
        self, condition: NDArray[np.float32], n_draws: int, share: slice = slice(None)
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield draws (b, n_draws, q) for one block of b conditions after another, and its slice.

        Every condition gets the same `n_draws` noise vectors, in every call: a scrambled Sobol
        sequence with a fixed seed (a Latin hypercube, for more dimensions than SciPy's sequence
        has), mapped to the normal law. Means and quantiles over it vary far less than over as many
        independent draws, and do not depend on the other conditions. `share` takes a part of these
        vectors.
        """
        points = np.clip(self._points(n_draws)[share], 1e-6, 1 - 1e-6)  # ndtri stays finite
        shared = torch.as_tensor(ndtri(points), dtype=torch.float32, device=self.device)
        n_draws, step = len(shared), self._chunk()

        def draw(rows: slice) -> Tensor:
            block = torch.from_numpy(condition[rows]).to(self.device)
            noise = shared.repeat(len(block), 1)
            if len(block) > 1 or n_draws <= step:
                return self._draw_rows(block, noise).view(len(block), n_draws, -1)
            return torch.cat([self._draw_rows(block, part) for part in noise.split(step)])[None]

        yield from in_batches(len(condition), max(1, step // n_draws), draw)

    def _draw_rows(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Responses (b m, q) for conditions (b, p) and all noise (b m, d) that they take."""
        matcher_noise, decoder_noise = self._split(noise)
        return self.decode(self.draw_latent(condition, matcher_noise), decoder_noise)

    def _points(self, n_draws: int) -> NDArray[np.float64]:
        """Evenly spread points (n_draws, d) of the unit cube; raises where they need too much."""
        dim = sum(self.noise_dims)
        n_bytes, limit = _BYTES_PER_POINT * n_draws * (dim + self.width), available_memory()
        if n_bytes > limit:
            raise ValueError(
                f"n_draws={n_draws} takes {n_bytes / 2**30:,.1f} GiB, but "
                f"{limit / 2**30:,.1f} GiB are available; ask for fewer."
            )
        random = np.random.default_rng(0)
        if dim > qmc.Sobol.MAXDIM:
            return qmc.LatinHypercube(dim, rng=random).random(n_draws)
        # The first points of a sequence whose length is a power of two; SciPy warns of others.
        return qmc.Sobol(dim, rng=random).random_base2((n_draws - 1).bit_length())[:n_draws]

    def decode_all(self, codes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Responses (n, q) in their own units, for codes (n, k) in the autoencoder's units."""
        latent = torch.from_numpy(codes)
        parts = latent.split(rows_per_block(2 * self.autoencoder.numbers_per_row_))
        return torch.cat([self.decode(part.to(self.device)).cpu() for part in parts]).numpy()

    def _chunk(self) -> int:
        """Draws made at once: input and output of the widest layer make a block, on a GPU 16.

        On a CPU they are few: in larger chunks the layers of small networks leave the cache, and
        the system takes their memory back after each chunk. Draws then take up to twice as long.
        """
        widest = max(self.matcher.numbers_per_draw_, self.autoencoder.numbers_per_row_)
        rows = rows_per_block(2 * widest)
        return min(rows, _ROWS_ON_CPU) if self.device.type == "cpu" else _BLOCKS_ON_GPU * rows

    def _split(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The columns of `noise` for the matcher, and those for the decoder."""
        matcher_noise, decoder_noise = noise.split(self.noise_dims, dim=1)
        return matcher_noise, decoder_noise


def check_batch_size(batch_size: int | str) -> None:
    """Raise unless this is a number of draws that are made at once, or "auto"."""
    if not (isinstance(batch_size, str) and batch_size == "auto"):
        check_integer("batch_size", batch_size, 1)


def _store_places(draws: Tensor, out: NDArray[Any], places: slice) -> None:
    """Write draws (b, q) to some places among those of all conditions in `out` (n, m, ...)."""
    n_samples = out.shape[1]
    for part in _by_condition(places, n_samples):
        first, start = divmod(part.start, n_samples)
        count = part.stop - part.start
        if count % n_samples == 0:  # whole conditions
            target = out[first : first + count // n_samples]
        else:
            target = out[first, start : start + count]
        found = draws[part.start - places.start : part.stop - places.start]
        store(found.reshape(target.shape), target)


def _by_condition(places: slice, n_samples: int) -> list[slice]:
    """Cut places into those of a condition in part, of whole conditions, and of one in part."""
    first = min(-(-places.start // n_samples) * n_samples, places.stop)
    last = max(places.stop // n_samples * n_samples, first)
    cuts = pairwise([places.start, first, last, places.stop])
    return [slice(start, stop) for start, stop in cuts if start < stop]

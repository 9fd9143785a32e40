"""Whole batches on the device: resident tensors by index, larger data streamed in blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklsdm.blocks import rows_per_block
from sklsdm.responses import Responses

RESIDENT_BYTES = 2 * 2**30


def resident_limit(device: torch.device) -> int:
    """Bytes of rows that may lie on the device whole: 2 GiB, or 40 % of a GPU's free memory."""
    if device.type == "cuda":
        return int(0.4 * torch.cuda.mem_get_info(device)[0])
    return RESIDENT_BYTES


class RowBatches:
    """Shuffled batches of rows of a tensor on the device.

    An epoch passes over all rows once; where that is fewer than `min_steps` batches it goes on
    with a new shuffle until there are that many. A last batch smaller than the rest is dropped
    when it is not the only one.
    """

    def __init__(
        self, rows: Tensor, batch_size: int, random: torch.Generator, min_steps: int = 1
    ) -> None:
        self.rows = rows
        self.batch_size = min(batch_size, len(rows))
        self.random = random
        self.n_steps = max(len(rows) // self.batch_size, min_steps)

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Iterator[list[Tensor]]:
        left = self.n_steps
        per_pass = len(self.rows) // self.batch_size
        while left:
            order = torch.randperm(
                len(self.rows), generator=self.random, device=self.random.device
            ).to(self.rows.device)
            for chosen in order.split(self.batch_size)[: min(per_pass, left)]:
                yield [self.rows[chosen]]
            left -= min(per_pass, left)


class StreamedBatches:
    """Batches of responses that do not fit on the device: shuffled blocks, shuffled within.

    A block is read at once, sent to the device and batched there; rows meet across blocks only
    from one epoch to the next, since the blocks' borders move.
    """

    def __init__(
        self,
        responses: Responses,
        rows: np.ndarray,
        batch_size: int,
        random: torch.Generator,
        device: torch.device,
        block_rows: int | None = None,
    ) -> None:
        self.responses = responses
        self.rows = np.sort(rows)
        self.batch_size = min(batch_size, len(rows))
        self.random = random
        self.device = device
        self.block_rows = max(block_rows or rows_per_block(responses.width), self.batch_size)

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[Tensor]]:
        shift = int(torch.randint(self.block_rows, (1,), generator=self._cpu()).item())
        turned = np.roll(self.rows, -shift)
        blocks = np.array_split(turned, math.ceil(len(turned) / self.block_rows))
        order = torch.randperm(len(blocks), generator=self._cpu()).tolist()
        left = len(self)
        for index in order:
            block = self.responses.take(blocks[index])
            if self.device.type == "cuda":
                block = block.pin_memory()
            batches = RowBatches(
                block.to(self.device, non_blocking=True), self.batch_size, self.random
            )
            for step in batches:
                if left == 0:
                    return
                left -= 1
                yield step

    def _cpu(self) -> torch.Generator:
        seed = torch.randint(2**62, (1,), generator=self.random, device=self.random.device)
        return torch.Generator().manual_seed(int(seed.item()))


class PairBatch(NamedTuple):
    """One step's data: conditions, their codes, noise for the draws, and codes of any row."""

    condition: Tensor  # (b, p)
    latent: Tensor  # (b, k)
    noise: Tensor  # (b * n_draws, d)
    mix: Tensor  # (b, 1), uniform on [0, 1): where between real and drawn a penalty looks
    other: Tensor | None  # (b, k), codes of all responses, where stage 2 uses them


class PairBatches:
    """Batches of pairs drawn with replacement: an epoch is `n_steps` steps, however few pairs.

    Each step yields `per_step` batches (the critic's steps and the generator's). All indices of
    an epoch are drawn at once. Conditions get Gaussian noise of spread `condition_noise`.
    """

    def __init__(
        self,
        condition: Tensor,
        latent: Tensor,
        codes: Tensor | None,
        *,
        batch_size: int,
        n_steps: int,
        noise_dim: int,
        random: torch.Generator,
        per_step: int = 1,
        n_draws: int = 1,
        condition_noise: float = 0.0,
    ) -> None:
        self.condition = condition
        self.latent = latent
        self.codes = codes
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.noise_dim = noise_dim
        self.random = random
        self.per_step = per_step
        self.n_draws = n_draws
        self.condition_noise = condition_noise

    def __len__(self) -> int:
        return self.n_steps

    def _indices(self, n_rows: int) -> Tensor:
        shape = (self.n_steps, self.per_step, self.batch_size)
        return torch.randint(n_rows, shape, generator=self.random, device=self.latent.device)

    def _conditions(self, rows: Tensor) -> Tensor:
        chosen = self.condition[rows]
        if self.condition_noise == 0:
            return chosen
        noise = torch.randn(chosen.shape, generator=self.random, device=chosen.device)
        return chosen + self.condition_noise * noise

    def __iter__(self) -> Iterator[list[PairBatch]]:
        pairs = self._indices(len(self.latent))
        others = None if self.codes is None else self._indices(len(self.codes))
        mix = torch.rand((*pairs.shape, 1), generator=self.random, device=self.latent.device)
        for step in range(self.n_steps):
            noise = torch.randn(
                (self.per_step, self.batch_size * self.n_draws, self.noise_dim),
                generator=self.random,
                device=self.latent.device,
            )
            yield [
                PairBatch(
                    self._conditions(pairs[step, part]),
                    self.latent[pairs[step, part]],
                    noise[part],
                    mix[step, part],
                    None
                    if others is None or self.codes is None
                    else self.codes[others[step, part]],
                )
                for part in range(self.per_step)
            ]

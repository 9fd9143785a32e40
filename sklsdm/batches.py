"""Training batches as tensors on the device; data that does not fit there is read in blocks."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sklsdm.blocks import rows_per_block
from sklsdm.inputs.responses import Responses
from sklsdm.noise import standard_normal, standard_uniform
from sklsdm.storage.mapped import reserve

RESIDENT_BYTES = 2 * 2**30  # kept in memory at most, where there is no GPU
_RUNS = 16  # of neighbouring rows in a block that is read


def resident_limit(device: torch.device) -> int:
    """Most bytes of data kept on the device whole: 40 % of a GPU's free memory, else 2 GiB."""
    if device.type == "cuda":
        return int(0.4 * torch.cuda.mem_get_info(device)[0])
    return RESIDENT_BYTES


def room_for(n_rows: int, width: int, device: torch.device) -> Tensor:
    """An empty float32 tensor (n_rows, width).

    On the CPU the numbers of one that exceeds the limit of resident data lie in a temporary file,
    which goes with the tensor: the system keeps of it in memory what there is room for.
    """
    if device.type != "cpu" or 4 * n_rows * width <= resident_limit(device):
        return torch.empty((n_rows, width), dtype=torch.float32, device=device)
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, np.float32, "w+", shape=(n_rows, width))
        reserve(array, file, f"codes in {tempfile.gettempdir()}; set TMPDIR to another folder")
        return torch.from_numpy(array)


class RowBatches:
    """Shuffled batches of the rows of a tensor that is on the device.

    An epoch passes over the rows once. If that gives fewer than `min_steps` batches, further
    passes follow, each in a new order, until there are that many. All batches have equal size:
    rows left over at the end of a pass are skipped, and if there are fewer rows than `batch_size`,
    every batch holds all of them. Of `n_ranks` processes with equal `random`, each gets an equal
    share of every batch; a batch then has a multiple of `n_ranks` rows.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        random: torch.Generator,
        min_steps: int = 1,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.rows = rows
        self.batch_size = _divisible(min(batch_size, len(rows)), n_ranks)
        self.random = random
        self.rank, self.n_ranks = rank, n_ranks
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
                yield [self.rows[chosen[self.rank :: self.n_ranks]]]
            left -= min(per_pass, left)


def _divisible(batch_size: int, n_ranks: int) -> int:
    """The batch size, rounded down to a multiple of the number of processes."""
    if batch_size < n_ranks:
        raise ValueError(
            f"Batches of {batch_size} rows cannot be shared by {n_ranks} processes: raise "
            f"autoencoder__batch_size, or fit with fewer processes."
        )
    return batch_size // n_ranks * n_ranks


class StreamedBatches:
    """Batches of responses that do not fit on the device whole.

    `rows`, in ascending order, are those to draw from. An epoch divides them into short runs of
    neighbours, whose borders are drawn anew, and shuffles the runs. Sixteen runs at a time make a
    block, whose rows are shuffled, read, moved to the device and split into batches there. So a
    batch holds rows of sixteen places of the data, which may lie sorted. Of `n_ranks` processes
    each reads only its share of every batch.
    """

    def __init__(
        self,
        responses: Responses,
        rows: np.ndarray,
        batch_size: int,
        random: torch.Generator,
        device: torch.device,
        block_rows: int | None = None,
        rank: int = 0,
        n_ranks: int = 1,
    ) -> None:
        self.responses = responses
        self.rows = rows
        self.batch_size = _divisible(min(batch_size, len(rows)), n_ranks)
        self.random = random
        self.rank, self.n_ranks = rank, n_ranks
        self.device = device
        self.block_rows = max(block_rows or rows_per_block(responses.width), self.batch_size)

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[list[Tensor]]:
        shift = int(torch.randint(self.block_rows, (1,), generator=self._cpu_generator()).item())
        n_blocks = math.ceil(len(self.rows) / self.block_rows)
        n_runs = min(_RUNS * n_blocks, len(self.rows))
        borders = shift + np.linspace(0, len(self.rows), n_runs + 1).astype(np.int64)
        order = torch.randperm(n_runs, generator=self._cpu_generator()).numpy()
        left = len(self)
        for runs in np.array_split(order, n_blocks):
            if left == 0:  # blocks that are smaller than a batch were one batch each
                return
            places = [np.arange(borders[run], borders[run + 1]) for run in runs]
            here = self.rows[np.concatenate(places) % len(self.rows)]
            numbers = torch.from_numpy(here)
            batches = RowBatches(
                numbers, self.batch_size, self.random, rank=self.rank, n_ranks=self.n_ranks
            )
            steps = [chosen for (chosen,) in batches][:left]
            left -= len(steps)
            block = self.responses.take(torch.cat(steps).numpy())
            if self.device.type == "cuda":
                block = block.pin_memory()
            block = block.to(self.device, non_blocking=True)
            yield from ([step] for step in block.split(self.batch_size // self.n_ranks))

    def _cpu_generator(self) -> torch.Generator:
        """A generator on the CPU, seeded by the next number of `random`."""
        seed = torch.randint(2**62, (1,), generator=self.random, device=self.random.device)
        return torch.Generator().manual_seed(int(seed.item()))


class PairBatch(NamedTuple):
    """Data of one step: conditions, their codes, noise for the draws, and codes of any response."""

    condition: Tensor  # (b, p)
    latent: Tensor  # (b, k)
    noise: Tensor  # (b * n_draws, d)
    uniform: Tensor  # (b, 1), on [0, 1): where a penalty looks, a time, or a choice of block
    other: Tensor | None  # (b, k), codes of all responses, where stage 2 uses them


class PairBatches:
    """Batches of pairs drawn with replacement; an epoch has `n_steps` steps, however few pairs.

    A step is a list of `per_step` batches: one for most matchers; for an adversarial one, those of
    the critic's steps and then that of the generator's. Gaussian noise of standard deviation
    `condition_noise` is added to the conditions. `codes` are those of all responses, where stage
    2 uses them; each batch then holds some of them as `other`.
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

    def _conditions(self, rows: Tensor) -> tuple[Tensor, ...]:
        """The conditions (b, p) of each batch of a step, for `rows` (per_step, b)."""
        parts = self.condition[rows].unbind()
        if self.condition_noise == 0:
            return parts
        return tuple(part + self.condition_noise * self._noise(*part.shape) for part in parts)

    def _noise(self, *shape: int) -> Tensor:
        return standard_normal(shape, self.random)

    def __iter__(self) -> Iterator[list[PairBatch]]:
        pairs = self._indices(len(self.latent))
        others = None if self.codes is None else self._indices(len(self.codes))
        uniform = standard_uniform((*pairs.shape, 1), self.random)
        for step, rows in enumerate(pairs.unbind()):
            noise = self._noise(self.per_step, self.batch_size * self.n_draws, self.noise_dim)
            parts = [
                self._conditions(rows),
                self.latent[rows].unbind(),
                noise.unbind(),
                uniform[step].unbind(),
                [None] * self.per_step
                if others is None or self.codes is None
                else self.codes[others[step]].unbind(),
            ]
            yield list(map(PairBatch, *parts))

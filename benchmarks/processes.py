"""What a second process gains in stage 1, and what exchanging gradients would cost stage 2.

    python benchmarks/processes.py
    torchrun --standalone --nproc-per-node=2 benchmarks/processes.py

Stage 1 is five epochs of "mlp" on 50,000 rows of 784 bytes in batches of 1,024: the processor's
seconds of one process, the least of three fits, with principal components and all else that each
process does by itself. What processes wait for each other is not in them.

Stage 2 is not shared in a fit. Set beside each other are the processor's time of a step on 1,000
pairs with 13 codes, of a step with half the batch, and of a mean over the processes of as many
numbers as there are gradients. With two processes a step would be the sum of the last two.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scaling import make_rows
from torch.distributed import all_reduce

from sklsdm.autoencoders import MLPAutoencoder
from sklsdm.distributed import current_group, processes
from sklsdm.inputs.responses import Responses
from sklsdm.matchers import MATCHERS, MatchingData
from sklsdm.nets import one_thread
from sklsdm.run import Run

N_ROWS, N_PAIRS, N_CODES, N_STEPS = 50_000, 1000, 13, 200


def seconds_of(call: Callable[[], object], repeats: int = 3) -> float:
    """The least time of the processor that a call takes in this process."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def stage_1() -> float:
    """Seconds of five epochs, with all that is not shared."""
    autoencoder = MLPAutoencoder(max_epochs=5, batch_size=1024)
    responses = Responses(make_rows(N_ROWS, np.random.default_rng(0)), None)
    run = Run(torch.device("cpu"), 0, group=current_group())
    return seconds_of(lambda: autoencoder.fit(responses, N_CODES, np.arange(0), run))


def stage_2(name: str) -> tuple[float, float, float]:
    """Seconds of a step of a matcher, of one with half the batch, and of exchanging gradients."""
    random = torch.Generator().manual_seed(0)
    numbers = torch.randn((N_PAIRS, 5 + N_CODES), generator=random, dtype=torch.float32)
    none = numbers[:0]
    data = MatchingData(numbers[:, :5], numbers[:, 5:], none[:, :5], none[:, 5:])
    run = Run(torch.device("cpu"), 0)
    steps = []
    for batch_size in (256, 128):
        matcher = MATCHERS[name](max_steps=N_STEPS, batch_size=batch_size)
        steps.append(seconds_of(partial(matcher.fit, data, run)) / N_STEPS)
    if current_group() is None:
        return steps[0], steps[1], 0.0
    n_weights = sum(weight.numel() for weight in matcher.network_.parameters())
    n_exchanges = 2 if name == "wgan" else 1  # its critic has about as many weights
    gradients = torch.zeros(n_weights, dtype=torch.float32)
    exchange = seconds_of(lambda: [all_reduce(gradients) for _ in range(N_STEPS)]) / N_STEPS
    return steps[0], steps[1], n_exchanges * exchange


def main() -> None:
    """Print the figures of the first process."""
    with processes() as group, one_thread():
        seconds = stage_1()
        if group.is_first:
            print(f"stage 1: {seconds:.2f} s in each of {group.size} process(es)")
        for name in ("wgan", "diffusion"):
            step, half, exchange = (1e3 * seconds for seconds in stage_2(name))
            if group.is_first:
                print(
                    f"stage 2, {name}: {step:.2f} ms a step, {half:.2f} with half the batch, "
                    f"{exchange:.2f} to exchange gradients"
                )


if __name__ == "__main__":
    main()

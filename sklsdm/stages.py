"""The trainings of which a fit is made: their names in messages and on disk, and what may help."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """How one training of a fit is called; no two that one fit may need share a file."""

    title: str  # for progress bar, errors and logs, such as "stage 2 (matching)"
    file: str  # name of its checkpoint file, such as "stage-2.state"
    advice: str  # what to do if it diverges, such as "Lower the matcher's lr"


AUTOENCODING = Stage("stage 1 (autoencoder)", "stage-1.state", "Lower the autoencoder's lr")
SHARPENING = Stage("stage 1 (sharpening)", "sharpening.state", "Set autoencoder__critic_weight=0")

# The model that gives unpaired responses a condition: a classifier or a mixture density.
PAIRING = Stage(
    "pairing", "pairing.state", "Set unpaired='match' or 'latent', which need no pairing"
)

_LOWER_LR = "Lower the matcher's lr"
MATCHING = Stage("stage 2 (matching)", "stage-2.state", _LOWER_LR)
MATCHING_BY_CRITIC = Stage(MATCHING.title, MATCHING.file, f"{_LOWER_LR} and critic_lr")
LABELS = Stage("stage 2 (labels)", "labels.state", "Set matcher__label_weight=0")

# A `flow` that learns to draw in one step, and the start of a generator: a diffusion and then the
# regression on its draws.
DISTILLATION = Stage("stage 2 (distillation)", "distillation.state", _LOWER_LR)
_OTHER_START = "Set the matcher's start='linear'"
STARTING_DIFFUSION = Stage("stage 2 (diffusion)", "diffusion.state", _OTHER_START)
STARTING_DISTILLATION = Stage(DISTILLATION.title, DISTILLATION.file, _OTHER_START)

"""skorch nets that run every training loop; the only place that imports skorch."""

from sklsdm.nets.adversarial import AdversarialNet
from sklsdm.nets.base import TrainingNet, history_arrays, one_thread
from sklsdm.nets.callbacks import (
    HeldOutScore,
    KeepBest,
    Progress,
    Stage,
    default_callbacks,
    is_as_good,
)
from sklsdm.nets.single import SingleNet

__all__ = [
    "AdversarialNet",
    "HeldOutScore",
    "KeepBest",
    "Progress",
    "SingleNet",
    "Stage",
    "TrainingNet",
    "default_callbacks",
    "history_arrays",
    "is_as_good",
    "one_thread",
]

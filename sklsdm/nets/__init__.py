"""skorch nets, which run every training loop; only this subpackage imports skorch."""

from sklsdm.nets.adversarial import AdversarialNet
from sklsdm.nets.base import TrainingNet, history_arrays, one_thread
from sklsdm.nets.callbacks import default_callbacks
from sklsdm.nets.held_out import HeldOutScore, KeepBest, by_group, is_as_good
from sklsdm.nets.looks import FARTHEST, Look, distances_of, range_of
from sklsdm.nets.optimizers import Adam, AdamW
from sklsdm.nets.recording import are_plain, is_ours, is_recordable
from sklsdm.nets.single import SingleNet
from sklsdm.nets.users import CallbackHolder, check_callbacks, clone_to_fit

__all__ = [
    "FARTHEST",
    "Adam",
    "AdamW",
    "AdversarialNet",
    "CallbackHolder",
    "HeldOutScore",
    "KeepBest",
    "Look",
    "SingleNet",
    "TrainingNet",
    "are_plain",
    "by_group",
    "check_callbacks",
    "clone_to_fit",
    "default_callbacks",
    "distances_of",
    "history_arrays",
    "is_as_good",
    "is_ours",
    "is_recordable",
    "one_thread",
    "range_of",
]

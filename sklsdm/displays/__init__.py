"""Displays, which plot what an estimator draws; matplotlib is imported only when they plot."""

from sklsdm.displays.calibration import CalibrationDisplay
from sklsdm.displays.conditional import ConditionalSampleDisplay
from sklsdm.displays.images import ImageGridDisplay
from sklsdm.displays.latent_space import LatentSpaceDisplay
from sklsdm.displays.training import TrainingDisplay
from sklsdm.displays.unpaired_curve import UnpairedCurveDisplay

__all__ = [
    "CalibrationDisplay",
    "ConditionalSampleDisplay",
    "ImageGridDisplay",
    "LatentSpaceDisplay",
    "TrainingDisplay",
    "UnpairedCurveDisplay",
]

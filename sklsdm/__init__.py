"""Semi-supervised conditional generation by latent space distribution matching."""

from sklsdm import datasets, metrics, scorers
from sklsdm.exceptions import DistributionShiftWarning, DivergenceError
from sklsdm.generator import LSDMGenerator
from sklsdm.pipeline import SamplingPipeline, make_sampling_pipeline, sample
from sklsdm.regressor import LSDMRegressor
from sklsdm.responses import Unpaired

__version__ = "0.1.0"

__all__ = [
    "DistributionShiftWarning",
    "DivergenceError",
    "LSDMGenerator",
    "LSDMRegressor",
    "SamplingPipeline",
    "Unpaired",
    "datasets",
    "make_sampling_pipeline",
    "metrics",
    "sample",
    "scorers",
]

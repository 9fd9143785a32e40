"""Semi-supervised conditional generation by latent space distribution matching."""

from sklsdm import datasets, metrics, scorers
from sklsdm._version import __version__
from sklsdm.displays import ImageGridDisplay
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.exceptions import (
    DistributionShiftWarning,
    DivergenceError,
    DivergenceWarning,
    NotImprovedWarning,
)
from sklsdm.generator import LSDMGenerator
from sklsdm.pipeline import SamplingPipeline, diagnose, make_sampling_pipeline, sample
from sklsdm.recommended import candidates
from sklsdm.regressor import LSDMRegressor
from sklsdm.responses import Unpaired
from sklsdm.saving import load, save, skops_types
from sklsdm.search import LSDMRegressorCV

__all__ = [
    "DistributionShiftWarning",
    "DivergenceError",
    "DivergenceWarning",
    "ImageGridDisplay",
    "LSDMGenerator",
    "LSDMRegressor",
    "LSDMRegressorCV",
    "NotImprovedWarning",
    "SamplingEnsemble",
    "SamplingPipeline",
    "Unpaired",
    "__version__",
    "candidates",
    "datasets",
    "diagnose",
    "load",
    "make_sampling_pipeline",
    "metrics",
    "sample",
    "save",
    "scorers",
    "skops_types",
]

"""Semi-supervised conditional generation by latent space distribution matching."""

from sklsdm import dask, datasets, metrics, scorers
from sklsdm._version import __version__
from sklsdm.displays import (
    CalibrationDisplay,
    ConditionalSampleDisplay,
    ImageGridDisplay,
    LatentSpaceDisplay,
    TrainingDisplay,
    UnpairedCurveDisplay,
)
from sklsdm.ensemble import SamplingEnsemble
from sklsdm.exceptions import (
    DistributionShiftWarning,
    DivergenceError,
    DivergenceWarning,
    NotImprovedWarning,
)
from sklsdm.forwarding import (
    conformalize,
    diagnose,
    predict,
    predict_interval,
    predict_quantiles,
    sample,
    sample_latent,
)
from sklsdm.generator import LSDMGenerator
from sklsdm.inputs.unpaired import Unpaired
from sklsdm.pipeline import SamplingPipeline, make_sampling_pipeline
from sklsdm.recommended import candidates
from sklsdm.regressor import LSDMRegressor
from sklsdm.saving import load, save, skops_types
from sklsdm.search import LSDMRegressorCV

__all__ = [
    "CalibrationDisplay",
    "ConditionalSampleDisplay",
    "DistributionShiftWarning",
    "DivergenceError",
    "DivergenceWarning",
    "ImageGridDisplay",
    "LSDMGenerator",
    "LSDMRegressor",
    "LSDMRegressorCV",
    "LatentSpaceDisplay",
    "NotImprovedWarning",
    "SamplingEnsemble",
    "SamplingPipeline",
    "TrainingDisplay",
    "Unpaired",
    "UnpairedCurveDisplay",
    "__version__",
    "candidates",
    "conformalize",
    "dask",
    "datasets",
    "diagnose",
    "load",
    "make_sampling_pipeline",
    "metrics",
    "predict",
    "predict_interval",
    "predict_quantiles",
    "sample",
    "sample_latent",
    "save",
    "scorers",
    "skops_types",
]

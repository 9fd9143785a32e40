"""Torch modules: layers, generators, critics, fields, coders, and how they are pickled."""

from sklsdm.modules.classifiers import Cells, CodeClassifier, ImageClassifier
from sklsdm.modules.code_images import ConvCritic, ConvGenerator
from sklsdm.modules.coders import FULL_ITERATIONS, Coder, ConvCoder, LinearCoder, MLPCoder
from sklsdm.modules.condition_features import in_turn
from sklsdm.modules.critics import (
    Critic,
    Critics,
    GroupSort,
    GroupSortCritic,
    OrthonormalLinear,
)
from sklsdm.modules.feature_maps import ConvField, FeatureMapCoder
from sklsdm.modules.fields import MixtureDensity, TimeConditionedField
from sklsdm.modules.generators import ConditionalGenerator, PotentialGenerator
from sklsdm.modules.layers import ACTIVATIONS, conv_side, linear, mlp, stages_of_halving
from sklsdm.modules.packing import ModuleHolder, PackedModule, RebuildableModule
from sklsdm.modules.residuals import Residuals
from sklsdm.modules.slope_penalty import SlopePenalty
from sklsdm.modules.splines import SplineFlow, import_zuko
from sklsdm.modules.widths import widest_output

__all__ = [
    "ACTIVATIONS",
    "FULL_ITERATIONS",
    "Cells",
    "CodeClassifier",
    "Coder",
    "ConditionalGenerator",
    "ConvCoder",
    "ConvCritic",
    "ConvField",
    "ConvGenerator",
    "Critic",
    "Critics",
    "FeatureMapCoder",
    "GroupSort",
    "GroupSortCritic",
    "ImageClassifier",
    "LinearCoder",
    "MLPCoder",
    "MixtureDensity",
    "ModuleHolder",
    "OrthonormalLinear",
    "PackedModule",
    "PotentialGenerator",
    "RebuildableModule",
    "Residuals",
    "SlopePenalty",
    "SplineFlow",
    "TimeConditionedField",
    "conv_side",
    "import_zuko",
    "in_turn",
    "linear",
    "mlp",
    "stages_of_halving",
    "widest_output",
]

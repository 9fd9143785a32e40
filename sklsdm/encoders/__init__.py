"""Condition encoders: how X enters the networks of stage 2."""

from sklsdm.encoders.auto import AutoConditionEncoder
from sklsdm.encoders.base import BaseConditionEncoder
from sklsdm.encoders.lasso import LassoConditionEncoder
from sklsdm.encoders.periodic import PeriodicConditionEncoder
from sklsdm.encoders.plain import ConvConditionEncoder, FlattenConditionEncoder
from sklsdm.encoders.trees import TreesConditionEncoder

ENCODERS: dict[str, type[BaseConditionEncoder]] = {
    "auto": AutoConditionEncoder,
    "flatten": FlattenConditionEncoder,
    "conv": ConvConditionEncoder,
    "trees": TreesConditionEncoder,
    "periodic": PeriodicConditionEncoder,
    "lasso": LassoConditionEncoder,
}

__all__ = [
    "ENCODERS",
    "AutoConditionEncoder",
    "BaseConditionEncoder",
    "ConvConditionEncoder",
    "FlattenConditionEncoder",
    "LassoConditionEncoder",
    "PeriodicConditionEncoder",
    "TreesConditionEncoder",
]

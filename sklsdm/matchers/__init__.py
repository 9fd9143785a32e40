"""Stage 2: matchers, which learn to draw codes given a condition."""

from sklsdm.matchers.base import BaseMatcher
from sklsdm.matchers.data import ImagesOfCodes, MatchingData
from sklsdm.matchers.diffusion import DiffusionMatcher
from sklsdm.matchers.energy import EnergyMatcher
from sklsdm.matchers.fgan import FGANMatcher
from sklsdm.matchers.flow import FlowMatcher
from sklsdm.matchers.mdn import MDNMatcher
from sklsdm.matchers.sinkhorn import SinkhornMatcher
from sklsdm.matchers.transport import TransportMatcher
from sklsdm.matchers.wgan import WGANMatcher
from sklsdm.matchers.zuko_flow import ZukoFlowMatcher

MATCHERS: dict[str, type[BaseMatcher]] = {
    "wgan": WGANMatcher,
    "energy": EnergyMatcher,
    "fgan": FGANMatcher,
    "diffusion": DiffusionMatcher,
    "flow": FlowMatcher,
    "sinkhorn": SinkhornMatcher,
    "transport": TransportMatcher,
    "mdn": MDNMatcher,
}

__all__ = [
    "MATCHERS",
    "BaseMatcher",
    "DiffusionMatcher",
    "EnergyMatcher",
    "FGANMatcher",
    "FlowMatcher",
    "ImagesOfCodes",
    "MDNMatcher",
    "MatchingData",
    "SinkhornMatcher",
    "TransportMatcher",
    "WGANMatcher",
    "ZukoFlowMatcher",
]

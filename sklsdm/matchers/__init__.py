"""Stage 2: ways to match the generated codes to those of the pairs."""

from sklsdm.matchers.base import BaseMatcher, MatchingData
from sklsdm.matchers.energy import EnergyMatcher
from sklsdm.matchers.wgan import WGANMatcher

MATCHERS: dict[str, type[BaseMatcher]] = {
    "wgan": WGANMatcher,
    "energy": EnergyMatcher,
}

__all__ = ["MATCHERS", "BaseMatcher", "EnergyMatcher", "MatchingData", "WGANMatcher"]

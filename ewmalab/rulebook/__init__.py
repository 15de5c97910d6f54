"""What the subnet decides, as data with the dates it was in force."""

from ewmalab.rulebook.load import load_rulebook
from ewmalab.rulebook.model import Asset, Competition, Interval, Rulebook, RuleChoice, Rules, ScoringRule
from ewmalab.times import iso, parse_time

__all__ = [
    "Asset",
    "Competition",
    "Interval",
    "RuleChoice",
    "Rulebook",
    "Rules",
    "ScoringRule",
    "iso",
    "load_rulebook",
    "parse_time",
]

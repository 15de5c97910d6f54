"""What the subnet decides, as data with the dates it was in force."""

from ewmalab.rulebook.load import load_rulebook
from ewmalab.rulebook.model import Asset, Competition, Rulebook, RuleChoice, Rules, ScoringInterval, ScoringRule
from ewmalab.times import iso, parse_time

__all__ = [
    "Asset",
    "Competition",
    "RuleChoice",
    "Rulebook",
    "Rules",
    "ScoringInterval",
    "ScoringRule",
    "iso",
    "load_rulebook",
    "parse_time",
]

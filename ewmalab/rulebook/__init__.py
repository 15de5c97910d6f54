"""The subnet's rules as data, with the dates on which they were in force."""

from ewmalab.rulebook.load import load_rulebook, reload_rulebook
from ewmalab.rulebook.model import Asset, Competition, Rulebook, RuleChoice, Rules, ScoringInterval, ScoringRule

__all__ = [
    "Asset",
    "Competition",
    "RuleChoice",
    "Rulebook",
    "Rules",
    "ScoringInterval",
    "ScoringRule",
    "load_rulebook",
    "reload_rulebook",
]

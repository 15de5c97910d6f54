"""A ranking of miners: their scores from files and replays in one field, its standings, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ewmalab.analysis.competition_field import Field, Standing, moments, standings
from ewmalab.analysis.earnings import CORRECTION, Estimate, MissingEffect, estimate_earnings, missing_effects
from ewmalab.analysis.submissions import PredictionFile, find_predictions, read_scores, score_predictions
from ewmalab.errors import ConfigError, PredictionError
from ewmalab.market.feeds.make import cache_name
from ewmalab.market.remote import open_cache
from ewmalab.rulebook import Rulebook, RuleChoice
from ewmalab.settings.schema import Settings
from ewmalab.times import DAY

_SUBNET = 250  # miners, about
_SMALL = 50  # a field of fewer says little about the subnet


@dataclass(frozen=True, slots=True)
class Rewards:
    """What a ranking estimates beside the standings.

    Attributes
    ----------
    missing : sequence of float
        Shares of missed prompts whose cost is shown, of the first miner that was named.
    emission : float, optional
        All miners' reward per day; without it there are no earnings.
    unit : str
        What the emission is counted in.
    correction : float
        Realised part of the weights' promise.
    """

    missing: Sequence[float] = (0.01, 0.05, 0.2)
    emission: float | None = None
    unit: str = "alpha/day"
    correction: float = CORRECTION


def parse_shares(text: str) -> list[float]:
    """Read shares with commas between them, such as ``0.01,0.05``.

    Raises
    ------
    ConfigError
        If one is no number between 0 and 1.
    """
    try:
        shares = [float(item) for item in text.split(",") if item.strip()]
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not all(0 <= share <= 1 for share in shares):
        raise ConfigError("shares lie between 0 and 1")
    return shares


@dataclass(frozen=True, slots=True)
class Ranking:
    """Miners as validators would rank them.

    Attributes
    ----------
    when : int
        Of the last standings.
    rules : str
    synthetic : bool
    prompts : int
    miners, named : list of str
        All, and those that tables always show.
    windows : dict of competition to float
        Days of the rolling averages.
    standings : list of Standing
    missing : list of MissingEffect
    rewards : Rewards
    earnings : list of Estimate
    notes : list of str
    """

    when: int
    rules: str
    synthetic: bool
    prompts: int
    miners: list[str]
    named: list[str]
    windows: dict[str, float]
    standings: list[Standing]
    missing: list[MissingEffect]
    rewards: Rewards
    earnings: list[Estimate]
    notes: list[str]

    def plain(self) -> dict[str, Any]:
        """Return the ranking as plain data; an average that is unknown or infinite is None."""
        return {
            "when": self.when,
            "rules": self.rules,
            "synthetic": self.synthetic,
            "prompts": self.prompts,
            "miners": self.miners,
            "named": self.named,
            "windows": self.windows,
            "standings": [_finite(asdict(standing)) for standing in self.standings],
            "missing": [asdict(effect) for effect in self.missing],
            "emission": self.rewards.emission,
            "unit": self.rewards.unit,
            "correction": self.rewards.correction,
            "earnings": [asdict(estimate) for estimate in self.earnings],
            "notes": self.notes,
        }


@dataclass(frozen=True)
class FromFiles:
    """Scores of miners from files.

    Attributes
    ----------
    scores : dict of miner to Series
        CRPS, indexed by competition, asset and start time.
    notes : list of str
        What could not be scored, and what a validator would refuse.
    synthetic : bool
        Whether predictions were scored on simulated prices.
    """

    scores: dict[str, pd.Series]
    notes: list[str]
    synthetic: bool


def read_miners(
    settings: Settings,
    rulebook: Rulebook,
    choice: RuleChoice,
    folders: Sequence[Path] = (),
    tables: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> FromFiles:
    """Read scores of miners: from folders of prediction files, scored on cached prices, and from score tables.

    Parameters
    ----------
    settings : Settings
        Name cache and feed.
    rulebook, choice
        The rules.
    folders, tables : sequence of Path
    progress : callable, optional
        Called with a folder's files done and in all.

    Raises
    ------
    PredictionError
        If nothing of a folder can be scored, or a miner is in two files.
    """
    scores: dict[str, pd.Series] = {}
    notes: list[str] = []
    data = settings.data
    feed = data.scored_feed or data.feed
    name, cache = cache_name(feed, settings), open_cache(data.cache_dir)
    for folder in folders:
        files = find_predictions(folder)
        scored, remarks = score_predictions(
            _counted(files, progress), rulebook, choice, lambda asset, a, b: cache.read(name, asset, a, b)
        )
        if not scored:
            raise PredictionError(
                f"{folder}: none of {len(files)} predictions could be scored ({remarks[0]}); get the prices with "
                f"`ewmalab data fetch --feed {name}`"
            )
        _join(scores, scored, folder)
        notes += remarks
    for path in tables:
        _join(scores, read_scores(path, rulebook, choice), path)
    return FromFiles(scores, notes, bool(folders) and feed == "simulated")


def rank(field: Field, named: Sequence[str], every: int, rewards: Rewards, *, seed: int, synthetic: bool) -> Ranking:
    """Rank the miners of a field over time.

    Parameters
    ----------
    field : Field
    named : sequence of str
        Miners that tables always show; the first is the one whose missed prompts are costed.
    every : int
        Seconds between standings.
    rewards : Rewards
    seed : int
        Of the bootstrap.
    synthetic : bool
        Whether any price was simulated.

    Raises
    ------
    ExperimentError
        If no miner has a valid score.
    """
    times = moments(field, every)
    when, emission = times[-1], rewards.emission
    notes = []
    if len(field.miners) < _SMALL:
        notes.append(
            f"the field has {len(field.miners)} miners, the subnet about {_SUBNET}: weights and earnings hold within "
            "this field only; give the others' scores with --scores"
        )
    earnings: list[Estimate] = []
    if emission is not None:
        earnings = estimate_earnings(field, when, emission=emission, correction=rewards.correction, seed=seed)
    return Ranking(
        when,
        str(field.choice),
        synthetic,
        len(field.crps),
        field.miners,
        list(named),
        {name: field.competition(name, when)[0].window / DAY for name in field.boards},
        standings(field, times),
        missing_effects(field, named[0], when, rewards.missing, seed=seed) if rewards.missing else [],
        rewards,
        earnings,
        notes,
    )


def _counted(files: Sequence[PredictionFile], progress: Callable[[int, int], None] | None) -> Any:
    for number, file in enumerate(files, 1):
        yield file
        if progress:
            progress(number, len(files))


def _join(into: dict[str, pd.Series], more: Mapping[str, pd.Series], where: Path) -> None:
    twice = into.keys() & more.keys()
    if twice:
        raise PredictionError(f"{where}: miner {sorted(twice)[0]} is in another file too; give each its own name")
    into.update(more)


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """Write what JSON has no number for as None: no average, or an infinite one."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}

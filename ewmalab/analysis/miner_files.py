"""Read miners' scores from files: predictions scored on cached prices, and tables of scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ewmalab.analysis.submissions import PredictionFile, find_predictions, read_scores, score_predictions
from ewmalab.errors import PredictionError
from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.rulebook import Rulebook, RuleChoice
from ewmalab.settings.schema import Settings


@dataclass(frozen=True)
class FromFiles:
    """Scores of miners from files.

    Attributes
    ----------
    scores : dict of miner to Series
        CRPS, indexed by competition, asset and start time.
    notes : list of str
        Predictions that could not be scored, or that a validator would refuse.
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
    """Read miners' scores from folders of prediction files, scored on cached prices, and from score tables.

    Parameters
    ----------
    settings : Settings
        For cache and feed.
    rulebook, choice
        The rules.
    folders, tables : sequence of Path
    progress : callable, optional
        Called with the numbers of finished and of all files of a folder.

    Raises
    ------
    PredictionError
        If no file of a folder can be scored, or a miner is in two inputs.
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

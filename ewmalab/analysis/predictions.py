"""Judge a prediction file as validators do: its format, and its CRPS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.analysis.prediction_files import read_prediction
from ewmalab.errors import MissingDataError, PredictionError
from ewmalab.market.cache import Cache
from ewmalab.rulebook import Competition, Rulebook, RuleChoice
from ewmalab.scoring.crps import score_paths
from ewmalab.scoring.validation import validate_response
from ewmalab.times import MINUTE, iso


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction and its competition.

    Attributes
    ----------
    path : Path
    answer : list
        ``[start, increment, [path], ...]``.
    start : int
    competition : Competition
    verdicts : mapping of response format to text
        ``CORRECT``, or a validator's message; one per dated format rule.
    """

    path: Path
    answer: list[Any]
    start: int
    competition: Competition
    verdicts: Mapping[str, str]

    @classmethod
    def read(cls, path: Path, competition: str, rulebook: Rulebook, choice: RuleChoice) -> Prediction:
        """Read a file and judge its format.

        Parameters
        ----------
        path : Path
        competition : str
            Its name, or its horizon, because competitions of one horizon share their grid.
        rulebook, choice
            The rules.

        Raises
        ------
        PredictionError, RulebookError
        """
        answer = read_prediction(path)
        if not answer or isinstance(answer[0], bool) or not isinstance(answer[0], int):
            raise PredictionError(f"{path}: the first item must be the start time, whole seconds since 1970-01-01 UTC")
        chosen = choice.at(rulebook, answer[0]).select([competition])[0]
        verdicts: dict[str, str] = {n: _verdict(answer, chosen, n) for n in rulebook.response_formats()}
        return cls(path, answer, answer[0], chosen, verdicts)

    def score(self, realised: npt.NDArray[np.float64]) -> PredictionScore:
        """Score the paths against realised prices on the prompt's grid, NaN where missing.

        Raises
        ------
        PredictionError
            If the paths are not a table of numbers.
        """
        try:
            paths = np.array(self.answer[2:], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise PredictionError(f"{self.path}: its paths are not a table of numbers: {error}") from error
        rule = self.competition.scoring
        found = score_paths(paths, realised, rule, self.competition.time_increment)
        return PredictionScore(
            self.competition.name,
            rule.name,
            self.start,
            total=found.total,
            intervals=dict(found.intervals),
            volatility_term=found.volatility_term,
            has_volatility_term=bool(rule.volatility_blocks),
            changes=found.changes,
            verdicts=self.verdicts,
        )

    def realised(self, cache: Cache, feed: str, asset: str) -> npt.NDArray[np.float64]:
        """Return the cached prices on the prompt's grid: (steps + 1,), NaN where missing.

        Raises
        ------
        MissingDataError
            If they were never fetched.
        """
        grid = self.start + self.competition.time_increment * np.arange(self.competition.steps + 1)
        end = int(grid[-1]) + MINUTE
        if cache.missing(feed, asset, self.start, end):
            raise MissingDataError(
                f"the cache lacks bars of {feed} {asset} between {iso(self.start)} and {iso(end)}; get them with\n"
                f"  ewmalab data fetch --feed {feed} --assets {asset} --start {iso(self.start)[:10]} --days 2"
            )
        return cache.read(feed, asset, self.start, end).closes_at(grid)


@dataclass(frozen=True, slots=True)
class PredictionScore:
    """CRPS of a prediction, basis points.

    Attributes
    ----------
    competition, rule : str
    start : int
    total : float
        -1 if validators refuse the paths.
    intervals : mapping of interval to float
    volatility_term : float
    has_volatility_term : bool
        Whether the rule has one.
    changes : int
        Number of scored price changes.
    verdicts : mapping of response format to text
    """

    competition: str
    rule: str
    start: int
    total: float
    intervals: Mapping[str, float]
    volatility_term: float
    has_volatility_term: bool
    changes: int
    verdicts: Mapping[str, str]

    def plain(self) -> dict[str, Any]:
        """Return the score as plain data."""
        return {
            "competition": self.competition,
            "rule": self.rule,
            "start": iso(self.start),
            "total": self.total,
            "intervals": dict(self.intervals),
            "volatility_term": self.volatility_term,
            "changes": self.changes,
            "format": dict(self.verdicts),
        }


def _verdict(answer: list[Any], competition: Competition, response_format: str) -> str:
    return validate_response(
        answer,
        start_time=answer[0],
        time_increment=competition.time_increment,
        time_length=competition.time_length,
        num_simulations=competition.num_simulations,
        response_format=response_format,
        process_time="0",  # a file is not late
    )

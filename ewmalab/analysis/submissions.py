"""Score prediction files as sent to validators, and read tables of miners' scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ewmalab.analysis.compare import KEY
from ewmalab.analysis.prediction_files import read_prediction
from ewmalab.analysis.tables import first_row, read_table, seconds_of, whole_numbers
from ewmalab.errors import PredictionError
from ewmalab.forecast.protocol import Prompt
from ewmalab.inference.aggregate import Floats
from ewmalab.market.bars import Bars
from ewmalab.replay.engine import realised_path
from ewmalab.replay.schedule import Scheduled, scheduled_at
from ewmalab.rulebook import Competition, Rulebook, RuleChoice, Rules
from ewmalab.scoring.crps import INVALID, score_paths
from ewmalab.scoring.validation import CORRECT, validate_response
from ewmalab.times import MINUTE, parse_time

# YYYY-MM-DD_HH:MM:SSZ_{ASSET}_{time_length}.json, as the subnet's own backtester names them. Some file systems allow no
# colon in a name, so a dash or nothing is accepted too.
_NAME = re.compile(r"(\d{4}-\d\d-\d\d)[_T](\d\d)[:-]?(\d\d)[:-]?(\d\d)Z?_([A-Z0-9]+)_(\d+)\.json")
_COLUMNS = {
    "miner": ("miner", "miner_uid", "uid"),
    "crps": ("crps", "total_crps"),
    "asset": ("asset",),
    "start_time": ("start_time",),
    "scored_time": ("scored_time",),
    "time_length": ("time_length",),
    "competition": ("competition",),
}


@dataclass(frozen=True, slots=True)
class PredictionFile:
    """A prediction file and the fields of its name."""

    path: Path
    miner: str
    start_time: int
    asset: str
    time_length: int


def find_predictions(folder: Path) -> list[PredictionFile]:
    """Return the prediction files below a folder, by miner and time.

    The miner is the folder above ``predictions/``, else the file's folder.

    Raises
    ------
    PredictionError
        If there are no prediction files.
    """
    found = []
    for path in sorted(folder.rglob("*.json")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        day, hour, minute, second, asset, length = match.groups()
        home = path.parent.parent if path.parent.name == "predictions" else path.parent
        start = parse_time(f"{day}T{hour}:{minute}:{second}Z")
        found.append(PredictionFile(path, home.name, start, asset, int(length)))
    if not found:
        raise PredictionError(
            f"{folder}: no prediction file; they are named YYYY-MM-DD_HH:MM:SSZ_ASSET_SECONDS.json, e.g. "
            "2026-01-15_00:00:00Z_BTC_86400.json"
        )
    return sorted(found, key=lambda f: (f.miner, f.start_time, f.asset, f.time_length))


def find_competition(
    rulebook: Rulebook, choice: RuleChoice, start_time: int, asset: str, time_length: int, what: str
) -> Competition:
    """Return the competition that a prompt belonged to.

    Parameters
    ----------
    rulebook, choice
        The rules.
    start_time : int
        Seconds since 1970-01-01 UTC.
    asset : str
    time_length : int
        Seconds.
    what : str
        Source of the prompt, for the message.

    Raises
    ------
    PredictionError
        If none fits.
    """
    for competition in choice.at(rulebook, start_time).competitions.values():
        if competition.time_length == time_length and asset in competition.assets:
            return competition
    raise PredictionError(
        f"{what}: no competition of {time_length} s has {asset} under the rules of that time; choose --rules"
    )


def score_predictions(
    files: Iterable[PredictionFile], rulebook: Rulebook, choice: RuleChoice, realised: Callable[[str, int, int], Bars]
) -> tuple[dict[str, pd.Series], list[str]]:
    """Score prediction files as a validator would.

    Parameters
    ----------
    files : iterable of PredictionFile
    rulebook, choice
        The rules.
    realised : callable
        Called with an asset and a range of labels; returns the bars.

    Returns
    -------
    scores : dict of miner to Series
        CRPS, indexed by competition, asset and start time; -1 if a validator refuses the answer.
    notes : list of str
        Files that could not be scored, or that a validator refuses; the others are scored all the same.

    """
    scores: dict[str, dict[tuple[str, str, int], float]] = {}
    notes = []
    for file in files:
        what = str(file.path)
        try:
            competition = find_competition(rulebook, choice, file.start_time, file.asset, file.time_length, what)
            prompt = scheduled_at(competition, file.asset, file.start_time).prompt
            truth, reason = realised_path(realised(file.asset, prompt.start_time, _settled(prompt)), prompt)
            own, key = scores.setdefault(file.miner, {}), (competition.name, file.asset, file.start_time)
            if reason is None and key in own:
                reason = f"a second prediction of {file.miner} for the same prompt"
            if reason is not None:
                notes.append(f"{what}: not scored: {reason}")
                continue
            own[key], verdict = _score(file.path, prompt, truth, competition, choice.at(rulebook, file.start_time))
        except PredictionError as error:
            notes.append(f"{what}: not scored: {str(error).removeprefix(f'{what}: ')}")
            continue
        if verdict != CORRECT:
            notes.append(f"{what}: a validator refuses it: {verdict}")
        elif own[key] == INVALID:
            notes.append(f"{what}: a validator gives it no score: a price is zero, or a change is not finite")
    found = {miner: pd.Series(own, dtype=np.float64) for miner, own in scores.items() if own}
    return found, notes


def _settled(prompt: Prompt) -> int:
    """Return the end of the range of labels that settle a prompt."""
    return prompt.start_time + prompt.time_length + 2 * MINUTE


def _score(path: Path, prompt: Prompt, truth: Floats, competition: Competition, rules: Rules) -> tuple[float, str]:
    """Return a prediction's CRPS and the verdict on its format."""
    answer = read_prediction(path)
    verdict = validate_response(
        answer,
        start_time=prompt.start_time,
        time_increment=prompt.time_increment,
        time_length=prompt.time_length,
        num_simulations=prompt.num_simulations,
        response_format=rules.response_format,
        process_time=1.0,
    )
    if verdict != CORRECT:
        return INVALID, verdict
    paths = np.array(answer[2:], np.float64)
    return score_paths(paths, truth, competition.scoring, prompt.time_increment).total, verdict


def read_scores(path: Path, rulebook: Rulebook, choice: RuleChoice) -> dict[str, pd.Series]:
    """Read a table of miners' CRPS: CSV or Parquet, one row per miner and prompt.

    Required are a miner (``miner``, ``miner_uid`` or ``uid``), ``asset``, CRPS (``crps`` or ``total_crps``; -1 or empty
    if there was no valid answer), the prompt's time (``start_time``, or ``scored_time``, the end of its path) and its
    competition (``competition`` or ``time_length``). Times are seconds or ISO strings.

    Raises
    ------
    PredictionError
        If the file cannot be read, or a column is missing or unusable.
    """
    columns = _columns(path)
    assets = columns["asset"].astype(str).str.upper()
    if "time_length" in columns:
        lengths = whole_numbers(columns["time_length"], path)
    else:
        lengths = np.array([rulebook.horizon(str(name)) for name in columns["competition"]], np.int64)
    if "start_time" in columns:
        starts = seconds_of(columns["start_time"], path)
    else:
        starts = seconds_of(columns["scored_time"], path) - lengths
        starts -= starts % MINUTE
    names = [
        find_competition(rulebook, choice, int(start), asset, int(length), str(path)).name
        for start, asset, length in zip(starts, assets, lengths, strict=True)
    ]
    series = pd.Series(_crps(columns["crps"], path), pd.MultiIndex.from_arrays([names, assets, starts], names=KEY))
    miners = columns["miner"].astype(str).to_numpy()
    return {miner: series[miners == miner] for miner in dict.fromkeys(miners)}


def _columns(path: Path) -> dict[str, pd.Series]:
    """Return a table's columns by content."""
    table = read_table(path)
    found = {kind: next((n for n in names if n in table.columns), None) for kind, names in _COLUMNS.items()}
    lacking = [" or ".join(_COLUMNS[kind]) for kind in ("miner", "crps", "asset") if found[kind] is None]
    for one, other in (("start_time", "scored_time"), ("time_length", "competition")):
        if found[one] is None and found[other] is None:
            lacking.append(f"{one} or {other}")
    if lacking:
        raise PredictionError(
            f"{path}: it lacks {', '.join(lacking)}; its columns are {', '.join(map(str, table.columns))}"
        )
    columns = {kind: table[name] for kind, name in found.items() if name is not None}
    for kind in ("miner", "asset"):
        if columns[kind].isna().any():
            raise PredictionError(f"{path}: row {first_row(columns[kind].isna())} has no {columns[kind].name}")
    if not len(table):
        raise PredictionError(f"{path}: it holds no scores")
    return columns


def _crps(column: pd.Series, path: Path) -> Floats:
    """Return CRPS, -1 if there was no valid answer."""
    numbers = pd.to_numeric(column, errors="coerce")
    unread = numbers.isna() & column.notna()
    if unread.any():
        raise PredictionError(
            f"{path}: row {first_row(unread)}: {column[unread].iloc[0]!r} is not a CRPS; leave it empty if there was "
            "no answer"
        )
    crps = numbers.fillna(INVALID).to_numpy(np.float64)
    if ((crps < 0) & (crps != INVALID)).any() or np.isinf(crps).any():
        raise PredictionError(f"{path}: a CRPS is a number of at least 0, or -1 for an invalid answer")
    return crps


def prompts_of(
    scores: dict[str, pd.Series], rulebook: Rulebook, choice: RuleChoice, request_lead: int
) -> list[Scheduled]:
    """Return the prompts that any of the miners was scored on, so that forecasters can be replayed on the same.

    Parameters
    ----------
    scores : dict of miner to Series
        Indexed by competition, asset and start time.
    rulebook, choice
        The rules.
    request_lead : int
        Seconds between a prompt's request and its start time; 0: as the rulebook says.
    """
    found = []
    for name, asset, start in {key for series in scores.values() for key in series.index}:
        competition = choice.at(rulebook, int(start)).competitions[name]
        found.append(scheduled_at(competition, asset, int(start), request_lead))
    return sorted(found, key=lambda item: item.prompt)

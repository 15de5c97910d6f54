"""Read the start times of real prompts from a file, to replay exactly these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ewmalab.analysis.submissions import find_competition
from ewmalab.analysis.tables import first_row, read_table, seconds_of, whole_numbers
from ewmalab.errors import PredictionError
from ewmalab.replay.schedule import Scheduled, scheduled_at
from ewmalab.rulebook import Rulebook, RuleChoice
from ewmalab.times import MINUTE, iso


def read_prompts(
    path: Path,
    rulebook: Rulebook,
    choice: RuleChoice,
    *,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
    request_lead: int = 0,
    num_simulations: int | None = None,
) -> list[Scheduled]:
    """Read prompts from CSV, Parquet or JSON, one row per prompt, and return them in time order.

    Required are ``start_time`` (seconds, or ISO texts), ``asset``, and ``time_length`` (seconds) or ``competition``.
    Repeated rows count once.

    Parameters
    ----------
    path : Path
    rulebook, choice
        The rules.
    competitions, assets : sequence of str, optional
        Only these; names as in `ewmalab.replay.schedule.schedule`.
    request_lead : int
        Seconds between a prompt's request and its start time; 0: as the rulebook says.
    num_simulations : int, optional
        Paths per prompt, instead of the rulebook's.

    Raises
    ------
    PredictionError
        If the file cannot be read, lacks a column, or holds no prompt that is wanted.
    RulebookError
        If an asset is unknown.
    """
    table = read_table(path)
    lacking = [name for name in ("start_time", "asset") if name not in table.columns]
    if "time_length" not in table.columns and "competition" not in table.columns:
        lacking.append("time_length or competition")
    if lacking:
        raise PredictionError(
            f"{path}: it lacks {', '.join(lacking)}; its columns are {', '.join(map(str, table.columns))}"
        )
    for name in ("start_time", "asset"):
        if table[name].isna().any():
            raise PredictionError(f"{path}: row {first_row(table[name].isna())} has no {name}")
    starts = seconds_of(table["start_time"], path)
    if (starts % MINUTE != 0).any():
        row = first_row(starts % MINUTE != 0)
        raise PredictionError(f"{path}: row {row}: {iso(int(starts[row - 1]))}: prompts start on whole minutes")
    symbols = table["asset"].astype(str).str.upper()
    for symbol in dict.fromkeys(symbols):
        rulebook.asset(symbol)
    if "time_length" in table.columns:
        lengths = whole_numbers(table["time_length"], path)
    else:
        lengths = np.array([rulebook.horizon(str(name)) for name in table["competition"]], np.int64)
    found: dict[tuple[int, str, int], Scheduled] = {}
    for start, asset, length in zip(starts.tolist(), symbols, lengths.tolist(), strict=True):
        if assets is not None and asset not in assets:
            continue
        competition = find_competition(rulebook, choice, start, asset, length, str(path))
        if competition.is_among(competitions):
            found[start, asset, length] = scheduled_at(competition, asset, start, request_lead, num_simulations)
    if not found:
        raise PredictionError(f"{path}: none of its {len(table)} prompts is of the wanted assets and competitions")
    return sorted(found.values(), key=lambda item: item.prompt)

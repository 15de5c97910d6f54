"""Results as a table, one row per forecaster and prompt, and their summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ewmalab.forecast.protocol import Prompt
from ewmalab.inference.aggregate import Bins, Ints, Means, paired
from ewmalab.replay.engine import Row
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring.calibration import HORIZONS
from ewmalab.times import DAY, iso

CRPS = "crps_"
_CHECKS = ("pit", "error", "spread")
_GROUP = ("competition", "asset", "forecaster")
SUMMARISED = [*_GROUP, "start_time", "crps"]
"""Columns that `summarise` reads."""
_FIXED = pa.schema(
    [
        ("forecaster", pa.string()),
        ("asset", pa.string()),
        ("competition", pa.string()),
        ("start_time", pa.int64()),
        ("request_time", pa.int64()),
        ("rule", pa.string()),
        ("anchor", pa.float64()),
        ("anchor_time", pa.int64()),
        ("crps", pa.float64()),
        ("changes", pa.int32()),
        ("volatility_term", pa.float64()),
        ("reason", pa.string()),
    ]
)


_ROWS = 4096  # rows that are held as objects; as columns they take a tenth of the memory


def results_schema(rules: Iterable[ScoringRule], prompts: Iterable[Prompt]) -> pa.Schema:
    """Return the columns of results of some prompts under some rules.

    CRPS per scoring interval is in columns ``crps_<interval>`` (basis points), and the calibration of the prompt in
    ``pit_<horizon>``, ``error_<horizon>`` and ``spread_<horizon>`` (horizons in seconds; see `HorizonCheck`). Null
    marks what was not scored, and an interval or a horizon that the prompt does not have.
    """
    intervals = dict.fromkeys(interval.name for rule in rules for interval in rule.intervals)
    grids = {(prompt.time_increment, prompt.time_length) for prompt in prompts}
    horizons = [h for h in HORIZONS if any(h <= length and h % step == 0 for step, length in grids)]
    checks = [f"{what}_{horizon}" for horizon in horizons for what in _CHECKS]
    return pa.schema(
        [
            *_FIXED,
            *(pa.field(f"{CRPS}{name}", pa.float64()) for name in intervals),
            *(pa.field(name, pa.float32()) for name in checks),
        ]
    )


def results_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Return rows as the columns of a schema from `results_schema`."""
    columns: dict[str, list[Any]] = {
        "forecaster": [row.forecaster for row in rows],
        "asset": [row.prompt.asset for row in rows],
        "competition": [row.prompt.competition for row in rows],
        "start_time": [row.prompt.start_time for row in rows],
        "request_time": [row.prompt.request_time for row in rows],
        "rule": [row.rule for row in rows],
        "anchor": [row.anchor for row in rows],
        "anchor_time": [row.anchor_time for row in rows],
        "crps": [row.score.total if row.score else None for row in rows],
        "changes": [row.score.changes if row.score else None for row in rows],
        "volatility_term": [row.score.volatility_term if row.score else None for row in rows],
        "reason": [row.reason for row in rows],
    }
    checks = [{check.horizon: check for check in row.horizons} for row in rows]
    for name in schema.names[len(columns) :]:
        what, _, part = name.partition("_")
        if name.startswith(CRPS):
            columns[name] = [row.score.intervals.get(part) if row.score else None for row in rows]
        else:
            columns[name] = [getattr(check.get(int(part)), what, None) for check in checks]
    return pa.table(columns, schema=schema)


def collect(blocks: Iterable[Sequence[Row]], forecasters: Sequence[str], schema: pa.Schema) -> pa.Table:
    """Return rows as a table ordered by forecaster, start time, competition and asset.

    Parameters
    ----------
    blocks : iterable of sequences of Row
        From `ewmalab.replay.engine.replay`.
    forecasters : sequence of str
        Their order.
    schema : pyarrow.Schema
    """
    tables: list[pa.Table] = []
    held: list[Row] = []
    for block in blocks:
        held += block
        if len(held) >= _ROWS:
            tables.append(results_table(held, schema))
            held = []
    return ordered([*tables, results_table(held, schema)], forecasters)


def ordered(tables: Sequence[pa.Table], forecasters: Sequence[str]) -> pa.Table:
    """Join tables and order their rows by forecaster, start time, competition and asset."""
    table = pa.concat_tables(tables)
    place = pc.index_in(table["forecaster"], pa.array(list(forecasters)))
    keys = [
        ("place", "ascending"),
        *((name, "ascending") for name in ("start_time", "competition", "asset", "request_time")),
    ]
    return table.take(pc.sort_indices(table.append_column("place", place), sort_keys=keys))


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """The scores of one forecaster on one competition and asset.

    Attributes
    ----------
    competition, asset, forecaster : str
    prompts, scored : int
    mean_crps, sd_crps : float or None
        Basis points; None if no prompt (for the deviation: fewer than two) is scored.
    change : float or None
        Relative difference of mean CRPS from the baseline's on the prompts that both have scored; None for the
        baseline itself, and if there are none.
    daily : mapping of str to float
        The change on each day of start times, by date.
    """

    competition: str
    asset: str
    forecaster: str
    prompts: int
    scored: int
    mean_crps: float | None
    sd_crps: float | None
    change: float | None
    daily: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return the row as ``summary.json`` holds it."""
        return asdict(self)

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> SummaryRow:
        """Read a row of a ``summary.json``; those of older versions lack the days."""
        return cls(**{"daily": {}, **row})


def summarise(table: pa.Table, baseline: str) -> list[SummaryRow]:
    """Return mean CRPS per competition, asset and forecaster.

    Parameters
    ----------
    table : pyarrow.Table
        From `results_table`.
    baseline : str
        The forecaster that the others are compared with.
    """
    names, codes = zip(*(_coded(table[name]) for name in _GROUP), strict=True)
    competition, asset, forecaster = codes
    crps, start = (table[name].to_numpy(zero_copy_only=False) for name in ("crps", "start_time"))
    bins = Bins.of(*codes)
    is_baseline = np.isin(forecaster, [names[2].index(baseline)])
    own, reference = paired(Bins.of(competition, asset, start), is_baseline, crps)
    own[is_baseline] = np.nan  # the baseline is not compared with itself
    means = Means.of(bins, {"crps": crps, "own": own, "reference": reference})
    mean, scored = means.mean("crps"), means.count["crps"]
    squares = Means.of(bins, {"crps": (crps - mean[bins.of_row]) ** 2}).total["crps"]
    change = _changes(means)
    daily: dict[tuple[int, ...], dict[str, float]] = {}
    by_day = Bins.of(*codes, start // DAY)
    for (*group, day), ratio in _changes(Means.of(by_day, {"own": own, "reference": reference})).items():
        daily.setdefault(tuple(group), {})[iso(day * DAY)[:10]] = ratio
    rows = []
    for key, size, count, average, square in zip(bins.keys, bins.sizes, scored, mean, squares, strict=True):
        known = float(average) if count else None
        sd = float(np.sqrt(square / (count - 1))) if count > 1 else None
        first, second, third = (values[code] for values, code in zip(names, key, strict=True))
        changes = change.get(key), daily.get(key, {})
        rows.append(SummaryRow(first, second, third, int(size), int(count), known, sd, *changes))
    order = {name: i for i, name in enumerate(pc.unique(table["forecaster"]).to_pylist())}
    return sorted(rows, key=lambda row: (row.competition, row.asset, order[row.forecaster]))


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """Return the values of a column of texts, and the index of each row's."""
    values = pc.unique(column).to_pylist()
    return values, pc.index_in(column, pa.array(values, pa.string())).to_numpy().astype(np.int64)


def daily_changes(summary: Sequence[SummaryRow]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the mean change over the assets on each day, by competition and forecaster."""
    found = [(r.competition, r.forecaster, day, change) for r in summary for day, change in r.daily.items()]
    if not found:
        return {}
    competition, forecaster, day, change = zip(*found, strict=True)
    means = Means.of(Bins.of(competition, forecaster, day), {"change": change})
    out = {(row.competition, row.forecaster): dict[str, float]() for row in summary if row.daily}
    for (name, own, date), mean in zip(means.keys, means.mean("change"), strict=True):
        out[name, own][date] = float(mean)
    return out


def _changes(means: Means) -> dict[tuple[Any, ...], float]:
    """Return the relative difference of the means of pairs, by bin; bins without pairs are left out."""
    pairs = zip(means.keys, means.count["own"], means.mean("own"), means.mean("reference"), strict=True)
    return {key: float(own / reference - 1) for key, count, own, reference in pairs if count}

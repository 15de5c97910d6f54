"""Results as a table, one row per forecaster and prompt, and their summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ewmalab.inference.aggregate import Bins, Means, paired
from ewmalab.replay.engine import Row
from ewmalab.times import DAY, iso

_GROUP = ("competition", "asset", "forecaster")
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


def results_table(rows: Sequence[Row]) -> pa.Table:
    """Return the rows as columns.

    CRPS per scoring interval is in columns ``crps_<interval>`` (basis points), and the calibration of the prompt in
    ``pit_<horizon>``, ``error_<horizon>`` and ``spread_<horizon>`` (horizons in seconds; see `HorizonCheck`). Null
    marks what was not scored, and an interval or a horizon that the prompt does not have.
    """
    intervals = list(dict.fromkeys(name for row in rows if row.score for name in row.score.intervals))
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
    schema = _FIXED
    for name in intervals:
        columns[f"crps_{name}"] = [row.score.intervals.get(name) if row.score else None for row in rows]
        schema = schema.append(pa.field(f"crps_{name}", pa.float64()))
    checks = [{check.horizon: check for check in row.horizons} for row in rows]
    for horizon in sorted(set().union(*checks)):
        for what in ("pit", "error", "spread"):
            columns[f"{what}_{horizon}"] = [
                getattr(check[horizon], what) if horizon in check else None for check in checks
            ]
            schema = schema.append(pa.field(f"{what}_{horizon}", pa.float64()))
    return pa.table(columns, schema=schema)


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
    competition, asset, forecaster = (np.array(table[name].to_pylist(), str) for name in _GROUP)
    crps, start = (table[name].to_numpy(zero_copy_only=False) for name in ("crps", "start_time"))
    bins = Bins.of(competition, asset, forecaster)
    own, reference = paired(Bins.of(competition, asset, start), forecaster == baseline, crps)
    own[forecaster == baseline] = np.nan  # the baseline is not compared with itself
    means = Means.of(bins, {"crps": crps, "own": own, "reference": reference})
    mean, scored = means.mean("crps"), means.count["crps"]
    squares = Means.of(bins, {"crps": (crps - mean[bins.of_row]) ** 2}).total["crps"]
    change = _changes(means)
    daily: dict[tuple[str, ...], dict[str, float]] = {}
    by_day = Bins.of(competition, asset, forecaster, start // DAY)
    for (*group, day), ratio in _changes(Means.of(by_day, {"own": own, "reference": reference})).items():
        daily.setdefault(tuple(group), {})[iso(day * DAY)[:10]] = ratio
    rows = []
    for key, size, count, average, square in zip(bins.keys, bins.sizes, scored, mean, squares, strict=True):
        known = float(average) if count else None
        sd = float(np.sqrt(square / (count - 1))) if count > 1 else None
        own_days = daily.get(key, {})
        rows.append(SummaryRow(key[0], key[1], key[2], int(size), int(count), known, sd, change.get(key), own_days))
    order = {name: i for i, name in enumerate(dict.fromkeys(forecaster.tolist()))}
    return sorted(rows, key=lambda row: (row.competition, row.asset, order[row.forecaster]))


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

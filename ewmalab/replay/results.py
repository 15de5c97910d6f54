"""Results as a table: one row per forecaster and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ewmalab.replay.engine import Row
from ewmalab.times import DAY, iso

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

    CRPS per scoring interval stands in columns ``crps_<interval>`` (basis points), and what a prompt tells of the
    forecast's calibration in ``pit_<horizon>``, ``error_<horizon>`` and ``spread_<horizon>`` (horizons in seconds; see
    `HorizonCheck`). Null marks what was not scored, and an interval or a horizon that the prompt does not have.
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


def summarise(table: pa.Table, baseline: str) -> list[dict[str, Any]]:
    """Return mean CRPS per competition, asset and forecaster, as plain dicts.

    Parameters
    ----------
    table : pyarrow.Table
        From `results_table`.
    baseline : str
        The forecaster that the others are compared with, on the prompts both have a score for.

    Returns
    -------
    list of dict
        ``competition, asset, forecaster, prompts, scored, mean_crps, sd_crps`` and ``change``, the relative
        difference from the baseline (None for the baseline itself, or where nothing is scored), and ``daily``, that of
        each day of start times (by its date), where both have a score.
    """
    keys = list(zip(*(table[c].to_pylist() for c in ("competition", "asset", "forecaster")), strict=True))
    crps = table["crps"].to_numpy(zero_copy_only=False).astype(np.float64)
    start = table["start_time"].to_numpy()
    members: dict[tuple[str, str, str], list[int]] = {}
    for i, key in enumerate(keys):
        members.setdefault(key, []).append(i)
    out: list[dict[str, Any]] = []
    for competition, asset, forecaster in sorted(members, key=lambda k: (k[0], k[1])):
        at = members[competition, asset, forecaster]
        values = crps[at]
        scored = ~np.isnan(values)
        change, daily = None, dict[str, float]()
        other = members.get((competition, asset, baseline))
        if forecaster != baseline and other is not None and np.array_equal(start[at], start[other]):
            both = scored & ~np.isnan(crps[other])
            if both.any():
                change = float(values[both].mean() / crps[other][both].mean() - 1)
                days = start[at] // DAY
                for day in np.unique(days[both]):
                    those = both & (days == day)
                    ratio = float(values[those].mean() / crps[other][those].mean())
                    daily[iso(int(day) * DAY)[:10]] = ratio - 1
        out.append(
            {
                "competition": competition,
                "asset": asset,
                "forecaster": forecaster,
                "prompts": len(at),
                "scored": int(scored.sum()),
                "mean_crps": float(values[scored].mean()) if scored.any() else None,
                "sd_crps": float(values[scored].std(ddof=1)) if scored.sum() > 1 else None,
                "change": change,
                "daily": daily,
            }
        )
    return out

"""Comparing two experiments prompt by prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment

Key = tuple[str, str, int]  # competition, asset, start time


def compare(
    one: Experiment,
    other: Experiment,
    *,
    forecasters: tuple[str | None, str | None] = (None, None),
    common: bool = False,
) -> list[dict[str, Any]]:
    """Return the difference of mean CRPS per competition and asset, on the same prompts.

    Parameters
    ----------
    one, other : Experiment
    forecasters : pair of str, optional
        Which forecaster of each; needed where an experiment holds several.
    common : bool
        Compare the prompts that both have, instead of refusing different sets.

    Returns
    -------
    list of dict
        ``competition, asset, prompts, mean_a, mean_b, difference, change, share_b_better``.

    Raises
    ------
    ExperimentError
        If the prompts or their scoring rules differ, or a forecaster is not there.
    """
    a, b = _scores(one, forecasters[0]), _scores(other, forecasters[1])
    if a.keys() != b.keys() and not common:
        raise ExperimentError(
            f"{one.name} scored {len(a)} prompts, {other.name} {len(b)}, and they share {len(a.keys() & b.keys())}; "
            "pass --common to compare those that both have"
        )
    shared = sorted(a.keys() & b.keys())
    if not shared:
        raise ExperimentError(f"{one.name} and {other.name} have no prompt in common")
    differing = [key for key in shared if a[key][1] != b[key][1]]
    if differing:
        raise ExperimentError(f"{len(differing)} prompts were scored by different rules, e.g. {differing[0]}")
    groups: dict[tuple[str, str], list[Key]] = {}
    for key in shared:
        groups.setdefault(key[:2], []).append(key)
    out = []
    for (competition, asset), keys in groups.items():
        x, y = np.array([a[k][0] for k in keys]), np.array([b[k][0] for k in keys])
        out.append(
            {
                "competition": competition,
                "asset": asset,
                "prompts": len(keys),
                "mean_a": float(x.mean()),
                "mean_b": float(y.mean()),
                "difference": float((y - x).mean()),
                "change": float(y.mean() / x.mean() - 1),
                "share_b_better": float((y < x).mean()),
            }
        )
    return out


def _scores(experiment: Experiment, forecaster: str | None) -> dict[Key, tuple[float, str]]:
    table: pa.Table = experiment.results
    names = list(dict.fromkeys(table["forecaster"].to_pylist()))
    chosen = forecaster or names[0]
    if chosen not in names:
        raise ExperimentError(f"{experiment.name} has no forecaster {chosen!r}; it has {', '.join(names)}")
    columns = [table[c].to_pylist() for c in ("forecaster", "competition", "asset", "start_time", "crps", "rule")]
    return {
        (competition, asset, start): (crps, rule)
        for name, competition, asset, start, crps, rule in zip(*columns, strict=True)
        if name == chosen and crps is not None
    }

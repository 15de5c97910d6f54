"""The offline test: call and score the adapter's functions prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ewmalab.adapters.synth_simulations import Simulations
from ewmalab.replay.engine import settled_path
from ewmalab.replay.plan import BacktestPlan
from ewmalab.scoring.crps import score_paths
from ewmalab.times import iso


@dataclass(frozen=True, slots=True)
class OfflineTest:
    """Mean CRPS per competition and asset.

    Attributes
    ----------
    rows : list of dict
        ``competition, asset, prompts, crps``.
    synthetic : bool
    """

    rows: list[dict[str, Any]]
    synthetic: bool


def offline_test(plan: BacktestPlan, progress: Callable[[], None] | None = None) -> OfflineTest:
    """Score the adapter on the prompts of a plan; `progress` is called after each."""
    simulations = Simulations(plan.settings)
    rows = []
    for (competition, asset), items in plan.groups.items():
        scores = []
        for item in items:
            prompt = item.prompt
            truth, reason = settled_path(plan.data.realised[asset], item)
            if reason is None:
                answer = simulations.generate_simulations(
                    asset, iso(prompt.start_time), prompt.time_increment, prompt.time_length, prompt.num_simulations
                )
                paths = np.array(answer[2:], np.float64)
                scores.append(score_paths(paths, truth, item.rule, prompt.time_increment).total)
            if progress:
                progress()
        if scores:
            rows.append(
                {"competition": competition, "asset": asset, "prompts": len(scores), "crps": float(np.mean(scores))}
            )
    return OfflineTest(rows, plan.data.synthetic)

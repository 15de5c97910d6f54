"""The offline test: the adapter's functions, called and scored prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ewmalab.adapters.synth_simulations import Simulations
from ewmalab.replay.backtest import plan_backtest
from ewmalab.replay.engine import realised_path
from ewmalab.rulebook import RuleChoice
from ewmalab.scoring.crps import score_paths
from ewmalab.settings import LoadedSettings
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


def offline_test(
    settings: LoadedSettings,
    start: int,
    days: int,
    *,
    rules: RuleChoice,
    now: int,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
    cadence: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OfflineTest:
    """Score the adapter on the prompts of some days; parameters and errors as in `plan_backtest`."""
    plan = plan_backtest(
        settings, start=start, days=days, rules=rules, competitions=competitions, assets=assets,
        forecasters=[settings.values.live.forecaster], cadence=cadence, partial=True, now=now,
    )  # fmt: skip
    simulations = Simulations(settings)
    rows, done = [], 0
    for (competition, asset), items in plan.groups.items():
        scores = []
        for item in items:
            prompt = item.prompt
            truth, reason = realised_path(plan.data.realised[asset], prompt)
            if reason is None:
                answer = simulations.generate_simulations(
                    asset, iso(prompt.start_time), prompt.time_increment, prompt.time_length, prompt.num_simulations
                )
                paths = np.array(answer[2:], np.float64)
                scores.append(score_paths(paths, truth, item.rule, prompt.time_increment).total)
            done += 1
            if progress:
                progress(done, plan.prompts)
        if scores:
            rows.append(
                {"competition": competition, "asset": asset, "prompts": len(scores), "crps": float(np.mean(scores))}
            )
    return OfflineTest(rows, plan.data.synthetic)

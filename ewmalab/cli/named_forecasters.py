"""Forecasters and finished experiments, as the commands that compare and rank name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from ewmalab.replay.schedule import Scheduled
    from ewmalab.settings import LoadedSettings


def one_kind(names: list[str]) -> bool:
    """Tell whether the names are forecasters (True) or experiments (False).

    Raises
    ------
    BadParameter
        If they are both, or one is named twice.
    """
    from ewmalab.forecast.load import BUILT_IN

    if len(set(names)) < len(names):
        raise typer.BadParameter("a name stands there twice", param_hint="A B")
    kinds = {name.partition("@")[0] in BUILT_IN or (":" in name and "/" not in name) for name in names}
    if len(kinds) > 1:
        raise typer.BadParameter(
            "name forecasters or experiments, not both; replay a forecaster first with `ewmalab backtest`",
            param_hint="A B",
        )
    return kinds == {True}


def replayed(
    loaded: LoadedSettings,
    names: list[str],
    *,
    start: str | None,
    days: float,
    rules: str,
    assets: str | None,
    competitions: str | None,
    cadence: str | None,
    name: str,
    quiet: bool,
    prompts: Sequence[Scheduled] | None = None,
) -> tuple[dict[str, pd.DataFrame], bool]:
    """Replay forecasters; return the scores of each, and whether prices were simulated."""
    from ewmalab.analysis.compare import scores_of
    from ewmalab.replay.backtest import backtest, plan_backtest
    from ewmalab.replay.newest_days import newest_window
    from ewmalab.report.text.backtest import backtest_text
    from ewmalab.rulebook import RuleChoice

    now, choice = common.present(), RuleChoice.parse(rules)
    wanted: Sequence[str] | None = common.upper(assets)
    compete = common.commas(competitions)
    if prompts:
        begin = prompts[0].prompt.start_time
        days = (prompts[-1].prompt.start_time - begin) / 86_400
    elif start is None:
        begin, wanted = newest_window(loaded.values, days, choice, compete, wanted)
    else:
        begin = common.when(start)
    with common.progress(quiet) as bar:
        task = bar.add_task("reading bars", total=None)
        plan = plan_backtest(
            loaded, start=begin, days=days, rules=choice, competitions=compete, assets=wanted, forecasters=names,
            cadence=common.duration(cadence, "--cadence"), prompts=prompts, now=now,
        )  # fmt: skip
        bar.update(task, description="replaying", total=plan.prompts)
        for warning in plan.warnings():
            common.say(warning)
        experiment = backtest(
            plan, now=now, name=name, threads=common.threads(loaded.values.run.threads),
            progress=lambda done: bar.advance(task, done), render=backtest_text,
        )  # fmt: skip
    common.say(f"experiment: {experiment.path}")
    return {one: scores_of(experiment, one) for one in plan.forecasters}, plan.data.synthetic


def finished(root: Path, names: list[str]) -> tuple[dict[str, Any], bool]:
    """Return the scores of experiments or EXPERIMENT/FORECASTER, and whether any price was simulated."""
    from ewmalab.analysis.compare import scores_of
    from ewmalab.errors import ExperimentError
    from ewmalab.experiments.store import find_experiment

    frames: dict[str, Any] = {}
    synthetic = False
    for text in names:
        try:
            experiment, forecaster = find_experiment(root, text), None
        except ExperimentError:
            name, slash, forecaster = text.rpartition("/")
            if not slash:
                raise
            experiment = find_experiment(root, name)
        frames[text] = scores_of(experiment, forecaster)
        synthetic |= bool(experiment.manifest["inputs"]["synthetic"])
    return frames, synthetic

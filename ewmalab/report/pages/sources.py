"""Find the report of a source that a user names."""

from __future__ import annotations

from pathlib import Path

import orjson

from ewmalab.analysis.ranking import Ranking
from ewmalab.analysis.review import review_backtest
from ewmalab.analysis.serving import serving
from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import RANKING, Experiment, find_experiment
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.track_record import track_record
from ewmalab.report.pages.backtest import backtest_report
from ewmalab.report.pages.leaderboard import leaderboard_report
from ewmalab.report.pages.live import live_report
from ewmalab.report.pages.page import Report
from ewmalab.report.pages.sweep import sweep_report
from ewmalab.settings import LoadedSettings


def report_of(
    source: Experiment | Path | str, settings: LoadedSettings, *, now: int, days: float | None = None
) -> Report:
    """Return the report of an experiment, of a leaderboard's JSON file, or of a folder of live logs.

    Parameters
    ----------
    source : Experiment, path or str
        A text may also be an experiment's name or a unique part of it, or "latest".
    settings : LoadedSettings
    now : int
        The present in seconds since 1970, to tell which prompts of a live log cannot be scored yet.
    days : float, optional
        For a live log: only the last days.

    Raises
    ------
    ExperimentError, StateError
    """
    if isinstance(source, Experiment):
        return _of_experiment(source, settings)
    path = Path(source)
    if path.is_file():
        return _of_leaderboard(path)
    if path.is_dir() and not (path / "manifest.json").exists():
        if not any(path.glob("answers-*.jsonl")):
            raise ExperimentError(f"{source}: neither an experiment nor a live log: it holds no answers-<date>.jsonl")
        log = LiveLog.read(path)
        record = track_record(log, settings, now=now, days=days)
        return live_report(serving(log.answers), record, path.resolve().name)
    return _of_experiment(find_experiment(settings.values.run.experiments_dir, str(source)), settings)


def _of_experiment(experiment: Experiment, settings: LoadedSettings) -> Report:
    if "sweep" in experiment.manifest["inputs"]:
        return sweep_report(experiment)
    kept = experiment.attached(RANKING)
    ranking = None if kept is None else Ranking.read(kept)
    return backtest_report(review_backtest(experiment, settings.values.data.cache_dir, ranking), ranking)


def _of_leaderboard(path: Path) -> Report:
    try:
        return leaderboard_report(Ranking.read(orjson.loads(path.read_bytes())), path.stem)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ExperimentError(
            f"{path}: not the output of `ewmalab leaderboard --json` ({type(error).__name__}: {error})"
        ) from error

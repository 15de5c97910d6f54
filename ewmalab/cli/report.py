"""``ewmalab report``: a page of figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    from ewmalab.report.page import Report
    from ewmalab.settings import LoadedSettings


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Experiments (path, name, part of a name, latest); a leaderboard's JSON file; a folder of live logs.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder; default: reports/<first source>.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Of a live log: only the last days.")] = 7.0,
    clock: Annotated[str | None, typer.Option(help="Of a live log of a rehearsal: the feed server's clock.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Write an HTML page, and its figures as PNG files.

    The page needs no network and no other file. Of a backtest it shows means
    and intervals against the baseline, when and where the difference arose,
    calibration, and single prompts; of a sweep its curves or maps; of a
    leaderboard ranks and weights over time; of a live log the track record.

    Examples:

      ewmalab report latest

      ewmalab report 20260115T101500Z-backtest-1a2b3c4d latest -o reports/week

      ewmalab leaderboard ewma random-walk --json > field.json; ewmalab report field.json

      ewmalab report live_log
    """
    from ewmalab.report.page import named_figures, write_reports

    loaded = common.settings(config, set_)
    made = []
    with common.progress(json) as bar:
        for source in bar.track(sources, description="drawing"):
            made.append(_report(source, loaded, days, clock))
        folder = output or Path("reports") / made[0].title
        path = write_reports(made, folder)
    figures = len(list(named_figures(made)))
    if json:
        common.print_json({"report": str(path), "figures": figures, "sources": [r.title for r in made]})
    else:
        print(f"{path}: {figures} figures, also as PNG in {folder / 'figures'}")


def _report(source: str, loaded: LoadedSettings, days: float, clock: str | None) -> Report:
    from ewmalab.errors import ExperimentError

    path = Path(source)
    if path.is_file():
        return _leaderboard(path)
    if path.is_dir() and not (path / "manifest.json").exists():
        if not any(path.glob("answers-*.jsonl")):
            raise ExperimentError(f"{source}: neither an experiment nor a live log: it holds no answers-<date>.jsonl")
        return _live(path, loaded, days, clock)
    from ewmalab.experiments.store import find_experiment
    from ewmalab.pages.backtest import backtest_report
    from ewmalab.pages.sweep import sweep_report

    experiment = find_experiment(loaded.values.run.experiments_dir, source)
    if "sweep" in experiment.manifest["inputs"]:
        return sweep_report(experiment)
    return backtest_report(experiment, loaded.values.data.cache_dir)


def _leaderboard(path: Path) -> Report:
    import orjson

    from ewmalab.errors import ExperimentError
    from ewmalab.pages.leaderboard import leaderboard_report

    try:
        data: dict[str, Any] = orjson.loads(path.read_bytes())
        return leaderboard_report(data, path.stem)
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ExperimentError(
            f"{path}: not what `ewmalab leaderboard --json` prints ({type(error).__name__}: {error})"
        ) from error


def _live(path: Path, loaded: LoadedSettings, days: float, clock: str | None) -> Report:
    from ewmalab.analysis.track import track_record
    from ewmalab.live.clock import make_clock
    from ewmalab.live.records import LiveLog
    from ewmalab.pages.live import live_report

    log = LiveLog.read(path)
    now = int(make_clock(clock or loaded.values.live.clock).now())
    return live_report(log, track_record(log, loaded, now=now, days=days), path.name)

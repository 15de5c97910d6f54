"""What ``import ewmalab as ew`` offers: the steps of the command line as functions.

Times may be given as texts (``"2026-01-15"``, UTC) or as seconds since 1970-01-01 UTC, durations as ``"90m"`` or in
seconds. `settings` are by default those of ``ewmalab.toml`` and the environment. A function here may read the clock: it
is a driver, like the command line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ewmalab.analysis.compare import By
from ewmalab.analysis.compare import compare as _compare
from ewmalab.analysis.compare import scores_of as _scores_of
from ewmalab.errors import MissingDataError, RulebookError
from ewmalab.experiments.store import Experiment, find_experiment
from ewmalab.forecast.load import Factory, load_forecaster
from ewmalab.forecast.protocol import Forecaster, Prompt
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.track_record import TrackRecord
from ewmalab.live.audit.track_record import track_record as _track_record
from ewmalab.live.clock import make_clock
from ewmalab.live.rehearsal.rehearse import Rehearsal
from ewmalab.live.rehearsal.rehearse import rehearse as _rehearse
from ewmalab.market.bars import Bars
from ewmalab.market.cache import local_cache, open_cache
from ewmalab.market.feeds.make import cache_name, make_feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.replay.backtest import backtest as _backtest
from ewmalab.replay.backtest import plan_backtest
from ewmalab.replay.newest_days import newest_window
from ewmalab.report.pages.page import write_reports
from ewmalab.report.pages.sources import report_of
from ewmalab.report.text.backtest import backtest_text
from ewmalab.report.text.sweep import sweep_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.sweep import SweepResult, save_sweep, workload_of
from ewmalab.sweeps.sweep import sweep as _sweep
from ewmalab.sweeps.trials import TrialStore
from ewmalab.sweeps.tune import TuneResult
from ewmalab.sweeps.tune import tune as _tune
from ewmalab.times import DAY, iso, parse_time
from ewmalab.units import parse_duration

Time = str | int
Names = Sequence[str] | None
Progress = Callable[[int, int], None]


def settings_with_bars(days: float = 7.0, flags: Mapping[str, Any] | None = None) -> LoadedSettings:
    """Return settings under which there is something to replay: real bars if the cache has them, else synthetic ones.

    Parameters
    ----------
    days : float
        Of prompts that the cache must be able to score.
    flags : mapping, optional
        As in `load_settings`.

    Examples
    --------
    >>> settings_with_bars(flags={"data.cache_dir": "an-empty-folder"}).values.data.feed
    'simulated'
    """
    settings = load_settings(flags=flags)
    try:
        newest_window(settings.values, days, RuleChoice())
    except MissingDataError:
        return settings.with_flags({"data.feed": "simulated", "data.scored_feed": ""})
    return settings


def load_bars(
    asset: str,
    start: Time,
    end: Time | None = None,
    *,
    days: float = 1.0,
    fetch: bool = False,
    settings: LoadedSettings | None = None,
) -> Bars:
    """Return the closed minute bars of an asset from the cache.

    Parameters
    ----------
    asset : str
    start, end : str or int
        Labels in ``[start, end)``; without `end`, `days` from the start.
    days : float
    fetch : bool
        Fetch what the cache lacks first; of the synthetic feed it always is.
    settings : LoadedSettings, optional
        Name feed and cache.

    Raises
    ------
    RulebookError, FeedError, CorruptPartitionError
    """
    settings = settings or load_settings()
    values, rulebook = settings.values, load_rulebook()
    begin = _time(start)
    stop = begin + round(days * DAY) if end is None else _time(end)
    rulebook.asset(asset)  # an unknown one is refused before anything is fetched
    name = cache_name(values.data.feed, values)
    if fetch or values.data.feed == "simulated":
        source = make_feed(values.data.feed, values, rulebook)
        fetch_missing(local_cache(values.data.cache_dir), source, asset, begin, stop, now=_now())
    return open_cache(values.data.cache_dir).read(name, asset, begin, stop)


def make_forecaster(name: str, asset: str, settings: LoadedSettings | None = None) -> Forecaster[Any]:
    """Return the forecaster of an asset, with the parameters of the settings.

    Parameters
    ----------
    name : str
        ``ewma``, ``ewma@seed``, ``random-walk`` or ``package.module:attribute``.
    asset : str

    Raises
    ------
    ForecasterError, RulebookError, ConfigError

    Examples
    --------
    >>> make_forecaster("ewma", "BTC").half_life_1m
    1800
    """
    return load_forecaster(name, load_rulebook().asset(asset), settings or load_settings())


def make_prompt(asset: str, start: Time, horizon: str = "24h", *, request_lead: int = 60) -> Prompt:
    """Return the prompt that validators would send under the rules of its date.

    Parameters
    ----------
    asset : str
    start : str or int
    horizon : str
        ``24h``, ``1h``, or the name of a competition.
    request_lead : int
        Seconds between request and start time.

    Raises
    ------
    RulebookError
        If the asset does not compete there on that date.

    Examples
    --------
    >>> make_prompt("BTC", "2026-01-15", "1h").steps
    60
    """
    when = _time(start)
    for competition in load_rulebook().at(when).select([horizon]):
        if asset in competition.assets:
            return Prompt(
                when, competition.name, asset, when - request_lead, competition.time_increment,
                competition.time_length, competition.num_simulations,
            )  # fmt: skip
    raise RulebookError(f"{asset} is in no competition {horizon} on {iso(when)[:10]}; see `ewmalab rules show`")


def backtest(
    *forecasters: str | Factory,
    start: Time | None = None,
    days: float = 7.0,
    assets: Names = None,
    competitions: Names = None,
    rules: str = "as-of",
    cadence: str | int | None = None,
    num_simulations: int | None = None,
    partial: bool = False,
    name: str = "backtest",
    threads: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Callable[[int], None] | None = None,
) -> Experiment:
    """Replay prompts on cached bars, score the forecasts, and keep the result as an experiment.

    Parameters
    ----------
    *forecasters : str or callable
        Names, or classes and functions that make a forecaster of an asset. The last is the baseline; by default the
        setting ``replay.forecasters``.
    start : str or int, optional
        First start time; by default the newest `days` that the cache can score.
    days : float
    assets, competitions : sequence of str, optional
        Only these.
    rules : str
        ``as-of`` (each prompt's own date), ``latest``, or a date.
    cadence : str or int, optional
        Between prompts, instead of the rulebook's.
    num_simulations : int, optional
        Paths per prompt, instead of the rulebook's.
    partial : bool
        Score what can be scored where realised prices are missing.
    name : str
        Part of the experiment directory's name.
    threads : int, optional
        By default one per processor; the result does not depend on it.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with the number of prompts just done.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    settings, choice = settings or load_settings(), RuleChoice.parse(rules)
    if start is None:
        begin, assets = newest_window(settings.values, days, choice, competitions, assets)
    else:
        begin = _time(start)
    now = _now()
    plan = plan_backtest(
        settings, start=begin, days=days, rules=choice, competitions=competitions, assets=assets,
        forecasters=forecasters or None, cadence=_seconds(cadence), num_simulations=num_simulations, partial=partial,
        now=now,
    )  # fmt: skip
    return _backtest(
        plan, now=now, name=name, threads=_threads(threads, settings), progress=progress, render=backtest_text
    )


def sweep(
    parameters: Mapping[str, Sequence[Any] | None] | Sequence[str],
    *,
    forecaster: str = "ewma",
    start: Time | None = None,
    days: float = 7.0,
    assets: Names = None,
    competitions: Names = None,
    rules: str = "as-of",
    cadence: str | int | None = None,
    walk_forward: str | None = None,
    exact: bool = False,
    name: str | None = "sweep",
    threads: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> SweepResult:
    """Try values of settings on the same prompts and judge which is best, and how sure that is.

    Parameters
    ----------
    parameters : mapping of name to values, or sequence of names
        ``{"half_life_1m": ["15m", "30m", "1h"]}``; None, or names alone, take the default grid.
    forecaster : str
    start, days, assets, competitions, rules, cadence, threads, settings
        As in `backtest`.
    walk_forward : str, optional
        ``5d/1d``: choose on one window, score on the next.
    exact : bool
        Simulate every prompt by itself, even where one ensemble would do.
    name : str or None
        Part of the experiment directory's name; None keeps nothing.
    progress : callable, optional
        Called with trials done and trials in all.

    Returns
    -------
    SweepResult
        ``result.cells[i].words()`` says what was found.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    settings, now = settings or load_settings(), _now()
    workload = workload_of(
        settings, forecaster=forecaster, start=None if start is None else _time(start), days=days,
        rules=RuleChoice.parse(rules), competitions=competitions, assets=assets, cadence=_seconds(cadence), exact=exact,
    )  # fmt: skip
    result = _sweep(
        settings, _texts(parameters), now=now, workload=workload, forward=walk_forward,
        workers=_threads(threads, settings), progress=progress,
    )  # fmt: skip
    if name is not None:
        save_sweep(result, now=now, name=name, text=sweep_text(result.summary, result.inputs))
    return result


def tune(
    parameters: Mapping[str, Sequence[Any] | None] | Sequence[str],
    *,
    forecaster: str = "ewma",
    start: Time | None = None,
    days: float = 7.0,
    assets: Names = None,
    competitions: Names = None,
    rules: str = "as-of",
    trials: int = 60,
    holdout: float = 0.3,
    study: str | None = None,
    threads: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> TuneResult:
    """Search several settings at once, and judge the best on days it was not chosen on.

    Parameters
    ----------
    parameters, forecaster, start, days, assets, competitions, rules, threads, settings, progress
        As in `sweep`.
    trials : int
        Per competition and asset.
    holdout : float
        Share of the time range, at its end, that is kept for judging.
    study : str, optional
        Journal of the studies, or a database's URL; several processes may share it.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    settings = settings or load_settings()
    workload = workload_of(
        settings, forecaster=forecaster, start=None if start is None else _time(start), days=days,
        rules=RuleChoice.parse(rules), competitions=competitions, assets=assets,
    )  # fmt: skip
    return _tune(
        workload, _texts(parameters), now=_now(), trials=trials, holdout=holdout,
        study=study, store=TrialStore.of(settings),
        workers=_threads(threads, settings), progress=progress,
    )  # fmt: skip


def compare(
    *experiments: Experiment, baseline: str | None = None, by: By = "asset", common: bool = False, seed: int = 0
) -> pd.DataFrame:
    """Return how forecasters differ from a baseline on the same prompts, with intervals.

    Parameters
    ----------
    *experiments : Experiment
        Of one, its forecasters are compared; of several, the first forecaster of each.
    baseline : str, optional
        Of one experiment: by default its last forecaster. Of several: the name of one; by default the first.
    by : {"asset", "interval", "hour", "weekday"}
        What gets a row of its own.
    common : bool
        Compare the prompts that all have, instead of refusing different sets.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        See `ewmalab.analysis.compare.compare`; ``change``, ``low`` and ``high`` are relative, negative is better.

    Raises
    ------
    ExperimentError
    """
    if len(experiments) == 1:
        (one,) = experiments
        names = list(one.manifest["inputs"]["forecasters"])
        first = baseline or names[-1]
        frames = {name: _scores_of(one, name) for name in (first, *(n for n in names if n != first))}
    else:
        frames = {one.name: _scores_of(one) for one in experiments}
        if baseline is not None:
            frames = {baseline: frames[baseline], **frames}
    return pd.DataFrame(_compare(frames, common=common, by=by, seed=seed))


def load_experiment(name: str | Path = "latest", settings: LoadedSettings | None = None) -> Experiment:
    """Return a finished experiment by path, name or unique part of a name.

    Raises
    ------
    ExperimentError
        If none or several match.
    """
    return find_experiment((settings or load_settings()).values.run.experiments_dir, str(name))


def rehearse(
    forecaster: str | None = None,
    *,
    start: Time = "2026-10-03T04:00",
    hours: float = 1.0,
    speed: float = 60.0,
    assets: Names = None,
    shadows: Sequence[str] = (),
    folder: Path | str | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Rehearsal:
    """Run the whole live stack on loopback, faster than time, and judge its answers.

    Parameters
    ----------
    forecaster : str, optional
        Who answers; by default the setting ``live.forecaster``.
    start : str or int
        Market time at which it begins; prices are those of the synthetic market.
    hours : float
        Of prompts.
    speed : float
        How fast market time runs.
    assets : sequence of str, optional
    shadows : sequence of str
        Forecasters to score on the same prompts.
    folder : path, optional
        A new one for cache, states and log; by default ``rehearsals/<now>``.
    progress : callable, optional
        Called with prompts answered and in all.

    Raises
    ------
    ForecasterError, ConfigError, StateError
    """
    settings = settings or load_settings()
    if forecaster is not None:
        settings = settings.with_flags({"live.forecaster": forecaster})
    return _rehearse(
        settings, Path(folder or f"rehearsals/{_now()}"), start=_time(start), hours=hours, speed=speed,
        assets=assets, shadows=shadows, progress=progress,
    )  # fmt: skip


def track_record(
    log_dir: Path | str | None = None,
    *,
    shadows: Sequence[str] = (),
    days: float | None = None,
    fetch: bool = False,
    settings: LoadedSettings | None = None,
) -> TrackRecord:
    """Score the logged answers of a live miner as prices have realised.

    Parameters
    ----------
    log_dir : path, optional
        By default the setting ``live.log_dir``.
    shadows : sequence of str
        Forecasters that did not answer, scored on the same prompts.
    days : float, optional
        Only so many days before the last prompt.
    fetch : bool
        Fetch realised prices that the cache lacks.

    Raises
    ------
    StateError, MissingDataError, ForecasterError, FeedError
    """
    settings = settings or load_settings()
    log = LiveLog.read(Path(log_dir or settings.values.live.log_dir))
    now = int(make_clock(settings.values.live.clock).now())
    return _track_record(log, settings, now=now, shadows=shadows, days=days, fetch=fetch)


def write_report(
    *sources: Experiment | Path | str, folder: Path | str | None = None, settings: LoadedSettings | None = None
) -> Path:
    """Write an HTML page, and its figures as PNG files.

    Parameters
    ----------
    *sources : Experiment, path or str
        Experiments (also by name, or "latest"), a leaderboard's JSON file, a folder of live logs.
    folder : path, optional
        By default ``reports/<first source>``.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ExperimentError, StateError
    """
    settings = settings or load_settings()
    now = int(make_clock(settings.values.live.clock).now())
    made = [report_of(source, settings, now=now) for source in sources]
    return write_reports(made, Path(folder or Path("reports") / made[0].title))


def _time(value: Time) -> int:
    return parse_time(value) if isinstance(value, str) else int(value)


def _seconds(value: str | int | None) -> int | None:
    return parse_duration(value) if isinstance(value, str) else value


def _texts(parameters: Mapping[str, Sequence[Any] | None] | Sequence[str]) -> dict[str, list[str] | None]:
    if not isinstance(parameters, Mapping):
        return dict.fromkeys([parameters] if isinstance(parameters, str) else parameters)
    return {name: values if values is None else [str(v) for v in values] for name, values in parameters.items()}


def _now() -> int:
    return int(time.time())


def _threads(wanted: int | None, settings: LoadedSettings) -> int:
    return wanted or settings.values.run.threads or os.cpu_count() or 1

"""Inputs of the steps: times, durations and names as people write them, and the selection of prompts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, get_args

from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError
from ewmalab.replay.engines import Workers, check_engine
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import FeedName
from ewmalab.times import DAY, MINUTE, iso, parse_time, seconds_in, span_of
from ewmalab.units import parse_duration

if TYPE_CHECKING:
    from ewmalab.replay.schedule import Scheduled, Selection

Time = str | int
"""``2026-01-15`` (UTC), or seconds since 1970-01-01 UTC."""
Names = str | Sequence[str] | None
"""A sequence of names, or a text with commas between them."""
FEEDS: tuple[str, ...] = get_args(FeedName)
FIELD = "field"
"""The source of prompts that are the real ones."""
Parameters = Mapping[str, Sequence[Any] | None] | Sequence[str]
Progress = Callable[[int, int], None]
"""Called with the number done and the total."""


class Prompts(TypedDict, total=False):
    """Selection of prompts: the keywords of all steps that replay.

    Attributes
    ----------
    start : str or int
        First start time; by default the newest `days` that the cache can score.
    days : float
        Range of start times; 7 by default.
    assets, competitions : str or sequence of str
        Only these.
    rules : str
        ``as-of`` (each prompt's own date), ``latest``, or a date.
    prompts : str or path
        ``scored`` (by default): the prompts that validators score; ``sent``: all that they send; ``field``: the real
        ones that were scored, against their published paths, from the cache of `fetch_field`; or a file of start times,
        see `ewmalab.analysis.prompt_files.read_prompts`, all of it without `start`.
    cadence : str or int
        Time between prompts, instead of the rulebook's.
    num_simulations : int
        Paths per prompt, instead of the rulebook's.
    partial : bool
        If realised prices are missing, score the prompts that can be scored.
    """

    start: Time | None
    days: float
    assets: Names
    competitions: Names
    rules: str
    prompts: str | Path
    cadence: str | int | None
    num_simulations: int | None
    partial: bool


def selection_of(settings: LoadedSettings, prompts: Prompts) -> Selection:
    """Return the selection of prompts; without a start, find the newest days that the cache can score.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError
    """
    from ewmalab.replay.newest_days import newest_days  # slow to import; finished experiments need none
    from ewmalab.replay.schedule import WHICH

    rules = RuleChoice.parse(prompts.get("rules", "as-of"))
    chosen: Selection = {
        "days": prompts.get("days", 7.0),
        "assets": assets_of(prompts.get("assets")),
        "competitions": names_of(prompts.get("competitions")),
        "rules": rules,
        "cadence": _cadence_of(prompts.get("cadence")),
        "num_simulations": prompts.get("num_simulations"),
        "partial": prompts.get("partial", False),
    }
    seconds_in(chosen["days"])
    which, start = prompts.get("prompts", "scored"), prompts.get("start")
    if which == FIELD:
        return chosen | _from_field(settings, chosen, start)
    if which not in WHICH:
        return chosen | _from_file(settings, Path(which), chosen, start)
    chosen["which"] = which
    if start is None:
        first, chosen["assets"] = newest_days(
            settings.values, chosen["days"], rules, chosen["competitions"], chosen["assets"]
        )
    else:
        first, _ = span_of(time_of(start), chosen["days"])
    chosen["start"] = first
    return chosen


def _from_field(settings: LoadedSettings, chosen: Selection, start: Time | None) -> Selection:
    """Return the real prompts of a range, by default of the newest days."""
    from ewmalab.analysis.real_field import field_prompts, newest_span
    from ewmalab.market.field.store import FieldStore

    if chosen["cadence"]:
        raise ConfigError("a cadence makes prompts of its own: leave it out with the prompts of the field")
    store = FieldStore(settings.values.data.cache_dir)
    if start is None:
        span = newest_span(store, chosen["days"])
    else:
        span = span_of(time_of(start), chosen["days"])
    found = field_prompts(
        store,
        load_rulebook(),
        chosen["rules"] or RuleChoice(),
        span,
        competitions=chosen["competitions"],
        assets=chosen["assets"],
        request_lead=settings.values.replay.request_lead,
        num_simulations=chosen["num_simulations"],
    )
    return range_of(found)


def _from_file(settings: LoadedSettings, path: Path, chosen: Selection, start: Time | None) -> Selection:
    """Return the prompts of a file, and the range of their start times."""
    from ewmalab.analysis.prompt_files import read_prompts
    from ewmalab.replay.schedule import WHICH

    if not path.is_file():
        near = did_you_mean(str(path), (*WHICH, FIELD))
        raise ConfigError(f"prompts = {str(path)!r}: neither scored, sent nor field, and no such file{near}")
    if chosen["cadence"]:
        raise ConfigError("a cadence makes prompts of its own: leave it out with a file of prompts")
    found = read_prompts(
        path,
        load_rulebook(),
        chosen["rules"] or RuleChoice(),
        competitions=chosen["competitions"],
        assets=chosen["assets"],
        request_lead=settings.values.replay.request_lead,
        num_simulations=chosen["num_simulations"],
    )
    if start is not None:
        begin, end = span_of(time_of(start), chosen["days"])
        found = [item for item in found if begin <= item.prompt.start_time < end]
        if not found:
            raise ConfigError(f"{path}: no prompt between {iso(begin)} and {iso(end)}")
    return range_of(found)


def range_of(scheduled: Sequence[Scheduled]) -> Selection:
    """Return the selection of exactly these prompts, which are in time order."""
    first, last = scheduled[0].prompt.start_time, scheduled[-1].prompt.start_time
    return {"scheduled": scheduled, "start": first, "days": (last - first + MINUTE) / DAY}


def time_of(value: Time) -> int:
    """Return seconds since 1970-01-01 UTC."""
    return parse_time(value) if isinstance(value, str) else int(value)


def seconds_of(value: str | int | None) -> int | None:
    """Return a duration in seconds."""
    return parse_duration(value) if isinstance(value, str) else value


def _cadence_of(value: str | int | None) -> int | None:
    seconds = seconds_of(value)
    if seconds is not None and not MINUTE <= seconds <= 30 * DAY:
        raise ConfigError(f"cadence {value}: choose a time between prompts from 1m to 30d")
    return seconds


def feed_of(name: str) -> str:
    """Return the name of a feed, or of a feed's folder in the cache such as ``simulated-7``.

    Raises
    ------
    ConfigError
        If there is no such feed.
    """
    if name.partition("-")[0] not in FEEDS:
        raise ConfigError(f"unknown feed {name!r}; known: {', '.join(FEEDS)}{did_you_mean(name, FEEDS)}")
    return name


def names_of(value: Names) -> list[str] | None:
    """Return names as a list, or None if there are none.

    Raises
    ------
    ConfigError
        If a text holds no name.

    Examples
    --------
    >>> names_of("24h, crypto-1h")
    ['24h', 'crypto-1h']
    """
    parts = value.split(",") if isinstance(value, str) else value or ()
    found = [part.strip() for part in parts if part.strip()]
    if isinstance(value, str) and not found:
        raise ConfigError(f"{value!r} holds no name: give names with commas between them, or none at all")
    return found or None


def assets_of(value: Names) -> list[str] | None:
    """Return symbols, in upper case."""
    found = names_of(value)
    return [name.upper() for name in found] if found else None


def values_of(parameters: Parameters) -> dict[str, list[str] | None]:
    """Return the values of each varied setting, None for the default grid."""
    if not isinstance(parameters, Mapping):
        return dict.fromkeys([parameters] if isinstance(parameters, str) else parameters)
    return {name: values if values is None else [str(v) for v in values] for name, values in parameters.items()}


MAX_NAME = 100
"""Characters of a name; a file system allows a folder 255, of which the time and the digest take 26."""


def check_name(name: str) -> str:
    """Return the name if it can be part of a directory's name.

    Raises
    ------
    ConfigError
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", name):
        raise ConfigError(f"{name!r}: letters, digits, dots, dashes and underscores only")
    if len(name) > MAX_NAME:
        raise ConfigError(f"{len(name)} characters: at most {MAX_NAME}")
    return name


def present() -> int:
    """Return the present time; a step is a driver, and may read the clock."""
    return int(time.time())


def worker_count(wanted: int | None, settings: LoadedSettings) -> int:
    """Return the number of threads or processes, by default one per processor."""
    return wanted or settings.values.run.threads or os.cpu_count() or 1


def workers_of(wanted: Workers | int | None, settings: LoadedSettings) -> Workers:
    """Return where a long job runs: by default on a thread per processor.

    Raises
    ------
    ConfigError
        See `check_engine`.
    """
    if isinstance(wanted, Workers):
        check_engine(wanted.engine, wanted.scheduler)
        return Workers(wanted.engine, worker_count(wanted.count, settings), wanted.scheduler)
    return Workers("threads", worker_count(wanted, settings))


def counter(progress: Progress | None, total: int) -> Callable[..., None]:
    """Return a function that adds a number of finished items (default 1) and reports the sum to `progress`."""
    done = 0

    def step(count: int = 1) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return step

"""Inputs of the steps: times, durations and names as people write them, and the selection of prompts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from ewmalab.errors import ConfigError
from ewmalab.replay.schedule import Selection
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import LoadedSettings
from ewmalab.times import parse_time
from ewmalab.units import parse_duration

Time = str | int
"""``2026-01-15`` (UTC), or seconds since 1970-01-01 UTC."""
Names = str | Sequence[str] | None
"""A sequence of names, or a text with commas between them."""
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
    cadence: str | int | None
    num_simulations: int | None
    partial: bool


def selection_of(settings: LoadedSettings, prompts: Prompts) -> Selection:
    """Return the selection of prompts; without a start, find the newest days that the cache can score.

    Raises
    ------
    RulebookError, MissingDataError
    """
    rules = RuleChoice.parse(prompts.get("rules", "as-of"))
    days, start = prompts.get("days", 7.0), prompts.get("start")
    competitions, assets = names_of(prompts.get("competitions")), assets_of(prompts.get("assets"))
    chosen: Sequence[str] | None = assets
    if start is None:
        from ewmalab.replay.newest_days import newest_days  # it reads the cache, which not every command does

        start, chosen = newest_days(settings.values, days, rules, competitions, assets)
    return {
        "start": time_of(start),
        "days": days,
        "assets": chosen,
        "competitions": competitions,
        "rules": rules,
        "cadence": seconds_of(prompts.get("cadence")),
        "num_simulations": prompts.get("num_simulations"),
        "partial": prompts.get("partial", False),
    }


def time_of(value: Time) -> int:
    """Return seconds since 1970-01-01 UTC."""
    return parse_time(value) if isinstance(value, str) else int(value)


def seconds_of(value: str | int | None) -> int | None:
    """Return a duration in seconds."""
    return parse_duration(value) if isinstance(value, str) else value


def names_of(value: Names) -> list[str] | None:
    """Return names as a list, or None if there are none.

    Examples
    --------
    >>> names_of("24h, crypto-1h")
    ['24h', 'crypto-1h']
    """
    parts = value.split(",") if isinstance(value, str) else value or ()
    return [part.strip() for part in parts if part.strip()] or None


def assets_of(value: Names) -> list[str] | None:
    """Return symbols, in upper case."""
    found = names_of(value)
    return [name.upper() for name in found] if found else None


def values_of(parameters: Parameters) -> dict[str, list[str] | None]:
    """Return the values of each varied setting, None for the default grid."""
    if not isinstance(parameters, Mapping):
        return dict.fromkeys([parameters] if isinstance(parameters, str) else parameters)
    return {name: values if values is None else [str(v) for v in values] for name, values in parameters.items()}


def check_name(name: str) -> str:
    """Return the name if it can be part of a directory's name.

    Raises
    ------
    ConfigError
    """
    if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", name):
        raise ConfigError(f"{name!r}: letters, digits, dots, dashes and underscores only")
    return name


def present() -> int:
    """Return the present time; a step is a driver, and may read the clock."""
    return int(time.time())


def worker_count(wanted: int | None, settings: LoadedSettings) -> int:
    """Return the number of threads or processes, by default one per processor."""
    return wanted or settings.values.run.threads or os.cpu_count() or 1


def counter(progress: Progress | None, total: int) -> Callable[..., None]:
    """Return a function that adds a number of finished items (default 1) and reports the sum to `progress`."""
    done = 0

    def step(count: int = 1) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    return step

"""The real field of miners: fetch it from the subnet's public API, list, import and export it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ewmalab.api.inputs import Names, Progress, Time, assets_of, names_of, present, time_of
from ewmalab.api.result import Outcome
from ewmalab.errors import FeedUnavailable
from ewmalab.market.cache import local_cache
from ewmalab.market.field.client import FieldClient
from ewmalab.market.field.fetch import FieldFetch, SeriesFetch, Wanted
from ewmalab.market.field.inventory import CachedSeries, list_series
from ewmalab.market.field.store import FieldStore
from ewmalab.report.text.field import field_fetch_text, field_list_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, day_name


def fetch_field(
    start: Time,
    days: float = 1.0,
    *,
    competitions: Names = None,
    assets: Names = None,
    paths: bool = True,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[list[SeriesFetch]]:
    """Fetch what the cache lacks of the real field; an interrupted fetch resumes where it stopped.

    Parameters
    ----------
    start : str or int
        First start time of the prompts.
    days : float
    competitions, assets : str or sequence of str, optional
        By default all of these dates.
    paths : bool
        Also fetch the realised path of every scored prompt, a call each.
    settings : LoadedSettings, optional
        ``field.api``, ``field.monitoring``, ``field.rate`` and the cache.
    progress : callable, optional
        Called with finished calls and the number known to be needed.

    Raises
    ------
    RulebookError, ConfigError
    FeedUnavailable
        If the API does not answer; what was fetched before is kept. If a series gets a malformed answer, the result
        says so instead.
    """
    settings, begin = settings or load_settings(), time_of(start)
    span = begin, begin + round(days * DAY)
    wanted = Wanted.of(load_rulebook(), span, names_of(competitions), assets_of(assets))
    client = FieldClient(settings.values.field)
    try:
        fetched = FieldFetch(_writable(settings), client, present, progress).run(wanted, paths=paths)
    except FeedUnavailable as error:
        error.add_note("what was fetched is kept: the same command resumes")
        raise
    finally:
        client.close()
    ok = all(one.error is None for one in fetched)
    return Outcome(
        "Fetched field",
        fetched,
        field_fetch_text,
        lambda found: [{**asdict(one), "series": one.series.path} for one in found],
        ok,
    )


def list_field(*, settings: LoadedSettings | None = None) -> Outcome[list[CachedSeries]]:
    """Return what is cached of the real field, with the days that are missing in between."""
    store = FieldStore((settings or load_settings()).values.data.cache_dir)
    found = list_series(store)
    return Outcome(
        "Cached field",
        found,
        lambda cached: field_list_text(cached, str(store.root)),
        lambda cached: list(map(_listed, cached)),
        not any(one.damaged for one in found),
    )


def _writable(settings: LoadedSettings) -> FieldStore:
    return FieldStore(local_cache(settings.values.data.cache_dir).root)


def _listed(one: CachedSeries) -> dict[str, Any]:
    days = {name: [day_name(day) for day in getattr(one, name)] for name in ("holes", "unfinished")}
    return {**asdict(one), "begin": day_name(one.begin), "end": day_name(one.end), **days}

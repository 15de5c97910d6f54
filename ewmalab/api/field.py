"""The real field of miners: fetch it from the subnet's public API, list it, and import and export it, and check our
rules against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ewmalab.analysis import field_check as checks
from ewmalab.analysis.field_check import FieldReport
from ewmalab.analysis.field_miner import MinerHistory, miner_history
from ewmalab.api.inputs import Names, Progress, Time, assets_of, names_of, present, time_of
from ewmalab.api.result import Outcome
from ewmalab.errors import FeedUnavailable, MissingDataError
from ewmalab.market.cache import Cache, local_cache, open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.market.field.answers import MinerValidity
from ewmalab.market.field.bundle import Exported, export_bundle
from ewmalab.market.field.client import FieldClient
from ewmalab.market.field.fetch import FieldFetch, SeriesFetch, Wanted
from ewmalab.market.field.importer import FieldImport, FileImported
from ewmalab.market.field.inventory import CachedSeries, list_series
from ewmalab.market.field.store import FieldStore
from ewmalab.report.text.field import (
    field_check_text,
    field_export_text,
    field_fetch_text,
    field_import_text,
    field_list_text,
    field_miner_text,
)
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, day_name, seconds_in, span_of


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
    span = span_of(begin, days)
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


def import_field(
    paths: Sequence[Path],
    *,
    asset: str | None = None,
    competition: str | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[list[FileImported]]:
    """Import answers of the subnet's API, or an offline bundle, into the cache.

    Parameters
    ----------
    paths : sequence of Path
        Files, or folders of them: the API's answers as ``.json``, ``miner_scores_ASSET_COMPETITION.parquet``,
        ``rewards_history_COMPETITION.parquet``, ``miner_pool_usd.parquet``, prices as
        ``ASSET/1m/date=YYYY-MM-DD.parquet``, and what `export_field` writes.
    asset, competition : str, optional
        Of answers with start times, which do not say it.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with files done and the total.

    Raises
    ------
    RulebookError, ConfigError
        If a file is refused, the result says so instead.
    """
    store, rulebook = _writable(settings or load_settings()), load_rulebook()
    symbol = rulebook.asset(asset.upper()).symbol if asset else None
    length = {"24h": 86_400, "1h": 3600}.get(competition or "") or (
        rulebook.horizon(competition) if competition else None
    )
    done = FieldImport(store, Cache(store.cache), rulebook, present(), symbol, length).run(paths, progress)
    return Outcome(
        "Imported field",
        done,
        field_import_text,
        lambda found: list(map(asdict, found)),
        bool(done) and all(one.error is None for one in done),
    )


def export_field(
    folder: Path, *, prices: bool = True, settings: LoadedSettings | None = None
) -> Outcome[list[Exported]]:
    """Write all that is cached of the field as an offline bundle, which the subnet's own backtester reads.

    Parameters
    ----------
    folder : Path
        New, or empty.
    prices : bool
        Also the cached bars of the scored feed, on the same days.
    settings : LoadedSettings, optional

    Raises
    ------
    DataError
    """
    values, rulebook = (settings or load_settings()).values, load_rulebook()

    def competition_of(asset: str, time_length: int, when: int) -> str | None:
        running = rulebook.at(when).competitions.values()
        return next((c.name for c in running if c.time_length == time_length and asset in c.assets), None)

    feed = cache_name(values.data.scored_feed or values.data.feed, values)
    bars = (open_cache(values.data.cache_dir), feed) if prices else None
    done = export_bundle(FieldStore(values.data.cache_dir), folder, competition_of, bars)
    return Outcome(
        "Exported field",
        done,
        lambda files: field_export_text(files, str(folder)),
        lambda files: {"folder": str(folder), "files": list(map(asdict, files))},
    )


def check_field(
    start: Time | None = None,
    days: float | None = None,
    *,
    competitions: Names = None,
    rules: str = "as-of",
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[FieldReport]:
    """Recompute prompt scores, rolling averages and weights from the published CRPS, and compare with the published.

    Parameters
    ----------
    start : str or int, optional
        First scored time; by default the first that is cached.
    days : float, optional
        By default all that are cached.
    competitions : str or sequence of str, optional
        By default all that are cached.
    rules : str
        ``as-of`` (each time's own rules), ``latest``, or a date.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with days done and the total.

    Raises
    ------
    RulebookError, MissingDataError, CorruptPartitionError
    """
    store = FieldStore((settings or load_settings()).values.data.cache_dir)
    cached = [day for series in store.series() if series.kind in ("scores", "rewards") for day in store.days(series)]
    first = time_of(start) // DAY * DAY if start is not None else min(cached, default=0)
    end = first + -(-seconds_in(days) // DAY) * DAY if days is not None else max(cached, default=0) + DAY
    report = checks.check_field(
        store,
        load_rulebook(),
        (first, end),
        competitions=names_of(competitions),
        choice=RuleChoice.parse(rules),
        progress=progress,
    )
    return Outcome("Field check", report, field_check_text, _checked, report.exact)


@dataclass(frozen=True)
class FieldMiner:
    """A real miner: whether its newest answer was valid, and its history in the cache.

    Attributes
    ----------
    uid : int
    validity : MinerValidity or None
        None if it was not asked for, or the API does not know the miner.
    history : MinerHistory or None
        None if nothing is cached.
    """

    uid: int
    validity: MinerValidity | None
    history: MinerHistory | None


def field_miner(
    uid: int, start: Time | None = None, days: float = 14.0, *, ask: bool = True, settings: LoadedSettings | None = None
) -> Outcome[FieldMiner]:
    """Return whether a real miner's newest answer was valid, and its scores, ranks and weights in the cache.

    Parameters
    ----------
    uid : int
    start : str or int, optional
        First scored day; by default the newest `days` in the cache.
    days : float
    ask : bool
        Ask the API about the newest answer.
    settings : LoadedSettings, optional

    Raises
    ------
    FeedError, MissingDataError
        The latter if nothing is cached and nothing was asked.
    """
    settings = settings or load_settings()
    validity, notes = None, []
    if ask:
        client = FieldClient(settings.values.field)
        try:
            validity = client.validity(uid)
        finally:
            client.close()
        notes = [] if validity else [f"the API knows no answer of uid {uid}"]
    store = FieldStore(settings.values.data.cache_dir)
    newest = max((day for series in store.series() for day in store.days(series)), default=0) + DAY
    first = time_of(start) if start is not None else newest - seconds_in(days)
    history = None
    try:
        history = miner_history(store, load_rulebook(), uid, span_of(first, days))
    except MissingDataError as error:
        if not ask:
            raise
        notes.append(str(error))
    return Outcome(
        "Miner",
        FieldMiner(uid, validity, history),
        lambda found: field_miner_text(found.uid, found.validity, found.history),
        _miner,
        validity is None or validity.validated,
        tuple(notes),
    )


def _writable(settings: LoadedSettings) -> FieldStore:
    return FieldStore(local_cache(settings.values.data.cache_dir).root)


def _listed(one: CachedSeries) -> dict[str, Any]:
    days = {name: [day_name(day) for day in getattr(one, name)] for name in ("holes", "unfinished")}
    return {**asdict(one), "begin": day_name(one.begin), "end": day_name(one.end), **days}


def _checked(report: FieldReport) -> dict[str, Any]:
    counts = {name: getattr(report, name) for name in ("prompts", "miners", "snapshots", "ambiguous", "synthetic")}
    return {
        **counts,
        "exact": report.exact,
        "differing": report.differing,
        "rows": [row.plain() for row in report.rows],
    }


def _miner(found: FieldMiner) -> dict[str, Any]:
    validity = found.validity.model_dump() if found.validity else None
    return {"uid": found.uid, "newest_answer": validity, "history": asdict(found.history) if found.history else None}

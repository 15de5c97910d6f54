"""Import bars from files, and export them to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ewmalab.api.inputs import Names, Progress, Time, assets_of, feed_of, present, time_of
from ewmalab.api.result import Outcome
from ewmalab.atomic_files import check_folder
from ewmalab.errors import ConfigError
from ewmalab.market.cache import local_cache, open_cache
from ewmalab.market.files.exporter import LAYOUTS, Exported, export_asset
from ewmalab.market.files.formats import SUFFIXES
from ewmalab.market.files.importer import Choices, FileImport, import_files
from ewmalab.market.files.search import find_files
from ewmalab.market.files.table import Hints
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.quality.splits import parse_ratios
from ewmalab.report.text.market import export_text, import_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import FOREVER, iso, span_of

_ALLOWED = {
    "labels": ("open", "close"),
    "unit": ("s", "ms", "us", "ns"),
    "decimal": (".", ","),
    "interval": ("1m",),
    "timezone": None,
    "time_format": None,
    "symbol": None,
    "columns": None,
}


def import_bars(
    paths: Sequence[Path],
    *,
    feed: str | None = None,
    asset: str | None = None,
    hints: Mapping[str, str | None] | None = None,
    replace: bool = False,
    quarantine: bool = False,
    keep_suspicious: bool = False,
    split: str | None = None,
    start: Time | None = None,
    until: Time | None = None,
    dry_run: bool = False,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[list[FileImport]]:
    """Import minute bars from CSV, JSON, Parquet and Feather files as other programs write them.

    Parameters
    ----------
    paths : sequence of Path
        Files, archives, or folders of files.
    feed, asset : str, optional
        By default from the names of folder and file, or from a column of symbols.
    hints : mapping of str to str, optional
        What a file leaves in doubt: ``columns`` (``"close=Last,timestamp=Time"``), ``timezone``, ``labels`` (``open``
        or ``close``), ``unit``, ``time_format``, ``decimal``, ``symbol``, ``interval`` (``1m``).
    replace : bool
        Replace cached bars that differ.
    quarantine : bool
        Set bad rows aside, whatever is wrong with them, and however many.
    keep_suspicious : bool
        Store bars that no market made (spikes, wrong highs and lows, repeated candles, a frozen feed, splits) as they
        are, instead of setting them aside.
    split : str, optional
        Known splits, such as ``10:1`` for ten new units for one old; the prices before are adjusted.
    start, until : str or int, optional
        Only bars labelled from `start` on and before `until`.
    dry_run : bool
        Write nothing; the result has the first bars as they would be stored.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with files done and the total.

    Raises
    ------
    RulebookError, ConfigError, BarsError
        If an option is wrong; if a file is refused, the result says so instead.
    """
    doubts = Doubts(keep_suspicious, parse_ratios(split))
    span = (0 if start is None else time_of(start), FOREVER if until is None else time_of(until))
    if span[0] >= span[1]:
        raise ConfigError(f"no time is from {iso(span[0])} on and before {iso(span[1])}: choose an end after the start")
    choices = Choices(_hints(hints or {}), replace, quarantine, dry_run, doubts, span)
    rulebook = load_rulebook()
    cache = local_cache((settings or load_settings()).values.data.cache_dir)
    if not dry_run:
        cache.delete_leftovers()
    files, skipped = find_files(paths, feed=feed, asset=asset, rulebook=rulebook)
    done = import_files(cache, files, now=present(), rulebook=rulebook, choices=choices, progress=progress)
    notes = [f"skipped {path}: {reason}" for path, reason in skipped]
    if not files:
        notes.append(f"nothing to import: name files ({', '.join(SUFFIXES)}, .gz, .zip), or folders of such files")
    return Outcome(
        "Imported bars",
        done,
        lambda found: import_text(found, dry_run=dry_run),
        lambda found: {"imported": [row for one in found for row in _rows(one)], "skipped": skipped},
        bool(files) and all(one.error is None for one in done),
        tuple(notes),
    )


def export_bars(
    feed: str,
    folder: Path | str = "market_data",
    *,
    layout: str = "parquet",
    assets: Names = None,
    start: Time | None = None,
    days: float | None = None,
    settings: LoadedSettings | None = None,
) -> Outcome[list[Exported]]:
    """Write cached bars as files for other programs.

    Parameters
    ----------
    feed : str
    folder : Path or str
        Files are written below it.
    layout : str
        ``csv`` or ``parquet``: ``<feed>/<ASSET>`` with the columns that `import_bars` reads; ``synth-lib``:
        ``prices/<ASSET>/1m/date=YYYY-MM-DD.parquet`` with closes, and NaN rows for minutes without a bar.
    assets : str or sequence of str, optional
        By default all that the feed has in the cache.
    start : str or int, optional
    days : float, optional
        By default everything.
    settings : LoadedSettings, optional

    Raises
    ------
    ConfigError, DataError
        If the layout is unknown, or there are no bars.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"layout {layout!r}: unknown; known: {', '.join(LAYOUTS)}")
    cache = open_cache((settings or load_settings()).values.data.cache_dir)
    if days is not None and start is None:
        raise ConfigError("days count from a start: give it too (--start DATE)")
    begin = 0 if start is None else time_of(start)
    end = 2**37 if days is None else span_of(begin, days)[1]
    feed_of(feed)
    own = [asset for name, asset in cache.assets() if name == feed]
    wanted = assets_of(assets) or own
    if not wanted:
        raise ConfigError(f"feed {feed!r} has no cached bars; see `ewmalab data list`")
    check_folder(Path(folder))
    done = [
        export_asset(cache, feed, asset.upper(), span=(begin, end), layout=layout, folder=Path(folder))
        for asset in wanted
    ]
    return Outcome("Exported bars", done, export_text, lambda found: [asdict(one) for one in found])


def _hints(given: Mapping[str, str | None]) -> Hints:
    """Return options as `Hints`, after checking their names and values."""
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in values.items():
        if name not in _ALLOWED:
            raise ConfigError(f"unknown hint {name!r}; known: {', '.join(_ALLOWED)}")
        allowed = _ALLOWED[name]
        if allowed and value not in allowed:
            raise ConfigError(f"--{name} {value}: must be one of {' '.join(allowed)}")
    if "columns" in values:
        pairs = [pair.partition("=") for pair in values["columns"].split(",")]
        if any(not role or not name for role, _, name in pairs):
            raise ConfigError("--columns must be ROLE=NAME,..., for example close=Last,timestamp=Time")
        values["columns"] = {role.strip(): name.strip() for role, _, name in pairs}
    return Hints(**values)


def _rows(one: FileImport) -> list[dict[str, Any]]:
    head = {"file": str(one.file.path), "feed": one.file.feed, "asset": one.file.asset, "error": one.error}
    if one.file.member:
        head["member"] = one.file.member
    return [head | asdict(done) for done in one.imported] or [head]

"""Read a bar file of any known shape: what it holds, and one line that says how it was understood."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.bars import Bars
from ewmalab.market.files.clocks import NO_TIME, Int, read_times, seconds
from ewmalab.market.files.formats import read_table
from ewmalab.market.files.layouts import PRICES, Roles, assign_roles
from ewmalab.market.files.numbers import decimal_mark, floats
from ewmalab.market.files.rows import Columns, split_rows
from ewmalab.market.files.suspicious import aside_rows, few_wrong_prices
from ewmalab.market.files.table import Hints, Table
from ewmalab.market.quality import AsideBar, describe_faults

_MINUTE_NAMES = {"1m", "1min", "m1", "1", "1t", "60", "60s", "1minute", "minute", "1-minute", "min", "60000", "pt1m"}
_BAR_LENGTHS = (60, 59)  # seconds between the two times of a bar; 59.999 counts as 59


@dataclass(frozen=True, slots=True)
class Reading:
    """The rows of one symbol of a file.

    Attributes
    ----------
    symbol : str or None
        As the file writes it.
    columns : dict of (n,) arrays
        The five columns of `Bars`, in the file's order.
    understood : str
        How the file was understood.
    feed : str or None
        The feed that alone writes such files.
    """

    symbol: str | None
    columns: Columns
    understood: str
    feed: str | None = None


def read_readings(path: Path, hints: Hints | None = None, member: str = "") -> list[Reading]:
    """Read a bar file, a reading per symbol.

    Parameters
    ----------
    path : Path
    hints : Hints, optional
        What the user says of the file.
    member : str
        Name inside an archive.

    Raises
    ------
    BarsError
        If the file cannot be read as bars, or could be read in two ways.
    """
    hints = hints or Hints()
    table = read_table(path, member)
    try:
        return [reading for part, symbol in _by_ticker(table) for reading in _understand(part, symbol, hints)]
    except BarsError as error:
        raise BarsError(f"{path}: {error}") from error


def read_bars(path: Path) -> tuple[Bars, tuple[AsideBar, ...]]:
    """Read a bar file of one symbol; return its bars, and the few rows whose prices are wrong.

    Raises
    ------
    BarsError
        If many rows are bad, or a time is wrong; the message names the file and counts the bad rows by reason.
    """
    readings = read_readings(path)
    if len(readings) != 1:
        raise BarsError(f"{path}: {len(readings)} symbols in one file; import it with `ewmalab data import`")
    try:
        split = split_rows(readings[0].columns, written=int(path.stat().st_mtime))
    except BarsError as error:
        raise BarsError(f"{path}: {error}") from error
    columns, rejected = readings[0].columns, split.rejected
    if rejected and not few_wrong_prices(rejected, len(columns["close"])):
        raise BarsError(f"{path}: {describe_faults(rejected, columns['timestamp'])}")
    return split.bars, aside_rows(columns, rejected, f"file {path.name}", 0)


def _by_ticker(table: Table) -> Iterator[tuple[Table, str | None]]:
    """Yield the columns of each ticker of the header."""
    tickers = sorted(set(table.tickers) - {""})
    if not tickers:
        yield table, None
    for ticker in tickers:
        at = [i for i, own in enumerate(table.tickers) if own in ("", ticker)]
        frame = table.frame[at].copy()
        frame.columns = pd.RangeIndex(len(at))
        yield replace(table, frame=frame, names=tuple(table.names[i] for i in at), tickers=()), ticker


def _understand(table: Table, symbol: str | None, hints: Hints) -> list[Reading]:
    if not len(table.frame):
        raise BarsError(f"no bars below the header; it has {', '.join(table.names)}")
    roles = assign_roles(table, hints)
    _check_interval(table, roles)
    table, notes = _without_unfinished(table, roles)
    times, written, zone, labels = _open_times(table, roles, hints)
    prices = [roles.at[role] for role in PRICES if role in roles.at]
    others = (table.frame[at] for at in table.frame if at not in roles.at.values())
    mark = decimal_mark([table.frame[at] for at in prices], hints.decimal, others)
    columns: Columns = {"timestamp": times}
    for role in PRICES:
        at = roles.at.get(role)
        name = role if at is None else table.names[at] or str(at + 1)
        columns[role] = np.full(len(times), np.nan) if at is None else floats(table.frame[at], name, mark)
    words = [roles.layout, written, f"labels at the {labels}", zone]
    words += ["decimal commas"] if mark == "," else []
    keep = np.ones(len(times), bool)
    if "final" in roles.at:
        keep = ~table.frame[roles.at["final"]].map(lambda value: str(value).lower() in ("false", "0")).to_numpy(bool)
        notes += [f"{int((~keep).sum())} row(s) that are not final were left out"] if not keep.all() else []
    understood = ", ".join([*words, *notes, *table.notes])
    if "symbol" not in roles.at:
        return [Reading(symbol, {k: v[keep] for k, v in columns.items()}, understood, roles.feed)]
    symbols = (
        table.frame[roles.at["symbol"]].map(lambda value: "" if pd.isna(value) else str(value).strip()).to_numpy(str)
    )
    found = []
    for one in sorted(set(symbols.tolist())):
        rows = keep & (symbols == one)
        found.append(Reading(one, {k: v[rows] for k, v in columns.items()}, understood, roles.feed))
    return found


def _open_times(table: Table, roles: Roles, hints: Hints) -> tuple[Int, str, str, str]:
    """Return the open times in seconds, how they were written, their zone, and which moment of a bar they name."""
    labels = hints.labels or "open"
    if "timestamp" in roles.at:
        column = table.frame[roles.at["timestamp"]]
        if roles.clock is not None:
            column = column.astype(str) + " " + table.frame[roles.clock].astype(str)
        times = read_times(column, hints)
        labels = _checked_labels(table, roles, hints, times.ns) or labels
    else:
        times, labels = read_times(table.frame[roles.at["close_time"]], hints, "close_time"), "close"
    out = seconds(times.ns, labels)
    known = out != NO_TIME
    if known.any() and np.mean(out[known] % 60 != 0) > 0.5:
        late = np.mean(out[known] % 60 >= 59) > 0.5
        advice = "they look like the closes of bars: pass --labels close" if late else "bars start at whole minutes"
        raise BarsError(f"times are not whole seconds of whole minutes (first: {_shown(times.ns[known][0])}); {advice}")
    return out, times.written, times.zone, labels


def _checked_labels(table: Table, roles: Roles, hints: Hints, ns: Int) -> str | None:
    """Check the times against the closes of the bars if the file has both; return what that says of the times."""
    if table.kind.startswith("nautilus") and hints.labels is None:
        return _nautilus_labels(table, ns)
    if "close_time" not in roles.at:
        return None
    try:
        closes = read_times(table.frame[roles.at["close_time"]], hints, "close_time").ns
    except BarsError:
        return None
    known = (closes != NO_TIME) & (ns != NO_TIME)
    if not known.any():
        return None
    usual = int(np.median(closes[known] - ns[known]) // 10**9)
    if usual == 0 and hints.labels != "open":
        return "close"
    if usual not in _BAR_LENGTHS:
        raise BarsError(
            f"bars last {usual} s from their open to their close time, not 60 s; ewmalab needs 1-minute bars"
        )
    return "open"


def _nautilus_labels(table: Table, ns: Int) -> str:
    bar_type = str(table.metadata.get("bar_type", "-1-MINUTE-"))
    if "-1-MINUTE-" not in bar_type:
        raise BarsError(f"bars of {bar_type}; ewmalab needs 1-minute bars")
    if "ts_init" in table.names:
        made = read_times(table.frame[table.names.index("ts_init")], Hints()).ns
        if (made - ns == 60 * 10**9).all():
            return "open"
    raise BarsError(
        "ts_event may be the open or the close of a bar; pass --labels close (nautilus' default) or --labels open"
    )


def _check_interval(table: Table, roles: Roles) -> None:
    """Refuse bars that call themselves longer than a minute."""
    column = table.frame[roles.at["interval"]].dropna().tolist() if "interval" in roles.at else []
    values = {str(value).strip().lower() for value in (*column, *_said(table))}
    other = sorted(values - _MINUTE_NAMES)
    if other and all(re.fullmatch(r"\d+[a-z]*|[a-z]+\d*", value) for value in other):
        raise BarsError(f"bars of {', '.join(other[:5])}; ewmalab needs 1-minute bars")


def _said(table: Table) -> list[str]:
    return [table.metadata["interval"]] if "interval" in table.metadata else []


def _without_unfinished(table: Table, roles: Roles) -> tuple[Table, list[str]]:
    """Drop a last row without a line end if its last number, which is used, may be cut."""
    last = len(table.frame.columns) - 1
    if not table.unfinished or last not in roles.at.values() or len(table.frame) < 2:
        return table, []
    texts = table.frame[last].astype(str)
    decimals = texts.map(lambda text: len(re.split(r"[.,]", text)[-1]) if re.search(r"[.,]", text) else 0)
    short = decimals.iloc[-1] < decimals.iloc[:-1].max() or len(texts.iloc[-1]) < texts.iloc[:-1].str.len().min()
    if not short:
        return table, []
    frame = table.frame.iloc[:-1]
    return replace(table, frame=frame), ["the last line has no end, may be cut and was left out"]


def _shown(ns: np.int64) -> str:
    return str(pd.Timestamp(int(ns), unit="ns", tz="UTC"))

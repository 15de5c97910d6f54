"""Which column of a table is what: by its names, by the shape of its rows, or as the user says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.errors import BarsError
from ewmalab.market.files.clocks import is_clock, read_times
from ewmalab.market.files.headers import INDEX_NAMES, OPEN_TIMES, plain, roles_of
from ewmalab.market.files.numbers import decimal_mark, floats
from ewmalab.market.files.table import Hints, Table

Floats = npt.NDArray[np.float64]
ROLE_NAMES = ("timestamp", "open", "high", "low", "close", "close_time", "symbol")
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows without names: the number of columns, the position of each role, and the feed that writes such rows."""

    name: str
    width: int
    roles: Mapping[str, int]
    feed: str | None = None


def _rows(order: str) -> dict[str, int]:
    names = {"t": "timestamp", "o": "open", "h": "high", "l": "low", "c": "close", "T": "close_time", "f": "final"}
    return {names[letter]: at for at, letter in enumerate(order) if letter in names}


# Layouts of one width are told apart by which of their prices are the highest and the lowest.
LAYOUTS = (
    Layout("Binance klines", 12, _rows("tohlc-T"), "binance"),
    Layout("Binance klines", 11, _rows("tohlc-T"), "binance"),
    Layout("OKX candles", 9, _rows("tohlc---f")),
    Layout("Gate candles", 8, _rows("t-chlo-f")),
    Layout("Kraken candles", 8, _rows("tohlc")),
    Layout("Kraken candles", 7, _rows("tohlc")),
    Layout("candles", 6, _rows("tohlc")),
    Layout("Coinbase candles", 6, _rows("tlhoc")),
    Layout("Bitfinex candles", 6, _rows("tochl")),
    Layout("Gate candles", 6, _rows("t-chlo")),
    Layout("KuCoin candles", 7, _rows("tochl")),
    Layout("candles", 5, _rows("tohlc")),
    Layout("times and closes", 2, _rows("tc")),
)
# Named columns that only one program writes.
_WRITERS = (
    ("Hyperliquid candles", {"t", "T", "s", "i", "o", "c", "h", "l", "v", "n"}, "hyperliquid"),
    ("Binance klines", {"opentime", "closetime", "quotevolume", "count"}, "binance"),
    ("Binance klines", {"opentime", "closetime", "quoteassetvolume", "numberoftrades"}, "binance"),
)


@dataclass(frozen=True, slots=True)
class Roles:
    """The name of the layout, the position of each role, its feed; `clock` is a column with the time of day."""

    layout: str
    at: Mapping[str, int]
    feed: str | None = None
    clock: int | None = None


def assign_roles(table: Table, hints: Hints) -> Roles:
    """Return what each column of a table is.

    Raises
    ------
    BarsError
        If a column is lacking or could be several; the message has the header and the option that helps.
    """
    if table.header or hints.columns:
        return _named(table, hints)
    return _unnamed(table, hints)


def _named(table: Table, hints: Hints) -> Roles:
    found = roles_of(table.names) if table.header else {}
    for role, name in hints.columns.items():
        if role not in ROLE_NAMES:
            raise BarsError(f"--columns {role}={name}: unknown; it must be one of {', '.join(ROLE_NAMES)}")
        found[role] = [_position(table, role, name)]
    clock = None
    if "timestamp" in hints.columns:
        times = found["timestamp"]
    else:
        times, clock = _time_columns(table, found, hints)
    for role, places in found.items():
        if len(places) > 1 and role in (*PRICES, "symbol"):
            raise _doubt(table, f"{len(places)} columns could be {role}", f"{role}=NAME")
    lacking = [role for role in ("timestamp", "close") if not (times if role == "timestamp" else found.get("close"))]
    if lacking == ["timestamp"] and len(found.get("close_time", ())) == 1:
        lacking, times = [], []
    if lacking:
        clocks = [table.names[at] for at in found.get("timestamp", ()) if is_clock(table.frame[at])]
        alone = f"column {clocks[0]} has times of a day without dates, and " if clocks and not times else ""
        raise _doubt(table, f"{alone}no column {' or '.join(lacking)}", ",".join(f"{role}=NAME" for role in lacking))
    ranges = PRICES[:3]
    if "close" in hints.columns and not set(ranges) & set(hints.columns):  # so that closes alone can be asked for
        found = found if set(ranges) <= set(found) else {role: at for role, at in found.items() if role not in ranges}
    partly = [role for role in ranges if role not in found]
    if 0 < len(partly) < 3:
        alone = f", or for closes alone --columns close={table.names[found['close'][0]]}"
        raise _doubt(table, f"no column {' or '.join(partly)}", ",".join(f"{role}=NAME" for role in partly) + alone)
    at = {role: places[0] for role, places in found.items() if role != "timestamp" and len(places) == 1}
    at |= {"timestamp": times[0]} if times else {}
    names = {plain(name) for name in table.names} | {name.strip() for name in table.names if len(name.strip()) == 1}
    title, feed = next(((title, feed) for title, own, feed in _WRITERS if own <= names), (table.kind, None))
    return Roles(title, at, feed, clock)


def _time_columns(table: Table, found: Mapping[str, list[int]], hints: Hints) -> tuple[list[int], int | None]:
    """Return the column of times, and the column with the time of day if there is one."""
    times = [at for at in found.get("timestamp", ()) if not is_clock(table.frame[at])]
    clocks = [at for at in found.get("timestamp", ()) if at not in times]
    if not times and not clocks:
        index = [at for at, name in enumerate(table.names) if plain(name) in INDEX_NAMES]
        return ([at for at in index if _readable(table, at, hints)][:1]) if len(index) <= 2 else [], None
    opens = [at for at in times if plain(table.names[at]) in OPEN_TIMES]
    if len(opens) == 1:
        return opens, None
    if len(times) == 1:
        return times, clocks[0] if len(clocks) == 1 else None
    if not times:
        return [], None
    usable = [at for at in times if _readable(table, at, hints)]
    moments = [read_times(table.frame[at], hints).ns for at in usable]
    if usable and not clocks and all((one == moments[0]).all() for one in moments):
        return usable[:1], None
    raise _doubt(table, f"{len(times)} columns could be timestamp and differ", "timestamp=NAME")


def _check_order(table: Table, prices: Sequence[Floats], hints: Hints) -> None:
    """Refuse rows in which each close is near the open before it: a bar opens near the close before it."""
    o, _, _, c = prices
    direction = np.median(np.diff(read_times(table.frame[0], hints).ns)) if len(o) > 1 else 0
    if direction < 0:
        o, c = c, o
    if direction and 3 * np.nansum(np.abs(c[1:] - o[:-1])) < np.nansum(np.abs(o[1:] - c[:-1])):
        raise _doubt(table, "rows without names, of which open and close seem exchanged", _EXAMPLE)


def _unnamed(table: Table, hints: Hints) -> Roles:
    """Return the layout of rows without names, told by their width and by which prices are highest and lowest."""
    split = len(table.frame.columns) > 2 and is_clock(table.frame[1]) and ":" in str(table.frame.iat[0, 1])
    width = len(table.frame.columns) - split
    fitting = [layout for layout in LAYOUTS if layout.width == width]
    if not fitting:
        raise _doubt(table, f"rows of {width} columns without names are unknown", _EXAMPLE)
    chosen = fitting[0]
    if width > 2:
        chosen = _by_prices(table, fitting, split, hints)
    at = {role: place + (split and place > 0) for role, place in chosen.roles.items()}
    return Roles(f"{chosen.name}, no header", at, chosen.feed, 1 if split else None)


def _by_prices(table: Table, fitting: list[Layout], split: bool, hints: Hints) -> Layout:
    """Return the one layout whose high is the highest and whose low is the lowest price of a row."""
    places = sorted({at + split for layout in fitting for role, at in layout.roles.items() if role in PRICES})
    mark = decimal_mark([table.frame[at] for at in places], hints.decimal)
    values = {at: floats(table.frame[at], str(at + 1), mark) for at in places}
    rated = []
    for layout in fitting:
        o, h, l, c = (values[layout.roles[role] + split] for role in PRICES)
        rated.append((int(((h < np.fmax(o, c)) | (l > np.fmin(o, c)) | (h < l)).sum()), (o, h, l, c), layout))
    rated.sort(key=lambda one: one[0])
    broken, prices, best = rated[0]
    enough = max(min(2, len(table.frame)), 10 * broken)
    for other_broken, other, _ in rated[1:]:
        same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(prices, other, strict=True))
        if not same and other_broken < enough:
            raise _doubt(table, "rows without names, of which the order of prices is not clear", _EXAMPLE)
    if broken > max(1, len(table.frame) // 10):
        raise _doubt(table, "rows without names, of which no column is the highest price", _EXAMPLE)
    _check_order(table, prices, hints)
    return best


_EXAMPLE = ",".join(f"{role}=NUMBER" for role in ("timestamp", *PRICES))


def _position(table: Table, role: str, name: str) -> int:
    """Return the column that a user names, by its name or by its number from 1 on."""
    same = [at for at, own in enumerate(table.names) if own == name and own]
    same = same or [at for at, own in enumerate(table.names) if own and plain(own) == plain(name)]
    if not same and name.isdigit() and 1 <= int(name) <= len(table.frame.columns):
        return int(name) - 1
    if len(same) != 1:
        raise _doubt(table, f"{len(same) or 'no'} column{'s are' if same else ' is'} called {name!r}", f"{role}=NUMBER")
    return same[0]


def _readable(table: Table, at: int, hints: Hints) -> bool:
    try:
        read_times(table.frame[at], hints)
    except BarsError:
        return False
    return True


def _doubt(table: Table, what: str, option: str) -> BarsError:
    names = table.names if table.header else tuple(str(value) for value in table.frame.iloc[:1].to_numpy().ravel())
    shown = ", ".join(name or "(no name)" for name in names[:30])
    return BarsError(f"{what}; {'it has' if table.header else 'its first row is'} {shown}; pass --columns {option}")

"""Names of columns, as programs and people write them, and the roles that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OPENS = "opentime opentimestamp timeopen starttime begintime candlebegintime start windowstart"
OPEN_TIMES = frozenset(_OPENS.split())
_ALIASES = {
    "timestamp": f"timestamp time date datetime ts t unix unixtime unixtimestamp epoch {_OPENS} tsevent gmttime "
    "dateutc timeutc datetimeutc timestamputc",
    "close_time": "closetime closetimestamp timeclose endtime tsclose end windowend",
    "open": "open o openprice priceopen",
    "high": "high h highprice pricehigh",
    "low": "low l lowprice pricelow",
    "close": "close c closeprice priceclose",
    "symbol": "symbol ticker asset coin pair instrument instrumentid instrumentname productid currencypair contract "
    "s tic",
    "interval": "interval timeframe granularity per i",
    "final": "isfinal isclosed final",
}
ROLES = {alias: role for role, aliases in _ALIASES.items() for alias in aliases.split()}
# The names that pandas and people give to an index without a name.
INDEX_NAMES = {"", "index", "unnamed0", "level0"}


def plain(name: object) -> str:
    """Return a name in lower case, without signs and spaces.

    Examples
    --------
    >>> plain(" <Open Time> ")
    'opentime'
    >>> plain("4. close")
    'close'
    """
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^\d+\. ", "", str(name).lower()))


def roles_of(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of the columns whose names have a role.

    Examples
    --------
    >>> roles_of(["t", "T", "Close"])
    {'timestamp': [0], 'close_time': [1], 'close': [2]}
    """
    stripped = [str(name).strip() for name in names]
    found: dict[str, list[int]] = {}
    for at, name in enumerate(stripped):
        role = ROLES.get(plain(name))
        if name == "T" and "t" in stripped:  # Hyperliquid, Binance's streams
            role = "close_time"
        if role:
            found.setdefault(role, []).append(at)
    return found


def merged_header(rows: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return one name per column from one or several header rows, and the columns' tickers (none: empty).

    Several rows are Yahoo's: field, ticker, and the name of the index. The first column is the index.

    Examples
    --------
    >>> merged_header([["Price", "Close"], ["Ticker", "BTC-USD"], ["Datetime", ""]])
    (('Datetime', 'Close'), ('', 'BTC-USD'))
    """
    if len(rows) == 1:
        return tuple(rows[0]), ()
    named = max(rows, key=lambda row: sum(plain(cell) in ROLES for cell in row[1:]))
    columns = [[cell for cell in cells if cell] for cells in zip(*rows, strict=True)]
    names = [next((cell for cell in columns[0] if ROLES.get(plain(cell)) == "timestamp"), "")]
    tickers = [""]
    for cells, name in zip(columns[1:], named[1:], strict=True):
        names.append(name)
        tickers.append(next((cell for cell in cells if cell != name), ""))
    return tuple(names), tuple(tickers)

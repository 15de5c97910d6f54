"""Bar files as people have them: each known shape gives the source's bars, bit for bit, and doubt stores nothing."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.errors import BarsError, EwmalabError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.files import clocks
from ewmalab.market.files.exporter import export_asset
from ewmalab.market.files.importer import Choices, Imported, import_file
from ewmalab.market.files.search import BarFile, find_files
from ewmalab.market.files.table import Hints
from ewmalab.market.quality import COLUMNS, rejects, spacing_fault
from ewmalab.market.ranges import subtract, union
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, day_start

MONDAY = day_start("2026-01-12")
LATER = MONDAY + 200 * DAY
RULEBOOK = load_rulebook()


def market(minutes: int = 40, start: int = MONDAY, level: float = 90_000.0) -> Bars:
    """Return bars with prices of two decimals, none flat."""
    rng = np.random.default_rng(7)
    close = np.round(level * np.exp(np.cumsum(rng.normal(0, 1e-4, minutes))), 2)
    open_ = np.round(close + rng.normal(0, 1, minutes), 2)
    high = np.round(np.maximum(open_, close) + 1 + rng.random(minutes), 2)
    low = np.round(np.minimum(open_, close) - 1 - rng.random(minutes), 2)
    return Bars(start + 60 * np.arange(minutes), open_, high, low, close)


BARS = market()
FRAME = pd.DataFrame(dict(BARS.columns()))
PRICES = list(COLUMNS[1:])


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def take(cache: Cache, path: Path, asset: str | None = "BTC", feed: str | None = "pyth", **options: Any) -> Imported:
    (done,) = take_all(cache, path, asset, feed, **options)
    return done


def take_all(
    cache: Cache, path: Path, asset: str | None = None, feed: str | None = "pyth", **options: Any
) -> tuple[Imported, ...]:
    now = options.pop("now", LATER)
    chosen = {name: options.pop(name) for name in ("replace", "quarantine", "dry_run") if name in options}
    files, _ = find_files([path], feed=feed, asset=asset, rulebook=RULEBOOK)
    choices = Choices(Hints(**options), **chosen)
    return tuple(
        done for item in files for done in import_file(cache, item, now=now, rulebook=RULEBOOK, choices=choices)
    )


def cached(cache: Cache, asset: str = "BTC", feed: str = "pyth") -> Bars:
    return cache.read(feed, asset, 0, 2**33)


def refused(cache: Cache, path: Path, match: str, **options: Any) -> str:
    with pytest.raises(EwmalabError, match=match) as caught:
        take_all(cache, path, options.pop("asset", "BTC"), **options)
    assert path.name in str(caught.value)
    assert cache.assets() == []
    return str(caught.value)


def text(rows: Any, delimiter: str = ",", header: str | None = None, end: str = "\n") -> str:
    lines = [delimiter.join(map(str, row)) for row in rows]
    return end.join([*([header] if header else []), *lines, ""])


def rows(*extra: Any, scale: int = 1, bars: Bars = BARS) -> list[list[Any]]:
    columns = [column.tolist() for column in bars.columns().values()]
    return [[when * scale, *prices, *extra] for when, *prices in zip(*columns, strict=True)]


def klines(scale: int) -> list[list[Any]]:
    return [[*row, "1.5", (row[0] // scale + 60) * scale - 1, "9.9", 7, "0.5", "1.1", 0] for row in rows(scale=scale)]


def stamps(pattern: str, zone: str = "UTC") -> list[str]:
    return list(pd.to_datetime(BARS.timestamp, unit="s", utc=True).tz_convert(zone).strftime(pattern))


def dated(*patterns: str, zone: str = "UTC") -> list[list[Any]]:
    times = [stamps(pattern, zone) for pattern in patterns]
    return [[*(column[i] for column in times), *row[1:]] for i, row in enumerate(rows(12))]


def yahoo() -> str:
    head = "Price,Close,High,Low,Open\nTicker,BTC-USD,BTC-USD,BTC-USD,BTC-USD\nDatetime,,,,\n"
    return head + text([[when, c, h, l, o] for when, o, h, l, c, _ in dated("%Y-%m-%d %H:%M:%S+00:00")])


BINANCE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_quote,ignore"
)
OHLCV = "open,high,low,close,volume"
GERMAN = [[str(value).replace(".", ",") for value in row] for row in rows()]
TEXTS: dict[str, tuple[str, str]] = {
    "BTCUSDT-1m.csv": (text(klines(1000)), "Binance klines, no header, milliseconds, labels at the open, UTC"),
    "us.csv": (text(klines(10**6)), "Binance klines, no header, microseconds, labels at the open, UTC"),
    "header.csv": (text(klines(1000), header=BINANCE_HEADER), "Binance klines, milliseconds, labels at the open, UTC"),
    "words.csv": (text(klines(1000), header=BINANCE_HEADER.title().replace("_", " ")), "Binance klines, milliseconds"),
    "kraken.csv": (text(rows(1.5, 3)), "Kraken candles, no header, seconds, labels at the open, UTC"),
    "iso.csv": (text(dated("%Y-%m-%d %H:%M:%S"), header=f"Date,{OHLCV}"), "times without a zone, labels at the open"),
    "zone.csv": (text(dated("%Y-%m-%dT%H:%M:%S+01:00", zone="Etc/GMT-1"), header=f"Datetime,{OHLCV}"), "times with a"),
    "index.csv": (text(dated("%Y-%m-%d %H:%M:%S"), header=f",{OHLCV}"), "taken as UTC"),
    "float.csv": (text([[float(r[0]), *r[1:]] for r in rows(1)], header=f"Unix Timestamp,{OHLCV}"), "CSV, seconds"),
    "download.csv": (
        "https://www.CryptoDataDownload.com\n"
        + text(
            [
                [r[0], when[0], "BTC/USD", *r[1:]]
                for r, when in zip(rows(1)[::-1], dated("%Y-%m-%d %H:%M:%S")[::-1], strict=True)
            ],
            header="unix,date,symbol,open,high,low,close,Volume BTC",
        ),
        "seconds, labels at the open, UTC, 1 line(s) before the header",
    ),
    "mt4.csv": (text(dated("%Y.%m.%d", "%H:%M")), "candles, no header, times without a zone"),
    "mt5.csv": (
        text(dated("%Y.%m.%d", "%H:%M:%S"), "\t", "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>"),
        "CSV (tab), times without a zone",
    ),
    "histdata.csv": (text(dated("%Y%m%d %H%M%S"), ";"), "candles, no header, times without a zone"),
    "tradingview.csv": (text(rows(3), header="time,open,high,low,close,Volume"), "CSV, seconds"),
    "yahoo.csv": (yahoo(), "CSV, times with a zone, labels at the open, UTC"),
    "semicolon.csv": (
        text(GERMAN, ";", "timestamp;open;high;low;close"),
        "CSV (semicolon), seconds, labels at the open",
    ),
    "quoted.csv": (
        text([[r[0], *(f'"{p:,.2f}"' for p in r[1:])] for r in rows()], header="Timestamp,Open,High,Low,Close"),
        "CSV, seconds",
    ),
    "spaces.csv": (text(rows(1), " , ", f" timestamp , {OHLCV}"), "CSV, seconds"),
    "crlf.csv": (text(rows(1), header=f"TIMESTAMP,{OHLCV.upper()}", end="\r\n"), "CSV, seconds"),
    "cut.csv": (text(rows(1), header=f"timestamp,{OHLCV}") + f"{MONDAY + 2400},90", "the last line is cut"),
    "coinbase.csv": (text([[t, l, h, o, c, 1] for t, o, h, l, c in rows()]), "Coinbase candles, no header"),
    "sentence.csv": (
        "Bars of a shop, free\nsep=;\n" + text(rows(), ";", "time;open;high;low;close"),
        "2 line(s) before",
    ),
    "comments.csv": (
        text([*rows(1)[:9], ["# a second part"], *rows(1)[9:]], header=f"# made here\n#timestamp,{OHLCV}"),
        "1 line(s) before the header, 1 comment line(s)",
    ),
    "joined.csv": (text([*rows(1)[:9], [f"timestamp,{OHLCV}"], *rows(1)[9:]], header=f"timestamp,{OHLCV}"), "repeated"),
    "ends.csv": (text(rows(""), header="timestamp,open,high,low,close"), "CSV, seconds"),
    "numbered.txt": (
        text([[i, *r] for i, r in enumerate(rows())], "  ", "timestamp open high low close"),
        "CSV (space)",
    ),
    "sheet.csv": (text(rows(1), header=f"timestamp,{OHLCV}") + ",,,,,\n,,,,,\n", "CSV, seconds"),
    "dollars.csv": (
        text([[r[0], *(f'"${p:,.2f}"' for p in r[1:])] for r in rows()], header="t,o,h,l,c"),
        "CSV, seconds",
    ),
    **{
        f"group_{ord(gap)}.csv": (
            text([[r[0], *(f"{p:,.2f}".replace(",", gap) for p in r[1:])] for r in rows()], ";", "t;o;h;l;c"),
            "CSV (semicolon)",
        )
        for gap in " '\u2019\u00a0\u2009\u202f"
    },
    "am_pm.csv": (text(dated("%Y-%m-%d", "%I:%M %p"), header=f"Date,Time,{OHLCV}"), "times without a zone"),
    "four_digits.csv": (text(dated("%Y%m%d", "%H%M"), header=f"Date,Time,{OHLCV}"), "times without a zone"),
    "month.csv": (text(dated("%d %b %Y %H:%M"), header=f"Date,{OHLCV}"), "times without a zone"),
    "okx.csv": (text(rows(1, 2, 3, 1, scale=1000)[::-1]), "OKX candles, no header"),
    "gate.csv": (text([[t, 5, c, h, l, o, 1, "true"] for t, o, h, l, c in rows()]), "Gate candles, no header"),
    "eleven.csv": (text([row[:-1] for row in klines(1000)]), "Binance klines, no header"),
    "alpha.csv": (text(rows(), header="timestamp,1. open,2. high,3. low,4. close"), "CSV, seconds"),
    "closes.csv": (
        text([[r[0] * 1000 + 59_999, *r[1:]] for r in rows(1)], header=f"close_time,{OHLCV}"),
        "CSV, milliseconds, labels at the close, UTC",
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_text_table_is_understood_and_gives_its_bars(cache, tmp_path, name):
    content, understood = TEXTS[name]
    path = tmp_path / name
    path.write_text(content)
    done = take(cache, path)
    assert understood in done.understood
    assert cached(cache).digest() == BARS.digest()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_every_encoding_is_read(cache, tmp_path, encoding):
    path = tmp_path / "BTC.csv"
    path.write_bytes(text(rows(1), header=f"timestamp,{OHLCV}").encode(encoding))
    take(cache, path)
    assert cached(cache).digest() == BARS.digest()


def indexed(unit: str = "ns") -> pd.DataFrame:
    frame = FRAME[PRICES].copy()
    frame.index = pd.to_datetime(BARS.timestamp, unit="s", utc=True).as_unit(unit)
    return frame


def decimals(path: Path) -> None:
    columns = {name: pa.array([Decimal(str(v)) for v in FRAME[name]], pa.decimal128(18, 2)) for name in PRICES}
    pq.write_table(pa.table({"timestamp": BARS.timestamp, **columns}), path)


def nautilus(width: int, scale: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        columns: dict[str, Any] = {}
        for name in PRICES:
            raw = [int(Decimal(str(v)) * scale).to_bytes(width, "little", signed=True) for v in FRAME[name]]
            columns[name] = pa.array(raw, pa.binary(width))
        columns["ts_event"] = pa.array((BARS.timestamp + 60) * 10**9, pa.uint64())
        columns["ts_init"] = columns["ts_event"]
        pq.write_table(pa.table(columns), path)

    return write


def multi_level(path: Path) -> None:
    frame = indexed()
    frame.index = pd.MultiIndex.from_arrays([["BTCUSDT"] * len(frame), frame.index], names=["symbol", "timestamp"])
    frame.to_parquet(path)


def freqtrade(path: Path) -> None:
    frame = indexed("ms").reset_index(names="date").assign(volume=1.0)
    frame.to_feather(path)


TABLES: dict[str, Callable[[Path], object]] = {
    **{f"index_{unit}.parquet": lambda p, unit=unit: indexed(unit).to_parquet(p) for unit in ("s", "ms", "us", "ns")},
    **{
        f"numbers_{scale}.parquet": lambda p, scale=scale: FRAME.assign(timestamp=BARS.timestamp * scale).to_parquet(p)
        for scale in (1, 10**3, 10**6, 10**9)
    },
    "int96.parquet": lambda p: pq.write_table(
        pa.Table.from_pandas(indexed("us").tz_localize(None).reset_index(names="time")),
        p,
        use_deprecated_int96_timestamps=True,
    ),
    "decimals.parquet": decimals,
    "multi_level.parquet": multi_level,
    "BTC_USDT-1m.feather": freqtrade,
    **{
        f"{orient}.json": lambda p, orient=orient: FRAME.to_json(p, orient=orient, double_precision=15)
        for orient in ("records", "split", "columns", "index", "values", "table")
    },
    "index_ms.json": lambda p: p.write_text(json.dumps(keyed())),
    "index_iso.json": lambda p: indexed().to_json(p, orient="index", double_precision=15, date_format="iso"),
    "lines.jsonl": lambda p: FRAME.to_json(p, orient="records", lines=True, double_precision=15),
    "freqtrade.json": lambda p: p.write_text(json.dumps(rows(1.5, scale=1000))),
    "freqtrade.json.gz": lambda p: p.write_bytes(gzip.compress(json.dumps(rows(1.5, scale=1000)).encode())),
    "api.json": lambda p: p.write_text(json.dumps({"error": [], "result": {"XXBTZUSD": rows(1.5, 1, 2), "last": 5}})),
    "udf.json": lambda p: p.write_text(json.dumps({"s": "ok", "t": BARS.timestamp.tolist()} | lists("ohlc"))),
    "fields.json": lambda p: p.write_text(json.dumps({"fields": ["timestamp", *PRICES], "data": rows()})),
    "about.json": lambda p: p.write_text(json.dumps({"symbol": "BTC-USD", "interval": "1m", "data": objects()})),
    "alpaca.json": lambda p: p.write_text(json.dumps({"bars": {"BTC/USD": objects(), "ETH/USD": objects(2)}})),
    "alpha.json": lambda p: p.write_text(
        json.dumps(
            {"Meta Data": {"2. Symbol": "BTC"}, "Series (1min)": dict(zip(stamps("%F %T"), objects(), strict=True))}
        )
    ),
    "words.csv": lambda p: p.write_text(json.dumps(objects())),
    "table.json": lambda p: p.write_text(text(rows(), header="timestamp,open,high,low,close")),
    "parquet.csv": lambda p: indexed().to_parquet(p),
    "tickers.parquet": lambda p: pd.concat(
        {"BTC": indexed().assign(volume=1), "ETH": 2 * indexed()}, axis=1
    ).to_parquet(p),
    "stream.arrow": lambda p: stream(p),
    "hyperliquid.json": lambda p: p.write_text(json.dumps(hyperliquid())),
    "texts.csv.gz": lambda p: p.write_bytes(gzip.compress(text(klines(1000)).encode())),
}


def objects(scale: int = 1) -> list[dict[str, Any]]:
    return FRAME.assign(**{name: FRAME[name] * scale for name in PRICES}).to_dict("records")


def lists(letters: str) -> dict[str, list[float]]:
    return {letter: FRAME[name].tolist() for letter, name in zip(letters, PRICES, strict=True)}


def stream(path: Path) -> None:
    table = pa.Table.from_pandas(FRAME, preserve_index=False)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


def keyed() -> dict[str, Any]:
    """Return what pandas writes by default: columns by the milliseconds of the index."""
    return {
        name: {str(t * 1000): v for t, v in zip(BARS.timestamp.tolist(), FRAME[name], strict=True)} for name in PRICES
    }


def hyperliquid() -> list[dict[str, Any]]:
    return [
        {
            "t": t * 1000,
            "T": t * 1000 + 59_999,
            "s": "BTC",
            "i": "1m",
            "o": str(o),
            "c": str(c),
            "h": str(h),
            "l": str(l),
        }
        | {"v": "1.5", "n": 3}
        for t, o, h, l, c in rows()
    ]


@pytest.mark.parametrize("name", TABLES)
def test_every_binary_and_json_shape_gives_its_bars(cache, tmp_path, name):
    TABLES[name](tmp_path / name)
    take(cache, tmp_path / name)
    assert cached(cache).digest() == BARS.digest()


@pytest.mark.parametrize(("width", "scale"), [(8, 10**9), (16, 10**16)])
def test_nautilus_needs_its_labels_named(cache, tmp_path, width, scale):
    path = tmp_path / "BTC.parquet"
    nautilus(width, scale)(path)
    refused(cache, path, "--labels close")
    take(cache, path, labels="close")
    assert cached(cache).digest() == BARS.digest()


def test_an_archive_is_read_member_by_member(cache, tmp_path):
    path = tmp_path / "months.zip"
    half = klines(1000)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("BTCUSDT-1m-2026-01.csv", text(half[:25]))
        archive.writestr("BTCUSDT-1m-2026-02.csv", text(half[20:]))
        archive.writestr("readme.md", "x")
    done = take_all(cache, path, feed=None)
    assert [(one.feed, one.asset, one.bars) for one in done] == [("binance", "BTC", 25), ("binance", "BTC", 20)]
    assert cached(cache, feed="binance").digest() == BARS.digest()


def test_a_column_of_symbols_gives_each_asset_its_own_rows(cache, tmp_path):
    other = market(level=3000.0)
    lines = [["BTCUSDT", *r] for r in rows()] + [["ETHUSDT", *r] for r in rows(bars=other)] + [["DOGE", *rows()[0]]]
    path = tmp_path / "all.csv"
    path.write_text(text(lines, header="symbol,timestamp,open,high,low,close"))
    done = take_all(cache, path)
    assert [one.asset for one in done] == ["BTC", "ETH"]
    assert "without DOGE" in done[0].understood
    assert cached(cache).digest() == BARS.digest()
    assert cached(cache, "ETH").digest() == other.digest()
    only = Cache(tmp_path / "only")
    take(only, path, None, symbol="ETHUSDT")
    assert only.assets() == [("pyth", "ETH")]


def test_a_symbol_names_the_asset_of_a_file_without_a_column_of_symbols(cache, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(text(rows(), header="timestamp,open,high,low,close"))
    refused(cache, path, "DOGEUSDT", asset=None, symbol="DOGEUSDT")
    assert take(cache, path, None, symbol="ETH-USDT").asset == "ETH"


def test_a_hole_is_never_filled_with_another_assets_row(cache, tmp_path):
    lines = [["BTCUSDT", *r] for r in rows()]
    lines[5][0] = "ETHUSDT"
    path = tmp_path / "BTC.csv"
    path.write_text(text(lines, header="symbol,timestamp,open,high,low,close"))
    take(cache, path)
    assert len(cached(cache)) == 39
    assert cache.missing("pyth", "BTC", MONDAY, MONDAY + 2400) == [(MONDAY + 300, MONDAY + 360)]


def test_options_settle_what_a_file_leaves_open(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text(dated("%d/%m/%Y %H:%M", zone="America/New_York"), header="When,O1,H1,L1,Last,V"))
    columns = {"timestamp": "When", "open": "O1", "high": "H1", "low": "L1", "close": "Last"}
    refused(cache, path, r"no column timestamp or close; it has When, O1, H1, L1, Last, V; pass --columns")
    refused(cache, path, "pass --columns open=NUMBER", columns=columns | {"open": "O2"})
    take(cache, path, columns=columns, timezone="America/New_York", time_format="%d/%m/%Y %H:%M")
    assert cached(cache).digest() == BARS.digest()


def test_closes_alone_are_taken_from_a_file_with_a_part_of_the_range(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text([[r[0], r[1], r[4]] for r in rows()], header="time,open,close"))
    refused(cache, path, "no column high or low; .* or for closes alone --columns close=close")
    take(cache, path, columns={"close": "close"})
    assert (cached(cache).close == BARS.close).all()


@pytest.mark.parametrize("closes_first", [True, False])
def test_files_of_closes_and_of_candles_that_agree_are_one_market(cache, tmp_path, closes_first):
    texts = [text([[r[0], r[4]] for r in rows()], header="time,close"), text(rows(), header="time,open,high,low,close")]
    for content in texts if closes_first else reversed(texts):
        (tmp_path / "BTC.csv").write_text(content)
        take(cache, tmp_path / "BTC.csv")
    assert cached(cache).digest() == BARS.digest()


def test_labels_at_the_close_are_moved_to_the_open(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text([[r[0] + 60, *r[1:]] for r in rows()], header="time,open,high,low,close"))
    take(cache, path, labels="close")
    assert cached(cache).digest() == BARS.digest()


def five(step: int = 5, count: int = 20) -> list[list[Any]]:
    return rows(1, bars=market(step * count))[::step]


WRONG = {
    "five minutes": (text(five(), header=f"timestamp,{OHLCV}"), "300 s apart"),
    "five minutes and one odd": (text([*five(), [MONDAY + 60, *five()[0][1:]]], header=f"timestamp,{OHLCV}"), "300 s"),
    "few of five minutes": (text(five(count=4), header=f"timestamp,{OHLCV}"), "--interval 1m"),
    "an hour by its closes": (
        text([[r[0], r[0] + 3600, *r[1:]] for r in rows(1)[:2]], header=f"open_time,close_time,{OHLCV}"),
        "bars last 3600 s",
    ),
    "an interval": (text([["5m", *r] for r in rows(1)[:2]], header=f"interval,timestamp,{OHLCV}"), "bars of 5m"),
    "equal columns": (text(rows(), header="timestamp,open,high,close,close"), "2 columns could be close"),
    "two times": (text([[r[0], r[0] + 60, *r[1:]] for r in rows()], header="time,date,open,high,low,close"), "differ"),
    "a cut number": (text([[r[0], "101,5"] for r in rows()], header="timestamp,close"), "line 2 has 3 fields"),
    "thousands or decimals": (text([[r[0], '"101,500"'] for r in rows()], header="timestamp,close"), "--decimal"),
    "day or month": (
        text([["05/01/2026 00:00", 1], ["05/01/2026 00:01", 1]], header="timestamp,close"),
        "--time-format",
    ),
    "flat but for one": (text([[MONDAY, 1, 1, 1, 1, 1], [MONDAY + 60, 1, 2, 1, 1, 1]]), "order of prices is not clear"),
    "no highest": (text([[MONDAY + 60 * i, 2, 1, 3, 9] for i in range(30)]), "no column is the highest price"),
    "rows of ten": (text(rows(1, 2, 3, 4, 5)), "pass --columns timestamp=NUMBER,open=NUMBER"),
    "a low is lacking": (text([r[:3] + r[4:] for r in rows()], header="timestamp,open,high,close"), "no column low"),
    "ticks": (text([[r[0], 1, 2] for r in rows()]), "rows of 3 columns"),
    "close times": (text([[r[0] + 59, *r[1:]] for r in rows()], header="time,open,high,low,close"), "--labels close"),
    "minutes since 1970": (text([[MONDAY // 60 + i, 1] for i in range(9)], header="timestamp,close"), "no row is good"),
    "a clock": (text(dated("%H:%M"), header=f"time,{OHLCV}"), "column time has times of a day without dates"),
    "dates": (text(dated("%Y-%m-%d"), header=f"date,{OHLCV}"), "--columns symbol=NAME, if another one has the time"),
    "two days": (text([[MONDAY + DAY * i, 1] for i in range(2)], header="timestamp,close"), "--interval 1m"),
    "closes first": (
        text([[MONDAY + 60 * i, i + 2, i + 3, i, i + 1] for i in range(1, 30)]),
        "open and close seem exchanged",
    ),
    "points of thousands": (
        text([[t, "101.500", "5,25"] for t, *_ in rows()], ";", "time;close;volume"),
        "points of thousands; pass --decimal",
    ),
    "a word": (text([[MONDAY, "abc"]], header="timestamp,close"), "'abc'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_doubt_is_refused_and_stores_nothing(cache, tmp_path, what):
    content, why = WRONG[what]
    path = tmp_path / "BTC.csv"
    path.write_text(content)
    refused(cache, path, why)
    refused(cache, path, why, quarantine=True)


JSON_WRONG = {
    "equal keys": ('[{"timestamp": 1768176000, "close": 1, "close": 2}]', "two values for 'close'"),
    "ragged": ("[[1768176000, 1], [1768176060]]", "differ in length"),
    "no times": ('{"close": {"0": 1.0, "1": 2.0}}', "no column timestamp"),
    "nothing": ("[]", "empty"),
    "another symbol": (json.dumps({"symbol": "ETHUSDT", "data": [{"t": MONDAY, "c": 1}]}), "it holds ETHUSDT, not BTC"),
    "another key": (json.dumps({"bars": {"ETH/USD": [[MONDAY, 1]]}}), "it holds ETH/USD, not BTC"),
    "five minutes": (json.dumps({"interval": "5m", "data": [{"t": MONDAY, "c": 1}]}), "bars of 5m"),
}


@pytest.mark.parametrize("what", JSON_WRONG)
def test_json_in_doubt_is_refused(cache, tmp_path, what):
    content, why = JSON_WRONG[what]
    path = tmp_path / "BTC.json"
    path.write_text(content)
    refused(cache, path, why)


def test_few_bars_far_apart_are_taken_when_they_are_said_to_be_minute_bars(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text(five(count=4), header=f"timestamp,{OHLCV}"))
    assert take(cache, path, interval="1m").bars == 4


def test_a_run_of_long_bars_among_minute_bars_is_found():
    times = np.concatenate([np.arange(0, 6000, 60), np.arange(6000, 6000 + 25 * 300, 300)])
    assert "from timestamp 6000 on, bars are 300 s apart" in str(spacing_fault(times))
    assert spacing_fault(np.unique(np.random.default_rng(1).integers(0, 5000, 2500)) * 60) is None


def test_one_stray_time_sets_aside_one_row(cache, tmp_path):
    for order in (1, -1):
        lines = rows()[::order]
        lines[4][0] = MONDAY + 30 * 60
        path = tmp_path / f"BTC{order}.csv"
        path.write_text(text(lines, header="timestamp,open,high,low,close"))
        own = Cache(tmp_path / f"cache{order}")
        done = take(own, path, quarantine=True)
        assert done.bars == 39
        assert "1 x out of order (first: row 4," in str(done.rejected)
        assert BARS.disagreements(cached(own)).sum() == 0


def test_rows_of_joined_and_shuffled_files_are_sorted(cache, tmp_path):
    joined = rows()[20:] + rows()[:25]
    shuffled = [rows()[i] for i in np.random.default_rng(3).permutation(40)]
    for number, lines in enumerate((joined, shuffled, rows()[::-1])):
        path = tmp_path / f"BTC{number}.csv"
        path.write_text(text(lines, header="timestamp,open,high,low,close"))
        own = Cache(tmp_path / f"cache{number}")
        assert take(own, path).rejected is None
        assert cached(own).digest() == BARS.digest()


def test_a_row_without_a_readable_time_is_set_aside_alone(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text([*rows(), ["Total", *rows()[0][1:]]], header="timestamp,open,high,low,close"))
    done = take(cache, path, quarantine=True)
    assert done.rejected == "bad bars: 1 x no readable time (first: row 40)"
    assert cached(cache).digest() == BARS.digest()


def test_rows_that_share_a_time_and_differ_are_all_bad():
    columns = {name: np.repeat(column[:2], 2) for name, column in BARS.columns().items()}
    columns["close"] = columns["close"] + [0, 0.25, 0, 0.25]
    columns["timestamp"] = np.array([MONDAY, MONDAY, MONDAY + 60, MONDAY + 120])
    assert {reason: mask.tolist() for reason, mask in rejects(columns).items()} == {
        "duplicate timestamp": [True, True, False, False]
    }


@examples(200)
@given(*[st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=8)] * 2)
def test_ranges_are_subtracted_as_sets_of_their_seconds(whole, taken):
    def members(ranges):
        return {second for a, b in ranges for second in range(a, b)}

    rest = subtract(whole, taken)
    assert members(rest) == members(whole) - members(taken)
    assert rest == union(rest)


def test_holes_are_not_covered_and_rows_without_prices_are(cache, tmp_path):
    lines = rows()
    lines[3][1:] = [""] * 4
    del lines[10]
    path = tmp_path / "BTC.csv"
    path.write_text(text(lines, header="timestamp,open,high,low,close"))
    take(cache, path)
    assert cache.missing("pyth", "BTC", MONDAY, MONDAY + 2400) == [(MONDAY + 600, MONDAY + 660)]
    assert len(cached(cache)) == 38


def test_a_bar_that_was_forming_is_left_out(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text(rows(), header="timestamp,open,high,low,close"))
    done = take(cache, path, now=MONDAY + 39 * 60 + 30)
    assert done.bars == 39
    assert "still forming" in done.understood
    os.utime(path, (MONDAY + 39 * 60 + 59, MONDAY + 39 * 60 + 59))
    assert take(Cache(tmp_path / "other"), path).bars == 39
    refused(Cache(tmp_path / "third"), path, "not closed yet", now=MONDAY)


@pytest.mark.parametrize(("tail", "bars"), [("90000.25", 3), ("90000.2", 2), ("90", 2), ("90000.250", 3)])
def test_a_last_number_that_may_be_cut_is_left_out(cache, tmp_path, tail, bars):
    path = tmp_path / "BTC.csv"
    path.write_text(f"timestamp,close\n{MONDAY},90000.11\n{MONDAY + 60},90000.12\n{MONDAY + 120},{tail}")
    done = take(cache, path)
    assert done.bars == bars
    assert ("may be cut" in done.understood) == (bars == 2)


NAMES = {
    "BTCUSDT-1m-2026-01.csv": "BTC",
    "SOL/binance_x/eth.csv": "ETH",
    "Binance_ETHUSDT_2026_minute.csv": "ETH",
    "BTC_USDT-1m.csv": "BTC",
    "SOL/2026-01-12.csv": "SOL",
    "btc-usd.csv": "BTC",
    "SOL/x/doge.csv": None,
    "ETHBTC-1m.csv": None,
    "ETH_BTC-1m.csv": None,
    "BTC_EUR-1m.csv": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_the_asset_is_the_one_in_the_name(cache, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(rows(), header="timestamp,open,high,low,close"))
    if NAMES[name] is None:
        refused(cache, path, "--asset", asset=None)
    else:
        assert take(cache, path, None).asset == NAMES[name]


def test_a_dry_run_shows_the_bars_and_writes_nothing(cache, tmp_path):
    path = tmp_path / "BTC.csv"
    path.write_text(text(rows(), header="timestamp,open,high,low,close"))
    done = take(cache, path, dry_run=True)
    assert [list(bar) for bar in done.first_bars] == rows()[:3]
    assert not cache.root.exists()


@pytest.mark.parametrize("layout", ["csv", "parquet"])
def test_exported_bars_come_back_bit_for_bit(cache, tmp_path, layout):
    bars = Bars.concatenate([market(30), Bars.from_closes([MONDAY + 6000, MONDAY + 6060], [90_000 + 1 / 3, 90_000.1])])
    path = tmp_path / "BTC.parquet"
    pq.write_table(pa.table(bars.columns()), path)
    take(cache, path)
    out = export_asset(cache, "pyth", "BTC", span=(0, LATER), layout=layout, folder=tmp_path / "out")
    again = Cache(tmp_path / "again")
    take(again, Path(out.path), None, None)
    assert cached(again).digest() == bars.digest()
    assert again.covered("pyth", "BTC") == cache.covered("pyth", "BTC")


def test_the_layout_of_synth_lib_keeps_closes_gaps_and_coverage(cache, tmp_path):
    lines = rows(bars=market(2000))
    lines[3][1:] = [""] * 4
    del lines[10]
    path = tmp_path / "BTC.csv"
    path.write_text(text(lines, header="timestamp,open,high,low,close"))
    take(cache, path)
    out = export_asset(cache, "pyth", "BTC", span=(0, LATER), layout="synth-lib", folder=tmp_path / "market_data")
    first = tmp_path / "market_data/prices/BTC/1m/date=2026-01-12.parquet"
    table = pq.read_table(first, partitioning=None)
    assert table.column_names == ["timestamp", "close", "source", "ingested_at", "is_final"]
    assert np.isnan(table["close"].to_pylist()[3])
    assert (out.files, out.bars) == (2, 1998)
    again = Cache(tmp_path / "again")
    take_all(again, tmp_path / "market_data")
    assert again.covered("pyth", "BTC") == cache.covered("pyth", "BTC")
    np.testing.assert_array_equal(cached(again).close, cached(cache).close)


def test_rows_that_are_not_final_are_left_out(cache, tmp_path):
    path = tmp_path / "BTC.parquet"
    FRAME.assign(is_final=[True] * 39 + [False]).to_parquet(path)
    assert "1 row(s) that are not final" in take(cache, path).understood
    assert len(cached(cache)) == 39


def test_a_batch_goes_on_behind_a_refused_file_and_ends_with_a_count(tmp_path):
    from ewmalab import api
    from ewmalab.settings import load_settings

    folder = tmp_path / "pyth_1m"
    folder.mkdir()
    (folder / "BTC.csv").write_text("when,what\n1,2\n")
    (folder / "ETH.csv").write_text(text(rows(), header="timestamp,open,high,low,close"))
    settings = load_settings(flags={"data.cache_dir": str(tmp_path / "cache")})
    result = api.import_bars([folder], settings=settings)
    lines = result.text().splitlines()
    assert not result.ok
    assert "refused" in lines[0]
    assert lines[1] == "ETH.csv: CSV, seconds, labels at the open, UTC; 40 bars"
    assert lines[-1] == "2 files: 1 imported, 1 refused"
    done = api.export_bars("pyth", tmp_path / "out", layout="csv", settings=settings)
    assert "pyth ETH: 40 bars in 1 file(s)" in done.text()
    with pytest.raises(BarsError):
        import_file(Cache(tmp_path / "c"), BarFile(folder / "BTC.csv"), now=LATER, rulebook=RULEBOOK)


@pytest.mark.parametrize("hint", [None, *clocks._UNITS])
def test_times_that_are_whole_numbers_are_read_at_once_as_they_are_one_by_one(hint):
    span = None if hint else clocks._SPAN
    scales = {unit: scale for unit, (_, scale) in clocks._UNITS.items() if hint in (None, unit)}
    edges = [bound // scale + step for scale in scales.values() for bound in clocks._SPAN for step in (-1, 0, 1)]
    numbers = [0, -5, 1_768_435_200, 1_768_435_200_000, 2**62 - 1, 1 - 2**62, *edges]
    at_once, units = clocks._from_integers(np.array(numbers, np.int64), scales, span)
    one_by_one, same_units = clocks._one_by_one(numbers, scales, span)
    assert at_once.tolist() == one_by_one.tolist()
    assert units == same_units

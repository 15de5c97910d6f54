"""Read a rulebook file, refuse what contradicts itself, and cut it into eras."""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from ewmalab.errors import RulebookError
from ewmalab.rulebook.model import Asset, Competition, IntervalKind, Rulebook, Rules, ScoringInterval, ScoringRule
from ewmalab.times import iso

DEFAULT_PATH = Path(__file__).with_name("rulebook.toml")

_ALWAYS = -(2**62)
_FOREVER = 2**62
_DAY = 86_400

T = TypeVar("T")
N = TypeVar("N", int, float)


def load_rulebook(path: Path | None = None) -> Rulebook:
    """Load a rulebook; each file is read once per process.

    Parameters
    ----------
    path : Path, optional
        A TOML file in the layout of the packaged ``rulebook.toml``, which is the default.

    Raises
    ------
    RulebookError
        If the file cannot be read or contradicts itself; the message names the entry.
    """
    return _load(DEFAULT_PATH if path is None else Path(path).absolute())


@lru_cache(maxsize=8)
def _load(path: Path) -> Rulebook:
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw.decode())
        root = _Table(data, "", set())
        version = root.take("version", str)
        netuids = root.mapping("netuids", int)
        book = _read_book(root)
        root.done()
        return Rulebook(version, hashlib.sha256(raw).hexdigest(), netuids, _cut(book, root.marks))
    except (OSError, ValueError, RulebookError) as error:
        raise RulebookError(f"rulebook {path}: {error}") from error


# ------------------------------------------------------------------------------------------- TOML tables


@dataclass(frozen=True, slots=True)
class _Era(Generic[T]):
    start: int
    end: int
    value: T
    note: str

    def holds(self, when: int) -> bool:
        return self.start <= when < self.end


class _Table:
    """One TOML table, emptied key by key so that `done` can refuse keys that nothing understood.

    `marks` collects, over all tables of a file, the times at which anything begins or ends.
    """

    def __init__(self, data: object, where: str, marks: set[int]) -> None:
        self.where = where
        self.marks = marks
        if not isinstance(data, dict):
            self.fail(f"must be a table, not {data!r}")
        self._data: dict[str, Any] = dict(data)

    def fail(self, problem: str) -> NoReturn:
        raise RulebookError(f"{self.where}: {problem}" if self.where else problem)

    def has(self, key: str) -> bool:
        return key in self._data

    def done(self) -> None:
        if self._data:
            self.fail(f"unknown keys {', '.join(map(repr, self._data))}")

    def take(self, key: str, kind: type[T]) -> T:
        if key not in self._data:
            self.fail(f"{key!r} is missing")
        return self._check(key, self._data.pop(key), kind)

    def positive(self, key: str) -> int:
        number = self.take(key, int)
        if number <= 0:
            self.fail(f"{key!r} must be above 0, not {number}")
        return number

    def names(self, key: str) -> tuple[str, ...]:
        names = tuple(self._check(key, name, str) for name in self.take(key, list))
        if not names:
            self.fail(f"{key!r} is empty")
        return names

    def mapping(self, key: str, kind: type[T]) -> dict[str, T]:
        return {name: self._check(f"{key}.{name}", value, kind) for name, value in self.take(key, dict).items()}

    def pairs(self, key: str, first: type[T], second: type[Any]) -> list[tuple[T, Any]]:
        pairs = []
        for pair in self.take(key, list):
            if not isinstance(pair, list) or len(pair) != 2:
                self.fail(f"{key!r} must hold pairs, not {pair!r}")
            pairs.append((self._check(key, pair[0], first), self._check(key, pair[1], second)))
        return pairs

    def tables(self, key: str) -> dict[str, _Table]:
        where = f"{self.where}.{key}" if self.where else key
        return {name: _Table(data, f"{where}.{name}", self.marks) for name, data in self.take(key, dict).items()}

    def span(self) -> tuple[int, int]:
        """Take ``from`` and ``until``."""
        start, end = self._time("from", _ALWAYS), self._time("until", _FOREVER)
        if start >= end:
            self.fail(f"begins at {iso(start)}, not before its end at {iso(end)}")
        return start, end

    def eras(self, key: str, read: Callable[[_Table], T]) -> tuple[_Era[T], ...]:
        """Take a list of tables that follow each other without overlap or hole and cover all time."""
        eras = self.blocks(key, read, lambda _: ("",))
        edges = [_ALWAYS, *(edge for era in eras for edge in (era.start, era.end)), _FOREVER]
        for before, after in zip(edges[::2], edges[1::2], strict=True):
            if before != after:
                self.fail(f"{key!r} says nothing about {_span(before, after)}")
        return eras

    def blocks(self, key: str, read: Callable[[_Table], T], keys: Callable[[T], Iterable[str]]) -> tuple[_Era[T], ...]:
        """Take a list of tables in order of their beginning; no two may hold the same key at one time."""
        eras: list[_Era[T]] = []
        ends: dict[str, int] = {}
        for index, data in enumerate(self.take(key, list)):
            where = f"{self.where}.{key}" if self.where else key
            table = _Table(data, f"{where}[{index}]", self.marks)
            start, end = table.span()
            note = table.take("note", str) if table.has("note") else ""
            eras.append(_Era(start, end, read(table), note))
            table.done()
            if index and start < eras[index - 1].start:
                table.fail("begins before the entry above it; put entries in the order of their dates")
            for name in keys(eras[index].value):
                if name in ends and start < ends[name]:
                    table.fail(f"overlaps an entry above it{f' on {name}' if name else ''}")
                ends[name] = end
        return tuple(eras)

    def _check(self, key: str, value: Any, kind: type[T]) -> T:
        if kind is float and type(value) is int:
            value = float(value)
        # `type(...) is`, as a bool is an int too
        if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
            self.fail(f"{key!r} must be of type {kind.__name__}, unlike {value!r}")
        return value

    def _time(self, key: str, missing: int) -> int:
        if key not in self._data:
            return missing
        value = self._data.pop(key)
        # a datetime is a date too
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if not isinstance(value, datetime) or value.microsecond:
            self.fail(f"{key!r} must be an unquoted date, or datetime in whole seconds; not {value!r}")
        when = int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
        self.marks.add(when)
        return when


def _span(start: int, end: int) -> str:
    if start == _ALWAYS:
        return f"the time before {iso(end)}" if end != _FOREVER else "any time"
    return f"the time since {iso(start)}" if end == _FOREVER else f"{iso(start)} to {iso(end)}"


# --------------------------------------------------------------------------------- what the tables describe


@dataclass(frozen=True, slots=True)
class _Listing:
    """An asset; `scored` holds a feed and the symbol it used where that is not the usual one."""

    asset: Asset
    scored: tuple[_Era[tuple[str, str | None]], ...]

    def at(self, when: int) -> Asset:
        for era in self.scored:
            if era.holds(when):
                feed, symbol = era.value
                symbols = {**self.asset.symbols, feed: symbol or self.asset.symbols[feed]}
                return replace(self.asset, scored_feed=feed, symbols=symbols)
        return self.asset


@dataclass(frozen=True, slots=True)
class _Horizon:
    aliases: tuple[str, ...]
    time_increment: int
    time_length: int
    num_simulations: int
    intervals: tuple[ScoringInterval, ...]
    cadence: tuple[_Era[tuple[int, dict[str, int]]], ...]


@dataclass(frozen=True, slots=True)
class _Contest:
    """A competition over its whole life."""

    name: str
    start: int
    end: int
    horizon: _Horizon
    window: int
    beta: float
    share: tuple[_Era[float], ...]
    scoring: tuple[_Era[ScoringRule], ...]
    assets: tuple[_Era[tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class _Book:
    listings: dict[str, _Listing]
    horizons: dict[str, _Horizon]
    contests: tuple[_Contest, ...]
    transformation: tuple[_Era[str], ...]
    response_format: tuple[_Era[str], ...]
    weights: tuple[_Era[dict[str, float]], ...]
    sigma: tuple[_Era[tuple[float, dict[str, float]]], ...]
    request_lead: tuple[_Era[int], ...]
    min_stake: tuple[_Era[int], ...]


def _read_book(root: _Table) -> _Book:
    listings = {symbol: _read_listing(symbol, table) for symbol, table in root.tables("asset").items()}
    horizons = {name: _read_horizon(table, listings) for name, table in root.tables("horizon").items()}
    rules = {name: _read_rule(name, table, horizons) for name, table in root.tables("scoring").items()}
    contests = tuple(
        _read_contest(name, table, listings, horizons, rules) for name, table in root.tables("competition").items()
    )
    if not contests:
        root.fail("holds no competition")

    def numbers(table: _Table) -> dict[str, float]:
        return _per_asset(table, "values", float, listings)

    return _Book(
        listings=listings,
        horizons=horizons,
        contests=contests,
        transformation=root.eras("transformation", lambda table: table.take("name", str)),
        response_format=root.eras("response_format", lambda table: table.take("name", str)),
        weights=root.blocks("weights", numbers, lambda values: values),
        sigma=root.eras("sigma", lambda table: (table.take("default", float), numbers(table))),
        request_lead=root.eras("request_lead", lambda table: table.positive("seconds")),
        min_stake=root.eras("min_stake", lambda table: table.take("stake", int)),
    )


def _read_listing(symbol: str, table: _Table) -> _Listing:
    asset = Asset(
        symbol=symbol,
        asset_class=table.take("class", str),
        sessions=table.take("sessions", bool),
        symbols=table.mapping("symbols", str),
        scored_feed=None,
        hermes_id=table.take("hermes_id", str) if table.has("hermes_id") else None,
        lazer_id=table.take("lazer_id", int) if table.has("lazer_id") else None,
    )

    def read(era: _Table) -> tuple[str, str | None]:
        feed = era.take("feed", str)
        own = era.take("symbol", str) if era.has("symbol") else None
        if own is None and feed not in asset.symbols:
            era.fail(f"no symbol for feed {feed!r}; symbols has {', '.join(asset.symbols)}")
        return feed, own

    listing = _Listing(asset, table.blocks("scored", read, lambda _: ("",)))
    table.done()
    return listing


def _read_horizon(table: _Table, listings: Mapping[str, _Listing]) -> _Horizon:
    def cadence(era: _Table) -> tuple[int, dict[str, int]]:
        every = era.positive("seconds")
        own = _per_asset(era, "assets", int, listings) if era.has("assets") else {}
        for seconds in (every, *own.values()):
            if seconds % 60:
                era.fail(f"prompts start on whole minutes, so not every {seconds} s")
        return every, own

    horizon = _Horizon(
        aliases=table.names("aliases"),
        time_increment=table.positive("time_increment"),
        time_length=table.positive("time_length"),
        num_simulations=table.positive("num_simulations"),
        intervals=tuple(
            ScoringInterval(name, seconds, _kind(name)) for name, seconds in table.pairs("intervals", str, int)
        ),
        cadence=table.eras("cadence", cadence),
    )
    lengths = {"time_length": horizon.time_length} | {i.name: i.seconds for i in horizon.intervals}
    for name, seconds in lengths.items():
        if seconds <= 0 or seconds % horizon.time_increment or seconds > horizon.time_length:
            table.fail(f"{name} of {seconds} s is no whole number of increments within the horizon")
    table.done()
    return horizon


def _kind(interval: str) -> IntervalKind:
    if interval.endswith("_abs"):
        return "abs"
    return "gap" if interval.endswith("_gaps") else "changes"


def _read_rule(name: str, table: _Table, horizons: Mapping[str, _Horizon]) -> ScoringRule:
    horizon = _known(table, table.take("horizon", str), horizons, "horizon")
    rule = ScoringRule(
        name=name,
        intervals=horizon.intervals,
        gaps_as_series=table.take("gaps_as_series", bool),
        volatility_blocks=tuple(table.pairs("volatility_blocks", int, float)),
    )
    for seconds, weight in rule.volatility_blocks:
        if seconds <= 0 or seconds % horizon.time_increment or weight <= 0:
            table.fail(f"[{seconds}, {weight}] is no whole number of increments and a weight above 0")
    table.done()
    return rule


def _read_contest(
    name: str,
    table: _Table,
    listings: Mapping[str, _Listing],
    horizons: Mapping[str, _Horizon],
    rules: Mapping[str, ScoringRule],
) -> _Contest:
    def share(era: _Table) -> float:
        text = era.take("value", str)
        try:
            value = float(Fraction(text))
        except (ValueError, ZeroDivisionError):
            era.fail(f"'value' must be a fraction such as \"1/3\", not {text!r}")
        if not 0 < value <= 1:
            era.fail(f"a share lies above 0 and at or below 1, unlike {text}")
        return value

    def members(era: _Table) -> tuple[str, ...]:
        names = era.names("names")
        for symbol in names:
            _known(era, symbol, listings, "asset")
        return names

    horizon = _known(table, table.take("horizon", str), horizons, "horizon")

    def scoring(era: _Table) -> ScoringRule:
        rule = _known(era, era.take("rule", str), rules, "scoring rule")
        if rule.intervals != horizon.intervals:
            era.fail(f"scoring rule {rule.name!r} is for another horizon")
        return rule

    start, end = table.span()
    if start == _ALWAYS:
        table.fail("'from' is missing: a competition starts on a date")
    contest = _Contest(
        name=name,
        start=start,
        end=end,
        horizon=horizon,
        window=table.positive("window_days") * _DAY,
        beta=table.take("beta", float),
        share=table.eras("share", share),
        scoring=table.eras("scoring", scoring),
        assets=table.blocks("assets", members, lambda names: names),
    )
    if contest.beta >= 0:
        table.fail(f"'beta' must be below 0, as low scores are good; not {contest.beta}")
    table.done()
    return contest


def _per_asset(table: _Table, key: str, kind: type[N], listings: Mapping[str, _Listing]) -> dict[str, N]:
    values = table.mapping(key, kind)
    for symbol, value in values.items():
        _known(table, symbol, listings, "asset")
        if value <= 0:
            table.fail(f"{key}.{symbol} must be above 0, not {value}")
    return values


def _known(table: _Table, name: str, things: Mapping[str, T], what: str) -> T:
    if name not in things:
        table.fail(f"no {what} {name!r}; there are {', '.join(things)}")
    return things[name]


# ------------------------------------------------------------------------------------------------ eras


def _cut(book: _Book, marks: set[int]) -> tuple[Rules, ...]:
    """Build the rules between all neighbouring marks and join those that do not differ."""
    eras = [_rules(book, min(marks) - 1, 0)]
    for mark in sorted(marks):
        rules = _rules(book, mark, mark)
        if replace(rules, on=eras[-1].on) != eras[-1]:
            eras.append(rules)
    return tuple(eras)


def _rules(book: _Book, when: int, on: int) -> Rules:
    notes: dict[str, None] = {}

    def active(eras: tuple[_Era[T], ...]) -> list[T]:
        notes.update((era.note, None) for era in eras if era.holds(when) and era.note)
        return [era.value for era in eras if era.holds(when)]

    def one(eras: tuple[_Era[T], ...]) -> T:
        return active(eras)[0]

    competitions: dict[str, Competition] = {}
    for contest in book.contests:
        if not contest.start <= when < contest.end:
            continue
        horizon = contest.horizon
        members = tuple(symbol for names in active(contest.assets) for symbol in names)
        for symbol in members:
            if not active(book.listings[symbol].scored):
                raise RulebookError(f"competition.{contest.name}: {symbol} has no scored feed at {iso(when)}")
        every, own = one(horizon.cadence)
        competitions[contest.name] = Competition(
            name=contest.name,
            assets=members,
            time_increment=horizon.time_increment,
            time_length=horizon.time_length,
            num_simulations=horizon.num_simulations,
            window=contest.window,
            beta=contest.beta,
            share=one(contest.share),
            scoring=one(contest.scoring),
            cadence={symbol: own.get(symbol, every) for symbol in members},
        )
    if sum(competition.share for competition in competitions.values()) > 1 + 1e-9:
        raise RulebookError(f"the shares of {', '.join(competitions)} add up to more than 1 at {iso(when)}")
    sigma_default, sigma = one(book.sigma)
    return Rules(
        on=on,
        competitions=competitions,
        assets={symbol: listing.at(when) for symbol, listing in book.listings.items()},
        weights={symbol: weight for block in active(book.weights) for symbol, weight in block.items()},
        transformation=one(book.transformation),
        response_format=one(book.response_format),
        sigma=sigma,
        sigma_default=sigma_default,
        request_lead=one(book.request_lead),
        min_stake=one(book.min_stake),
        notes=tuple(notes),
        aliases={alias: horizon.time_length for horizon in book.horizons.values() for alias in horizon.aliases},
        first_start=min(contest.start for contest in book.contests),
    )

"""Read a rulebook file, refuse contradictions, and divide it into eras."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ewmalab.errors import RulebookError
from ewmalab.rulebook.model import Asset, Competition, IntervalKind, Rulebook, Rules, ScoringInterval, ScoringRule
from ewmalab.rulebook.tables import Era, RulebookFile, seconds_of
from ewmalab.times import DAY, iso

DEFAULT_PATH = Path(__file__).with_name("rulebook.toml")
VARIABLE = "EWMALAB_RULEBOOK"
"""Environment variable that may name a file to use instead of the packaged one."""
_MAX_SHOWN = 80  # characters of a wrong value in an error
_MESSAGES = {"extra_forbidden": "unknown key"}  # where pydantic does not use TOML's words
_MESSAGES |= dict.fromkeys(("model_type", "dict_type"), "must be a table")
_MESSAGES |= dict.fromkeys(("list_type", "tuple_type"), "must be an array")

E = TypeVar("E", bound=Era)


def load_rulebook(path: Path | None = None) -> Rulebook:
    """Load a rulebook; each file is read once per process, and again by `reload_rulebook` alone.

    Parameters
    ----------
    path : Path, optional
        A TOML file in the layout of the packaged ``rulebook.toml``. By default the file that the environment variable
        ``EWMALAB_RULEBOOK`` names, else the packaged one.

    Raises
    ------
    RulebookError
        If the file cannot be read or contradicts itself. Each line of the message names the file, the key, the value
        and the fault.
    """
    path = _default_path() if path is None else Path(path).absolute()
    if path not in _LOADED:
        _LOADED[path] = _read(path)
    return _LOADED[path]


def reload_rulebook() -> bool:
    """Read the default rulebook again, and return whether it has changed.

    Raises
    ------
    RulebookError
        If the file is unusable; the rulebook that was loaded before stays.
    """
    path = _default_path()
    before, new = _LOADED.get(path), _read(path)
    if new == before:
        return False
    _LOADED[path] = new
    return True


_LOADED: dict[Path, Rulebook] = {}


def _default_path() -> Path:
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else DEFAULT_PATH


def _read(path: Path) -> Rulebook:
    try:
        raw = path.read_bytes()
        data = tomllib.loads(raw.decode())
        names = {key: list(table) for key, table in data.items() if isinstance(table, dict)}
        file = RulebookFile.model_validate(data, context=names)
        addresses = tuple(file.validator_addresses.addresses)
        eras = _cut(file, sorted(_dates(data)))
        return Rulebook(file.version, hashlib.sha256(raw).hexdigest(), file.netuids, eras, addresses)
    except ValidationError as error:
        lines = [f"rulebook {path}: {_explain(item)}" for item in error.errors()]
        raise RulebookError("\n".join(lines)) from None
    except (OSError, ValueError, RulebookError) as error:
        raise RulebookError(f"rulebook {path}: {error}") from error


def _explain(item: ErrorDetails) -> str:
    """Return one line: the place of a fault, the value there and the fault."""
    parts = [part for part in item["loc"] if part != "[key]"]  # pydantic's mark for the key of a mapping
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    message = _MESSAGES.get(item["type"], item["msg"].removeprefix("Value error, "))
    if not message.startswith(("[", ".")):  # otherwise the message names a place below this one
        value = repr(item["input"])
        shown = item["type"] != "missing" and len(value) <= _MAX_SHOWN
        place += f" = {value}: " if shown else ": "
    return f"{place}{message[:1].lower()}{message[1:]}".removeprefix(".")


def _dates(node: object) -> set[int]:
    """Return the times at which any entry begins or ends; a file has no other dates."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return {when for item in node for when in _dates(item)}
    return {seconds_of(node)} if isinstance(node, date) else set()


def _cut(file: RulebookFile, moments: list[int]) -> tuple[Rules, ...]:
    """Build the rules between neighbouring moments and join equal ones."""
    eras = [_Moment(file, moments[0] - 1).rules(on=0)]
    for moment in moments:
        rules = _Moment(file, moment).rules(on=moment)
        if replace(rules, on=eras[-1].on) != eras[-1]:
            eras.append(rules)
    return tuple(eras)


@dataclass(frozen=True)
class _Moment:
    """A file at one time; collects the notes of the entries in force."""

    file: RulebookFile
    when: int
    notes: dict[str, None] = field(default_factory=dict)

    def all(self, eras: Iterable[E]) -> list[E]:
        found = [era for era in eras if era.holds(self.when)]
        self.notes.update((era.note, None) for era in found if era.note)
        return found

    def one(self, timeline: Iterable[E]) -> E:
        return self.all(timeline)[0]

    def rules(self, on: int) -> Rules:
        file = self.file
        competitions = {name: self.competition(name) for name, table in file.competition.items() if self.all([table])}
        if sum(competition.share for competition in competitions.values()) > 1 + 1e-9:
            raise RulebookError(f"the shares of {', '.join(competitions)} add up to more than 1 at {iso(self.when)}")
        sigma = self.one(file.sigma)
        return Rules(
            on=on,
            competitions=competitions,
            assets={symbol: self.asset(symbol) for symbol in file.asset},
            weights={symbol: weight for era in self.all(file.weights) for symbol, weight in era.values.items()},
            transformation=self.one(file.transformation).value,
            response_format=self.one(file.response_format).value,
            sigma=sigma.values,
            sigma_default=sigma.default,
            stored_as=self.one(file.stored_as).value,
            min_stake=self.one(file.min_stake).value,
            emission_factor=self.one(file.emission_factor).value,
            notes=tuple(self.notes),  # complete only after all entries above have been read
            first_start=min(table.start for table in file.competition.values()),
        )

    def competition(self, name: str) -> Competition:
        table = self.file.competition[name]
        horizon = self.file.horizon[table.horizon]
        members = tuple(symbol for era in self.all(table.assets) for symbol in era.names)
        for symbol in members:
            if not self.all(self.file.asset[symbol].scored):
                raise RulebookError(f"competition.{name}: {symbol} has no scored feed at {iso(self.when)}")
        sent, scored = self.one(horizon.sent), self.one(horizon.scored)
        return Competition(
            name=name,
            aliases=tuple(horizon.aliases),
            assets=members,
            time_increment=horizon.time_increment,
            time_length=horizon.time_length,
            num_simulations=horizon.num_simulations,
            window=self.one(table.window_days).value * DAY,
            beta=self.one(table.beta).value,
            share=self.one(table.share).value,
            scoring=self.scoring_rule(self.one(table.scoring).value),
            cadence={symbol: sent.assets.get(symbol, sent.seconds) for symbol in members},
            kept=scored.kept,
            bucket=scored.bucket or 0,
            request_lead=self.one(horizon.request_lead).value,
        )

    def scoring_rule(self, name: str) -> ScoringRule:
        table = self.file.scoring[name]
        intervals = self.file.horizon[table.horizon].intervals
        return ScoringRule(
            name=name,
            intervals=tuple(ScoringInterval(interval, seconds, _kind(interval)) for interval, seconds in intervals),
            gaps_as_series=table.gaps_as_series,
            volatility_blocks=tuple(table.volatility_blocks),
        )

    def asset(self, symbol: str) -> Asset:
        table = self.file.asset[symbol]
        scored = next((era for era in table.scored if era.holds(self.when)), None)
        own = {scored.feed: scored.symbol} if scored and scored.symbol else {}
        return Asset(
            symbol=symbol,
            asset_class=table.asset_class,
            sessions=table.sessions,
            symbols={**table.symbols, **own},
            hours=table.hours,
            scored_feed=scored.feed if scored else None,
            hermes_id=table.hermes_id,
            lazer_id=table.lazer_id,
        )


def _kind(interval: str) -> IntervalKind:
    if interval.endswith("_abs"):
        return "abs"
    return "gap" if interval.endswith("_gaps") else "changes"

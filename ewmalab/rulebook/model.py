"""The rulebook's types: the rules in force on a date, and the choice of that date."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ewmalab.close_names import did_you_mean
from ewmalab.errors import RulebookError
from ewmalab.times import FOREVER, iso, parse_time

IntervalKind = Literal["changes", "abs", "gap"]
Transformation = Literal["p90_cap", "p95_fill", "median10_cap"]
ResponseFormat = Literal["digits8_text", "float32_8sig"]
Kept = Literal["all", "first", "drawn"]
StoredAs = Literal["float64", "float32"]


@dataclass(frozen=True, slots=True)
class ScoringInterval:
    """One scoring interval.

    Parameters
    ----------
    name : str
        The subnet's name: ``5min``, ``24hour_abs``, ``0_5min_gaps``.
    seconds : int
        Length of the interval.
    kind : {"changes", "abs", "gap"}
        Whether all relative changes, the prices themselves, or the first relative change are scored.
    """

    name: str
    seconds: int
    kind: IntervalKind


@dataclass(frozen=True, slots=True)
class ScoringRule:
    """The computation of one CRPS from one ensemble.

    Parameters
    ----------
    name : str
        A stable id: ``24h``, ``1h/gaps-as-series``, ``1h/first-gap``, ``1h/first-gap+volatility``.
    intervals : tuple of ScoringInterval
        In the subnet's order.
    gaps_as_series : bool
        Whether intervals of kind ``gap`` are scored as full series of changes, as an earlier defect did.
    volatility_blocks : tuple of (int, float)
        Block length in seconds and weight of each part of the volatility term; empty if there is none.
    """

    name: str
    intervals: tuple[ScoringInterval, ...]
    gaps_as_series: bool
    volatility_blocks: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Competition:
    """A competition on a date.

    Parameters
    ----------
    name : str
        ``24h``, ``crypto-1h``, ...
    aliases : tuple of str
        Names that stand for every competition of its horizon: ``24h``, ``low``.
    assets : tuple of str
        Symbols of the prompted assets.
    time_increment, time_length : int
        Seconds between two points of a path, and from its first point to its last.
    num_simulations : int
        Number of paths in an answer.
    window : int
        Length of the rolling average, seconds.
    beta : float
        Softmax coefficient; negative, since low scores are good.
    share : float
        Share of the miners' total reward that this competition distributes.
    scoring : ScoringRule
    cadence : mapping of str to int
        Seconds between two prompts that validators send for the same asset.
    kept : {"all", "first", "drawn"}
        Which of the sent prompts are scored: all, or the first of each asset and bucket, or one that is drawn.
    bucket : int
        Length of a bucket of start times, seconds; 0 if all prompts are scored.
    request_lead : int
        Seconds from the request time of a prompt to its start time.
    """

    name: str
    aliases: tuple[str, ...]
    assets: tuple[str, ...]
    time_increment: int
    time_length: int
    num_simulations: int
    window: int
    beta: float
    share: float
    scoring: ScoringRule
    cadence: Mapping[str, int] = field(hash=False)
    kept: Kept
    bucket: int
    request_lead: int

    def is_among(self, names: Iterable[str] | None) -> bool:
        """Return whether one of the names is the competition's or an alias of it; None means all competitions."""
        return names is None or not {self.name, *self.aliases}.isdisjoint(names)

    @property
    def steps(self) -> int:
        """Number of increments of a path, which has one more price."""
        return self.time_length // self.time_increment


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset on a date.

    Parameters
    ----------
    symbol : str
        The subnet's symbol.
    asset_class : str
        ``crypto``, ``metal``, ``commodity``, ``equity`` or ``index``.
    sessions : bool
        Whether it follows the US cash session: it trades all day, but moves far less outside the session.
    symbols : mapping of str to str
        Its symbol in each feed (``pyth``, ``binance``, ``hyperliquid``).
    hours : mapping of str to str
        The calendar of each feed's market, see `ewmalab.market.sessions`; feeds whose market never closes have none.
    scored_feed : str or None
        The feed whose prices decide the score; None if the asset is not prompted.
    hermes_id : str or None
        Feed id of Pyth's Hermes API, 64 hexadecimal digits.
    lazer_id : int or None
        Feed id of Pyth's Lazer API.
    """

    symbol: str
    asset_class: str
    sessions: bool
    symbols: Mapping[str, str] = field(hash=False)
    hours: Mapping[str, str] = field(hash=False)
    scored_feed: str | None
    hermes_id: str | None
    lazer_id: int | None


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules in force from one change to the next.

    Parameters
    ----------
    on : int
        Time at which these rules came into force; 0 for those before the first known change. Seconds since
        1970-01-01 UTC, like all times here.
    competitions : mapping of str to Competition
        The running competitions by name.
    assets : mapping of str to Asset
        All known assets, prompted or not.
    weights : mapping of str to float
        Weights in the rolling average; see `weight`.
    transformation : {"p90_cap", "p95_fill", "median10_cap"}
        Transformation of CRPS into prompt scores.
    response_format : {"digits8_text", "float32_8sig"}
        Format of the numbers that validators accept.
    sigma : mapping of str to float
        The reference miner's volatilities; see `sigma_per_hour`.
    sigma_default : float
        The reference miner's volatility for every other asset.
    stored_as : {"float64", "float32"}
        Type in which validators store paths before they score them.
    min_stake : int
        A miner refuses callers whose stake is at or below this.
    emission_factor : float
        Ratio of realised emission to the emission that the weights promise, as far as known.
    notes : tuple of str
        Uncertainties of the values in force.
    first_start : int
        Start of the first competitions, whatever the date of these rules.
    """

    on: int
    competitions: Mapping[str, Competition] = field(hash=False)
    assets: Mapping[str, Asset] = field(hash=False)
    weights: Mapping[str, float] = field(hash=False)
    transformation: Transformation
    response_format: ResponseFormat
    sigma: Mapping[str, float] = field(hash=False)
    sigma_default: float
    stored_as: StoredAs
    min_stake: int
    emission_factor: float
    notes: tuple[str, ...]
    first_start: int

    @property
    def longest_lead(self) -> int:
        """Return the longest time between request and start time, seconds; 0 if no competition runs."""
        return max((c.request_lead for c in self.competitions.values()), default=0)

    def weight(self, asset: str) -> float:
        """Return the asset's weight in the rolling average; 1 if the subnet gives none."""
        return self.weights.get(asset, 1.0)

    def sigma_per_hour(self, asset: str) -> float:
        """Return the reference miner's volatility: the standard deviation of the hourly relative change."""
        return self.sigma.get(asset, self.sigma_default)

    def competition_of(self, asset: str, time_increment: int, time_length: int) -> Competition | None:
        """Return the competition of a prompt; None if no competition has this increment and length.

        If the asset is in none of those with this increment and length, return the first of them, since an asset may
        be prompted before the rulebook knows.
        """
        shaped = [
            c for c in self.competitions.values() if (c.time_increment, c.time_length) == (time_increment, time_length)
        ]
        return next((c for c in shaped if asset in c.assets), shaped[0] if shaped else None)

    def select(self, names: Iterable[str] | None = None) -> tuple[Competition, ...]:
        """Return the named competitions, each once, in the rulebook's order.

        Parameters
        ----------
        names : iterable of str, optional
            Names of competitions, or aliases: ``24h`` and ``low`` stand for all competitions with a horizon of 24
            hours, ``1h`` and ``high`` for all with a horizon of one hour. By default, all that run.

        Raises
        ------
        RulebookError
            If no running competition has such a name, or no competition runs.
        """
        if not self.competitions:
            if self.on < self.first_start:
                raise RulebookError(f"no competition runs yet; the first ones start on {iso(self.first_start)}")
            raise RulebookError(f"no competition runs under the rules in force since {iso(self.on)}")
        wanted = (names,) if isinstance(names, str) else tuple(names or ())
        chosen: set[str] = set()
        for name in wanted or self.competitions:
            found = {c.name for c in self.competitions.values() if c.is_among([name])}
            if not found:
                aliases = dict.fromkeys(alias for c in self.competitions.values() for alias in c.aliases)
                raise RulebookError(
                    f"no competition {name!r} under the rules in force since {iso(self.on)}; known: "
                    f"{', '.join(self.competitions)}, and for all of one horizon {', '.join(aliases)}"
                    f"{did_you_mean(name, [*self.competitions, *aliases])}"
                )
            chosen |= found
        return tuple(c for c in self.competitions.values() if c.name in chosen)


@dataclass(frozen=True, slots=True)
class Rulebook:
    """The rules of all dates.

    Two rulebooks are equal if the bytes of their files are equal.

    Parameters
    ----------
    version : str
        Year and month of the newest evidence.
    digest : str
        SHA-256 of the file, hexadecimal.
    netuids : mapping of str to int
        The subnet's number on each network: ``finney``, ``test``.
    eras : tuple of Rules
        In order of time; the first was in force before every known change.
    validator_addresses : tuple of str
        From which validators call, as the subnet published them.
    """

    version: str
    digest: str
    netuids: Mapping[str, int] = field(compare=False)
    eras: tuple[Rules, ...] = field(compare=False, repr=False)
    validator_addresses: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def at(self, when: int) -> Rules:
        """Return the rules in force at a time; all times of one era give the same object."""
        return self.eras[bisect_right(self.eras, when, lo=1, key=lambda rules: rules.on) - 1]

    def era_of(self, when: int) -> tuple[int, int]:
        """Return the range of times in which the rules in force at a time hold."""
        i = bisect_right(self.eras, when, lo=1, key=lambda rules: rules.on)
        return self.eras[i - 1].on, self.eras[i].on if i < len(self.eras) else FOREVER

    def breakpoints(self) -> tuple[int, ...]:
        """Return the times at which any rule changes, in order."""
        return tuple(rules.on for rules in self.eras[1:])

    def horizon(self, competition: str) -> int:
        """Return the horizon of a competition of any date: seconds from a path's first point to its last.

        Raises
        ------
        RulebookError
            If no era has a competition of this name.
        """
        for era in self.eras:
            if competition in era.competitions:
                return era.competitions[competition].time_length
        known = dict.fromkeys(name for era in self.eras for name in era.competitions)
        raise RulebookError(
            f"no competition {competition!r} on any date; known: {', '.join(known)}{did_you_mean(competition, known)}"
        )

    def first_prompted(self, asset: str) -> int | None:
        """Return the time at which an asset first competes; None if it never does."""
        competing = (e.on for e in self.eras for c in e.competitions.values() if asset in c.assets)
        return next(competing, None)

    def response_formats(self) -> dict[ResponseFormat, str]:
        """Return the periods of all response formats: ``{"digits8_text": "until 2026-07-16", ...}``."""
        spans: dict[ResponseFormat, tuple[int, int | None]] = {}
        for rules, end in zip(self.eras, (*self.breakpoints(), None), strict=True):
            start, _ = spans.get(rules.response_format, (rules.on, None))
            spans[rules.response_format] = (start, end)
        return {name: _period(*span) for name, span in spans.items()}

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of all assets of all dates."""
        return tuple(self.eras[-1].assets)

    def asset(self, symbol: str) -> Asset:
        """Return an asset as of the last change.

        Raises
        ------
        RulebookError
            If the rulebook does not know the symbol.
        """
        try:
            return self.eras[-1].assets[symbol]
        except KeyError:
            raise RulebookError(
                f"no asset {symbol!r}; known: {', '.join(self.symbols)}{did_you_mean(symbol, self.symbols)}"
            ) from None


def _period(start: int, end: int | None) -> str:
    """Return a period in words; a start of 0 means before every known change."""
    edges = [("since", start or None), ("until", end)]
    return " ".join(f"{word} {iso(when).removesuffix('T00:00:00Z')}" for word, when in edges if when is not None)


@dataclass(frozen=True, slots=True)
class RuleChoice:
    """The rules that apply to a prompt, as chosen with ``--rules``.

    Parameters
    ----------
    on : {"as-of", "latest"} or int
        The rules in force at each prompt's own start time, the rules after the last known change, or the rules in force
        at a time.

    Examples
    --------
    >>> str(RuleChoice.parse("2026-01-15"))
    '2026-01-15T00:00:00Z'
    """

    on: Literal["as-of", "latest"] | int = "as-of"

    @classmethod
    def parse(cls, text: str) -> RuleChoice:
        """Read ``as-of``, ``latest``, or an ISO date or datetime.

        Raises
        ------
        RulebookError
            If the text is none of these.
        """
        match text.strip():
            case "as-of":
                return cls("as-of")
            case "latest":
                return cls("latest")
        try:
            return cls(parse_time(text))
        except RulebookError as error:
            near = did_you_mean(text, ("as-of", "latest"))
            raise RulebookError(f"rules must be 'as-of', 'latest' or a date; {error}{near}") from None

    def __str__(self) -> str:
        return iso(self.on) if isinstance(self.on, int) else self.on

    def at(self, rulebook: Rulebook, start_time: int) -> Rules:
        """Return the rules for a prompt that starts at `start_time`."""
        if self.on == "latest":
            return rulebook.eras[-1]
        return rulebook.at(start_time if self.on == "as-of" else self.on)

    def breakpoints(self, rulebook: Rulebook) -> tuple[int, ...]:
        """Return the start times at which the result of `at` changes; empty unless the choice is ``as-of``."""
        return rulebook.breakpoints() if self.on == "as-of" else ()

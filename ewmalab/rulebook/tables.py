"""The tables of a rulebook file, and their checks.

To add a dated rule, add a field such as ``stored_as: Timeline[Value[str]]`` to its table. A check of several entries
begins its message with the entry's place: ``[2]: ...`` or ``.scored[0]: ...``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime
from fractions import Fraction
from ipaddress import ip_address
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Strict,
    ValidationInfo,
    model_validator,
)

from ewmalab.rulebook.model import Kept, ResponseFormat, StoredAs, Transformation
from ewmalab.times import iso

ALWAYS = -(2**62)
FOREVER = 2**62


def seconds_of(value: object) -> int:
    """Return the seconds since 1970-01-01 UTC of a TOML date or datetime."""
    # a datetime is a date too
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime) or value.microsecond:
        raise ValueError("must be an unquoted date, or datetime in whole seconds")
    return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())


def _fraction(value: object) -> float:
    with suppress(ValueError, ArithmeticError):
        if isinstance(value, str) and 0 < (fraction := Fraction(value)) <= 1:
            return float(fraction)
    raise ValueError('must be a fraction above 0 and at or below 1, in quotes, such as "1/3"')


def _known(table: str, what: str) -> Callable[[str, ValidationInfo], str]:
    """Return a check that the file's `table` has an entry of that name."""

    def check(name: str, info: ValidationInfo) -> str:
        names = (info.context or {}).get(table, ())
        if name not in names:
            raise ValueError(f"no {what} {name!r}; known: {', '.join(names)}")
        return name

    return check


K = TypeVar("K")
V = TypeVar("V")
Pair = Annotated[tuple[K, V], Strict(False)]  # an array of two
Time = Annotated[int, BeforeValidator(seconds_of)]
Share = Annotated[float, BeforeValidator(_fraction)]
Minutes = Annotated[int, Field(gt=0, multiple_of=60)]  # seconds; prompts start on whole minutes
Beta = Annotated[float, Field(lt=0)]  # since low scores are good
AssetName = Annotated[str, AfterValidator(_known("asset", "asset"))]
HorizonName = Annotated[str, AfterValidator(_known("horizon", "horizon"))]
RuleName = Annotated[str, AfterValidator(_known("scoring", "scoring rule"))]


class Table(BaseModel):
    """A TOML table without unknown keys, type conversion or infinite values."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Era(Table):
    """An entry in force from one time to another; `note` says what is uncertain about it."""

    start: Time = Field(ALWAYS, alias="from")
    end: Time = Field(FOREVER, alias="until")
    note: str = ""

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"begins at {iso(self.start)}, not before its end at {iso(self.end)}")
        return self

    def holds(self, when: int) -> bool:
        """Return whether the entry is in force at a time."""
        return self.start <= when < self.end

    def subjects(self) -> Iterable[str]:
        """Return the subjects that no other entry may have at the same time."""
        return ("",)


E = TypeVar("E", bound=Era)


def _in_order(eras: list[E]) -> list[E]:
    ends: dict[str, int] = {}
    for i, era in enumerate(eras):
        if i and era.start < eras[i - 1].start:
            raise ValueError(f"[{i}]: begins before the entry above it; put entries in the order of their dates")
        for subject in era.subjects():
            if era.start < ends.get(subject, ALWAYS):
                raise ValueError(f"[{i}]: overlaps an entry above it{f' on {subject}' if subject else ''}")
            ends[subject] = era.end
    return eras


def _without_gap(eras: list[E]) -> list[E]:
    edges = [ALWAYS, *(edge for era in eras for edge in (era.start, era.end)), FOREVER]
    for before, after in zip(edges[::2], edges[1::2], strict=True):
        if before != after:
            raise ValueError(f"has no entry for {_span(before, after)}")
    return eras


def _span(start: int, end: int) -> str:
    if start == ALWAYS:
        return f"the time before {iso(end)}" if end != FOREVER else "any time"
    return f"the time since {iso(start)}" if end == FOREVER else f"{iso(start)} to {iso(end)}"


Dated = Annotated[list[E], AfterValidator(_in_order)]
Timeline = Annotated[list[E], AfterValidator(_in_order), AfterValidator(_without_gap)]  # covers all time


class Value(Era, Generic[V]):
    """One value."""

    value: V


class Scored(Era):
    """The feed whose prices decide the score, and its symbol if that is not the usual one."""

    feed: str
    symbol: str | None = None


Calendar = Literal["XNYS", "CMES", "us_futures"]


class AssetTable(Table):
    """An asset over its whole life."""

    asset_class: str = Field(alias="class")
    sessions: bool
    symbols: dict[str, str]
    hours: dict[str, Calendar] = {}
    hermes_id: str | None = None
    lazer_id: int | None = None
    scored: Dated[Scored]

    @model_validator(mode="after")
    def _feeds_have_symbols(self) -> Self:
        for i, era in enumerate(self.scored):
            if era.symbol is None and era.feed not in self.symbols:
                known = ", ".join(self.symbols)
                raise ValueError(f".scored[{i}]: no symbol for feed {era.feed!r}; symbols has {known}")
        return self


class Sent(Era):
    """Seconds between two prompts for the same asset, and exceptions by asset."""

    seconds: Minutes
    assets: dict[AssetName, Minutes] = {}


class Scoring(Era):
    """Which of the sent prompts count."""

    kept: Kept
    bucket: Minutes | None = None

    @model_validator(mode="after")
    def _a_bucket_unless_all_count(self) -> Self:
        if (self.kept == "all") != (self.bucket is None):
            raise ValueError("a bucket belongs to kept = first or drawn, and to these only")
        return self


class HorizonTable(Table):
    """Values shared by all competitions of one horizon."""

    aliases: list[str] = Field(min_length=1)
    time_increment: PositiveInt
    time_length: PositiveInt
    num_simulations: PositiveInt
    intervals: list[Pair[str, int]]
    sent: Timeline[Sent]
    scored: Timeline[Scoring]
    request_lead: Timeline[Value[PositiveInt]]

    @model_validator(mode="after")
    def _lengths_are_whole_increments(self) -> Self:
        for name, seconds in (("time_length", self.time_length), *self.intervals):
            if seconds <= 0 or seconds % self.time_increment or seconds > self.time_length:
                raise ValueError(f"{name} of {seconds} s is not a whole number of increments within the horizon")
        return self


class ScoringTable(Table):
    """A scoring rule of one horizon."""

    horizon: HorizonName
    gaps_as_series: bool
    volatility_blocks: list[Pair[PositiveInt, PositiveFloat]]


class Members(Era):
    """Prompted assets."""

    names: list[AssetName] = Field(min_length=1)

    def subjects(self) -> Iterable[str]:
        """Return the assets: each is prompted once."""
        return self.names


class CompetitionTable(Era):
    """A competition over its whole life, which starts on a date."""

    start: Time = Field(alias="from")
    horizon: HorizonName
    window_days: Timeline[Value[PositiveInt]]
    beta: Timeline[Value[Beta]]
    share: Timeline[Value[Share]]
    scoring: Timeline[Value[RuleName]]
    assets: Dated[Members]


class Weights(Era):
    """Weights in the rolling average."""

    values: dict[AssetName, PositiveFloat]

    def subjects(self) -> Iterable[str]:
        """Return the assets: each has one weight."""
        return self.values


class Sigma(Era):
    """The reference miner's volatilities per hour."""

    default: PositiveFloat
    values: dict[AssetName, PositiveFloat]


def _address(text: str) -> str:
    return str(ip_address(text))


class ValidatorAddresses(Table):
    """Addresses from which validators call, and when they were published."""

    published: str
    addresses: list[Annotated[str, AfterValidator(_address)]]


class RulebookFile(Table):
    """A whole file; validated with the names in its tables as context, for `AssetName` and the like."""

    version: str
    netuids: dict[str, int]
    validator_addresses: ValidatorAddresses = Field(
        default_factory=lambda: ValidatorAddresses(published="", addresses=[])
    )
    asset: dict[str, AssetTable]
    horizon: dict[str, HorizonTable]
    scoring: dict[str, ScoringTable]
    competition: dict[str, CompetitionTable] = Field(min_length=1)
    transformation: Timeline[Value[Transformation]]
    response_format: Timeline[Value[ResponseFormat]]
    weights: Dated[Weights]
    sigma: Timeline[Sigma]
    stored_as: Timeline[Value[StoredAs]]
    min_stake: Timeline[Value[NonNegativeInt]]
    emission_factor: Timeline[Value[PositiveFloat]]

    @model_validator(mode="after")
    def _scoring_fits_its_horizon(self) -> Self:
        for name, rule in self.scoring.items():
            step = self.horizon[rule.horizon].time_increment
            for seconds, _ in rule.volatility_blocks:
                if seconds % step:
                    raise ValueError(
                        f".scoring.{name}.volatility_blocks: {seconds} s is not a multiple of the increment of {step} s"
                    )
        for name, competition in self.competition.items():
            for i, era in enumerate(competition.scoring):
                if self.scoring[era.value].horizon != competition.horizon:
                    raise ValueError(
                        f".competition.{name}.scoring[{i}]: scoring rule {era.value!r} is for another horizon than "
                        f"{competition.horizon!r}"
                    )
        return self

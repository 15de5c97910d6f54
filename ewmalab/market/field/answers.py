"""Parse the answers of the subnet's public API; what has another shape is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from ewmalab.errors import FeedError
from ewmalab.market.field.series import SCHEMAS
from ewmalab.times import DAY, MINUTE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 60  # characters of a refused value

COMPETITIONS = {"Crypto 1h": "crypto-1h", "Crypto 24h": "crypto-24h", "Commodities/Equities 24h": "com-equ-24h"}
"""The API's labels of competitions, which stand in answers, and the names that stand in requests."""


def _time(value: object) -> int:
    """Return seconds since 1970-01-01 UTC; fractions are cut off."""
    if not isinstance(value, str):
        raise ValueError("not a time such as 2026-06-01T00:01:00Z")
    moment = datetime.fromisoformat(value)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(seconds=1)


def _number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return float(value)


def _crps(value: object) -> object:
    """Return a CRPS, -1 where it is null."""
    number = -1.0 if value is None else _number(value)
    if isinstance(number, float) and number < 0.0 and number != -1.0:
        raise ValueError("neither a CRPS nor -1")
    return number


Time = Annotated[int, BeforeValidator(_time)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Uid = Annotated[int, Field(strict=True, ge=0, lt=65_536)]
Crps = Annotated[float, BeforeValidator(_crps), Field(allow_inf_nan=False)]
Price = Annotated[float, BeforeValidator(_number), Field(gt=0, allow_inf_nan=False)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Prompts(_Answer):
    start_times: list[Time] | None


class _Path(_Answer):
    start_time: Time
    asset: str
    time_increment: int
    time_length: int
    real_prices: list[Price | None] | None


class _Score(_Answer):
    miner_uid: Uid
    asset: str
    time_length: int
    scored_time: Time
    crps: Crps
    prompt_score: Number | None = None


class _Reward(_Answer):
    miner_uid: Uid
    updated_at: Time
    prompt_name: str
    smoothed_score: Number | None
    reward_weight: Number


class _Snapshot(_Answer):
    neuron_uid: Uid
    updated_at: Time
    emission: Number
    incentive: Number


class _Paid(_Answer):
    date: Time
    usd: Annotated[Number, Field(ge=0)]


class _Pool(_Answer):
    rows: list[_Paid]


class MinerValidity(_Answer):
    """Whether the newest answer of a miner was valid.

    Attributes
    ----------
    validated : bool
    reason : str
        The validator's words.
    response_time : str
        Seconds, as the API writes them; empty if it does not say.
    """

    validated: Annotated[bool, Field(strict=True)]
    reason: str = ""
    response_time: Annotated[str, BeforeValidator(lambda value: "" if value is None else str(value))] = ""


M = TypeVar("M")


def _checked(kind: type[M] | Any, answer: Any, where: str) -> Any:
    try:
        return TypeAdapter(kind).validate_python(answer)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        value = repr(first["input"])
        value = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
        message = first["msg"].removeprefix("Value error, ")
        more = f", and {error.error_count() - 1} more" if error.error_count() > 1 else ""
        raise FeedError(
            f"{where}: malformed answer: {place} is {value}: {message}{more}; nothing of it was kept"
        ) from None


def prompts(answer: Any, where: str) -> list[int]:
    """Return start times in order, each once; none if there were no prompts.

    Parameters
    ----------
    answer : object
        Decoded JSON; None if the API had nothing.
    where : str
        The request, for messages.

    Raises
    ------
    FeedError
        If the answer is malformed; as in all functions here.
    """
    if answer is None:
        return []
    starts = sorted(set(_checked(_Prompts, answer, where).start_times or ()))
    odd = [start for start in starts if start % MINUTE]
    if odd:
        raise FeedError(f"{where}: malformed answer: a prompt starts at {odd[0]}, not on a whole minute")
    return starts


def path(answer: Any, where: str, *, asset: str, start: int, grid: tuple[int, int]) -> list[float | None] | None:
    """Return the realised prices of a prompt, None if the API has none.

    Parameters
    ----------
    answer, where
        As in `prompts`.
    asset : str
    start : int
        Start time that was asked for.
    grid : (int, int)
        Time increment and length of the prompt, seconds.
    """
    if answer is None:
        return None
    found = _checked(_Path, answer, where)
    got = (found.asset, found.start_time, found.time_increment, found.time_length)
    if got != (asset, start, *grid):
        raise FeedError(f"{where}: the answer is for {got}, not for {(asset, start, *grid)}")
    if not found.real_prices:
        return None
    points = grid[1] // grid[0] + 1
    if len(found.real_prices) != points:
        raise FeedError(f"{where}: malformed answer: {len(found.real_prices)} prices, not {points}")
    return list(found.real_prices)


def scores(answer: Any, where: str, *, asset: str, time_length: int) -> pa.Table:
    """Return the scores of an asset and horizon, each row once.

    Parameters
    ----------
    answer, where
        As in `prompts`.
    asset : str
    time_length : int
        Seconds.
    """
    rows: Sequence[_Score] = _checked(list[_Score], [] if answer is None else answer, where)
    for i, row in enumerate(rows):
        if (row.asset, row.time_length) != (asset, time_length):
            raise FeedError(f"{where}: row {i} is for {(row.asset, row.time_length)}, not for {(asset, time_length)}")
    return _table("scores", ((r.scored_time, r.miner_uid, r.crps, _nan(r.prompt_score)) for r in rows))


def rewards(answer: Any, where: str, *, names: Sequence[str]) -> pa.Table:
    """Return the rewards of a competition, each row once; those of other competitions are left out.

    Parameters
    ----------
    answer, where
        As in `prompts`.
    names : sequence of str
        The competition's name and aliases.
    """
    rows: Sequence[_Reward] = _checked(list[_Reward], [] if answer is None else answer, where)
    for i, row in enumerate(rows):
        if row.prompt_name not in COMPETITIONS and row.prompt_name not in (*COMPETITIONS.values(), "low", "high"):
            raise FeedError(f"{where}: row {i}: unknown competition {row.prompt_name[:_SHOWN]!r}")
    own = [row for row in rows if COMPETITIONS.get(row.prompt_name, row.prompt_name) in names]
    return _table("rewards", ((r.updated_at, r.miner_uid, _nan(r.smoothed_score), r.reward_weight) for r in own))


def emission(answer: Any, where: str) -> pa.Table:
    """Return emission and incentive of all miners at each snapshot, each row once; parameters as in `prompts`."""
    rows: Sequence[_Snapshot] = _checked(list[_Snapshot], [] if answer is None else answer, where)
    return _table("emission", ((r.updated_at, r.neuron_uid, r.emission, r.incentive) for r in rows))


def pool(answer: Any, where: str) -> pa.Table:
    """Return what the subnet pays its miners, USD by day; parameters as in `prompts`."""
    if answer is None:
        return SCHEMAS["pool"].empty_table()
    rows = _checked(_Pool, answer, where).rows
    table = _table("pool", ((r.date - r.date % DAY, r.usd) for r in rows))
    if len(set(table["date"].to_pylist())) < table.num_rows:
        raise FeedError(f"{where}: malformed answer: two amounts for one day")
    return table


def validity(answer: Any, where: str) -> MinerValidity | None:
    """Return whether a miner's newest answer was valid, None if the API does not know; parameters as in `prompts`."""
    found: MinerValidity | None = None if answer is None else _checked(MinerValidity, answer, where)
    return found


def seconds(value: Any, where: str) -> int:
    """Return an ISO time as seconds since 1970-01-01 UTC; `where` is named if it is none."""
    found: int = _checked(Time, value, where)
    return found


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def _table(kind: str, rows: Any) -> pa.Table:
    """Return rows as a table in order of time and miner; repeated rows count once."""
    distinct = sorted(dict.fromkeys(rows), key=lambda row: row[:2])
    columns = list(zip(*distinct, strict=True)) or [()] * len(SCHEMAS[kind])
    arrays = [pa.array(column, entry.type) for column, entry in zip(columns, SCHEMAS[kind], strict=True)]
    return pa.table(arrays, schema=SCHEMAS[kind])

"""What is cached of the real field: kinds of rows, and the names of their series."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

_TIME, _UID, _NUMBER = pa.int64(), pa.int32(), pa.float64()

SCHEMAS: dict[str, pa.Schema] = {
    "prompts": pa.schema([("start_time", _TIME)]),
    "scores": pa.schema([("scored_time", _TIME), ("miner_uid", _UID), ("crps", _NUMBER), ("prompt_score", _NUMBER)]),
    # prices are null if the API had no path when it was asked
    "paths": pa.schema([("start_time", _TIME), ("asked", _TIME), ("prices", pa.list_(_NUMBER))]),
    "rewards": pa.schema(
        [("updated_at", _TIME), ("miner_uid", _UID), ("smoothed_score", _NUMBER), ("reward_weight", _NUMBER)]
    ),
    "emission": pa.schema([("updated_at", _TIME), ("miner_uid", _UID), ("emission", _NUMBER), ("incentive", _NUMBER)]),
    "pool": pa.schema([("date", _TIME), ("usd", _NUMBER)]),
}
"""Columns of each kind; the first is the time that decides the day's file. Times are seconds since 1970-01-01 UTC.

``prompts``, ``scores`` and ``paths`` are kept per asset and horizon, ``rewards`` per competition. CRPS is in basis
points, -1 for an answer that is missing or invalid. A prompt score or average that was not published is NaN.
"""

_NAMED = {"prompts": 2, "scores": 2, "paths": 2, "rewards": 1, "emission": 0, "pool": 0}  # parts of a series' name


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """A kind of rows of one asset and horizon, of one competition, or of the whole subnet.

    Attributes
    ----------
    kind : str
        A key of `SCHEMAS`.
    name : str
        Asset or competition; empty for the whole subnet.
    time_length : int
        Horizon in seconds; 0 if there is none.
    """

    kind: str
    name: str = ""
    time_length: int = 0

    @property
    def path(self) -> str:
        """Return the series' folder below that of the field, which is its name in messages as well."""
        return "/".join([self.kind, self.name, str(self.time_length or "")]).rstrip("/")

    @classmethod
    def of(cls, path: str) -> Series | None:
        """Return the series of a folder; None if it is another folder."""
        kind, *rest = path.split("/")
        if len(rest) != _NAMED.get(kind, -1) or (len(rest) == 2 and not rest[1].isdecimal()):
            return None
        return cls(kind, rest[0] if rest else "", int(rest[1]) if len(rest) == 2 else 0)

    @property
    def schema(self) -> pa.Schema:
        """Return the columns."""
        return SCHEMAS[self.kind]

    @property
    def time(self) -> str:
        """Return the column whose day decides the file."""
        return str(self.schema.names[0])


def between(table: pa.Table, start: int, end: int) -> pa.Table:
    """Return the rows whose first column, their time, lies in ``[start, end)``."""
    return table.filter(pc.and_(pc.greater_equal(table[0], start), pc.less(table[0], end)))

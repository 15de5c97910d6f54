"""A client of the subnet's public API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.field import answers
from ewmalab.market.field.answers import MinerValidity
from ewmalab.market.field.series import between
from ewmalab.market.ranges import Range
from ewmalab.settings.schema import FieldSettings
from ewmalab.times import DAY, day_name, iso

PROMPT_DAYS = 59
"""Most days of prompts in a call: the API allows 60 and adds one."""
POOL_DAYS = 366
"""Most days of the pool in a call."""


Query = Mapping[str, str | int]


class FieldClient:
    """Requests to the subnet's public API, which needs no key.

    Every method returns only what was asked for: the API answers some ranges with more. Methods raise `FeedError` if
    the answer is malformed or the request is refused, and `FeedUnavailable` if every attempt failed.

    Parameters
    ----------
    settings : FieldSettings
        Hosts, and the most requests a second.
    options : HttpOptions

    Raises
    ------
    ConfigError
        If a host's URL is invalid.
    """

    def __init__(self, settings: FieldSettings, options: HttpOptions = PATIENT) -> None:
        rate = (1, 1.0 / settings.rate)
        api = Host(settings.api, rate, empty_on=(404,), setting="field.api")
        monitoring = Host(settings.monitoring, rate, empty_on=(404,), setting="field.monitoring")
        self._api, self._monitoring = HttpClient(api, options), HttpClient(monitoring, options)

    @property
    def source(self) -> str:
        """Return the host of the API."""
        return self._api.host

    @property
    def synthetic(self) -> bool:
        """Return whether a host has said that its data are made up."""
        return self._api.synthetic or self._monitoring.synthetic

    def prompts(self, asset: str, grid: tuple[int, int], span: Range) -> list[int]:
        """Return the start times of the prompts in a range of at most `PROMPT_DAYS`, in order.

        Parameters
        ----------
        asset : str
        grid : (int, int)
            Time increment and length of the prompts, seconds.
        span : (int, int)
            Range of start times ``[from, to)``, seconds since 1970-01-01 UTC.
        """
        query: Query = {"asset": asset, "from": iso(span[0]), "to": iso(span[1]), **_grid(grid)}
        found = answers.prompts(*self._get("/validation/prompts", query))
        return [start for start in found if span[0] <= start < span[1]]

    def path(self, asset: str, grid: tuple[int, int], start: int) -> list[float | None] | None:
        """Return the prices that a prompt was scored against; None if there are none.

        Parameters
        ----------
        asset : str
        grid : (int, int)
            As in `prompts`.
        start : int
            The exact start time.
        """
        query: Query = {"asset": asset, "start_time": iso(start), **_grid(grid)}
        return answers.path(*self._get("/validation/realized-path", query), asset=asset, start=start, grid=grid)

    def scores(self, asset: str, grid: tuple[int, int], day: int) -> pa.Table:
        """Return the scores of all miners on a day, by scored time.

        Parameters
        ----------
        asset : str
        grid : (int, int)
            As in `prompts`.
        day : int
            Its first second.
        """
        # `to` counts as a whole day, and a call is for at most two
        query: Query = {"from": iso(day), "to": iso(day + DAY - 1), "asset": asset, **_grid(grid)}
        found = answers.scores(*self._get("/validation/scores/historical", query), asset=asset, time_length=grid[1])
        return between(found, day, day + DAY)

    def rewards(self, names: Sequence[str], day: int) -> pa.Table:
        """Return rolling averages and weights of all miners on a day.

        Parameters
        ----------
        names : sequence of str
            The competition's name and aliases; the first that the API knows is asked for.
        day : int
            Its first second.
        """
        known = (*answers.COMPETITIONS.values(), "low", "high")
        asked = next((name for name in names if name in known), names[0])
        # The parameter was renamed; a server ignores the name that it does not know.
        query: Query = {"from": day_name(day), "to": day_name(day + DAY), "prompt_name": asked, "competition": asked}
        # The API takes the old names, low and high, for two of the new competitions.
        also = {"low": "crypto-24h", "high": "crypto-1h"}.get(asked, asked)
        return between(answers.rewards(*self._get("/rewards/scores", query), names=(*names, also)), day, day + DAY)

    def emission(self, day: int) -> pa.Table:
        """Return emission and incentive of all miners at the snapshots of a day (its first second)."""
        query: Query = {"start_time": iso(day), "end_time": iso(day + DAY - 1)}
        return between(answers.emission(*self._get("/leaderboard/historical", query)), day, day + DAY)

    def pool(self, first: int, last: int) -> pa.Table:
        """Return what the subnet paid its miners on each day, USD.

        Parameters
        ----------
        first, last : int
            First seconds of the first and the last day, at most `POOL_DAYS` days.
        """
        query: Query = {"from": day_name(first), "to": day_name(last)}
        table = answers.pool(*self._get("/v1/miners/rewards/pool", query, self._monitoring))
        return between(table, first, last + DAY)

    def validity(self, uid: int) -> MinerValidity | None:
        """Return whether a miner's newest answer was valid; None if the API does not know the miner."""
        return answers.validity(*self._get("/validation/miner", {"uid": uid}))

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._monitoring.close()

    def _get(self, path: str, query: Query, client: HttpClient | None = None) -> tuple[Any, str]:
        """Return an answer and the request in words."""
        chosen = client or self._api
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return chosen.get_json(path, query), f"{chosen.host}{path}?{words}"


def _grid(grid: tuple[int, int]) -> dict[str, str | int]:
    return {"time_length": grid[1], "time_increment": grid[0]}

"""A synthetic field of miners, scored by plainly written rules, and a local server of the public API."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import faulty_feed as fs
import numpy as np
import numpy.typing as npt
from golden.fields import transformed

from ewmalab.live.rehearsal.feed_server import Fault, Seen
from ewmalab.times import DAY, MINUTE, iso

LABELS = {"crypto-1h": "Crypto 1h", "crypto-24h": "Crypto 24h", "com-equ-24h": "Commodities/Equities 24h"}
GRIDS = {"crypto-1h": (60, 3600), "crypto-24h": (300, 86_400), "com-equ-24h": (300, 86_400)}
OWNER = 248


@dataclass
class SyntheticField:
    """Miners' scores on prompts at odd minutes.

    Attributes
    ----------
    start, days : int
        Range of start times.
    competition : str
    weights : mapping of asset to float
        The assets, with their weights in the rolling average.
    transformation : str
    window, beta, share
        Of the competition then.
    miners : int
    every : int
        Seconds between two prompts of an asset.
    seed : int
    market : callable, optional
        Returns an asset's prices at some times; by default random ones.
    """

    start: int
    days: int
    competition: str = "crypto-1h"
    weights: Mapping[str, float] = field(default_factory=lambda: {"BTC": 1.0, "ETH": 0.7064366394033871})
    transformation: str = "median10_cap"
    window: int = 5 * DAY
    beta: float = -0.3
    share: float = 1 / 4
    miners: int = 250
    every: int = 3540
    reward_times: Sequence[int] = ()
    seed: int = 0
    market: Callable[[str, npt.NDArray[np.int64]], npt.NDArray[np.float64]] | None = None
    prompts: dict[str, list[int]] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    rewards: list[dict[str, Any]] = field(default_factory=list)
    paths: dict[tuple[str, int], list[float | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        step, length = GRIDS[self.competition]
        skill = rng.uniform(0.95, 1.2, self.miners)
        joined = np.where(rng.random(self.miners) < 0.1, rng.integers(0, self.days * DAY, self.miners), 0)
        joined[0] = 0
        worst: dict[int, tuple[str, float]] = {}
        for place, asset in enumerate(self.weights):
            begin, end = self.start - length - DAY, self.start + self.days * DAY
            first = begin + (7 + 13 * place) * MINUTE
            self.prompts[asset] = list(range(first, end, self.every))
            for start in self.prompts[asset]:
                if self.market:
                    prices: list[float | None] = self.market(
                        asset, start + step * np.arange(length // step + 1)
                    ).tolist()
                else:
                    growth = np.exp(np.cumsum(rng.normal(0, 1e-3, length // step + 1)))
                    prices = [float(f"{50_000 * g:.8g}") for g in growth]
                    prices[:-1] = [None if rng.random() < 0.01 else price for price in prices[:-1]]
                self.paths[asset, start] = prices
                scored = start + length + 4 * MINUTE + int(rng.integers(0, 40)) + place
                there = np.flatnonzero(joined <= max(0, start - self.start))
                crps = 400 * skill[there] * rng.lognormal(0, 0.05, len(there))
                crps[rng.random(len(there)) < 0.05] = -1.0
                crps[rng.random(len(there)) < 0.01] = 1e7
                found = transformed(crps.tolist(), self.transformation)
                assert found is not None
                worst[scored] = (asset, found["fill"] - found["lowest"])
                for uid, value, score in zip(there.tolist(), crps.tolist(), found["scores"], strict=True):
                    self.scores.append(
                        {
                            "miner_uid": uid,
                            "asset": asset,
                            "prompt_score": score,
                            "scored_time": iso(scored),
                            "crps": value,
                            "time_length": length,
                            "scored": scored,
                        }
                    )
        for when in self.reward_times:
            self.rewards += self._rewards(when, worst)

    def _rewards(self, when: int, worst: Mapping[int, tuple[str, float]]) -> list[dict[str, Any]]:
        """Average and weigh as validators do, in plain Python."""
        inside = [row for row in self.scores if when - self.window < row["scored"] <= when]
        own: dict[int, list[dict[str, Any]]] = {}
        for row in inside:
            own.setdefault(row["miner_uid"], []).append(row)
        seen = sorted({row["scored"] for row in inside})
        averages = {}
        for uid, rows in own.items():
            first = min(row["scored"] for row in rows)
            parts = [worst[time] for time in seen if time < first]
            parts += [(row["asset"], row["prompt_score"]) for row in rows]
            mass = math.fsum(self.weights[asset] for asset, _ in parts)
            averages[uid] = math.fsum(self.weights[asset] * score for asset, score in parts) / mass
        best = min(averages.values(), default=0.0)
        powers = {uid: math.exp(self.beta * (average - best)) for uid, average in averages.items()}
        whole = math.fsum(powers.values())
        return [
            {
                "miner_uid": uid,
                "smoothed_score": averages[uid],
                "reward_weight": self.share * powers[uid] / whole,
                "prompt_name": LABELS[self.competition],
                "updated_at": iso(when),
            }
            for uid in averages
        ]


def moment(text: str) -> int:
    """Read a time of a query: a date, or an ISO time."""
    return int(datetime.fromisoformat(text.replace("Z", "+00:00") if "T" in text else f"{text}+00:00").timestamp())


class FieldServer(fs.FaultyFeed):
    """Speaks all shapes of the public API, its quirks included; use as a context manager.

    Parameters
    ----------
    fields : sequence of SyntheticField
    pool : mapping of date to USD
    """

    def __init__(self, *fields: SyntheticField, pool: Mapping[str, float] | None = None) -> None:
        super().__init__({}, synthetic=True)
        self.fields = fields
        self.pool = dict(pool or {})
        self.emission: list[dict[str, Any]] = []
        self.validity: dict[str, Any] = {}

    def fault(self, seen: Seen) -> Fault | None:
        return super().fault(seen) or self._refusal(seen)

    def _refusal(self, seen: Seen) -> Fault | None:
        query = seen.query
        if seen.path == "/validation/prompts" and moment(query["to"]) - moment(query["from"]) > 60 * DAY:
            return fs.status(400, b'{"error":"range too long"}')
        if seen.path == "/validation/scores/historical":
            if moment(query["to"]) // DAY - moment(query["from"]) // DAY > 1:
                return fs.status(400, b'{"error":"at most 2 days"}')
            return None if self.answer(seen) else fs.status(404, b'{"error":"no scores"}')
        if seen.path == "/validation/realized-path" and self.answer(seen) is None:
            return fs.status(404, b'{"error":"No realized path available"}')
        if seen.path == "/validation/miner" and query["uid"] not in self.validity:
            return fs.status(404)
        return None

    def answer(self, seen: Seen) -> Any:
        query = seen.query
        match seen.path:
            case "/validation/prompts":
                begin, end = moment(query["from"]), moment(query["to"]) + DAY  # inflated
                one = self._of(query)
                starts = [t for t in (one.prompts if one else {}).get(query["asset"], ()) if begin <= t < end]
                return {"start_times": [iso(t) for t in [*starts, *starts[-2:]]] or None}
            case "/validation/scores/historical":
                begin, end = moment(query["from"]), moment(query["to"]) // DAY * DAY + DAY
                one = self._of(query)
                rows = [
                    {key: value for key, value in row.items() if key != "scored"}
                    for row in (one.scores if one else ())
                    if row["asset"] == query["asset"] and begin <= row["scored"] < end
                ]
                return [*rows, *rows[:3]]
            case "/validation/realized-path":
                one = self._of(query)
                prices = one.paths.get((query["asset"], moment(query["start_time"]))) if one else None
                if prices is None:
                    return None
                grid = {name: int(query[name]) for name in ("time_length", "time_increment")}
                return {"start_time": query["start_time"], "asset": query["asset"], **grid, "real_prices": prices}
            case "/rewards/scores":
                begin, end = moment(query["from"]), moment(query["to"]) + DAY
                rows = [row for one in self.fields for row in one.rewards]  # the filter is ignored
                return [row for row in rows if begin <= moment(row["updated_at"]) < end]
            case "/leaderboard/historical":
                begin, end = moment(query["start_time"]), moment(query["end_time"])
                return [row for row in self.emission if begin <= moment(row["updated_at"]) <= end]
            case "/v1/miners/rewards/pool":
                days = sorted(day for day in self.pool if query["from"] <= day <= query["to"])
                return {"source": "test", "rows": [{"date": day, "usd": self.pool[day]} for day in days]}
            case "/validation/miner":
                return self.validity[query["uid"]]
        raise AssertionError(seen.path)

    def _of(self, query: Mapping[str, str]) -> SyntheticField | None:
        """Return the field of a horizon that has an asset."""
        for one in self.fields:
            if GRIDS[one.competition][1] == int(query["time_length"]) and query["asset"] in one.weights:
                return one
        return None

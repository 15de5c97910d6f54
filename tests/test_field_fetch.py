"""The field is fetched politely and once; what is malformed is refused, and nothing that was fetched is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import faulty_feed as fs
import numpy as np
import pytest
from examples import some
from field_rig import FieldServer, SyntheticField, moment

from ewmalab.errors import ConfigError, CorruptPartitionError, FeedError, FeedUnavailable, RulebookError
from ewmalab.market.feeds.host import HttpOptions
from ewmalab.market.field.client import FieldClient
from ewmalab.market.field.fetch import FieldFetch, SeriesFetch, Wanted, runs, scored_starts
from ewmalab.market.field.inventory import list_series
from ewmalab.market.field.matching import LONGEST_DELAY, match_starts
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldDay, FieldStore
from ewmalab.rulebook import load_rulebook
from ewmalab.settings.schema import FieldSettings
from ewmalab.times import DAY, day_name, parse_time

BOOK = load_rulebook()
START = parse_time("2026-09-07")
DAYS = 2
LATER = START + 30 * DAY
HOUR = 3600
FIELD = SyntheticField(START, DAYS, miners=12, every=14_340, reward_times=[START + HOUR, START + DAY])
POOL = {day_name(START + i * DAY): 1000.0 + i for i in range(-1, DAYS + 1)}


@pytest.fixture
def server() -> Iterator[FieldServer]:
    with FieldServer(FIELD, pool=POOL) as running:
        yield running


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    @property
    def options(self) -> HttpOptions:
        return HttpOptions(sleep=self.sleep, monotonic=lambda: self.now, timeout=(5, 5))


def client(server: FieldServer, clock: Clock | None = None) -> FieldClient:
    settings = FieldSettings(api=server.url, monitoring=server.url, rate=2.0)
    return FieldClient(settings, (clock or Clock()).options)


def fetch(
    server: FieldServer, folder: Path, *, now: int = LATER, days: int = DAYS, clock: Clock | None = None
) -> list[SeriesFetch]:
    wanted = Wanted.of(BOOK, (START, START + days * DAY), ["crypto-1h"], ["BTC", "ETH"])
    own = client(server, clock)
    try:
        return FieldFetch(FieldStore(folder), own, lambda: now).run(wanted)
    finally:
        own.close()


def rows(folder: Path, series: Series) -> list[dict[str, Any]]:
    return FieldStore(folder).read(series, 0, 2**40).to_pylist()


# ---------------------------------------------------------------------------------------------------- a good server


def test_all_that_was_published_is_cached_once(server: FieldServer, tmp_path: Path) -> None:
    done = fetch(server, tmp_path)
    assert [one.error for one in done if one.error] == []
    for asset in ("BTC", "ETH"):
        starts = [row["start_time"] for row in rows(tmp_path, Series("prompts", asset, 3600))]
        first = (START - HOUR - LONGEST_DELAY) // DAY * DAY
        assert starts == [t for t in FIELD.prompts[asset] if first <= t < START + DAYS * DAY]
        kept = rows(tmp_path, Series("scores", asset, 3600))
        published = [row for row in FIELD.scores if row["asset"] == asset and row["scored"] >= START]
        key = ("scored_time", "miner_uid", "crps", "prompt_score")
        given = [(r["scored"], r["miner_uid"], r["crps"], r["prompt_score"]) for r in published]
        assert [tuple(row[name] for name in key) for row in kept] == sorted(given)
        paths = {row["start_time"]: row["prices"] for row in rows(tmp_path, Series("paths", asset, 3600))}
        assert paths == {t: FIELD.paths[asset, t] for t in FIELD.prompts[asset] if START <= t < START + DAYS * DAY}
    rewards = rows(tmp_path, Series("rewards", "crypto-1h"))
    assert len(rewards) == len(FIELD.rewards)
    assert {row["date"]: row["usd"] for row in rows(tmp_path, Series("pool"))} == {
        moment(day): usd for day, usd in POOL.items() if moment(day) >= START
    }


def test_nothing_is_asked_twice(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    asked = [(seen.path, tuple(sorted(seen.query.items()))) for seen in server.seen]
    assert len(asked) == len(set(asked))
    server.seen.clear()
    again = fetch(server, tmp_path)
    assert server.seen == []
    assert all(one.calls == 0 for one in again)


@pytest.mark.ci
def test_calls_stay_within_the_limits_of_the_api(server: FieldServer, tmp_path: Path) -> None:
    wanted = Wanted.of(BOOK, (START - 130 * DAY, START), ["1h"], ["BTC"])
    FieldFetch(FieldStore(tmp_path), client(server), lambda: LATER).run(wanted)
    spans = [seen.query for seen in server.seen if seen.path == "/validation/prompts"]
    assert len(spans) == 3
    assert all(moment(q["to"]) - moment(q["from"]) < 60 * DAY for q in spans)


def test_requests_keep_the_rate(server: FieldServer, tmp_path: Path) -> None:
    clock = Clock()
    fetch(server, tmp_path, clock=clock)
    asked = sum(seen.path != "/v1/miners/rewards/pool" for seen in server.seen)
    assert clock.now == pytest.approx((asked - 1) / 2.0)


def test_days_that_are_not_over_are_asked_again(server: FieldServer, tmp_path: Path) -> None:
    noon = START + DAY + 12 * HOUR
    fetch(server, tmp_path, now=noon)
    (scores,) = [one for one in list_series(FieldStore(tmp_path)) if one.series == "scores/BTC/3600"]
    assert scores.unfinished == [START + DAY]
    server.seen.clear()
    fetch(server, tmp_path, now=LATER)
    days = [moment(s.query["from"]) for s in server.seen if s.path.endswith("historical") and "asset" in s.query]
    assert set(days) == {START + i * DAY for i in range(1, DAYS + 1)}
    assert [one.unfinished for one in list_series(FieldStore(tmp_path)) if one.unfinished] == []


def test_a_path_that_is_missing_is_asked_for_again_until_it_should_exist(server: FieldServer, tmp_path: Path) -> None:
    start = next(t for t in FIELD.prompts["BTC"] if t >= START)
    held = FIELD.paths.pop(("BTC", start))
    try:
        fetch(server, tmp_path, now=start + 2 * HOUR)
        assert rows(tmp_path, Series("paths", "BTC", 3600))[0]["prices"] is None
        FIELD.paths["BTC", start] = held
        fetch(server, tmp_path)
        assert rows(tmp_path, Series("paths", "BTC", 3600))[0]["prices"] == held
        del FIELD.paths["BTC", start]
    finally:
        FIELD.paths["BTC", start] = held


def test_the_store_says_that_the_field_is_synthetic(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    assert all(one.synthetic for one in list_series(FieldStore(tmp_path)))


# -------------------------------------------------------------------------------------------------- a server's moods

TRANSIENT = {
    "429": fs.status(429, Retry_After="7"),
    "429 without a time": fs.status(429),
    "500": fs.status(500),
    "503": fs.status(503, Retry_After="3"),
    "reset": fs.RESET,
    "truncated": fs.TRUNCATE,
    "truncated chunks": fs.TRUNCATE_CHUNKED,
    "HTML": fs.HTML,
    "empty": fs.EMPTY,
    "half a JSON": fs.body(b'[{"miner_uid": 1'),
}


@pytest.mark.parametrize("fault", some(TRANSIENT, "429", "truncated chunks", "half a JSON"))
def test_a_passing_fault_changes_nothing(fault: str, server: FieldServer, tmp_path: Path) -> None:
    server.plan(None, TRANSIENT[fault], None, None, TRANSIENT[fault])
    assert [one.error for one in fetch(server, tmp_path) if one.error] == []
    with FieldServer(FIELD, pool=POOL) as other:
        fetch(other, tmp_path / "other")
    for one in list_series(FieldStore(tmp_path)):
        series = Series.of(one.series)
        assert series is not None
        assert repr(rows(tmp_path, series)) == repr(rows(tmp_path / "other", series))


def test_the_stated_waiting_time_is_kept(server: FieldServer) -> None:
    clock = Clock()
    server.plan(fs.status(429, Retry_After="7"))
    client(server, clock).prompts("BTC", (60, 3600), (START, START + DAY))
    assert clock.now >= 7


def test_what_was_fetched_before_an_outage_is_kept(server: FieldServer, tmp_path: Path) -> None:
    server.plan(*[None] * 9)
    server.always = fs.status(500)
    with pytest.raises(FeedUnavailable, match="no usable answer in 5 attempts"):
        fetch(server, tmp_path)
    kept = sum(one.days for one in list_series(FieldStore(tmp_path)))
    assert kept
    server.always = None
    first = server.seen[:9]
    server.seen.clear()
    fetch(server, tmp_path)
    asked = [(seen.path, seen.query) for seen in server.seen]
    assert all((seen.path, seen.query) not in asked for seen in first)


def changed(path: str, **values: Any) -> Callable[[FieldServer], None]:
    """Return what lets a server answer with other values in one row."""

    def plant(server: FieldServer) -> None:
        good = server.answer

        def answer(seen: Any) -> Any:
            found = good(seen)
            if seen.path != path or not found:
                return found
            if isinstance(found, list):
                return [*found[:1], {**found[1], **values}, *found[2:]]
            return {**found, **values}

        server.answer = answer  # type: ignore[method-assign]

    return plant


SCORES, PROMPTS, PATH = "/validation/scores/historical", "/validation/prompts", "/validation/realized-path"
MALFORMED: dict[str, tuple[Callable[[FieldServer], None], str, str]] = {
    "a text for a CRPS": (changed(SCORES, crps="12"), "scores", "1.crps is '12': not a number"),
    "a negative CRPS": (changed(SCORES, crps=-3.0), "scores", "neither a CRPS nor -1"),
    "true for a CRPS": (changed(SCORES, crps=True), "scores", "not a number"),
    "a miner with a fraction": (changed(SCORES, miner_uid=1.5), "scores", "1.miner_uid"),
    "a negative miner": (changed(SCORES, miner_uid=-1), "scores", "1.miner_uid"),
    "another asset": (changed(SCORES, asset="SOL"), "scores", "row 1 is for"),
    "another horizon": (changed(SCORES, time_length=86_400), "scores", "row 1 is for"),
    "no time": (changed(SCORES, scored_time=None), "scores", "not a time"),
    "not a time": (changed(SCORES, scored_time="soon"), "scores", "1.scored_time"),
    "a list in a list": (changed(PROMPTS, start_times=[[1]]), "prompts", "start_times.0"),
    "a number for prompts": (changed(PROMPTS, start_times=5), "prompts", "start_times is 5"),
    "a prompt within a minute": (changed(PROMPTS, start_times=["2026-09-07T00:00:30Z"]), "prompts", "whole minute"),
    "a price of zero": (changed(PATH, real_prices=[0.0] * 61), "paths", "real_prices.0"),
    "too few prices": (changed(PATH, real_prices=[1.0] * 60), "paths", "60 prices, not 61"),
    "a path of another prompt": (changed(PATH, start_time="2026-09-07T00:00:00Z"), "paths", "the answer is for"),
    "an unknown competition": (changed("/rewards/scores", prompt_name="Chess"), "rewards", "unknown competition"),
    "a text for a weight": (changed("/rewards/scores", reward_weight="1"), "rewards", "1.reward_weight"),
    "rows that are a text": (changed("/v1/miners/rewards/pool", rows="all"), "pool", "rows is 'all'"),
    "a negative pool": (
        changed("/v1/miners/rewards/pool", rows=[{"date": "2026-09-07", "usd": -1}]),
        "pool",
        "rows.0.usd",
    ),
}


@pytest.mark.parametrize("case", some(MALFORMED, "a negative miner", "no time", "a price of zero", "a negative pool"))
def test_a_malformed_answer_is_refused_and_nothing_else_is_lost(case: str, server: FieldServer, tmp_path: Path) -> None:
    plant, kind, words = MALFORMED[case]
    if kind in ("prompts", "paths"):  # paths follow from prompts
        fetch(server, tmp_path, days=1)
    plant(server)
    done = fetch(server, tmp_path)
    failed = [one for one in done if one.error]
    assert {one.series.kind for one in failed} == {kind}
    assert words in str(failed[0].error)
    assert server.host in str(failed[0].error)
    del server.answer  # type: ignore[method-assign]
    repaired = fetch(server, tmp_path)
    assert [one.error for one in repaired if one.error] == []
    # what had been answered well was kept
    assert all(one.calls == 0 for one in repaired if one.series.kind not in (kind, "paths"))
    assert [one.holes for one in list_series(FieldStore(tmp_path)) if one.holes] == []


@pytest.mark.parametrize("answer", [b"{}", b'"no"', b"7", b"false", b'{"rows": []}'])
def test_an_object_is_not_a_list_of_scores(answer: bytes, server: FieldServer) -> None:
    server.always = fs.body(answer)
    with pytest.raises(FeedError, match="malformed answer"):
        client(server).scores("BTC", (60, 3600), START)


def test_an_endless_answer_is_cut_off(server: FieldServer) -> None:
    settings = FieldSettings(api=server.url, monitoring=server.url, rate=2.0)
    short = FieldClient(settings, replace(Clock().options, max_bytes=1000))
    with pytest.raises(FeedError, match="exceeds the limit of 1000 bytes"):
        short.scores("BTC", (60, 3600), START)


def test_a_refused_request_says_what_the_server_said(server: FieldServer) -> None:
    with pytest.raises(FeedError, match=r"HTTP 400.*range too long"):
        client(server).prompts("BTC", (60, 3600), (START, START + 61 * DAY))


def test_no_data_is_not_a_fault(server: FieldServer) -> None:
    own = client(server)
    assert own.scores("BTC", (60, 3600), START + 100 * DAY).num_rows == 0
    assert own.prompts("BTC", (60, 3600), (START + 100 * DAY, START + 101 * DAY)) == []
    assert own.path("BTC", (60, 3600), START) is None
    assert own.validity(3) is None
    server.always = fs.status(404)
    assert own.prompts("BTC", (60, 3600), (START, START + DAY)) == []
    assert own.rewards(["crypto-1h"], START).num_rows == own.emission(START).num_rows == 0
    assert own.pool(START, START).num_rows == 0


def test_validity_is_told_with_its_reason(server: FieldServer) -> None:
    server.validity = {"3": {"validated": False, "reason": "expected 289, got 288", "response_time": "4.07"}}
    found = client(server).validity(3)
    assert found is not None
    assert (found.validated, found.reason, found.response_time) == (False, "expected 289, got 288", "4.07")


# --------------------------------------------------------------------------------------------------------- the store


def test_a_changed_byte_is_noticed_and_the_day_fetched_again(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    series = Series("scores", "BTC", 3600)
    before = rows(tmp_path, series)
    path = FieldStore(tmp_path).folder(series) / f"{day_name(START)}.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptPartitionError, match="ewmalab field fetch"):
        rows(tmp_path, series)
    assert [one.series for one in list_series(FieldStore(tmp_path)) if one.damaged] == [series.path]
    server.seen.clear()
    fetch(server, tmp_path)
    assert len(server.seen) == 1
    assert rows(tmp_path, series) == before
    assert [path.name for path in FieldStore(tmp_path).folder(series).glob("quarantine/*")] == [path.name]


@pytest.mark.ci
@pytest.mark.parametrize("series", [Series("pool"), Series("rewards", "crypto-1h"), Series("paths", "BTC", 3600)])
def test_what_was_moved_aside_is_no_series(series: Series, server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    store = FieldStore(tmp_path)
    known = store.series()
    for path in store.folder(series).glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-9])
    assert store.set_damaged_aside(series)
    assert store.series() == [one for one in known if one != series]


@pytest.mark.ci
def test_a_file_of_another_series_is_refused(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    folder = FieldStore(tmp_path).root
    assert isinstance(folder, Path)
    name = f"{day_name(START)}.parquet"
    (folder / "scores/BTC/3600" / name).write_bytes((folder / "scores/ETH/3600" / name).read_bytes())
    with pytest.raises(CorruptPartitionError, match="other rows than scores/BTC/3600"):
        rows(tmp_path, Series("scores", "BTC", 3600))


def test_holes_are_listed(tmp_path: Path) -> None:
    store, series = FieldStore(tmp_path), Series("pool")
    for i in (0, 1, 4):
        store.write(series, series.schema.empty_table(), FieldDay(START + i * DAY, 0, LATER, "a test", False))
    (found,) = list_series(store)
    assert found.holes == [START + 2 * DAY, START + 3 * DAY]
    assert (found.begin, found.end, found.days) == (START, START + 5 * DAY, 3)


def test_a_cache_at_a_url_is_read_but_not_written(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    there = FieldStore(tmp_path.as_uri())
    assert there.series() == FieldStore(tmp_path).series()
    assert there.read(Series("pool"), 0, 2**40).num_rows
    with pytest.raises(ConfigError, match="read-only"):
        there.write(Series("pool"), Series("pool").schema.empty_table(), FieldDay(START, 0, 0, "", False))


def test_unknown_assets_and_competitions_are_refused() -> None:
    with pytest.raises(RulebookError, match="DOGE"):
        Wanted.of(BOOK, (START, START + DAY), None, ["DOGE"])
    with pytest.raises(RulebookError, match="chess"):
        Wanted.of(BOOK, (START, START + DAY), ["chess"], None)


# --------------------------------------------------------------------------------------------------------- matching


def test_a_scored_prompt_belongs_to_the_latest_start_before_its_path() -> None:
    starts = np.array([0, 600, 1200, 1260])
    scored = np.array([600 + 3600 + 300, 1200 + 3600 + 59, 1260 + 3600 + 240])
    assert match_starts(scored, starts, 3600).tolist() == [600, 1200, 1260]


@pytest.mark.parametrize(("delay", "found"), [(0, 600), (LONGEST_DELAY, 600), (LONGEST_DELAY + 1, -1), (-1, -1)])
def test_a_start_is_at_most_half_an_hour_before(delay: int, found: int) -> None:
    assert match_starts(np.array([600 + 3600 + delay]), np.array([600]), 3600).tolist() == [found]


def test_no_start_is_given_twice() -> None:
    assert match_starts(np.array([4300, 4310, 4320]), np.array([600]), 3600).tolist() == [600, -1, -1]
    assert match_starts(np.array([4300]), np.zeros(0, np.int64), 3600).tolist() == [-1]
    assert match_starts(np.zeros(0, np.int64), np.array([600]), 3600).tolist() == []


@pytest.mark.ci
def test_all_scored_prompts_of_a_fetch_are_matched(server: FieldServer, tmp_path: Path) -> None:
    fetch(server, tmp_path)
    found = scored_starts(FieldStore(tmp_path), "BTC", 3600, (START, START + DAYS * DAY))
    assert found.tolist() == [t for t in FIELD.prompts["BTC"] if START <= t < START + DAYS * DAY]


def test_runs_are_not_longer_than_allowed() -> None:
    days = [i * DAY for i in range(130)]
    assert [(b - a) // DAY for a, b in runs(days, 59)] == [59, 59, 12]

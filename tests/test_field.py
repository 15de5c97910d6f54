"""A synthetic field by plainly written rules: ranked, replayed and recomputed exactly; planted defects show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from field_rig import LABELS, FieldServer, SyntheticField

from ewmalab import api
from ewmalab.analysis.field_check import AVERAGES, PROMPT_SCORES, WEIGHTS, FieldReport, check_field
from ewmalab.analysis.field_miner import NewestRank, miner_history, newest_ranks
from ewmalab.analysis.real_field import field_prompts, newest_span, pool_at, read_published
from ewmalab.errors import ConfigError, MissingDataError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldDay, FieldStore
from ewmalab.market.partition import Provenance
from ewmalab.replay.plan import plan_backtest
from ewmalab.report.text.field import field_check_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.workload import cells_of
from ewmalab.times import DAY, MINUTE, day_name, iso, parse_time

BOOK = load_rulebook()
START = parse_time("2026-09-07")
DAYS = 6
LATER = START + 60 * DAY
WEIGHTED = {"BTC": 1.0, "ETH": 0.7064366394033871, "SOL": 0.6310037175639559, "XRP": 0.5658394110809131}
WEIGHTED |= {"HYPE": 0.4784547133706857}
REWARDED = [START + 5 * DAY + 3600 * 3, START + 5 * DAY + 3600 * 17, START + 6 * DAY]
_history: dict[str, Any] = {}


def market(asset: str, grid: np.ndarray) -> np.ndarray:
    """Return the synthetic market's prices."""
    if asset not in _history:
        feed = SimulatedFeed(BOOK, seed=7, gaps=0.0)
        _history[asset] = feed.fetch(asset, START - 2 * DAY, START + (DAYS + 2) * DAY, LATER)
    return _history[asset].closes_at(grid)


def store_of(field: SyntheticField, folder: Path, pool: dict[int, float] | None = None) -> FieldStore:
    """Write a field as a fetch would."""
    store = FieldStore(folder)

    def put(series: Series, rows: list[tuple[Any, ...]]) -> None:
        for day in range(START - 2 * DAY, START + (DAYS + 2) * DAY, DAY):
            own = sorted((row for row in rows if day <= row[0] < day + DAY), key=lambda row: row[:2])
            columns = list(zip(*own, strict=True)) or [()] * len(series.schema)
            arrays = [pa.array(column, entry.type) for column, entry in zip(columns, series.schema, strict=True)]
            store.write(series, pa.table(arrays, schema=series.schema), FieldDay(day, len(own), LATER, "test", True))

    for asset in field.weights:
        mine = [row for row in field.scores if row["asset"] == asset]
        put(
            Series("scores", asset, 3600),
            [(row["scored"], row["miner_uid"], row["crps"], row["prompt_score"]) for row in mine],
        )
        put(Series("prompts", asset, 3600), [(start,) for start in field.prompts[asset]])
        put(
            Series("paths", asset, 3600),
            [(start, LATER, prices) for (name, start), prices in field.paths.items() if name == asset],
        )
    put(
        Series("rewards", field.competition),
        [(parse_time(r["updated_at"]), r["miner_uid"], r["smoothed_score"], r["reward_weight"]) for r in field.rewards],
    )
    put(Series("pool"), list((pool or {}).items()))
    return store


def settings_of(folder: Path, **flags: Any) -> LoadedSettings:
    given = {
        "data.cache_dir": str(folder),
        "run.experiments_dir": str(folder / "experiments"),
        "data.feed": "simulated",
    }
    return load_settings(environ={}, flags={**given, **flags})


@cache
def small_field() -> SyntheticField:
    """Make a field once, and only where it is tested."""
    return SyntheticField(
        START, DAYS, weights=WEIGHTED, miners=30, every=6 * 3540, reward_times=REWARDED, market=market
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    store_of(small_field(), folder, {START + i * DAY: 1000.0 + i for i in range(DAYS)})
    return folder


def checked(folder: Path, **options: Any) -> FieldReport:
    return check_field(FieldStore(folder), BOOK, (START - 2 * DAY, START + (DAYS + 2) * DAY), **options)


def by_quantity(report: FieldReport) -> dict[str, Any]:
    return {row.quantity: row for row in report.rows}


# ------------------------------------------------------------------------------------------------------- check field


@pytest.mark.ci
def test_published_scores_averages_and_weights_are_recomputed(small: Path) -> None:
    report = checked(small)
    assert report.exact
    rows = by_quantity(report)
    assert rows[PROMPT_SCORES].compared == len(small_field().scores)
    assert rows[AVERAGES].compared == rows[WEIGHTS].compared == len(small_field().rewards) > 60
    assert all(row.worst < 1e-12 for row in report.rows)
    assert not any(row.left_out.total() for row in report.rows)
    assert report.snapshots == len(REWARDED)
    text = field_check_text(report)
    assert "verdict: exact" in text
    assert "SYNTHETIC FIELD" in text


Change = Callable[[dict[str, Any]], None]


def copied(small: Path, folder: Path) -> FieldStore:
    """Return a copy of the small field."""
    shutil.copytree(small / "field", folder / "field")
    return FieldStore(folder)


def planted(small: Path, folder: Path, series: Series, change: Change, pick: int = -1) -> Path:
    """Change one row of a copy of the small field."""
    store = copied(small, folder)
    rows = store.read(series, 0, 2**40).to_pylist()
    change(rows[pick])
    day = rows[pick][series.time] // DAY * DAY
    table = pa.Table.from_pylist([row for row in rows if day <= row[series.time] < day + DAY], schema=series.schema)
    store.write(series, table, FieldDay(day, table.num_rows, LATER, "test", True))
    return folder


def setter(name: str, by: float) -> Change:
    def change(row: dict[str, Any]) -> None:
        row[name] += by * abs(row[name] or 1.0)

    return change


@pytest.mark.ci
@pytest.mark.parametrize(
    ("series", "change", "quantity"),
    [
        (Series("scores", "BTC", 3600), setter("prompt_score", 1e-7), PROMPT_SCORES),
        (Series("rewards", "crypto-1h"), setter("smoothed_score", 1e-7), AVERAGES),
        (Series("rewards", "crypto-1h"), setter("reward_weight", 1.0), WEIGHTS),
    ],
)
def test_a_planted_difference_is_found(
    series: Series, change: Change, quantity: str, small: Path, tmp_path: Path
) -> None:
    pick = len(small_field().rewards) - 1 if series.kind == "rewards" else 40
    if quantity == WEIGHTS:  # a weight that is not lost in the rounding of the largest one
        rows = FieldStore(small).read(series, 0, 2**40).to_pylist()
        pick = max(range(len(rows)), key=lambda i: rows[i]["reward_weight"])
    report = checked(planted(small, tmp_path, series, change, pick))
    assert not report.exact
    wrong = {row.quantity: row.differing for row in report.rows if row.differing}
    assert wrong[quantity] >= 1
    assert set(wrong) == {quantity}
    text = field_check_text(report)
    assert "differ from those recomputed" in text
    assert f"differs, crypto-1h {quantity}" in text


@pytest.mark.ci
def test_a_planted_crps_shows_in_scores_averages_and_weights(small: Path, tmp_path: Path) -> None:
    rows = FieldStore(small).read(Series("scores", "BTC", 3600), 0, 2**40).to_pylist()
    pick = next(i for i in range(len(rows) // 2, len(rows)) if rows[i]["crps"] > 0)
    report = checked(planted(small, tmp_path, Series("scores", "BTC", 3600), setter("crps", 0.01), pick))
    found = by_quantity(report)
    assert found[PROMPT_SCORES].differing >= 1
    assert found[AVERAGES].differing >= 1
    assert found[WEIGHTS].differing >= 1


@pytest.mark.ci
@pytest.mark.parametrize(
    ("field", "quantity"),
    [
        ({"transformation": "p95_fill"}, PROMPT_SCORES),
        ({"window": 4 * DAY}, AVERAGES),
        ({"beta": -0.15}, WEIGHTS),
        ({"share": 1 / 3}, WEIGHTS),
        ({"weights": WEIGHTED | {"ETH": 0.70}}, AVERAGES),
    ],
)
def test_a_field_by_other_rules_is_found_out(field: dict[str, Any], quantity: str, tmp_path: Path) -> None:
    other = SyntheticField(
        START, DAYS, **{"weights": WEIGHTED, **field}, miners=30, every=6 * 3540, reward_times=REWARDED[-1:]
    )
    store_of(other, tmp_path)
    assert by_quantity(checked(tmp_path))[quantity].differing


@pytest.mark.ci
def test_windows_that_are_not_cached_are_left_out(small: Path, tmp_path: Path) -> None:
    store = copied(small, tmp_path)
    (store.folder(Series("scores", "XRP", 3600)) / f"{day_name(START + 2 * DAY)}.parquet").unlink()
    rows = by_quantity(checked(tmp_path))
    assert rows[AVERAGES].compared == 0
    assert rows[AVERAGES].left_out["window not cached"] == len(small_field().rewards)
    assert "nothing to compare of" in " ".join(field_check_text(checked(tmp_path)).split())


def test_nothing_cached_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="field list"):
        checked(tmp_path)


@pytest.mark.ci
def test_two_scores_of_one_miner_at_one_time_are_left_out(small: Path, tmp_path: Path) -> None:
    store, series = copied(small, tmp_path), Series("scores", "BTC", 3600)
    rows = store.read(series, START + DAY, START + 2 * DAY).to_pylist()
    rows.append({**rows[0], "crps": rows[0]["crps"] + 1})
    store.write(series, pa.Table.from_pylist(rows, schema=series.schema), FieldDay(START + DAY, 0, LATER, "", True))
    report = checked(tmp_path)
    assert report.ambiguous == 1
    assert by_quantity(report)[PROMPT_SCORES].differing == 0


# --------------------------------------------------------------------------------------------- replay and leaderboard

SPAN = (START + DAY, START + 2 * DAY)


def test_the_real_prompts_are_those_that_were_scored(small: Path) -> None:
    items = field_prompts(FieldStore(small), BOOK, RuleChoice(), SPAN, assets=["BTC"])
    assert [i.prompt.start_time for i in items] == [t for t in small_field().prompts["BTC"] if SPAN[0] <= t < SPAN[1]]
    for item in items:
        np.testing.assert_array_equal(
            np.frombuffer(item.published), np.array(small_field().paths["BTC", item.prompt.start_time], float)
        )


@pytest.mark.ci
def test_a_replay_of_the_field_equals_one_of_the_same_prices_as_bars(small: Path) -> None:
    settings = settings_of(small)
    real = api.backtest("random-walk", prompts="field", start=SPAN[0], days=1, assets="BTC", settings=settings)
    assert any("are scored against published paths" in note for note in real.notes)
    table = real.results.to_pydict()
    file = small / "prompts.csv"
    file.write_text(
        "start_time,asset,time_length\n" + "".join(f"{t},BTC,3600\n" for t in table["start_time"]), encoding="utf-8"
    )
    bars = api.backtest("random-walk", prompts=file, settings=settings)
    assert bars.results.to_pydict()["crps"] == table["crps"]
    assert not any("published" in note for note in bars.notes)


@pytest.mark.ci
def test_a_published_path_needs_no_realised_bars(small: Path, tmp_path: Path) -> None:
    settings = settings_of(small)
    api.load_bars("BTC", START - 3 * DAY, START + DAY + 3600, settings=settings)  # what the model sees
    lean = settings_of(small, **{"data.scored_feed": "file"})  # a feed without any bars
    real = api.backtest("random-walk", prompts="field", start=SPAN[0], days=0.5, assets="BTC", settings=lean)
    assert all(value is not None for value in real.results.to_pydict()["crps"])


@pytest.mark.ci
def test_a_published_path_without_its_last_price_is_not_scored(small: Path, tmp_path: Path) -> None:
    first = next(t for t in small_field().prompts["BTC"] if t >= SPAN[0])

    def cut(row: dict[str, Any]) -> None:
        row["prices"][-1] = None

    starts = sorted(start for asset, start in small_field().paths if asset == "BTC")
    planted(small, tmp_path, Series("paths", "BTC", 3600), cut, starts.index(first))
    real = api.backtest(
        "random-walk", prompts="field", start=SPAN[0], days=1, assets="BTC", settings=settings_of(tmp_path)
    )
    table = real.results.to_pydict()
    assert table["reason"][0] == "last price missing"
    assert table["crps"][0] is None
    assert None not in table["crps"][1:]


def test_a_replay_of_the_field_can_be_reproduced_and_other_paths_are_noticed(small: Path, tmp_path: Path) -> None:
    copied(small, tmp_path)
    settings = settings_of(tmp_path)
    done = api.backtest("random-walk", prompts="field", start=SPAN[0], days=1, assets="BTC", settings=settings)
    from ewmalab.replay.reproduce import reproduce_plan

    assert reproduce_plan(done, tmp_path, ["BTC"]).prompts == len(done.results)

    def move(row: dict[str, Any]) -> None:
        row["prices"][5] *= 1.001

    starts = sorted(start for asset, start in small_field().paths if asset == "BTC")
    first = next(t for t in small_field().prompts["BTC"] if t >= SPAN[0])
    shutil.rmtree(tmp_path / "field")
    planted(small, tmp_path, Series("paths", "BTC", 3600), move, starts.index(first))
    with pytest.raises(api.EwmalabError, match="field/BTC/paths"):
        reproduce_plan(done, tmp_path, ["BTC"])


def test_a_sweep_scores_the_field_against_published_paths(small: Path) -> None:
    items = field_prompts(FieldStore(small), BOOK, RuleChoice(), SPAN, assets=["BTC"])
    other = [replace(item, published=(np.frombuffer(item.published) * 2).tobytes()) for item in items]
    settings = settings_of(small)
    api.load_bars("BTC", START - 3 * DAY, SPAN[1] + 3600, settings=settings)
    plan = plan_backtest(settings, forecasters=["random-walk"], scheduled=other, start=SPAN[0], days=1)
    cell = cells_of(plan)["crypto-1h", "BTC"]
    paths, scorable = cell.truth
    np.testing.assert_array_equal(paths, [np.frombuffer(item.published) for item in other])
    assert scorable.all()
    plain = plan_backtest(settings, forecasters=["random-walk"], scheduled=items, start=SPAN[0], days=1)
    assert cells_of(plain)["crypto-1h", "BTC"].identity != cell.identity


@pytest.mark.ci
def test_forecasters_are_ranked_among_all_real_miners(small: Path) -> None:
    done = api.leaderboard("ewma", "random-walk", field=True, start=START, days=DAYS, settings=settings_of(small))
    final = [s for s in done.ranking.final if s.competition == "crypto-1h"]
    uids = {row["miner_uid"] for row in small_field().scores}
    assert {s.miner for s in final} == {"ewma", "random-walk", *(f"uid {uid}" for uid in uids)}
    assert done.ranking.unit == "USD/day"
    assert done.ranking.emission == 1000.0 + DAYS - 1
    assert {e.miner for e in done.ranking.earnings} >= {"ewma"}
    text = done.text()
    assert "estimated" in text
    assert "SYNTHETIC" in text
    assert all(np.isfinite(s.score) for s in final)


def test_without_ours_the_ranking_is_the_published_one(small: Path) -> None:
    from ewmalab.analysis.competition_field import board_at

    published = read_published(FieldStore(small), BOOK, RuleChoice(), (START - 2 * DAY, START + 9 * DAY))
    field = published.field(BOOK, RuleChoice())
    board = board_at(field, "crypto-1h", REWARDED[-1])
    given = {
        r["miner_uid"]: r["reward_weight"] for r in small_field().rewards if parse_time(r["updated_at"]) == REWARDED[-1]
    }
    names = [int(field.miners[i].removeprefix("uid ")) for i in board.miners.tolist()]
    assert dict(zip(names, board.weights.tolist(), strict=True)) == pytest.approx(given, rel=1e-9, abs=1e-300)


def test_a_missed_answer_costs_a_miner_of_the_field(small: Path) -> None:
    published = read_published(FieldStore(small), BOOK, RuleChoice(), (START - 2 * DAY, START + 9 * DAY))
    field = published.field(BOOK, RuleChoice())
    dropped = np.zeros(len(field.crps), bool)
    dropped[::3] = True
    worse = field.without("uid 0", dropped)
    assert (worse.crps.loc[dropped, "uid 0"] == -1.0).all()
    assert worse.scored is field.scored


def test_the_field_has_its_own_miners_and_prompts(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its own miners"):
        api.leaderboard("ewma", field=True, predictions=[tmp_path], settings=settings_of(small))
    with pytest.raises(ConfigError, match="cadence"):
        api.backtest("ewma", prompts="field", cadence="1h", settings=settings_of(small))
    with pytest.raises(MissingDataError, match="field fetch"):
        api.backtest("ewma", prompts="field", settings=settings_of(tmp_path))
    with pytest.raises(MissingDataError, match="field fetch"):
        api.backtest("ewma", prompts="field", start="2026-01-15", settings=settings_of(small))


def test_the_newest_days_end_where_all_assets_are_scored(small: Path) -> None:
    assert newest_span(FieldStore(small), 2) == (START + (DAYS - 1) * DAY, START + (DAYS + 1) * DAY)
    assert pool_at(FieldStore(small), START + 2 * DAY + 5) == (START + 2 * DAY, 1002.0)
    assert pool_at(FieldStore(small), START - 1) is None


# -------------------------------------------------------------------------------------------------------- one miner


def test_the_newest_rank_is_that_of_the_last_published_day(small: Path) -> None:
    store = FieldStore(small)
    days = [day for day in miner_history(store, BOOK, 3, (START, START + (DAYS + 9) * DAY)).days if day.rank]
    last = max(days, key=lambda one: one.day)
    assert newest_ranks(store, 3) == [NewestRank(last.competition, last.day, last.rank, last.miners)]
    assert newest_ranks(store, 999) == []


def test_a_miners_days_follow_from_what_was_published(small: Path) -> None:
    found = miner_history(FieldStore(small), BOOK, 3, (START, START + (DAYS + 1) * DAY))
    own = [row for row in small_field().scores if row["miner_uid"] == 3]
    for day in found.days:
        rows = [row for row in own if day.day <= row["scored"] < day.day + DAY]
        assert day.prompts == len(rows)
        assert day.invalid == sum(row["crps"] == -1 for row in rows)
        if rows:
            assert day.prompt_score == pytest.approx(np.mean([row["prompt_score"] for row in rows]))
    ranked = {day.day: day for day in found.days if day.rank}
    last = [r for r in small_field().rewards if parse_time(r["updated_at"]) == REWARDED[-1]]
    mine = next(r["reward_weight"] for r in last if r["miner_uid"] == 3)
    assert ranked[REWARDED[-1] // DAY * DAY].rank == 1 + sum(r["reward_weight"] > mine for r in last)
    assert ranked[REWARDED[-1] // DAY * DAY].miners == len(last)


def test_earnings_are_the_mean_share_of_the_emission_times_the_pool(tmp_path: Path) -> None:
    store, series = FieldStore(tmp_path), Series("emission")
    rows = [(START + 60, 1, 2.0, 0.5), (START + 60, 2, 6.0, 0.5), (START + 60, 3, 9.0, 0.0)]
    rows += [(START + 120, 2, 5.0, 0.1)]
    table = pa.table(
        [pa.array(c, e.type) for c, e in zip(zip(*rows, strict=True), series.schema, strict=True)], schema=series.schema
    )
    store.write(series, table, FieldDay(START, 4, LATER, "test", True))
    pool = pa.table([[START], [1000.0]], schema=Series("pool").schema)
    store.write(Series("pool"), pool, FieldDay(START, 1, LATER, "test", True))
    (one,) = miner_history(store, BOOK, 1, (START, START + DAY)).earned
    assert one.share == pytest.approx((2 / 8 + 0) / 2)
    assert one.usd == pytest.approx(125.0)
    with pytest.raises(MissingDataError, match="uid 77"):
        miner_history(store, BOOK, 77, (START + 5 * DAY, START + 6 * DAY))


# ------------------------------------------------------------------------------------------------- import and export


def everything(folder: Path) -> dict[str, list[dict[str, Any]]]:
    store = FieldStore(folder)
    return {s.path: store.read(s, 0, 2**40).to_pylist() for s in store.series()}


@pytest.mark.ci
def test_a_bundle_is_read_back_as_it_was(small: Path, tmp_path: Path) -> None:
    settings = settings_of(small)
    api.load_bars("BTC", START, START + DAY, settings=settings)
    done = api.export_field(tmp_path / "bundle", settings=settings)
    names = {one.file for one in done.value}
    assert {
        "miner_scores_BTC_crypto-1h.parquet",
        "rewards_history_crypto-1h.parquet",
        "miner_pool_usd.parquet",
    } <= names
    assert f"market_data/prices/BTC/1m/date={day_name(START)}.parquet" in names
    scores = pq.read_table(tmp_path / "bundle/miner_scores_BTC_crypto-1h.parquet")
    assert {"miner_uid", "asset", "crps", "scored_time", "time_length"} <= set(scores.column_names)
    assert str(scores["scored_time"].type) == "timestamp[ns, tz=UTC]"
    there = settings_of(tmp_path / "other")
    back = api.import_field([tmp_path / "bundle"], settings=there)
    assert [one.error for one in back.value if one.error] == []
    assert everything(tmp_path / "other") == everything(small)
    assert all(one.synthetic for one in api.list_field(settings=there).value)
    bars, same = (api.load_bars("BTC", START, START + DAY, settings=s) for s in (settings, there))
    np.testing.assert_array_equal(bars.close, same.close)
    again = api.import_field([tmp_path / "bundle"], settings=there)
    assert sum(one.days for one in again.value) == 0


def test_a_bundle_needs_a_new_folder(small: Path, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(api.EwmalabError, match="not empty"):
        api.export_field(tmp_path, settings=settings_of(small))


def test_the_neighbours_bundle_is_read(tmp_path: Path) -> None:
    import pandas as pd

    times = pd.to_datetime([START + 100, START + 100, START + DAY + 5, START + 2 * DAY + 9], unit="s", utc=True)
    frame = pd.DataFrame({"miner_uid": [1, 2, 1, 1], "asset": "BTC", "crps": [3.0, None, 2.0, 1.0]})
    frame["scored_time"], frame["time_length"], frame["time_increment"] = times, 3600, 60
    frame["start_time"] = times - pd.Timedelta(hours=1)
    frame.to_parquet(tmp_path / "miner_scores_BTC_crypto-1h.parquet", index=False)
    rewards = pd.DataFrame({"miner_uid": [1], "smoothed_score": [4.0], "reward_weight": [0.1]})
    rewards["prompt_name"], rewards["updated_at"] = LABELS["crypto-1h"], iso(START + 5)
    rewards.to_parquet(tmp_path / "rewards_history_crypto-1h.parquet", index=False)
    pool = pd.DataFrame({"date": pd.to_datetime([START], unit="s", utc=True), "usd": [900]})
    pool.to_parquet(tmp_path / "miner_pool_usd.parquet", index=False)
    done = api.import_field([tmp_path], settings=settings_of(tmp_path / "cache"))
    assert [one.error for one in done.value if one.error] == []
    found = everything(tmp_path / "cache")
    assert [row["crps"] for row in found["scores/BTC/3600"]] == [3.0, -1.0, 2.0, 1.0]
    assert found["pool"] == [{"date": START, "usd": 900.0}]
    assert found["rewards/crypto-1h"][0]["updated_at"] == START + 5
    # the first and the last day may be cut: a fetch asks for them again
    unfinished = {c.series: c.unfinished for c in api.list_field(settings=settings_of(tmp_path / "cache")).value}
    assert unfinished["scores/BTC/3600"] == [START, START + 2 * DAY]


def test_answers_of_the_api_are_imported(tmp_path: Path) -> None:
    with FieldServer(small_field(), pool={day_name(START): 12.5}) as server:
        from ewmalab.live.rehearsal.feed_server import Seen

        def ask(name: str, path: str, **query: str) -> Path:
            file = tmp_path / name
            file.write_bytes(orjson.dumps(server.answer(Seen("GET", path, query, None, {}))))
            return file

        grid = {"time_length": "3600", "time_increment": "60", "asset": "BTC"}
        day = {"from": iso(START + DAY), "to": iso(START + DAY)}
        first = next(t for t in small_field().prompts["BTC"] if t >= START)
        files = [
            ask("scores.json", "/validation/scores/historical", **grid, **day),
            ask("rewards.json", "/rewards/scores", **{"from": iso(START), "to": iso(START + 7 * DAY)}),
            ask("path.json", "/validation/realized-path", **grid, start_time=iso(first)),
            ask("pool.json", "/v1/miners/rewards/pool", **{"from": day_name(START), "to": day_name(START)}),
        ]
        prompts = ask("prompts.json", "/validation/prompts", **grid, **day)
    settings = settings_of(tmp_path / "cache")
    done = api.import_field(files, settings=settings)
    assert [one.error for one in done.value if one.error] == []
    refused = api.import_field([prompts], settings=settings)
    assert "--asset" in str(refused.value[0].error)
    assert not refused.ok
    assert api.import_field([prompts], asset="btc", competition="crypto-1h", settings=settings).ok
    found = everything(tmp_path / "cache")
    assert set(found) == {"scores/BTC/3600", "rewards/crypto-1h", "paths/BTC/3600", "pool", "prompts/BTC/3600"}
    assert len(found["rewards/crypto-1h"]) == len(small_field().rewards)
    assert found["paths/BTC/3600"][0]["prices"] == small_field().paths["BTC", first]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[1, 2]", "not an answer"),
        (b"{", "cannot be read as JSON"),
        (b'[{"miner_uid": 1, "asset": "BTC", "time_length": 3600, "scored_time": "x", "crps": 1}]', "scored_time"),
        (b'{"real_prices": [1.0]}', "without asset"),
        (b"[]", "not an answer"),
        (b'{"rows": [{"date": "2026-09-07", "usd": "1"}]}', "not a number"),
    ],
)
def test_other_json_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(content)
    done = api.import_field([file], settings=settings_of(tmp_path / "cache"))
    assert words in str(done.value[0].error)
    assert api.list_field(settings=settings_of(tmp_path / "cache")).value == []


def test_a_file_that_contradicts_the_cache_is_refused(small: Path, tmp_path: Path) -> None:
    api.export_field(tmp_path / "bundle", prices=False, settings=settings_of(small))
    cache = settings_of(tmp_path / "cache")
    file = tmp_path / "bundle/miner_scores_BTC_crypto-1h.parquet"
    assert api.import_field([file], settings=cache).ok
    before = everything(tmp_path / "cache")
    table = pq.read_table(file)
    crps = table["crps"].to_numpy().copy()
    crps[17] += 1.0
    pq.write_table(table.set_column(table.column_names.index("crps"), "crps", pa.array(crps)), file)
    done = api.import_field([file], settings=cache)
    assert "1 rows differ from cached ones" in str(done.value[0].error)
    assert everything(tmp_path / "cache") == before


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("miner_scores_ETH_crypto-1h.parquet", lambda t: t, "asset BTC in a file that is named for ETH"),
        ("other.parquet", lambda t: t, "unknown file"),
        ("miner_scores_BTC_chess.parquet", lambda t: t, "chess"),
        ("miner_scores_BTC_crypto-1h.parquet", lambda t: t.drop_columns(["crps"]), "it lacks crps"),
        (
            "miner_scores_BTC_crypto-1h.parquet",
            lambda t: t.set_column(t.column_names.index("crps"), "crps", pa.array([-2.0] * t.num_rows)),
            "neither a CRPS nor -1",
        ),
    ],
)
def test_unfit_tables_are_refused(
    name: str, change: Callable[[pa.Table], pa.Table], words: str, small: Path, tmp_path: Path
) -> None:
    api.export_field(tmp_path / "bundle", prices=False, settings=settings_of(small))
    table = pq.read_table(tmp_path / "bundle/miner_scores_BTC_crypto-1h.parquet")
    file = tmp_path / name
    pq.write_table(change(table), file)
    try:
        done = api.import_field([file], settings=settings_of(tmp_path / "cache"))
        said = str(done.value[0].error)
    except api.RulebookError as error:
        said = str(error)
    assert words in said


# ---------------------------------------------------------------------------------------------- the commands, at size


@pytest.fixture
def synthetic_field() -> SyntheticField:
    return SyntheticField(
        START, DAYS, weights=WEIGHTED, miners=250, every=2 * 3540, reward_times=REWARDED, market=market
    )


@pytest.mark.ci
def test_a_field_of_250_miners_is_fetched_killed_resumed_ranked_and_recomputed(
    synthetic_field: SyntheticField, ewmalab: Any, folder: Path, tmp_path: Path
) -> None:
    import os
    import signal
    import subprocess
    import sys
    import time

    pool = {day_name(START + i * DAY): 2000.0 for i in range(DAYS + 2)}
    with FieldServer(synthetic_field, pool=pool) as server:
        server.validity = {"7": {"validated": True, "reason": "CORRECT", "response_time": "1.2"}}
        flags = ["--set", f"field.api={server.url}", "--set", f"field.monitoring={server.url}"]
        flags += ["--set", "field.rate=100"]
        fetch = ["field", "fetch", "--start", day_name(START), "--days", str(DAYS), "--competitions", "crypto-1h"]
        root = str(Path(__file__).resolve().parents[1])
        kills = 0
        for patience in (4.0, 3.0, 5.0):
            asked = len(server.seen)
            process = subprocess.Popen(
                [sys.executable, "-m", "ewmalab", *fetch, *flags],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": root, "NO_PROXY": "127.0.0.1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            while len(server.seen) < asked + 12 and process.poll() is None:
                time.sleep(0.02)
            time.sleep(0.1 * patience)
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                kills += 1
            process.wait()
        assert kills
        assert ewmalab(*fetch, *flags).code == 0
        server.seen.clear()
        assert ewmalab(*fetch, *flags).code == 0
        assert server.seen == []  # whole, and nothing is asked twice
        listed = json.loads(ewmalab("field", "list", "--json").out)
        assert not any(one["holes"] or one["unfinished"] or one["damaged"] for one in listed)
        assert all(one["synthetic"] for one in listed)
        shown = ewmalab("field", "miner", "7", *flags)
        assert shown.code == 0, shown.err
        assert "newest answer of uid 7: valid" in shown.out
    result = ewmalab("check", "field", "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert report["exact"] is True
    compared = {row["quantity"]: row["compared"] for row in report["rows"]}
    scored = [row for row in synthetic_field.scores if row["scored"] >= START]
    assert compared == {
        "prompt scores": len(scored),
        "rolling averages": len(synthetic_field.rewards),
        "weights": len(synthetic_field.rewards),
    }
    ranked = ewmalab(
        "leaderboard", "ewma", "--field", "--feed", "simulated", "--start", day_name(START), "--days", str(DAYS),
        "--missing", "0", "--json",
    )  # fmt: skip
    assert ranked.code == 0, ranked.err
    board = json.loads(ranked.out)
    assert len([s for s in board["standings"] if s["when"] == board["when"] and s["competition"]]) == 251
    assert board["unit"] == "USD/day"


# ------------------------------------------------------------------------------------ predictions of other programs


@pytest.mark.ci
def test_kept_predictions_score_as_the_replay_did(small: Path, tmp_path: Path) -> None:
    told: list[str] = []
    settings = settings_of(small)
    done = api.backtest(
        "random-walk",
        start=SPAN[0],
        days=0.05,
        assets="BTC",
        competitions="1h",
        num_simulations=100,
        keep_predictions=tmp_path / "out",
        announce=told.append,
        settings=settings,
    )
    table = done.results.to_pydict()
    files = sorted((tmp_path / "out/random-walk/predictions").iterdir())
    assert len(files) == len(table["crps"]) > 3
    assert told == [one for one in told if f"keeping {len(files)} prediction files of about " in one]
    assert len(told) == 1
    first = json.loads(files[0].read_bytes())
    assert first["start_timestamp"] == table["start_time"][0]
    assert np.array(first["paths"]).shape == (100, 61)
    assert files[0].name == f"{iso(table['start_time'][0]).replace('T', '_')}_BTC_3600.json"
    scored = [api.score(file, "1h", asset="BTC", settings=settings).value.total for file in files]
    assert scored == pytest.approx(table["crps"], rel=1e-5)  # 8 digits of each price
    plain = api.backtest(
        "random-walk", start=SPAN[0], days=0.05, assets="BTC", competitions="1h", num_simulations=100, settings=settings
    )
    assert plain.results.to_pydict() == table
    size = sum(file.stat().st_size for file in files)
    assert 0.5 < size / (len(files) * 100 * 61 * 10) <= 1.1  # the estimate


def test_no_replay_starts_that_would_fill_the_disk(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1_000_000))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="the disk has 1 MB left"):
        api.backtest(
            "random-walk", start=SPAN[0], assets="BTC", keep_predictions=tmp_path / "out", settings=settings_of(small)
        )
    assert not (tmp_path / "out").exists()


def test_a_prediction_from_the_newest_bars_is_valid_and_looks_not_ahead(small: Path, tmp_path: Path) -> None:
    settings = settings_of(small)
    api.load_bars("BTC", START - 4 * DAY, START, settings=settings)
    found = api.predict("btc", "crypto-1h", start=START, settings=settings, num_simulations=50)
    answer = json.loads(found.text())
    assert answer[:2] == [START, 60]
    assert np.array(answer[2:]).shape == (50, 61)
    assert found.prompt.request_time < START
    assert iso(found.prompt.request_time // MINUTE * MINUTE - MINUTE) in found.notes[0]
    file = tmp_path / "prediction.json"
    whole = api.predict("BTC", "crypto-1h", start=START, settings=settings)
    file.write_text(whole.text())
    assert api.validate(file, "crypto-1h").ok
    file.write_bytes(orjson.dumps(whole.json()))
    assert api.validate(file, "crypto-1h").ok


def test_without_a_start_the_newest_bar_is_known(tmp_path: Path) -> None:
    bars = Bars.from_closes(START - 4 * DAY + MINUTE * np.arange(4 * 1440), 100 + np.arange(4 * 1440) % 7 * 0.01)
    Cache(tmp_path).write("binance", "BTC", bars, [(START - 4 * DAY, START)], Provenance("test", LATER))
    settings = settings_of(tmp_path, **{"data.feed": "binance"})
    found = api.predict("BTC", "1h", forecaster="random-walk", settings=settings, num_simulations=5)
    assert found.prompt.request_time >= START
    assert found.prompt.request_time - START < 120
    assert f"the close of {iso(START - MINUTE)}" in found.notes[0]
    with pytest.raises(MissingDataError, match="data fetch"):
        api.predict("ETH", "1h", settings=settings)
    with pytest.raises(api.RulebookError, match="rules show"):
        api.predict("XAU", "crypto-1h", start=START, settings=settings)


@pytest.mark.ci
def test_processes_see_the_published_paths_and_keep_the_same_predictions(small: Path, tmp_path: Path) -> None:
    request = {"prompts": "field", "start": SPAN[0], "days": 1, "assets": "BTC", "num_simulations": 20}
    found = {}
    for engine in ("threads", "processes"):
        done = api.backtest(
            "random-walk",
            workers=api.Workers(engine, 2),  # type: ignore[arg-type]
            keep_predictions=tmp_path / engine,
            announce=lambda _: None,
            settings=settings_of(small),
            **request,  # type: ignore[arg-type]
        )
        files = sorted((tmp_path / engine / "random-walk/predictions").iterdir())
        found[engine] = done.results.to_pydict(), [(file.name, file.read_bytes()) for file in files]
    assert found["threads"] == found["processes"]
    assert found["threads"][1]

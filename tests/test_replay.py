"""A replay is honest, reproducible, and independent of what else is replayed beside it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import har
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from replayed import on_grid

from ewmalab.errors import ConfigError, ForecasterError, MissingDataError
from ewmalab.experiments.store import write_results
from ewmalab.forecast.model import Model, state_digest
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.backtest import backtest
from ewmalab.replay.data import needed
from ewmalab.replay.engine import LAST_PRICE_MISSING, NOT_SETTLED, Row, realised_path, replay
from ewmalab.replay.knowledge import moments
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.results import collect, results_schema, summarise
from ewmalab.report.text.backtest import backtest_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.scoring.crps import score_paths
from ewmalab.settings import load_settings
from ewmalab.times import DAY, MINUTE, iso, parse_time

START = parse_time("2026-01-08")
NOW = parse_time("2026-03-01")
PATHS = 40
MakePlan = Callable[..., BacktestPlan]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the module's tests fill with synthetic bars as they need them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plan(cache_dir: Path, tmp_path: Path) -> MakePlan:
    def make(days: float = 0.25, flags: Mapping[str, Any] | None = None, **options: Any) -> BacktestPlan:
        settings = load_settings(
            environ={},
            flags={
                "data.cache_dir": str(cache_dir), "run.experiments_dir": str(tmp_path / "experiments"),
                "data.feed": "simulated", **(flags or {}),
            },
        )  # fmt: skip
        chosen: dict[str, Any] = {"start": START, "num_simulations": PATHS, "assets": ["BTC"]} | options
        names = {key: chosen.get(key) for key in ("rules", "assets", "competitions", "cadence", "num_simulations")}
        chosen["scheduled"] = on_grid(settings, chosen["start"], days, **names)
        return plan_backtest(settings, days=days, **({"now": NOW} | chosen))

    return make


def tabled(plan: BacktestPlan, blocks: Iterable[list[Row]] | None = None, threads: int = 1) -> pa.Table:
    """Return a plan's results as an experiment holds them."""
    schema = results_schema(plan.rules, (item.prompt for items in plan.groups.values() for item in items))
    return collect(blocks or plan.blocks(threads=threads), plan.forecasters, schema)


def encoded(plan: BacktestPlan, threads: int, folder: Path) -> bytes:
    table = tabled(plan, threads=threads)
    write_results(folder / "results", table.schema, [table])
    return (folder / "results").read_bytes()


def of(rows: list[Row], forecaster: str, competition: str, asset: str) -> list[Row]:
    wanted = (forecaster, competition, asset)
    return [r for r in rows if (r.forecaster, r.prompt.competition, r.prompt.asset) == wanted]


def chain(closes: npt.NDArray[np.float64], start: int, skip: set[int] = frozenset()) -> Bars:  # type: ignore[assignment]
    """Bars with a small real range around their closes, without the labels in `skip`."""
    labels = start + MINUTE * np.arange(len(closes))
    keep = np.array([int(t) not in skip for t in labels])
    c = closes[keep]
    return Bars(labels[keep], c, c * 1.0005, c * 0.9995, c)


def wandering(minutes: int, seed: int = 3) -> npt.NDArray[np.float64]:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).standard_normal(minutes) * 5e-4))


@dataclass
class Recorder:
    """Remembers the bars of its newest state, as they came; its paths are flat."""

    batches: list[Bars] = field(default_factory=list)

    def initial_state(self) -> int:
        self.batches.clear()
        return 0

    def update(self, state: int, bars: Bars) -> int:
        self.batches.append(bars)
        return state + len(bars)

    def simulate(self, state: int, prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        return np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)

    def dump_state(self, state: int) -> dict[str, Any]:
        return {"version": 1, "count": state}

    def load_state(self, data: Mapping[str, Any]) -> int:
        return int(data["count"])


def model_of(plan: BacktestPlan, asset: str = "BTC", name: str = "ewma") -> Model:
    return plan.model(name, asset, plan.start)


def replayed(plan: BacktestPlan, make: Callable[[str, str], Any], **options: Any) -> list[Row]:
    """Replay the first forecaster's prompts with another in its place."""

    def stretches(name: str, group: tuple[str, str]) -> Iterator[tuple[Model, Any]]:
        for model, items in plan.stretches(name, group):
            yield replace(model, forecaster=make(name, group[1])), items

    chosen: dict[str, Any] = {"seed": 1, "threads": 1} | options
    blocks = replay(plan.forecasters[:1], stretches, plan.groups, plan.data, **chosen)
    return sorted((row for block in blocks for row in block), key=lambda row: row.prompt)


# ------------------------------------------------------------------------------------------ reproducible


def test_results_are_the_same_bytes_for_any_number_of_threads_and_in_every_run(plan: MakePlan, tmp_path: Path) -> None:
    once = plan(1.0, assets=["BTC", "SPYX"], rules=RuleChoice.parse("2026-01-28"))
    assert max(len(items) for items in once.groups.values()) > 3 * 32  # several blocks per group
    first = encoded(once, 1, tmp_path)
    assert encoded(once, 4, tmp_path) == first
    assert encoded(once, 3, tmp_path) == first
    again = plan(1.0, assets=["SPYX", "BTC"], rules=RuleChoice.parse("2026-01-28"))
    assert encoded(again, 4, tmp_path) == first


def test_another_seed_gives_other_scores_on_the_same_anchors(plan: MakePlan) -> None:
    one, other = (plan(flags={"run.seed": seed}).run(threads=1) for seed in (1, 2))
    assert [r.anchor for r in one] == [r.anchor for r in other]
    assert all(a.score.total != b.score.total for a, b in zip(one, other, strict=True))  # type: ignore[union-attr]


def test_rows_come_by_forecaster_and_then_in_time_order(plan: MakePlan) -> None:
    rows = plan(forecasters=["random-walk", "ewma"], assets=["ETH", "BTC"]).run(threads=4)
    keys = [(("random-walk", "ewma").index(r.forecaster), r.prompt) for r in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_progress_counts_every_prompt_once(plan: MakePlan) -> None:
    done: list[int] = []
    chosen = plan()
    rows = chosen.run(threads=2, progress=done.append)
    assert sum(done) == len(rows) == chosen.prompts


# -------------------------------------------------------------------------------------------- independent


def test_results_of_a_competition_do_not_depend_on_what_is_replayed_beside_it(plan: MakePlan) -> None:
    rules = RuleChoice.parse("2026-01-28")
    together = plan(
        1.0, assets=["BTC", "ETH", "SPYX"], rules=rules, forecasters=["ewma", "ewma@seed", "random-walk"]
    ).run(threads=2)
    for competition, asset in (("1h", "BTC"), ("24h", "BTC"), ("24h", "SPYX")):
        alone = plan(1.0, assets=[asset], competitions=[competition], rules=rules, forecasters=["ewma"]).run(threads=1)
        assert alone == of(together, "ewma", competition, asset)


def test_settlement_of_a_prompt_does_not_depend_on_what_is_replayed_beside_it(tmp_path: Path) -> None:
    """The candle after the last grid point is missing, a later one is there: validators never ask for that."""
    begin, end = START - 6 * DAY, START + 2 * DAY
    last = START + 3600
    bars = chain(wandering((end - begin) // MINUTE), begin, {last + MINUTE, last + 2 * MINUTE})
    Cache(tmp_path / "cache").write("binance", "BTC", bars, [(begin, end)], Provenance("test", NOW))
    settings = load_settings(environ={}, flags={"data.cache_dir": str(tmp_path / "cache"), "data.feed": "binance"})

    def reasons(competitions: list[str] | None) -> list[str | None]:
        chosen = plan_backtest(
            settings, start=START, days=1 / 24 / 6, assets=["BTC"], competitions=competitions, num_simulations=PATHS,
            forecasters=["random-walk"],
        )  # fmt: skip
        return [r.reason for r in of(chosen.run(threads=1), "random-walk", "1h", "BTC")]

    assert reasons(["1h", "24h"]) == [NOT_SETTLED]
    assert reasons(["1h"]) == [NOT_SETTLED]


def test_a_forecast_does_not_depend_on_the_prompts_before_it(plan: MakePlan) -> None:
    chosen = plan(0.5, forecasters=["ewma"])
    everything = {row.prompt: row for row in chosen.run(threads=1)}
    for keep in (slice(None, None, 3), slice(7, None, 5), slice(-1, None)):
        rows = replace(chosen, groups={key: items[keep] for key, items in chosen.groups.items()}).run(threads=1)
        assert rows
        for row in rows:
            assert row == everything[row.prompt]


def test_a_prompts_paths_are_its_own_whatever_else_ran(plan: MakePlan) -> None:
    """No two prompts share a random stream: not those of other times, assets, or competitions."""
    chosen = plan(0.1, assets=["BTC", "ETH"], forecasters=["random-walk"])
    seen: set[bytes] = set()
    count = 0
    for (_, asset), items in chosen.groups.items():
        model = model_of(chosen, asset, "random-walk")
        for moment in moments(model, chosen.data.model[asset], [i.prompt for i in items]):
            paths = moment.paths(model, 5)
            seen.add((paths[1] / paths[1].std()).round(3).tobytes())
            count += 1
    assert len(seen) == count > 10


# ------------------------------------------------------------------------------------------------ knowledge


@pytest.mark.parametrize(("lead", "age"), [(30, 120), (60, 120), (90, 180), (1, 120), (59, 120), (61, 180)])
def test_the_anchor_is_the_close_of_the_newest_bar_closed_at_the_request(plan: MakePlan, lead: int, age: int) -> None:
    """By hand: a request `lead` s before a whole minute finds the bar labelled `age` s before that minute."""
    chosen = plan(flags={"replay.request_lead": f"{lead}s"}, forecasters=["random-walk"])
    bars = chosen.data.model["BTC"]
    close = dict(zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True))
    rows = chosen.run(threads=1)
    for row in rows:
        assert row.anchor_time == row.prompt.start_time - age
        assert row.anchor_time + MINUTE <= row.prompt.request_time < row.anchor_time + 2 * MINUTE
        assert row.anchor == close[row.anchor_time]


def test_with_gaps_the_anchor_is_the_newest_bar_there_is(plan: MakePlan) -> None:
    chosen = plan(1.0, flags={"feeds.simulated.gaps": 0.3}, forecasters=["random-walk"], partial=True)
    bars = chosen.data.model["BTC"]
    ages = set()
    for row in chosen.run(threads=1):
        known = [int(t) for t in bars.timestamp if t + MINUTE <= row.prompt.request_time]
        assert row.anchor_time == known[-1]
        assert row.anchor == bars.close[len(known) - 1]
        ages.add(row.prompt.start_time - row.anchor_time)
    assert len(ages) > 2


@pytest.mark.parametrize("lead", [1, 30, 60, 90])
def test_a_forecaster_sees_every_bar_of_its_warm_up_once_and_none_that_is_not_closed(plan: MakePlan, lead: int) -> None:
    chosen = plan(flags={"replay.request_lead": f"{lead}s"}, forecasters=["random-walk"], start=START - 3 * 3600)
    origins = set()
    for (_, asset), items in chosen.groups.items():
        recorder = Recorder()
        model = replace(model_of(chosen, asset, "random-walk"), forecaster=recorder)
        for moment in moments(model, chosen.data.model[asset], [i.prompt for i in items]):
            seen = Bars.concatenate(recorder.batches).timestamp
            newest = int(seen[-1])
            assert newest + MINUTE <= moment.prompt.request_time < newest + 2 * MINUTE
            np.testing.assert_array_equal(seen, np.arange(model.origin(newest), newest + MINUTE, MINUTE))
            assert moment.state == len(seen)
            origins.add(int(seen[0]))
    assert origins == {START - 6 * DAY, START - 5 * DAY}


@pytest.mark.parametrize(("asset", "warmup"), [("BTC", 5 * DAY), ("SPYX", 5 * DAY), ("BTC", 2 * DAY)])
def test_the_warm_up_begins_its_length_before_the_midnight_before_the_newest_bar(
    plan: MakePlan, asset: str, warmup: int
) -> None:
    """The first request, a minute before midnight, is of the day before."""
    flags = {} if warmup == 5 * DAY else {"replay.warmup": f"{warmup}s"}
    chosen = plan(0.1, flags, assets=[asset], rules=RuleChoice.parse("2026-01-28"), forecasters=["ewma"])
    assert int(chosen.data.model[asset].timestamp[0]) == START - DAY - warmup
    recorder = Recorder()
    for _, items in chosen.groups.items():
        model = replace(model_of(chosen, asset), forecaster=recorder)
        next(iter(moments(model, chosen.data.model[asset], [i.prompt for i in items])))
        assert int(recorder.batches[0].timestamp[0]) == START - DAY - warmup


def test_each_forecaster_begins_its_own_warm_up_even_where_another_needs_more_bars(plan: MakePlan) -> None:
    flags = {"fit.artifacts": [str(har.written())]}
    chosen = plan(0.05, flags, forecasters=["seasonal-har", "ewma", Averaging])
    assert int(chosen.data.model["BTC"].timestamp[0]) == START - 15 * DAY
    for name, days in zip(chosen.forecasters, (14, 5, 2), strict=True):
        recorder = Recorder()
        model = replace(model_of(chosen, name=name), forecaster=recorder)
        for items in chosen.groups.values():
            next(iter(moments(model, chosen.data.model["BTC"], [i.prompt for i in items])))
            assert int(recorder.batches[0].timestamp[0]) == START - DAY - days * DAY


def test_the_setting_of_the_warm_up_is_honoured_per_asset_and_rounded_up_to_days(plan: MakePlan) -> None:
    flags = {"replay.warmup.BTC": "36h", "replay.warmup.ETH": "1d"}
    chosen = plan(0.1, flags, assets=["BTC", "ETH", "SOL"], forecasters=["ewma", Averaging])
    for asset, days in (("BTC", 2), ("ETH", 1), ("SOL", 5)):
        assert model_of(chosen, asset).warmup == days * DAY
        assert int(chosen.data.model[asset].timestamp[0]) == START - DAY - days * DAY
    assert [model_of(chosen, asset, chosen.forecasters[1]).warmup for asset in ("ETH", "SOL")] == [DAY, 2 * DAY]


def test_without_a_known_bar_the_replay_says_so(plan: MakePlan, tmp_path: Path) -> None:
    begin, end = START - 7 * DAY, START + 2 * DAY
    Cache(tmp_path).write("binance", "BTC", Bars.empty(), [(begin, end)], Provenance("test", NOW))
    chosen = plan(0.05, {"data.cache_dir": str(tmp_path), "data.feed": "binance"}, forecasters=["ewma"])
    with pytest.raises(MissingDataError, match=r"no bar of BTC is known at 2026-01-07T23:59:00Z"):
        chosen.run(threads=1)


# ------------------------------------------------------------------------------------------ where a replay began


@dataclass(frozen=True)
class Averaging:
    """Paths as volatile as all minutes of its state, which has a warm-up of its own: the origin shows in every path."""

    asset: Any
    warmup = 2 * DAY

    def initial_state(self) -> tuple[int, float, float]:
        return (0, 0.0, np.nan)

    def update(self, state: tuple[int, float, float], bars: Bars) -> tuple[int, float, float]:
        count, total, last = state
        for close in bars.close.tolist():
            if not np.isnan(last):
                count, total = count + 1, total + abs(np.log(close / last))
            last = close
        return (count, float(total), last)

    def simulate(
        self, state: tuple[int, float, float], prompt: Prompt, stream: RandomStream
    ) -> npt.NDArray[np.float32]:
        shocks = stream.generator().standard_normal((prompt.steps, prompt.num_simulations)) * state[1] / state[0]
        return np.concatenate([np.zeros((1, prompt.num_simulations)), shocks.cumsum(axis=0)]).astype(np.float32)

    def dump_state(self, state: tuple[int, float, float]) -> dict[str, Any]:
        return {"version": 1, "count": state[0], "total": state[1].hex(), "last": state[2].hex()}

    def load_state(self, data: Mapping[str, Any]) -> tuple[int, float, float]:
        return (data["count"], float.fromhex(data["total"]), float.fromhex(data["last"]))


@pytest.mark.ci
@pytest.mark.parametrize("gaps", [0.0, 0.1])
def test_a_prompts_forecast_does_not_depend_on_where_the_replay_began(plan: MakePlan, gaps: float) -> None:
    """Half-lives of days: every bar of a warm-up leaves its trace."""
    flags = {
        "feeds.simulated.gaps": gaps, "fit.artifacts": [str(har.written())],
        "ewma.half_life_1m": "10d", "ewma.half_life_5m": "10d",
    }  # fmt: skip
    options: dict[str, Any] = {
        "forecasters": ["ewma", "ewma@seed", "seasonal-har", Averaging], "cadence": 3 * 3600, "partial": True,
    }  # fmt: skip
    long, short = plan(3.0, flags, **options), plan(1.0, flags, start=START + 2 * DAY, **options)
    rows, last = long.run(threads=2), short.run(threads=1)
    assert len(last) == 4 * 2 * 8
    assert [row for row in rows if row.prompt.start_time >= START + 2 * DAY] == last
    for name in long.forecasters:
        model = model_of(long, name=name)
        prompts = [item.prompt for item in long.groups["24h", "BTC"]]
        for moment in moments(model, long.data.model["BTC"], prompts):
            whole = model.state_of(long.data.model["BTC"].known_at(moment.prompt.request_time))
            assert state_digest(model.forecaster, moment.state) == state_digest(model.forecaster, whole)


def test_the_same_holds_where_the_first_bars_of_the_day_are_missing(plan: MakePlan, tmp_path: Path) -> None:
    """The newest bar is then of the day before, and the origin a day earlier than the clock alone says."""
    flags = {"feeds.simulated.gaps": 0.5, "data.cache_dir": str(tmp_path / "late")}
    earlier = {**flags, "data.cache_dir": str(tmp_path / "early")}
    options: dict[str, Any] = {"cadence": 120, "competitions": ["1h"], "forecasters": [Averaging], "partial": True}
    found = 0
    for day in range(START, START + 8 * DAY, DAY):
        late = plan(1 / 720, flags, start=day + 120, **options)
        early = plan(1 / 24, earlier, start=day + 120 - 3000, **options)
        prompt = late.groups["1h", "BTC"][0].prompt
        one, other = (
            next(iter(moments(model_of(chosen, name=chosen.forecasters[0]), chosen.data.model["BTC"], [prompt])))
            for chosen in (late, early)
        )
        assert (one.state, one.anchor, one.anchor_time) == (other.state, other.anchor, other.anchor_time)
        found += one.anchor_time < day
    assert found


def silent(folder: Path, begin: int, until: int, since: int) -> dict[str, Any]:
    """Bars of a market that is silent for days, all of it covered; flags that point there."""
    end = START + 2 * DAY
    bars = chain(wandering((end - (START - 12 * DAY)) // MINUTE), START - 12 * DAY)
    spoken = Bars.concatenate([bars.between(begin, until), bars.between(since, end)])
    Cache(folder).write("pyth", "BTC", spoken, [(begin, end)], Provenance("test", NOW))
    return {"data.cache_dir": str(folder), "data.feed": "pyth"}


@pytest.mark.ci
@pytest.mark.parametrize("warmup", ["5d", "1d"])
def test_after_a_long_silence_the_state_is_that_of_the_bars_before_it(
    plan: MakePlan, tmp_path: Path, warmup: str
) -> None:
    """Four days of silence, longer than a warm-up of a day."""
    until, since = START - 4 * DAY + 10 * 3600, START + 2 * 3600
    flags = silent(tmp_path / "a", START - 12 * DAY, until, since) | {"replay.warmup": warmup}
    options: dict[str, Any] = {"competitions": ["1h"], "forecasters": ["ewma", Averaging], "partial": True}
    chosen = plan(0.25, flags, **options)
    origin = START - 4 * DAY - model_of(chosen).warmup
    assert int(chosen.data.model["BTC"].timestamp[0]) == origin
    assert chosen.data.short == {}
    assert chosen.warnings() == []
    everything = Cache(tmp_path / "a").read("pyth", "BTC", START - 12 * DAY, START + 2 * DAY)
    newest = set()
    for name in chosen.forecasters:
        model = model_of(chosen, name=name)
        for moment in moments(model, chosen.data.model["BTC"], [i.prompt for i in chosen.groups["1h", "BTC"]]):
            whole = model.state_of(everything.known_at(moment.prompt.request_time))
            assert state_digest(model.forecaster, moment.state) == state_digest(model.forecaster, whole)
            newest.add(moment.anchor_time < since)
    assert newest == {True, False}
    earlier = plan(5.25, flags, start=START - 5 * DAY, **options)
    assert chosen.run(threads=1) == [row for row in earlier.run(threads=1) if row.prompt.start_time >= START]


def test_past_before_a_silence_is_asked_for_as_any_other(plan: MakePlan, tmp_path: Path) -> None:
    until, since = START - 4 * DAY + 10 * 3600, START + 2 * 3600
    options: dict[str, Any] = {"competitions": ["1h"], "forecasters": ["ewma"], "partial": True}
    begin = START - 8 * DAY
    assert plan(0.1, silent(tmp_path / "a", begin, until, since), **options).data.short == {"BTC": begin}
    with pytest.raises(MissingDataError, match="2026-01-02T00:00:00Z"):
        plan(0.1, silent(tmp_path / "b", START - 6 * DAY, until, since), **options)


# ---------------------------------------------------------------------------------------------- missing data


def stored(folder: Path, ranges: list[tuple[int, int]], feed: str = "binance") -> dict[str, Any]:
    """Write bars over `ranges` and return the flags that point there."""
    begin, end = min(a for a, _ in ranges), max(b for _, b in ranges)
    bars = chain(wandering((end - begin) // MINUTE), begin)
    for a, b in ranges:
        Cache(folder).write(feed, "BTC", bars.between(a, b), [(a, b)], Provenance("test", NOW))
    return {"data.cache_dir": str(folder), "data.feed": feed}


def test_exactly_the_needed_bars_suffice_and_a_minute_less_at_the_end_does_not(plan: MakePlan, tmp_path: Path) -> None:
    options: dict[str, Any] = {"competitions": ["1h"], "forecasters": ["ewma"], "days": 0.5}
    need = needed(plan(**options).groups, {"BTC": 5 * DAY})["BTC"]
    assert (need.origin, need.last) == (START - 6 * DAY, START + DAY // 2 - 720 - MINUTE)
    assert need.scored == (START, START + DAY // 2 - 720 + 3600 + 2 * MINUTE)
    begin, end = need.origin, need.scored[1]
    enough = plan(flags=stored(tmp_path / "enough", [(begin, end)], "pyth"), **options)
    assert enough.warnings() == []
    assert all(row.reason is None for row in enough.run(threads=1))
    with pytest.raises(MissingDataError):
        plan(flags=stored(tmp_path / "late", [(begin, end - MINUTE)], "pyth"), **options)


def test_a_warm_up_of_three_days_is_insisted_on_and_a_shorter_one_than_asked_for_is_said(
    plan: MakePlan, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"competitions": ["1h"], "forecasters": ["ewma"], "days": 0.1}
    for name, begin in (("minute", START - 6 * DAY + MINUTE), ("days", START - 4 * DAY)):
        chosen = plan(flags=stored(tmp_path / name, [(begin, START + DAY)], "pyth"), **options)
        assert chosen.data.short == {"BTC": begin}
        (note,) = chosen.warnings()
        assert note.startswith("note: the first states have a shorter warm-up than asked for (ewma 5d)")
        assert note.endswith(f"the cache has BTC from {iso(begin)} on")
        assert all(row.reason is None for row in chosen.run(threads=1))
    with pytest.raises(MissingDataError, match=r"2026-01-02T00:00:00Z to 2026-01-04T00:01:00Z"):
        plan(flags=stored(tmp_path / "too short", [(START - 4 * DAY + MINUTE, START + DAY)], "pyth"), **options)
    flags = stored(tmp_path / "all of a day", [(START - 2 * DAY, START + DAY)], "pyth") | {"replay.warmup": "1d"}
    assert plan(flags=flags, **options).warnings() == []
    flags = stored(tmp_path / "not a day", [(START - 2 * DAY + MINUTE, START + DAY)], "pyth") | {"replay.warmup": "1d"}
    with pytest.raises(MissingDataError):
        plan(flags=flags, **options)


def test_missing_bars_are_named_by_feed_asset_and_range(plan: MakePlan, tmp_path: Path) -> None:
    hole = (START - DAY, START - DAY + 3600)
    flags = stored(tmp_path / "holed", [(START - 6 * DAY, hole[0]), (hole[1], START + DAY)])
    with pytest.raises(MissingDataError) as caught:
        plan(0.5, flags, competitions=["1h"])
    message = str(caught.value)
    assert re.search(r"binance +BTC +2026-01-07T00:00:00Z to 2026-01-07T01:00:00Z", message)
    assert "ewmalab data fetch --feed binance --assets BTC --start 2026-01-07 --days 1" in message
    assert "--partial" not in message  # a forecaster would lack them


def test_skipping_prompts_is_proposed_only_where_it_helps(plan: MakePlan, tmp_path: Path) -> None:
    flags = stored(tmp_path / "ends", [(START - 6 * DAY, START + DAY // 2)])
    with pytest.raises(MissingDataError, match="skip unscorable prompts: --partial"):
        plan(0.5, flags, competitions=["1h"])
    assert plan(0.5, flags, competitions=["1h"], partial=True).prompts
    flags = stored(tmp_path / "none", [(START - 6 * DAY, START - DAY)])
    with pytest.raises(MissingDataError) as caught:
        plan(0.5, flags, competitions=["1h"], partial=True)
    assert "--partial" not in str(caught.value)


def proposed(error: MissingDataError) -> list[list[str]]:
    """The commands of an error's message, as arguments."""
    lines = [line.strip() for line in str(error).splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("ewmalab data fetch")]


def test_the_command_that_is_proposed_for_missing_bars_gets_them(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from ewmalab.cli import app

    folder = tmp_path / "bars"
    folder.mkdir()
    begin, minutes = START - 6 * DAY, 9 * 1440
    labels, closes = begin + MINUTE * np.arange(minutes), wandering(minutes)
    rows = [f"{t},{c}" for t, c in zip(labels, closes, strict=True)]
    (folder / "BTC.csv").write_text("\n".join(["timestamp,close", *rows]) + "\n")
    flags = {"data.cache_dir": str(tmp_path / "cache"), "data.feed": "file", "feeds.file.folder": str(folder)}
    with pytest.raises(MissingDataError) as caught:
        plan(flags=flags)
    commands = proposed(caught.value)
    assert commands
    for command in commands:
        given = [text for key, value in flags.items() for text in ("--set", f"{key}={value}")]
        result = CliRunner().invoke(app, [*command, *given])
        assert result.exit_code == 0, result.output
    assert all(row.reason is None for row in plan(flags=flags).run(threads=1))


def test_the_command_that_is_proposed_names_a_feed_that_exists(plan: MakePlan, tmp_path: Path) -> None:
    """Also for a synthetic market, whose folder in the cache has a name of its own."""
    with pytest.raises(MissingDataError) as caught:
        plan(flags={"data.cache_dir": str(tmp_path / "empty")}, now=None)
    for command in proposed(caught.value):
        feed = command[command.index("--feed") + 1]
        load_settings(environ={}, flags={"data.feed": feed})


@pytest.mark.ci
@pytest.mark.parametrize("command", ["compare ewma random-walk", "leaderboard ewma random-walk"])
def test_a_command_that_proposes_to_skip_prompts_can(command: str, ewmalab, tmp_path: Path) -> None:
    flags = stored(tmp_path / "ends", [(START - 6 * DAY, START + DAY // 2)])
    which = ["--assets", "BTC", "--competitions", "1h", "--days", "0.5", "--cadence", "1h", "--start", iso(START)]
    words = [*command.split(), *which, *(f"--set={key}={value}" for key, value in flags.items())]
    refused = ewmalab(*words)
    assert (refused.code, "--partial" in refused.err) == (3, True)
    assert ewmalab(*words, "--partial").code == 0


def test_missing_model_bars_are_an_error_even_when_scores_may_be_partial(plan: MakePlan, tmp_path: Path) -> None:
    flags = stored(tmp_path / "short", [(START - DAY, START + 2 * DAY)])
    with pytest.raises(MissingDataError):
        plan(flags=flags, competitions=["1h"], partial=True)


# -------------------------------------------------------------------------------------------- realised prices


def prompt_of(increment: int = 60, length: int = 3600) -> Prompt:
    return Prompt(START, "1h", "BTC", START - 60, increment, length, PATHS)


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        (set(), None),
        ({0}, None),  # the first price may be missing
        ({5, 6, 7, 30}, None),
        (set(range(60)), None),  # all but the last
        ({60}, LAST_PRICE_MISSING),
        ({61, 62}, NOT_SETTLED),
        ({60, 61, 62}, NOT_SETTLED),
        (set(range(63)), NOT_SETTLED),
        ({61}, NOT_SETTLED),  # validators ask for no later candle
        ({62}, None),
    ],
)
def test_a_prompt_is_scored_once_the_next_candle_exists_and_its_last_price_is_there(
    missing: set[int], reason: str | None
) -> None:
    closes = wandering(63)
    bars = chain(closes, START, {START + MINUTE * m for m in missing})
    truth, found = realised_path(bars, prompt_of())
    assert found == reason
    expected = [np.nan if m in missing else closes[m] for m in range(61)]
    np.testing.assert_array_equal(truth, expected)


def test_realised_prices_are_the_closes_on_the_grid(plan: MakePlan) -> None:
    closes = wandering(330)
    truth, reason = realised_path(chain(closes, START), prompt_of(300, 18_000))
    assert reason is None
    np.testing.assert_array_equal(truth, closes[:301:5])


def test_partial_scores_what_is_settled_and_says_why_the_rest_is_not(plan: MakePlan, tmp_path: Path) -> None:
    """Bars end 40 minutes into the last hours: requests up to there have their bars, not all have their prices."""
    end = START + DAY // 2 + 40 * MINUTE
    flags = stored(tmp_path / "cut", [(START - 6 * DAY, end)])
    options: dict[str, Any] = {"competitions": ["1h"], "days": 0.5, "flags": flags}
    with pytest.raises(MissingDataError):
        plan(**options)
    chosen = plan(partial=True, **options)
    rows = of(chosen.run(threads=2), "ewma", "1h", "BTC")
    for row in rows:
        settled = row.prompt.start_time + 3600 < end - MINUTE
        assert (row.score is not None) == settled
        assert row.reason == (None if settled else NOT_SETTLED)
    unsettled = [row for row in rows if row.reason]
    assert unsettled
    table = tabled(chosen, [rows])
    assert table["crps"].null_count == len(unsettled)
    summary = summarise(table, "ewma")[0]
    assert (summary.prompts, summary.scored) == (len(rows), len(rows) - len(unsettled))
    text = backtest_text(summarise(tabled(chosen), chosen.forecasters[-1]), chosen.inputs())
    assert f"{len(rows) - len(unsettled)}/{len(rows)}" in text


@pytest.mark.ci
def test_scores_with_gaps_are_those_of_score_paths_on_prices(plan: MakePlan) -> None:
    chosen = plan(0.5, {"feeds.simulated.gaps": 0.05}, forecasters=["ewma"], assets=["BTC", "ETH"])
    checked, reasons = 0, set()
    for (competition, asset), items in chosen.groups.items():
        rows = {r.prompt: r for r in of(chosen.run(threads=1), "ewma", competition, asset)}
        rules = {i.prompt: i.rule for i in items}
        prices = dict(
            zip(*(getattr(chosen.data.realised[asset], c).tolist() for c in ("timestamp", "close")), strict=True)
        )
        model = model_of(chosen, asset)
        for moment in moments(model, chosen.data.model[asset], [i.prompt for i in items]):
            prompt = moment.prompt
            row = rows[prompt]
            times = range(prompt.start_time, prompt.start_time + prompt.time_length + 1, prompt.time_increment)
            truth = [prices.get(t, np.nan) for t in times]
            reasons.add(row.reason)
            if row.score is None:
                assert np.isnan(truth[-1]) or row.reason == NOT_SETTLED
                continue
            returns = moment.paths(model, chosen.settings.values.run.seed).astype(np.float64)
            expected = score_paths((moment.anchor * np.exp(returns)).T, truth, rules[prompt], prompt.time_increment)
            assert row.score.total == pytest.approx(expected.total, rel=1e-4)
            assert row.score.changes == expected.changes
            for name, value in expected.intervals.items():
                assert row.score.intervals[name] == pytest.approx(value, rel=1e-3, abs=1e-3)
            checked += bool(np.isnan(truth).any())
    assert checked > 50
    assert LAST_PRICE_MISSING in reasons


def test_a_scored_feed_of_its_own_changes_scores_and_not_forecasts(plan: MakePlan, tmp_path: Path) -> None:
    begin, end = START - 6 * DAY, START + DAY
    minutes = (end - begin) // MINUTE
    learned, scored = chain(wandering(minutes, 1), begin), chain(wandering(minutes, 2), begin)
    for feed, bars in (("binance", learned), ("hyperliquid", scored)):
        Cache(tmp_path / "cache").write(feed, "BTC", bars, [(begin, end)], Provenance(feed, NOW))
    flags = {"data.cache_dir": str(tmp_path / "cache"), "data.feed": "binance"}
    options: dict[str, Any] = {"competitions": ["1h"], "forecasters": ["ewma"]}
    same = plan(0.25, flags, **options)
    split = plan(0.25, {**flags, "data.scored_feed": "hyperliquid"}, **options)
    one, other = same.run(threads=1), split.run(threads=1)
    assert [(r.anchor, r.anchor_time) for r in one] == [(r.anchor, r.anchor_time) for r in other]
    assert all(a.score != b.score for a, b in zip(one, other, strict=True))
    np.testing.assert_array_equal(
        split.data.realised["BTC"].close, scored.closes_at(split.data.realised["BTC"].timestamp)
    )
    model, items = model_of(split), split.groups["1h", "BTC"]
    (moment,) = moments(model, learned, [items[0].prompt])
    paths = moment.anchor * np.exp(moment.paths(model, split.settings.values.run.seed).astype(np.float64))
    expected = score_paths(paths.T, scored.closes_at(items[0].prompt.grid()), items[0].rule, 60)
    assert other[0].score is not None
    assert other[0].score.total == pytest.approx(expected.total, rel=1e-4)
    assert {key.split("/")[0] for key in split.data.partitions} == {"binance", "hyperliquid"}


def test_each_row_names_the_rule_it_was_scored_by(plan: MakePlan) -> None:
    when = parse_time("2026-03-10T20:00")
    chosen = plan(0.5, start=when, competitions=["1h"], forecasters=["random-walk"], now=parse_time("2026-04-01"))
    fixed = parse_time("2026-03-11")
    found = {(r.rule, r.prompt.start_time >= fixed) for r in chosen.run(threads=1)}
    assert found == {("1h/gaps-as-series", False), ("1h/first-gap", True)}


# ---------------------------------------------------------------------------------- forecasters that break rules


def broken(change: Callable[[npt.NDArray[np.float32]], Any]) -> Callable[[str, str], Any]:
    """A random walk whose paths are changed before they are handed back."""

    class Broken(RandomWalk):
        def simulate(self, state: None, prompt: Prompt, stream: RandomStream) -> Any:
            return change(super().simulate(state, prompt, stream))

    return lambda name, asset: Broken(load_rulebook().asset(asset))


def put(row: int, value: float) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    def change(paths: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        paths[row, 3] = value
        return paths

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.T, r"float32 \(40, 61\).*expected float32 \(61, 40\)"),
        (lambda p: p[:-1], r"expected float32 \(61, 40\)"),
        (lambda p: p[:, :-1], r"expected float32 \(61, 40\)"),
        (lambda p: p[None], r"expected float32 \(61, 40\)"),
        (lambda p: p.astype(np.float64), "float64"),
        (lambda p: p.tolist(), "list"),
        (lambda p: None, "NoneType"),
        (lambda p: p + np.float32(0.001), "start at 0"),
        (put(-1, np.nan), "BTC"),
        (put(-1, np.inf), "BTC"),
        (put(-1, 31.0), "BTC"),
        (put(0, np.nan), "start at 0"),
        (put(30, np.nan), "BTC"),  # only in the middle: not every forecaster sums up increments
        (put(30, -np.inf), "BTC"),
        (put(30, 31.0), "BTC"),
        (put(1, -40.0), "BTC"),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_paths_that_break_the_protocol_are_refused(
    plan: MakePlan, change: Callable[..., Any], words: str, threads: int
) -> None:
    chosen = plan(0.1, competitions=["1h"], forecasters=["random-walk"])
    assert replayed(chosen, broken(lambda paths: paths), threads=threads)
    with pytest.raises(ForecasterError, match=words) as caught:
        replayed(chosen, broken(change), threads=threads)
    assert "Broken" in str(caught.value)


def test_an_error_in_a_forecaster_ends_the_replay_and_is_not_swallowed(plan: MakePlan) -> None:
    def fail(paths: npt.NDArray[np.float32]) -> Any:
        raise RuntimeError("a bug of the user's")

    with pytest.raises(ForecasterError, match="a bug of the user's"):
        replayed(plan(0.1, forecasters=["random-walk"]), broken(fail), threads=2)


# --------------------------------------------------------------------------------------------------- plug-ins

PLUGIN = '''
import numpy as np

class Mine:
    """Gaussian paths whose volatility is the sample deviation of the minutes seen, times a scale."""

    def __init__(self, asset, *, scale=1.0):
        self.asset, self.scale = asset, scale

    def initial_state(self):
        return (0, 0.0, None)

    def update(self, state, bars):
        count, total, last = state
        for price in bars.close.tolist():
            if last is not None:
                count, total = count + 1, total + np.log(price / last) ** 2
            last = price
        return (count, total, last)

    def simulate(self, state, prompt, stream):
        count, total, _ = state
        step = self.scale * np.sqrt(total / count * prompt.time_increment / 60)
        shocks = stream.generator().standard_normal((prompt.steps, prompt.num_simulations)) * step
        return np.concatenate([np.zeros((1, prompt.num_simulations)), shocks.cumsum(axis=0)]).astype(np.float32)

    def dump_state(self, state):
        return {"version": 1, "state": list(state)}

    def load_state(self, data):
        return tuple(data["state"])


class Half:
    def initial_state(self):
        return None

not_callable = 3
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an importable module with a user's forecasters."""
    import sys

    name = "a_users_model"
    (tmp_path / f"{name}.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_a_users_forecaster_is_replayed_like_any_other(plan: MakePlan, plugin: str) -> None:
    name = f"{plugin}:Mine"
    chosen = plan(0.25, forecasters=[name, "random-walk"])
    rows = chosen.run(threads=2)
    assert {r.forecaster for r in rows} == {name, "random-walk"}
    assert all(np.isfinite(r.score.total) and r.score.total > 0 for r in rows if r.score)
    assert of(rows, "random-walk", "1h", "BTC") == of(
        plan(0.25, forecasters=["random-walk"]).run(threads=1), "random-walk", "1h", "BTC"
    )
    experiment = backtest(chosen, now=NOW, render=backtest_text)
    assert experiment.manifest["inputs"]["forecasters"] == [name, "random-walk"]
    assert "Mine" in (experiment.path / "summary.txt").read_text()


def test_parameters_and_presets_reach_a_users_forecaster(plan: MakePlan, plugin: str) -> None:
    name = f"{plugin}:Mine"
    flags = {"plugin.scale": 3.0, "presets.plugin.wide.scale": 3.0}
    plain = plan(0.1, forecasters=[name]).run(threads=1)
    wide = plan(0.1, {"plugin.scale": 3.0}, forecasters=[name]).run(threads=1)
    assert all(a.score != b.score for a, b in zip(plain, wide, strict=True))
    del flags["plugin.scale"]
    preset = plan(0.1, flags, forecasters=[f"{name}@wide"]).run(threads=1)
    assert [r.score for r in preset] == [r.score for r in wide]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ewna", r"unknown forecaster 'ewna': choose ewma or random-walk.*package\.module:attribute"),
        ("no_such_module_anywhere:Mine", "cannot be imported"),
        ("a_users_model:Nothing", "cannot be imported"),
        ("a_users_model:Half", "do.* not take these parameters|lacks update, simulate"),
        ("a_users_model:not_callable", "is of type .*: name a class or function"),
    ],
)
def test_a_forecaster_that_cannot_be_made_is_refused_before_bars_are_read(
    plan: MakePlan, plugin: str, tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(ForecasterError, match=words):
        plan(flags={"data.cache_dir": str(tmp_path / "empty"), "data.feed": "pyth"}, forecasters=[name], now=None)


def test_a_parameter_that_a_forecaster_does_not_take_is_refused(plan: MakePlan, plugin: str) -> None:
    with pytest.raises(ForecasterError, match=r"does not take these parameters.*speed"):
        plan(flags={"plugin.speed": 3}, forecasters=[f"{plugin}:Mine"])


def test_an_unknown_preset_is_refused(plan: MakePlan) -> None:
    with pytest.raises(ConfigError, match=r"'ewma' has no preset 'sead'; known: seed"):
        plan(forecasters=["ewma@sead"])


# ------------------------------------------------------------------------------------------ summary and label


def test_synthetic_prices_are_flagged_and_called_so_in_the_first_line(plan: MakePlan, tmp_path: Path) -> None:
    chosen = plan(0.1)
    assert chosen.data.synthetic
    experiment = backtest(chosen, now=NOW, render=backtest_text)
    assert experiment.manifest["inputs"]["synthetic"] is True
    assert (experiment.path / "summary.txt").read_text().startswith("SYNTHETIC DATA")
    real = plan(0.1, stored(tmp_path / "real", [(START - 6 * DAY, START + 2 * DAY)]))
    assert not real.data.synthetic
    other = backtest(real, now=NOW, render=backtest_text)
    assert other.manifest["inputs"]["synthetic"] is False
    assert "SYNTHETIC" not in (other.path / "summary.txt").read_text()


def test_one_synthetic_feed_of_two_makes_the_replay_synthetic(plan: MakePlan, tmp_path: Path) -> None:
    flags = stored(tmp_path / "mixed", [(START - 6 * DAY, START + 2 * DAY)])
    chosen = plan(0.1, {**flags, "data.scored_feed": "simulated"})
    assert chosen.data.synthetic


def test_the_summary_holds_the_means_of_the_rows(plan: MakePlan) -> None:
    chosen = plan(0.5, assets=["BTC", "ETH"])
    rows = chosen.run(threads=1)
    for line in summarise(tabled(chosen, [rows]), "random-walk"):
        own = of(rows, line.forecaster, line.competition, line.asset)
        totals = [r.score.total for r in own if r.score]
        assert line.prompts == line.scored == len(own)
        assert line.mean_crps == pytest.approx(np.mean(totals))
        assert line.sd_crps == pytest.approx(np.std(totals, ddof=1))
        if line.forecaster == "random-walk":
            assert line.change is None
        else:
            base = of(rows, "random-walk", line.competition, line.asset)
            mean = np.mean([r.score.total for r in base if r.score])
            assert line.change == pytest.approx(np.mean(totals) / mean - 1)


def test_the_change_counts_only_prompts_that_both_have_a_score_for(plan: MakePlan) -> None:
    chosen = plan(0.25, competitions=["1h"])
    rows = chosen.run(threads=1)
    first = next(i for i, r in enumerate(rows) if r.forecaster == "ewma")
    rows[first] = replace(rows[first], score=None, reason="taken out")
    line = next(s for s in summarise(tabled(chosen, [rows]), "random-walk") if s.forecaster == "ewma")
    ours, base = of(rows, "ewma", "1h", "BTC"), of(rows, "random-walk", "1h", "BTC")
    pairs = [(a.score.total, b.score.total) for a, b in zip(ours, base, strict=True) if a.score and b.score]
    assert len(pairs) == len(ours) - 1 == line.scored
    assert line.change == pytest.approx(sum(a for a, _ in pairs) / sum(b for _, b in pairs) - 1)


@pytest.mark.slow
def test_a_week_of_four_assets_is_the_same_bytes_for_one_and_four_threads(plan: MakePlan, tmp_path: Path) -> None:
    chosen = plan(7.0, assets=["BTC", "ETH", "XAU", "SOL"], num_simulations=1000)
    assert encoded(chosen, 1, tmp_path) == encoded(chosen, 4, tmp_path)

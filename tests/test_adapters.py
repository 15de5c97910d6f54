"""The drop-in functions: answers that validators accept, of what was known at the request, scored as by a backtest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ewmalab.adapters import synth_simulations
from ewmalab.adapters.offline import offline_test
from ewmalab.adapters.synth_simulations import Simulations
from ewmalab.errors import MissingDataError, RulebookError
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.probe import RESPONSE_FORMATS
from ewmalab.live.state_store import AssetState, StateStore
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS
from ewmalab.replay.plan import plan_backtest
from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.scoring.validation import CORRECT, validate_response
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, MINUTE, iso, parse_time

BOOK = load_rulebook()
FEED = "simulated-7"
START = parse_time("2026-01-15T12:00")
FIRST, LAST = START - 14 * DAY, START + 3 * DAY
SHORT = {"replay.warmup": "1d"}
LONG = {"ewma.half_life_1m": "10d", "ewma.half_life_5m": "10d"}  # every bar of a warm-up leaves its trace


@lru_cache
def market() -> Bars:
    return SimulatedFeed(BOOK, seed=7, gaps=0.0).fetch("BTC", FIRST, LAST, LAST)


def scaled(bars: Bars, factor: Any) -> Bars:
    return Bars.from_columns(bars.columns() | {name: getattr(bars, name) * factor for name in COLUMNS[1:]})


def settings_for(folder: Path, **flags: Any) -> LoadedSettings:
    given = {"data.cache_dir": str(folder / "cache"), "live.state_dir": str(folder / "state"),
             "live.forecaster": "ewma", "data.feed": "simulated"}  # fmt: skip
    return load_settings(environ={}, flags={"replay.request_lead": "60s"} | given | flags)


def keep(folder: Path, bars: Bars, first: int = FIRST, last: int = LAST) -> None:
    """Put bars into the cache."""
    Cache(folder / "cache").write(
        FEED, "BTC", bars.between(first, last), [(first, last)], Provenance("test", LAST, synthetic=True), replace=True
    )


def save(folder: Path, bars: Bars, generation: int = 1) -> None:
    """Save a state as an updater does."""
    store = StateStore(folder / "state")
    with store.writing():
        newest = int(bars.timestamp[-1])
        store.save(AssetState("BTC", "binance", True, generation, newest + MINUTE, bars, {}))


def ask(made: Any, start: int = START, count: int = 20, increment: int = 300, length: int = 86_400) -> tuple[Any, ...]:
    answer: tuple[Any, ...] = made.generate_simulations("BTC", iso(start), increment, length, count)
    return answer


def expected(bars: Bars, settings: LoadedSettings, start: int = START, count: int = 20) -> bytes:
    """The answer to a 24h prompt by way of the forecaster itself."""
    known = bars.known_at(start - 60)
    model = Model.of("ewma", BOOK.asset("BTC"), settings)
    prompt = Prompt(start, "24h", "BTC", start - 60, 300, 86_400, count)
    close, seed = float(known.close[-1]), settings.values.run.seed
    paths = model.paths(model.state_of(known), int(known.timestamp[-1]), prompt, seed)
    return render(start, 300, close, paths)


def bare(data: bytes) -> tuple[Any, ...]:
    return tuple(json.loads(data))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    keep(folder, market())
    return folder


@pytest.fixture
def made(filled: Path) -> Simulations:
    return Simulations(settings_for(filled, **SHORT))


# --------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(("increment", "length"), [(300, 86_400), (60, 3600)])
@pytest.mark.parametrize("form", RESPONSE_FORMATS)
def test_answers_pass_the_format_rule_of_every_date(made, form, increment, length):
    answer = ask(made, increment=increment, length=length, count=50)
    start, step, *paths = answer
    assert (type(answer), start, step, len(paths)) == (tuple, START, increment, 50)
    assert {len(path) for path in paths} == {length // increment + 1}
    for response in (answer, list(answer)):
        said = validate_response(
            response, start_time=START, time_increment=increment, time_length=length, num_simulations=50,
            response_format=form, process_time=1.0,
        )  # fmt: skip
        assert said == CORRECT


def test_the_answer_is_that_of_the_forecaster_from_the_bars_known_at_the_request(made, filled):
    assert ask(made) == bare(expected(market(), settings_for(filled, **SHORT)))


def test_the_same_question_has_the_same_answer_whatever_was_asked_before(made, filled):
    first = ask(made)
    assert ask(made) == first
    for other in (START + 7200, START - 3 * DAY, START + 30 * 3600):
        ask(made, other)
    ask(made, increment=60, length=3600)
    assert ask(made) == first
    assert ask(Simulations(settings_for(filled, **SHORT))) == first


def test_the_same_question_has_the_same_answer_amid_a_gap_of_days(tmp_path):
    whole = market()
    columns = {name: c[(whole.timestamp < START - 40 * 3600) | (whole.timestamp > START + 3600)]
               for name, c in whole.columns().items()}  # fmt: skip
    gappy = Bars.from_columns(columns)
    keep(tmp_path, gappy)
    settings = settings_for(tmp_path, **LONG, **{"replay.warmup": "7d"})
    busy, fresh = Simulations(settings), Simulations(settings)
    ask(busy, START - 41 * 3600)
    wanted = bare(expected(gappy, settings))
    assert ask(busy) == wanted
    assert ask(fresh) == wanted


def test_in_a_silence_the_state_ages_as_that_of_a_miner(tmp_path):
    keep(tmp_path, market().between(FIRST, START - 7200))
    answers = {}
    for policy in ("hold", "revert"):
        flags = {"ewma.gap_policy": policy, "ewma.half_life_5m": "6h"}
        settings = settings_for(tmp_path, **flags)
        answers[policy] = ask(Simulations(settings))
        assert answers[policy] == bare(expected(market().between(FIRST, START - 7200), settings))
        patient = settings_for(tmp_path, **flags, **{"live.stale_after": "3h"})
        assert (ask(Simulations(patient)) == answers[policy]) == (policy == "hold")
    assert answers["hold"] != answers["revert"]


@pytest.mark.parametrize("days", [5, 10])
def test_the_first_answer_rests_on_the_whole_warm_up(filled, days):
    settings = settings_for(filled, **LONG, **{"replay.warmup": f"{days}d"})
    assert ask(Simulations(settings)) == bare(expected(market(), settings))


def test_times_may_be_texts_or_datetimes(made):
    wanted = ask(made)
    moment = datetime.fromtimestamp(START, UTC)
    for told in (moment, moment.isoformat(), iso(START)):
        assert made.generate_simulations(
            asset="BTC", start_time=told, time_increment=300, time_length=86_400, num_simulations=20, sigma=None
        ) == wanted  # fmt: skip
    with pytest.raises(RulebookError):
        made.generate_simulations("BTC", "yesterday", 300, 86_400, 20)


def test_no_bar_after_the_request_counts_and_the_last_before_it_does(made, tmp_path):
    wanted, bars = ask(made), market()
    closed = START - 60 - MINUTE  # the label of the newest bar that is closed at the request
    for name, since in (("future", closed + MINUTE), ("known", closed)):
        keep(tmp_path / name, scaled(bars, np.where(bars.timestamp >= since, 1.01, 1.0)))
        other = ask(Simulations(settings_for(tmp_path / name, **SHORT)))
        assert (other == wanted) == (name == "future")


def test_the_price_is_the_first_of_the_last_answers_paths(made):
    for start in (START, START + 5 * 3600, START - DAY):
        answer = ask(made, start)
        price = made.get_asset_price("BTC")
        assert price == float(market().known_at(start - 60).close[-1])
        (first,) = {path[0] for path in answer[2:]}
        assert first == pytest.approx(price, rel=1e-7)


# --------------------------------------------------------------------------------------------- where bars are from


def test_bars_of_the_live_state_come_before_those_of_the_cache(filled, tmp_path):
    keep(tmp_path, market())
    live = scaled(market(), 1.25).between(START - 7 * DAY, START - MINUTE)
    save(tmp_path, live)
    settings = settings_for(tmp_path)
    assert ask(Simulations(settings)) == bare(expected(live, settings))


def test_a_live_state_alone_is_enough(tmp_path):
    live = market().between(START - 7 * DAY, START - MINUTE)
    save(tmp_path, live)
    made = Simulations(settings_for(tmp_path, **{"data.feed": "pyth"}))
    assert made.get_asset_price("BTC") == float(live.close[-1])  # before any prompt: the newest of all
    assert ask(made)[2][0] == pytest.approx(float(live.close[-1]), rel=1e-7)


def test_bars_that_an_updater_adds_are_taken_up(tmp_path):
    settings = settings_for(tmp_path, **SHORT)
    made = Simulations(settings)
    for generation, start in enumerate((START, START + 10 * MINUTE, START + 3 * 3600), 1):
        live = market().between(START - 9 * DAY, start - MINUTE)
        save(tmp_path, live, generation)
        assert ask(made, start) == bare(expected(live, settings, start))


def test_bars_that_a_fetch_adds_to_the_cache_are_taken_up(tmp_path):
    settings = settings_for(tmp_path, **SHORT)
    made = Simulations(settings)
    for start in (START, START + 3 * 3600):
        keep(tmp_path, market(), last=start)
        assert ask(made, start) == bare(expected(market(), settings, start))


def test_missing_bars_are_an_error_that_says_what_to_do(tmp_path):
    made = Simulations(settings_for(tmp_path))
    with pytest.raises(MissingDataError, match="simulate first, or start `ewmalab live updater`"):
        made.get_asset_price("BTC")
    with pytest.raises(MissingDataError, match=r"no bar of BTC is known at 2026-01-15T11:59:00Z: `ewmalab data fetch`"):
        ask(made)


# --------------------------------------------------------------------------------------------- other programs


@pytest.fixture
def configured(filled: Path) -> Iterator[None]:
    before = synth_simulations._default
    synth_simulations.configure(settings_for(filled, **SHORT))
    yield
    synth_simulations._default = before


def test_a_program_whose_functions_are_replaced_forecasts_with_ours(configured, made):
    theirs = ModuleType("simulations")
    exec(
        "def get_asset_price(asset='BTC'): return None\n"
        "def generate_simulations(asset='BTC', start_time='', time_increment=300, time_length=86400, num_simulations=1,"
        " sigma=0.01): return ()\n"
        "def run(asset, start): return generate_simulations(asset, start, num_simulations=20), get_asset_price(asset)\n"
        "def named(start): return generate_simulations(asset='BTC', start_time=start, time_increment=300,"
        " time_length=86400, num_simulations=20, sigma=0.02)\n",
        theirs.__dict__,
    )
    theirs.generate_simulations = synth_simulations.generate_simulations  # type: ignore[attr-defined]
    theirs.get_asset_price = synth_simulations.get_asset_price  # type: ignore[attr-defined]
    answer, price = theirs.run("BTC", iso(START))
    assert answer == theirs.named(iso(START)) == ask(made)
    assert answer[2][0] == pytest.approx(price, rel=1e-7)


def test_the_means_of_the_offline_test_are_those_of_a_backtest(filled):
    settings = settings_for(filled)
    start = START - START % DAY
    told: list[None] = []
    plan = plan_backtest(
        settings, start=start, days=1, forecasters=["ewma"], partial=True, now=LAST, competitions=["24h", "1h"],
        assets=["BTC"], cadence=4 * 3600,
    )  # fmt: skip
    found = offline_test(plan, lambda: told.append(None))
    scores: dict[str, list[float]] = {}
    for row in plan.run(threads=2):
        assert row.score is not None
        scores.setdefault(row.prompt.competition, []).append(row.score.total)
    assert found.synthetic
    assert {r["competition"]: r["prompts"] for r in found.rows} == {name: len(own) for name, own in scores.items()}
    for row in found.rows:
        assert row["prompts"] == 6
        assert row["crps"] == pytest.approx(np.mean(scores[row["competition"]]), rel=1e-3)
    assert len(told) == 12


def test_the_command_scores_a_day_and_says_that_prices_are_simulated(ewmalab):
    command = ["crps-test", "--start-day", "2026-01-15", "--feed", "simulated", "--assets", "BTC", "--cadence", "12h"]
    result = ewmalab(*command)
    assert result.code == 0
    assert "SYNTHETIC DATA" in result.out
    assert "BTC" in result.out
    found = json.loads(ewmalab(*command, "--json").out)
    assert found["synthetic"] is True
    assert {(row["competition"], row["asset"], row["prompts"]) for row in found["rows"]} == {
        ("24h", "BTC", 2), ("1h", "BTC", 2)
    }  # fmt: skip
    assert all(f"{row['crps']:.3f}" in result.out for row in found["rows"])


def test_the_command_names_bars_that_are_missing(ewmalab):
    result = ewmalab("crps-test", "--start-day", "2026-01-15", "--feed", "pyth", "--assets", "BTC", "--cadence", "12h")
    assert result.code != 0
    assert "ewmalab data fetch --feed pyth --assets BTC" in result.err

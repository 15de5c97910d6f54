"""Live states: whatever way the bars arrived, the state is that of the bars since its origin, bit for bit."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from mean_move import FITTED, WIDE, MeanMove

from ewmalab.errors import FeedError, ForecasterError
from ewmalab.forecast.model import DEFAULT_WARMUP, Fit, Model, RunningState, origin_of, paths_digest, warmup_of
from ewmalab.forecast.protocol import Prompt, ScaleFree
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.live.updater.revisions import Amendment, Merged, check_symbol, merge, undo
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.simulated import EPOCH, SimulatedFeed
from ewmalab.market.quality import COLUMNS
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.times import DAY, MINUTE

BOOK = load_rulebook()
SETTINGS = load_settings(file=DEFAULTS, environ={})
SHORT = SETTINGS.with_flags({"replay.warmup": "1d"})
HOUR = 3600
BEGIN = EPOCH + DAY  # a Monday: the sessions of equities open
DAYS = 8


@lru_cache
def market(asset: str = "BTC", gaps: float = 0.02) -> Bars:
    """Days of synthetic bars, a share of which is missing, and another close-only."""
    end = BEGIN + DAYS * DAY
    bars = SimulatedFeed(BOOK, seed=1, gaps=gaps).fetch(asset, BEGIN, end, end)
    bare = np.random.default_rng(1).random(len(bars)) < 0.05
    columns = {name: np.where(bare, np.nan, getattr(bars, name)) for name in ("open", "high", "low")}
    return Bars.from_columns(bars.columns() | columns)


@lru_cache
def model(name: str = "ewma", asset: str = "BTC", *, short: bool = True) -> Model:
    return Model.of(name, BOOK.asset(asset), SHORT if short else SETTINGS)


def numbers(of: Model, state: Any) -> dict[str, Any]:
    """A state in a form that tells each bit."""
    return of.forecaster.dump_state(state)


def assert_same(of: Model, state: Any, bars: Bars) -> None:
    assert numbers(of, state) == numbers(of, of.state_of(bars))


def changed(bars: Bars, where: npt.NDArray[np.bool_], factor: float) -> Bars:
    """Bars of which some have other prices."""
    columns = {name: np.where(where, getattr(bars, name) * factor, getattr(bars, name)) for name in COLUMNS[1:]}
    return Bars.from_columns(bars.columns() | columns, bars.resolution)


def without(bars: Bars, where: npt.NDArray[np.bool_]) -> Bars:
    return Bars.from_columns({name: column[~where] for name, column in bars.columns().items()}, bars.resolution)


def random_cuts(first: int, last: int, rng: np.random.Generator) -> list[int]:
    """Numbers of bars that grow from one to the other, by one, by some, or by a day and more."""
    cuts = [first]
    while cuts[-1] < last:
        most = (1, 5, 90, 1000, 3000)[rng.integers(5)]
        cuts.append(min(last, cuts[-1] + int(rng.integers(1, most + 1))))
    return cuts


# --------------------------------------------------------------------------------------------- origin and warm-up


@given(newest=st.integers(0, 2**32).map(lambda minute: minute * MINUTE), days=st.integers(1, 90))
def test_the_origin_is_a_midnight_at_least_the_warm_up_before_the_newest_bar(newest, days):
    origin = origin_of(newest, days * DAY)
    assert origin % DAY == 0
    assert days * DAY <= newest - origin < (days + 1) * DAY


def test_the_origin_moves_at_midnight_alone():
    labels = range(BEGIN, BEGIN + 3 * DAY, MINUTE)
    moves = [b for a, b in pairwise(labels) if origin_of(a, DAY) != origin_of(b, DAY)]
    assert moves == [BEGIN + DAY, BEGIN + 2 * DAY]


class Asks:
    """A forecaster as far as its warm-up is concerned."""

    def __init__(self, warmup: float) -> None:
        self.warmup = warmup


@pytest.mark.parametrize(
    ("asked", "setting", "want"),
    [
        (None, "0s", DEFAULT_WARMUP), (20 * DAY, "0s", 20 * DAY), (HOUR, "0s", DAY), (0, "0s", DAY),
        (1.5 * DAY, "0s", 2 * DAY), (DAY, "0s", DAY), (DAY + 0.5, "0s", 2 * DAY),
        (None, "3d", 3 * DAY), (20 * DAY, "3d", 3 * DAY), (20 * DAY, "36h", 2 * DAY), (None, "1s", DAY),
    ],
)  # fmt: skip
def test_the_warm_up_is_what_the_settings_say_else_what_the_forecaster_asks_for_in_whole_days(asked, setting, want):
    forecaster = object() if asked is None else Asks(asked)
    settings = SETTINGS.with_flags({"replay.warmup": {"default": "0s", "ETH": setting}})
    assert warmup_of(forecaster, "ETH", settings) == want
    assert warmup_of(Asks(9 * DAY), "BTC", settings) == 9 * DAY


@pytest.mark.parametrize(
    ("name", "days"), [("ewma", 5), ("random-walk", 5), ("seasonal-har", SeasonalHar.warmup // DAY), (WIDE, 20)]
)
def test_a_model_takes_the_past_that_its_forecaster_asks_for(name, days):
    assert model(name, short=False).warmup == days * DAY
    assert model(name).warmup == DAY  # the setting
    assert model(name, short=False).origin(BEGIN + HOUR) == BEGIN - days * DAY


def test_parameters_that_matter_change_the_digest_and_no_others():
    def digest(asset: str = "BTC", name: str = "ewma", **flags: Any) -> str:
        settings = SHORT.with_flags({key.replace("__", "."): value for key, value in flags.items()})
        return Model.of(name, BOOK.asset(asset), settings).parameters

    base = digest()
    assert digest() == base
    assert digest(run__seed=5, replay__request_lead="90s", ewma__half_life_1m={"ETH": "3h"}) == base
    assert digest(live__stale_after="20m", replay__warmup={"ETH": "3d"}) == base
    others = [
        digest(asset="ETH"),
        digest(name="ewma@seed"),
        digest(name="random-walk"),
        digest(ewma__half_life_5m="3h"),
        digest(ewma__half_life_1m={"BTC": "3h"}),
        digest(ewma__gap_policy="revert"),
        digest(replay__warmup="3d"),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_a_state_saved_under_another_fit_is_another():
    fits = [None, Fit(0, {"factor": 1.0}, "a"), Fit(0, {"factor": 2.0}, "b")]
    made = [Model.of(FITTED, BOOK.asset("BTC"), SHORT, fit) for fit in fits]
    assert [of.forecaster.factor for of in made] == [1.0, 1.0, 2.0]
    assert len({of.parameters for of in made}) == 3
    assert made[1].parameters == Model.of(FITTED, BOOK.asset("BTC"), SHORT, fits[1]).parameters


# --------------------------------------------------------------------------------------------- following

FORECASTERS = [
    ("ewma", "BTC"),
    ("ewma", "SPYX"),
    ("ewma@seed", "BTC"),
    ("random-walk", "BTC"),
    ("seasonal-har", "SPYX"),
    (WIDE, "BTC"),
]


@pytest.mark.parametrize(("name", "asset"), FORECASTERS)
@pytest.mark.parametrize("seed", range(2))
def test_following_in_any_cuts_gives_the_state_of_all_bars(name, asset, seed):
    rng = np.random.default_rng(seed)
    bars, of = market(asset), model(name, asset)
    running = RunningState(of)
    for n in random_cuts(int(rng.integers(1, 3000)), len(bars), rng):
        state = running.follow(bars.rows(0, n))
        assert state is running.state
        assert_same(of, state, bars.rows(0, n))


def test_following_with_the_default_warm_up_gives_the_state_of_all_bars():
    rng = np.random.default_rng(9)
    bars, of = market(), model(short=False)
    assert of.warmup == DEFAULT_WARMUP == 5 * DAY
    running = RunningState(of)
    for n in random_cuts(6 * 1440, len(bars), rng):
        assert_same(of, running.follow(bars.rows(0, n)), bars.rows(0, n))


def test_following_bar_by_bar_over_two_midnights_gives_the_state_of_all_bars():
    bars, of = market(), model()
    running = RunningState(of)
    first, last = np.searchsorted(bars.timestamp, (BEGIN + 3 * DAY - HOUR, BEGIN + 4 * DAY + HOUR))
    for n in range(int(first), int(last)):
        assert_same(of, running.follow(bars.rows(0, n)), bars.rows(0, n))


@given(data=st.data())
@examples(25)
def test_following_in_cuts_around_midnight_gives_the_state_of_all_bars(data):
    bars, of = market(gaps=data.draw(st.sampled_from([0.0, 0.3]))), model()
    midnight = int(np.searchsorted(bars.timestamp, BEGIN + data.draw(st.integers(2, 6)) * DAY))
    cuts = data.draw(st.lists(st.integers(-8, 8), min_size=1, max_size=8).map(sorted))
    running = RunningState(of)
    for cut in cuts:
        state = running.follow(bars.rows(0, midnight + cut))
        assert_same(of, state, bars.rows(0, midnight + cut))


def test_following_bars_whose_oldest_are_dropped_gives_the_same_state():
    rng = np.random.default_rng(2)
    bars, of = market(), model()
    running = RunningState(of)
    for n in random_cuts(4000, len(bars), rng):
        end = int(bars.timestamp[n - 1]) + MINUTE
        running.follow(bars.between(end - of.warmup - 2 * DAY, end))
        assert_same(of, running.state, bars.rows(0, n))


def test_following_fewer_bars_again_gives_their_state():
    bars, of = market(), model()
    running = RunningState(of)
    for n in (6000, 5999, 3000, 6000):
        assert_same(of, running.follow(bars.rows(0, n)), bars.rows(0, n))


def test_following_the_same_bars_again_gives_the_same_state():
    bars, of = market(), model()
    running = RunningState(of)
    state = running.follow(bars)
    assert running.follow(bars) is state


def test_the_warm_up_begins_anew_at_midnight():
    """A state that had gone on would be another: the properties above do not hold by themselves."""
    bars, of = market(), model()
    whole = of.forecaster.update(of.forecaster.initial_state(), bars)
    assert numbers(of, whole) != numbers(of, of.state_of(bars))


def test_a_followed_state_is_not_changed_afterwards():
    bars, of = market(), model()
    running = RunningState(of)
    held = running.follow(bars.rows(0, 5000))
    before = numbers(of, held)
    running.follow(bars.rows(0, 5100))
    running.follow(bars, amended=True)
    assert numbers(of, held) == before


@pytest.mark.parametrize(("name", "asset"), FORECASTERS)
@pytest.mark.parametrize("seed", range(2))
def test_an_adopted_state_is_followed_as_if_it_had_been_made_here(name, asset, seed):
    rng = np.random.default_rng(100 + seed)
    bars, of = market(asset), model(name, asset)
    for n in rng.integers(2000, len(bars), 5):
        known = bars.rows(0, int(n))
        dumped = of.forecaster.dump_state(of.state_of(known))
        running = RunningState(of)
        running.adopt(of.forecaster.load_state(dumped), int(known.timestamp[-1]))
        for m in random_cuts(int(n), min(int(n) + 3000, len(bars)), rng):
            assert_same(of, running.follow(bars.rows(0, m)), bars.rows(0, m))


def test_a_running_state_that_failed_goes_on_with_the_next_bars(monkeypatch):
    bars, of = market(), model()
    running = RunningState(of)
    before = running.follow(bars.rows(0, 5000))
    with monkeypatch.context() as patch:
        patch.setattr(type(of.forecaster), "update", lambda *_: 1 / 0)
        for amended in (False, True):
            with pytest.raises(ForecasterError, match="ZeroDivisionError"):
                running.follow(bars.rows(0, 5010), amended=amended)
    assert running.state is before
    assert_same(of, running.follow(bars.rows(0, 5020)), bars.rows(0, 5020))


# --------------------------------------------------------------------------------------------- a bounded past


@pytest.mark.parametrize(("name", "asset"), FORECASTERS[:3])
@pytest.mark.parametrize("length", [3 * 1440 + 5, 6 * 1440, 9000])
def test_bars_before_the_origin_have_no_effect(name, asset, length):
    bars, of = market(asset).rows(0, length), model(name, asset)
    origin = origin_of(int(bars.timestamp[-1]), of.warmup)
    early = bars.timestamp < origin
    assert early.any()
    want = numbers(of, of.state_of(bars))
    for other in (changed(bars, early, 1.5), without(bars, early), bars.between(origin - HOUR, 2**40)):
        assert other.digest() != bars.digest()
        assert numbers(of, of.state_of(other)) == want
        assert numbers(of, RunningState(of).follow(other)) == want


@pytest.mark.parametrize("at", ["first", "last"])
def test_each_bar_since_the_origin_has_an_effect(at):
    bars, of = market().rows(0, 6000), model()
    since = np.flatnonzero(bars.timestamp >= origin_of(int(bars.timestamp[-1]), of.warmup))
    where = np.arange(len(bars)) == (since[0] if at == "first" else since[-2])
    assert numbers(of, of.state_of(without(bars, where))) != numbers(of, of.state_of(bars))


def test_early_bars_that_change_while_following_have_no_effect():
    bars, of = market(), model()
    running = RunningState(of)
    rng = np.random.default_rng(3)
    for n in random_cuts(5000, 9000, rng):
        known = bars.rows(0, n)
        early = known.timestamp < origin_of(int(known.timestamp[-1]), of.warmup)
        running.follow(changed(known, early, float(rng.uniform(0.5, 2))), amended=bool(rng.random() < 0.3))
        assert_same(of, running.state, known)


# --------------------------------------------------------------------------------------------- paths


def prompt_at(when: int, start: int | None = None) -> Prompt:
    return Prompt(when + MINUTE if start is None else start, "24h", "BTC", when, 300, 86_400, 20)


def aged_settings(**flags: Any) -> Model:
    given = {"ewma.gap_policy": "revert", "live.stale_after": "20m", **flags}
    return Model.of("ewma", BOOK.asset("BTC"), SHORT.with_flags(given))


@pytest.mark.parametrize(("silence", "ages"), [(0, False), (20 * MINUTE, False), (20 * MINUTE + 1, True)])
def test_a_state_ages_after_a_silence_longer_than_the_setting(silence, ages):
    of, bars = aged_settings(), market().rows(0, 5000)
    state, newest = of.state_of(bars), int(bars.timestamp[-1])
    prompt = prompt_at(newest + MINUTE + silence)
    assert of.is_stale(newest, prompt.request_time) == ages
    given = of.forecaster.aged(state, prompt.request_time) if ages else state
    want = of.forecaster.simulate(given, prompt, prompt.stream(7))
    found = of.paths(state, newest, prompt, 7)
    assert paths_digest(found) == paths_digest(want)
    assert ages == (paths_digest(found) != paths_digest(of.forecaster.simulate(state, prompt, prompt.stream(7))))


def test_a_state_without_a_rule_for_silence_stays_as_it_is():
    of, bars = model("random-walk"), market().rows(0, 5000)
    newest = int(bars.timestamp[-1])
    prompt = prompt_at(newest + DAY)
    assert of.is_stale(newest, prompt.request_time)
    want = of.forecaster.simulate(of.state_of(bars), prompt, prompt.stream(7))
    assert paths_digest(of.paths(of.state_of(bars), newest, prompt, 7)) == paths_digest(want)


def test_prompts_from_before_the_end_of_the_fit_are_refused():
    bars = market().rows(0, 5000)
    newest = int(bars.timestamp[-1])
    of = Model.of(FITTED, BOOK.asset("BTC"), SHORT, Fit(newest, {"factor": 2.0}, "a"))
    state = of.state_of(bars)
    with pytest.raises(ForecasterError, match=r"Fitted was fitted on bars up to .* and is asked for a forecast at"):
        of.paths(state, newest, prompt_at(newest - 1, newest + DAY), 7)
    unfitted = Model.of(FITTED, BOOK.asset("BTC"), SHORT).paths(state, newest, prompt_at(newest), 7)
    np.testing.assert_allclose(of.paths(state, newest, prompt_at(newest), 7), 2 * unfitted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda paths: paths[1:], r"returned float32 \(288, 20\) for BTC; expected float32 \(289, 20\)"),
        (lambda paths: paths.astype(np.float64), r"returned float64 \(289, 20\)"),
        (lambda paths: paths.tolist(), "returned list"),
        (lambda paths: paths + np.float32(1e-3), "do not start at 0"),
        (lambda paths: np.where(np.arange(289)[:, None] == 5, np.float32(31), paths), r"leave \+-30"),
        (lambda paths: np.where(np.arange(289)[:, None] == 5, np.float32(np.nan), paths), r"leave \+-30"),
    ],
    ids=["shape", "type", "list", "start", "limit", "nan"],
)
def test_paths_that_break_the_protocol_are_refused(monkeypatch, spoil, said):
    of, bars = model(WIDE), market().rows(0, 5000)
    state, newest = of.state_of(bars), int(bars.timestamp[-1])
    whole = MeanMove.simulate
    monkeypatch.setattr(MeanMove, "simulate", lambda *arguments: spoil(whole(*arguments)))
    with pytest.raises(ForecasterError, match=said):
        of.paths(state, newest, prompt_at(newest), 7)


@pytest.mark.parametrize(("name", "asset"), FORECASTERS[:3])
@pytest.mark.parametrize("step", [60, 300])
def test_relative_volatilities_are_those_of_the_states_across_midnights(name, asset, step):
    bars, of = market(asset), model(name, asset)
    assert isinstance(of.forecaster, ScaleFree)
    first = int(np.searchsorted(bars.timestamp, BEGIN + 2 * DAY - HOUR))
    known = np.sort(np.random.default_rng(4).integers(first, len(bars), 40))
    found = of.relative_volatilities(bars, known, bars.timestamp[known - 1] + 60, step)
    for count, volatility in zip(known.tolist(), found.tolist(), strict=True):
        seen = bars.rows(0, count)
        since = seen.between(of.origin(int(seen.timestamp[-1])), 2**40)
        assert volatility == of.forecaster.relative_volatilities(since, np.array([len(since)]), step)[0]


# --------------------------------------------------------------------------------------------- merging

Row = tuple[float, float, float, float]


def rows_of(bars: Bars) -> dict[int, Row]:
    return {
        int(t): (float(o), float(h), float(l), float(c))
        for t, o, h, l, c in zip(*(getattr(bars, name) for name in COLUMNS), strict=True)
    }


def same_row(a: Row, b: Row) -> bool:
    return all(x == y or (x != x and y != y) for x, y in zip(a, b, strict=True))


def naive_merge(known: Bars, fresh: Bars) -> tuple[dict[int, Row], int, list[tuple[int, Row | None]]]:
    """The union, the number of new bars, and what changed: row by row, from the words alone."""
    old, late = rows_of(known), rows_of(fresh)
    if not old:
        return late, len(late), []
    first, newest = min(old), max(old)
    late = {label: row for label, row in late.items() if label >= first}
    amended = [
        (label, old.get(label))
        for label, row in sorted(late.items())
        if (label in old and not same_row(old[label], row)) or (label not in old and label < newest)
    ]
    return dict(sorted((old | late).items())), sum(label > newest for label in late), amended


def assert_merged(merged: Merged, known: Bars, fresh: Bars) -> None:
    union, new, amended = naive_merge(known, fresh)
    got = rows_of(merged.bars)
    assert list(got) == list(union)
    assert all(same_row(got[label], union[label]) for label in union)
    assert merged.new == new
    assert [change.label for change in merged.amended] == [label for label, _ in amended]
    for change, (_, old) in zip(merged.amended, amended, strict=True):
        assert (change.old is None) == (old is None)
        assert change.old is None or same_row(change.old, old)


def some(bars: Bars, rng: np.random.Generator, share: float) -> Bars:
    """A share of the bars, at least one."""
    keep = rng.random(len(bars)) < share
    keep[rng.integers(len(bars))] = True
    return without(bars, ~keep)


def revise(bars: Bars, rng: np.random.Generator, share: float) -> Bars:
    """Bars of which a share has other prices, loses its range, or gets one."""
    where = rng.random(len(bars)) < share
    bars = changed(bars, where & (rng.random(len(bars)) < 0.6), 1 + float(rng.uniform(-0.01, 0.01)))
    bare = where & (rng.random(len(bars)) < 0.3)
    full = where & ~bare & ~bars.has_range
    close = bars.close
    return Bars(
        bars.timestamp,
        np.where(bare, np.nan, np.where(full, close, bars.open)),
        np.where(bare, np.nan, np.where(full, close * 1.001, bars.high)),
        np.where(bare, np.nan, np.where(full, close * 0.999, bars.low)),
        close,
    )


def answer(bars: Bars, rng: np.random.Generator) -> Bars:
    """An answer of a feed about a stretch of a market: incomplete, partly revised."""
    a, b = sorted(rng.integers(0, len(bars) + 1, 2))
    part = bars.rows(int(a), int(b))
    return revise(some(part, rng, float(rng.choice([0.3, 0.9, 1.0]))), rng, 0.1) if len(part) else part


@examples(150)
@given(seed=st.integers(0, 2**32))
def test_a_merge_is_the_union_in_which_fresh_bars_count(seed):
    rng = np.random.default_rng(seed)
    truth = market(gaps=0.0).rows(1000, 1000 + int(rng.integers(1, 80)))
    known, fresh = some(truth, rng, 0.8), answer(truth, rng)
    before = known.digest(), fresh.digest()
    merged = merge(known, fresh)
    assert_merged(merged, known, fresh)
    assert (known.digest(), fresh.digest()) == before
    again = merge(merged.bars, fresh)
    assert (again.new, again.amended) == (0, ())
    assert again.bars is merged.bars


def test_new_bars_are_appended():
    bars = market().rows(0, 100)
    merged = merge(bars.rows(0, 60), bars.rows(60, 100))
    assert (merged.bars.digest(), merged.new, merged.amended) == (bars.digest(), 40, ())


def test_bars_known_already_change_nothing():
    bars = market().rows(0, 100)
    assert not bars.has_range.all()  # a missing range equals a missing range
    for fresh in (bars, bars.rows(40, 70), bars.rows(99, 100), Bars.empty()):
        merged = merge(bars, fresh)
        assert merged.bars is bars
        assert (merged.new, merged.amended) == (0, ())


def test_a_late_bar_is_put_in_its_place_and_named():
    bars = market().rows(0, 100)
    late = np.isin(np.arange(100), (1, 57, 58))
    merged = merge(without(bars, late), without(bars, ~late))
    assert merged.bars.digest() == bars.digest()
    assert merged.new == 0
    assert merged.amended == tuple(Amendment(int(t), None) for t in bars.timestamp[late])


def test_a_revised_bar_counts_and_its_old_prices_are_kept():
    bars = market(gaps=0.0).rows(0, 100)
    where = np.arange(100) == 40
    fresh = changed(bars, where, 1.001)
    merged = merge(bars, fresh.rows(30, 60))
    assert merged.bars.digest() == fresh.digest()
    assert merged.new == 0
    assert merged.amended == (Amendment(int(bars.timestamp[40]), rows_of(bars)[int(bars.timestamp[40])]),)


@pytest.mark.parametrize("column", COLUMNS[1:])
def test_a_revision_in_the_last_bit_of_any_price_is_noticed(column):
    bars = Bars([0, 60, 120], [2.0] * 3, [4.0] * 3, [1.0] * 3, [3.0] * 3)
    table = bars.columns() | {column: getattr(bars, column).copy()}
    table[column][1] = np.nextafter(table[column][1], 2.5)
    merged = merge(bars, Bars.from_columns(table))
    assert merged.amended == (Amendment(60, (2.0, 4.0, 1.0, 3.0)),)
    assert merged.bars.digest() == Bars.from_columns(table).digest()


def test_bars_before_the_first_known_one_are_left_out():
    bars = market().rows(0, 100)
    merged = merge(bars.rows(40, 80), bars)
    assert (merged.bars.digest(), merged.new, merged.amended) == (bars.rows(40, 100).digest(), 20, ())
    assert merge(bars.rows(40, 80), bars.rows(0, 40)).bars.digest() == bars.rows(40, 80).digest()


def test_the_first_answer_is_all_new():
    bars = market().rows(0, 100)
    merged = merge(Bars.empty(), bars)
    assert (merged.bars.digest(), merged.new, merged.amended) == (bars.digest(), 100, ())


@pytest.mark.parametrize("seed", range(10))
def test_answers_out_of_order_give_the_same_bars(seed):
    rng = np.random.default_rng(seed)
    bars = market().rows(0, 300)
    cuts = [0, *sorted(rng.integers(1, 300, 12)), 300]
    parts = [bars.rows(int(a), int(b)) for a, b in pairwise(cuts)]
    known, late = parts[0] if len(parts[0]) else bars.rows(0, 1), 0
    for i in rng.permutation(len(parts)):
        merged = merge(known, parts[i])
        known, late = merged.bars, late + len(merged.amended)
    assert known.digest() == bars.digest()
    assert late > 0


def test_an_answer_of_another_symbol_is_refused():
    btc, eth = market("BTC", 0.0).rows(0, 100), market("ETH", 0.0).rows(0, 140)
    with pytest.raises(
        FeedError, match=r"disagrees with 60 of 60 known bars by more than 2%: it is for another symbol"
    ):
        check_symbol(btc, eth.rows(40, 140))
    with pytest.raises(FeedError, match="another symbol"):
        check_symbol(btc, eth.rows(97, 140))


@pytest.mark.parametrize("factor", [1.03, 1 / 1.03, 1e-5, 1e5])
def test_prices_further_off_than_any_revision_are_refused(factor):
    bars = market(gaps=0.0).rows(0, 100)
    with pytest.raises(FeedError, match="another symbol"):
        check_symbol(bars, changed(bars, np.ones(100, bool), factor))


@pytest.mark.parametrize(("share", "factor"), [(1.0, 1.01), (0.4, 1.5), (0.02, 100.0)])
def test_revisions_of_all_bars_by_little_or_of_some_by_much_are_taken(share, factor):
    bars = market(gaps=0.0).rows(0, 100)
    where = np.arange(100) < share * 100
    fresh = changed(bars, where, factor)
    check_symbol(bars, fresh)
    merged = merge(bars, fresh)
    assert merged.bars.digest() == fresh.digest()
    assert len(merged.amended) == share * 100


# --------------------------------------------------------------------------------------------- amendments undone


@examples(60)
@given(seed=st.integers(0, 2**32))
def test_undoing_the_amendments_gives_the_bars_before_them(seed):
    rng = np.random.default_rng(seed)
    truth = market(gaps=0.0).rows(1000, 1000 + int(rng.integers(2, 80)))
    known = some(truth, rng, 0.7)
    history: list[tuple[Bars, int]] = [(known, 0)]
    amended: list[Amendment] = []
    for _ in range(int(rng.integers(1, 6))):
        merged = merge(known, answer(truth, rng))
        amended += merged.amended
        assert undo(merged.bars, merged.amended).between(0, int(known.timestamp[-1]) + 1).digest() == known.digest()
        known = merged.bars
        history.append((known, len(amended)))
    for before, number in history:
        assert undo(known, amended[number:]).between(0, before.timestamp[-1] + 1).digest() == before.digest()


def test_nothing_undone_is_nothing_changed():
    bars = market().rows(0, 100)
    assert undo(bars, ()) is bars


def test_amendments_of_bars_dropped_since_are_passed_over():
    bars = market(gaps=0.0).rows(0, 100)
    merged = merge(without(bars, np.isin(np.arange(100), (10, 60))), changed(bars, np.arange(100) == 12, 1.001))
    assert [change.label for change in merged.amended] == [int(bars.timestamp[i]) for i in (10, 12, 60)]
    kept = undo(merged.bars.rows(50, 100), merged.amended)
    assert kept.digest() == without(bars, np.arange(100) == 60).rows(50, 99).digest()
    assert undo(merged.bars.rows(0, 5), merged.amended).digest() == bars.rows(0, 5).digest()


# --------------------------------------------------------------------------------------------- late and revised bars


class LateMarket:
    """Answers as a feed gives them: some bars come late, some are revised later."""

    def __init__(self, bars: Bars, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.bars = bars
        late = rng.random(len(bars)) < 0.15
        self.known_from = bars.timestamp + MINUTE + np.where(late, 60 * rng.integers(1, 30, len(bars)), 0)
        self.revised = rng.random(len(bars)) < 0.15
        self.revised_from = self.known_from + 60 * rng.integers(1, 30, len(bars))
        self.factor = 1.0005

    def fetch(self, start: int, end: int, now: int) -> Bars:
        provisional = changed(self.bars, self.revised & (self.revised_from > now), self.factor)
        return without(provisional, self.known_from > now).between(start, end)


@pytest.mark.parametrize(("name", "asset", "seed"), [(*pair, seed) for seed, pair in enumerate(FORECASTERS[:3])])
def test_late_and_revised_bars_give_the_state_as_if_they_had_been_so_from_the_start(name, asset, seed):
    bars, of = market(asset), model(name, asset)
    rng = np.random.default_rng(seed)
    feed = LateMarket(bars, seed)
    now = BEGIN + 3 * DAY - 5 * HOUR
    known = feed.fetch(BEGIN, now, now)
    running = RunningState(of)
    running.follow(known)
    kinds = {"late": 0, "revised": 0, "steps": 0}
    while now < BEGIN + 3 * DAY + 5 * HOUR:
        now += MINUTE * int(rng.choice([1, 1, 1, 5, 60]))
        merged = merge(known, feed.fetch(now - 10 * HOUR, now, now))
        known = merged.bars
        running.follow(known, amended=bool(merged.amended))
        assert_same(of, running.state, known)
        assert_same(of, running.state, feed.fetch(BEGIN, now, now))
        kinds["late"] += sum(change.old is None for change in merged.amended)
        kinds["revised"] += sum(change.old is not None for change in merged.amended)
        kinds["steps"] += 1
    assert min(kinds.values()) > 10


@pytest.mark.parametrize("kind", ["late", "revised"])
def test_an_amendment_that_is_not_told_is_not_seen(kind):
    """Why `amended` is needed: the properties above do not hold by themselves."""
    bars, of = market(gaps=0.0).rows(0, 6000), model()
    where = np.arange(6000) == 5900
    before = without(bars, where) if kind == "late" else changed(bars, where, 1.01)
    running = RunningState(of)
    running.follow(before)
    assert numbers(of, running.follow(bars)) != numbers(of, of.state_of(bars))
    assert_same(of, running.follow(bars, amended=True), bars)


@given(data=st.data())
@examples(25)
def test_an_amendment_at_any_place_is_followed(data):
    bars, of = market(gaps=0.0).rows(0, 6000), model()
    running = RunningState(of)
    at = data.draw(st.lists(st.integers(2000, 5998), min_size=1, max_size=5, unique=True))
    where = np.isin(np.arange(6000), at)
    before = without(bars, where) if data.draw(st.booleans()) else changed(bars, where, 0.99)
    running.follow(before)
    merged = merge(before, bars)
    assert len(merged.amended) == len(at)
    assert_same(of, running.follow(merged.bars, amended=True), bars)
    assert_same(of, running.follow(before, amended=True), before)

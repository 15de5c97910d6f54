"""The checks of a replay's honesty pass what is honest, and catch every leak that is planted.

Each planted leak is one that a real system had, or that a user's forecaster could have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from ewmalab.errors import ForecasterError
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay import checks
from ewmalab.replay.checks import WarmupRow, check_warmup
from ewmalab.replay.knowledge import Moment, moments
from ewmalab.replay.lookahead import Leak, LookaheadReport, check_lookahead
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.rulebook import Asset, RuleChoice
from ewmalab.settings import load_settings
from ewmalab.times import DAY, MINUTE, parse_time

START = parse_time("2026-01-08")
NOW = parse_time("2026-03-01")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checks")


MakePlan = Callable[..., BacktestPlan]


@pytest.fixture
def plan(folder: Path) -> MakePlan:
    def make(days: float = 0.5, flags: Mapping[str, Any] | None = None, **options: Any) -> BacktestPlan:
        settings = load_settings(
            environ={}, flags={"data.cache_dir": str(folder), "data.feed": "simulated", **(flags or {})}
        )
        chosen: dict[str, Any] = {"start": START, "num_simulations": 20, "assets": ["BTC"], "now": NOW}
        return plan_backtest(settings, days=days, **(chosen | options))

    return make


def report(plan: BacktestPlan, **options: Any) -> LookaheadReport:
    """The check in this process; `test_lookahead` starts fresh ones."""
    chosen: dict[str, Any] = {"cuts": 4, "fresh": False} | options
    return check_lookahead(plan, **chosen)


# ------------------------------------------------------------------------------------------------- honest


def test_the_honest_walk_has_no_leak_whatever_the_forecaster(plan: MakePlan) -> None:
    names = ["ewma", "ewma@seed", "random-walk"]
    found = report(plan(forecasters=names), cuts=6)
    assert found.leaks == []
    assert found.cuts == 3 * 2 * 6
    assert found.forecasts > found.cuts  # not only at the cuts, but also before
    assert found.ok


@pytest.mark.ci
def test_the_honest_walk_has_no_leak_with_gaps_sessions_or_any_lead(plan: MakePlan) -> None:
    rules = RuleChoice.parse("2026-01-28")
    for lead in ("0s", "30s", "90s"):
        flags = {"replay.request_lead": lead, "feeds.simulated.gaps": 0.05}
        chosen = plan(0.25, flags, assets=["SPYX", "BTC"], rules=rules, forecasters=["ewma"], partial=True)
        assert report(chosen, cuts=3).leaks == []


def test_every_prompt_is_a_cut_when_there_are_fewer_prompts_than_cuts(plan: MakePlan) -> None:
    chosen = plan(0.25, competitions=["24h"], forecasters=["ewma"])
    assert report(chosen, cuts=100).cuts == 6


def test_the_check_is_reproducible(plan: MakePlan) -> None:
    chosen = plan(competitions=["1h"], forecasters=["ewma"])
    assert report(chosen, knowledge=peeking) == report(chosen, knowledge=peeking)


# --------------------------------------------------------------------------------------------- leaky walks


def handing_out(bars_for: Callable[[Bars, Prompt], int]) -> Callable[..., Iterator[Moment]]:
    """A walk whose forecaster knows the first `bars_for(bars, prompt)` rows; the anchor is honest."""

    def leaky(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        state, seen = model.forecaster.initial_state(), 0
        for honest in moments(model, bars, prompts):
            known = bars_for(bars, honest.prompt)
            if known > seen:
                state, seen = model.forecaster.update(state, bars.rows(seen, known)), known
            yield replace(honest, state=state)

    return leaky


peeking = handing_out(lambda bars, prompt: bars.count_known_at(prompt.request_time + MINUTE))


def changing(change: Callable[[Bars], Bars]) -> Callable[..., Iterator[Moment]]:
    """A walk that changes all bars before it hands them out; anchors are those of the true bars."""

    def leaky(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        prompts = list(prompts)
        honest = moments(model, bars, prompts)
        for moment, truth in zip(moments(model, change(bars), prompts), honest, strict=True):
            yield replace(truth, state=moment.state)

    return leaky


def flat(bars: Bars, close: npt.NDArray[np.float64]) -> Bars:
    return Bars.from_closes(bars.timestamp, close)


def expect_leaks(found: LookaheadReport, share: float = 0.5) -> None:
    """Leaks in at least `share` of the cuts, and only of forecasts asked for at or before them."""
    assert found.leaks
    assert len({leak.request_time for leak in found.leaks}) >= share * found.cuts / 2
    assert all(isinstance(leak, Leak) for leak in found.leaks)


@pytest.mark.parametrize(("competition", "sensitive"), [("1h", False), ("24h", True)])
def test_a_walk_that_peeks_at_one_bar_is_caught(plan: MakePlan, competition: str, sensitive: bool) -> None:
    """At 24h `ewma` sees whole five minutes only."""
    chosen = plan(competitions=[competition], forecasters=[MeanSquare if sensitive else "ewma"])
    found = report(chosen, knowledge=peeking)
    expect_leaks(found)
    assert {leak.mutation for leak in found.leaks} == {"removed", "scaled", "shaken"}
    names = {(leak.forecaster, leak.competition, leak.asset) for leak in found.leaks}
    assert names == {(*chosen.forecasters, competition, "BTC")}


def test_a_leak_is_reported_where_it_is_and_not_elsewhere(plan: MakePlan) -> None:
    def peeking_at_eth(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        return (peeking if model.asset.symbol == "ETH" else moments)(model, bars, prompts)

    found = report(plan(assets=["BTC", "ETH"], forecasters=["ewma", "random-walk"]), knowledge=peeking_at_eth)
    assert {(leak.forecaster, leak.asset) for leak in found.leaks} == {("ewma", "ETH")}


def test_labels_taken_for_closing_times_are_caught(plan: MakePlan) -> None:
    """A bar labelled t is known at t + 60, not at t."""
    found = report(
        plan(forecasters=["ewma"]),
        knowledge=handing_out(
            lambda bars, prompt: int(np.searchsorted(bars.timestamp, prompt.request_time, side="right"))
        ),
    )
    expect_leaks(found)


def with_forming_bar(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
    """The state is honest but for the bar of the running minute, which it sees in its final form."""
    for honest in moments(model, bars, prompts):
        label = honest.prompt.request_time // MINUTE * MINUTE
        forming = bars.between(label, label + MINUTE)
        yield replace(honest, state=model.forecaster.update(honest.state, forming))


@pytest.mark.parametrize("lead", ["30s", "60s", "90s"])
def test_a_forming_bar_that_is_handed_out_early_is_caught(plan: MakePlan, lead: str) -> None:
    found = report(
        plan(flags={"replay.request_lead": lead}, competitions=["1h"], forecasters=["ewma"]), knowledge=with_forming_bar
    )
    expect_leaks(found)


def with_future_anchor(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
    """The anchor is the close that the validator takes for the first point."""
    for honest in moments(model, bars, prompts):
        price = float(bars.closes_at([honest.prompt.start_time])[0])
        yield honest if np.isnan(price) else replace(honest, anchor=price, anchor_time=honest.prompt.start_time)


@pytest.mark.parametrize("name", ["ewma", "random-walk"])
def test_a_future_anchor_is_caught_even_under_a_forecaster_that_learns_nothing(plan: MakePlan, name: str) -> None:
    expect_leaks(report(plan(competitions=["1h"], forecasters=[name]), knowledge=with_future_anchor))


def test_an_anchor_time_that_knows_the_future_is_caught(plan: MakePlan) -> None:
    def newest(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        for honest in moments(model, bars, prompts):
            yield replace(honest, anchor_time=int(bars.timestamp[-1]))

    assert {leak.mutation for leak in report(plan(forecasters=["random-walk"]), knowledge=newest).leaks} == {"removed"}


def normalised(bars: Bars) -> Bars:
    returns = np.diff(np.log(bars.close), prepend=np.log(bars.close[0]))
    return flat(bars, np.exp(np.cumsum(returns / returns.std() * 1e-4)))


def test_normalising_by_statistics_of_the_whole_sample_is_caught(plan: MakePlan) -> None:
    expect_leaks(report(plan(competitions=["1h"], forecasters=["ewma"]), knowledge=changing(normalised)))


def winsorised(bars: Bars) -> Bars:
    returns = np.diff(np.log(bars.close), prepend=np.log(bars.close[0]))
    low, high = np.quantile(returns, [0.2, 0.8])
    return flat(bars, np.exp(np.cumsum(np.clip(returns, low, high))))


def test_outlier_limits_from_the_whole_sample_are_caught(plan: MakePlan) -> None:
    expect_leaks(report(plan(competitions=["1h"], forecasters=["ewma"]), knowledge=changing(winsorised)))


def test_a_longer_bar_that_is_finished_before_its_time_is_caught(plan: MakePlan) -> None:
    """A request falls into a bar of five minutes; resampling all at once completes it."""
    finished = handing_out(lambda bars, prompt: bars.count_known_at(-(-prompt.request_time // 300) * 300))
    chosen = plan(competitions=["24h"], forecasters=["ewma"])
    assert all(items[0].prompt.request_time % 300 for items in chosen.groups.values())
    expect_leaks(report(chosen, knowledge=finished))


def centred(bars: Bars) -> Bars:
    padded = np.concatenate([bars.close[:1], bars.close, bars.close[-1:]])
    return flat(bars, (padded[:-2] + padded[1:-1] + padded[2:]) / 3)


def test_centred_smoothing_is_caught(plan: MakePlan) -> None:
    expect_leaks(report(plan(competitions=["1h"], forecasters=["ewma"]), knowledge=changing(centred)))


def filled_backwards(bars: Bars) -> Bars:
    labels = np.arange(bars.timestamp[0], bars.timestamp[-1] + MINUTE, MINUTE)
    return Bars.from_closes(labels, bars.close[np.searchsorted(bars.timestamp, labels)])


def test_gaps_filled_with_the_next_price_are_caught(plan: MakePlan) -> None:
    flags = {"feeds.simulated.gaps": 0.4}
    chosen = plan(1.0, flags, competitions=["1h"], forecasters=["ewma"], partial=True)
    assert report(chosen).leaks == []
    assert report(chosen, knowledge=changing(filled_backwards), cuts=20).leaks


@dataclass(frozen=True)
class MeanSquare:
    """Volatility from the mean squared change between rows in the order they come; it takes any order."""

    asset: Asset

    def initial_state(self) -> tuple[float, ...]:
        return ()

    def update(self, state: tuple[float, ...], bars: Bars) -> tuple[float, ...]:
        return (*state, *bars.close.tolist())

    def simulate(self, state: tuple[float, ...], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        return paths(float(np.std(np.diff(np.log(state)))), prompt, stream)

    def dump_state(self, state: tuple[float, ...]) -> dict[str, Any]:
        return {"version": 1, "closes": list(state)}

    def load_state(self, data: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple(data["closes"])


def paths(step: float, prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
    shocks = stream.generator().standard_normal((prompt.steps, prompt.num_simulations)) * step
    return np.concatenate([np.zeros((1, prompt.num_simulations)), shocks.cumsum(axis=0)]).astype(np.float32)


def in_order(order: Callable[[int], npt.NDArray[np.int64]]) -> Callable[..., Iterator[Moment]]:
    """A walk that hands out as many rows as are known, but of rows in another order."""

    def leaky(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        columns = {name: column[order(len(bars))] for name, column in bars.columns().items()}
        mixed = Bars.trusted(columns, bars.resolution)
        state, seen = model.forecaster.initial_state(), 0
        for honest in moments(model, bars, prompts):
            known = bars.count_known_at(honest.prompt.request_time)
            state, seen = model.forecaster.update(state, mixed.rows(seen, known)), known
            yield replace(honest, state=state)

    return leaky


def chunks_swapped(count: int) -> npt.NDArray[np.int64]:
    """Chunks of an hour, each pair of neighbours swapped: what parallel downloads give without sorting."""
    at = np.arange(count)
    return at[np.argsort((at // 60) ^ 1, kind="stable")]


@pytest.mark.parametrize(
    "order",
    [chunks_swapped, lambda n: np.arange(n)[::-1], lambda n: np.random.default_rng(0).permutation(n)],
    ids=["chunks swapped", "newest first", "shuffled"],
)
@pytest.mark.parametrize("tolerant", [True, False], ids=["any order", "ewma"])
def test_bars_in_another_order_are_caught(plan: MakePlan, order: Callable[[int], Any], tolerant: bool) -> None:
    chosen = plan(competitions=["1h"], forecasters=[MeanSquare if tolerant else "ewma"])
    assert report(chosen).leaks == []
    if tolerant:
        expect_leaks(report(chosen, knowledge=in_order(order)))
    else:  # ewma itself refuses such bars, which no check may take for a pass
        assert not passes(chosen, knowledge=in_order(order))


def passes(chosen: BacktestPlan, **options: Any) -> bool:
    try:
        return report(chosen, **options).ok
    except Exception:  # noqa: BLE001 - whatever a forecaster raises
        return False


# ---------------------------------------------------------------------------------------- leaky forecasters


@dataclass(frozen=True)
class Remembering(MeanSquare):
    """Starts where the last replay of its asset ended, as a module-level cache keyed by asset does."""

    kept: ClassVar[dict[Asset, tuple[float, ...]]] = {}

    def initial_state(self) -> tuple[float, ...]:
        return self.kept.get(self.asset, ())[-50:]

    def update(self, state: tuple[float, ...], bars: Bars) -> tuple[float, ...]:
        self.kept[self.asset] = (*state, *bars.close.tolist())
        return self.kept[self.asset]


def test_a_global_cache_keyed_by_asset_is_caught(plan: MakePlan) -> None:
    Remembering.kept.clear()
    assert report(plan(forecasters=[Remembering])).leaks


@dataclass(frozen=True)
class Underneath(MeanSquare):
    """Reads the array beneath the slice it was given."""

    def update(self, state: tuple[float, ...], bars: Bars) -> tuple[float, ...]:
        whole = bars.close if bars.close.base is None else bars.close.base
        return (*state, *bars.close.tolist(), float(whole[-1]))


def test_reading_the_array_beneath_a_slice_is_caught(plan: MakePlan) -> None:
    assert report(plan(competitions=["1h"], forecasters=[Underneath])).leaks


@dataclass(frozen=True)
class Ahead(MeanSquare):
    """Was given a table of all prices when it was made."""

    prices: Mapping[int, float]

    def simulate(self, state: tuple[float, ...], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        drift = np.log(self.prices[prompt.start_time] / self.prices[prompt.request_time // MINUTE * MINUTE - MINUTE])
        out = paths(1e-4, prompt, stream)
        out[1:] += np.float32(drift)
        return out


@dataclass
class InPlace:
    """Breaks the protocol: `update` changes the state it was given."""

    def initial_state(self) -> npt.NDArray[np.float64]:
        return np.zeros(2)

    def update(self, state: npt.NDArray[np.float64], bars: Bars) -> npt.NDArray[np.float64]:
        for close in bars.close.tolist():
            if state[1]:
                state[0] = 0.97 * state[0] + 0.03 * np.log(close / state[1]) ** 2
            state[1] = close
        return state

    def simulate(self, state: npt.NDArray[np.float64], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        return paths(float(np.sqrt(state[0])), prompt, stream)

    def dump_state(self, state: npt.NDArray[np.float64]) -> dict[str, Any]:
        return {"version": 1, "state": state.tolist()}

    def load_state(self, data: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        return np.array(data["state"])


@dataclass
class InItself(InPlace):
    """Breaks the protocol: keeps its volatility in itself instead of in the state."""

    def __post_init__(self) -> None:
        self.core = np.zeros(2)

    def update(self, state: npt.NDArray[np.float64], bars: Bars) -> npt.NDArray[np.float64]:
        self.core = InPlace.update(self, self.core, bars)
        return state

    def simulate(self, state: npt.NDArray[np.float64], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        return InPlace.simulate(self, self.core, prompt, stream)


@pytest.mark.parametrize("kind", [InPlace, InItself])
def test_a_state_that_is_changed_in_place_is_caught_because_the_replay_walks_ahead(
    plan: MakePlan, kind: type[InPlace]
) -> None:
    """In a replay, states of a block of prompts wait for their simulations: all would be the newest one."""
    chosen = plan(competitions=["1h"], forecasters=[lambda asset: kind()])

    def scores(groups: dict[Any, Any]) -> dict[Prompt, Any]:
        return {row.prompt: row.score for row in replace(chosen, groups=groups).run(threads=1)}

    whole, half = scores(chosen.groups), scores({key: items[:10] for key, items in chosen.groups.items()})
    leaks_in_replay = any(whole[prompt] != score for prompt, score in half.items())
    assert not leaks_in_replay or not passes(chosen)


@dataclass(frozen=True)
class Failing(MeanSquare):
    """Cannot simulate at all."""

    def simulate(self, state: tuple[float, ...], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        raise RuntimeError("a bug of the user's")


def test_a_forecaster_that_always_fails_does_not_pass(plan: MakePlan) -> None:
    assert not passes(plan(competitions=["1h"], forecasters=[Failing]))


def test_a_forecaster_that_fails_only_without_its_future_is_caught(plan: MakePlan) -> None:
    chosen = plan(competitions=["1h"], forecasters=["ewma"])
    end = chosen.data.model["BTC"].timestamp[-1]

    def needing_the_future(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        for honest in moments(model, bars, prompts):
            if bars.timestamp[-1] < end:
                raise IndexError("the next bar is not there")
            yield honest

    found = report(chosen, knowledge=needing_the_future)
    assert {leak.mutation for leak in found.leaks} == {"removed"}


def test_a_forecaster_that_draws_from_global_randomness_does_not_pass(plan: MakePlan) -> None:
    rng = np.random.default_rng(0)

    @dataclass(frozen=True)
    class Unseeded(MeanSquare):
        def simulate(self, state: tuple[float, ...], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
            return paths(1e-3, prompt, RandomStream((int(rng.integers(2**60)), 0)))

    found = report(plan(competitions=["1h"], forecasters=[Unseeded]))
    assert (found.leaks, list(found.unsteady.values()), found.ok) == ([], [found.forecasts], False)


def test_the_planted_table_of_prices_helps_scores_and_so_needs_more_than_mutated_bars(plan: MakePlan) -> None:
    """A limit worth knowing: what a forecaster brought along is outside the bars that the check can change."""
    chosen = plan(0.25, competitions=["1h"], forecasters=["ewma"])
    bars = chosen.data.realised["BTC"]
    before = chosen.data.model["BTC"]
    prices = dict(
        zip(
            [*before.timestamp.tolist(), *bars.timestamp.tolist()], [*before.close.tolist(), *bars.close.tolist()],
            strict=True,
        )
    )  # fmt: skip
    ahead = plan(0.25, competitions=["1h"], forecasters=[lambda asset: Ahead(asset, prices)])
    assert report(ahead).leaks == []


# --------------------------------------------------------------------------------------------------- warm-up


def worst(rows: list[WarmupRow]) -> float:
    return max(max(abs(row.half), abs(row.three_quarters)) for row in rows)


def test_the_default_warm_up_is_long_enough(plan: MakePlan) -> None:
    rules = RuleChoice.parse("2026-01-28")
    rows = check_warmup(plan(0.1, assets=["BTC", "ETH", "XAU", "SPYX"], rules=rules, forecasters=["ewma"]))
    assert len(rows) == 7
    assert worst(rows) < 0.02
    assert {row.verdict for row in rows} == {"sufficient"}
    assert all(row.differing == 0 and row.states > 1 for row in rows)


def test_what_needs_no_warm_up_does_not_depend_on_it(plan: MakePlan) -> None:
    rows = check_warmup(plan(0.1, forecasters=["random-walk"]))
    assert [(row.half, row.three_quarters) for row in rows] == [(0.0, 0.0), (0.0, 0.0)]


@dataclass(frozen=True)
class Brief(MeanSquare):
    """Asks for two days."""

    warmup: ClassVar[int] = 2 * DAY


@dataclass(frozen=True)
class Numpys(MeanSquare):
    """Its state is no plain number."""

    def dump_state(self, state: tuple[float, ...]) -> dict[str, Any]:
        return {"version": 1, "closes": np.float64(state[0])}


def test_a_state_that_cannot_be_kept_is_refused_with_whose_it_is(plan: MakePlan) -> None:
    with pytest.raises(ForecasterError, match=r"Numpys\.dump_state returned what JSON cannot hold: .*numpy\.float64"):
        check_warmup(plan(0.1, forecasters=[Numpys]))


def test_the_length_of_the_warm_up_is_that_of_the_forecaster_in_days(plan: MakePlan) -> None:
    assert {row.days for row in check_warmup(plan(0.1, forecasters=["ewma"]))} == {5.0}
    assert {row.days for row in check_warmup(plan(0.1, forecasters=[Brief]))} == {2.0}
    assert {row.days for row in check_warmup(plan(0.1, {"replay.warmup": "3d"}, forecasters=[Brief]))} == {3.0}


@dataclass(frozen=True)
class Unforgetting(MeanSquare):
    """Variance that starts far too large and forgets slowly: at `keep` = 1 - 1e-4 with a half-life of five days."""

    keep: float = 1 - 1e-4

    def update(self, state: tuple[float, ...], bars: Bars) -> tuple[float, ...]:
        variance, last = state or (1e-4, float(bars.close[0]))
        for close in bars.close.tolist():
            variance = self.keep * variance + (1 - self.keep) * np.log(close / last) ** 2
            last = close
        return (float(variance), last)

    def simulate(self, state: tuple[float, ...], prompt: Prompt, stream: RandomStream) -> npt.NDArray[np.float32]:
        return paths(float(np.sqrt(state[0])), prompt, stream)


@pytest.mark.parametrize(("keep", "enough"), [(1 - 1e-4, False), (1 - 2e-4, False), (0.99, True)])
def test_an_initial_value_that_outlives_the_warm_up_is_detected(plan: MakePlan, keep: float, enough: bool) -> None:
    chosen = plan(0.1, forecasters=[lambda asset: Unforgetting(asset, keep)])
    rows = check_warmup(chosen)
    assert (worst(rows) < 0.02) == enough
    assert {row.verdict for row in rows} == {"sufficient" if enough else "too short"}
    assert {row.verdict for row in check_warmup(chosen, tolerance=1e3)} == {"sufficient"}


def test_an_average_over_all_it_ever_saw_is_detected(plan: MakePlan) -> None:
    assert worst(check_warmup(plan(0.1, forecasters=[MeanSquare]))) > 0.02


@dataclass(frozen=True)
class FirstHour(MeanSquare):
    """Infinite memory: the volatility of the first hour it ever saw, for good."""

    def update(self, state: tuple[float, ...], bars: Bars) -> tuple[float, ...]:
        return (*state, *bars.close.tolist())[:60]


def test_a_value_that_is_never_forgotten_is_detected(plan: MakePlan) -> None:
    assert worst(check_warmup(plan(0.1, forecasters=[FirstHour]))) > 0.02


SHORT = {"replay.warmup": "1d", "ewma.half_life_1m": "4d", "ewma.half_life_5m": "4d"}


def test_a_warm_up_that_is_too_short_for_the_half_life_is_detected(plan: MakePlan) -> None:
    (row,) = check_warmup(plan(0.1, SHORT, competitions=["1h"], forecasters=["ewma"]))
    assert worst([row]) > 0.02
    assert row.verdict == "too short"


def test_the_predecessors_start_value_is_detected_at_a_long_half_life(plan: MakePlan) -> None:
    """h0 is far too large: with a long half-life it is still there after the warm-up."""
    flags = {"ewma.start": "constant", "ewma.half_life_1m": "24h", "ewma.initial_variance": 1e-4}
    assert worst(check_warmup(plan(0.1, flags, competitions=["1h"], forecasters=["ewma"]))) > 0.02


def test_a_difference_is_the_states_and_not_the_draws(plan: MakePlan) -> None:
    """The same seed serves all three warm-ups, so the result hardly depends on which seed it is."""
    one, other = (
        check_warmup(plan(0.1, {**SHORT, "run.seed": seed}, competitions=["1h"], forecasters=["ewma"]))[0]
        for seed in (1, 2)
    )
    assert one.half == pytest.approx(other.half, abs=0.02)
    assert abs(one.half) > 1e-4


# ---------------------------------------------------------------------------------------- one rule from bars to state


def from_the_first_prompt(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
    """Another rule: the warm-up precedes the first prompt, and no midnight begins it anew."""
    state, seen = model.forecaster.initial_state(), 0
    for honest in moments(model, bars, prompts):
        known = bars.count_known_at(honest.prompt.request_time)
        state, seen = model.forecaster.update(state, bars.rows(seen, known)), known
        yield replace(honest, state=state)


@pytest.mark.parametrize("name", ["ewma", MeanSquare])
def test_states_that_depend_on_where_the_replay_began_are_detected(plan: MakePlan, name: Any) -> None:
    """The first request is of the day before: its state is right, and those after midnight are not."""
    chosen = plan(0.5, {"ewma.half_life_1m": "2h"}, competitions=["1h"], forecasters=[name])
    (honest,) = check_warmup(chosen, tolerance=10.0)
    assert (honest.verdict, honest.differing, honest.states) == ("sufficient", 0, 8)
    (planted,) = check_warmup(chosen, tolerance=10.0, knowledge=from_the_first_prompt)
    assert (planted.verdict, planted.differing, planted.states) == ("rule differs", 7, 8)
    assert (planted.half, planted.three_quarters) == (honest.half, honest.three_quarters)


def test_a_rule_that_differs_is_told_before_a_warm_up_that_is_too_short(plan: MakePlan) -> None:
    (row,) = check_warmup(plan(0.5, SHORT, competitions=["1h"], forecasters=["ewma"]), knowledge=from_the_first_prompt)
    assert worst([row]) > 0.02
    assert row.verdict == "rule differs"


def command(folder: Path, *more: str, **flags: Any) -> list[str]:
    given = {"data.cache_dir": folder, **flags}
    assigned = [f"--set={key}={value}" for key, value in given.items()]
    where = ["--start", "2026-01-08", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h"]
    return ["check", "warmup", *where, *assigned, *more]


def test_the_command_says_whether_the_warm_up_suffices(ewmalab: Any, folder: Path) -> None:
    good = ewmalab(*command(folder, "-f", "ewma"))
    assert good.code == 0, good.err
    assert "sufficient" in good.out
    assert "8 states remade from their bars: 0 differ" in good.out
    short = ewmalab(*command(folder, "-f", "ewma", **SHORT))
    assert short.code == 1
    assert "too short" in short.out
    assert "the warm-up is too short: volatility changes by up to" in short.err
    assert "raise replay.warmup" in short.err
    tolerant = ewmalab(*command(folder, "-f", "ewma", "--tolerance", "90", "--json", **SHORT))
    assert tolerant.code == 0
    (row,) = orjson.loads(tolerant.out)["rows"]
    assert (row["verdict"], row["states"], row["differing"], row["days"]) == ("sufficient", 8, 0, 1.0)


def test_the_command_says_that_the_rule_differs(ewmalab: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = partial(check_warmup, knowledge=from_the_first_prompt)
    monkeypatch.setattr(checks, "check_warmup", planted)
    found = ewmalab(*command(folder, "-f", "ewma"))
    assert found.code == 1
    assert "rule differs" in found.out
    assert "states of the replay differ from those of the bars since their origin" in found.err
    assert "too short" not in found.err
    (row,) = orjson.loads(ewmalab(*command(folder, "-f", "ewma", "--json")).out)["rows"]
    assert row["verdict"] == "rule differs"
    assert row["differing"] > 0

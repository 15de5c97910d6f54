"""The check of a forecaster's contract passes a good plug-in, and names the method of every broken one."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from mean_move import Fitted, MeanMove, State

from ewmalab import testing
from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.protocol import LogReturns, Numbers, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.contract import ContractReport, check_contract
from ewmalab.rulebook import Asset
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS

SETTINGS = load_settings(file=DEFAULTS, environ={})


class Good(MeanMove):
    """Any silence is fine, and no bars change nothing."""

    def update(self, state: State, bars: Bars) -> State:
        return super().update(state, bars) if len(bars) else state


class GoodFit(Good, Fitted):
    """With a fit."""

    def with_fit(self, numbers: Numbers) -> GoodFit:
        try:
            return replace(self, factor=float(numbers["factor"]))
        except KeyError as error:
            raise ForecasterError("not a fit of this forecaster") from error


def checked(forecaster: Callable[..., Any]) -> ContractReport:
    """The report on a class that is wrapped, so that no fresh process can import it."""
    return check_contract(lambda asset: forecaster(asset), "BTC", SETTINGS)


@pytest.mark.parametrize(("forecaster", "rules"), [(Good, 10), (GoodFit, 11)])
def test_a_good_plug_in_keeps_every_rule(forecaster: Callable[..., Any], rules: int) -> None:
    report = checked(forecaster)
    assert [breach.line for breach in report.breaches] == []
    assert (len(report.kept), report.broken, report.untried) == (rules, [], [])
    assert report.speeds.keys() == {"simulate 300/86400", "simulate 60/3600", "update with a day"}
    assert report.notes == ["defined in this process: fresh processes were not tried; put it into a module"]


class Doubles(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> Any:
        return super().simulate(state, prompt, stream).astype(float)


class Transposed(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return super().simulate(state, prompt, stream).T


class HourOnly(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return super().simulate(state, replace(prompt, time_length=3600, time_increment=60), stream)


class NoAnchor(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return super().simulate(state, prompt, stream) + np.float32(1e-3)


class Prices(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        paths = super().simulate(state, prompt, stream)
        paths[1:] = 40
        return paths


class DividesByVolatility(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        with np.errstate(all="ignore"):
            paths = super().simulate(state, prompt, stream)
            return paths / np.float32(state[1]) * np.float32(state[1])


class OwnRandomness(Good):
    numbers = itertools.count()

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return super().simulate(state, prompt, RandomStream((next(self.numbers), 0)))


class OneStream(Good):
    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        return super().simulate(state, prompt, RandomStream((1, 2)))


class Keeps(Good):
    known: dict[tuple[Prompt, RandomStream], LogReturns] = {}  # noqa: RUF012

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        if (prompt, stream) not in self.known:
            self.known[prompt, stream] = super().simulate(state, prompt, stream)
        return self.known[prompt, stream]


class Sums(Good):
    def update(self, state: State, bars: Bars) -> State:
        if not len(bars):
            return state
        closes = np.concatenate([[state[2]] if state[2] else [], bars.close])
        moves = np.abs(np.diff(np.log(closes)))
        return state[0] + len(moves), state[1] + float(np.sum(moves**2)), float(closes[-1])


class ForgetsTheLast(Good):
    def update(self, state: State, bars: Bars) -> State:
        return super().update((state[0], state[1], 0.0), bars) if len(bars) else state


class FailsOnNothing(MeanMove):
    def update(self, state: State, bars: Bars) -> State:
        float(bars.close[0])
        return super().update(state, bars)


class InPlace(Good):
    def initial_state(self) -> Any:
        return [0, 0.0, 0.0]

    def update(self, state: Any, bars: Bars) -> Any:
        if len(bars):
            state[:] = super().update(tuple(state), bars)
        return state

    def load_state(self, data: Mapping[str, Any]) -> Any:
        return list(super().load_state(data))


class WritesBars(Good):
    def update(self, state: State, bars: Bars) -> State:
        bars.close[:] = 1.0
        return state


class CountsAnswers(Good):
    def initial_state(self) -> Any:
        return [super().initial_state(), 0]

    def update(self, state: Any, bars: Bars) -> Any:
        return [super().update(state[0], bars), state[1]]

    def simulate(self, state: Any, prompt: Prompt, stream: RandomStream) -> LogReturns:
        state[1] += 1
        return super().simulate(state[0], prompt, stream)

    def dump_state(self, state: Any) -> dict[str, Any]:
        return super().dump_state(state[0]) | {"answers": state[1]}

    def load_state(self, data: Mapping[str, Any]) -> Any:
        return [super().load_state(data), data["answers"]]


class NoVersion(Good):
    def dump_state(self, state: State) -> dict[str, Any]:
        return {"count": state[0], "total": state[1].hex(), "last": state[2].hex()}


class NumpyDump(Good):
    def dump_state(self, state: State) -> dict[str, Any]:
        return super().dump_state(state) | {"last": np.float64(state[2])}


class Rounds(Good):
    def dump_state(self, state: State) -> dict[str, Any]:
        return super().dump_state(state) | {"total": round(state[1], 6).hex()}


class AnyVersion(Good):
    def load_state(self, data: Mapping[str, Any]) -> State:
        return super().load_state({**data, "version": 1})


class SharedBuffer(Good):
    kept: dict[str, Any] = {}  # noqa: RUF012

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        self.kept["paths"] = super().simulate(state, prompt, stream)
        time.sleep(1e-4)
        return self.kept["paths"].copy()


class Memory(Good):
    seen: dict[int, float] = {}  # noqa: RUF012

    def update(self, state: State, bars: Bars) -> State:
        self.seen.update(zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True))
        return super().update(state, bars)

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        paths = super().simulate(state, prompt, stream)
        if ahead := self.seen.get(prompt.start_time // 60 * 60):
            paths[1:] += np.float32(np.log(ahead / state[2]))
        return paths


class Infinite(GoodFit):
    def fit(self, bars: Any, assets: Any, *, end: int, prior: Any = None) -> Numbers:
        return {**super().fit(bars, assets, end=end), "spread": float("nan")}


class OwnAssetFit(GoodFit):
    def fit(self, bars: Any, assets: Any, *, end: int, prior: Any = None) -> Numbers:
        return super().fit({self.asset.symbol: bars[self.asset.symbol]}, assets, end=end)


class FitFails(GoodFit):
    def fit(self, bars: Any, assets: Any, *, end: int, prior: Any = None) -> Numbers:
        try:
            return super().fit(bars, assets, end=end)
        except MissingDataError as error:
            raise ValueError("too few") from error


class OnlyFit(Good):
    def fit(self, bars: Any, assets: Any, *, end: int, prior: Any = None) -> Numbers:
        return {}


class Unmakeable(Good):
    def __init__(self, asset: Asset) -> None:
        raise RuntimeError("no table of this asset")


BROKEN: list[tuple[type, str]] = [
    (Doubles, "simulate: it returned float64 (289, 1000) for increments of 300 s over 86400 s; return float32"),
    (Transposed, "simulate: it returned float32 (1000, 289) for increments of 300 s"),
    (HourOnly, "simulate: it returned float32 (61, 1000) for increments of 300 s over 86400 s"),
    (NoAnchor, "simulate: row 0 is not zero; the paths start at the anchor"),
    (Prices, "simulate: log-returns leave +-30; return cumulative log-returns"),
    (DividesByVolatility, "simulate: some paths are not finite after a market that does not move"),
    (OwnRandomness, "simulate: the same state, prompt and stream gave other paths; draw random numbers from `stream"),
    (OneStream, "simulate: another stream gave the same paths"),
    (Keeps, "simulate: it returned an array that it keeps; return a new array"),
    (Sums, "update: bars in "),
    (ForgetsTheLast, "update: bars in 2 calls gave another state than in one; add up bar by bar"),
    (FailsOnNothing, "update: failed for BTC: IndexError: "),
    (InPlace, "update: it modified the state that it was given; return a new state"),
    (WritesBars, "update: failed for BTC at 2026-01-14T23:59:00Z: ValueError: assignment destination is read-only ("),
    (CountsAnswers, "simulate: it modified the state that it was given"),
    (NoVersion, 'dump_state: it has no integer `version`; return a dict with "version": 1'),
    (NumpyDump, "dump_state: returned what JSON cannot hold: Type is not JSON serializable: numpy.float64"),
    (Rounds, "load_state: the state that came back through JSON is another"),
    (AnyVersion, "load_state: it accepted a state of version 99; raise ForecasterError"),
    (SharedBuffer, "simulate: 4 threads got other paths than one; share no buffers"),
    (Memory, "simulate: "),
    (Fitted, "with_fit: foreign numbers raised KeyError; raise ForecasterError"),
    (Infinite, "fit: some numbers are not finite"),
    (OwnAssetFit, "fit: the forecaster of another asset gave other numbers; do not use the asset of `self`"),
    (FitFails, "fit: three bars raised ValueError; raise MissingDataError"),
    (OnlyFit, "fit: it has only one of `fit` and `with_fit`; write both, or neither"),
    (Unmakeable, "__init__: "),
]


@pytest.mark.parametrize(("forecaster", "words"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_plug_in_is_caught_by_the_line_that_names_it(forecaster: type, words: str) -> None:
    report = checked(forecaster)
    lines = [breach.line for breach in report.breaches]
    assert any(line.startswith(words) for line in lines), lines
    assert all("\n" not in line for line in lines)
    assert report.broken or report.untried
    method = words.partition(":")[0]
    assert {line.partition(":")[0] for line in lines} <= {method, "simulate", "update", "load_state"}


def test_a_leak_is_a_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "seen", {})
    (line,) = [breach.line for breach in checked(Memory).breaches if "forecasts changed" in breach.line]
    assert line.startswith("simulate: ")
    assert line.endswith("keep nothing between calls but the state")


def test_where_bars_or_paths_fail_the_other_rules_are_not_tried() -> None:
    report = checked(Doubles)
    assert len(report.broken) == 1
    assert len(report.untried) == 8
    assert report.speeds == {}


# ------------------------------------------------------------------------------------------------- as users call it


MODULE = '''
from mean_move import MeanMove
from test_contract import Good
import numpy as np

class Mine(Good):
    pass

class Hashing(Good):
    """Another interpreter orders texts otherwise."""

    def simulate(self, state, prompt, stream):
        return super().simulate(state, prompt, stream) * np.float32(1 + hash("BTC") % 1000 / 1000)

class Broken(Good):
    def dump_state(self, state):
        return {}
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "contract_plugins.py").write_text(MODULE)
    return "contract_plugins"


@pytest.mark.ci
def test_in_a_test_of_a_plug_in_breaches_are_an_assertion_error(module: str) -> None:
    with pytest.raises(AssertionError, match=r"dump_state: it has no integer `version`; return a dict"):
        testing.check_forecaster(f"{module}:Broken", {"factor": 2.0})


def test_parameters_that_a_plug_in_lacks_are_a_breach() -> None:
    with pytest.raises(AssertionError, match=r"__init__: .*Good does not take these parameters: .*colour"):
        testing.check_forecaster(Good, {"colour": "red"})


@pytest.mark.ci
def test_a_good_plug_in_passes_in_fresh_processes(module: str) -> None:
    report = testing.check_forecaster(f"{module}:Mine", {"factor": 2.0})
    assert (report.breaches, report.notes) == ([], [])
    assert "a fresh process gives the same bits" in report.kept


@pytest.mark.ci
def test_what_depends_on_the_process_is_caught(module: str) -> None:
    with pytest.raises(AssertionError) as caught:
        testing.check_forecaster(f"{module}:Hashing")
    assert "simulate: a fresh process gave other paths; depend on nothing but state, prompt and stream" in str(
        caught.value
    )
    assert "simulate: it is not deterministic" in str(caught.value)


@pytest.mark.ci
@pytest.mark.parametrize(
    "name",
    ["ewma", "seasonal-har", *(pytest.param(n, marks=pytest.mark.slow) for n in ("ewma@seed", "random-walk", "blend"))],
)
def test_the_built_in_forecasters_keep_the_contract(name: str) -> None:
    for asset in ("BTC",) if name == "blend" else ("BTC", "SPYX"):
        assert check_contract(name, asset, SETTINGS).breaches == []


@pytest.mark.ci
def test_the_command_prints_a_line_for_each_breach(ewmalab: Callable[..., Any], module: str) -> None:
    bad = ewmalab("check", "forecaster", f"{module}:Broken")
    assert bad.code == 1
    assert 'dump_state: it has no integer `version`; return a dict with "version": 1' in bad.out.splitlines()
    plain = orjson.loads(ewmalab("check", "forecaster", f"{module}:Broken", "--json").out)
    assert plain["breaches"][0]["method"] == "dump_state"
    good = ewmalab("check", "forecaster", f"{module}:Mine", "--asset", "ETH")
    assert good.code == 0, good.err
    assert f"{module}:Mine keeps the 11 rules that were tried for ETH:" in good.out
    assert "simulate 60/3600: " in good.out

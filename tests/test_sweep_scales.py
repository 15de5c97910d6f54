"""A parameter that multiplies the paths: one simulation serves all its values, and their scores are those of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import har
import numpy as np
import numpy.typing as npt
import pytest

from ewmalab.errors import PredictionError
from ewmalab.forecast.load import BUILT_IN, factory_of
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.protocol import Forecaster, LogReturns, Prompt, Scaled
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import Asset, RuleChoice, load_rulebook
from ewmalab.scoring.crps import score_log_returns
from ewmalab.scoring.scaled import score_scaled
from ewmalab.settings import load_settings
from ewmalab.sweeps.parameters import resolve
from ewmalab.sweeps.run import run_sweep
from ewmalab.sweeps.scores import score_trials
from ewmalab.sweeps.trials import ResolvedTrial, Trial
from ewmalab.sweeps.workload import Workload
from ewmalab.times import DAY, MINUTE, parse_time

START = parse_time("2026-01-15")
NOW = parse_time("2026-03-01")
BOOK = load_rulebook()
RULES = {
    name: BOOK.at(parse_time(date)).competitions[competition]
    for name, (date, competition) in {
        "24h": ("2026-01-28", "24h"),
        "1h": ("2026-01-28", "1h"),
        "1h, first gap": ("2026-05-01", "1h"),
        "1h, volatility": ("2026-10-05", "crypto-1h"),
    }.items()
}
SCALES = [0.25, 0.5, 0.85, 1.0, 1.1, 4.0, 100.0]  # the last is far beyond a short series of the exponential
HAR = ["0.6", "1.0", "1.3"]

Floats = npt.NDArray[np.float64]


class Counted:
    """Student-t steps times `width`; counts the simulations of each prompt."""

    path_scale: ClassVar[str] = "width"
    simulations: ClassVar[Counter[tuple[Prompt, float]]] = Counter()

    def __init__(self, asset: Asset, width: float = 1.0, step: float = 1e-3) -> None:
        self.asset, self.width, self.step = asset, width, step

    def initial_state(self) -> int:
        return 0

    def update(self, state: int, bars: Bars) -> int:
        return state + len(bars)

    def simulate(self, state: int, prompt: Prompt, stream: RandomStream) -> LogReturns:
        self.simulations[prompt, self.width] += 1
        moves = stream.generator().standard_t(4, (prompt.steps, prompt.num_simulations)) * self.step * self.width
        paths = np.concatenate([np.zeros((1, prompt.num_simulations)), np.cumsum(moves, axis=0)])
        return np.clip(paths, -LOG_RETURN_LIMIT, LOG_RETURN_LIMIT).astype(np.float32)

    def dump_state(self, state: int) -> dict[str, Any]:
        return {"version": 1, "count": state}

    def load_state(self, data: Any) -> int:
        return int(data["count"])


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("cache")
    return {
        "data.cache_dir": str(folder), "data.feed": "simulated", "feeds.simulated.gaps": 0.1,
        "fit.artifacts": [str(har.written())],
    }  # fmt: skip


def workload(flags: dict[str, Any], name: str = "seasonal-har", **options: Any) -> Workload:
    chosen: dict[str, Any] = {
        "start": START, "days": 0.1, "competitions": ("1h",), "assets": ("BTC",), "num_simulations": 50,
        "partial": True,
    }  # fmt: skip
    return Workload.of(load_settings(environ={}, flags=flags), name, **(chosen | options))


def swept(chosen: Workload, values: list[str], name: str = "volatility_scale") -> Floats:
    parameter = resolve(name, values, chosen.settings, chosen.forecaster)
    return run_sweep(chosen, [parameter], now=NOW, replicates=2).cells[0].scores


# ------------------------------------------------------------------------------------------------------- scoring


def example(competition: Any, n: int, seed: int) -> tuple[LogReturns, float, Floats]:
    """Paths with a drift, an anchor and realised prices with holes."""
    rng = np.random.default_rng(seed)
    moves = rng.standard_t(4, (competition.steps, n)) * 1e-3 + 2e-5
    paths = np.concatenate([np.zeros((1, n)), np.cumsum(moves, axis=0)]).astype(np.float32)
    realised = 100 * np.exp(np.cumsum(rng.standard_t(4, competition.steps + 1) * 1e-3))
    realised[rng.random(len(realised)) < 0.05 * (seed % 2)] = np.nan
    return paths, 100.5, realised


@pytest.mark.parametrize("n", [1, 3, 255, 1000])
@pytest.mark.parametrize("name", RULES)
def test_scores_are_those_of_the_scaled_paths_within_a_millionth(name: str, n: int) -> None:
    competition = RULES[name]
    given = competition.scoring, competition.time_increment
    for seed in range(4):
        paths, anchor, realised = example(competition, n, seed)
        scales = [scale for scale in SCALES if np.abs(paths).max() * scale < LOG_RETURN_LIMIT]
        assert len(scales) >= len(SCALES) - 1
        each = [score_log_returns(np.float32(s) * paths, anchor, realised, *given).total for s in scales]
        np.testing.assert_allclose(score_scaled(paths, scales, anchor, realised, *given), each, rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
def test_a_score_does_not_depend_on_the_other_scales(name: str) -> None:
    competition = RULES[name]
    paths, anchor, realised = example(competition, 300, 1)
    given = anchor, realised, competition.scoring, competition.time_increment
    together = score_scaled(paths, SCALES, *given)
    backwards = score_scaled(paths, SCALES[::-1], *given)[::-1]
    alone = np.concatenate([score_scaled(paths, [scale], *given) for scale in SCALES])
    assert together.tobytes() == backwards.tobytes() == alone.tobytes()


def test_paths_of_another_length_than_the_realised_ones_are_refused() -> None:
    paths, anchor, realised = example(RULES["1h"], 10, 0)
    with pytest.raises(PredictionError, match="paths have 60 points, realised prices 61"):
        score_scaled(paths[:-1], [1.0], anchor, realised, RULES["1h"].scoring, MINUTE)


# -------------------------------------------------------------------------------------------------------- sweeps


@pytest.mark.parametrize("name", [name for name in BUILT_IN if hasattr(factory_of(name)[0], "path_scale")])
def test_a_declared_scale_multiplies_the_paths_and_leaves_the_state(name: str, flags: dict[str, Any]) -> None:
    section = name.replace("-", "_")
    asset, prompt = BOOK.asset("BTC"), Prompt(START, "any", "BTC", START - MINUTE, 300, DAY, 200)
    plain = load_model(name, asset, load_settings(environ={}, flags=flags), 0).forecaster
    assert isinstance(plain, Scaled)
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.standard_normal(5000) * 1e-3))
    bars = Bars(START - MINUTE * np.arange(5000, 0, -1), close, close, close, close)

    def under(value: float) -> tuple[Any, LogReturns]:
        changed = load_settings(environ={}, flags={**flags, f"{section}.{plain.path_scale}": value})
        forecaster: Forecaster[Any] = load_model(name, asset, changed, 0).forecaster
        state = forecaster.update(forecaster.initial_state(), bars)
        return forecaster.dump_state(state), forecaster.simulate(state, prompt, prompt.stream(1))

    state, paths = under(1.0)
    for value in (0.3, 2.5):
        other, scaled = under(value)
        assert other == state
        reach = np.maximum.accumulate(np.abs(scaled), axis=0)
        assert (np.abs(scaled - np.float32(value) * paths) <= 5e-7 * np.sqrt(prompt.steps) * reach).all()


@pytest.mark.parametrize(
    "options",
    [
        {"competitions": ("24h",), "days": 0.3},
        {"rules": RuleChoice.parse("2026-01-28")},
        {"rules": RuleChoice.parse("2026-10-05"), "cadence": 720},
        {"competitions": ("24h",), "days": 0.3, "assets": ("SPYX",), "rules": RuleChoice.parse("2026-01-28")},
    ],
    ids=["24h", "1h", "volatility", "equity"],
)
def test_a_sweep_over_the_scale_has_the_scores_of_exact_trials_within_a_millionth(
    options: dict[str, Any], flags: dict[str, Any]
) -> None:
    direct = swept(workload(flags, exact=True, **options), HAR)
    found = swept(workload(flags, **options), HAR)
    assert np.isfinite(found).any()
    np.testing.assert_allclose(found, direct, rtol=1e-6)
    assert found.tobytes() != direct.tobytes()  # it was another way to compute them


def test_a_trials_scores_do_not_depend_on_the_values_beside_it(flags: dict[str, Any]) -> None:
    chosen = workload(flags)
    group = next(iter(chosen.keep(chosen.plan(chosen.settings, chosen.assets, NOW))))
    trials = [
        ResolvedTrial.of(chosen, Trial(*group, (("seasonal_har.volatility_scale", value),), replicate), NOW)
        for value in (0.7, 1.0, 2.0)
        for replicate in (0, 1)
    ]
    together = score_trials(trials)
    assert [scores.tobytes() for scores in together] == [score_trials([t])[0].tobytes() for t in trials]
    assert len({trial.source.name for trial in trials}) == 2  # one for each replicate
    configured = ResolvedTrial.of(chosen, Trial(*group, ()), NOW)
    assert configured.name == trials[2].name


def test_every_prompt_is_simulated_once_for_all_values(flags: dict[str, Any]) -> None:
    chosen = workload(flags | {"plugin.width": 1.0}, f"{__name__}:Counted")
    Counted.simulations.clear()
    scores = swept(chosen, ["0.5", "1", "2", "3"], "width")
    assert scores.shape[:2] == (2, 4)
    assert set(Counted.simulations.values()) == {2}  # replicates
    assert {width for _, width in Counted.simulations} == {1}
    assert len(Counted.simulations) == np.isfinite(scores[0, 0]).sum()


def test_paths_that_reach_the_limit_are_simulated_for_each_value(flags: dict[str, Any]) -> None:
    """Cut paths do not scale: under 0.5 a path goes on where that under 1 stops."""
    wild = flags | {"plugin.width": 1.0, "plugin.step": 3.0}
    values = ["0.001", "0.5", "1"]
    direct = swept(workload(wild, f"{__name__}:Counted", exact=True), values, "width")
    found = swept(workload(wild, f"{__name__}:Counted"), values, "width")
    assert found.tobytes() == direct.tobytes()


@pytest.mark.parametrize("value", [-1.0, 0.0, "wide"])
def test_values_that_do_not_keep_the_order_are_simulated_each(value: Any, flags: dict[str, Any]) -> None:
    chosen = workload(flags | {"plugin.width": value}, f"{__name__}:Counted")
    group = next(iter(chosen.keep(chosen.plan(chosen.settings, chosen.assets, NOW))))
    assert ResolvedTrial.of(chosen, Trial(*group, ()), NOW).scale is None

"""Trials of a sweep: paths that scale, scores that are a backtest's, names that stand for all that determines them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from examples import some
from twins import random_bars

from ewmalab.errors import ForecasterError
from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.ewma.kernels import COUNT, VARIANCE
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt, ScaleFree
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.knowledge import known_counts
from ewmalab.replay.plan import plan_backtest
from ewmalab.rulebook import Asset, RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.sweeps.parameters import resolve
from ewmalab.sweeps.run import run_sweep
from ewmalab.sweeps.scores import score_trials
from ewmalab.sweeps.trials import ResolvedTrial, Trial, TrialStore, seed_of
from ewmalab.sweeps.workload import Cell, Workload
from ewmalab.times import DAY, MINUTE, parse_time

START = parse_time("2026-01-15")
NOW = parse_time("2026-03-01")
BOOK = load_rulebook()
FIRST = START - 2000 * MINUTE
BARS = random_bars(2000, start=FIRST, missing=0.1, close_only=0.2)
CLOSES_ONLY = random_bars(2000, start=FIRST, missing=0.05, close_only=1.0, seed=5)

# Name of the forecaster, settings, asset.
SCALING: list[tuple[str, dict[str, Any], str]] = [
    ("ewma", {}, "BTC"),
    ("ewma@seed", {}, "BTC"),
    ("ewma@seed", {}, "SPYX"),
    ("ewma", {"ewma.feedback": 0.0, "ewma.half_life_1m": "5m", "ewma.half_life_5m": "5m"}, "BTC"),
    ("ewma", {"ewma.feedback": 1.0, "ewma.nu_1m": 2.1, "ewma.nu_5m": 2.1}, "ETH"),
    ("ewma", {"ewma.gap_policy": "revert", "ewma.gap_half_life": "10m", "ewma.close_only": "synthesise"}, "SOL"),
    ("ewma", {"ewma.start": "constant", "ewma.half_life_1m": "2d", "ewma.half_life_5m": "2d"}, "BTC"),
    ("ewma", {"ewma.variance_floor": 1e-5}, "BTC"),  # above the reference's own variance
    ("ewma", {"ewma.off_hours": "none"}, "SPYX"),
    ("ewma", {"ewma.off_hours": "whole_path", "ewma.equity_off_hours_mult": 0.3}, "NVDAX"),
]
scaling = pytest.mark.parametrize(("name", "flags", "asset"), SCALING)
increments = pytest.mark.parametrize("dt", [60, 300])
all_bars = pytest.mark.parametrize("bars", [BARS, CLOSES_ONLY], ids=["ranges", "closes"])


def ewma(name: str = "ewma", flags: Mapping[str, Any] | None = None, asset: str = "BTC") -> Ewma:
    made = load_forecaster(name, BOOK.asset(asset), load_settings(file=DEFAULTS, environ={}, flags=flags or {}))
    assert isinstance(made, Ewma)
    return made


def parameters_of(forecaster: Ewma) -> dict[str, Any]:
    return {field.name: getattr(forecaster, field.name) for field in fields(forecaster)}


def prompts_every(seconds: int, dt: int, lead: int = 60, count: int = 1000) -> list[Prompt]:
    length = 3600 if dt == MINUTE else DAY
    starts = range(FIRST + 600, START, seconds)
    return [Prompt(t, "any", "BTC", t - lead, dt, length, 10) for t in starts][:count]


# ---------------------------------------------------------------------------------------------- paths that scale


@scaling
@increments
@all_bars
def test_paths_are_those_of_the_reference_times_the_relative_volatility(
    name: str, flags: dict[str, Any], asset: str, dt: int, bars: Bars
) -> None:
    forecaster = ewma(name, flags, asset)
    prompt = Prompt(START, "any", asset, START - 60, dt, 3600 if dt == MINUTE else DAY, 200)
    stream = prompt.stream(1)
    state = forecaster.update(forecaster.initial_state(), bars)
    volatility = forecaster.relative_volatilities(bars, np.array([len(bars)]), dt)
    paths = forecaster.simulate(state, prompt, stream)
    reference = forecaster.simulate(forecaster.reference_state(), prompt, stream)
    scaled = volatility[0] * reference.astype(np.float64)
    # float32 rounds each of the steps, relative to where the path is or was
    reach = np.maximum.accumulate(np.abs(scaled), axis=0)
    assert (np.abs(paths - scaled) <= 5e-7 * np.sqrt(prompt.steps) * reach).all()
    assert abs(volatility[0] - 1) > 1e-3 or flags.get("ewma.variance_floor") == 1e-5


@scaling
@increments
@pytest.mark.parametrize(("bars", "lead"), [(BARS, 60), (BARS, 0), (CLOSES_ONLY, 90)], ids=["60s", "0s", "closes-90s"])
def test_relative_volatilities_are_those_of_the_states_bit_for_bit(
    name: str, flags: dict[str, Any], asset: str, dt: int, bars: Bars, lead: int
) -> None:
    """Seven minutes apart, the requests fall on every part of a 5-minute bar."""
    forecaster = ewma(name, flags, asset)
    prompts = prompts_every(7 * MINUTE, dt, lead)
    known = known_counts(bars, prompts)
    part = "minute" if dt == MINUTE else "five_minute"
    state, seen, states = forecaster.initial_state(), 0, []
    for count in known.tolist():
        state, seen = forecaster.update(state, bars.rows(seen, count)), count
        states.append(state)
    floor = forecaster.variance_floor
    reference = max(getattr(forecaster.reference_state(), part)[VARIANCE], floor)
    expected = np.sqrt([max(getattr(state, part)[VARIANCE], floor) / reference for state in states])
    found = forecaster.relative_volatilities(bars, known, dt)
    assert found.tobytes() == expected.tobytes()
    for volatility, state in zip(found.tolist(), states, strict=True):
        if getattr(state, part)[COUNT]:
            assert forecaster.relative_volatility(state, dt) == volatility
        else:  # one close, and no return yet
            with pytest.raises(ForecasterError, match="has seen no bar"):
                forecaster.relative_volatility(state, dt)
    assert len(np.unique(found)) > 100 or flags.get("ewma.variance_floor") == 1e-5


FOUR_DAYS = random_bars(4 * 1440, start=START - 4 * DAY, missing=0.1, close_only=0.2)


def model_of(name: str, flags: Mapping[str, Any], asset: str) -> Model:
    """A model with a warm-up of a day and a long memory: every bar since the origin leaves its trace."""
    given = {"replay.warmup": "1d", "ewma.half_life_1m": "10d", "ewma.half_life_5m": "10d", **flags}
    return Model.of(name, BOOK.asset(asset), load_settings(file=DEFAULTS, environ={}, flags=given))


@scaling
@increments
def test_a_models_volatilities_are_those_of_the_one_rules_states_across_midnights(
    name: str, flags: dict[str, Any], asset: str, dt: int
) -> None:
    model = model_of(name, {k: v for k, v in flags.items() if "half_life_" not in k}, asset)
    starts = range(START - 3 * DAY + 3600, START, 37 * MINUTE)
    prompts = [Prompt(t, "any", asset, t - 60, dt, 3600 if dt == MINUTE else DAY, 10) for t in starts]
    requests = np.array([prompt.request_time for prompt in prompts])
    states = [model.state_of(FOUR_DAYS.known_at(when)) for when in requests.tolist()]
    expected = [model.forecaster.relative_volatility(state, dt) for state in states]  # type: ignore[attr-defined]
    known = known_counts(FOUR_DAYS, prompts)
    assert len({model.origin(int(FOUR_DAYS.timestamp[count - 1])) for count in known}) == 3
    assert model.relative_volatilities(FOUR_DAYS, known, requests, dt).tolist() == expected
    if flags.get("ewma.variance_floor") != 1e-5:  # one state without midnights is another
        whole = model.forecaster.relative_volatilities(FOUR_DAYS, known, dt)  # type: ignore[attr-defined]
        assert (whole[-30:] != expected[-30:]).all()


@pytest.mark.parametrize("policy", ["hold", "revert", "decay"])
@increments
def test_a_models_volatilities_age_in_a_silence_as_those_of_a_backtest(policy: str, dt: int) -> None:
    model = model_of("ewma", {"ewma.gap_policy": policy, "ewma.half_life_1m": "1h", "ewma.half_life_5m": "1h"}, "BTC")
    silence = START - DAY + 8 * 3600
    bars = FOUR_DAYS.between(START - 4 * DAY, silence)
    starts = range(silence - 3600, silence + 20 * 3600, 20 * MINUTE)
    prompts = [Prompt(t, "any", "BTC", t - 60, dt, 3600 if dt == MINUTE else DAY, 10) for t in starts]
    requests = np.array([prompt.request_time for prompt in prompts])
    found = model.relative_volatilities(bars, known_counts(bars, prompts), requests, dt)
    reference = model.forecaster.reference_state()  # type: ignore[attr-defined]
    for prompt, volatility in zip(prompts, found, strict=True):
        known = bars.known_at(prompt.request_time)
        answered = model.paths(model.state_of(known), int(known.timestamp[-1]), prompt, 1)
        scaled = volatility * model.forecaster.simulate(reference, prompt, prompt.stream(1)).astype(np.float64)
        np.testing.assert_allclose(answered[-1], scaled[-1], rtol=1e-4, atol=1e-7)
    assert (len(np.unique(found[-30:])) == 1) == (policy == "hold")


def leaking(forecaster: Any, bars: Bars, known: npt.NDArray[np.int64], dt: int) -> int:
    """Return at how many of several cuts a volatility depends on bars after it."""
    leaks = 0
    for at in range(3, len(known), 17):
        asked = known[: at + 1]
        cut = int(asked[-1])
        columns = bars.columns()
        wild = {k: c.copy() for k, c in columns.items()}
        for key in ("open", "high", "low", "close"):
            wild[key][cut:] *= 3.0
        truth = forecaster.relative_volatilities(bars, asked, dt)
        for future in (bars.rows(0, cut), Bars.from_columns(wild)):
            leaks += forecaster.relative_volatilities(future, asked, dt).tobytes() != truth.tobytes()
    return leaks


@scaling
@increments
def test_volatilities_do_not_depend_on_bars_after_the_known_ones(
    name: str, flags: dict[str, Any], asset: str, dt: int
) -> None:
    assert leaking(ewma(name, flags, asset), BARS, known_counts(BARS, prompts_every(660, dt)), dt) == 0


class OneBarAhead(Ewma):
    """Reads on to the end of the next five minutes."""

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        return super().relative_volatilities(bars, np.minimum(known + 5, len(bars)), time_increment)


class WholeSample(Ewma):
    """Divides by what is known only at the end."""

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        found = super().relative_volatilities(bars, known, time_increment)
        return found / float(np.diff(np.log(bars.close)).std())


@increments
@pytest.mark.parametrize("peeking", [OneBarAhead, WholeSample])
def test_a_forecaster_that_peeks_is_caught(peeking: type[Ewma], dt: int) -> None:
    honest = ewma()
    planted = peeking(**parameters_of(honest))
    assert leaking(planted, BARS, known_counts(BARS, prompts_every(660, dt)), dt) > 5


@pytest.mark.parametrize(
    ("asset", "off_hours", "scales"),
    [
        ("SPYX", "session", False), ("NVDAX", "session", False), ("SPYX", "whole_path", True), ("SPYX", "none", True),
        ("BTC", "session", True), ("XAU", "session", True),
    ],
)  # fmt: skip
@increments
def test_paths_whose_steps_depend_on_the_clock_do_not_scale(asset: str, off_hours: str, scales: bool, dt: int) -> None:
    assert (ewma("ewma", {"ewma.off_hours": off_hours}, asset).shape(dt) is not None) == scales


def test_forecasters_of_equal_shape_have_equal_reference_paths() -> None:
    """Without feedback the half-life is not part of the shape; with feedback it is."""
    prompt = Prompt(START, "any", "BTC", START - 60, 300, DAY, 50)
    made = [
        ewma(
            "ewma",
            {"ewma.feedback": feedback, "ewma.half_life_5m": life, "ewma.nu_5m": nu, "ewma.draws": draws, **more},
            asset,
        )
        for draws in ("stratified", "independent")
        for feedback in (0.0, 0.5)
        for life in ("1h", "2h")
        for nu in (4, 9)
        for more, asset in (({}, "BTC"), ({"ewma.gap_policy": "decay"}, "ETH"), ({"ewma.off_hours": "none"}, "SPYX"))
    ]
    paths: dict[Any, set[bytes]] = {}
    for forecaster in made:
        reference = forecaster.simulate(forecaster.reference_state(), prompt, prompt.stream(1))
        paths.setdefault(forecaster.shape(300), set()).add(reference.tobytes())
    assert len(paths) == 2 * (2 + 4)
    assert all(len(found) == 1 for found in paths.values())
    assert len(set().union(*paths.values())) == len(paths)


def test_only_forecasters_that_promise_to_scale_are_scale_free() -> None:
    assert isinstance(ewma(), ScaleFree)
    assert not isinstance(RandomWalk(BOOK.asset("BTC"), 0.005), ScaleFree)


# ------------------------------------------------------------------------------------------------------- cells


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the module's tests fill with synthetic bars as they need them."""
    return tmp_path_factory.mktemp("cache")


MakeWorkload = Callable[..., Workload]


@pytest.fixture
def workload(cache_dir: Path) -> MakeWorkload:
    def make(forecaster: str = "ewma", flags: Mapping[str, Any] | None = None, **options: Any) -> Workload:
        settings = load_settings(
            environ={}, flags={"data.cache_dir": str(cache_dir), "data.feed": "simulated", **(flags or {})}
        )
        chosen: dict[str, Any] = {
            "start": START, "days": 0.25, "competitions": ("1h",), "assets": ("BTC",), "num_simulations": 50,
        }  # fmt: skip
        return Workload.of(settings, forecaster, **(chosen | options))

    return make


def cells(workload: Workload) -> dict[tuple[str, str], Cell]:
    """Lay out a workload's cells, so that trials find them."""
    return workload.keep(workload.plan(workload.settings, workload.assets, NOW))


def resolved(workload: Workload, *trials: Trial) -> list[ResolvedTrial]:
    return [ResolvedTrial.of(workload, trial, NOW) for trial in trials]


def same(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> bool:
    return a.tobytes() == b.tobytes()


def rows_of(workload: Workload, settings: LoadedSettings) -> dict[tuple[str, str], npt.NDArray[np.float64]]:
    """Scores of a backtest of the same prompts, by competition and asset."""
    plan = plan_backtest(
        settings, start=workload.start, days=workload.days, rules=workload.rules, competitions=workload.competitions,
        assets=workload.assets, forecasters=[workload.forecaster], num_simulations=workload.num_simulations,
        partial=workload.partial, cadence=workload.cadence, now=NOW,
    )  # fmt: skip
    found: dict[tuple[str, str], list[float]] = {}
    for row in plan.run(threads=1):
        total = np.nan if row.score is None else row.score.total
        found.setdefault((row.prompt.competition, row.prompt.asset), []).append(total)
    return {group: np.array(scores) for group, scores in found.items()}


MIDNIGHTS: dict[str, Any] = {"days": 2.5, "cadence": 2 * 3600, "competitions": ("1h", "24h")}


@pytest.mark.parametrize(
    ("name", "options", "overrides"),
    [
        ("ewma", {"exact": True}, (("ewma.half_life_1m", "10m"),)),
        ("ewma", {"exact": True, "competitions": ("1h", "24h")}, (("ewma.feedback", 1.0),)),
        ("ewma@seed", {"exact": True}, (("ewma.nu_1m", 4.0),)),
        ("ewma", {"exact": True}, (("replay.request_lead", "10m"),)),
        ("ewma", {"exact": True}, (("replay.warmup", "2d"),)),
        ("ewma", {"exact": True, **MIDNIGHTS}, (("ewma.half_life_1m", "10d"), ("ewma.half_life_5m", "10d"))),
        ("ewma@seed", {"exact": True, **MIDNIGHTS}, (("replay.warmup", "1d"),)),
        ("random-walk", {}, (("random_walk.sigma_per_hour", 0.01),)),
        # clock and volatility term: by themselves, unasked
        ("ewma", {"assets": ("SPYX",), "competitions": ("24h",), "rules": RuleChoice.parse("2026-01-28")}, ()),
        ("ewma", {"rules": RuleChoice.parse("2026-10-01")}, (("ewma.nu_1m", 3.0),)),
    ],
)
def test_scores_of_a_trial_that_simulates_every_prompt_are_a_backtests_bit_for_bit(
    workload: MakeWorkload, name: str, options: dict[str, Any], overrides: Any
) -> None:
    chosen = workload(name, {"feeds.simulated.gaps": 0.1}, partial=True, **options)
    groups = list(cells(chosen))
    found = score_trials(resolved(chosen, *(Trial(*group, overrides) for group in groups)))
    wanted = rows_of(chosen, chosen.with_overrides(overrides))
    assert all(same(scores, wanted[group]) for group, scores in zip(groups, found, strict=True))
    assert all(np.isfinite(scores).any() for scores in found)


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, True),
        ({"exact": True}, False),
        ({"rules": RuleChoice.parse("2026-10-01")}, False),  # a volatility term does not scale
        ({"assets": ("SPYX",), "competitions": ("24h",), "rules": RuleChoice.parse("2026-01-28")}, False),
    ],
)
def test_one_ensemble_serves_a_cell_unless_asked_otherwise_or_impossible(
    workload: MakeWorkload, options: dict[str, Any], shares: bool
) -> None:
    chosen = workload(**options)
    (group,) = cells(chosen)
    trial, alone = resolved(chosen, Trial(*group, ()), Trial(*group, (), exact=True))
    assert (trial.ensemble is not None) == shares
    assert alone.ensemble is None


@pytest.mark.parametrize("competition", ["1h", "24h"])
@pytest.mark.parametrize("name", some(["ewma", "ewma@seed"], "ewma"))
def test_shared_and_exact_scores_agree_within_the_noise_of_the_simulation(
    workload: MakeWorkload, name: str, competition: str
) -> None:
    """Ensembles of 20 paths score percents worse than large ones, many times the error allowed here."""
    count = 10
    means, missing = [], []
    for exact in (False, True):
        chosen = workload(
            name, {"feeds.simulated.gaps": 0.05}, competitions=(competition,), days=2.5, num_simulations=20,
            exact=exact, partial=True, cadence=None if competition == "24h" else 1800,
        )  # fmt: skip
        cells(chosen)
        scores = np.array(score_trials(resolved(chosen, *(Trial(competition, "BTC", (), r) for r in range(count)))))
        missing.append(np.isnan(scores))
        means.append(np.nanmean(scores, axis=1))
    np.testing.assert_array_equal(*missing)
    error = np.sqrt(sum(m.var(ddof=1) for m in means) / count)
    assert abs(means[0].mean() - means[1].mean()) < 4 * error
    assert error < 0.005 * means[0].mean()


@pytest.mark.ci
def test_a_trials_scores_do_not_depend_on_which_others_share_the_call(workload: MakeWorkload) -> None:
    chosen = workload(assets=("BTC", "ETH"), competitions=("1h", "24h"), days=0.5)
    groups = list(cells(chosen))
    values = [
        (("ewma.half_life_1m", life), ("ewma.half_life_5m", life), ("ewma.feedback", feedback))
        for life in ("10m", "1h")
        for feedback in (0, 0.5)
    ]
    trials = resolved(chosen, *(Trial(*group, value, r) for group in groups for value in values for r in (0, 1)))
    together = score_trials(trials)
    backwards = score_trials(trials[::-1])[::-1]
    for i, trial in enumerate(trials):
        assert same(together[i], score_trials([trial])[0])
        assert same(together[i], backwards[i])
    assert len({scores.tobytes() for scores in together}) == len(trials)


@pytest.mark.parametrize("layer", ["environment", "flag"])
def test_a_workload_takes_no_secret_along_to_other_machines(layer: str) -> None:
    secret = "sk-do-not-send-me"
    where: dict[str, Any] = {
        "environment": {"environ": {"PYTH_API_KEY": secret}},
        "flag": {"environ": {}, "flags": {"feeds.pyth.api_key": secret}},
    }
    settings = load_settings(file=DEFAULTS, **where[layer])
    assert secret.encode() in pickle.dumps(settings)
    for chosen in (Workload.of(settings, name, start=START, days=1.0) for name in ("ewma", "ewma@seed")):
        assert secret.encode() not in pickle.dumps(chosen)
        assert secret.encode() not in pickle.dumps(chosen.with_overrides((("ewma.feedback", 0.25),)))


def test_a_replicate_has_its_own_seed_and_the_first_that_of_the_settings(workload: MakeWorkload) -> None:
    seeds = [seed_of(workload(flags={"run.seed": s}).settings, r) for s in (1, 2) for r in range(50)]
    assert (seeds[0], seeds[50]) == (1, 2)
    assert len(set(seeds)) == 100
    assert min(seeds) >= 0
    assert max(seeds) < 2**63


class Broken(Ewma):
    """Promises to scale, and does not say by how much."""

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        return {"zero": 0.0, "nan": np.nan}.get(self.close_only, 1.0) * np.ones(len(known) - (self.start == "short"))


def broken(asset: Asset, how: str) -> Broken:
    """Made as the settings' ``plugin.how`` says."""
    return Broken(**parameters_of(ewma()) | {"asset": asset, "close_only": how, "start": how})


@pytest.mark.parametrize("how", ["zero", "nan", "short"])
def test_volatilities_that_cannot_be_are_refused(workload: MakeWorkload, how: str) -> None:
    chosen = workload(f"{__name__}:broken", {"plugin.how": how})
    cells(chosen)
    with pytest.raises(ForecasterError, match=r"Broken\.relative_volatilities did not return one positive, finite"):
        score_trials(resolved(chosen, Trial("1h", "BTC", ())))


# ---------------------------------------------------------------------------------------------------- identity


def stored(folder: Path, feed: str = "file", end: int = START + 2 * DAY, edit: Callable[[Any], Any] = lambda c: c):
    """Write five days of bars and what follows START; `edit` may change the closes."""
    begin = START - 5 * DAY
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(3).standard_normal((end - begin) // MINUTE) * 5e-4))
    c = edit(closes)
    labels = begin + MINUTE * np.arange(len(c))
    keep = ~np.isnan(c)
    bars = Bars(labels[keep], c[keep], c[keep] * 1.0005, c[keep] * 0.9995, c[keep])
    Cache(folder).write(feed, "BTC", bars, [(begin, end)], Provenance("test", NOW), replace=True)
    return {"data.cache_dir": str(folder), "data.feed": "file"}


def named(workload: Workload, overrides: Any = (), replicate: int = 0, group: tuple[str, str] | None = None) -> str:
    (trial,) = resolved(workload, Trial(*(group or next(iter(cells(workload)))), overrides, replicate))
    return trial.name


def test_whatever_determines_a_trials_scores_changes_its_name(workload: MakeWorkload, tmp_path: Path) -> None:
    def edited(minute: int) -> dict[str, Any]:
        def edit(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            closes[minute] *= 1.0001
            return closes

        return stored(tmp_path / str(minute), edit=edit)

    same_bars = stored(tmp_path / "same")
    base = named(workload(flags=same_bars))
    names = {
        "value": named(workload(flags=same_bars), (("ewma.half_life_1m", "11m"),)),
        "value that lies in the settings": named(workload(flags={**same_bars, "ewma.half_life_1m": "12m"})),
        "value of every increment": named(workload(flags=same_bars), (("ewma.feedback", 0.4),)),
        "preset": named(workload("ewma@seed", flags=same_bars)),
        "forecaster": named(workload("random-walk", flags=same_bars)),
        "seed": named(workload(flags={**same_bars, "run.seed": 1})),
        "seed that is tried": named(workload(flags=same_bars), (("run.seed", 2),)),
        "replicate": named(workload(flags=same_bars), replicate=1),
        "exact": named(workload(flags=same_bars, exact=True)),
        "one close of the warm-up": named(workload(flags=edited(4 * 1440))),
        "one close that is scored": named(workload(flags=edited(5 * 1440 + 100))),
        "rules": named(workload(flags=same_bars, rules=RuleChoice.parse("2026-03-20"))),
        "start": named(workload(flags=same_bars, start=START + 720)),
        "days": named(workload(flags=same_bars, days=0.2)),
        "cadence": named(workload(flags=same_bars, cadence=1800)),
        "paths": named(workload(flags=same_bars, num_simulations=51)),
        "lead": named(workload(flags={**same_bars, "replay.request_lead": "2m"})),
        "warm-up": named(workload(flags={**same_bars, "replay.warmup": "4d"})),
        "warm-up that is tried": named(workload(flags=same_bars), (("replay.warmup", "3d"),)),
        "when a state is stale": named(workload(flags={**same_bars, "live.stale_after": "10m"})),
    }
    assert base not in names.values()
    assert len(set(names.values())) == len(names)


def test_what_does_not_determine_a_trials_scores_leaves_its_name(workload: MakeWorkload, tmp_path: Path) -> None:
    base = named(workload(flags=stored(tmp_path / "a")))
    flags = stored(tmp_path / "b")
    for other in (
        {},
        {"run.threads": 3},
        {"run.experiments_dir": "elsewhere"},
        {"ewma.nu_5m": 3},
        {"ewma.half_life_5m": "10m"},
        {"ewma.nu_1m.ETH": 3},
        {"replay.warmup.ETH": "1d"},
        {"live.refuse_after": "3h"},
        {"random_walk.sigma_per_hour": 0.01},
        {"plugin.x": 1},
        {"replay.forecasters": ["random-walk"]},
    ):
        assert named(workload(flags=flags | other)) == base
    for key, value in (
        ("ewma.nu_5m", 3.0),
        ("ewma.half_life_1m", "30m"),  # what is configured
        ("replay.warmup", "5d"),  # what is asked for
        ("replay.warmup", "97h"),  # in whole days
    ):
        assert named(workload(flags=flags), ((key, value),)) == base


def test_values_that_matter_for_one_increment_change_names_of_that_increment_alone(workload: MakeWorkload) -> None:
    chosen = workload(competitions=("1h", "24h"))
    for key, changed in (("nu_1m", ["1h"]), ("nu_5m", ["24h"]), ("variance_floor", ["1h", "24h"])):
        value = ((f"ewma.{key}", 3.25 if key != "variance_floor" else 1e-9),)
        assert changed == [
            competition
            for competition in ("1h", "24h")
            if named(chosen, value, group=(competition, "BTC")) != named(chosen, group=(competition, "BTC"))
        ]


def test_a_trials_name_and_scores_do_not_depend_on_the_competitions_and_assets_beside_it(
    workload: MakeWorkload,
) -> None:
    """A wider sweep knows the trials of a narrower one."""
    narrow, wide = workload(), workload(competitions=("1h", "24h"), assets=("ETH", "BTC"))
    for group in cells(narrow):
        assert named(narrow, group=group) == named(wide, group=group)
        one, other = (score_trials(resolved(chosen, Trial(*group, ())))[0] for chosen in (narrow, wide))
        assert same(one, other)


def test_what_is_learned_from_and_what_is_scored_do_not_change_places_under_one_name(
    workload: MakeWorkload, tmp_path: Path
) -> None:
    """With a short warm-up both feeds are read on the same day, whichever part they play."""

    def jumping(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        closes[5 * 1440 + 600 :] *= 1.01
        return closes

    stored(tmp_path, "file")
    stored(tmp_path, "binance", edit=jumping)
    names, scores = [], []
    for feed, scored in (("file", "binance"), ("binance", "file")):
        chosen = workload(
            flags={
                "data.cache_dir": str(tmp_path), "data.feed": feed, "data.scored_feed": scored,
                "replay.warmup": "1d",
            },
            start=START + DAY // 2, days=0.1,
        )  # fmt: skip
        names.append(named(chosen))
        scores += score_trials(resolved(chosen, Trial("1h", "BTC", ())))
    assert not same(*scores)
    assert names[0] != names[1]


def test_a_candle_that_settles_a_prompt_changes_the_trials_name(workload: MakeWorkload, tmp_path: Path) -> None:
    """Without the candle after the last grid point the last prompt has no score."""

    def unsettled(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        closes[6 * 1440 - 1] = np.nan
        return closes

    names, scores = [], []
    for name, edit in (("open", unsettled), ("settled", lambda closes: closes)):
        chosen = workload(
            flags=stored(tmp_path / name, end=START + DAY, edit=edit), start=START + DAY - 2 * 3600,
            days=59 / 1440, cadence=120,
        )  # fmt: skip
        names.append(named(chosen))
        scores += score_trials(resolved(chosen, Trial("1h", "BTC", ())))
    assert not same(*scores)
    assert names[0] != names[1]


def test_bars_that_change_between_two_sweeps_of_one_process_change_the_scores(
    workload: MakeWorkload, tmp_path: Path
) -> None:
    """Also those of trials whose settings change the prompts."""

    def louder(closes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        closes[5 * 1440 - 60 : 5 * 1440 : 2] *= 1.002
        return closes

    found = []
    for edit in (lambda closes: closes, louder):
        chosen = workload(flags=stored(tmp_path, edit=edit))
        lead = resolve("request_lead", ["1m", "90s"], chosen.settings, chosen.forecaster)
        life = resolve("half_life_1m", ["10m", "2h"], chosen.settings, chosen.forecaster)
        found.append([run_sweep(chosen, [p], now=NOW, replicates=1).cells[0].scores for p in (life, lead)])
    assert not same(found[0][0], found[1][0])
    assert not same(found[0][1], found[1][1])


# ------------------------------------------------------------------------------------------------------- store

NAME = "ab" * 32
SCORES = np.array([1.5, np.nan, 0.0, -0.0, 1e300, np.inf, 5e-324])


def test_scores_come_back_bit_for_bit(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "not" / "yet")
    store.put(NAME, SCORES)
    back = TrialStore(store.root).get(NAME)
    assert back is not None
    assert same(back, SCORES)
    assert back.flags.writeable
    store.put(NAME, SCORES[:2])
    assert same(store.get(NAME), SCORES[:2])  # type: ignore[arg-type]
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [f"{NAME}.f64"]


def test_unknown_names_have_no_scores(tmp_path: Path) -> None:
    store = TrialStore(tmp_path)
    assert store.get(NAME) is None
    store.put(NAME, SCORES)
    assert store.get("ab" * 31 + "cd") is None


def test_an_empty_trial_is_not_an_absent_one(tmp_path: Path) -> None:
    store = TrialStore(tmp_path)
    store.put(NAME, np.empty(0))
    found = store.get(NAME)
    assert found is not None
    assert found.shape == (0,)


def damaged(data: bytes) -> dict[str, bytes]:
    flipped = {f"bit {at}": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (0, 20, len(data) - 1)}
    cut = {f"cut to {n}": data[:n] for n in (0, 8, 31, 32, len(data) - 8, len(data) - 1)}
    return flipped | cut | {"longer": data + bytes(8), "zeros": bytes(len(data)), "text": b"not scores"}


def test_damaged_and_cut_files_count_as_absent_and_are_replaced(tmp_path: Path) -> None:
    store = TrialStore(tmp_path)
    store.put(NAME, SCORES)
    (path,) = (p for p in tmp_path.rglob("*") if p.is_file())
    for what, data in damaged(path.read_bytes()).items():
        path.write_bytes(data)
        assert store.get(NAME) is None, what
    store.put(NAME, SCORES)
    assert same(store.get(NAME), SCORES)  # type: ignore[arg-type]


def test_another_trials_file_counts_as_absent(tmp_path: Path) -> None:
    store = TrialStore(tmp_path)
    other = "ab" * 31 + "cd"
    store.put(NAME, SCORES)
    store.put(other, SCORES * 2)
    folder = tmp_path / "ab"
    (folder / f"{other}.f64").replace(folder / f"{NAME}.f64")
    assert store.get(NAME) is None

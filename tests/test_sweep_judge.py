"""What scores say: verdicts that need proof, choices that know no future, and settings files with their evidence."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewmalab.errors import ConfigError
from ewmalab.forecast.load import apply_preset
from ewmalab.report.text.sweep import sweep_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.config_file import write_config
from ewmalab.sweeps.judge import CellResult, judge, walk_forward
from ewmalab.sweeps.parameters import Overrides, Parameter, combinations, resolve
from ewmalab.sweeps.run import SweepCell
from ewmalab.sweeps.sweep import SweepResult, parse_walk_forward, save_sweep, sweep
from ewmalab.sweeps.workload import Workload
from ewmalab.times import DAY, parse_time

START = parse_time("2026-01-15")
NOW = parse_time("2026-03-01")
HOUR = 3600
LIFE = "ewma.half_life_1m"
GRID = ("10m", "30m", "1h", "2h")


def cell(
    losses: Mapping[Any, Any],
    configured: Any,
    *,
    key: str = LIFE,
    noise: float = 0.5,
    offsets: Mapping[Any, Sequence[float]] | None = None,
    step: int = HOUR,
    seed: int = 0,
    **changed: Any,
) -> SweepCell:
    """Return scores made by hand.

    By value: a mean, or one per prompt. Prompts vary widely, alike for all values; `noise` is what is left between two
    values, and `offsets` what each replicate adds to a value.
    """
    count = max([np.size(v) for v in losses.values() if np.size(v) > 1], default=400)
    rng = np.random.default_rng(seed)
    common = 50 * rng.random(count)
    shifts = offsets or {value: [0.0, 0.0, 0.0] for value in losses}
    table = np.array([common + np.asarray(v, np.float64) + noise * rng.standard_normal(count) for v in losses.values()])
    scores = table + np.array([shifts[value] for value in losses]).T[:, :, None]
    fields: dict[str, Any] = {
        "competition": "1h", "asset": "BTC", "parameters": (Parameter(key, tuple(losses)),),
        "values": tuple(((key, value),) for value in losses), "configured": list(losses).index(configured),
        "starts": START + step * np.arange(count), "overlap": 1.0, "scores": scores, "shared": True,
    }  # fmt: skip
    return SweepCell(**(fields | changed))


def judged(given: SweepCell) -> CellResult:
    return judge(given, np.random.default_rng(1))


# ---------------------------------------------------------------------------------------------------- verdicts


def test_a_clear_winner_is_better_and_said_to_beat_the_present_value() -> None:
    found = judged(cell({"10m": 101, "30m": 100, "1h": 101.5, "2h": 103}, "2h"))
    assert found.verdict == "better"
    assert found.words() == "30m beats 2h"
    best, present = found.values[found.best], found.values[found.configured]
    assert found.change == pytest.approx(-3 / present.mean_crps, rel=0.05)
    assert best.difference.low < -3 + 0.1
    assert best.difference.high < 0
    assert [v.not_ruled_out for v in found.values] == [False, True, False, False]


def test_values_that_may_be_the_best_are_named() -> None:
    found = judged(cell({"10m": 100.001, "30m": 100, "1h": 105, "2h": 103}, "2h"))
    best, other = ("10m", "30m") if found.best == 0 else ("30m", "10m")
    assert found.words().startswith(f"{best} beats 2h; equivalent to the best within 0.1 %: {other}")
    assert [v.not_ruled_out for v in found.values] == [True, True, False, False]


def test_equal_scores_are_no_effect_whichever_value_they_are_of() -> None:
    found = judged(cell(dict.fromkeys(GRID, 100), "1h", noise=0.0))
    assert (found.verdict, found.words()) == ("no effect", "every value scores the same")
    assert (found.best, found.edges) == (found.configured, [])


def test_a_difference_within_the_noise_cannot_be_told() -> None:
    found = judged(cell({"10m": 101, "30m": 99.99, "1h": 100, "2h": 101}, "1h", noise=3.0))
    assert found.verdict == "cannot tell"
    assert found.values[found.best].mean_crps < found.values[found.configured].mean_crps
    assert found.words().startswith("cannot tell 30m from 1h")


@pytest.mark.parametrize("seed", [0, 13, 28])  # one market in ten has such a value
def test_the_luckiest_of_many_equal_values_is_not_proven_better(seed: int) -> None:
    """Its interval misses zero by chance: so many looks at one market must be paid for."""
    found = judged(cell(dict.fromkeys([f"{minutes}m" for minutes in range(5, 26)], 100), "15m", noise=3.0, seed=seed))
    assert found.values[found.best].difference.sign < 0
    assert found.values[found.best].p_value < 0.05
    assert found.verdict == "cannot tell"


def test_the_present_value_is_kept_where_it_is_the_best() -> None:
    found = judged(cell({"10m": 103, "30m": 100, "2h": 101}, "30m"))
    assert (found.verdict, found.change) == ("keep", 0.0)
    assert found.words() == "30m, as configured, is the best tried"


def test_the_present_value_is_the_best_among_equals() -> None:
    """A value that scores the same is no reason to change."""
    given = cell({"10m": 100, "30m": 100, "2h": 104}, "30m")
    scores = given.scores.copy()
    scores[:, 0] = scores[:, 1]
    found = judged(replace(given, scores=scores))
    assert (found.verdict, found.best) == ("keep", 1)
    assert found.words() == "30m, as configured, is the best tried; equivalent to the best within 0.1 %: 10m"


@pytest.mark.parametrize(("best", "name"), [("10m", "first"), ("2h", "last")])
@pytest.mark.parametrize("configured", GRID)
def test_a_best_value_at_the_grids_edge_asks_for_more(best: str, name: str, configured: str) -> None:
    found = judged(cell(dict.fromkeys(GRID, 103) | {best: 100}, configured))
    assert found.words().endswith("; the best is on the grid's edge: extend it")
    assert found.edges == ["half_life_1m"]


@pytest.mark.parametrize(
    ("values", "key", "closed"),
    [
        ((0, 0.5, 1), "ewma.feedback", (True, True)),  # the setting itself ends there
        (("hold", "revert", "decay"), "ewma.gap_policy", (False, False)),  # choices lie on no scale
        (("10m", "2h"), LIFE, (False, False)),  # two values are all edge
    ],
)  # fmt: skip
def test_where_there_is_nothing_to_extend_no_edge_is_named(
    values: tuple[Any, ...], key: str, closed: tuple[bool, bool]
) -> None:
    found = judged(
        cell(
            dict.fromkeys(values, 103) | {values[0]: 100}, values[1], key=key,
            parameters=(Parameter(key, values, closed),),
        )
    )  # fmt: skip
    assert (found.verdict, found.edges) == ("better", [])
    assert "edge" not in found.words()


def grid_of(best: Overrides, present: Overrides) -> SweepCell:
    """Two parameters with three values each, and a present combination that is not in their grid, in run order."""
    parameters = (Parameter(LIFE, ("10m", "20m", "40m")), Parameter("ewma.nu_1m", (3, 6, 8)))
    values = [present, *combinations(parameters)]  # the present half-life is the shortest
    losses = {value: 100 if value == best else 105 for value in values}
    made = cell({str(value): loss for value, loss in losses.items()}, str(present))
    return replace(made, parameters=parameters, values=tuple(values), configured=0)


@pytest.mark.parametrize(
    ("life", "nu", "edges"),
    [("20m", 6, []), ("40m", 6, ["half_life_1m"]), ("20m", 8, ["nu_1m"]), ("20m", 3, ["nu_1m"])],
)
def test_edges_are_those_of_each_parameters_scale_also_where_the_present_value_lies_off_the_grid(
    life: str, nu: float, edges: list[str]
) -> None:
    found = judged(grid_of(((LIFE, life), ("ewma.nu_1m", nu)), ((LIFE, "5m"), ("ewma.nu_1m", 7.0))))
    assert found.words().startswith(f"half_life_1m {life}, nu_1m {nu} beats half_life_1m 5m, nu_1m 7")
    assert found.edges == edges
    for name in edges:
        assert f"the best {name} is on the grid's edge: extend it" in found.words()


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "too few independent prompts: 0.0 of the 4 needed"),
        (1, "too few independent prompts: 1.0 of the 4 needed"),
        (2, "too few independent prompts: 2.0 of the 4 needed"),
        (7, "too few prompts: 7 of the 8 needed"),
    ],
)
def test_few_prompts_prove_nothing_however_clear_they_look(count: int, words: str) -> None:
    given = cell({"10m": np.full(20, 100), "30m": np.full(20, 200), "2h": np.full(20, 300)}, "2h")
    scores = given.scores.copy()
    scores[:, :, count:] = np.nan
    found = judged(replace(given, scores=scores))
    assert (found.verdict, found.prompts) == ("too few prompts", count)
    assert found.words() == f"{words}: replay more days"


def test_prompts_count_only_where_every_value_and_replicate_has_a_score() -> None:
    """Scores that one value has and another lacks would compare different markets."""
    given = cell({"10m": 100, "30m": 101, "2h": 102}, "2h")
    scores = given.scores.copy()
    scores[0, 0, :100] = np.nan
    scores[2, 2, 100:150] = np.nan
    scores[:, 1, :150] = -1e9  # would win
    found = judged(replace(given, scores=scores))
    assert found.prompts == 250
    assert found.words() == judged(replace(given, scores=scores[:, :, 150:], starts=given.starts[150:])).words()
    assert found.words().startswith("10m beats 2h")


@pytest.mark.parametrize(("spread", "verdict"), [(0.1, "better"), (3.0, "cannot tell")])
def test_noise_of_the_simulation_larger_than_the_difference_prevents_a_proof(spread: float, verdict: str) -> None:
    """With one ensemble for all prompts its error is common to them: no interval over prompts shows it."""
    offsets = {"10m": [-spread, 0.0, spread], "30m": [0.0] * 3, "2h": [0.0] * 3}
    found = judged(cell({"10m": 100, "30m": 104, "2h": 101}, "2h", offsets=offsets))
    best = found.values[found.best]
    assert best.difference.sign < 0
    assert best.p_holm < 0.001
    assert best.monte_carlo_sd == pytest.approx(spread / np.sqrt(3))
    assert found.verdict == verdict


def test_a_single_replicate_cannot_tell_its_noise_and_proves_nothing() -> None:
    given = cell({"10m": 100, "30m": 104, "2h": 101}, "2h")
    found = judged(replace(given, scores=given.scores[:1]))
    assert np.isnan(found.values[0].monte_carlo_sd)
    assert found.verdict == "cannot tell"


def test_numbers_are_those_of_the_plain_formulas() -> None:
    given = cell({"10m": 101, "30m": 100, "1h": 100.2}, "1h", offsets={v: [0.1, 0.3, -0.2] for v in GRID})
    found = judged(given)
    means = given.scores.mean(axis=(0, 2))
    assert [v.mean_crps for v in found.values] == pytest.approx(means)
    assert [v.difference.mean for v in found.values] == pytest.approx(means - means[2])
    assert found.change == pytest.approx((means[1] - means[2]) / means[2])
    a, b = (found.values[i].p_value for i in (0, 1))
    low, high = sorted([a, b])
    assert sorted(found.values[i].p_holm for i in (0, 1)) == pytest.approx([min(1, 2 * low), max(2 * low, high)])
    assert (found.values[2].p_value, found.values[2].p_holm) == (1.0, 1.0)
    assert found == judged(given)


def test_dependence_between_overlapping_prompts_takes_certainty_away() -> None:
    """A difference that changes sign from day to day looks sure to who counts hours."""
    days = np.repeat([-6.0, 2.0, -5.0, 3.0, -4.0, 1.5, -5.0, 2.5], 24)
    given = cell({"10m": 100 + days, "30m": 120, "2h": np.full(len(days), 100.0)}, "2h")
    assert judged(replace(given, overlap=24.0)).verdict == "cannot tell"
    shuffled = cell({"10m": 100 + np.random.default_rng(2).permutation(days), "30m": 120, "2h": 100}, "2h")
    assert judged(shuffled).verdict == "better"


# ------------------------------------------------------------------------------------------------ walk-forward


def walked(given: SweepCell, train: int, test: int, horizon: int) -> Any:
    return walk_forward(given, train, test, horizon)


def chosen(found: Any) -> list[Any]:
    return [value[0][1] for _, value in found.windows]


def test_a_choice_knows_only_prompts_whose_path_had_ended() -> None:
    """10m is best by far, on prompts of the last day before the choice; their paths end after it."""
    hours = np.arange(7 * 24)
    late = (hours >= 5 * 24 + 1) & (hours < 6 * 24)
    given = cell({"10m": np.where(late, 10.0, 105.0), "30m": np.full(len(hours), 103.0), "2h": 104}, "2h")
    found = walked(given, 6 * DAY, DAY, DAY)
    assert [origin for origin, _ in found.windows] == [START + 6 * DAY]
    assert chosen(found) == ["30m"]
    assert chosen(walked(given, 6 * DAY, DAY, HOUR)) == ["10m"]  # the plant is worth choosing once it is known


def test_a_choice_does_not_know_a_path_whose_last_candle_is_still_open() -> None:
    """A path's last price is the close of a candle that opens at its last point: at the choice it has just opened."""
    hours = np.arange(7 * 24)
    given = cell({"10m": np.where(hours == 5 * 24, -1e5, 105.0), "30m": np.full(len(hours), 103.0), "2h": 104}, "2h")
    assert chosen(walked(given, 6 * DAY, DAY, DAY)) == ["30m"]


def test_a_choice_forgets_what_lies_before_its_window() -> None:
    hours = np.arange(8 * 24)
    given = cell({"10m": np.where(hours < 24, 10.0, 105.0), "30m": np.full(len(hours), 103.0), "2h": 104}, "2h")
    assert chosen(walked(given, 3 * DAY, DAY, HOUR)) == ["10m", "30m", "30m", "30m", "30m"]


def test_promises_and_what_they_brought_are_those_of_the_windows_and_optimism_is_the_difference() -> None:
    days = np.arange(6 * 24) // 24
    given = cell(
        {"10m": 100.0 + np.where(days % 2 == 0, -8, 5), "30m": 100.0 + np.where(days % 2 == 0, 6, -7), "2h": 100.0},
        "2h", noise=0.0,
    )  # fmt: skip
    found = walked(given, DAY, DAY, 60)
    losses = given.scores.mean(axis=0)
    assert chosen(found) == ["10m", "30m", "10m", "30m", "10m"]
    assert [(origin - START) // DAY for origin, _ in found.windows] == [1, 2, 3, 4, 5]
    picks = [0, 1, 0, 1, 0]
    inside = np.array([[losses[i, days == d].mean() for i in (p, 2)] for d, p in enumerate(picks)])
    after = np.array([[losses[i, days == d + 1].mean() for i in (p, 2)] for d, p in enumerate(picks)])
    assert found.prompts == 5 * 24
    assert found.in_sample == pytest.approx(inside[:, 0].mean() / inside[:, 1].mean() - 1)
    assert found.out_of_sample == pytest.approx(after[:, 0].mean() / after[:, 1].mean() - 1)
    assert found.in_sample < 0 < found.out_of_sample
    assert found.optimism == found.out_of_sample - found.in_sample
    assert found.low < found.out_of_sample < found.high


def test_the_present_value_is_chosen_among_equals_and_brings_no_change() -> None:
    found = walked(cell(dict.fromkeys(GRID, 100), "1h", noise=0.0), 3 * DAY, DAY, HOUR)
    assert set(chosen(found)) == {"1h"}
    assert (found.in_sample, found.out_of_sample, found.optimism) == (0.0, 0.0, 0.0)


def test_prompts_without_a_score_take_no_part_in_choices() -> None:
    given = cell({"10m": 100, "30m": 103, "2h": 104}, "2h")
    scores = given.scores.copy()
    scores[1, 1, ::2] = np.nan
    scores[:, 1, 1::4] -= 1e3  # still scored
    found = walked(replace(given, scores=scores), 3 * DAY, DAY, HOUR)
    assert set(chosen(found)) == {"30m"}
    assert np.isfinite([found.in_sample, found.out_of_sample]).all()
    assert found.prompts == np.isfinite(scores[1, 1, 72:]).sum()


@pytest.mark.parametrize(("train", "horizon"), [(30 * DAY, HOUR), (DAY, 2 * DAY)])
def test_windows_that_do_not_fit_give_nothing(train: int, horizon: int) -> None:
    assert walked(cell(dict.fromkeys(GRID, 100), "1h"), train, DAY, horizon) is None


@pytest.mark.parametrize(
    ("text", "windows"), [("5d/1d", (5 * DAY, DAY)), ("12h/1h", (12 * HOUR, HOUR)), ("90m / 60m", (5400, 3600))]
)
def test_windows_are_two_durations(text: str, windows: tuple[int, int]) -> None:
    assert parse_walk_forward(text) == windows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5d", "two durations with a slash between them; write for example 5d/1d"),
        ("5d/", "a number with a unit"),
        ("5/1", "has no unit"),
        ("5d/30m", "windows must be an hour or longer"),
        ("5d/1d/2d", "a number with a unit"),
    ],
)
def test_other_windows_are_refused_with_an_example(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"walk-forward '{text}': .*{message}"):
        parse_walk_forward(text)


# ------------------------------------------------------------------------------------------- a small real sweep


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    return load_settings(
        environ={},
        flags={
            "data.feed": "simulated", "data.cache_dir": str(tmp_path_factory.mktemp("cache")),
            "run.experiments_dir": str(tmp_path_factory.mktemp("experiments")),
        },
    )  # fmt: skip


PROMPTS: dict[str, Any] = {
    "now": NOW, "start": START, "days": 0.5, "assets": ["BTC", "ETH"], "replicates": 2, "num_simulations": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def small(settings: LoadedSettings) -> SweepResult:
    return sweep(settings, {"half_life_1m": ["10m", "1h", "2h"]}, competitions=["1h"], forward="4h/2h", **PROMPTS)


def planted(small: SweepResult, *cells: SweepCell, settings: LoadedSettings | None = None) -> SweepResult:
    """The small sweep with scores made by hand."""
    workload = replace(small.sweep.workload, **({"settings": settings} if settings else {}))
    done = replace(small.sweep, cells=list(cells), workload=workload)
    return replace(small, sweep=done, cells=[judged(c) for c in cells], forward=[])


SURE = cell({"10m": 103, "20m": 100, "2h": 104}, "2h")
UNSURE = cell({"10m": 101, "30m": 99.99, "1h": 100, "2h": 101}, "1h", noise=3.0, asset="ETH")


# ------------------------------------------------------------------------------------------------------- text


def test_synthetic_data_are_named_as_such_and_real_ones_are_not(small: SweepResult) -> None:
    assert sweep_text(small.summary, small.inputs).startswith("SYNTHETIC DATA")
    assert "SYNTHETIC" not in sweep_text(small.summary, small.inputs | {"synthetic": False})


def test_the_text_has_every_verdict_and_fits_a_page(small: SweepResult) -> None:
    """With the widest names and numbers of a duration, and of a choice."""
    losses = {"10m": 12_300, "20m": 12_200, "30m": 12_000, "90m": 12_500}
    durations = planted(
        small, SURE, UNSURE, cell(dict.fromkeys(GRID, 100), "1h", noise=0.0, asset="XAU"),
        cell(losses, "90m", competition="com-equ-24h", asset="GOOGLX"), cell({"10m": 103, "30m": 100}, "30m"),
    )  # fmt: skip
    choices = planted(
        small,
        cell(
            {"synthesise": 2_000, "squared_return": 2_500}, "squared_return", key="ewma.close_only", competition="24h"
        ),
    )
    assert {c.verdict for c in durations.cells} == {"better", "cannot tell", "no effect", "keep"}
    for result in (durations, choices, small):
        text = sweep_text(result.summary, result.inputs)
        flat = " ".join(text.split())
        for row in result.summary:
            assert f"{row['competition']} {row['asset']} {row['words']}" in flat
        most = 100 if result is choices else 80  # names of choices may be long
        assert max(map(len, text.splitlines())) <= most, max(text.splitlines(), key=len)
    assert "Walk-forward: chosen on" in sweep_text(small.summary, small.inputs)


def test_a_cell_without_any_score_has_a_text_and_a_digest(small: SweepResult) -> None:
    result = planted(small, replace(SURE, scores=np.full_like(SURE.scores, np.nan)), UNSURE)
    text = sweep_text(result.summary, result.inputs)
    assert "too few independent prompts" in text
    assert "nan" not in text
    assert result.digest() != planted(small, SURE, UNSURE).digest()


def test_a_saved_sweep_holds_scores_of_every_value_and_prompt(small: SweepResult) -> None:
    saved = save_sweep(small, now=NOW)
    table = saved.results
    assert saved.summary == small.summary
    assert saved.manifest["notes"]["digest"] == small.digest()
    assert table.num_rows == sum(c.scores[0].size for c in small.sweep.cells)
    for given in small.sweep.cells:
        rows = table.filter([a == given.asset for a in table["asset"].to_pylist()])
        for r in range(2):
            np.testing.assert_array_equal(rows[f"crps_{r}"].to_numpy(), given.scores[r].ravel())
        assert set(rows.filter(rows["configured"])["value"].to_pylist()) == {"30m"}


# ----------------------------------------------------------------------------------------------- settings file


def changes(path: Path, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a settings file changes against the defaults, by dotted key."""

    def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in table.items():
            out |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
        return out

    ours = flat(load_settings(file=path, environ={}).values.plain())
    theirs = flat(base if base is not None else load_settings(environ={}).values.plain())
    return {key: value for key, value in ours.items() if theirs.get(key) != value}


def test_what_is_proven_is_written_with_its_evidence_and_changes_nothing_else(
    small: SweepResult, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    result = planted(small, SURE, UNSURE)
    refused = write_config(path, result, now=NOW)
    assert changes(path) == {f"{LIFE}.BTC": "20m"}
    assert tomllib.loads(path.read_text()) == {"ewma": {"half_life_1m": {"BTC": "20m"}}}
    text = path.read_text()
    assert text.startswith("# Chosen by a sweep of ewma on 2026-03-01: 2026-01-15, 0.5 days, SYNTHETIC DATA, not a mar")
    assert f"# Result {result.digest()[:16]}." in text
    best, present = (result.cells[0].values[i] for i in (1, 2))
    evidence = f"# BTC: 1h: 20m against 2h: CRPS {best.mean_crps:.2f} against {present.mean_crps:.2f} bp, -"
    assert evidence in text
    assert "400 prompts" in text
    assert f"# 1h ETH: {result.cells[1].words()}" in text
    assert refused == [f"1h ETH: {result.cells[1].words()}"]


def test_each_asset_gets_its_own_value(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    eth = cell({"10m": 103, "20m": 100, "2h": 104}, "10m", asset="ETH")
    assert write_config(path, planted(small, cell({"15m": 100, "1h": 103, "2h": 104}, "2h"), eth), now=NOW) == []
    assert changes(path) == {f"{LIFE}.BTC": "15m", f"{LIFE}.ETH": "20m"}


def test_nothing_is_written_where_nothing_is_proven(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    kept = cell({"10m": 103, "30m": 100, "2h": 104}, "30m")
    with pytest.raises(ConfigError, match=r"own\.toml is not written: no value is proven better.* --force") as error:
        write_config(path, planted(small, kept, UNSURE), now=NOW)
    assert "1h BTC: 30m, as configured, is the best tried" in str(error.value)
    assert "1h ETH: cannot tell 30m from 1h" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_force_writes_what_is_best_unproven_and_says_so(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    kept = cell({"10m": 103, "30m": 100, "2h": 104}, "30m")
    refused = write_config(path, planted(small, kept, replace(UNSURE, asset="XAU")), now=NOW, force=True)
    assert changes(path) == {f"{LIFE}.XAU": "30m"}
    assert "(forced)" in next(line for line in path.read_text().splitlines() if line.startswith("# XAU"))
    assert refused == ["1h BTC: 30m, as configured, is the best tried"]  # there is nothing to force


def test_a_file_that_exists_is_left_as_it_is(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("# mine\n")
    with pytest.raises(ConfigError, match=r"own\.toml exists: choose another name"):
        write_config(path, planted(small, SURE), now=NOW, force=True)
    assert path.read_text() == "# mine\n"


def feedback(competition: str, best: float, configured: float = 0.5, asset: str = "BTC") -> SweepCell:
    losses = {value: 100 if value == best else 104 for value in (0, 0.25, 0.5, 0.75, 1)}
    return cell(losses, configured, key="ewma.feedback", competition=competition, asset=asset)


def test_competitions_that_choose_different_values_of_one_setting_are_refused(
    small: SweepResult, tmp_path: Path
) -> None:
    path = tmp_path / "own.toml"
    with pytest.raises(
        ConfigError, match=r"ewma\.feedback for BTC: 1h chooses 0\.75, another competition 0\.25.*--com"
    ):
        write_config(path, planted(small, feedback("24h", 0.25), feedback("1h", 0.75)), now=NOW)
    assert not path.exists()


def test_competitions_that_agree_bring_both_their_evidence(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    write_config(path, planted(small, feedback("24h", 0.25), feedback("1h", 0.25)), now=NOW)
    assert changes(path) == {"ewma.feedback.BTC": 0.25}
    for competition in ("24h", "1h"):
        assert f"# BTC: {competition}: 0.25 against 0.5: CRPS" in path.read_text()


def test_a_setting_that_another_competition_keeps_is_not_changed_for_it(small: SweepResult, tmp_path: Path) -> None:
    """One value holds for both: what is listed as left as it is must be."""
    path = tmp_path / "own.toml"
    with pytest.raises(ConfigError, match=r"ewma\.feedback for BTC"):
        write_config(path, planted(small, feedback("24h", 0.25), feedback("1h", 0.5)), now=NOW)
    assert not path.exists()


def policy(asset: str, best: str) -> SweepCell:
    losses = {value: 100 if value == best else 104 for value in ("hold", "revert", "decay")}
    return cell(losses, "hold", key="ewma.gap_policy", asset=asset)


def test_a_setting_that_is_one_for_all_assets_is_written_where_all_agree(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    write_config(path, planted(small, policy("BTC", "decay"), policy("ETH", "decay")), now=NOW)
    assert changes(path) == {"ewma.gap_policy": "decay"}
    for other in ("revert", "hold"):
        with pytest.raises(ConfigError, match=r"ewma\.gap_policy has one value for all assets, but they do not agree"):
            write_config(tmp_path / "b", planted(small, policy("BTC", "decay"), policy("ETH", other)), now=NOW)
    assert [p.name for p in tmp_path.iterdir()] == ["own.toml"]


def test_a_grids_values_are_all_written(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    best = ((LIFE, "20m"), ("ewma.nu_1m", 6))
    write_config(path, planted(small, grid_of(best, ((LIFE, "5m"), ("ewma.nu_1m", 7.0)))), now=NOW)
    assert changes(path) == {f"{LIFE}.BTC": "20m", "ewma.nu_1m.BTC": 6}


def test_a_plug_ins_other_assets_keep_their_values(small: SweepResult, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    own = small.sweep.workload.settings.with_flags({"plugin.factor": {"default": 1.0, "ETH": 2.0}})
    tried = cell({0.5: 100, 1.0: 104, 2.0: 108}, 1.0, key="plugin.factor")
    write_config(path, planted(small, tried, settings=own), now=NOW)
    found = load_settings(file=path, environ={}).values.plugin
    assert found == {"factor": {"default": 1.0, "ETH": 2.0, "BTC": 0.5}}


def test_a_value_chosen_under_a_preset_holds_under_it(small: SweepResult, tmp_path: Path) -> None:
    """A preset lies over the file: a value beside it would not be seen."""
    path = tmp_path / "own.toml"
    own = Workload.of(small.sweep.workload.settings, "ewma@seed", start=START, days=0.5).settings
    write_config(path, planted(small, feedback("1h", 0.25, configured=1), settings=own), now=NOW)
    _, under = apply_preset("ewma@seed", load_settings(file=path, environ={}))
    assert resolve("feedback", None, under, "ewma").configured(under, "BTC") == 0.25


def test_the_file_of_a_real_sweep_makes_the_chosen_value_the_configured_one(
    settings: LoadedSettings, tmp_path: Path
) -> None:
    """The synthetic market's own half-life is far from a day: with many prompts that is proven."""
    path = tmp_path / "own.toml"
    far = settings.with_flags({"ewma.half_life_1m": "2d"})
    found = sweep(
        far, {"half_life_1m": ["20m", "40m"]}, competitions=["1h"], **(PROMPTS | {"days": 2.0, "assets": ["BTC"]})
    )
    assert found.cells[0].verdict == "better", found.cells[0].words()
    write_config(path, found, now=NOW)
    written = load_settings(file=path, environ={})
    best = found.summary[0]["best"]
    assert resolve("half_life_1m", None, written, "ewma").configured(written, "BTC") == best
    assert resolve("half_life_1m", None, written, "ewma").configured(written, "ETH") == "30m"

"""`check lookahead` in fresh processes finds leaks that a process's own memory would hide, each planted here."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mean_move
import orjson
import pytest

from ewmalab.errors import EngineError, ForecasterError
from ewmalab.forecast.model import Fit
from ewmalab.market.cache import open_cache
from ewmalab.replay.artifacts import Artifact, write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.replay.fresh_process import Job, run_fresh
from ewmalab.replay.lookahead import LookaheadReport, check_lookahead
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.report.text.checks import lookahead_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, HOUR, parse_time

START, NOW = parse_time("2026-01-08"), parse_time("2026-03-01")
PLUGINS = '''
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from mean_move import MeanMove

from ewmalab.market.cache import open_cache
from ewmalab.settings import load_settings
from ewmalab.times import day_name

CACHE = {cache!r}
KEPT = Path({kept!r})
SEEN, AHEAD, OTHERS = {{}}, {{}}, {{}}


def moved(paths, ahead, last):
    """The paths, drifting to a price of the future if it is known."""
    if ahead is not None:
        paths[1:] += np.float32(np.log(ahead / last))
    return paths


class Honest(MeanMove):
    pass


class Simple(MeanMove):
    """Its next price comes from a function, if there is one."""

    def simulate(self, state, prompt, stream):
        return moved(super().simulate(state, prompt, stream), self.ahead(prompt.start_time // 60 * 60), state[2])


class Memo(Simple):
    """Remembers the bars it has seen."""

    def update(self, state, bars):
        SEEN.update(zip(bars.timestamp.tolist(), bars.close.tolist()))
        return super().update(state, bars)

    def ahead(self, when):
        return SEEN.get(when)


class Results(MeanMove):
    """Remembers what it answered, and so answers as the first time; the first time it read what lies beneath."""

    known = {{}}

    def update(self, state, bars):
        whole = bars.close if bars.close.base is None else bars.close.base
        count, total, last = super().update(state, bars)
        return count, total * float(whole[-1]) / last, last

    def simulate(self, state, prompt, stream):
        if prompt not in self.known:
            self.known[prompt] = super().simulate(state, prompt, stream)
        return self.known[prompt].copy()


class RunAhead(Simple):
    """Fills a global from all bars in a first pass."""

    def update(self, state, bars):
        if bars.close.base is not None:
            for t, c in zip(bars.timestamp.base.tolist(), bars.close.base.tolist()):
                AHEAD.setdefault((self.asset.symbol, t), c)
        return super().update(state, bars)

    def ahead(self, when):
        return AHEAD.get((self.asset.symbol, when))


class Other(MeanMove):
    """Knows where the other asset will be."""

    def update(self, state, bars):
        OTHERS.setdefault(self.asset.symbol, {{}}).update(zip(bars.timestamp.tolist(), bars.close.tolist()))
        return super().update(state, bars)

    def simulate(self, state, prompt, stream):
        paths = super().simulate(state, prompt, stream)
        other = OTHERS.get("BTC", {{}}) if self.asset.symbol == "ETH" else {{}}
        when = prompt.start_time // 60 * 60
        return moved(paths, other.get(when), other.get(when - 300) or 1.0)


class Reading(Simple):
    """Opens a cache and reads ahead."""

    folder = "data_cache"

    def ahead(self, when):
        bars = open_cache(Path(self.folder)).read("simulated-7", self.asset.symbol, when, when + 60)
        return float(bars.close[0]) if len(bars) else None


class FromSettings(Reading):
    @property
    def folder(self):
        return load_settings().values.data.cache_dir


class FromVariable(Reading):
    @property
    def folder(self):
        return os.environ["OWN_CACHE"]


class FromParameter(Reading):
    def __init__(self, asset, cache=None):
        MeanMove.__init__(self, asset)
        object.__setattr__(self, "folder", cache)


class HardCoded(Reading):
    folder = CACHE


class History(Reading):
    """Opens the cache, and reads only what was known."""

    def ahead(self, when):
        bars = open_cache(Path(self.folder)).read("simulated-7", self.asset.symbol, when - 3600, when - 180)
        return float(bars.close[-1])


class Unseen(Simple):
    """Opens a file of the cache by its full name with a library that Python does not see reading."""

    def ahead(self, when):
        name = f"{{CACHE}}/simulated-7/{{self.asset.symbol}}/1m/{{day_name(when)}}.parquet"
        table = pq.read_table(name).to_pydict()
        return dict(zip(table["timestamp"], table["close"])).get(when)


class Variable(Simple):
    """Keeps what it has seen in the environment."""

    def update(self, state, bars):
        for t, c in zip(bars.timestamp.tolist()[-120:], bars.close.tolist()[-120:]):
            os.environ[f"SEEN_{{self.asset.symbol}}_{{t}}"] = c.hex()
        return super().update(state, bars)

    def ahead(self, when):
        found = os.environ.get(f"SEEN_{{self.asset.symbol}}_{{when}}")
        return float.fromhex(found) if found else None


class Temporary(Simple):
    """Keeps what it has seen in a file."""

    @property
    def folder(self):
        return Path(tempfile.gettempdir())

    def update(self, state, bars):
        path = self.folder / f"seen-{{self.asset.symbol}}"
        with path.open("a") as file:
            file.writelines(f"{{t}} {{c!r}}\\n" for t, c in zip(bars.timestamp.tolist(), bars.close.tolist()))
        return super().update(state, bars)

    def ahead(self, when):
        path = self.folder / f"seen-{{self.asset.symbol}}"
        found = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {{}}
        return float(found[str(when)]) if str(when) in found else None


class Kept(Temporary):
    folder = KEPT


class Logging(MeanMove):
    """Writes a file that it never reads."""

    def simulate(self, state, prompt, stream):
        with (KEPT / "log").open("a") as file:
            file.write("simulated\\n")
        return super().simulate(state, prompt, stream)


def scaled(paths, factor):
    return (paths * np.float32(factor)).astype(np.float32)


class GlobalSeeded(MeanMove):
    np.random.seed(0)

    def simulate(self, state, prompt, stream):
        return scaled(super().simulate(state, prompt, stream), 1 + np.random.random())


class GlobalUnseeded(MeanMove):
    def simulate(self, state, prompt, stream):
        return scaled(super().simulate(state, prompt, stream), 1 + random.random())


class Clock(MeanMove):
    def simulate(self, state, prompt, stream):
        return scaled(super().simulate(state, prompt, stream), 1 + time.time() % 1)


class Hashes(MeanMove):
    """Depends on the order of a set of texts, which another interpreter has otherwise."""

    def simulate(self, state, prompt, stream):
        return scaled(super().simulate(state, prompt, stream), 1 + hash("BTC") % 1000 / 1000)


class YearOnly(MeanMove):
    def simulate(self, state, prompt, stream):
        return scaled(super().simulate(state, prompt, stream), time.localtime().tm_year / 2000)
'''
LEAKING = [
    "Memo", "Results", "RunAhead", "Other", "Reading", "FromSettings", "FromVariable", "FromParameter", "Variable",
    "Temporary",
]  # fmt: skip
UNSTEADY = ["GlobalSeeded", "GlobalUnseeded", "Clock", "Hashes"]
HONEST = ["Honest", "History", "Logging"]
NOT_CAUGHT = ["Unseen", "YearOnly"]
"""What the check does not see: a file by its full name that Python is not told of, and a clock that hardly moves."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with a cache, and a module of plug-ins that can be imported."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "kept").mkdir()
    text = PLUGINS.format(cache=str(folder / "data_cache"), kept=str(folder / "kept"))
    (folder / "leaking_plugins.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setenv("OWN_CACHE", str(folder / "data_cache"))
        patch.setenv("EWMALAB__DATA__CACHE_DIR", "data_cache")
        yield folder
        sys.modules.pop("leaking_plugins", None)


def settings_of(home: Path, **flags: Any) -> LoadedSettings:
    given = {"data.cache_dir": str(home / "data_cache"), "data.feed": "simulated", **flags}
    return load_settings(environ={}, flags=given)


def plan_of(settings: LoadedSettings, *names: str, **options: Any) -> BacktestPlan:
    forecasters = [name if ":" in name or name == "ewma" else f"leaking_plugins:{name}" for name in names]
    chosen: dict[str, Any] = {
        "start": START, "days": 0.5, "assets": ["BTC", "ETH"], "competitions": ["1h"], "num_simulations": 20,
        "now": NOW, "forecasters": forecasters,
    }  # fmt: skip
    return plan_backtest(settings, **(chosen | options))


def leaking(report: LookaheadReport) -> set[str]:
    return {leak.forecaster.rpartition(":")[2] for leak in report.leaks}


@pytest.mark.ci
def test_a_memo_cannot_hide_a_leak_from_fresh_processes(home: Path) -> None:
    told: list[tuple[int, int]] = []
    plan = plan_of(settings_of(home), "Results", days=0.1, assets=["BTC"])
    report = check_lookahead(plan, cuts=3, progress=lambda *both: told.append(both))
    assert {leak.mutation for leak in report.leaks} >= {"removed", "scaled", "shaken"}
    assert (report.cuts, report.unsteady, report.apart, report.ok) == (3, {}, True, False)
    assert told == [(i + 1, len(told)) for i in range(len(told))]
    text = lookahead_text(report)
    assert "forecasts at 3 cuts tried" in text
    assert "no leak" not in text


@pytest.fixture(scope="module")
def found(home: Path) -> LookaheadReport:
    plain = [name for name in (*LEAKING, *UNSTEADY, *HONEST, *NOT_CAUGHT) if name != "FromParameter"]
    return check_lookahead(plan_of(settings_of(home), *plain, "ewma", days=0.25), cuts=3)


@pytest.mark.ci
@pytest.mark.parametrize("name", [name for name in LEAKING if name != "FromParameter"])
def test_a_planted_leak_is_found(found: LookaheadReport, name: str) -> None:
    assert name in leaking(found)
    assert f"leaking_plugins:{name}" not in found.unsteady


@pytest.mark.ci
@pytest.mark.parametrize("name", UNSTEADY)
def test_what_draws_or_looks_elsewhere_is_not_deterministic_and_no_leak(found: LookaheadReport, name: str) -> None:
    assert f"leaking_plugins:{name}" in found.unsteady
    assert name not in leaking(found)
    assert f"leaking_plugins:{name} is not deterministic" in lookahead_text(found)


@pytest.mark.ci
@pytest.mark.parametrize("name", [*HONEST, "ewma"])
def test_what_is_honest_has_no_leak(found: LookaheadReport, name: str) -> None:
    assert name not in leaking(found)
    assert not any(key.endswith(name) for key in found.unsteady)


@pytest.mark.ci
@pytest.mark.parametrize("name", NOT_CAUGHT)
def test_the_limits_of_the_check_are_known(found: LookaheadReport, name: str) -> None:
    assert name not in leaking(found)
    assert f"leaking_plugins:{name}" not in found.unsteady


@pytest.mark.ci
def test_the_leak_of_one_asset_through_another_is_named_where_it_is(found: LookaheadReport) -> None:
    assert {leak.asset for leak in found.leaks if leak.forecaster.endswith(":Other")} == {"ETH"}


@pytest.mark.ci
def test_files_that_are_opened_are_named(found: LookaheadReport, home: Path) -> None:
    notes = "\n".join(found.notes)
    assert f"leaking_plugins:Logging opens files, which the check cannot change: {home / 'kept' / 'log'}" in notes
    assert "leaking_plugins:History reads the cache on disk" in notes
    assert "leaking_plugins:Honest" not in notes
    assert "ewma" not in notes


@pytest.mark.ci
def test_a_cache_that_is_named_by_a_parameter_is_replaced(home: Path) -> None:
    settings = settings_of(home, **{"plugin.cache": str(home / "data_cache")})
    assert leaking(check_lookahead(plan_of(settings, "FromParameter"), cuts=3)) == {"FromParameter"}


@pytest.mark.ci
def test_files_that_no_process_can_hide_are_findings(home: Path) -> None:
    """On a second run the file is there from the first, and the forecasts agree."""
    plan = plan_of(settings_of(home), "Kept", "HardCoded", days=0.2, assets=["BTC"])
    for _ in range(2):
        report = check_lookahead(plan, cuts=3)
        assert not report.ok
        assert any(line.startswith("leaking_plugins:Kept reads what it has written: ") for line in report.files)
        assert f"leaking_plugins:HardCoded reads the cache in {home / 'data_cache'}" in "\n".join(report.files)


# ------------------------------------------------------------------------------------------------------------- fits


def artifact_of(settings: LoadedSettings, fitted: int, end: int, seen: int | None = None) -> Artifact:
    """A fit on bars up to `fitted` that says it ended at `end`, and perhaps that it saw only bars up to `seen`."""
    cache, book = open_cache(settings.values.data.cache_dir), load_rulebook()

    def made(until: int) -> Artifact:
        bars = {"BTC": cache.read("simulated-7", "BTC", START - 6 * DAY, until)}
        return make_artifact(mean_move.FITTED, bars, settings, book, end=until, feed="simulated-7")

    artifact = made(fitted)
    fit = Fit(end, artifact.fit.numbers, artifact.fit.digest)
    return replace(artifact, fit=fit, seen=made(seen or fitted).seen)


@pytest.fixture
def forged(home: Path, tmp_path: Path) -> Callable[..., BacktestPlan]:
    settings = settings_of(home)
    plan_of(settings, "Honest", days=1.0)  # makes the bars

    def made(*times: Any) -> BacktestPlan:
        path = write_artifact(artifact_of(settings, *times), tmp_path)
        own = settings.with_flags({"fit.artifacts": [str(path)]})
        return plan_of(own, mean_move.FITTED, days=0.2, assets=["BTC"])

    return made


BEFORE, AFTER = START - HOUR, START + DAY // 2


@pytest.mark.ci
def test_a_fit_that_saw_the_future_of_the_prompts_is_found(forged: Callable[..., BacktestPlan]) -> None:
    honest = check_lookahead(forged(BEFORE, BEFORE), cuts=2)
    assert (honest.ok, honest.fitted, honest.fits, honest.notes) == (True, True, {}, [])
    assert "fits were made without them" in lookahead_text(honest)
    late = check_lookahead(forged(AFTER, BEFORE), cuts=2)
    assert "it saw bars of BTC up to 2026-01-08T11:59:00Z, after its end, 2026-01-07T23:00:00Z" in late.fits[
        mean_move.FITTED
    ]  # fmt: skip
    lying = check_lookahead(forged(AFTER, BEFORE, BEFORE), cuts=2)
    assert "its numbers do not follow from the bars that it says it saw" in lying.fits[mean_move.FITTED]
    assert not lying.ok
    assert f"the fit of {mean_move.FITTED} is not confirmed" in lookahead_text(lying)


@pytest.mark.ci
def test_a_fit_whose_bars_are_gone_is_said_to_be_unconfirmed(
    forged: Callable[..., BacktestPlan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = forged(BEFORE, BEFORE)
    (path,) = plan.settings.values.fit.artifacts
    data = orjson.loads(Path(path).read_bytes())
    gone = replace(
        artifact_of(plan.settings, BEFORE, BEFORE), seen={"BTC": {**data["seen"]["BTC"], "sha256": "of other bars"}}
    )
    settings = plan.settings.with_flags({"fit.artifacts": [str(write_artifact(gone, Path(path).parent))]})
    report = check_lookahead(replace(plan, settings=settings), cuts=1)
    assert report.ok
    assert report.notes == [
        f"the fit of {mean_move.FITTED} was not confirmed: the cache does not have the bars that it saw"
    ]


FITS = '''
from pathlib import Path
from mean_move import Fitted
from ewmalab.market.cache import open_cache

class Peeking(Fitted):
    """Its fit opens the cache and reads beyond its end."""

    def fit(self, bars, assets, *, end, prior=None):
        found = open_cache(Path("data_cache")).read("simulated-7", "BTC", end - 3600, end + 3600)
        return {"factor": float(found.close[-1] / found.close[0])}

class Beneath(Fitted):
    def fit(self, bars, assets, *, end, prior=None):
        own = bars["BTC"].close
        return {"factor": float(own[-1] / (own if own.base is None else own.base)[-1])}
'''


@pytest.mark.ci
def test_the_bars_that_fits_see_are_changed_too(home: Path) -> None:
    (home / "leaking_fits.py").write_text(FITS)
    settings = settings_of(home, **{"fit.every": "6h", "fit.history": "8d"})
    names = [f"leaking_fits:{name}" for name in ("Peeking", "Beneath")]
    report = check_lookahead(plan_of(settings, *names, mean_move.FITTED, days=1.0, assets=["BTC"]), cuts=1)
    assert leaking(report) == {"Peeking", "Beneath"}
    assert report.fitted


# --------------------------------------------------------------------------------------------------- fresh processes


def look(task: Any, folder: Path, tick: Callable[[], None]) -> dict[str, Any]:
    tick()
    print("what a plug-in prints is no tick")
    return {
        "task": task, "modules": "test_checks" in sys.modules, "here": sorted(os.listdir()),
        "instead": sorted(os.listdir("a/b")), "hidden": os.environ.get("OWN") == str(folder / "instead"),
        "temporary": Path(tempfile.gettempdir()).is_relative_to(folder), "variable": os.environ.get("PLANTED"),
    }  # fmt: skip


def fail(task: Any, folder: Path, tick: Callable[[], None]) -> None:
    raise ForecasterError(task)


def die(task: Any, folder: Path, tick: Callable[[], None]) -> None:
    os._exit(3)


def test_a_fresh_process_shares_no_globals_variables_or_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/b/cache", "a/b/other", "c"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    before = {**os.environ, "OWN": str(tmp_path / "a/b/cache")}
    monkeypatch.setenv("PLANTED", "by an import")
    ticks: list[int] = []
    jobs = [Job(look, 1, tmp_path / "a/b/cache"), Job(look, 2)]
    (one, _), (two, _) = run_fresh(jobs, before, lambda: ticks.append(1))
    expected = {
        "modules": False, "here": ["a", "c"], "instead": ["cache", "other"], "temporary": True, "variable": None
    }  # fmt: skip
    assert one == {"task": 1, **expected, "hidden": True}
    assert two == {"task": 2, **expected, "hidden": False}
    assert len(ticks) == 2


@pytest.mark.ci
def test_errors_of_a_fresh_process_reach_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ForecasterError, match="a reason"):
        run_fresh([Job(fail, "a reason")], os.environ, lambda: None)
    with pytest.raises(EngineError, match="a fresh process ended without a result"):
        run_fresh([Job(die, None), Job(look, None)], os.environ, lambda: None)


@pytest.mark.ci
def test_the_command_says_what_was_tried(ewmalab: Callable[..., Any], home: Path) -> None:
    given = ["--start", "2026-01-08", "--days", "0.2", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h"]
    own = ["-f", "leaking_plugins:Memo", "--cuts", "2", f"--set=data.cache_dir={home / 'data_cache'}"]
    bad = ewmalab("check", "lookahead", *given, *own)
    assert bad.code == 1
    assert "leaking_plugins:Memo 1h BTC: the forecast requested at" in bad.out
    good = ewmalab("check", "lookahead", *given, "-f", "ewma", *own[2:])
    assert good.code == 0, good.err
    assert good.out.startswith("no leak found: ")
    assert "in fresh processes" in good.out
    plain = orjson.loads(ewmalab("check", "lookahead", *given, "--json", *own).out)
    assert plain["leaks"]
    assert plain["not_deterministic"] == {}

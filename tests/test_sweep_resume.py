"""Finished trials are never computed twice, and a sweep that was stopped goes on to the same result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import ewmalab.sweeps.tune  # before a test patches what it imports
from ewmalab.atomic_files import TEMP_PREFIX
from ewmalab.errors import ConfigError
from ewmalab.experiments.store import list_experiments
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.engines import MIN_SECONDS
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.sweep import SweepResult, sweep
from ewmalab.sweeps.trials import TrialStore
from ewmalab.times import DAY, MINUTE, parse_time

ROOT = Path(__file__).resolve().parents[1]
START = parse_time("2026-01-15")  # of the synthetic market's newest days
NOW = parse_time("2026-03-01")


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the module's tests fill with synthetic bars as they need them."""
    return tmp_path_factory.mktemp("cache")


def loaded(cache: Path, experiments: Path) -> LoadedSettings:
    flags = {"data.feed": "simulated", "data.cache_dir": str(cache), "run.experiments_dir": str(experiments)}
    return load_settings(environ={}, flags=flags)


@pytest.fixture
def settings(cache_dir: Path, tmp_path: Path) -> LoadedSettings:
    return loaded(cache_dir, tmp_path / "experiments")


def swept(settings: LoadedSettings, *values: str, **options: Any) -> SweepResult:
    chosen: dict[str, Any] = {
        "now": NOW, "start": START, "days": 0.25, "assets": ["BTC"], "competitions": ["1h"], "replicates": 2,
        "num_simulations": 50,
    }  # fmt: skip
    return sweep(settings, {"half_life_1m": values or ("10m", "30m", "2h")}, **(chosen | options))


def trial_files(experiments: Path) -> list[Path]:
    return sorted((experiments / "trials").rglob("*.f64"))


def elsewhere(settings: LoadedSettings, tmp_path: Path) -> LoadedSettings:
    """The same settings with nothing known from before."""
    return settings.with_flags({"run.experiments_dir": str(tmp_path / "elsewhere")})


# ------------------------------------------------------------------------------------------------ known trials


def test_a_second_run_computes_nothing_and_says_the_same(settings: LoadedSettings) -> None:
    first, second = swept(settings), swept(settings)
    assert (first.sweep.reused, first.sweep.trials) == (0, 6)
    assert (second.sweep.reused, second.sweep.trials) == (6, 6)
    assert second.digest() == first.digest()


def test_fresh_computes_everything_and_puts_right_what_was_kept(settings: LoadedSettings) -> None:
    """Wrong scores under a right name show who reads them."""
    first = swept(settings)
    store = TrialStore(settings.values.run.experiments_dir / "trials")
    for path in trial_files(settings.values.run.experiments_dir):
        store.put(path.stem, np.ones(len(first.sweep.cells[0].starts)))
    assert swept(settings).digest() != first.digest()
    fresh = swept(settings, fresh=True)
    assert fresh.sweep.reused == 0
    assert fresh.digest() == first.digest()
    assert swept(settings).digest() == first.digest()


@pytest.mark.ci
@pytest.mark.parametrize(
    ("values", "options", "trials"),
    [
        (["10m", "20m", "30m", "1h", "2h"], {}, 10),
        (["10m", "30m", "2h"], {"replicates": 5}, 15),
        (["10m", "30m", "2h"], {"assets": ["BTC", "ETH"]}, 12),
        (["2h", "20m"], {}, 6),  # and 30m, which is configured
    ],
)
def test_a_wider_or_another_grid_computes_only_what_is_new(
    settings: LoadedSettings, tmp_path: Path, values: list[str], options: dict[str, Any], trials: int
) -> None:
    swept(settings)
    known = 4 if "10m" not in values else 6
    wider = swept(settings, *values, **options)
    assert (wider.sweep.reused, wider.sweep.trials) == (known, trials)
    assert wider.digest() == swept(elsewhere(settings, tmp_path), *values, **options).digest()


def test_damaged_trials_are_computed_again(settings: LoadedSettings) -> None:
    first = swept(settings)
    cut, flipped, *_ = trial_files(settings.values.run.experiments_dir)
    cut.write_bytes(cut.read_bytes()[:-40])
    data = bytearray(flipped.read_bytes())
    data[9] ^= 1
    flipped.write_bytes(bytes(data))
    second = swept(settings)
    assert (second.sweep.reused, second.sweep.trials) == (4, 6)
    assert second.digest() == first.digest()
    assert swept(settings).sweep.reused == 6


def test_half_written_trials_are_neither_read_nor_left_for_ever(settings: LoadedSettings) -> None:
    first = swept(settings)
    whole = trial_files(settings.values.run.experiments_dir)[0]
    old, young = (whole.with_name(f"{TEMP_PREFIX}{name}") for name in ("1-a", "2-b"))
    for path in (old, young):
        path.write_bytes(whole.read_bytes()[:50])
    whole.unlink()
    os.utime(old, (NOW - 7200, NOW - 7200))
    os.utime(young, (NOW - 60, NOW - 60))  # another run may be writing it
    second = swept(settings)
    assert second.sweep.reused == 5
    assert second.digest() == first.digest()
    assert (old.exists(), young.exists()) == (False, True)


class Stop(BaseException):
    """Ends a run as an interrupt does."""


@pytest.mark.parametrize("engine", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_what_was_done_before_an_interrupt_is_kept(
    settings: LoadedSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any
) -> None:
    monkeypatch.setitem(MIN_SECONDS, engine, 0.0)  # every ensemble a task of its own

    def stop(done: int, total: int) -> None:
        if done >= 3:
            raise Stop

    with pytest.raises(Stop):
        swept(settings, replicates=4, progress=stop, engine=engine, workers=2)
    kept = len(trial_files(settings.values.run.experiments_dir))
    again = swept(settings, replicates=4)
    assert 3 <= kept < 12
    assert (again.sweep.reused, again.sweep.trials) == (kept, 12)
    assert again.digest() == swept(elsewhere(settings, tmp_path), replicates=4).digest()


# ------------------------------------------------------------------------------------------- the command line

Run = Callable[..., tuple[int, str, str]]
SWEEP = ["sweep", "--param", "HALF_LIFE_1M", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h"]


@pytest.fixture
def ewmalab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process; returns exit code, output and messages."""
    from ewmalab.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "warnoptions", ["error"])  # a library's warning fails a test
    for name in [name for name in os.environ if name.startswith("EWMALAB__")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ewmalab", *arguments])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def where(cache: Path, experiments: Path) -> list[str]:
    return ["--set", f"data.cache_dir={cache}", "--set", f"run.experiments_dir={experiments}"]


def left(experiments: Path) -> list[Path]:
    return list((experiments / ".unfinished").rglob("*.json"))


SHORT = [*SWEEP, "--values", "10m,2h", "--days", "0.1", "--simulations", "20", "--replicates", "2", "--json"]


def test_without_an_unfinished_sweep_there_is_nothing_to_resume(ewmalab: Run, cache_dir: Path, tmp_path: Path) -> None:
    """Nor after one that ended, or one that failed: going on would fail again."""
    there = where(cache_dir, tmp_path / "e")
    message = "no sweep is unfinished; start one with `ewmalab sweep --param NAME`"
    for before, code in (
        (None, 0),
        (SHORT, 0),
        ([*SHORT, "--walk-forward", "5d/1d"], 2),  # longer than the prompts' range
    ):
        if before is not None:
            assert ewmalab(*before, *there)[0] == code
        code, _, error = ewmalab("sweep", "--resume", *there)
        assert (code, message in error) == (2, True)


def interrupted(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Let a function of the sweep's module raise what Ctrl-C raises."""

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"ewmalab.sweeps.{function}", stop)


@pytest.mark.ci
def test_resume_takes_all_options_of_the_newest_sweep_that_was_stopped(
    ewmalab: Run, cache_dir: Path, tmp_path: Path
) -> None:
    """`fresh`, engine and workers are not among them: they change no result."""
    there = where(cache_dir, tmp_path / "e")
    older = [*SHORT, "--seed", "1"]
    newer = [
        *SWEEP, "--param", "NU_1M", "--values", "20m,40m", "--values", "4,8,15", "--days", "0.2", "--simulations", "30",
        "--replicates", "3", "--seed", "7", "--start", "2026-01-16", "--cadence", "10m", "--rules", "latest", "--exact",
        "--forecaster", "ewma@seed", "--walk-forward", "2h/1h", "--name", "mine", "--set", "ewma.nu_5m.BTC=3",
    ]  # fmt: skip
    newer[newer.index("1h")] = "crypto-1h"
    for number, arguments in enumerate((older, newer)):
        with pytest.MonkeyPatch.context() as patch:
            interrupted(patch, "sweep.judge_sweep")
            code, out, error = ewmalab(*arguments, *there)
        assert code == 130
        assert out == "" or '"kind": "Interrupted"' in out  # with --json
        assert "finished trials are kept; go on with: ewmalab sweep --resume" in error
        os.utime(max(left(tmp_path / "e"), key=os.path.getmtime), (NOW + number, NOW + number))
    code, out, error = ewmalab("sweep", "--resume", "--json", *there)
    assert code == 0, error
    assert "resuming --param HALF_LIFE_1M --param NU_1M" in error
    found = json.loads(out)
    assert "-mine-" in found["experiment"]
    assert found["reused"] == found["trials"]
    straight = json.loads(ewmalab(*newer, "--json", *where(cache_dir, tmp_path / "straight"))[1])
    assert found["result"] == straight["result"]
    assert found["experiment"][-8:] == straight["experiment"][-8:]  # the hash of all inputs
    code, out, error = ewmalab("sweep", "--resume", "--json", *there)  # now the older one
    assert json.loads(out)["result"] == json.loads(ewmalab(*older, *where(cache_dir, tmp_path / "s"))[1])["result"]
    assert left(tmp_path / "e") == []


def test_a_sweep_stopped_while_its_experiment_is_written_can_be_resumed(
    ewmalab: Run, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = where(cache_dir, tmp_path / "e")
    with monkeypatch.context() as patch:
        interrupted(patch, "sweep.save_experiment")
        assert ewmalab(*SHORT, *there)[0] == 130
    code, out, error = ewmalab("sweep", "--resume", "--json", *there)
    assert code == 0, error
    assert json.loads(out)["result"] == json.loads(ewmalab(*SHORT, *there)[1])["result"]


@pytest.mark.ci
def test_resume_keeps_to_the_prompts_it_began_with_also_where_newer_bars_came_since(
    ewmalab: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a start the newest days are taken: those that were the newest then."""
    begin, end = START - 6 * DAY, START + 4 * DAY
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(3).standard_normal((end - begin) // MINUTE) * 5e-4))
    bars = Bars.from_closes(np.arange(begin, end, MINUTE), closes)

    def fetched(until: int) -> None:
        span = (begin, until)
        Cache(tmp_path / "c").write("file", "BTC", bars.between(*span), [span], Provenance("test", NOW))

    arguments = ["file" if word == "simulated" else word for word in SHORT]
    there = where(tmp_path / "c", tmp_path / "e")
    fetched(START + 2 * DAY)
    with monkeypatch.context() as patch:
        interrupted(patch, "sweep.judge_sweep")
        assert ewmalab(*arguments, *there)[0] == 130
    uninterrupted = json.loads(ewmalab(*arguments, *where(tmp_path / "c", tmp_path / "straight"))[1])
    fetched(end)
    code, out, error = ewmalab("sweep", "--resume", "--json", *there)
    assert code == 0, error
    assert json.loads(out)["result"] == uninterrupted["result"]


def test_no_secret_is_written_to_go_on_later(
    ewmalab: Run, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "sk-do-not-write-me"
    interrupted(monkeypatch, "sweep.judge_sweep")
    code, _, error = ewmalab(*SHORT, *where(cache_dir, tmp_path / "e"), "--set", f"feeds.pyth.api_key={secret}")
    assert (code, len(left(tmp_path / "e"))) == (130, 1)
    assert secret not in error
    for path in (tmp_path / "e").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


# ------------------------------------------------------------------------------------------------------- kills

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
SCALES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
LONG = [
    "sweep", "-f", "held:Held", "--param", "plugin.scale", "--values", ",".join(map(str, SCALES)), "--set",
    "plugin.scale=1.0", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h", "--start", "2026-01-15",
    "--days", "0.25", "--simulations", "50", "--replicates", "2", "--json",
]  # fmt: skip
TRIALS = 2 * len(SCALES)

PLUGIN = """
import threading
import time
from pathlib import Path

import numpy as np

from ewmalab.replay.engines import MIN_SECONDS

GATE = Path(__file__).with_name("gate")  # how many trials pass while it is there
ARRIVED = Path(__file__).with_name("arrived")  # the first trial that waits before the gate makes it
if GATE.exists():
    MIN_SECONDS["threads"] = 0.0  # every trial is a task of its own
lock, begun = threading.Lock(), 0


class Held:
    def __init__(self, asset, scale):
        self.scale, self.counted = scale, False

    def initial_state(self):
        return 0

    def update(self, state, bars):
        return state + len(bars)

    def simulate(self, state, prompt, stream):
        global begun
        if not self.counted:  # every trial makes a forecaster of its own
            with lock:
                begun += 1
                self.counted, number = True, begun
            while GATE.exists() and number > int(GATE.read_text()):
                ARRIVED.touch()
                time.sleep(0.005)
        steps = stream.generator().standard_normal((prompt.steps, prompt.num_simulations))
        paths = np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
        np.cumsum(1e-4 * self.scale * steps, axis=0, out=paths[1:])
        return paths

    def dump_state(self, state):
        return {"version": 1, "bars": state}

    def load_state(self, data):
        return data["bars"]
"""


@dataclass(frozen=True)
class Held:
    """A folder with a plug-in whose trials wait at a gate; what an uninterrupted run says, and how long it takes."""

    folder: Path
    result: str
    seconds: float

    @property
    def gate(self) -> Path:
        return self.folder / "gate"

    @property
    def arrived(self) -> Path:
        return self.folder / "arrived"

    def lets_pass(self, trials: int) -> None:
        """Let the next command do so many trials, and hold the others."""
        self.arrived.unlink(missing_ok=True)
        self.gate.write_text(str(trials))


@pytest.fixture(scope="module")
def whole(cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "held.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        settings = loaded(cache_dir, tmp_path_factory.mktemp("whole")).with_flags({"plugin.scale": 1.0})
        began = time.monotonic()
        result = sweep(
            settings, {"plugin.scale": [str(scale) for scale in SCALES]}, now=NOW, forecaster="held:Held", start=START,
            days=0.25, num_simulations=50, replicates=2, assets=["BTC"], competitions=["1h"],
        )  # fmt: skip
        seconds = time.monotonic() - began
    assert result.sweep.trials == TRIALS
    return Held(folder, result.digest(), seconds)


@pytest.fixture
def held(whole: Held, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """The gate is open before and after each test."""
    monkeypatch.syspath_prepend(whole.folder)
    whole.gate.unlink(missing_ok=True)
    yield whole
    whole.gate.unlink(missing_ok=True)


def command(*arguments: str, held: Held, folder: Path) -> subprocess.Popen[bytes]:
    """Start the command line in a process of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EWMALAB__") and k != "PYTH_API_KEY"}
    path = os.pathsep.join([str(ROOT), str(held.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "ewmalab", *arguments], cwd=folder, env={**clean, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip


def await_that(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Wait until something holds, or the process has ended."""
    deadline = time.monotonic() + 300
    while not holds() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def await_gate(process: subprocess.Popen[bytes], experiments: Path, held: Held, trials: int) -> None:
    """Wait until a trial is held and those before it are kept."""
    await_that(process, lambda: held.arrived.exists() and len(trial_files(experiments)) == trials)


def check_kills(kills: int, ewmalab: Run, cache: Path, folder: Path, held: Held, *, seed: int, anytime: float) -> int:
    """Kill sweeps and their resumptions up to three times each; return how many hits were in mid-run.

    A share `anytime` of them at a random moment, the others while a trial of random number is held.
    """
    rng = np.random.default_rng(seed)
    hits = halfway = done = ended = 0
    number = 0
    while done < kills:
        number += 1
        experiments = folder / f"run{number}"
        there = where(cache, experiments)
        arguments = LONG
        for _ in range(min(int(rng.integers(1, 4)), kills - done)):
            known = len(trial_files(experiments))
            at_random = rng.random() < anytime  # perhaps before the first trial, perhaps after the last
            passing = TRIALS if at_random else int(rng.integers(1, max(2, (TRIALS - known) // 2)))
            held.lets_pass(passing)
            process = command(*arguments, *there, held=held, folder=folder)
            try:
                if at_random:
                    await_that(process, lambda folder=experiments: bool(left(folder)))
                    time.sleep(float(rng.random()) * 2 * held.seconds)
                else:
                    await_gate(process, experiments, held, known + passing)
            finally:
                process.kill()  # by its own id
                out, error = process.communicate()
            if process.returncode == 0:  # it ended before the kill
                assert at_random
                ended += 1
                assert json.loads(out)["result"] == held.result
                break
            assert process.returncode == -signal.SIGKILL, error.decode()
            done += 1
            if not left(experiments):  # all was written, and only the last words were missing
                (saved,) = list_experiments(experiments)
                assert saved.manifest["notes"]["digest"] == held.result
                ended += 1
                break
            kept = len(trial_files(experiments))
            hits += 0 < kept < TRIALS
            halfway += known < kept < TRIALS
            arguments = ["sweep", "--resume", "--json"]
        else:
            kept = len(trial_files(experiments))
            held.gate.unlink()
            code, output, messages = ewmalab(*arguments, *there)
            assert code == 0, messages
            found = json.loads(output)
            assert found["result"] == held.result
            assert (found["reused"], found["trials"]) == (kept, TRIALS)
        assert left(experiments) == []
    print(f"{done} kills: {hits} in mid-run, {halfway} after trials of their own; {ended} runs ended before theirs")
    return hits


@needs_kill
@pytest.mark.ci
def test_a_sweep_killed_at_random_goes_on_to_the_same_result(
    ewmalab: Run, cache_dir: Path, tmp_path: Path, held: Held
) -> None:
    assert check_kills(2, ewmalab, cache_dir, tmp_path, held, seed=3, anytime=0.0) == 2


@needs_kill
@pytest.mark.slow
def test_a_sweep_killed_fifty_times_goes_on_to_the_same_result(
    ewmalab: Run, cache_dir: Path, tmp_path: Path, held: Held
) -> None:
    assert check_kills(50, ewmalab, cache_dir, tmp_path, held, seed=4, anytime=0.25) >= 25


@needs_kill
@pytest.mark.ci
def test_an_interrupt_ends_with_130_and_says_how_to_go_on(
    ewmalab: Run, cache_dir: Path, tmp_path: Path, held: Held
) -> None:
    there = where(cache_dir, tmp_path / "e")
    held.lets_pass(5)
    process = command(*LONG, *there, held=held, folder=tmp_path)
    try:
        await_gate(process, tmp_path / "e", held, 5)
        process.send_signal(signal.SIGINT)
        held.gate.unlink()  # trials that have begun are finished
        out, error = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert orjson.loads(out)["error"]["exit_code"] == 130
    assert error.decode().split("\n") == [
        "ewmalab: stopped",
        "finished trials are kept; go on with: ewmalab sweep --resume",
        "",
    ]
    assert len(trial_files(tmp_path / "e")) == 5
    code, output, messages = ewmalab("sweep", "--resume", "--json", *there)
    assert code == 0, messages
    found = json.loads(output)
    assert (found["result"], found["reused"], found["trials"]) == (held.result, 5, TRIALS)


def test_windows_longer_than_the_prompts_are_refused(settings: LoadedSettings) -> None:
    with pytest.raises(ConfigError, match=r"walk-forward: the windows are longer than the prompts' range; replay more"):
        swept(settings, forward="5d/1d")


def test_synthetic_bars_of_a_longer_warm_up_are_made_on_the_way(tmp_path: Path) -> None:
    flags = {"data.feed": "simulated", "data.cache_dir": str(tmp_path / "c"), "run.experiments_dir": str(tmp_path)}
    found = sweep(
        load_settings(environ={}, flags=flags), {"warmup": ["1d", "6d"]}, now=NOW, days=0.1, assets=["BTC"],
        competitions=["1h"], num_simulations=10,
    )  # fmt: skip
    assert len(found.cells[0].values) == 3

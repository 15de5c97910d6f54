"""A sweep says the same wherever its trials run and wherever its bars lie."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ewmalab.errors import ConfigError, CorruptPartitionError, EngineError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, local_cache, open_cache
from ewmalab.market.inventory import list_cached
from ewmalab.market.partition import Provenance
from ewmalab.replay.engines import ENGINES, MIN_SECONDS, run_tasks
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.sweep import SweepResult, sweep
from ewmalab.times import DAY, MINUTE, parse_time

ROOT = Path(__file__).resolve().parents[1]
START = parse_time("2026-01-15")
NOW = parse_time("2026-03-01")
SPAN = (START - 4 * DAY, START + 2 * DAY)
VALUES = {"half_life_1m": ["10m", "30m", "2h"]}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the module's tests fill with synthetic bars as they need them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every ensemble be a task, however short it is."""
    for engine in ENGINES:
        monkeypatch.setitem(MIN_SECONDS, engine, 0.0)


@pytest.fixture
def dask() -> None:
    pytest.importorskip("distributed", reason="needs the extra ewmalab[dask]")


@pytest.fixture
def settings(cache_dir: Path, tmp_path: Path) -> LoadedSettings:
    return loaded(cache_dir, tmp_path / "experiments")


def loaded(cache: Path | str, experiments: Path, feed: str = "simulated") -> LoadedSettings:
    flags = {"data.feed": feed, "data.cache_dir": str(cache), "run.experiments_dir": str(experiments)}
    return load_settings(environ={}, flags=flags)


def swept(settings: LoadedSettings, **options: Any) -> SweepResult:
    chosen: dict[str, Any] = {
        "now": NOW, "start": START, "days": 0.25, "assets": ["BTC", "ETH"], "competitions": ["1h"], "replicates": 2,
        "num_simulations": 50, "fresh": True,
    }  # fmt: skip
    return sweep(settings, VALUES, **(chosen | options))


def closes(minutes: int, seed: int = 3) -> Any:
    return 100 * np.exp(np.cumsum(np.random.default_rng(seed).standard_normal(minutes) * 5e-4))


def bars_over(a: int, b: int, seed: int = 3) -> Bars:
    """Bars with a small real range; one in fifty is missing."""
    c = closes((b - a) // MINUTE, seed)
    labels = np.arange(a, b, MINUTE)
    keep = (labels // MINUTE) % 50 != 7
    return Bars(labels[keep], c[keep], c[keep] * 1.0005, c[keep] * 0.9995, c[keep])


@pytest.fixture
def stored(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "a cache")  # URLs write the blank in another way
    for asset, seed in (("BTC", 3), ("ETH", 4)):
        cache.write("file", asset, bars_over(*SPAN, seed), [SPAN], Provenance("test", NOW))
    return cache


# ----------------------------------------------------------------------------------------------------- engines


@pytest.mark.ci
@pytest.mark.usefixtures("many_tasks", "dask")
def test_every_engine_and_number_of_workers_gives_the_same_bits(settings: LoadedSettings) -> None:
    counted: list[list[tuple[int, int]]] = []

    def run(engine: Any, workers: int) -> str:
        counted.append([])
        result = swept(
            settings, engine=engine, workers=workers, progress=lambda *done: counted[-1].append(done), replicates=3
        )
        return result.digest()

    digests = [run(*how) for how in (("threads", 1), ("threads", 3), ("processes", 2), ("dask", 2))]
    assert len(set(digests)) == 1
    for steps in counted:
        assert len(steps) > 6  # several tasks, else nothing was shared out
        assert steps == sorted(steps)
        (begun, total), end = steps[0], steps[-1]
        assert (begun, end) == (0, (total, total))
        assert total > 18  # trials, and the cells that are judged afterwards


def test_another_seed_gives_another_digest(settings: LoadedSettings) -> None:
    assert swept(settings).digest() != swept(settings.with_flags({"run.seed": 1})).digest()


@pytest.mark.usefixtures("many_tasks")
@pytest.mark.ci
def test_workers_that_outlive_a_sweep_see_bars_that_changed_since(tmp_path: Path, stored: Cache) -> None:
    """Processes are kept for the next run, as those of a cluster are."""
    settings = loaded(stored.root, tmp_path / "experiments", feed="file")
    before = swept(settings, engine="processes", workers=2).digest()
    stored.write("file", "BTC", bars_over(*SPAN, seed=9), [SPAN], Provenance("test", NOW), replace=True)
    after = swept(settings, engine="processes", workers=2).digest()
    assert after != before
    assert after == swept(settings).digest()


@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_a_scheduler_is_refused_beside_another_engine(settings: LoadedSettings, engine: Any) -> None:
    with pytest.raises(ConfigError, match=f"a scheduler belongs to --engine dask, not to {engine}"):
        swept(settings, engine=engine, scheduler="tcp://127.0.0.1:8786")


def test_an_unknown_engine_is_refused_with_those_there_are(settings: LoadedSettings) -> None:
    with pytest.raises(ConfigError, match=r"gpu.*threads.*processes.*dask"):
        swept(settings, engine="gpu")


@pytest.mark.usefixtures("dask")
@pytest.mark.parametrize(
    "address", ["nonsense://nowhere", pytest.param("tcp://127.0.0.1:{free}", marks=pytest.mark.slow)]
)  # the latter waits 10 s for an answer
def test_a_scheduler_that_does_not_answer_is_named_with_how_to_start_one(
    settings: LoadedSettings, address: str
) -> None:
    where = address.format(free=free_port())
    with pytest.raises(EngineError, match=rf"no Dask scheduler answers at {where}: .*start one with `dask scheduler`"):
        swept(settings, engine="dask", scheduler=where)


def fail(task: int) -> int:
    if task == 3:
        raise ConfigError("planted")
    return task


@pytest.mark.parametrize("engine", ["threads", pytest.param("processes", marks=pytest.mark.ci)])
def test_a_tasks_error_is_raised_as_it_was(engine: Any) -> None:
    with pytest.raises(ConfigError, match="planted"):
        list(run_tasks(fail, range(6), engine=engine, workers=2))


# ----------------------------------------------------------------------------------------------- a real cluster


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of Dask in a process of its own, and end it."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()  # by its own id
        process.wait()


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    from distributed import Client

    address = f"tcp://127.0.0.1:{free_port()}"
    host, port = address.removeprefix("tcp://").split(":")
    with ExitStack() as stack:
        scheduler = stack.enter_context(started("scheduler", "--host", host, "--port", port, "--no-dashboard"))
        # Without its nanny the process that is killed is the worker itself, and nobody starts it again.
        worker = ("worker", address, "--host", host, "--nthreads", "1", "--no-nanny", "--no-dashboard")
        processes = [stack.enter_context(started(*worker)) for _ in range(workers)]
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                with Client(address, timeout="2s", set_as_default=False) as client:
                    if workers:
                        client.wait_for_workers(workers, timeout=300)
                    break
            except OSError:  # not up yet
                time.sleep(0.2)
        yield address, scheduler, processes


LONG = {"exact": True, "days": 1.0, "num_simulations": 400, "replicates": 3}


def killing(process: subprocess.Popen[bytes], at: float, seen: list[tuple[int, int]]) -> Callable[[int, int], None]:
    """Return what kills a process once a share of the trials is done, and remembers how many were."""

    def progress(done: int, total: int) -> None:
        if not seen and done >= at * total:
            process.send_signal(signal.SIGKILL)
            process.wait()
            seen.append((done, total))

    return progress


@pytest.mark.slow
@pytest.mark.usefixtures("many_tasks", "dask")
@pytest.mark.parametrize("at", [0.1, 0.6])
def test_a_worker_killed_in_mid_run_changes_nothing(settings: LoadedSettings, at: float) -> None:
    killed: list[tuple[int, int]] = []
    with cluster(2) as (address, _, workers):
        found = swept(
            settings, engine="dask", scheduler=address, progress=killing(workers[0], at, killed), **LONG
        ).digest()
        assert workers[0].returncode == -signal.SIGKILL
        assert workers[1].poll() is None
    ((done, total),) = killed
    print(f"killed when {done} of {total} trials were done")
    assert 0 < done < total
    assert found == swept(settings, **LONG).digest()


@pytest.mark.slow
@pytest.mark.usefixtures("many_tasks", "dask")
def test_a_scheduler_that_is_lost_is_an_error_of_the_engine_and_finished_trials_are_kept(
    settings: LoadedSettings,
) -> None:
    killed: list[tuple[int, int]] = []
    with cluster(2) as (address, scheduler, _), pytest.raises(EngineError, match="scheduler"):
        swept(settings, engine="dask", scheduler=address, progress=killing(scheduler, 0.3, killed), **LONG)
    ((done, total),) = killed
    again = swept(settings, **(LONG | {"fresh": False}))
    assert done <= again.sweep.reused < again.sweep.trials == total
    assert again.digest() == swept(settings, **LONG).digest()


@pytest.mark.slow
@pytest.mark.usefixtures("dask")
def test_a_scheduler_without_workers_is_refused_with_how_to_start_them(settings: LoadedSettings) -> None:
    with cluster(0) as (address, _, _), pytest.raises(EngineError, match=rf"has no workers.*`dask worker {address}`"):
        swept(settings, engine="dask", scheduler=address)


# ------------------------------------------------------------------------------------------------ remote caches


def test_a_cache_at_a_url_has_the_same_bars_and_fingerprints(stored: Cache) -> None:
    remote = Cache(stored.root.as_uri())
    assert remote.assets() == stored.assets() == [("file", "BTC"), ("file", "ETH")]
    assert [remote.days(*name) for name in remote.assets()] == [stored.days(*name) for name in stored.assets()]
    a, b = SPAN
    for part in (SPAN, (a + 5000, b - 7777), (a - DAY, a + 60), (a + DAY, a + DAY), (b, b + DAY)):
        ours, theirs = (cache.read_with_fingerprint("file", "BTC", *part) for cache in (remote, stored))
        assert ours[0].digest() == theirs[0].digest()
        assert ours[1] == theirs[1]
        assert remote.read("file", "BTC", *part).digest() == theirs[0].digest()
        assert remote.missing("file", "BTC", *part) == stored.missing("file", "BTC", *part)


@pytest.mark.parametrize("place", [0, 1000, -1])
def test_a_flipped_byte_at_a_url_is_refused_and_nothing_is_moved(stored: Cache, place: int) -> None:
    path = stored.folder("file", "BTC") / "2026-01-15.parquet"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    before = sorted(stored.root.rglob("*"))
    remote = Cache(stored.root.as_uri())
    with pytest.raises(CorruptPartitionError, match=r"file://.*2026-01-15\.parquet: its bytes have changed"):
        remote.read("file", "BTC", *SPAN)
    assert len(remote.read("file", "BTC", SPAN[0], START)) > 5000  # other days are whole
    assert len(remote.read("file", "ETH", *SPAN)) > 5000
    assert sorted(stored.root.rglob("*")) == before


def test_a_damaged_description_at_a_url_is_refused(stored: Cache) -> None:
    remote = Cache(stored.root.as_uri())
    path = stored.folder("file", "BTC") / "2026-01-15.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(CorruptPartitionError, match=r"file://.*2026-01-15\.parquet: not a readable partition"):
        remote.missing("file", "BTC", *SPAN)
    assert [damage.day for one in list_cached(remote) for damage in one.damage] == ["2026-01-15"]
    assert path.exists()


def test_a_cache_that_is_not_there_misses_everything(tmp_path: Path) -> None:
    remote = Cache((tmp_path / "absent").as_uri())
    assert remote.assets() == []
    assert remote.missing("file", "BTC", *SPAN) == [SPAN]
    assert len(remote.read("file", "BTC", *SPAN)) == 0
    assert not (tmp_path / "absent").exists()


def test_a_folder_and_a_url_are_opened_as_what_they_are(stored: Cache) -> None:
    url = stored.root.as_uri()
    assert open_cache(stored.root) == local_cache(stored.root) == stored
    assert open_cache(url) == Cache(url)
    with pytest.raises(ConfigError, match="a cache at a URL is read-only"):
        open_cache(url).write("file", "BTC", Bars.empty(), [SPAN], Provenance("test", NOW))
    with pytest.raises(ConfigError, match=r"data\.cache_dir = file://.*: a cache at a URL is read-only; name a folder"):
        local_cache(url)


def test_a_url_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cache nonsense://bucket/data: .*; pyarrow reads file, s3, gs"):
        Cache("nonsense://bucket/data").read("file", "BTC", *SPAN)


@pytest.mark.ci
@pytest.mark.usefixtures("many_tasks")
def test_a_sweep_over_a_cache_at_a_url_says_the_same_in_every_engine(tmp_path: Path, stored: Cache) -> None:
    here = loaded(stored.root, tmp_path / "here", feed="file")
    there = loaded(stored.root.as_uri(), tmp_path / "there", feed="file")
    truth = swept(here)
    for how in ({"engine": "threads", "workers": 2}, {"engine": "processes", "workers": 2}):
        assert swept(there, **how).digest() == truth.digest()
    # Trials have the same names too: a second run over the folder knows those of the URL.
    again = swept(there.with_flags({"data.cache_dir": str(stored.root)}), fresh=False)
    assert again.sweep.reused == again.sweep.trials


def test_simulated_bars_are_not_written_to_a_url(tmp_path: Path) -> None:
    flags: Mapping[str, Any] = {"data.cache_dir": (tmp_path / "cache").as_uri()}
    with pytest.raises(ConfigError, match="a cache at a URL is read-only"):
        swept(loaded(tmp_path, tmp_path).with_flags(flags))


# -------------------------------------------------------------------------------------------------- lost workers


def die(task: int) -> int:
    """End the process, as one that runs out of memory ends."""
    os._exit(1)


@pytest.mark.ci
@pytest.mark.parametrize("engine", ["processes", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_task_that_takes_every_worker_down_with_it_is_an_error_of_the_engine(engine: Any) -> None:
    if engine == "dask":
        pytest.importorskip("distributed", reason="needs the extra ewmalab[dask]")
    with pytest.raises(EngineError):
        list(run_tasks(die, range(3), engine=engine, workers=2))

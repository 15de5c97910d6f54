"""Commands that write the cache, killed with SIGKILL at random moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import faulty_feed as fs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ewmalab.atomic_files import TEMP_PREFIX
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.inventory import list_cached
from ewmalab.market.ranges import Range, subtract
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, day_start

pytestmark = [pytest.mark.ci, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")]

MONDAY = day_start("2026-01-12")
DAYS = 6
ASSETS = ("BTC", "ETH", "SOL")
SPAN: Range = (MONDAY, MONDAY + DAYS * DAY)
HISTORY = "/history"


def market(seed: int) -> Bars:
    rng = np.random.default_rng(seed)
    minutes = DAYS * 1440
    close = 1000 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes)))
    open_ = close * np.exp(rng.normal(0, 1e-4, minutes))
    keep = np.ones(minutes, bool)
    keep[1000::1300] = False  # a gap keeps what is cached, so all versions have the same
    columns = (
        MONDAY + 60 * np.arange(minutes),
        open_,
        np.maximum(open_, close) * 1.0001,
        np.minimum(open_, close) * 0.9999,
        close,
    )
    return Bars(*(column[keep] for column in columns))


# Two versions of the same minutes: importing one over the other replaces every day.
VERSIONS = [{asset: market(10 * i + j) for j, asset in enumerate(ASSETS)} for i in range(2)]


@dataclass
class Tally:
    """What the kills hit."""

    kills: int = 0
    unfinished: int = 0  # temporary files were left behind
    halfway: int = 0  # some bars of the new version were there, not all
    finished: int = 0  # the command ended before the kill
    delays: list[float] = field(default_factory=list)


def command(*arguments: str, cache: Path) -> subprocess.Popen[bytes]:
    """Start the command line in a process of its own."""
    root = Path(__file__).resolve().parents[1]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("EWMALAB__") and k != "PYTH_API_KEY"}
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "ewmalab", *arguments, "--set", f"data.cache_dir={cache}"],
        cwd=cache.parent,
        env={**clean, "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def run(*arguments: str, cache: Path) -> None:
    process = command(*arguments, cache=cache)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMP_PREFIX)]


def changes(root: Path) -> int:
    """Return when anything below a folder changed last."""
    return max((p.stat().st_mtime_ns for p in root.glob("pyth/*/1m")), default=0)


def kill_at_random(process: subprocess.Popen[bytes], root: Path, rng: np.random.Generator, window: float) -> bool:
    """Kill a process, mostly after it began to write; return whether it was still running."""
    try:
        if rng.random() < 0.85:
            before = changes(root)
            while process.poll() is None and changes(root) == before:
                time.sleep(0.001)
        else:
            window = 1.0  # perhaps while it starts
        time.sleep(float(rng.random()) * window)
        alive = process.poll() is None
    finally:
        process.kill()  # by its own id
        process.communicate()
    return alive and process.returncode == -signal.SIGKILL


def check(cache: Cache, versions: list[dict[str, Bars]]) -> set[str]:
    """Check that nothing is damaged, and all that is covered is some version's, day by day; return what is there."""
    assert [one.damage for one in list_cached(cache, thorough=True) if one.damage] == []
    seen = set()
    for asset in ASSETS:
        covered = cache.covered("pyth", asset)
        assert subtract(covered, [SPAN]) == []
        for start in range(*SPAN, DAY):
            said = subtract([(start, start + DAY)], subtract([(start, start + DAY)], covered))
            got = cache.read("pyth", asset, start, start + DAY)
            match = [
                i
                for i, version in enumerate(versions)
                if got.digest() == Bars.concatenate([version[asset].between(*part) for part in said]).digest()
            ]
            if not said and len(got):  # moved into place, not yet settled: whole all the same
                whole = [version[asset].between(start, start + DAY).digest() for version in versions]
                match = [i for i, digest in enumerate(whole) if digest == got.digest()]
            assert match, f"{asset}: neither version from {start} on"
            seen.add(str(match[0]) if len(got) else "nothing")
    return seen


def complete(cache: Cache, version: dict[str, Bars], asset: str) -> bool:
    """Is all covered but the minutes that the bars lack? A file answers for the minutes that it has."""
    return subtract(cache.missing("pyth", asset, *SPAN), version[asset].gaps()) == []


def settle(cache: Cache, tally: Tally, rng: np.random.Generator) -> None:
    """Check what a kill left, then start the next command: nothing unfinished may stay."""
    if leftovers(cache.root):
        tally.unfinished += 1
    if rng.random() < 0.5:
        run("data", "repair", "--no-refetch", cache=cache.root)
        assert leftovers(cache.root) == []
        assert not list(cache.root.rglob("quarantine"))  # nothing was damaged


def check_kills(
    kills: int,
    cache: Cache,
    start: Callable[[int], subprocess.Popen[bytes]],
    versions: list[dict[str, Bars]],
    window: float,
    seed: int,
) -> Tally:
    """Kill a command again and again; version 0 fills the cache, version 1 replaces it, and so on."""
    rng = np.random.default_rng(seed)
    tally = Tally()
    target = 0
    while tally.kills < kills:
        process = start(target)
        if kill_at_random(process, cache.root, rng, window):
            tally.kills += 1
        else:
            tally.finished += 1
            assert process.returncode == 0
        seen = check(cache, versions)
        tally.halfway += len(seen) > 1
        settle(cache, tally, rng)
        assert check(cache, versions) == seen
        if seen == {str(target)} and complete(cache, versions[target], ASSETS[-1]):
            target = (target + 1) % len(versions)
            if len(versions) == 1:
                for path in cache.root.glob("pyth/*/1m/*.*"):
                    path.unlink()
    process = start(target)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert leftovers(cache.root) == []
    assert check(cache, versions) == {str(target)}
    for asset in ASSETS:
        assert complete(cache, versions[target], asset)
        assert cache.read("pyth", asset, *SPAN).digest() == versions[target][asset].digest()
    print(
        f"{tally.kills} kills: {tally.unfinished} left unfinished files, {tally.halfway} a cache half done; "
        f"{tally.finished} runs ended before theirs"
    )
    return tally


# --- import


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for i, version in enumerate(VERSIONS):
        folder = tmp_path_factory.mktemp(f"files{i}") / "pyth_1m"
        folder.mkdir()
        for asset, bars in version.items():
            pq.write_table(pa.table(bars.columns()), folder / f"{asset}.parquet")
        folders.append(folder)
    return folders


def check_import_kills(kills: int, tmp_path: Path, files: list[Path], seed: int) -> Tally:
    cache = Cache(tmp_path / "cache")
    whole = Cache(tmp_path / "whole")
    began = time.monotonic()
    run("data", "import", str(files[0]), cache=whole.root)
    window = (time.monotonic() - began) * 0.3  # most of a run is its start
    assert check(whole, VERSIONS) == {"0"}

    def start(target: int) -> subprocess.Popen[bytes]:
        return command("data", "import", str(files[target]), "--replace", cache=cache.root)

    return check_kills(kills, cache, start, VERSIONS, window, seed)


def test_an_import_killed_at_random_leaves_each_day_as_it_was_or_as_it_should_be(tmp_path, files):
    tally = check_import_kills(4, tmp_path, files, seed=1)
    assert tally.kills == 4


@pytest.mark.slow
def test_an_import_killed_a_hundred_times_leaves_each_day_as_it_was_or_as_it_should_be(tmp_path, files):
    tally = check_import_kills(100, tmp_path, files, seed=2)
    assert tally.kills == 100
    assert tally.unfinished >= 10
    assert tally.halfway >= 10


# --- fetch


class SlowServer(fs.FaultyFeed):
    """Takes its time, so that kills fall between chunks."""

    def take(self, seen: fs.Seen) -> fs.Fault | None:
        time.sleep(0.01)
        return super().take(seen)


@pytest.fixture
def server() -> Iterator[fs.FaultyFeed]:
    rulebook = load_rulebook()
    with SlowServer({rulebook.asset(a).symbols["pyth"]: bars for a, bars in VERSIONS[0].items()}) as running:
        yield running


def check_fetch_kills(kills: int, tmp_path: Path, server: fs.FaultyFeed, seed: int) -> Tally:
    cache = Cache(tmp_path / "cache")

    def start(target: int) -> subprocess.Popen[bytes]:
        assert target == 0
        return command(
            "data",
            "fetch",
            "--feed",
            "pyth",
            "--assets",
            ",".join(ASSETS),
            "--start",
            "2026-01-12",
            "--days",
            str(DAYS),
            "--set",
            f"feeds.pyth.host={server.url}",
            "--set",
            f"feeds.pyth.path={HISTORY}",
            cache=cache.root,
        )

    tally = check_kills(kills, cache, start, VERSIONS[:1], 0.3, seed)
    assert {seen.path for seen in server.seen} == {HISTORY}
    return tally


def test_a_fetch_killed_at_random_keeps_what_it_has_and_goes_on(tmp_path, server):
    tally = check_fetch_kills(4, tmp_path, server, seed=3)
    assert tally.kills == 4


@pytest.mark.slow
def test_a_fetch_killed_a_hundred_times_keeps_what_it_has_and_goes_on(tmp_path, server):
    tally = check_fetch_kills(100, tmp_path, server, seed=4)
    assert tally.kills == 100
    assert tally.unfinished >= 5
    assert tally.halfway >= 10

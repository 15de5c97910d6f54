"""Parity: every logged answer is reproduced from archived bars, bit for bit, from the log and by a backtest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import live_rig
import numpy as np
import orjson
import pytest
from live_rig import START, Rig, SettableClock, Simulated, live_settings, read_kept_paths, rig, until
from replayed import backtest_digests, without_new_beginnings

from ewmalab.forecast.model import Model
from ewmalab.live.audit.answer_log import AMENDMENTS, AnswerLog, LiveLog, prompt_of
from ewmalab.live.audit.parity import BacktestParity, Reproducer, check_parity
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE

SHORT = {"replay.warmup": "1d", "ewma.gap_policy": "revert"}
LONG = {"ewma.half_life_1m": "6h", "ewma.half_life_5m": "6h"}  # every bar of a warm-up leaves its trace in the paths
FEED = "binance"
SYMBOL = load_rulebook().asset("BTC").symbols[FEED]
NOW = START // MINUTE * MINUTE
LATE, REVISED, TWICE, TAIL = NOW + MINUTE, NOW + 2 * MINUTE, NOW + 3 * MINUTE, NOW + 24 * MINUTE

MIDNIGHT = START // DAY * DAY + DAY
QUIET = (MIDNIGHT + 10 * MINUTE, MIDNIGHT + 40 * MINUTE)
CROSSING = (-90, -30, 30, 90, 150, 630, 899, 901, 2370, 2550)
"""Seconds from midnight to answers: the state is of the new day from 60 on, and ages from 900 to the silence's end."""


class Unsettled:
    """Final bars of which some come late, and some are shown at other prices at first."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.final, self.now = Simulated("BTC"), now

    def between(self, start: int, end: int) -> Bars:
        bars, now = self.final.between(start, end), self.now() - NOW
        factor = np.ones(len(bars))
        for label, changed, revised in ((REVISED, 1.0007, 500), (TWICE, 1.0002, 1000), (TWICE, 0.9991, 500),
                                      (TAIL, 1.0005, 1600)):  # fmt: skip
            factor[bars.timestamp == label] = changed if now < revised else factor[bars.timestamp == label]
        columns = bars.columns() | {name: getattr(bars, name) * factor for name in COLUMNS[1:]}
        keep = (bars.timestamp != LATE) | (now >= 500)
        return Bars.from_columns({name: column[keep] for name, column in columns.items()})


def advance(running: Rig, seconds: int) -> None:
    """Update at a time after the rig's beginning and wait until the miner has taken it up."""
    running.clock.set(START + seconds)  # type: ignore[attr-defined]
    running.updater.update(START + seconds)
    wanted = running.updater.followers["BTC"].generation
    assert until(lambda: running.miner.answerer.known["BTC"].saved.generation == wanted)


def wait_for_answers(folder: Path, count: int) -> None:
    """Wait until so many answers are logged."""

    def logged() -> int:
        return sum(len(path.read_bytes().splitlines()) for path in (folder / "log").glob("answers-*.jsonl"))

    assert until(lambda: logged() >= count)


def copied(running: Rig, to: Path, answers: int) -> None:
    """Keep a copy of all folders once so many answers are logged."""
    wait_for_answers(running.folder, answers)
    shutil.copytree(running.folder, to)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a miner's life: `tail`, `amended-tail` and `archived`, the same life ever later."""
    root = tmp_path_factory.mktemp("lived")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_rig, "Clock", lambda start, real, speed: SettableClock(start))
        with rig(root / "live", flags=SHORT | {"live.keep_paths": True}) as running:
            running.feed.bars[SYMBOL] = Unsettled(running.clock.now)
            asker = running.prober()

            def ask(horizon: str = "24h", minutes: int = 2) -> None:
                reply = asker.ask(running.prompt(horizon=horizon, minutes=minutes, paths=200))
                assert reply.accepted, reply.verdicts

            ask()
            advance(running, 300)  # without the late bar, with prices that will be revised
            ask()
            ask("1h")
            advance(running, 540)  # late and revised bars arrive
            ask()
            advance(running, 720)  # archived
            ask()
            advance(running, 1020)  # one bar revised a second time
            ask("1h")
            running.clock.set(START + 1350)  # type: ignore[attr-defined]
            ask(minutes=3)  # of a state that has aged
            advance(running, 1370)  # archived
            advance(running, 1500)
            ask()
            copied(running, root / "tail", 8)
            advance(running, 1620)  # a bar is revised that was not archived yet
            ask()
            copied(running, root / "amended-tail", 9)
            advance(running, 1500 + 20 * 3600)  # a day later, after an outage
            ask()
            ask("1h", minutes=3)
            running.updater.archive(int(running.clock.now()))
        shutil.copytree(root / "live", root / "archived")
    return root


class Silent:
    """Bars that stop for half an hour after midnight."""

    def __init__(self) -> None:
        self.market = Simulated("BTC")

    def between(self, start: int, end: int) -> Bars:
        bars = self.market.between(start, end)
        quiet = (bars.timestamp >= QUIET[0]) & (bars.timestamp < QUIET[1])
        return Bars.from_columns({name: column[~quiet] for name, column in bars.columns().items()})


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a miner that answered around midnight, and in a silence after it."""
    folder = tmp_path_factory.mktemp("crossed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_rig, "Clock", lambda start, real, speed: SettableClock(start))
        with rig(folder, flags=SHORT | LONG) as running:
            market = running.feed.bars[SYMBOL] = Silent()
            asker = running.prober()
            for number, seconds in enumerate(CROSSING, 1):
                advance(running, MIDNIGHT + seconds - START)
                for horizon in ("24h", "1h"):
                    assert asker.ask(running.prompt(horizon=horizon, paths=200)).accepted
                wait_for_answers(folder, 2 * number)
            running.updater.archive(int(running.clock.now()))
    # The cache also has bars from before the warm-up, and the prices that the answers are scored against.
    first, end = MIDNIGHT - 7 * DAY, MIDNIGHT + 2 * DAY
    Cache(folder / "cache").write(
        FEED, "BTC", market.between(first, end), [(first, end)], Provenance("test", end, synthetic=True), replace=True
    )
    return folder


def settings_of(folder: Path) -> LoadedSettings:
    return live_settings(folder, "http://127.0.0.1:9", ["BTC"])


@pytest.fixture
def copy(lived: Path, tmp_path: Path) -> Path:
    """A copy of the archived life, to plant defects in."""
    return Path(shutil.copytree(lived / "archived", tmp_path / "copy"))


def found(folder: Path) -> list[str]:
    """What differs, answer by answer."""
    return [d.what for d in check_parity(LiveLog.read(folder / "log"), settings_of(folder)).differences]


def edit(folder: Path, at: int, change: Callable[[dict[str, Any]], object]) -> None:
    """Change one record of the log."""
    path = sorted((folder / "log").glob("answers-*.jsonl"))[0]
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    change(records[at])
    path.write_bytes(b"".join(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in records))


def rewrite(folder: Path, label: int, factor: float) -> None:
    """Change one bar of the cache."""
    cache = Cache(folder / "cache")
    bar = cache.read(FEED, "BTC", label, label + MINUTE)
    assert len(bar) == 1
    changed = Bars.from_columns(bar.columns() | {name: getattr(bar, name) * factor for name in COLUMNS[1:]})
    cache.write(
        FEED, "BTC", changed, [(label, label + MINUTE)], Provenance("test", START, synthetic=True), replace=True
    )


# --------------------------------------------------------------------------------------------- what is the same


@pytest.mark.parametrize("when", ["tail", "amended-tail", "archived"])
def test_answers_are_reproduced_bit_for_bit_whatever_came_late_or_was_revised(lived, when):
    log = LiveLog.read(lived / when / "log")
    report = check_parity(log, settings_of(lived / when))
    assert [(d.record["newest"] - NOW, d.what) for d in report.differences] == []
    assert (
        report.answers == report.identical == len(log.answers) == {"tail": 8, "amended-tail": 9, "archived": 11}[when]
    )


def test_the_life_that_is_reproduced_had_everything_happen_to_it(lived):
    log = LiveLog.read(lived / "archived" / "log")
    changes = [(change.label, change.old is None) for _, change in log.amendments["BTC"]]
    assert sorted(changes) == sorted([(LATE, True), (REVISED, False), (TWICE, False), (TWICE, False), (TAIL, False)])
    assert {a["aged"] for a in log.answers} == {True, False}
    assert {a["anchor"]["source"] for a in log.answers} >= {"close"}
    assert {a["competition"] for a in log.answers} == {"crypto-24h", "crypto-1h"}
    assert all(a["synthetic"] and a["feed"] == FEED for a in log.answers)
    assert len({a["state_sha256"] for a in log.answers}) >= 7


def test_amendments_count_without_them_earlier_answers_could_not_be_reproduced(copy):
    (copy / "log" / AMENDMENTS).unlink()
    assert "state" in found(copy)


def test_kept_paths_equal_those_reproduced(lived):
    folder = lived / "archived"
    log = LiveLog.read(folder / "log")
    reproducer = Reproducer(log, settings_of(folder))
    for record in log.answers:
        kept = read_kept_paths(folder / "log", record)
        assert kept.dtype == np.float32
        np.testing.assert_array_equal(kept, reproducer.paths(record))


# --------------------------------------------------------------------------------------------- planted defects


def test_a_changed_bar_of_the_cache_is_noticed_by_every_answer_that_rested_on_it(copy):
    label = NOW - 3600
    rewrite(copy, label, 1.0001)
    log = LiveLog.read(copy / "log")
    assert found(copy) == ["state"] * len(log.answers)


def test_a_changed_bar_after_an_answer_is_none_of_its_business(copy):
    rewrite(copy, START // MINUTE * MINUTE + 1500 + 3600, 1.0001)
    assert found(copy) == ["state", "state"]  # the two answers of a day later


@pytest.mark.parametrize(
    ("change", "what", "backtest"),
    [
        (lambda r: r.update(seed=r["seed"] + 1), "paths", ["paths"]),
        (lambda r: r.update(start_time=r["start_time"] + 60), "paths", ["paths"]),
        (lambda r: r.update(paths_sha256="0" * 64), "paths", ["paths"]),
        (lambda r: r["anchor"].update(price=r["anchor"]["price"] * 1.0001), "bytes", []),
        (lambda r: r.update(body_sha256="0" * 64), "bytes", []),
        (lambda r: r.update(state_sha256="0" * 64), "state", []),
        (lambda r: r.update(newest=r["newest"] - 60), "state", []),  # a backtest finds the newest bar by itself
    ],
    ids=["seed", "start", "paths", "anchor", "body", "state", "newest"],
)
def test_a_changed_record_is_caught_alone_and_by_what_it_changed(copy, change, what, backtest):
    edit(copy, 8, change)
    report = check_parity(LiveLog.read(copy / "log"), settings_of(copy))
    assert [d.what for d in report.differences] == [what]
    assert [d.what for d in report.backtest.differences] == backtest


@pytest.mark.parametrize("at", [6, 8])  # of an aged state, and of a fresh one
def test_whether_a_state_ages_is_not_taken_from_the_record(copy, at):
    edit(copy, at, lambda r: r.update(aged=not r["aged"]))
    assert found(copy) == []


def test_whether_a_state_ages_follows_from_the_recorded_settings(copy):
    log = LiveLog.read(copy / "log")
    patient = log.settings(log.answers[0]["settings"]).with_flags({"live.stale_after": "1h"})
    digest = AnswerLog(copy / "log", keep_paths=False).record_settings(patient)
    for at in (0, 6, 8):
        edit(copy, at, lambda r: r.update(settings=digest))
    (difference,) = check_parity(LiveLog.read(copy / "log"), settings_of(copy)).differences
    assert (difference.record["aged"], difference.what) == (True, "paths")


def test_tampered_settings_are_named(copy):
    (path,) = (copy / "log" / "settings").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"30m"', b'"31m"', 1))
    said = found(copy)
    assert len(said) == 11
    assert all("not the settings that were recorded" in text and path.name in text for text in said)
    path.unlink()
    assert all("cannot be read" in text for text in found(copy))


def test_missing_bars_are_named(copy):
    shutil.rmtree(copy / "cache")
    shutil.rmtree(copy / "state")
    said = found(copy)
    assert len(said) == 11
    assert all("BTC: the cache lacks bars" in text for text in said)


def test_missing_bars_amid_the_warm_up_are_named_too(copy, tmp_path):
    whole = Cache(copy / "cache")
    first, end, hole = NOW - 3 * DAY, NOW + 2 * DAY, (NOW - 7200, NOW - 3600)
    covered = [r for r in whole.covered(FEED, "BTC") if r[1] > first]
    (a, b), *_ = [r for r in covered if r[0] <= hole[0] and hole[1] <= r[1]]
    holed = Cache(tmp_path / "holed")
    for x, y in ((a, hole[0]), (hole[1], b)):
        bars = whole.read(FEED, "BTC", x, min(y, end))
        holed.write(FEED, "BTC", bars, [(x, min(y, end))], Provenance("test", START, synthetic=True))
    shutil.rmtree(copy / "cache")
    shutil.rmtree(copy / "state")
    (tmp_path / "holed").rename(copy / "cache")
    said = found(copy)
    assert said
    assert all("lacks bars" in text for text in said), said


def test_a_torn_last_line_costs_that_answer_alone(copy):
    path = sorted((copy / "log").glob("answers-*.jsonl"))[-1]
    path.write_bytes(path.read_bytes()[:-40])
    log = LiveLog.read(copy / "log")
    assert (log.torn, len(log.answers)) == (1, 10)
    assert found(copy) == []


# --------------------------------------------------------------------------------------------- a backtest


def backtest_of(folder: Path, **options: Any) -> BacktestParity:
    return check_parity(LiveLog.read(folder / "log"), settings_of(folder), **options).backtest


def verdicts(folder: Path, **options: Any) -> list[str]:
    """What the backtest says of each answer by itself."""
    log, said = LiveLog.read(folder / "log"), []
    for record in log.answers:
        one = check_parity(replace(log, answers=[record]), settings_of(folder), **options).backtest
        counts = {"same": one.same, "late": one.late, "amended": one.amended, "differs": len(one.differences)}
        said += [name for name, count in counts.items() for _ in range(count)]
    assert len(said) == len(log.answers)
    return said


LIFE = ["same", *["amended"] * 4, "same", "late", "amended", "same", "same", "same"]


def test_a_backtest_gives_the_same_paths_unless_a_bar_was_late_or_was_revised_since(lived):
    assert verdicts(lived / "archived") == LIFE
    assert backtest_of(lived / "archived") == BacktestParity(5, 1, 5, [])
    assert verdicts(lived / "tail")[-1] == "same"  # its newest bar is revised an answer later


def test_without_the_record_of_amendments_answers_that_rested_on_other_bars_differ(copy):
    (copy / "log" / AMENDMENTS).unlink()
    assert verdicts(copy) == [word.replace("amended", "differs") for word in LIFE]
    assert {d.what for d in backtest_of(copy).differences} == {"paths"}


def test_a_backtest_without_bars_says_what_is_missing(copy):
    shutil.rmtree(copy / "cache")
    shutil.rmtree(copy / "state")
    found = backtest_of(copy)
    assert (found.same, len(found.differences)) == (0, 11)
    assert all("no bar of BTC is known at" in d.what for d in found.differences)


def test_answers_around_midnight_and_in_a_silence_are_those_of_a_backtest(crossed):
    log = LiveLog.read(crossed / "log")
    seconds = [a["request_time"] - MIDNIGHT for a in log.answers]
    assert sorted(set(seconds)) == list(CROSSING)
    assert [a["newest"] >= MIDNIGHT for a in log.answers] == [at >= 60 for at in seconds]
    assert [a["aged"] for a in log.answers] == [900 < at < 2500 for at in seconds]
    report = check_parity(log, settings_of(crossed))
    assert (report.identical, report.differences) == (2 * len(CROSSING), [])
    assert report.backtest == BacktestParity(2 * len(CROSSING), 0, 0, [])
    assert backtest_digests(log, settings_of(crossed)) == {prompt_of(a): a["paths_sha256"] for a in log.answers}


@pytest.mark.parametrize(("came", "known"), [(MIDNIGHT + 2 * DAY, False), (MIDNIGHT - DAY, True)])
def test_minutes_that_a_fetch_brings_later_do_not_count_as_known_to_the_miner(crossed, tmp_path, came, known):
    folder = Path(shutil.copytree(crossed, tmp_path / "copy"))
    late = Simulated("BTC").between(*QUIET)
    Cache(folder / "cache").write(FEED, "BTC", late, [QUIET], Provenance("test", came, synthetic=True))
    report = check_parity(LiveLog.read(folder / "log"), settings_of(folder))
    everything = (2 * len(CROSSING), BacktestParity(2 * len(CROSSING), 0, 0, []))
    assert ((report.identical, report.backtest) == everything) is not known


def test_a_backtest_that_warms_up_by_another_rule_is_caught(crossed):
    found = backtest_of(crossed, knowledge=without_new_beginnings(72 * 3600))
    assert (found.same, found.late, found.amended) == (0, 0, 0)
    assert [d.what for d in found.differences] == ["paths"] * 2 * len(CROSSING)


def test_a_backtest_whose_states_do_not_begin_anew_at_midnight_is_caught(crossed):
    before = CROSSING[0] + 2 * DAY  # the first answer's own origin: the midnight a day before its newest bar's
    found = backtest_of(crossed, knowledge=without_new_beginnings(before))
    assert found.same == 6
    assert all(d.record["newest"] >= MIDNIGHT for d in found.differences)
    assert len(found.differences) == 2 * len(CROSSING) - 6


def test_a_backtest_that_does_not_age_a_silent_state_is_caught(crossed, monkeypatch):
    monkeypatch.setattr(Model, "is_stale", lambda *_: False)
    found = backtest_of(crossed)
    assert sorted({d.record["request_time"] - MIDNIGHT for d in found.differences}) == [901, 2370]


# --------------------------------------------------------------------------------------------- the command


def command(folder: Path) -> list[str]:
    return ["check", "parity", "--log-dir", str(folder / "log"), "--state-dir", str(folder / "state"),
            "--set", f"data.cache_dir={json.dumps(str(folder / 'cache'))}"]  # fmt: skip


def test_the_command_says_that_all_are_identical(ewmalab, lived):
    result = ewmalab(*command(lived / "archived"))
    assert result.code == 0
    assert "11 answers reproduced: 11 identical, bit for bit" in result.out
    assert "a backtest of the same prompts: 5 of 11 have the paths that were sent" in result.out
    assert "1 were answered before a closed bar had arrived" in result.out
    assert "5 used bars that have been revised or completed since" in result.out
    machine = ewmalab(*command(lived / "archived"), "--json")
    backtest = {"same": 5, "late": 1, "amended": 5, "differences": []}
    assert json.loads(machine.out) == {"answers": 11, "identical": 11, "differences": [], "backtest": backtest}


def test_the_command_fails_and_says_which_answer_differs(ewmalab, copy):
    edit(copy, 0, lambda r: r.update(seed=r["seed"] + 1))
    result = ewmalab(*command(copy))
    assert result.code == 1
    assert "10 identical" in result.out
    assert "crypto-24h BTC 2026-10-03T04:02:00Z: paths" in result.out
    machine = ewmalab(*command(copy), "--json")
    assert machine.code == 1
    told = json.loads(machine.out)
    row = {"competition": "crypto-24h", "asset": "BTC", "start": "2026-10-03T04:02:00Z", "what": "paths"}
    assert told["differences"] == told["backtest"]["differences"] == [row]


def test_the_command_counts_lines_that_a_crash_cut(ewmalab, copy):
    path = sorted((copy / "log").glob("answers-*.jsonl"))[-1]
    path.write_bytes(path.read_bytes()[:-40])
    result = ewmalab(*command(copy))
    assert result.code == 0
    assert "1 lines of the log were cut by a crash" in result.out


def test_the_command_names_a_folder_without_a_log(ewmalab, tmp_path):
    result = ewmalab("check", "parity", "--log-dir", str(tmp_path))
    assert result.code != 0
    assert "no answers logged here" in result.err

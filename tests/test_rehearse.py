"""A rehearsal: the whole stack answers every prompt; every answer is reproduced, by a backtest too, and scored."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import orjson
import pytest
from live_rig import until
from replayed import backtest_digests, without_new_beginnings
from typer.testing import CliRunner

import ewmalab as ew
from ewmalab.cli import app
from ewmalab.live.audit.answer_log import LiveLog, prompt_of
from ewmalab.live.audit.parity import BacktestParity, check_parity
from ewmalab.live.miner import answers
from ewmalab.live.miner.miner import Miner
from ewmalab.live.rehearsal import rehearse as rehearsal_module
from ewmalab.live.rehearsal.rehearse import Rehearsal
from ewmalab.live.status import read_heartbeat
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import MINUTE, parse_time

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A rehearsal whose prompts arrive late in their minute: the bar before it has long been closed."""
    plain = rehearsal_module.schedule

    def later(*args: Any, **options: Any) -> list[Scheduled]:
        return plain(*args, request_lead=20, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rehearsal_module, "schedule", later)
        threads = threading.active_count()
        found = ew.rehearse(
            "ewma@seed", hours=0.1, speed=30, assets=["BTC"], shadows=["ewma"], folder=tmp_path_factory.mktemp("done"),
            settings=load_settings(environ={}, flags={"ewma.gap_policy": "revert"}),
        )  # fmt: skip
    # What is left are spot sources that wait for their next turn.
    assert until(lambda: threading.active_count() <= threads + 3)
    return found


def test_a_rehearsal_is_answered_reproduced_and_scored(done: Rehearsal) -> None:
    assert len(done.replies) >= 6
    assert all(reply.accepted for reply in done.replies)
    assert done.parity.answers == done.parity.identical == len(done.replies)
    assert done.record.settled == len(done.replies)
    assert list(done.record.scores) == ["ewma@seed", "random-walk", "ewma"]
    assert done.record.synthetic
    assert done.log_dir == done.settings.values.live.log_dir


def on_time(record: dict[str, Any]) -> bool:
    """Tell whether the miner had the newest bar that was closed at the request."""
    return bool(record["newest"] == record["request_time"] // MINUTE * MINUTE - MINUTE)


def test_answers_and_a_backtest_of_the_same_prompts_have_the_same_paths(done: Rehearsal) -> None:
    log = LiveLog.read(done.log_dir)
    same = [record for record in log.answers if on_time(record)]
    late = len(log.answers) - len(same)
    assert len(same) > late
    assert done.parity.backtest == BacktestParity(len(same), late, 0, [])
    found = backtest_digests(log, done.settings)
    assert {prompt_of(r): r["paths_sha256"] for r in same}.items() <= found.items()


def test_a_backtest_that_warms_up_by_another_rule_is_noticed(done: Rehearsal) -> None:
    log = LiveLog.read(done.log_dir)
    found = check_parity(log, done.settings, knowledge=without_new_beginnings(3600)).backtest
    assert (found.same, found.amended) == (0, 0)
    assert [d.what for d in found.differences] == ["paths"] * sum(map(on_time, log.answers))


@pytest.mark.parametrize(
    ("hour", "left", "joined"),
    [("2026-04-10T14:00", set(), {"XRP", "HYPE", "WTIOIL"}), ("2026-07-23", {"SPYX"}, {"SP500"})],
)
def test_rules_change_at_their_hour_while_a_rehearsal_runs(
    hour: str, left: set[str], joined: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[Miner] = []
    monkeypatch.setattr(rehearsal_module, "Miner", lambda *arguments: run.append(Miner(*arguments)) or run[0])
    at, book = parse_time(hour), load_rulebook()
    found = ew.rehearse("ewma", start=at - 12 * MINUTE, hours=0.4, speed=60, folder=tmp_path / "new")
    assert all(reply.accepted for reply in found.replies)
    assert found.parity.identical == found.parity.answers == len(found.replies)
    before, after = (book.at(when) for when in (at - 1, at))
    sides = [[r for r in LiveLog.read(found.log_dir).answers if (r["start_time"] >= at) == late] for late in (0, 1)]
    asked = [{record["asset"] for record in side} for side in sides]
    assert not asked[0] & joined
    assert not asked[1] & left
    served = set(run[0].answerer.assets)
    assert joined <= served == {asset for c in after.competitions.values() for asset in c.assets}
    followed = {asset: note["feed"] for asset, note in read_heartbeat(tmp_path / "new" / "state")["assets"].items()}
    assert followed == {asset: after.assets[asset].scored_feed for asset in served}
    scored = {asset: before.assets[asset].scored_feed for asset in asked[0]}
    fetched = {asset for asset, feed in scored.items() if feed in book.asset(asset).symbols}
    assert all(record["feed"] == scored[record["asset"]] for record in sides[0] if record["asset"] in fetched)
    assert fetched
    assert run[0].gate.min_stake == after.min_stake


def test_an_answer_of_other_bits_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "paths_digest", lambda paths: "0" * 64)
    arguments = [
        "rehearse",
        "--hours",
        "0.05",
        "--speed",
        "120",
        "--assets",
        "BTC",
        "--folder",
        str(tmp_path),
        "--json",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    told = orjson.loads(result.stdout)
    assert told["answers"]["accepted"] == told["answers"]["prompts"] == told["parity"]["answers"] > 0
    assert told["parity"]["identical"] == 0

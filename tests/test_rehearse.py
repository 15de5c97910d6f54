"""A rehearsal: the whole stack answers every prompt, every answer is made again and scored."""

from __future__ import annotations

import threading
from pathlib import Path

import orjson
import pytest
from live_rig import until
from typer.testing import CliRunner

import ewmalab as ew
from ewmalab.cli import app
from ewmalab.live.miner import answers
from ewmalab.settings import load_settings


def test_a_rehearsal_is_answered_made_again_and_scored(tmp_path: Path) -> None:
    before = threading.active_count()
    done = ew.rehearse(
        "ewma@seed", hours=0.1, speed=120, assets=["BTC"], shadows=["ewma"], folder=tmp_path,
        settings=load_settings(environ={}),
    )  # fmt: skip
    assert len(done.replies) >= 6
    assert all(reply.accepted for reply in done.replies)
    assert done.parity.answers == done.parity.identical == len(done.replies)
    assert done.record.settled == len(done.replies)
    assert list(done.record.scores) == ["ewma@seed", "random-walk", "ewma"]
    assert done.record.synthetic
    assert done.log_dir == tmp_path / "log"
    assert until(
        lambda: threading.active_count() <= before + 3
    )  # what is left are spot sources that wait for their next turn


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
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    told = orjson.loads(done.stdout)
    assert told["answers"]["accepted"] == told["answers"]["prompts"] == told["parity"]["answers"] > 0
    assert told["parity"]["identical"] == 0

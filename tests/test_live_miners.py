"""Several hotkeys on one machine: one updater, a miner for each, and nothing that two of them write."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bittensor as bt
import orjson
import pytest

from ewmalab.errors import ConfigError
from ewmalab.live import stack
from ewmalab.live.audit.answer_log import AMENDMENTS, AmendmentLog
from ewmalab.live.clock import Clock
from ewmalab.live.miner.chain import AllowList
from ewmalab.live.miner.miner import Miner
from ewmalab.live.miners import all_miners, log_folder, own_settings
from ewmalab.live.supervisor import Stack
from ewmalab.live.updater.revisions import Amendment
from ewmalab.live.updater.updater import Updater
from ewmalab.settings import LoadedSettings, load_settings

TOML = """
[live]
port = 8091
monitor_port = 9091
[live.miners.first]
hotkey = "one"
[live.miners.second]
hotkey = "two"
port = 8092
monitor_port = 9092
external_ip = "203.0.113.7"
"""


def settings(folder: Path, text: str = TOML, **flags: Any) -> LoadedSettings:
    (folder / "ewmalab.toml").write_text(text)
    given = {"live.state_dir": str(folder / "state"), "live.log_dir": str(folder / "log"), "live.assets": ["BTC"],
             "live.wallet_path": str(folder / "wallets"), "live.chain": False, "live.allow": ["A"],
             "data.cache_dir": str(folder / "cache"), "live.feed": "simulated"}  # fmt: skip
    flags = {key.replace("__", "."): value for key, value in flags.items()}
    return load_settings(file=folder / "ewmalab.toml", environ={}, flags=given | flags)


def test_each_miner_has_its_own_key_ports_and_folders_and_shares_the_states(tmp_path: Path) -> None:
    found = {name: own.values.live for name, own in all_miners(settings(tmp_path)).items()}
    assert [(n, m.hotkey, m.port, m.monitor_port, m.external_ip) for n, m in found.items()] == [
        ("first", "one", 8091, 9091, ""),
        ("second", "two", 8092, 9092, "203.0.113.7"),
    ]
    assert {m.state_dir for m in found.values()} == {tmp_path / "state"}
    assert [log_folder(m) for m in found.values()] == [tmp_path / "log" / "first", tmp_path / "log" / "second"]


def test_single_miner_is_as_it_was(tmp_path: Path) -> None:
    given = settings(tmp_path, "")
    assert all_miners(given) == {"": given}
    assert own_settings(given) is given


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (TOML.replace("8092", "8091"), "port 8091 is used 2 times"),
        (TOML.replace("9092", "8091"), "port 8091 is used 2 times"),
        (TOML.replace('"two"', '"one"'), "hotkey default/one is used 2 times"),
        (TOML.replace("8092", "80920"), "live.port"),
        (TOML.replace("external_ip", "min_stake"), "second.min_stake"),
        (TOML.replace("miners.second", "miners.'Se/cond'"), "lower-case letters, digits and hyphens"),
        (TOML.replace("203.0.113.7", "my.host.example"), "neither names nor ports"),
    ],
)
def test_miners_that_could_not_run_together_are_refused(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        all_miners(settings(tmp_path, text))


@pytest.mark.parametrize("name", ["", "third"])
def test_command_about_one_miner_must_name_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name one with --miner NAME; known: first, second"):
        own_settings(settings(tmp_path, live__miner=name))


def test_supervisor_runs_one_updater_and_every_miner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        bt.Wallet("default", name, str(tmp_path / "wallets")).create_new_hotkey(suppress=True)
    started: list[Stack] = []
    monkeypatch.setattr(stack, "warm_up", lambda *_: None)
    monkeypatch.setattr(stack, "refuse_if_taken", lambda _: None)
    monkeypatch.setattr(stack.os, "execv", lambda _, line: started.append(Stack(**json.loads(line[-1]))))
    stack.run_live(settings(tmp_path), ["--config", "f.toml"], "INFO")
    updater, first, second = started[0].children()
    assert [child.name for child in (updater, first, second)] == ["updater", "miner first", "miner second"]
    assert updater.command[4] == "updater"
    assert "live.miner" not in " ".join(updater.command)
    for child, name in ((first, "first"), (second, "second")):
        assert child.command[4] == "miner"
        assert list(child.command[-4:]) == ["--config", "f.toml", "--set", f'live.miner="{name}"']


def test_missing_hotkey_of_any_miner_is_said_before_one_starts(tmp_path: Path) -> None:
    bt.Wallet("default", "one", str(tmp_path / "wallets")).create_new_hotkey(suppress=True)
    with pytest.raises(ConfigError, match="hotkey 'two'"):
        stack.run_live(settings(tmp_path), [], "INFO")


def test_nonces_and_answers_of_two_miners_are_in_different_files(tmp_path: Path) -> None:
    for name, own in all_miners(settings(tmp_path)).items():
        miner = Miner(own, name, AllowList(["A"]), Clock())
        miner.nonces.start()
        miner.nonces.take("A", 7)
        miner.nonces.close()
        assert miner.records.folder == tmp_path / "log" / name
    files = {path.relative_to(tmp_path / "state").parts for path in (tmp_path / "state").rglob("*") if path.is_file()}
    assert files == {("nonces-first.json",), ("nonces-second.json",)}


def test_changed_bars_are_recorded_for_the_log_of_every_miner(tmp_path: Path) -> None:
    updater = Updater.of(settings(tmp_path), Clock())
    assert updater.amendments is not None
    updater.amendments.put("BTC", 7, 1, [Amendment(60, None)])
    lines = {(tmp_path / "log" / name / AMENDMENTS).read_bytes() for name in ("first", "second")}
    assert [orjson.loads(line) for line in lines] == [
        {"asset": "BTC", "at": 7, "generation": 1, **asdict(Amendment(60, None))}
    ]
    assert not (tmp_path / "log" / AMENDMENTS).exists()


def test_one_log_that_cannot_be_written_does_not_keep_the_other_from_being_complete(tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(b"")
    log = AmendmentLog((tmp_path / "first", tmp_path / "second"))
    log.put("BTC", 7, 1, [Amendment(60, None)])
    assert log.lost == 1
    assert (tmp_path / "second" / AMENDMENTS).exists()

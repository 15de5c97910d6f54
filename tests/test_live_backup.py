"""Backups of a live miner: complete, verified, and restored without losing what is there."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from ewmalab.errors import StateError
from ewmalab.live.backup import back_up, restore
from ewmalab.live.state_store import StateStore
from ewmalab.settings import LoadedSettings, load_settings

TOML = '[live]\nport = 0\nmonitor_port = 0\nwallet = "mine"\n'


def settings(folder: Path) -> LoadedSettings:
    file = folder / "ewmalab.toml"
    flags = {"live.state_dir": str(folder / "state"), "live.log_dir": str(folder / "log"),
             "fit.folder": str(folder / "fits"), "live.port": 0, "live.monitor_port": 0}  # fmt: skip
    return load_settings(file=file if file.exists() else None, environ={}, flags=flags)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def miner(tmp_path: Path) -> Path:
    """The folders of a miner."""
    folder = tmp_path / "miner"
    for name, data in {
        "state/BTC.msgpack": b"newest", "state/BTC.previous.msgpack": b"before", "state/newest-nonce": b"1.5",
        "state/neurons.json": b"[]", "state/quarantine/BTC-1.msgpack": b"damaged", "state/.tmp-1-2": b"half",
        "fits/har-1.json": b"fitted", "log/answers-2026-10-03.jsonl": b"{}\n", "log/settings/a.json": b"[]",
        "log/messages/miner.log": b"chatter", "ewmalab.toml": TOML.encode(),
    }.items():  # fmt: skip
        write(folder / name, data)
    note = {"forecaster": "har", "artifact": str(folder / "fits" / "har-1.json"), "end": 1}
    write(folder / "state" / "fit.json", orjson.dumps(note))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("logs", [False, True])
def test_restored_miner_has_what_was_saved(logs: bool, miner: Path, tmp_path: Path) -> None:
    saved = back_up(settings(miner), tmp_path / "b.tar.gz", logs=logs)
    other = tmp_path / "other"
    done = restore(settings(other), tmp_path / "b.tar.gz", other / "ewmalab.toml")
    assert (done.files, done.size, done.aside) == (saved.files, saved.size, ())
    found, expected = tree(other), tree(miner)
    for name in ("state/quarantine/BTC-1.msgpack", "state/.tmp-1-2", "log/messages/miner.log"):
        del expected[name]
    note = orjson.loads(found.pop("state/fit.json"))
    assert orjson.loads(expected.pop("state/fit.json")) | {"artifact": str(other / "fits" / "har-1.json")} == note
    found.pop("state/.lock", None)
    assert found == {name: data for name, data in expected.items() if logs or not name.startswith("log/")}


def test_archive_is_readable_by_its_owner_alone_and_replaces_nothing(miner: Path, tmp_path: Path) -> None:
    back_up(settings(miner), tmp_path / "b.tar.gz")
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    with pytest.raises(StateError, match="exists already"):
        back_up(settings(miner), tmp_path / "b.tar.gz")
    assert not list(tmp_path.glob(".tmp-*"))


def test_nothing_to_save_is_an_error_that_leaves_no_archive(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="--state-dir"):
        back_up(settings(tmp_path / "empty"), tmp_path / "b.tar.gz")
    assert not any(tmp_path.iterdir())


def test_what_was_there_is_moved_aside(miner: Path, tmp_path: Path) -> None:
    back_up(settings(miner), tmp_path / "b.tar.gz")
    write(miner / "state" / "BTC.msgpack", b"later")
    write(miner / "ewmalab.toml", TOML.encode() + b"# later\n")
    (miner / "state" / ".tmp-1-2").unlink()  # a lock's holder deletes it
    before = tree(miner / "state")
    done = restore(settings(miner), tmp_path / "b.tar.gz", miner / "ewmalab.toml")
    state, file = done.aside
    assert tree(state) | {".lock": b""} == before | {".lock": b""}
    assert file.read_bytes().endswith(b"# later\n")
    assert (miner / "state" / "BTC.msgpack").read_bytes() == b"newest"
    assert (miner / "log" / "answers-2026-10-03.jsonl").exists()


def test_restore_is_refused_while_an_updater_writes(miner: Path, tmp_path: Path) -> None:
    back_up(settings(miner), tmp_path / "b.tar.gz")
    with StateStore(miner / "state").writing():
        before = tree(miner)
        with pytest.raises(StateError, match="held by"):
            restore(settings(miner), tmp_path / "b.tar.gz", miner / "ewmalab.toml")
        assert tree(miner) == before


def rewritten(archive: Path, change: Callable[[dict[str, bytes]], Any]) -> None:
    """Change the members of an archive."""
    with tarfile.open(archive) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    change(members)
    with tarfile.open(archive, "w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("change", [
    lambda m: m.update({"state/BTC.msgpack": b"forged"}),
    lambda m: m.pop("state/BTC.msgpack"),
    lambda m: m.update({"state/more": b""}),
    lambda m: m.pop("manifest.json"),
    lambda m: m.update({"manifest.json": b"[]"}),
    lambda m: m.update({"state/../../outside": b"x"}),
    lambda m: m.update({"/outside": b"x"}),
    lambda m: m.update({"elsewhere/file": b"x"}),
], ids=["changed", "missing", "added", "no manifest", "bad manifest", "parent", "absolute", "unknown"])  # fmt: skip
def test_changed_archive_is_refused_and_changes_nothing(
    change: Callable[[dict[str, bytes]], Any], miner: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "b.tar.gz"
    back_up(settings(miner), archive)
    rewritten(archive, change)
    StateStore(miner / "state").root.joinpath(".lock").touch()
    (miner / "state" / ".tmp-1-2").unlink()  # a lock's holder deletes it
    before = tree(tmp_path)
    with pytest.raises(StateError, match="nothing was changed"):
        restore(settings(miner), archive, miner / "ewmalab.toml")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("keep", [0, 40, -20])
def test_cut_archive_is_refused(keep: int, miner: Path, tmp_path: Path) -> None:
    archive = tmp_path / "b.tar.gz"
    back_up(settings(miner), archive)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(StateError, match="nothing was changed"):
        restore(settings(tmp_path / "other"), archive, tmp_path / "other" / "ewmalab.toml")


def test_absent_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no such archive"):
        restore(settings(tmp_path / "other"), tmp_path / "absent.tar.gz", tmp_path / "x.toml")


def test_failed_move_puts_everything_back(miner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(settings(miner), tmp_path / "b.tar.gz", logs=True)
    before, replace, count = tree(miner), Path.replace, [0]

    def fails(self: Path, target: Path) -> Path:
        if "restoring" in self.name:
            count[0] += 1
            if count[0] == 2:  # the second folder
                raise OSError(18, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(OSError, match="cross-device"):
        restore(settings(miner), tmp_path / "b.tar.gz", miner / "ewmalab.toml")
    found = tree(miner)
    found.pop("state/.lock")
    before.pop("state/.tmp-1-2")
    assert found == before


def test_commands_save_and_restore(ewmalab: Callable[..., Any], miner: Path, tmp_path: Path) -> None:
    common = ["--state-dir", str(miner / "state"), "--config", str(miner / "ewmalab.toml")]
    done = ewmalab("live", "backup", str(tmp_path / "c.tar.gz"), *common)
    assert done.code == 0, done.err
    assert "files" in done.out
    done = ewmalab("live", "restore", str(tmp_path / "c.tar.gz"), *common, "--json")
    assert done.code == 0, done.err
    assert len(orjson.loads(done.out)["aside"]) == 2

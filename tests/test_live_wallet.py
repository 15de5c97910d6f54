"""The password of an encrypted hotkey: asked once, or read from a file or the environment; children get it too."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor import sp_core

from ewmalab.errors import ConfigError
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.live.processes import PASSWORD
from ewmalab.live.supervisor import Stack
from ewmalab.settings import load_settings
from ewmalab.settings.schema import LiveSettings

SECRET = "secret-Päss1"


def encrypted(folder: Path, name: str, password: str) -> str:
    """Make a hotkey that `quick` can decrypt; return its address."""
    made = bt.Wallet("enc", name, str(folder))
    made.create_new_hotkey(suppress=True)
    path = Path(made.hotkey_file.path)
    path.write_bytes(b"$NACL" + password.encode() + b"\0" + path.read_bytes())
    return str(made.hotkey.ss58_address)


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with an encrypted hotkey, and its address."""
    folder = tmp_path_factory.mktemp("wallets")
    return folder, encrypted(folder, "default", SECRET)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decrypt at once: the real function takes seconds, so that nobody tries many passwords."""

    def decrypt(data: bytes, password: str) -> bytes:
        expected, _, plain = data.removeprefix(b"$NACL").partition(b"\0")
        if password.encode() != expected:
            raise sp_core.WrongPasswordError("wrong password")
        return plain

    monkeypatch.setattr("bittensor.keyfiles.decrypt_keyfile_data", decrypt)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins and ends without passwords in the environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PASSWORD, "BT_PW_"))}
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)
    yield
    for name in set(os.environ) - set(kept):
        os.environ.pop(name, None)


def live(folder: Path, **values: Any) -> LiveSettings:
    flags = {"live.wallet": "enc", "live.wallet_path": str(folder)}
    return load_settings(environ={}, flags=flags | {f"live.{k}": v for k, v in values.items()}).values.live


def test_password_in_the_environment_opens_the_key(wallets: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    assert load_wallet(live(wallets[0])).hotkey.ss58_address == wallets[1]


def test_password_in_a_private_file_opens_the_key_and_comes_before_the_environment(
    wallets: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "another")
    path = tmp_path / "password"
    path.write_text(SECRET + "\n", encoding="utf-8")
    path.chmod(0o600)
    assert load_wallet(live(wallets[0], hotkey_password_file=str(path))).hotkey.ss58_address == wallets[1]


@pytest.mark.parametrize(
    ("text", "mode", "named"), [(SECRET, 0o644, "chmod 600"), ("", 0o600, "empty"), (None, 0, "cannot be read")]
)
def test_unusable_password_file_is_named(
    wallets: tuple[Path, str], tmp_path: Path, text: str | None, mode: int, named: str
) -> None:
    path = tmp_path / "password"
    if text is not None:
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    with pytest.raises(ConfigError, match=named) as caught:
        load_wallet(live(wallets[0], hotkey_password_file=str(path)))
    assert str(path) in str(caught.value)
    assert SECRET not in str(caught.value)


def test_wrong_password_is_an_error_that_names_its_source_but_not_itself(
    wallets: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "wrong-guess")
    with pytest.raises(ConfigError, match=PASSWORD) as caught:
        load_wallet(live(wallets[0]))
    assert "wrong-guess" not in str(caught.value)
    assert "wrong-guess" not in [value for name, value in os.environ.items() if name != PASSWORD]


def test_without_a_terminal_the_error_names_the_ways_to_give_a_password(
    wallets: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115  closed with the interpreter's own
    with pytest.raises(ConfigError, match="no terminal") as caught:
        load_wallet(live(wallets[0]))
    sys.stdin.close()
    assert PASSWORD in str(caught.value)
    assert "hotkey_password_file" in str(caught.value)


def test_password_is_asked_once_for_this_process_and_its_children(
    wallets: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = iter(["wrong", SECRET])
    monkeypatch.setattr("ewmalab.live.miner.wallet.getpass.getpass", lambda _: next(typed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert load_wallet(live(wallets[0])).hotkey.ss58_address == wallets[1]
    for _ in range(2):  # a third question would have no answer
        assert load_wallet(live(wallets[0])).hotkey.ss58_address == wallets[1]


def test_two_keys_may_have_two_passwords(
    wallets: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = encrypted(tmp_path, "other", "another")
    typed = iter([SECRET, "another"])
    monkeypatch.setattr("ewmalab.live.miner.wallet.getpass.getpass", lambda _: next(typed))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for _ in range(2):
        assert load_wallet(live(wallets[0])).hotkey.ss58_address == wallets[1]
        assert load_wallet(live(tmp_path, hotkey="other")).hotkey.ss58_address == other


def test_only_the_miner_gets_the_password(wallets: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, SECRET)
    load_wallet(live(wallets[0]))
    updater, miner = Stack((), "state", (("", "127.0.0.1", 1),), 1.0, "INFO").children()
    assert updater.environment is not None
    assert not any(name.startswith((PASSWORD, "BT_PW_")) for name in updater.environment)
    assert miner.environment is None


ASKS = """
import subprocess, sys
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.settings import load_settings
flags = {"live.wallet": "enc", "live.wallet_path": sys.argv[1]}
own = load_wallet(load_settings(environ={}, flags=flags).values.live)
print("opened", own.hotkey.ss58_address, flush=True)
if sys.argv[2:]:
    subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]], stdin=subprocess.DEVNULL, check=True)
"""


@pytest.mark.ci
def test_terminal_is_asked_once_and_a_child_without_one_not_at_all(tmp_path: Path) -> None:
    made = bt.Wallet("enc", "default", str(tmp_path))
    made.create_new_hotkey(use_password=True, hotkey_password=SECRET, suppress=True)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKS, str(tmp_path), ASKS])
    seen, answered = b"", False
    with contextlib.suppress(OSError):  # a terminal that all have left
        while select.select([terminal], [], [], 300.0)[0] and (data := os.read(terminal, 4096)):
            seen += data
            if not answered and b"Enter password" in seen:
                answered = True
                os.write(terminal, SECRET.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert seen.count(b"Enter password") == 1
    assert seen.count(made.hotkey.ss58_address.encode()) == 2
    assert SECRET.encode() not in seen


@pytest.mark.ci
def test_miner_without_a_terminal_ends_with_one_line(wallets: tuple[Path, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ewmalab", "live", "miner", "--no-chain", "--allow", wallets[1], "--wallet", "enc",
         "--wallet-path", str(wallets[0])],
        cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert PASSWORD in done.stderr
    assert "Traceback" not in done.stderr
    assert "Aborted" not in done.stderr

"""The wallet with this miner's hotkey, and the password of an encrypted one."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import Any

from ewmalab.errors import ConfigError
from ewmalab.live.processes import PASSWORD
from ewmalab.settings.schema import LiveSettings

_TRIES = 3  # passwords that a user may type


def load_wallet(live: LiveSettings) -> Any:
    """Return the wallet with this miner's hotkey.

    The password of an encrypted hotkey comes from bittensor's own variable ``BT_PW_...``, from the file that the
    settings name, from `PASSWORD`, or from the user. It then stays in this process's environment, so that a miner that
    a supervisor restarts asks nobody.

    Raises
    ------
    ConfigError
        If bittensor is not installed, or the key cannot be read.
    """
    try:
        import bittensor as bt
    except ImportError as error:
        raise ConfigError("live commands need an extra: pip install 'ewmalab[live]'") from error
    wallet = bt.Wallet(live.wallet, live.hotkey, str(Path(live.wallet_path).expanduser()))
    try:
        file = wallet.hotkey_file
        if file.is_encrypted() and not bt.sp_core.get_password_from_environment(file.env_var_name()):
            _unlock(wallet, live)
        wallet.hotkey  # noqa: B018  read from disk here, so that a missing key shows at once
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"hotkey {live.hotkey!r} of wallet {live.wallet!r} in {live.wallet_path} cannot be read "
            f"({type(error).__name__}: {error}); choose one with --wallet, --hotkey and --wallet-path"
        ) from error
    return wallet


def _unlock(wallet: Any, live: LiveSettings) -> None:
    """Decrypt the hotkey, and keep the password for the processes that this one starts."""
    from bittensor.keyfiles import WrongPasswordError

    what = f"hotkey {live.hotkey!r} of wallet {live.wallet!r}"
    kept = f"{PASSWORD}:{live.wallet}/{live.hotkey}"
    told = _told(live, kept)
    source = "live.hotkey_password_file" if live.hotkey_password_file else PASSWORD
    if told is None:
        source = "the terminal"
        if not sys.stdin.isatty():
            raise ConfigError(
                f"{what} is encrypted, and there is no terminal to ask for its password: put it into a file that only "
                f"this user can read, and name that in live.hotkey_password_file; or set the variable {PASSWORD}"
            )
    for _ in range(1 if told is not None else _TRIES):
        try:
            password = told if told is not None else getpass.getpass(f"Enter password to unlock {what}: ")
        except EOFError:
            break
        try:
            wallet.get_hotkey(password)
        except WrongPasswordError:
            continue
        os.environ[kept] = password
        return
    raise ConfigError(f"{what} is encrypted, and the password from {source} does not open it")


def _told(live: LiveSettings, kept: str) -> str | None:
    """Return the password from the file or the environment."""
    if not live.hotkey_password_file:
        return os.environ.get(kept) or os.environ.get(PASSWORD) or None
    path = Path(live.hotkey_password_file).expanduser()
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigError(f"live.hotkey_password_file: {path} can be read by every user: chmod 600 {path}")
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"live.hotkey_password_file: {path} cannot be read: {error}") from error
    if not text:
        raise ConfigError(f"live.hotkey_password_file: {path} is empty")
    return text

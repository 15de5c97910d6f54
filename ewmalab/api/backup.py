"""Backups of a live miner."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ewmalab.api.result import Outcome
from ewmalab.live import backup
from ewmalab.live.backup import Backup
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import USER_FILE


def back_up(archive: Path | str, *, logs: bool = False, settings: LoadedSettings | None = None) -> Outcome[Backup]:
    """Save states, nonces, notes, fits and the settings file of a live miner; it may run meanwhile.

    Parameters
    ----------
    archive : path
        A ``.tar.gz`` file that does not exist yet.
    logs : bool
        Whether to add the answer log.
    settings : LoadedSettings, optional
        Name the folders.

    Raises
    ------
    StateError
    """
    done = backup.back_up(settings or load_settings(), Path(archive), logs=logs)
    return _outcome("saved to", done)


def restore(
    archive: Path | str, *, settings: LoadedSettings | None = None, settings_file: Path | None = None
) -> Outcome[Backup]:
    """Restore what `back_up` saved; what is there is moved aside.

    Parameters
    ----------
    archive : path
    settings : LoadedSettings, optional
        Name the folders.
    settings_file : Path, optional
        Where the saved settings file goes; by default ``ewmalab.toml``.

    Raises
    ------
    StateError
        If live processes run, or the archive is damaged; nothing has changed then.
    """
    done = backup.restore(settings or load_settings(), Path(archive), settings_file or Path(USER_FILE))
    return _outcome("restored from", done)


def _outcome(what: str, done: Backup) -> Outcome[Backup]:
    def text(found: Backup) -> str:
        lines = [f"{found.files} files, {found.size / 1e6:.1f} MB, {what} {found.archive}"]
        lines += [f"moved aside: {path}" for path in found.aside]
        return "\n".join(lines) + "\n"

    def plain(found: Backup) -> dict[str, object]:
        return asdict(found) | {"archive": str(found.archive), "aside": [str(path) for path in found.aside]}

    return Outcome("Backup", done, text, plain)

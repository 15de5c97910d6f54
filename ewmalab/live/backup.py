"""Back up what a miner cannot fetch again, and restore it."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson

from ewmalab.atomic_files import TEMP_PREFIX, sync_folder, write_atomic
from ewmalab.errors import StateError
from ewmalab.live.fit_note import NOTE
from ewmalab.live.miners import all_miners
from ewmalab.live.orphans import refuse_if_taken
from ewmalab.live.state_store import LOCK, QUARANTINE
from ewmalab.settings import LoadedSettings

_FORMAT, _VERSION = "ewmalab-backup", 1
_MANIFEST, _SETTINGS = "manifest.json", "settings.toml"
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Backup:
    """What was saved or restored.

    Attributes
    ----------
    archive : Path
    files, size : int
        Number of files, and their bytes.
    aside : tuple of Path
        Where a restore moved what was there before.
    """

    archive: Path
    files: int
    size: int
    aside: tuple[Path, ...] = ()


def back_up(settings: LoadedSettings, archive: Path, *, logs: bool = False) -> Backup:
    """Write states, nonces, notes, fits and the settings file to an archive; live processes may run meanwhile.

    Parameters
    ----------
    settings : LoadedSettings
    archive : Path
        A ``.tar.gz`` file that does not exist yet. Only its owner can read it, since a settings file may hold a key.
    logs : bool
        Whether to add the answer log.

    Raises
    ------
    StateError
        If the archive exists, or there is no state.
    """
    if archive.exists():
        raise StateError(f"{archive}: exists already; choose another name")
    chosen = list(_chosen(settings, logs))
    if not any(name.startswith("state/") for name, _ in chosen):
        raise StateError(f"{settings.values.live.state_dir}: no state here; choose another folder with --state-dir")
    archive.parent.mkdir(parents=True, exist_ok=True)
    temp = archive.parent / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    digests: dict[str, str] = {}
    size = 0
    try:
        with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=3) as tar:
                for name, path in chosen:
                    added = _add(tar, name, path)
                    if added is not None:
                        digests[name], size = added[0], size + added[1]
                manifest = {"format": _FORMAT, "version": _VERSION, "files": digests}
                data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
                info = tarfile.TarInfo(_MANIFEST)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        temp.replace(archive)
        sync_folder(archive.parent)
    finally:
        temp.unlink(missing_ok=True)
    return Backup(archive, len(digests), size)


def restore(settings: LoadedSettings, archive: Path, settings_file: Path) -> Backup:
    """Restore an archive into the folders that the settings name; what is there is moved aside, never deleted.

    Everything is unpacked and verified before anything is moved.

    Parameters
    ----------
    settings : LoadedSettings
    archive : Path
    settings_file : Path
        Where its settings file goes.

    Raises
    ------
    StateError
        If live processes run, or the archive is damaged; nothing has changed then.
    """
    live = settings.values.live
    for own in all_miners(settings).values():
        refuse_if_taken(own.values.live)
    mark = secrets.token_hex(4)
    homes = {"state": live.state_dir.absolute(), "log": live.log_dir.absolute(), "settings": settings_file.absolute()}
    staged = {name: home.parent / f"{home.name}.restoring-{mark}" for name, home in homes.items()}
    staged["fits"] = homes["state"].parent / f"fits.restoring-{mark}"
    try:
        files, size = _unpack(archive, staged)
        _move_fits(staged, Path(settings.values.fit.folder).absolute())
        aside = _swap(homes, staged, mark)
    finally:
        for path in staged.values():
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return Backup(archive, files, size, aside)


def _chosen(settings: LoadedSettings, logs: bool) -> Iterator[tuple[str, Path]]:
    live = settings.values.live
    yield from _below(live.state_dir, "state", {QUARANTINE, LOCK})
    file = next((Path(layer.name) for layer in settings.layers if layer.name.endswith(".toml")), None)
    if file is not None and file.is_file():
        yield _SETTINGS, file
    artifacts = [*settings.values.fit.artifacts, _noted(live.state_dir / NOTE).get("artifact", "")]
    yield from ((f"fits/{Path(path).name}", Path(path)) for path in dict.fromkeys(filter(None, artifacts)))
    if logs:
        yield from _below(live.log_dir, "log", {"messages"})


def _below(folder: Path, name: str, without: set[str]) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in without and not path.name.startswith(TEMP_PREFIX):
            yield f"{name}/{'/'.join(parts)}", path


class _Hashed:
    """A file that is hashed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, path: Path) -> tuple[str, int] | None:
    """Add a file; return its digest and size, None if it has gone meanwhile."""
    try:
        with path.open("rb") as file:
            info = tarfile.TarInfo(name)
            found = os.fstat(file.fileno())
            info.size, info.mtime, info.mode = found.st_size, int(found.st_mtime), 0o600
            hashed = _Hashed(file)  # a log that grows is read up to the size that it had
            tar.addfile(info, hashed)
    except FileNotFoundError:
        return None
    return hashed.hash.hexdigest(), info.size


def _unpack(archive: Path, staged: dict[str, Path]) -> tuple[int, int]:
    """Write and verify an archive's files; return their number and bytes."""
    digests: dict[str, str] = {}
    manifest: dict[str, Any] = {}
    size = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for info in tar:
                source = tar.extractfile(info) if info.isfile() else None
                if source is None:
                    raise ValueError(f"{info.name} is no file")
                if info.name == _MANIFEST:
                    manifest = orjson.loads(source.read())
                    continue
                target = _target(info.name, staged)
                target.parent.mkdir(parents=True, exist_ok=True)
                hashed = _Hashed(source)
                with target.open("xb") as file:
                    shutil.copyfileobj(hashed, file, _BLOCK)
                    file.flush()
                    os.fsync(file.fileno())
                target.chmod(0o600)
                digests[info.name], size = hashed.hash.hexdigest(), size + info.size
        if manifest.get("format") != _FORMAT or manifest.get("version") != _VERSION:
            raise ValueError(f"not an archive of version {_VERSION}")
        if manifest["files"] != digests:
            raise ValueError("its files are not those that were saved")
    except FileNotFoundError as error:
        raise StateError(f"{archive}: no such archive") from error
    except (tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
        raise StateError(
            f"{archive}: cannot be restored ({type(error).__name__}: {error}); nothing was changed"
        ) from error
    return len(digests), size


def _target(name: str, staged: dict[str, Path]) -> Path:
    """Return where a member goes; refuse names that lead elsewhere."""
    if name == _SETTINGS:
        return staged["settings"]
    room, *parts = PurePosixPath(name).parts
    if room not in ("state", "log", "fits") or not parts or ".." in parts or name.startswith("/"):
        raise ValueError(f"unexpected name {name!r}")
    return staged[room].joinpath(*parts)


def _move_fits(staged: dict[str, Path], folder: Path) -> None:
    """Put artifacts into the folder of fits, where their names identify their content, and let the note name them."""
    note = _noted(staged["state"] / NOTE)
    for path in sorted(staged["fits"].glob("*")):
        write_atomic(folder / path.name, path.read_bytes())
        if Path(str(note.get("artifact"))).name == path.name:
            write_atomic(staged["state"] / NOTE, orjson.dumps(note | {"artifact": str(folder / path.name)}))


def _noted(path: Path) -> dict[str, Any]:
    try:
        note = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return note if isinstance(note, dict) else {}


def _swap(homes: dict[str, Path], staged: dict[str, Path], mark: str) -> tuple[Path, ...]:
    """Move what was unpacked to where it belongs; if that fails, move everything back."""
    moved: list[tuple[Path, Path]] = []
    aside = []
    try:
        for name, home in homes.items():
            if not staged[name].exists():
                continue
            if home.exists():
                old = home.with_name(f"{home.name}.before-{mark}")
                home.replace(old)
                moved.append((old, home))
                aside.append(old)
            staged[name].replace(home)
            moved.append((home, staged[name]))
            sync_folder(home.parent)
    except OSError:
        for now, before in reversed(moved):
            now.replace(before)
        raise
    return tuple(aside)

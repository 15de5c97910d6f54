"""The cache of compiled kernels: damaged files, folders that cannot be written to."""

from __future__ import annotations

import importlib.util
import logging
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from numba import config
from numba.core import caching

from ewmalab import compiled
from ewmalab.errors import ConfigError

KERNEL = """
from ewmalab.compiled import njit

@njit(cache=True)
def twice(x):
    return 2 * x
"""


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Load a new module with a kernel that numba keeps in `tmp_path`, as a new process would."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "kept"))
    source = tmp_path / "kernel_of_a_plugin.py"
    source.write_text(KERNEL)

    def load() -> Any:
        spec = importlib.util.spec_from_file_location(source.stem, source)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return load


def kept(folder: Path, ending: str) -> Path:
    [path] = folder.rglob(f"*.{ending}")
    return path


def hits(function: Any) -> int:
    return sum(function.stats.cache_hits.values())


def test_kernel_is_compiled_once_for_all_processes(kernel: Callable[[], Any]) -> None:
    assert kernel()(2) == 4
    again = kernel()
    assert again(2) == 4
    assert hits(again) == 1


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [
    lambda data: b"",
    lambda data: data[:40],
    lambda data: data[:-1],
    lambda data: bytes(len(data)),
    lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
], ids=["empty", "cut", "last byte", "zeros", "zeros at the end"])  # fmt: skip
def test_damaged_file_is_replaced_and_costs_one_compilation(
    kernel: Callable[[], Any], tmp_path: Path, ending: str, damage: Callable[[bytes], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    kernel()(2)
    path = kept(tmp_path, ending)
    path.write_bytes(damage(path.read_bytes()))
    second, third = kernel(), kernel()
    assert second(2) == 4
    assert third(2) == 4
    assert hits(third) == 1
    assert hits(second) == 0
    assert str(path) in caplog.text


def test_code_that_another_writer_kept_without_a_digest_is_not_loaded(
    kernel: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(caching, "IndexDataCacheFile", compiled.CheckedCacheFile.__mro__[1])
        kernel()(2)
    second = kernel()
    assert second(2) == 4
    assert hits(second) == 0


def test_numba_alone_reads_what_we_kept(kernel: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    kernel()(2)
    monkeypatch.setattr(caching, "IndexDataCacheFile", compiled.CheckedCacheFile.__mro__[1])
    plain = kernel()
    assert plain(2) == 4
    assert hits(plain) == 1


def test_full_disk_costs_the_cache_but_not_the_result(
    kernel: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Any, name: str, data: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled.CheckedCacheFile, "_save_data", full)
    assert kernel()(2) == 4
    assert "No space left on device" in caplog.text


# ------------------------------------------------------------------------------------------------- the folder


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No folder that numba tries can be written to; return the folder of temporary files."""

    def refuse(self: Any) -> None:
        if not str(self.get_cache_path()).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config.reload_config()
    yield tmp_path
    monkeypatch.undo()
    config.reload_config()


def test_private_folder_is_chosen_only_if_no_other_can_be_written_to(
    nowhere: Path, caplog: pytest.LogCaptureFixture
) -> None:
    compiled.choose_folder()
    chosen = Path(config.CACHE_DIR)
    assert chosen.parent == nowhere
    assert stat.S_IMODE(chosen.stat().st_mode) == 0o700
    assert "NUMBA_CACHE_DIR" in caplog.text
    caplog.clear()
    compiled.choose_folder()
    assert Path(config.CACHE_DIR) == chosen
    assert not caplog.text


def test_folder_of_the_user_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    compiled.choose_folder()
    assert str(tmp_path) == config.CACHE_DIR


@pytest.mark.parametrize("plant", ["open to others", "link"])
def test_folder_that_others_could_write_to_is_not_used(nowhere: Path, tmp_path: Path, plant: str) -> None:
    expected = compiled.private_folder()
    expected.rmdir()
    if plant == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        expected.symlink_to(tmp_path / "theirs")
    else:
        expected.mkdir()
        expected.chmod(0o777)
    assert compiled.private_folder() != expected


def test_without_any_folder_the_error_names_the_variable(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ConfigError, match="NUMBA_CACHE_DIR"):
        compiled.private_folder()


def test_choice_is_quiet_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        compiled.choose_folder()
    assert not caplog.text

"""Wrong input at every command: one line on standard error that names the fix, an exit code, and nothing written.

`wrong_inputs.txt` has the commands with what each prints; FOLDER stands for the folder in which they run.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("wrong_inputs.txt")
ANSWER = "[1777593600,60," + ",".join(["[" + ",".join(["95000.0"] * 61) + "]"] * 2) + "]"
FILES = {
    "present.toml": "",
    "empty.csv": "",
    "empty.json": "",
    "text.json": "no JSON\n",
    "object.json": '{"a": 1}',
    "answer.json": ANSWER,
    "prices.json": "[" + ",".join(["95000.0"] * 61) + "]",
    "bars.csv": "time,close\n2026-01-15T00:00:00,95000.0\n2026-01-15T00:01:00,95010.0\n2026-01-15T00:02:00,95020.0\n",
    "wrong_key.toml": "[ewma]\nnu_1n = 5\n",
    "wrong_asset.toml": "[ewma]\nnu_1m = { default = 5, BTCC = 6 }\n",
    "wrong_preset.toml": "[presets.ewma.mine]\nnu_1m = 1\n",
    "strange_preset.toml": "[presets.ewna.mine]\nnu_1m = 5\n",
    "plug_raises.py": "raise RuntimeError('not today')\n",
    "plug_syntax.py": "class Mine\n",
    "plug_empty.py": "",
    "plug_other.py": "class Mine:\n    def __init__(self, asset):\n        pass\n\n\nPlain = Mine\n",
    "plug_needs.py": "class Mine:\n    def __init__(self, asset, scale):\n        pass\n",
    "experiments/20260115T000000Z-broken-00000000/manifest.json": "{",
    "experiments/20260114T000000Z-other-00000000/manifest.json": "[]",
    "head.csv": "a,b\n1,2\n",
    "no_asset.csv": "start_time\n1768435200\n",
    "soon.csv": "start_time,asset,time_length\nsoon,BTC,3600\n",
    "endless.csv": "start_time,asset,time_length\ninf,BTC,3600\n",
    "odd.csv": "start_time,asset,time_length\n1768435200,BTC,1234\n",
    "late.csv": "start_time,asset,time_length\n99999999999999,BTC,3600\n",
    "none.csv": "start_time,asset,time_length\n",
    "words.csv": "time,close\n2026-01-15T00:00:00,five\n",
    "deep.json": "[" * 100_000 + "]" * 100_000,
    "list.toml": "[replay]\nforecasters = [1]\n",
    "twice.toml": "[ewma]\nnu_1m = 5\nnu_1m = 6\n",
    "fitted.toml": "[fit]\nartifacts = ['text.json']\n",
    "torn_log/answers-2026-01-15.jsonl": "no json\n",
}


def cases() -> list[tuple[str, int, str]]:
    """Return the commands with the exit code and the text that each prints."""
    found = []
    for block in re.split(r"(?m)^(?:#.*\n)*^\$ ewmalab ", TABLE.read_text())[1:]:
        command, said = block.split("\n", 1)
        code, _, text = said.partition(" ")
        found.append((command, int(code), text))
    return found


def write_files(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "bytes.bin").write_bytes(bytes(range(256)) * 4)
    (folder / "folder").mkdir()


def files_below(folder: Path) -> set[str]:
    """Return all files and folders but the caches of Python and of libraries."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {str(path) for path in found if not {"__pycache__", ".cache", ".config"} & {*path.parts}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("wrong")
    write_files(found)
    return found


@pytest.mark.parametrize(("command", "code", "text"), cases(), ids=lambda value: str(value)[:70])
def test_wrong_input_gives_one_line_its_exit_code_and_writes_nothing(
    command: str, code: int, text: str, ewmalab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    before = files_below(folder)
    done = ewmalab(*shlex.split(command))
    said = done.err or (done.out if code == 1 else "")  # a check that fails, or a refused file, is a result
    assert (done.code, said.replace(str(folder), "FOLDER")) == (code, text)
    assert "--json" in command or code == 1 or done.out == ""
    assert files_below(folder) == before


def test_the_table_is_long_and_names_each_command_once() -> None:
    commands = [command for command, _, _ in cases()]
    assert len(commands) >= 370
    assert len(set(commands)) == len(commands)
    assert {code for _, code, _ in cases()} == {1, 2, 3, 4, 5}

"""An error inside a plug-in names the asset, the time, and the plug-in's own file and line, and nothing of ours."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from twins import random_bars

from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.model import Fit, Model, state_digest
from ewmalab.forecast.protocol import Prompt
from ewmalab.replay.fits import make_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings

START = 1_768_435_200
BARS = random_bars(500, start=START - 500 * 60)
PROMPT = Prompt(START, "1h", "BTC", START - 60, 60, 3600, 5)
BOOK, SETTINGS = load_rulebook(), load_settings(environ={})
GOOD = """
import json
import numpy as np
from ewmalab.errors import ForecasterError, MissingDataError

class Own:
    def __init__(self, asset):
        pass
    def initial_state(self):
        return 0
    def update(self, state, bars):
        return state + len(bars)
    def simulate(self, state, prompt, stream):
        return np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
    def dump_state(self, state):
        return {"version": 1, "count": state}
    def load_state(self, data):
        return data["count"]
    def fit(self, bars, assets, *, end, prior=None):
        return {"x": 1.0}
    def with_fit(self, numbers):
        return self
    def aged(self, state, until):
        return state
"""
Made = Callable[[str, str], tuple[str, Path]]
_number = count()


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Write the plug-in with another line in it; return its name and file."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(old: str, new: str) -> tuple[str, Path]:
        assert old in GOOD
        path = tmp_path / f"failing_{next(_number)}.py"
        path.write_text(GOOD.replace(old, new))
        return f"{path.stem}:Own", path

    return made


def model(name: str) -> Model:
    return Model.of(name, BOOK.asset("BTC"), SETTINGS)


def answered(name: str) -> None:
    of = model(name)
    of.paths(of.state_of(BARS), int(BARS.timestamp[-1]), PROMPT, 1)


def aged(name: str) -> None:
    of = model(name)
    of.paths(of.state_of(BARS.rows(0, 10)), int(BARS.timestamp[9]), PROMPT, 1)


CASES: list[tuple[str, str, Callable[[str], Any], str]] = [
    ("pass", "1 / 0", model, "failing_N:Own failed for BTC: ZeroDivisionError"),
    ("return 0", "return [][0]", answered, "Own.initial_state failed for BTC at 2026-01-14T23:59:00Z: IndexError"),
    (
        "return state + len(bars)", "return {}['x']", answered,
        "Own.update failed for BTC at 2026-01-14T23:59:00Z: KeyError: 'x'",
    ),
    (
        "return np.zeros(", "raise ForecasterError('no move seen') if state else np.zeros(", answered,
        "Own.simulate failed for BTC at 2026-01-14T23:59:00Z: no move seen",
    ),
    ("return np.zeros(", "return json.loads('{') or (", answered, "Own.simulate failed for BTC .* JSONDecodeError: "),
    ("return state\n", "return int('x')\n", aged, "Own.aged failed for BTC at 2026-01-14T23:59:00Z: ValueError: "),
    (
        'return {"version": 1, "count": state}', "return state.nothing",
        lambda name: state_digest(model(name).forecaster, 1), "Own.dump_state failed: AttributeError: ",
    ),
    ('return data["count"]', "return data.x", lambda name: model(name).loaded({}), "Own.load_state failed for BTC: "),
    (
        'return {"x": 1.0}', "assert not bars",
        lambda name: make_artifact(name, {"BTC": BARS}, SETTINGS, BOOK, end=START),
        "Own.fit failed for BTC at 2026-01-15T00:00:00Z: AssertionError ",
    ),
    (
        "return self\n", "return numbers['y']\n",
        lambda name: Model.of(name, BOOK.asset("BTC"), SETTINGS, Fit(START, {"x": 1.0}, "")),
        "Own.with_fit failed for BTC at 2026-01-15T00:00:00Z: KeyError: 'y'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "call", "words"), CASES, ids=[words.split(" failed")[0] for *_, words in CASES])
def test_an_error_names_method_asset_time_file_and_line(
    old: str, new: str, call: Callable[[str], Any], words: str, plugin: Made
) -> None:
    name, path = plugin(old, new)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if new.split("\n")[0] in text)
    with pytest.raises(ForecasterError, match=words.replace("failing_N", path.stem)) as caught:
        call(name)
    assert f"({path}, line {line}, in " in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert "ewmalab/" not in str(caught.value)


def test_errors_that_the_package_raises_for_users_pass_unchanged(plugin: Made) -> None:
    name, _ = plugin('return {"x": 1.0}', "raise MissingDataError('too few')")
    with pytest.raises(MissingDataError, match=r"^too few$"):
        make_artifact(name, {"BTC": BARS}, SETTINGS, BOOK, end=START)


@pytest.mark.parametrize("text", ["1 / 0\n", "def broken(:\n", "import nothing_of_this_name\n"])
def test_a_module_that_cannot_be_imported_is_one_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    stem = f"unimportable_{next(_number)}"
    (tmp_path / f"{stem}.py").write_text(textwrap.dedent(text))
    with pytest.raises(ForecasterError, match=f"forecaster '{stem}:Own' cannot be imported: ") as caught:
        model(f"{stem}:Own")
    assert "\n" not in str(caught.value)


@pytest.mark.ci
def test_a_backtest_with_a_failing_plug_in_ends_with_one_line(
    plugin: Made, ewmalab: Callable[..., Any], folder: Path
) -> None:
    name, path = plugin("return np.zeros(", "return 1 / 0 or (")
    given = ["--start", "2026-01-15", "--days", "0.1", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h"]
    done = ewmalab("backtest", "-f", name, *given, f"--set=data.cache_dir={folder}", "--set=fit.every=1d")
    assert done.code == 5
    (line,) = [line for line in done.err.splitlines() if line.startswith("ewmalab:")]
    assert line.startswith("ewmalab: Own.simulate failed for BTC at 2026-01-1")
    assert f"ZeroDivisionError: division by zero ({path}, line " in line

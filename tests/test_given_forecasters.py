"""A class or function may stand where a forecaster's name stands, wherever it was written."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ewmalab as ew
from ewmalab.errors import ForecasterError
from ewmalab.experiments.store import find_experiment
from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.load import code_version, factory_of, load_forecaster, names_of
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.checks import check_warmup
from ewmalab.replay.lookahead import check_lookahead
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.reproduce import reproduce_prompts
from ewmalab.rulebook import Asset, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, parse_time

ROOT = Path(__file__).resolve().parents[1]
START = parse_time("2026-01-15")
BTC = load_rulebook().asset("BTC")
SOURCE = '''
import numpy as np

FACTOR = 1.0

class Mine:
    """Normal steps of one size."""

    size = 1e-3

    def __init__(self, asset, *, scale=1.0):
        self.asset, self.scale = asset, scale

    def initial_state(self):
        return 0

    def update(self, state, bars):
        return state + len(bars)

    def simulate(self, state, prompt, stream):
        steps = stream.generator().standard_normal((prompt.steps, prompt.num_simulations)) * self.size * self.scale
        return np.concatenate([np.zeros((1, prompt.num_simulations)), steps.cumsum(axis=0)]).astype(np.float32)

    def dump_state(self, state):
        return {"version": 1, "count": state}

    def load_state(self, data):
        return data["count"]
'''


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    folder = tmp_path_factory.mktemp("given")
    flags = {"data.cache_dir": str(folder / "cache"), "run.experiments_dir": str(folder / "experiments")}
    return load_settings(environ={}, flags={"data.feed": "simulated", **flags})


@pytest.fixture
def notebook() -> Iterator[Callable[[str], Any]]:
    """Run a cell's code as a notebook does: in `__main__`, from no file; returns its `Mine`."""
    main, before = sys.modules["__main__"], dict(vars(sys.modules["__main__"]))

    def run(code: str) -> Any:
        exec(compile(code, "<cell>", "exec"), vars(main))
        return vars(main)["Mine"]

    vars(main).pop("__file__", None)
    yield run
    vars(main).clear()
    vars(main).update(before)


def plan_of(settings: LoadedSettings, *forecasters: Any) -> BacktestPlan:
    return plan_backtest(
        settings, start=START, days=0.25, forecasters=forecasters, assets=["BTC"], competitions=["1h"],
        cadence=3600, num_simulations=20, now=START + 30 * DAY,
    )  # fmt: skip


def totals(plan: BacktestPlan, name: str) -> list[float]:
    return [row.score.total for row in plan.run(threads=2) if row.forecaster == name and row.score]


class Steps:
    """Written in a module that can be imported."""

    class Inner(RandomWalk):
        """Written inside a class."""

        def __init__(self, asset: Asset) -> None:
            RandomWalk.__init__(self, asset, 0.005)


def inner(asset: Asset) -> Any:
    """A factory."""
    return RandomWalk(asset, 0.005)


# ---------------------------------------------------------------------------------------------------------- names


def test_what_can_be_imported_is_named_so_and_not_remembered() -> None:
    assert names_of(["ewma", Steps.Inner, inner, Ewma]) == (
        "ewma", f"{__name__}:Steps.Inner", f"{__name__}:inner",
    )  # fmt: skip
    assert factory_of(f"{__name__}:Steps.Inner") == (Steps.Inner, "plugin")
    assert isinstance(load_forecaster(f"{__name__}:inner", BTC, load_settings(environ={})), RandomWalk)


def test_each_name_comes_once_in_the_order_given() -> None:
    assert names_of(["random-walk", inner, "ewma", inner, f"{__name__}:inner"]) == (
        "random-walk", f"{__name__}:inner", "ewma",
    )  # fmt: skip


def test_what_cannot_be_imported_is_remembered_and_the_newest_counts() -> None:
    def make(sigma: float) -> Any:
        class Local(RandomWalk):
            def __init__(self, asset: Asset) -> None:
                RandomWalk.__init__(self, asset, sigma)

        return Local

    one, other = make(0.001), make(0.002)
    (name,) = names_of([one])
    assert name == f"{__name__}:{one.__qualname__}"
    assert "<locals>" in name
    assert factory_of(name)[0] is one
    assert names_of([other]) == (name,)
    assert factory_of(name)[0] is other
    with pytest.raises(ForecasterError, match=r"two forecasters are called .*Local: give one of them another name"):
        names_of([one, other])
    assert factory_of(name)[0] is other


@pytest.mark.parametrize("given", [3, None, partial(RandomWalk, sigma_per_hour=0.1), RandomWalk(BTC, 0.005)])
def test_what_is_neither_name_nor_class_nor_function_is_refused(given: Any) -> None:
    with pytest.raises(ForecasterError, match="is not a forecaster's name, class or function: wrap it"):
        names_of(["ewma", given])


# -------------------------------------------------------------------------------------------------------- backtest


def test_a_local_class_and_a_function_are_replayed_and_checked_like_any_other(settings: LoadedSettings) -> None:
    class Local(RandomWalk):
        pass

    plan = plan_of(settings, lambda asset: RandomWalk(asset, 0.005), lambda_of(Local), "random-walk")
    names = plan.forecasters
    assert len(names) == 3
    assert names[2] == "random-walk"
    assert totals(plan, names[0]) == totals(plan, names[1])
    assert len(totals(plan, "random-walk")) == 6
    assert {row.verdict for row in check_warmup(plan)} == {"sufficient"}


@pytest.mark.ci
def test_a_local_class_is_checked_for_leaks_like_any_other(settings: LoadedSettings) -> None:
    class Local(RandomWalk):
        pass

    assert check_lookahead(plan_of(settings, lambda_of(Local)), cuts=2).leaks == []


def lambda_of(kind: Any) -> Any:
    def made(asset: Asset) -> Any:
        return kind(asset, 0.005)

    return made


def test_a_class_of_a_notebook_is_backtested_and_reproduced(
    settings: LoadedSettings, notebook: Callable[[str], Any]
) -> None:
    scaled = settings.with_flags({"plugin.scale": 2.0})
    experiment = ew.backtest(
        notebook(SOURCE), "random-walk", start="2026-01-15", days=0.25, assets=["BTC"], competitions=["1h"],
        cadence="1h", num_simulations=20, settings=scaled, workers=1,
    )  # fmt: skip
    assert experiment.manifest["inputs"]["forecasters"] == ["__main__:Mine", "random-walk"]
    key = ("__main__:Mine", "1h", "BTC", START + 3600)
    (again,) = reproduce_prompts(experiment, settings.values.data.cache_dir, [key])
    assert np.diff(again.paths.astype(float), axis=0).std() == pytest.approx(2e-3, rel=0.1)


def test_a_cell_that_is_run_again_replaces_the_class(settings: LoadedSettings, notebook: Callable[[str], Any]) -> None:
    first = totals(plan_of(settings, notebook(SOURCE)), "__main__:Mine")
    wide = notebook(SOURCE.replace("1e-3", "5e-3"))
    second = totals(plan_of(settings, wide), "__main__:Mine")
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert totals(plan_of(settings, "__main__:Mine"), "__main__:Mine") == second


@pytest.mark.ci
def test_another_process_says_why_it_cannot_reproduce(settings: LoadedSettings, notebook: Callable[[str], Any]) -> None:
    class Local(RandomWalk):
        def __init__(self, asset: Asset) -> None:
            RandomWalk.__init__(self, asset, 0.005)

    for given in (notebook(SOURCE), Local):
        experiment = ew.backtest(
            given, start="2026-01-15", days=0.1, assets=["BTC"], competitions=["1h"], cadence="1h",
            num_simulations=20, settings=settings, workers=1,
        )  # fmt: skip
        (name,) = experiment.manifest["inputs"]["forecasters"]
        code = (
            "import sys\n"
            "from pathlib import Path\n"
            "from ewmalab.errors import ForecasterError\n"
            "from ewmalab.experiments.store import find_experiment\n"
            "from ewmalab.replay.reproduce import reproduce_prompts\n"
            "experiment = find_experiment(Path(sys.argv[1]), sys.argv[2])\n"
            "try:\n"
            f"    reproduce_prompts(experiment, sys.argv[3], [({name!r}, '1h', 'BTC', {START + 3600})])\n"
            "except ForecasterError as error:\n"
            "    print(error)\n"
        )
        values = settings.values
        arguments = [str(values.run.experiments_dir), experiment.name, str(values.data.cache_dir)]
        assert find_experiment(values.run.experiments_dir, experiment.name).path == experiment.path
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False,
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"forecaster {name!r} is a class or function of another process")
        assert "move it to a module and name it as package.module:attribute" in done.stdout


# -------------------------------------------------------------------------------------------------- version of code


def version(given: Any) -> str:
    (name,) = names_of([given])
    return code_version(name)


def test_the_version_of_a_class_in_a_file_is_that_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for i, text in enumerate((SOURCE, SOURCE.replace("FACTOR = 1.0", "FACTOR = 2.0"), SOURCE)):
        (tmp_path / f"version_{i}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        found.append(code_version(f"version_{i}:Mine"))
    assert found[0] == found[2] != found[1]
    assert version(inner) == code_version(f"{__name__}:Steps.Inner")  # of one file
    assert len({*found, version(inner), code_version("ewma")}) == 4


CHANGES = {
    "a constant of the class": ("size = 1e-3", "size = 2e-3"),
    "a number in a method": ("return state + len(bars)", "return state + 2 * len(bars)"),
    "a name in a method": ("cumsum", "cumprod"),
    "a text in a method": ('"count": state', '"number": state'),
    "a default": ("scale=1.0", "scale=2.0"),
    "another method": (
        "def load_state(self, data):",
        "def other(self):\n        pass\n\n    def load_state(self, data):",
    ),
    "a part of a method": ("return 0", "return (lambda: 1)()"),
}


def test_the_version_of_a_class_without_a_file_is_that_of_its_code(notebook: Callable[[str], Any]) -> None:
    base = version(notebook(SOURCE))
    assert version(notebook(SOURCE)) == base  # the cell was run again
    assert version(notebook("\n\n# a comment\n" + SOURCE)) == base
    found = {what: version(notebook(SOURCE.replace(*change))) for what, change in CHANGES.items()}
    assert base not in found.values()
    assert len(set(found.values())) == len(CHANGES)


def test_the_version_of_a_class_without_a_file_knows_its_bases_and_decorated_methods(
    notebook: Callable[[str], Any],
) -> None:
    text = SOURCE.replace("class Mine:", "class Base:") + (
        "class Mine(Base):\n"
        "    @property\n"
        "    def a(self): return 1\n"
        "    @staticmethod\n"
        "    def b(): return 1\n"
        "    @classmethod\n"
        "    def c(cls): return 1\n"
    )
    base = version(notebook(text))
    others = [text.replace(f"{name}: return 1", f"{name}: return 2") for name in ("a(self)", "b()", "c(cls)")]
    others.append(text.replace("1e-3", "2e-3"))
    assert len({base, *(version(notebook(other)) for other in others)}) == 5


def test_the_version_of_a_function_without_a_file_is_that_of_its_code(notebook: Callable[[str], Any]) -> None:
    text = "from ewmalab import RandomWalk\ndef Mine(asset, sigma=0.1):\n    return RandomWalk(asset, sigma * 0.01)\n"
    base = version(notebook(text))
    assert version(notebook(text)) == base
    assert version(notebook(text.replace("0.01", "0.02"))) != base
    assert version(notebook(text.replace("sigma=0.1", "sigma=0.2"))) != base
    assert version(lambda asset: RandomWalk(asset, 0.005)) != base


def test_states_of_another_code_have_other_parameters(settings: LoadedSettings, notebook: Callable[[str], Any]) -> None:
    """So that a state kept by an earlier version of the class is not gone on with."""
    found = []
    for text in (SOURCE, SOURCE, SOURCE.replace("1e-3", "2e-3")):
        (name,) = names_of([notebook(text)])
        found.append(Model.of(name, BTC, settings).parameters)
    assert found[0] == found[1] != found[2]


def test_the_version_is_that_of_a_notebooks_cell_whose_file_was_never_written(notebook: Callable[[str], Any]) -> None:
    """A kernel gives cells the name of a file, and keeps their source where `inspect` finds it."""
    import linecache

    versions = []
    for text in (SOURCE, SOURCE.replace("1e-3", "2e-3")):
        name = "/nowhere/ipykernel_1/123.py"
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        space = types.ModuleType("cells")
        exec(compile(text + "\ndef make(asset):\n    return Mine(asset)\n", name, "exec"), vars(space))
        versions.append(version(space.make))
        del linecache.cache[name]
    assert len(versions) == 2
    prompt = Prompt(START, "1h", "BTC", START - 60, 60, 3600, 5)
    assert space.make(BTC).simulate(0, prompt, RandomStream.of(1, "BTC", "1h", START)).shape == (61, 5)
    assert space.make(BTC).update(0, Bars.empty()) == 0

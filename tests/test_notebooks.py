"""The notebooks run from top to bottom, without network, on the public API alone; their outputs are not kept in git."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import ewmalab

pytestmark = pytest.mark.release

FOLDER = Path(__file__).parent.parent / "notebooks"
Run = Callable[[Path, Path, Path], Any]
BOOKS = sorted(FOLDER.glob("*.ipynb"))
NOTHING = {
    "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
    "no_proxy": "127.0.0.1",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


# One kernel runs them all, each in a folder and a namespace of its own, since most of a kernel's time is its start; and
# in a process of its own, since its client leaves an event loop behind.
EXECUTE = """
import sys, traceback
import nbformat
from nbclient import NotebookClient
client = NotebookClient(nbformat.v4.new_notebook(), timeout=1200, kernel_name="python3")
with client.setup_kernel():
    for line in sys.stdin:
        source, work, done = line.rstrip("\\n").split("\\t")
        client.nb = book = nbformat.read(source, 4)
        fresh = f"%reset -f\\nimport os, sys\\nos.chdir({work!r})\\nsys.modules.pop('my_forecaster', None)"
        book.cells.insert(0, nbformat.v4.new_code_cell(fresh))
        try:
            for index, cell in enumerate(book.cells):
                client.execute_cell(cell, index)
        except Exception:
            traceback.print_exc()
        del book.cells[0]
        nbformat.write(book, done)
        print("done", flush=True)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a notebook in a folder, and return it with its outputs and what its kernel complained of."""
    found = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    complaints = tmp_path_factory.mktemp("kernel") / "complaints"
    with complaints.open("w+b") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", EXECUTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            env={**os.environ, **NOTHING, "PYTHONPATH": found},
        )  # fmt: skip
        assert process.stdin
        assert process.stdout

        def run(path: Path, work: Path, done: Path) -> Any:
            before = complaints.stat().st_size
            print(path, work, done, sep="\t", file=process.stdin, flush=True)
            told = process.stdout.readline()  # type: ignore[union-attr]
            assert told == "done\n", complaints.read_bytes()[before:].decode()[-3000:]
            assert "Traceback" not in (said := complaints.read_bytes()[before:].decode()), said[-3000:]
            return read(done)

        yield run
        process.stdin.close()
        process.stdout.close()
        assert process.wait(300) == 0


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def sources(book: Any) -> list[str]:
    cells = [cell["source"] for cell in book.cells if cell["cell_type"] == "code"]
    return [source for source in cells if not source.startswith("%%")]


def test_all_seven_are_here() -> None:
    assert [path.name[:2] for path in BOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, kernel: Run, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    book = kernel(path, work, tmp_path / "done.ipynb")
    assert list(work.iterdir())  # it ran there
    outputs = [output for cell in book.cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert figures
    assert all(len(output["data"]["image/png"]) > 5_000 for output in figures)


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_its_outputs_are_stripped(path: Path) -> None:
    for cell in read(path).cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_it_uses_the_public_api_alone(path: Path) -> None:
    for source in sources(read(path)):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ewmalab"):
                assert (node.module, [alias.name for alias in node.names]) == ("ewmalab", ["notebook"])
            if isinstance(node, ast.Import):
                assert all(alias.name == "ewmalab" or "ewmalab" not in alias.name for alias in node.names)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ew":
                assert node.attr in ewmalab.__all__
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_")

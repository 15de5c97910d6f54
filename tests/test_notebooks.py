"""The notebooks run from top to bottom, without network, on the public API alone; their outputs are not kept in git."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

import ewmalab

FOLDER = Path(__file__).parent.parent / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
NOTHING = {
    "PYTHONWARNINGS": "error::DeprecationWarning:__main__",
    "no_proxy": "127.0.0.1",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
NotebookClient(book, timeout=1200, kernel_name="python3", resources={"metadata": {"path": sys.argv[2]}}).execute()
nbformat.write(book, sys.argv[3])
"""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def sources(book: Any) -> list[str]:
    cells = [cell["source"] for cell in book.cells if cell["cell_type"] == "code"]
    return [source for source in cells if not source.startswith("%%")]


def test_all_seven_are_here() -> None:
    assert [path.name[:2] for path in BOOKS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_it_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    # in a process of its own: a kernel's client leaves an event loop behind
    work, done = tmp_path / "work", tmp_path / "done.ipynb"
    work.mkdir()
    found = os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", EXECUTE, str(path), str(work), str(done)]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **NOTHING, "PYTHONPATH": found}
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    book = read(done)
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

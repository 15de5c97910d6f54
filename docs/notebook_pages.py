"""Notebooks as pages of the site, with their outputs: they run when their pages are built, on a synthetic market.

The repository keeps notebooks without outputs; `docs/notebooks` is a link to them. One kernel runs them all, each in a
folder and a namespace of its own, since most of a kernel's time is its start.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import nbformat
from docutils.nodes import document
from myst_parser.parsers.sphinx_ import MystParser
from nbclient import NotebookClient
from sphinx.application import Sphinx

NOTE = "*Run when this page was built, on synthetic prices:* `notebooks/{name}.ipynb`.\n"
FRESH = "%reset -f\nimport os, sys\nos.chdir({folder!r})\nsys.modules.pop('my_forecaster', None)"
kernel = NotebookClient(
    nbformat.v4.new_notebook(), timeout=600, kernel_name="python3", extra_arguments=["--log-level=40"]
)
started = ExitStack()


class NotebookParser(MystParser):
    """Parses a notebook as Markdown, after running it."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: document) -> None:
        """Run a notebook in a folder of its own, and parse its cells and outputs."""
        if kernel.kc is None:
            started.enter_context(kernel.setup_kernel())
        kernel.nb = book = nbformat.reads(inputstring, 4)
        folder = started.enter_context(tempfile.TemporaryDirectory())
        book.cells.insert(0, nbformat.v4.new_code_cell(FRESH.format(folder=folder)))
        for index, cell in enumerate(book.cells):
            kernel.execute_cell(cell, index)
        super().parse(markdown(book.cells[1:], Path(str(document["source"])).stem), document)


def markdown(cells: list[Any], name: str) -> str:
    """Return a notebook that has run as Markdown."""
    parts = [cell["source"] if cell["cell_type"] == "markdown" else "\n".join(_code(cell)) for cell in cells]
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, NOTE.format(name=name), rest, *parts[1:]])


def _code(cell: Mapping[str, Any]) -> Iterator[str]:
    yield from ("````python", cell["source"], "````\n")
    printed = ""
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            printed += output["text"] if output["name"] == "stdout" else ""
            continue
        data = output["data"]
        if "image/png" in data:
            yield f"![A figure that the cell above draws](data:image/png;base64,{''.join(data['image/png'].split())})\n"
        elif "text/html" in data:
            table = data["text/html"].replace('border="1" class="dataframe"', 'class="docutils dataframe"')
            yield from ("````{raw} html", f'<div style="overflow-x: auto">{table}</div>', "````\n")
        else:
            yield from ("````text", data["text/plain"], "````\n")
    if printed:
        yield from ("````text", printed.rstrip(), "````\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register notebooks as sources of pages."""
    root = str(Path(__file__).resolve().parent.parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))  # of the kernel
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    app.connect("build-finished", lambda *_: started.close())
    return {"parallel_read_safe": False}

"""The documentation builds without a warning, a broken link among them, and says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in [*DOCS.rglob("*.md"), *ROOT.glob("*.md")] if "_build" not in path.parts)
SITE_ONLY = {"docs/changelog.md", "docs/contributing.md"}


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.release
def test_the_reference_is_what_the_code_says() -> None:
    done = generate("--check")
    assert done.returncode == 0, done.stderr


def test_every_setting_is_explained() -> None:
    text = (DOCS / "reference/settings.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| `.*` \| (.*) \|$", text)
    meant = {name for name, meaning in rows if meaning.strip()}
    defaults = tomllib.loads((ROOT / "ewmalab/settings/defaults.toml").read_text())
    tables = [defaults[name] for name in ("run", "data", "replay", "ewma", "random_walk", "live")]
    tables += [*defaults["feeds"].values(), defaults["live"].pop("alerts")]
    assert {key for table in tables for key in table} <= meant


def test_every_command_has_an_example() -> None:
    text = (DOCS / "reference/cli.md").read_text()
    commands = re.split(r"(?m)^##+ `", text)[1:]
    leaves = [c for c in commands if "**Commands**" not in c]
    assert len(leaves) > 25
    for command in leaves:
        assert re.search(r"Examples?:", command), command.partition("`")[0]


@pytest.mark.release
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 20
    outside = re.compile(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](https?:[^"']+)""")
    assert [url for page in pages for url in outside.findall(page.read_text())] == []
    books = [page.read_text() for page in sorted((tmp_path / "site/notebooks").glob("*.html"))]
    assert len(books) == 7
    assert all("A figure that the cell above draws" in book for book in books)
    assert sum("<table" in book for book in books) >= 5


@pytest.mark.ci
def test_a_broken_link_would_be_noticed(tmp_path: Path) -> None:
    for name in ("conf.py", "notebook_pages.py"):
        (tmp_path / name).write_text((DOCS / name).read_text())
    (tmp_path / "index.md").write_text("# Index\n\n[gone](nowhere.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(tmp_path), str(tmp_path / "site")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_also_outside_the_site(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if target.startswith("http") or str(path.relative_to(ROOT)) in SITE_ONLY:
            continue
        found = (path.parent / target).resolve()
        assert found.exists() or target.endswith(("contributing.md", "changelog.md")), target


@cache
def command_line() -> Any:
    """Return the root of the commands; they are built once."""
    from typer.main import get_command

    from ewmalab.cli import app

    return get_command(app)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_in_documents_exist(path: Path) -> None:
    root = command_line()
    code = "\n".join(re.findall(r"(?m)^ {4,}.*$|`[^`\n]+`", path.read_text()))
    for line in re.findall(r"ewmalab ((?:[a-z-]+ ?)+)", code):
        command = root
        for word in line.split():
            if not hasattr(command, "commands") or word.startswith("-"):
                break
            if word not in command.commands:
                assert command is not root, f"ewmalab {line}: no {word}"
                assert getattr(command, "invoke_without_command", False), f"ewmalab {line}: no {word}"
                break
            command = command.commands[word]


def faults_of_commands(text: str) -> list[str]:
    """Return the lines of a page whose command has an unknown option, or lacks one that is required."""
    faults = []
    for line in re.findall(r"(?m)^ {4,}ewmalab (.*)$", text.replace("\\\n", " ")):
        command, words = command_line(), re.split(r" [#|>]", line)[0].split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        options = [option for option in command.params if option.param_type_name == "option"]
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.split("=")[0] for word in words if word.startswith("-")}
        unknown = {word for word in given if word.startswith("--")} - known
        if unknown or not all(given & set(option.opts) for option in options if option.required):
            faults.append(line)
    return faults


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_options_in_documents_exist_and_those_required_are_given(path: Path) -> None:
    assert faults_of_commands(path.read_text()) == []


@pytest.mark.parametrize("line", ["data fetch --days 3", "backtest --start 2026-01-15 --pranks", "tune --days 2"])
def test_a_command_that_lacks_an_option_or_has_a_wrong_one_is_found(line: str) -> None:
    assert faults_of_commands(f"text\n\n    ewmalab {line}  # why\n") == [f"{line}  # why"]


def test_metrics_in_documents_exist() -> None:
    from ewmalab.live.miner.metrics import Metrics

    known = {family.name for family in Metrics().registry.collect()}
    files = [DOCS / "operations.md", DOCS / "reference/alarms.md", *(ROOT / "deploy").glob("*.[yj]*")]
    found = set(re.findall(r"\bewmalab_[a-z_]+", "".join(file.read_text() for file in files)))
    assert len(found) >= 5
    assert {re.sub("_(total|bucket)$", "", name) for name in found} <= known

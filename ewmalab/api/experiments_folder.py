"""The folder of experiments: listing, tagging, comparing and removing runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ewmalab.api.inputs import check_name
from ewmalab.api.result import Outcome
from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ExperimentError
from ewmalab.experiments import inventory, store
from ewmalab.experiments.inventory import Changed, Listed
from ewmalab.report.text.experiments import differences_text, experiments_text, removed_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso


def list_experiments(settings: LoadedSettings | None = None, tag: str | None = None) -> Outcome[list[Listed]]:
    """Return all experiments, oldest first, or those with a tag."""
    root, unread = _root(settings), []
    rows = []
    for experiment in store.list_experiments(root):
        try:
            row = inventory.listed(experiment)
        except (ExperimentError, KeyError) as error:
            unread.append(f"{experiment.name}: unreadable: {error}")
        else:
            rows += [row] if tag is None or tag in row.tags else []
    return Outcome("Experiments", rows, lambda found: experiments_text(found, root, tag), _plain, notes=tuple(unread))


def remove_experiments(
    *names: str | Path, settings: LoadedSettings | None = None, dry_run: bool = False
) -> Outcome[list[str]]:
    """Delete experiments, or with `dry_run` only name them.

    Raises
    ------
    ExperimentError
        If one is not found; then none is deleted.
    """
    return _removed(inventory.found_in(_root(settings), [str(name) for name in names]), dry_run)


def prune_experiments(
    keep: int, *, settings: LoadedSettings | None = None, dry_run: bool = False
) -> Outcome[list[str]]:
    """Delete all experiments but the newest and those that have tags, or with `dry_run` only name them.

    Raises
    ------
    ExperimentError
    """
    return _removed(inventory.older_than_newest(_root(settings), keep), dry_run)


def tag_experiment(
    name: str | Path, tags: Sequence[str] = (), *, remove: Sequence[str] = (), settings: LoadedSettings | None = None
) -> Outcome[list[str]]:
    """Add and remove tags, and return those that an experiment then has.

    Parameters
    ----------
    name : str or path
        As in `load_experiment`.
    tags, remove : sequence of str
        Tags to add, and to remove.
    settings : LoadedSettings, optional
        Name the folder of experiments.

    Raises
    ------
    ExperimentError, ConfigError
    """
    (found,) = inventory.found_in(_root(settings), [str(name)])
    kept = inventory.tag(found, [check_name(tag) for tag in tags], remove)
    return Outcome(
        "Tags",
        kept,
        lambda tags: f"{found.name}: {', '.join(tags) or 'no tags'}\n",
        lambda tags: {"experiment": found.name, "tags": tags},
    )


def diff_experiments(
    first: str | Path, second: str | Path, *, settings: LoadedSettings | None = None
) -> Outcome[list[Changed]]:
    """Return in which inputs, settings and versions two runs differ.

    Raises
    ------
    ExperimentError
    """
    one, other = (store.find_experiment(_root(settings), str(name)) for name in (first, second))
    return Outcome(
        "Differences",
        inventory.differences(one, other),
        lambda rows: differences_text(rows, one.name, other.name),
        lambda rows: {
            "first": one.name,
            "second": other.name,
            "differences": {row.what: [row.first, row.second] for row in rows},
        },
    )


def index_experiments(*, reports: Path | str = "reports", settings: LoadedSettings | None = None) -> Outcome[Path]:
    """Write ``index.html`` into the folder of experiments: all runs with their scores, linked to their reports.

    Parameters
    ----------
    reports : path
        Folder of the reports.
    settings : LoadedSettings, optional

    Raises
    ------
    OSError
    """
    from ewmalab.report.pages.index import index_page
    from ewmalab.report.pages.render import render_page

    found, root = list_experiments(settings), _root(settings)
    pages = {row.name: Path(reports) / row.name / "report.html" for row in found.value}
    links = {name: Path(os.path.relpath(page, root)).as_posix() for name, page in pages.items() if page.exists()}
    path = root / "index.html"
    write_atomic(path, render_page([index_page(found.value, links)]).encode())
    return Outcome(
        "Index",
        path,
        lambda path: f"{path}: {len(found.value)} experiments, {len(links)} of them with a report\n",
        lambda path: {"index": str(path), "experiments": len(found.value), "reports": len(links)},
        notes=found.notes,
    )


def _removed(found: Sequence[store.Experiment], dry_run: bool) -> Outcome[list[str]]:
    if not dry_run:
        inventory.remove(found)
    return Outcome(
        "Removed",
        [one.name for one in found],
        lambda names: removed_text(names, not dry_run),
        lambda names: {"experiments": names, "removed": not dry_run},
    )


def _plain(rows: Sequence[Listed]) -> list[dict[str, Any]]:
    return [asdict(row) | {"start": iso(row.start), "score": row.score} for row in rows]


def _root(settings: LoadedSettings | None) -> Path:
    return (settings or load_settings()).values.run.experiments_dir

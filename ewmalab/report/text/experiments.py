"""Experiments and fits as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ewmalab.experiments.inventory import Changed, Listed
from ewmalab.experiments.store import Experiment
from ewmalab.report.text.tables import plain_table, short, wrapped
from ewmalab.times import iso

if TYPE_CHECKING:
    from ewmalab.replay.artifacts import Artifact


def experiments_text(rows: Sequence[Listed], root: Path, tag: str | None = None) -> str:
    """Return a table of experiments of a folder, all or those with a tag."""
    if not rows and tag is not None:
        return f"no experiment in {root} has the tag {tag!r}; `ewmalab experiments list` shows all with their tags\n"
    if not rows:
        return f"no experiment in {root} yet; `ewmalab backtest --help` shows how to make one\n"
    lines = []
    for row in rows:
        names = " ".join(["SYNTHETIC"] * row.synthetic + [short(name) for name in row.forecasters])
        score = "-" if row.score is None else f"{100 * row.score:+.2f}"
        lines.append((row.name, row.kind, f"{row.days:g}", score, ",".join(row.tags), names))
    columns = ("experiment", "kind", "days", "score", "tags", "forecasters")
    table = plain_table(columns, lines, clip=True)
    note = (
        "score: mean change against the baseline over competitions and assets, percent; of a sweep, of the best value"
    )
    return f"{table}\n\n{wrapped(note)}\n"


def removed_text(names: Sequence[str], done: bool) -> str:
    """Return which experiments were removed, or would be."""
    if not names:
        return "nothing to remove\n"
    last = f"{len(names)} removed" if done else f"{len(names)} would be removed; add --yes to do it"
    return "\n".join([*names, last]) + "\n"


def differences_text(rows: Sequence[Changed], first: str, second: str) -> str:
    """Return in what two runs differ."""
    if not rows:
        return f"{first} and {second} have the same inputs, settings and versions\n"
    lines = [(row.what, _clipped(row.first), _clipped(row.second)) for row in rows]
    return f"- {first}\n+ {second}\n\n" + plain_table(("", "-", "+"), lines) + "\n"


def _clipped(text: str, most: int = 24) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def provenance_text(experiment: Experiment) -> str:
    """Return what an experiment was made from."""
    manifest, rows = experiment.manifest, experiment.results.num_rows
    inputs, notes = manifest["inputs"], manifest["notes"]
    return (
        f"experiment: {experiment.path}\n"
        f"hash {manifest['hash'][:16]}, seed {inputs['settings']['run']['seed']}, {rows} rows\n"
        f"data: {len(inputs['data'])} series; {'; '.join(notes.get('sources', []))}\n"
        f"versions: {', '.join(f'{name} {version}' for name, version in manifest['versions'].items())}\n"
    )


def fit_text(
    artifact: Artifact, table: Mapping[str, Mapping[str, str]], left_out: Mapping[str, int], path: str, seconds: float
) -> str:
    """Return the summary of a fit.

    Parameters
    ----------
    artifact : Artifact
    table : mapping of asset to mapping
        Columns that describe the fit of each asset.
    left_out : mapping of asset to int
        Number of bars of the assets that have too few.
    path : str
        Path of the artifact.
    seconds : float
        Duration of the fit.
    """
    rows = []
    for asset, columns in table.items():
        seen = artifact.seen[asset]
        days = f"{seen['first'][:10]} to {seen['last'][:10]}"
        rows.append((asset, days, f"{seen['bars']:,}", *columns.values()))
    extra = next(iter(table.values()), {})
    lines = [plain_table(("asset", "days", "bars", *extra), rows)]
    for asset, count in left_out.items():
        lines.append(f"{asset}: {count:,} bars are too few: it uses what its class shares, here or in the prior")
    if artifact.prior:
        lines.append(
            f"shrunk towards the prior {artifact.prior}: `own` is the share of an asset's own bars in its season, and "
            "slopes,\nlevels and shocks are shrunk likewise; the smaller it is, the more rests on other markets"
        )
    lines.append(f"fitted on bars of {artifact.feed} closed by {iso(artifact.fit.end)}, {seconds:.1f} s")
    lines.append(f"artifact: {path}\nuse it:   --set fit.artifacts={path}")
    return "\n".join(lines) + "\n"

"""Experiments and fits as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ewmalab.experiments.store import Experiment
from ewmalab.report.text.tables import plain_table
from ewmalab.times import iso

if TYPE_CHECKING:
    from ewmalab.replay.artifacts import Artifact


def experiments_text(rows: Sequence[Mapping[str, Any]], root: Path) -> str:
    """Return a table of experiments.

    Parameters
    ----------
    rows : sequence of mapping
        ``name, start`` (ISO)``, days, forecasters, synthetic``.
    root : Path
        Their folder.
    """
    if not rows:
        return f"no experiment in {root} yet; `ewmalab backtest --help` shows how to make one\n"
    lines = []
    for row in rows:
        names = " ".join(["SYNTHETIC"] * row["synthetic"] + [f.rpartition(":")[2] for f in row["forecasters"]])
        lines.append((row["name"], row["start"][:10], f"{row['days']:g}", names))
    return plain_table(("experiment", "from", "days", "forecasters"), lines, clip=True) + "\n"


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

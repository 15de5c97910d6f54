"""Cached bars as text: fetches, imports, damage and repairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ewmalab.market.cache import Finding
from ewmalab.market.fetch import AssetFetch
from ewmalab.market.files.exporter import Exported
from ewmalab.market.files.importer import FileImport, Imported
from ewmalab.market.inventory import CachedAsset, Repair, SetAside
from ewmalab.market.quality import COLUMNS
from ewmalab.market.quality.aside import describe_aside
from ewmalab.report.text.tables import plain_table
from ewmalab.times import iso


def fetch_text(feed: str, fetched: Sequence[AssetFetch]) -> str:
    """Return the result of a fetch, a line per asset."""
    lines = []
    for one in fetched:
        lines.append(f"{feed} {one.asset}: {one.bars} new bars")
        lines += [f"  {one.aside} wrong bars set aside as missing: see `ewmalab data verify`"] if one.aside else []
        lines += [f"  no bars from {iso(a)} to {iso(b)}: to be requested again" for a, b in one.unanswered]
        lines += [f"  failed: {one.error}"] if one.error else []
    return _lines(lines)


def import_text(files: Sequence[FileImport], *, dry_run: bool = False) -> str:
    """Return how each file was understood and what came of it, and the count of files."""
    lines = []
    for one in files:
        lines += [f"{one.file.name}: refused: {one.error}"] if one.error else []
        for done in one.imported:
            lines.append(f"{one.file.name}: {done.understood}; {_count(done.bars)} bars")
            lines += [f"  {line}" for line in (_dry_lines(done) if dry_run else _stored_lines(done))]
    refused = sum(one.error is not None for one in files)
    taken = "would be imported" if dry_run else "imported"
    if len(files) > 1 or dry_run:
        lines.append(f"{_count(len(files))} files: {len(files) - refused} {taken}, {refused} refused")
    return _lines(lines)


def export_text(exported: Sequence[Exported]) -> str:
    """Return what was written, a line per asset."""
    return _lines(
        [f"{one.feed} {one.asset}: {_count(one.bars)} bars in {one.files} file(s): {one.path}" for one in exported]
    )


def _stored_lines(done: Imported) -> list[str]:
    line = f"{done.feed} {done.asset}: {done.days_written} days written"
    line += f", {done.gap_minutes} minutes missing inside" if done.gap_minutes else ""
    line += f", {done.close_only} without a range" if done.close_only else ""
    return [line] + ([f"set aside in {done.quarantine}: {done.rejected}"] if done.rejected else [])


def _dry_lines(done: Imported) -> list[str]:
    lines = [f"{done.feed} {done.asset}, first bars as they would be stored:"]
    for when, *prices in done.first_bars:
        shown = [f"{name} {'none' if p is None else repr(p)}" for name, p in zip(COLUMNS[1:], prices, strict=True)]
        lines.append(f"  {iso(int(when or 0))}  {', '.join(shown)}")
    return lines + ([f"to be set aside: {done.rejected}"] if done.rejected else [])


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def inventory_text(cached: Sequence[CachedAsset], root: str) -> str:
    """Return what is cached, a table per feed."""
    if not cached:
        return f"nothing cached in {root}; see `ewmalab data fetch --help` and `ewmalab data import --help`\n"
    tables = []
    for feed, group in groupby(cached, lambda row: row.feed):
        own = list(group)
        lines = [
            (r.asset, iso(r.begin)[:16], iso(r.end)[:16], r.bars, r.missing_minutes, sum(r.set_aside.values()), r.holes)
            for r in own
        ]
        title = feed + (" (synthetic)" if any(row.synthetic for row in own) else "")
        tables.append(plain_table(("asset", "from", "to", "bars", "gaps (min)", "set aside", "holes"), lines, title))
    return "\n\n".join(tables) + "\n"


def verify_text(checked: int, damaged: Sequence[Finding], aside: Sequence[SetAside] = ()) -> str:
    """Return which bars were set aside, and which partitions are damaged."""
    lines = [f"{one.feed} {one.asset}: set aside as missing: {describe_aside(one.bars)}" for one in aside]
    lines += [f"{finding.feed} {finding.asset} {finding.day}: {finding.problem}" for finding in damaged]
    lines.append(f"{checked} partitions checked, {len(damaged)} damaged")
    lines += ["`ewmalab data repair` moves damaged ones aside and fetches them again"] if damaged else []
    return _lines(lines)


def repair_text(repairs: Sequence[Repair]) -> str:
    """Return what was repaired."""
    lines = []
    for one in repairs:
        name = f"{one.feed} {one.asset}"
        lines += [f"{name}: {line}" for line in one.done]
        lines += [f"{name}: {one.refetched} bars fetched again"] if one.refetched else []
        lines += [f"{name}: {one.error}"] if one.error else []
    return _lines(lines or ["nothing to repair"])


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

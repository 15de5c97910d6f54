"""Cached bars as text: fetches, imports, damage and repairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ewmalab.market.fetch import AssetFetch
from ewmalab.market.files.exporter import Exported
from ewmalab.market.files.importer import FileImport, Imported
from ewmalab.market.inventory import CachedAsset, Repair
from ewmalab.market.quality import COLUMNS
from ewmalab.market.quality.aside_record import describe_aside
from ewmalab.market.ranges import minutes
from ewmalab.report.text.tables import plain_table, refusal
from ewmalab.times import iso

_SHOWN = 3  # holes per asset


def fetch_text(feed: str, fetched: Sequence[AssetFetch]) -> str:
    """Return the result of a fetch, a line per asset."""
    lines = []
    for one in fetched:
        late = f", {one.late} of them late: the feed had left out their minutes" if one.late else ""
        lines.append(f"{feed} {one.asset}: {one.bars} new bars{late}")
        lines += [f"  {one.aside} wrong bars set aside as missing: see `ewmalab data verify`"] if one.aside else []
        lines += [f"  no bars from {iso(a)} to {iso(b)}: to be requested again" for a, b in one.unanswered]
        lines += [f"  failed: {one.error}"] if one.error else []
    return _lines(lines)


def import_text(files: Sequence[FileImport], *, dry_run: bool = False) -> str:
    """Return how each file was understood and what came of it, and the count of files."""
    lines = []
    for one in files:
        lines += [refusal(one.file.name, one.error)] if one.error else []
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
    line += f", {done.closed_minutes} while the market was closed" if done.closed_minutes else ""
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
    head = ("asset", "from", "to", "bars", "missing (min)", "set aside", "closed (min)", "holes", "damaged days")
    for feed, group in groupby(cached, lambda row: row.feed):
        own = list(group)
        title = feed + (" (synthetic)" if any(row.synthetic for row in own) else "")
        tables.append(plain_table(head, list(map(_inventory_row, own)), title))
    damaged = [damage.text for one in cached for damage in one.damage]
    return "\n\n".join([*tables, *(["\n".join(damaged)] if damaged else [])]) + "\n"


def _inventory_row(one: CachedAsset) -> tuple[str | int, ...]:
    ends = (iso(one.begin)[:16], iso(one.end)[:16]) if one.days else ("", "")
    found = one.coverage
    gaps = minutes(found.missing), sum(one.set_aside.values()), minutes(found.closed)
    return one.asset, *ends, found.bars, *gaps, len(found.holes), len(one.damage)


def verify_text(found: Sequence[CachedAsset]) -> str:
    """Return which bars were set aside, which partitions are damaged, and where no source has answered."""
    damaged = [damage for one in found for damage in one.damage]
    lines = [f"{one.feed} {one.asset}: set aside as missing: {describe_aside(one.aside)}" for one in found if one.aside]
    lines += [damage.text for damage in damaged]
    for one in found:
        if holes := one.coverage.holes:
            more = f", and {len(holes) - _SHOWN} more" if len(holes) > _SHOWN else ""
            where = ", ".join(f"{iso(a)} to {iso(b)}" for a, b in holes[:_SHOWN])
            count = f"{len(holes)} hole(s) of {minutes(holes)} minutes"
            lines.append(f"{one.feed} {one.asset}: {count}, for which no source has answered: {where}{more}")
    lines.append(f"{sum(one.checked for one in found)} partitions checked, {len(damaged)} damaged")
    if any(not damage.moved for damage in damaged):
        lines.append("`ewmalab data repair` moves damaged ones aside and fetches again those that came from feeds")
    return _lines(lines)


def repair_text(repairs: Sequence[Repair]) -> str:
    """Return what was repaired, and what is still damaged."""
    lines = []
    for one in repairs:
        name = f"{one.feed} {one.asset}"
        lines += [f"{name}: {line}" for line in one.done]
        lines += [f"{name}: {one.refetched} bars fetched again"] if one.refetched else []
        lines += [f"{name}: {one.error}"] if one.error else []
        lines += [damage.text for damage in one.damage]
    if any(damage.moved for one in repairs for damage in one.damage):
        lines.append("a day stays in this list until its bars are back, or its file in quarantine is deleted")
    return _lines(lines or ["nothing to repair"])


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

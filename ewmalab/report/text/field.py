"""The real field of miners as text."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.analysis.field_check import TOLERANCE, FieldReport
from ewmalab.analysis.field_miner import MinerHistory
from ewmalab.market.field.answers import MinerValidity
from ewmalab.market.field.bundle import Exported
from ewmalab.market.field.fetch import SeriesFetch
from ewmalab.market.field.importer import FileImported
from ewmalab.market.field.inventory import CachedSeries
from ewmalab.report.text.tables import SYNTHETIC_FIELD, Column, grid, number, plain_table, refusal, wrapped
from ewmalab.times import day_name, iso

_SHOWN = 5


def field_fetch_text(fetched: Sequence[SeriesFetch]) -> str:
    """Return the result of a fetch, a line per series that was asked for."""
    lines = [f"{one.series.path}: {one.rows} rows in {one.calls} calls" for one in fetched if one.calls or one.error]
    lines += [wrapped(f"{one.series.path}: failed: {one.error}", "  ") for one in fetched if one.error]
    return "".join(f"{line}\n" for line in lines or ["nothing was missing"])


def field_list_text(cached: Sequence[CachedSeries], root: str) -> str:
    """Return what is cached, and the days that are missing in between."""
    if not cached:
        return f"nothing cached in {root}; see `ewmalab field fetch --help`\n"
    columns: list[Column] = [
        ("series", "series"),
        ("from", lambda c: day_name(c.begin) if c.days else "-"),
        ("to", lambda c: iso(c.end - 1)[:10] if c.days else "-"),
        ("days", "days"),
        ("rows", "rows"),
        ("holes", lambda c: len(c.holes)),
        ("unfinished", lambda c: len(c.unfinished)),
    ]
    parts = [SYNTHETIC_FIELD] if any(one.synthetic for one in cached) else []
    parts.append(plain_table(*grid(cached, columns)))
    remarks = [f"{one.series}: no rows of {_days(one.holes)}" for one in cached if one.holes]
    remarks += [f"{one.series}: {_days(one.unfinished)} not over when fetched" for one in cached if one.unfinished]
    remarks += [message for one in cached for message in one.damaged]
    parts += ["\n".join(wrapped(line, "  ") for line in remarks)] if remarks else []
    return "\n\n".join(parts) + "\n"


def field_import_text(files: Sequence[FileImported]) -> str:
    """Return what was imported, a line per file and series."""
    lines = [
        wrapped(refusal(str(one.file), one.error), "  ")
        if one.error
        else f"{one.series}: {one.rows} rows, {one.days} days written"
        for one in files
    ]
    return "".join(f"{line}\n" for line in lines or ["nothing to import"])


def field_export_text(files: Sequence[Exported], folder: str) -> str:
    """Return what was written."""
    tables = [one for one in files if "/" not in one.file]
    lines = [f"{one.file}: {one.rows} rows" for one in tables]
    lines += [f"{len(files) - len(tables)} days of prices"] if len(files) > len(tables) else []
    return "".join(f"{line}\n" for line in [*lines, f"bundle: {folder}"])


def field_check_text(report: FieldReport) -> str:
    """Return how many recomputed values equal the published ones."""
    parts = [SYNTHETIC_FIELD] if report.synthetic else []
    parts.append(
        f"{report.prompts} prompts, {report.miners} miners, {report.snapshots} published sets of weights,\n"
        "recomputed from the published CRPS"
    )
    columns: list[Column] = [
        ("competition", "competition"),
        ("quantity", "quantity"),
        ("compared", "compared"),
        ("differ", "differing"),
        ("largest difference", lambda row: f"{row.worst:.1e}"),
        ("left out", lambda row: row.left_out.total()),
    ]
    parts.append(plain_table(*grid(report.rows, columns)))
    reasons = [
        f"left out, {row.competition} {row.quantity}: {count} {reason}"
        for row in report.rows
        for reason, count in row.left_out.items()
        if count
    ]
    reasons += [f"left out: {report.ambiguous} prompts with two scores of one miner"] if report.ambiguous else []
    examples = [f"differs, {row.competition} {row.quantity}: {text}" for row in report.rows for text in row.examples]
    parts += ["\n".join(wrapped(line, "  ") for line in [*reasons, *examples])] if reasons or examples else []
    parts.append(_verdict(report))
    return "\n\n".join(parts) + "\n"


def _verdict(report: FieldReport) -> str:
    compared = sum(row.compared for row in report.rows)
    if not compared:
        return "verdict: nothing could be compared"
    if report.exact:
        without = sorted({f"{row.competition} {row.quantity}" for row in report.rows if not row.compared})
        rest = f"; nothing to compare of {', '.join(without)}" if without else ""
        return wrapped(
            f"verdict: exact: all {compared} compared values are recomputed to within {TOLERANCE:g}{rest}", "  "
        )
    return f"verdict: {report.differing} of {compared} published values differ from those recomputed here"


def field_miner_text(uid: int, validity: MinerValidity | None, history: MinerHistory | None) -> str:
    """Return whether a miner's newest answer was valid, and its days."""
    parts = [SYNTHETIC_FIELD] if history and history.synthetic else []
    if validity:
        state = "valid" if validity.validated else f"NOT valid: {validity.reason or 'no reason given'}"
        took = f" (answered in {validity.response_time} s)" if validity.response_time else ""
        parts.append(wrapped(f"newest answer of uid {uid}: {state}{took}"))
    for name in dict.fromkeys(day.competition for day in history.days) if history else ():
        rows = [day for day in history.days if day.competition == name] if history else []
        parts.append(plain_table(*grid(rows, _MINER_DAYS), f"{name}, by scored day"))
    if history and history.earned:
        parts.append(
            plain_table(*grid(history.earned, _EARNED), "earned: share of the emission x what the subnet paid")
        )
    return "\n\n".join(parts or [f"nothing is known of uid {uid}"]) + "\n"


_MINER_DAYS: list[Column] = [
    ("day", lambda d: day_name(d.day)),
    ("prompts", "prompts"),
    ("invalid", "invalid"),
    ("CRPS", lambda d: number(d.crps)),
    ("score", lambda d: number(d.prompt_score)),
    ("average", lambda d: number(d.average)),
    ("rank", lambda d: f"{d.rank} of {d.miners}" if d.rank else "-"),
    ("weight", lambda d: number(d.weight, 5)),
]
_EARNED: list[Column] = [
    ("day", lambda e: day_name(e.day)),
    ("share", lambda e: number(e.share, 5)),
    ("USD", lambda e: number(e.usd)),
]


def _days(days: Sequence[int]) -> str:
    more = f" and {len(days) - _SHOWN} more days" if len(days) > _SHOWN else ""
    return ", ".join(day_name(day) for day in days[:_SHOWN]) + more

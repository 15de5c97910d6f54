"""A sweep's result as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ewmalab.analysis.sweep_rows import SweepRow, TriedValue, read_sweep
from ewmalab.report.text.tables import SYNTHETIC, WIDTH, Column, bounds, grid, number, percent, plain_table, wrapped
from ewmalab.sweeps.parameters import show
from ewmalab.times import iso
from ewmalab.units import format_duration

_WHERE: list[Column] = [("comp.", "competition"), ("asset", "asset")]
_MOST_VALUES = 9  # in one table
_BEST_ONLY = 5  # of a grid of several parameters


def sweep_text(summary: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a sweep's result, at most 80 columns wide for one or two parameters.

    Parameters
    ----------
    summary, inputs
        Of `ewmalab.sweeps.sweep.SweepResult`.
    """
    rows, sweep = read_sweep(summary), inputs["sweep"]
    noise = "part of the interval if prompts are simulated" if any(row.noise_in_interval for row in rows) else ""
    width = max(len(f"{row.competition} {row.asset}") for row in rows)
    words = [wrapped(f"{row.competition + ' ' + row.asset:<{width}}  {row.words}", " " * (width + 2)) for row in rows]
    out = [
        *_head(f"Sweep of {', '.join(sweep['parameters'])}: mean CRPS (basis points)\n", inputs),
        plain_table(*grid(rows, _best_columns(list(sweep["parameters"])))),
        wrapped(
            "set: the configured value; change: of the best against it, percent, and its 95 % interval; p: "
            "Diebold-Mariano, corrected for the number of values; MC: noise of the simulation, percent, "
            + (noise or "not in the interval")
        ),
        *_by_chance(rows),
        _grid(rows, list(sweep["parameters"])) if len(sweep["parameters"]) > 1 else _values(rows),
        "\n".join(words),
        *_forward(rows, sweep["walk_forward"]),
    ]
    return "\n\n".join(out) + "\n\n"


def tune_text(
    chosen: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]], inputs: Mapping[str, Any]
) -> str:
    """Return a tuning's result: the chosen values, and their changes on held-out days.

    Parameters
    ----------
    chosen : sequence of mapping
        From `ewmalab.sweeps.tune.TuneResult`.
    held_out, inputs
        From its `held_out`.
    """
    judged = {(row.competition, row.asset): row for row in read_sweep(held_out)}
    lines = []
    for row in chosen:
        after = judged[row["competition"], row["asset"]]
        cells = ["-", "-", "-"]
        if row["best"] != row["configured"]:
            tuned = next(value for value in after.values if value.label == row["best"])
            cells = [percent(tuned.change), bounds(tuned.low, tuned.high), number(tuned.p_value, 3)]
        before = (row["competition"], row["asset"], row["trials"], row["prompts"], percent(row["in_sample"]))
        lines.append((*before, after.prompts, *cells))
    words = [
        f"{row['competition']} {row['asset']}: configured {row['configured']}; "
        + ("nothing better was found" if row["best"] == row["configured"] else f"tuned {row['best']}")
        for row in chosen
    ]
    out = [
        *_head(f"Tuned {', '.join(inputs['sweep']['parameters'])} of ", inputs),
        plain_table(("comp.", "asset", "trials", "n", "in", "n", "out", "95 %", "p"), lines),
        wrapped(
            "in, out: change of mean CRPS against the configured value in sample (on the prompts of the choice) and "
            "out of sample (on later prompts), with its 95 % interval (percent)"
        ),
        "\n".join(words),
    ]
    return "\n\n".join(out) + "\n\n"


def _head(title: str, inputs: Mapping[str, Any]) -> list[str]:
    settings = inputs["settings"]
    text = (
        f"{title}{inputs['forecasters'][0]} from {iso(inputs['start'])}, {inputs['days']:g} days\n"
        f"feed {settings['data']['feed']}, rules {inputs['rules']}, seed {settings['run']['seed']}"
    )
    return [*([SYNTHETIC] if inputs["synthetic"] else []), wrapped(text)]


def _by_chance(rows: Sequence[SweepRow]) -> list[str]:
    """Return how many false winners to expect among several cells."""
    if len(rows) < 2:
        return []
    return [
        wrapped(
            f"{len(rows)} cells are each judged at 5 %: were all values equal, about {0.05 * len(rows):.1f} would be "
            "called better by chance"
        )
    ]


def _told(row: SweepRow, text: str) -> str:
    """Return a cell on the difference of the best and the configured value; "-" if they are the same."""
    return "-" if row.best.configured or not row.prompts else text


def _short(value: TriedValue, parameters: Sequence[str]) -> str:
    """Return a combination without the names of its parameters, in their order; "-" for one without effect here."""
    return " ".join(show(value.value[key]) if key in value.value else "-" for key in parameters)


def _best_columns(parameters: Sequence[str]) -> list[Column]:
    return [
        *_WHERE,
        ("n", "prompts"),
        ("set", lambda row: _short(row.configured, parameters)),
        ("best", lambda row: _short(row.best, parameters)),
        ("CRPS", lambda row: number(row.best.mean_crps)),
        ("change", lambda row: _told(row, _signed(row.best.change))),
        ("95 %", lambda row: _told(row, bounds(row.best.low, row.best.high))),
        ("p", lambda row: _told(row, number(row.best.p_holm, 3))),
        ("MC", lambda row: _told(row, number(100 * row.monte_carlo))),
    ]


_FORWARD: list[Column] = [
    *_WHERE,
    ("n", "prompts"),
    ("choices", lambda row: len(row.choices)),
    ("in", lambda row: percent(row.in_sample)),
    ("out", lambda row: percent(row.out_of_sample)),
    ("95 %", lambda row: bounds(row.low, row.high)),
    ("optimism", lambda row: percent(row.optimism)),
]


def _forward(rows: Sequence[SweepRow], windows: Sequence[int] | None) -> list[str]:
    found = [row.forward for row in rows if row.forward]
    if not found or not windows:
        return []
    train, test = (format_duration(seconds) for seconds in windows)
    title = (
        f"Walk-forward: chosen on {train} (in sample), scored on the next {test} (out of sample); changes are against "
        "the configured value"
    )
    return [wrapped(title), plain_table(*grid(found, _FORWARD))]


def _grid(rows: Sequence[SweepRow], parameters: Sequence[str]) -> str:
    """Return the best combinations of several parameters."""
    columns: list[Column] = [
        *_WHERE,
        ("value", lambda value: _short(value, parameters)),
        ("CRPS", lambda value: number(value.mean_crps)),
        ("change", lambda value: _signed(value.change)),
        ("95 %", lambda value: bounds(value.low, value.high)),
        ("may be best", lambda value: "equivalent" if value.equivalent else "yes" if value.not_ruled_out else "no"),
    ]
    found = [value for row in rows for value in sorted(row.values, key=lambda v: v.mean_crps)[:_BEST_ONLY]]
    title = wrapped(
        f"The best {_BEST_ONLY} of each grid of {', '.join(key.partition('.')[2] for key in parameters)}, in this "
        "order, against the configured value, percent; may be best: not ruled out"
    )
    return plain_table(*grid(found, columns), title)


def _values(rows: Sequence[SweepRow]) -> str:
    """Return the change of mean CRPS per value, in as many tables as the width requires."""
    places = {value.label: value.place("") for row in rows for value in row.values}
    left = sorted(places, key=lambda label: places[label])
    tables = []
    while left:
        count = _MOST_VALUES
        while max(map(len, (table := _some_values(rows, left[:count])).splitlines())) > WIDTH and count > 1:
            count -= 1
        tables.append(table)
        left = left[count:]
    head = "Change of mean CRPS, percent; =: the configured value; *: the best, ~: not ruled out"
    return wrapped(head) + "\n\n" + "\n\n".join(tables)


def _some_values(rows: Sequence[SweepRow], shown: Sequence[str]) -> str:
    lines = []
    for row in rows:
        cells = {value.label: _cell(value) for value in row.values}
        lines.append((row.competition, row.asset, *(f"{cells.get(label, ''):<7}" for label in shown)))
    return plain_table(("comp.", "asset", *(f"{label:<7}" for label in shown)), lines)


def _cell(value: TriedValue) -> str:
    mark = "*" if value.best else "~" if value.not_ruled_out else ""
    if value.configured:
        return "=" + mark
    return _signed(value.change) + (mark if value.mean_crps == value.mean_crps else "")


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}" if value == value else "-"

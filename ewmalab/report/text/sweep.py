"""A sweep's result as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ewmalab.report.text.tables import WIDTH, percent, plain_table, wrapped
from ewmalab.times import iso
from ewmalab.units import format_duration, magnitude


def sweep_text(summary: list[dict[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a sweep's result for people, at most about 80 columns wide for one parameter.

    Parameters
    ----------
    summary, inputs
        Of `ewmalab.sweeps.sweep.SweepResult`.
    """
    settings, sweep = inputs["settings"], inputs["sweep"]
    out = []
    if inputs["synthetic"]:
        out.append("SYNTHETIC DATA: simulated prices, not a market.")
    out.append(
        wrapped(
            f"Sweep of {', '.join(sweep['parameters'])}: mean CRPS (basis points)\n"
            f"{inputs['forecasters'][0]} from {iso(inputs['start'])}, {inputs['days']:g} days\n"
            f"feed {settings['data']['feed']}, rules {inputs['rules']}, seed {settings['run']['seed']}"
        )
    )
    rows = [
        (
            row["competition"], row["asset"], row["prompts"], row["configured"], row["best"],
            _crps(row["mean_crps_best"]),
            *(("-", "-", "-", "-") if row["best"] == row["configured"] or not row["prompts"] else
              (_signed(row["change"]), _bounds(row["change_low"], row["change_high"]), f"{row['p_holm']:.3f}",
               _noise(row["monte_carlo"]))),
        )
        for row in summary
    ]  # fmt: skip
    out.append(plain_table(("comp.", "asset", "n", "now", "best", "CRPS", "change", "95 %", "p", "MC"), rows))
    out.append(
        wrapped(
            "change: of the best against now, percent, and its interval by a paired block bootstrap; p: "
            "Diebold-Mariano, corrected for the number of values; MC: noise of the simulation, percent, "
            + ("part of the interval where prompts are simulated" if _exact(summary) else "beside the interval")
        )
    )
    out.append(_values(summary))
    width = max(len(f"{row['competition']} {row['asset']}") for row in summary)
    out.append(
        "\n".join(
            wrapped(f"{row['competition'] + ' ' + row['asset']:<{width}}  {row['words']}", " " * (width + 2))
            for row in summary
        )
    )
    forward = [row for row in summary if "walk_forward" in row]
    if forward:
        out.append(_forward(forward, sweep["walk_forward"]))
    return "\n\n".join(out) + "\n\n"


def tune_text(chosen: list[dict[str, Any]], held_out: list[dict[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a tuning's result for people: what was chosen, and how it did on days it was not chosen on.

    Parameters
    ----------
    chosen : list of dict
        Of `ewmalab.sweeps.tune.TuneResult`.
    held_out, inputs
        Of its `held_out`.
    """
    settings = inputs["settings"]
    out = ["SYNTHETIC DATA: simulated prices, not a market."] if inputs["synthetic"] else []
    out.append(
        wrapped(
            f"Tuned {', '.join(inputs['sweep']['parameters'])} of {inputs['forecasters'][0]} from "
            f"{iso(inputs['start'])}, {inputs['days']:g} days\nfeed {settings['data']['feed']}, rules "
            f"{inputs['rules']}, seed {settings['run']['seed']}"
        )
    )
    judged = {(row["competition"], row["asset"]): row for row in held_out}
    rows = []
    for row in chosen:
        after = judged[row["competition"], row["asset"]]
        cells = ["-", "-", "-"]
        if row["best"] != row["configured"]:
            base = after["mean_crps_configured"]
            tuned = next(value for value in after["values"] if value["label"] == row["best"])
            cells = [
                percent(tuned["difference"] / base),
                _bounds(tuned["low"] / base, tuned["high"] / base),
                f"{tuned['p_value']:.3f}",
            ]
        rows.append(
            (row["competition"], row["asset"], row["trials"], row["prompts"], percent(row["in_sample"]),
             after["prompts"], *cells)
        )  # fmt: skip
    out.append(plain_table(("comp.", "asset", "trials", "n", "promised", "n", "brought", "95 %", "p"), rows))
    out.append(
        wrapped(
            "promised: change of mean CRPS against now on the prompts of the choice; brought: on later ones, with the "
            "interval of a paired block bootstrap (percent)"
        )
    )
    out.append(
        "\n".join(
            f"{row['competition']} {row['asset']}: now {row['configured']}; "
            + ("nothing better was found" if row["best"] == row["configured"] else f"tuned {row['best']}")
            for row in chosen
        )
    )
    return "\n\n".join(out) + "\n\n"


def _forward(rows: list[dict[str, Any]], windows: list[int]) -> str:
    lines = []
    for row in rows:
        found = row["walk_forward"]
        lines.append(
            (row["competition"], row["asset"], found["prompts"], len(found["windows"]), percent(found["in_sample"]),
             percent(found["out_of_sample"]), _bounds(found["low"], found["high"]),
             percent(found["optimism"]))
        )  # fmt: skip
    columns = ("comp.", "asset", "n", "choices", "promised", "brought", "95 %", "optimism")
    train, test = (format_duration(seconds) for seconds in windows)
    return f"Walk-forward: chosen on {train}, scored on the next {test}, against now\n\n" + plain_table(columns, lines)


def _values(summary: list[dict[str, Any]], most: int = 9, best_only: int = 5) -> str:
    """Return the change of mean CRPS per value: tables of up to `most` values, or the best of a grid of several."""
    if any(len(row["values"][0]["value"]) > 1 for row in summary):
        lines = []
        for row in summary:
            base = row["mean_crps_configured"]
            for value in sorted(row["values"], key=lambda v: v["mean_crps"])[:best_only]:
                lines.append(
                    (row["competition"], row["asset"], value["label"], _crps(value["mean_crps"]),
                     _signed(value["difference"] / base), _bounds(value["low"] / base, value["high"] / base),
                     "yes" if value["indistinguishable"] else "no")
                )  # fmt: skip
        columns = ("comp.", "asset", "value", "CRPS", "change", "95 %", "as good")
        title = f"The best {best_only} of each grid, against now, percent; as good: as the best"
        return plain_table(columns, lines, title)
    labels: dict[str, float] = {}
    for row in summary:
        for value in row["values"]:
            (plain,) = value["value"].values()
            labels[value["label"]] = magnitude(plain) or 0.0
    ordered = sorted(labels, key=lambda label: labels[label])
    tables, first = [], 0
    while first < len(ordered):
        count = most
        while max(map(len, (table := _some_values(summary, ordered[first : first + count])).splitlines())) > WIDTH:
            count -= 1
        tables.append(table)
        first += count
    head = wrapped("Change of mean CRPS against now, percent; *: the best, ~: as good as the best, =: now")
    return head + "\n\n" + "\n\n".join(tables)


def _some_values(summary: list[dict[str, Any]], shown: list[str]) -> str:
    lines = []
    for row in summary:
        cells = {v["label"]: _cell(v, row) for v in row["values"]}
        lines.append((row["competition"], row["asset"], *(f"{cells.get(label, ''):<7}" for label in shown)))
    return plain_table(("comp.", "asset", *(f"{label:<7}" for label in shown)), lines)


def _cell(value: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    mark = "*" if value["label"] == row["best"] else "~" if value["indistinguishable"] else ""
    if value["label"] == row["configured"]:
        return "=" + mark
    if not row["prompts"]:
        return "-"
    return _signed(value["difference"] / row["mean_crps_configured"]) + mark


def _exact(summary: list[dict[str, Any]]) -> bool:
    return any(row["monte_carlo_in_interval"] for row in summary)


def _crps(value: float) -> str:
    return f"{value:.2f}" if value == value else "-"


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}"


def _bounds(low: float, high: float) -> str:
    """Return an interval; nothing where there are too few prompts for one."""
    if not math.isfinite(high - low):
        return "-"
    return f"{100 * low:+.2f}..{100 * high:+.2f}"


def _noise(value: float) -> str:
    return f"{100 * value:.2f}" if value == value else "-"

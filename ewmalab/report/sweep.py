"""A sweep's result as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ewmalab.report.tables import percent, plain_table
from ewmalab.rulebook import iso


def sweep_text(summary: list[dict[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a sweep's result for people, at most about 80 columns wide for one parameter.

    Parameters
    ----------
    summary, inputs
        Of `ewmalab.sweep.api.SweepResult`.
    """
    settings, sweep = inputs["settings"], inputs["sweep"]
    out = []
    if inputs["synthetic"]:
        out.append("SYNTHETIC DATA: simulated prices, not a market.")
    out.append(
        f"Sweep of {', '.join(sweep['parameters'])}: mean CRPS (basis points)\n"
        f"{inputs['forecasters'][0]} from {iso(inputs['start'])}, {inputs['days']:g} days; "
        f"feed {settings['data']['feed']}, rules {inputs['rules']}, seed {settings['run']['seed']}"
    )
    rows = [
        (
            row["competition"], row["asset"], row["prompts"], row["configured"], _crps(row["mean_crps_configured"]),
            row["best"], _crps(row["mean_crps_best"]),
            *(("-", "-", "-", "-") if row["best"] == row["configured"] or not row["prompts"] else
              (percent(row["change"]), f"{100 * row['change_low']:+.2f} .. {100 * row['change_high']:+.2f}",
               f"{row['p_holm']:.3f}", noise(row["monte_carlo"]))),
        )
        for row in summary
    ]  # fmt: skip
    columns = ("comp.", "asset", "n", "now", "CRPS", "best", "CRPS", "change", "95 %", "p", "MC")
    out.append(plain_table(columns, rows))
    out.append(
        "change: of the best against now, with the interval of a paired block bootstrap (percent);\n"
        "p: Diebold-Mariano, corrected for the number of values; MC: noise of the simulation\n"
        + (
            "(part of the interval where every prompt is simulated by itself)"
            if _exact(summary)
            else "(beside the interval)"
        )
    )
    width = max(len(f"{row['competition']} {row['asset']}") for row in summary)
    out.append("\n".join(f"{row['competition'] + ' ' + row['asset']:<{width}}  {row['words']}" for row in summary))
    forward = [row for row in summary if "walk_forward" in row]
    if forward:
        out.append(_forward(forward, sweep["walk_forward"]))
    return "\n\n".join(out) + "\n\n"


def tune_text(chosen: list[dict[str, Any]], held_out: list[dict[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a tuning's result for people: what was chosen, and how it did on days it was not chosen on.

    Parameters
    ----------
    chosen : list of dict
        Of `ewmalab.sweep.tune.TuneResult`.
    held_out, inputs
        Of its `held_out`.
    """
    settings = inputs["settings"]
    out = ["SYNTHETIC DATA: simulated prices, not a market."] if inputs["synthetic"] else []
    out.append(
        f"Tuned {', '.join(inputs['sweep']['parameters'])} of {inputs['forecasters'][0]} from {iso(inputs['start'])}, "
        f"{inputs['days']:g} days\nfeed {settings['data']['feed']}, rules {inputs['rules']}, "
        f"seed {settings['run']['seed']}"
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
                f"{100 * tuned['low'] / base:+.2f} .. {100 * tuned['high'] / base:+.2f}",
                f"{tuned['p_value']:.3f}",
            ]
        rows.append(
            (row["competition"], row["asset"], row["trials"], row["prompts"], percent(row["in_sample"]),
             after["prompts"], *cells)
        )  # fmt: skip
    out.append(plain_table(("comp.", "asset", "trials", "n", "promised", "n", "brought", "95 %", "p"), rows))
    out.append(
        "promised: change of mean CRPS against now on the prompts of the choice; brought: on later ones, with the\n"
        "interval of a paired block bootstrap (percent)"
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
        base = row["mean_crps_configured"]
        lines.append(
            (row["competition"], row["asset"], found["prompts"], len(found["windows"]), percent(found["in_sample"]),
             percent(found["out_of_sample"]), f"{100 * found['low'] / base:+.2f} .. {100 * found['high'] / base:+.2f}",
             percent(found["optimism"]))
        )  # fmt: skip
    columns = ("comp.", "asset", "n", "choices", "promised", "brought", "95 %", "optimism")
    train, test = (f"{seconds / 86_400:g} d" for seconds in windows)
    return f"Walk-forward: chosen on {train}, scored on the next {test}, against now\n\n" + plain_table(columns, lines)


def _exact(summary: list[dict[str, Any]]) -> bool:
    return any(row["monte_carlo_in_interval"] for row in summary)


def _crps(value: float) -> str:
    return f"{value:.2f}" if value == value else "-"


def noise(value: float) -> str:
    """Return a relative noise for people."""
    return f"{100 * value:.3f} %" if value == value else "-"

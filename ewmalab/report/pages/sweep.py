"""The report of a sweep."""

from __future__ import annotations

from typing import Any

from ewmalab.experiments.store import Experiment
from ewmalab.report.figures import sweep as draw
from ewmalab.report.pages.page import Report, Section, Table
from ewmalab.report.pages.provenance import provenance
from ewmalab.times import iso


def sweep_report(experiment: Experiment) -> Report:
    """Lay out the report of a sweep, or of what a tuning found on the days it was not made on.

    Raises
    ------
    ExperimentError
    """
    cells, inputs = experiment.summary, experiment.manifest["inputs"]
    parameters, synthetic = list(inputs["sweep"]["parameters"]), bool(inputs["synthetic"])
    report = Report(experiment.name, provenance(experiment), synthetic)
    found = Section("What it says", [f"{c['competition']} {c['asset']}: {c['words']}" for c in cells], [_best(cells)])
    if any(cell["prompts"] for cell in cells):
        if len(parameters) == 1:
            found.content.append(draw.curves(cells, parameters[0], synthetic=synthetic))
        elif len(parameters) == 2:
            found.content.append(draw.heat_maps(cells, parameters, synthetic=synthetic))
    report.sections.append(found)
    forward = [cell for cell in cells if "walk_forward" in cell]
    if forward:
        report.sections.append(_forward(forward))
    report.sections.append(Section("Every value", [], [_values(cells)]))
    return report


def _best(cells: list[dict[str, Any]]) -> Table:
    return Table(
        "The present value and the best tried",
        ["competition", "asset", "prompts", "now", "CRPS, bp", "best", "CRPS, bp", "change, %", "95 %, from", "to",
         "p (Holm)", "simulation noise, %"],
        [
            (
                c["competition"], c["asset"], c["prompts"], c["configured"], c["mean_crps_configured"], c["best"],
                c["mean_crps_best"], *_bounds(c["change"], c["change_low"], c["change_high"]), c["p_holm"],
                100 * c["monte_carlo"],
            )
            for c in cells if c["prompts"]
        ],
    )  # fmt: skip


def _values(cells: list[dict[str, Any]]) -> Table:
    return Table(
        "All values, against the present one",
        ["competition", "asset", "value", "CRPS, bp", "change, %", "95 %, from", "to", "p (Holm)",
         "as good as the best"],
        [
            (
                c["competition"], c["asset"], v["label"], v["mean_crps"],
                *_bounds(*(v[k] / c["mean_crps_configured"] for k in ("difference", "low", "high"))), v["p_holm"],
                "yes" if v["indistinguishable"] else "no",
            )
            for c in cells if c["prompts"] for v in c["values"]
        ],
    )  # fmt: skip


def _forward(cells: list[dict[str, Any]]) -> Section:
    rows = []
    for cell in cells:
        found = cell["walk_forward"]
        rows.append(
            (cell["competition"], cell["asset"], found["prompts"], *_bounds(found["in_sample"]),
             *_bounds(found["out_of_sample"], found["low"], found["high"]), *_bounds(found["optimism"]))
        )  # fmt: skip
    chosen = [
        (cell["competition"], cell["asset"], (iso(w["start"]), w["start"]), w["chosen"])
        for cell in cells for w in cell["walk_forward"]["windows"]
    ]  # fmt: skip
    return Section(
        "Walk-forward",
        ["Values were chosen on one window and scored on the next, rolling: what a miner would have got."],
        [
            Table(
                "Change of mean CRPS against the present value, percent",
                ["competition", "asset", "prompts", "promised", "brought", "95 %, from", "to", "optimism"], rows,
            ),
            Table("What was chosen", ["competition", "asset", "from", "chosen"], chosen, folded=True),
        ],
    )  # fmt: skip


def _bounds(*values: float) -> list[object]:
    return ["-" if value - value != 0 else (f"{100 * value:+.2f}", 100 * value) for value in values]

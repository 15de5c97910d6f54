"""The report of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from ewmalab.analysis.sweep_rows import SweepRow, TriedValue, read_sweep
from ewmalab.experiments.store import Experiment
from ewmalab.report.figures import sweep as draw
from ewmalab.report.pages.page import Card, Cell, Report, Section, Table, p_value, percent
from ewmalab.report.pages.provenance import between, provenance
from ewmalab.report.text.tables import Column, grid, points, signed
from ewmalab.report.text.verdict import told_p
from ewmalab.times import iso

_WHERE: list[Column] = [("competition", "competition"), ("asset", "asset")]
_BEST: list[Column] = [
    ("", lambda row: Cell(f"{row.competition} {row.asset}", detail=f"{row.prompts:,} prompts")),
    ("configured", lambda row: _tried(row.configured)),
    ("best", lambda row: _tried(row.best)),
    ("change", lambda row: _change(row)),
]
_VALUES: list[Column] = [
    *_WHERE,
    ("value", "label"),
    ("CRPS, bp", "mean_crps"),
    ("change, %", lambda tried: percent(tried.change)),
    ("95 %, from", lambda tried: percent(tried.low)),
    ("to", lambda tried: percent(tried.high)),
    ("p", lambda tried: p_value(tried.p_value)),
    ("p (Holm)", lambda tried: p_value(tried.p_holm)),
    ("not ruled out", lambda tried: "equivalent" if tried.equivalent else "yes" if tried.not_ruled_out else "no"),
]
_NOTE = (
    "Below a value its mean CRPS. change: of the best against the configured value, below zero is better; below it its "
    "95 % interval, p of no difference (Diebold-Mariano), corrected for the number of values tried (Holm), and the "
    "simulation's own noise. Coloured: proven."
)
_VALUES_NOTE = (
    "95 %: interval of the change; it excludes zero just where p is below 0.05. p (Holm): corrected for the number of "
    "values tried. not ruled out: may be the best; equivalent: proven as good as the best within a margin."
)
_FORWARD: list[Column] = [
    *_WHERE,
    ("prompts", "prompts"),
    ("in sample", lambda row: percent(row.in_sample)),
    ("out of sample", lambda row: percent(row.out_of_sample)),
    ("95 %, from", lambda row: percent(row.low)),
    ("to", lambda row: percent(row.high)),
    ("optimism", lambda row: percent(row.optimism)),
]


def sweep_report(experiment: Experiment) -> Report:
    """Return the report of a sweep, or of tuning on its held-out days.

    Raises
    ------
    ExperimentError
    """
    rows, inputs = read_sweep(experiment.summary), experiment.manifest["inputs"]
    parameters, synthetic = list(inputs["sweep"]["parameters"]), bool(inputs["synthetic"])
    what = "Tuning" if inputs["kind"] == "tune" else "Sweep"
    title = f"{what} of {', '.join(parameters)}, {between(inputs['start'], inputs['days'])}"
    report = Report(title, provenance(experiment), synthetic, name=experiment.name)
    judged = [row for row in rows if row.prompts]
    best = Table("The configured value and the best tried", *grid(judged, _BEST), note=_NOTE, fixed=True)
    words = [f"{row.competition} {row.asset}: {row.words}." for row in rows]
    report.card = Card(_lead(judged), [best] if judged else [], [("Verdicts", words)])
    report.switches = {"Assets": list(dict.fromkeys(row.asset for row in judged))}
    if judged and len(parameters) == 1:
        report.sections.append(Section("Curves", [], [draw.curves(judged, parameters[0], synthetic=synthetic)]))
    elif judged and len(parameters) == 2:
        report.sections.append(Section("Maps", [], [draw.heat_maps(judged, parameters, synthetic=synthetic)]))
    if any(row.forward for row in rows):
        report.sections.append(_forward(rows))
    tried = [value for row in judged for value in row.values]
    values = Table("All values, against the configured one", *grid(tried, _VALUES), note=_VALUES_NOTE)
    report.sections.append(Section("Every value", [], [values]))
    return report


def _lead(rows: Sequence[SweepRow]) -> list[str]:
    """Return in one sentence where another value than the configured one is proven better."""
    if not rows:
        return ["No prompt is scored: there is no verdict."]
    better = [row for row in rows if row.better]
    if not better:
        return [f"No value is proven better than the configured one ({len(rows)} comparison{'s' * (len(rows) > 1)})."]
    told = [f"{row.competition} {row.asset}: {row.best.label} ({100 * row.best.change:+.2f} %)" for row in better]
    return [f"A better value is proven in {len(better)} of {len(rows)} comparisons: {'; '.join(told)}."]


def _tried(tried: TriedValue) -> Cell:
    return Cell(tried.label, detail=f"{tried.mean_crps:,.2f} bp")


def _change(row: SweepRow) -> Cell:
    best = row.best
    if best.configured:
        return Cell("-", detail="as configured")
    details = []
    if isfinite(best.low) and best.p_holm is not None:
        details = [f"[{points(best.low)},\u00a0{points(best.high)}]", told_p(best.p_holm)]
    details.append(f"noise {100 * row.monte_carlo:.2f}")
    mark = "▼\u00a0" if row.better else ""
    return Cell(f"{mark}{signed(best.change)}\u00a0%", best.change, "good" if row.better else "", "\n".join(details))


def _forward(rows: Sequence[SweepRow]) -> Section:
    found = [row.forward for row in rows if row.forward]
    chosen = [(row.competition, row.asset, (iso(at), at), label) for row in found for at, label in row.choices]
    text = (
        "Values were chosen on one window (in sample) and scored on the next (out of sample), rolling, as a miner "
        "would have done."
    )
    changes = Table("Change of mean CRPS against the configured value, percent", *grid(found, _FORWARD))
    choices = Table("Chosen values", ["competition", "asset", "from", "chosen"], chosen, folded=True)
    return Section("Walk-forward", [text], [changes, choices])

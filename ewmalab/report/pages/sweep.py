"""The report of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.analysis.sweep_rows import SweepRow, read_sweep
from ewmalab.experiments.store import Experiment
from ewmalab.report.figures import sweep as draw
from ewmalab.report.pages.page import Report, Section, Table, percent, value
from ewmalab.report.pages.provenance import provenance
from ewmalab.report.text.tables import Column, grid
from ewmalab.times import iso

_WHERE: list[Column] = [("competition", "competition"), ("asset", "asset")]
_BEST: list[Column] = [
    *_WHERE,
    ("prompts", "prompts"),
    ("configured", "configured.label"),
    ("CRPS, bp", "configured.mean_crps"),
    ("best", "best.label"),
    ("CRPS, bp", "best.mean_crps"),
    ("change, %", lambda row: percent(row.best.change)),
    ("95 %, from", lambda row: percent(row.best.low)),
    ("to", lambda row: percent(row.best.high)),
    ("p (Holm)", "best.p_holm"),
    ("simulation noise, %", lambda row: value(100 * row.monte_carlo)),
]
_VALUES: list[Column] = [
    *_WHERE,
    ("value", "label"),
    ("CRPS, bp", "mean_crps"),
    ("change, %", lambda tried: percent(tried.change)),
    ("95 %, from", lambda tried: percent(tried.low)),
    ("to", lambda tried: percent(tried.high)),
    ("p (Holm)", "p_holm"),
    ("not ruled out", lambda tried: "equivalent" if tried.equivalent else "yes" if tried.not_ruled_out else "no"),
]
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
    report = Report(experiment.name, provenance(experiment), synthetic)
    judged = [row for row in rows if row.prompts]
    words = [f"{row.competition} {row.asset}: {row.words}" for row in rows]
    found = Section("Verdicts", words, [Table("The configured value and the best tried", *grid(judged, _BEST))])
    if judged and len(parameters) == 1:
        found.content.append(draw.curves(rows, parameters[0], synthetic=synthetic))
    elif judged and len(parameters) == 2:
        found.content.append(draw.heat_maps(rows, parameters, synthetic=synthetic))
    report.sections.append(found)
    if any(row.forward for row in rows):
        report.sections.append(_forward(rows))
    tried = [value for row in judged for value in row.values]
    values = Table("All values, against the configured one", *grid(tried, _VALUES))
    report.sections.append(Section("Every value", [], [values]))
    return report


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

"""Figures of a live miner: its running score, its latency and the age of its states."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ewmalab.analysis.serving import Serving
from ewmalab.report.figures.chart import Axis, Chart, Mark, Panel, Rule, Series, counted, looks
from ewmalab.report.text.tables import short


def running(frame: pd.DataFrame, *, synthetic: bool = False) -> Chart:
    """Draw the running mean CRPS per competition and asset, from `TrackRecord.running`."""
    pairs = list(dict.fromkeys((competition, asset) for competition, asset, _ in frame.index))
    chart = Chart(
        "Running mean CRPS",
        "Mean over all prompts so far; lower is better. The first forecaster answered, the others were given the same "
        f"bars, anchors and random numbers afterwards. {counted(len(frame.loc[pair]) for pair in pairs)}",
        height=2.3,
        synthetic=synthetic,
    )
    panels = []
    for pair in pairs:
        inside = frame.loc[pair]
        at, few = inside.index.to_numpy(np.float64), len(inside) < 3  # a line of one point is invisible
        marks: list[Mark] = [
            Series(short(name), at, inside[name].to_numpy(np.float64), look, marker=few)
            for name, look in looks(frame.columns).items()
        ]
        y = Axis("CRPS, basis points")
        panels.append(Panel(" ".join(pair), Axis("start time (UTC)", "time"), y, marks, (pair[1],)))
    return chart.of(panels)


def latency(serving: Serving, *, synthetic: bool = False) -> Chart:
    """Draw the latency of answers, over time and as a histogram."""
    answers, total = serving.answers, serving.latencies[0]
    note = (
        "From the whole request to the last byte handed over. Dashed: the median and the 99th percentile. "
        f"{total.answers:,} answers."
    )
    left: list[Mark] = []
    for name, look in looks(answers["competition"]).items():
        part = answers[answers["competition"] == name]
        left.append(_dots(name, part["at"], part["seconds"], look))
    floor = max(1e-4, float(answers["seconds"].min()))
    edges = np.geomspace(floor, max(2 * floor, total.longest), 41)
    counts, _ = np.histogram(answers["seconds"].clip(lower=floor), edges)
    line = Series("", np.repeat(edges, 2), np.concatenate([[0], np.repeat(counts, 2), [0]]), 0, marker=False)
    right: list[Mark] = [line, *(Rule(at, True, f"{at:.3f} s") for at in (total.median, total.percentile_99))]
    seconds = "seconds"
    return Chart("Latency", note, columns=2, width=4.2, synthetic=synthetic).of(
        [
            Panel("over time", Axis("UTC", "time"), Axis(seconds, "log"), left),
            Panel("how many", Axis(seconds, "log"), Axis("answers"), right),
        ]
    )


def state_age(serving: Serving, *, synthetic: bool = False) -> Chart:
    """Draw how old the newest bar and the anchor of each answer were."""
    answers = serving.answers
    told = ", ".join(f"{100 * share:.1f} % {name}" for name, share in serving.sources.items())
    note = (
        "State: seconds from the close of the newest bar to the answer; more than a minute or two means that bars were "
        f"late. Anchor: its age, by source: {told}. {len(answers):,} answers."
    )
    panels = []
    for title, column in (("state", "state_age"), ("anchor", "anchor_age")):
        marks: list[Mark] = []
        for name, look in looks(answers["asset"]).items():
            part = answers[answers["asset"] == name]
            marks.append(_dots(name, part["at"], part[column], look))
        panels.append(Panel(title, Axis("UTC", "time"), Axis("seconds"), marks))
    return Chart("Age of states and anchors", note, columns=2, width=4.2, synthetic=synthetic).of(panels)


def _dots(name: str, at: pd.Series, numbers: pd.Series, look: int) -> Series:
    return Series(str(name), at.to_numpy(np.float64), numbers.to_numpy(np.float64), look, line=False)

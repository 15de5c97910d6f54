"""Figures of a live miner: its running score, its latency and the age of its states."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ewmalab.analysis.serving import Serving
from ewmalab.report.figures.style import COLOURS, GREY, Sheet, counted, date_axis, legend, looks, panels, styled, times
from ewmalab.report.text.tables import short

_DOTS = {"linestyle": "none", "markersize": 3}


@styled
def running(frame: pd.DataFrame, *, synthetic: bool = False) -> Figure:
    """Draw the running mean CRPS per competition and asset, from `TrackRecord.running`."""
    pairs = list(dict.fromkeys((competition, asset) for competition, asset, _ in frame.index))
    sheet = Sheet(
        "Running mean CRPS",
        "Mean over all prompts so far; lower is better. The first forecaster answered, the others were given the same "
        f"bars, anchors and random numbers afterwards. {counted(len(frame.loc[pair]) for pair in pairs)}",
        x="start time (UTC)",
        y="CRPS, basis points",
        height=2.3,
        synthetic=synthetic,
    )
    figure, axes = panels([" ".join(pair) for pair in pairs], sheet)
    for panel, pair in zip(axes, pairs, strict=True):
        inside = frame.loc[pair]
        for name, style in looks(frame.columns).items():
            panel.plot(times(inside.index), inside[name], label=short(name), **style | {"marker": ""})
        date_axis(panel)
        panel.tick_params(labelsize=7.5)
    legend(figure, axes)
    return figure


@styled
def latency(serving: Serving, *, synthetic: bool = False) -> Figure:
    """Draw the latency of answers, over time and as a histogram."""
    answers, total = serving.answers, serving.latencies[0]
    note = (
        "From the whole request to the last byte handed over. Dashed: the median and the 99th percentile. "
        f"{total.answers:,} answers."
    )
    sheet = Sheet("Latency", note, "UTC", "seconds", columns=2, width=4.2, synthetic=synthetic)
    figure, (left, right) = panels(["", ""], sheet)
    for name, style in looks(answers["competition"]).items():
        part = answers[answers["competition"] == name]
        left.plot(times(part["at"]), part["seconds"], label=name, **style | _DOTS)
    floor = max(1e-4, float(answers["seconds"].min()))
    bins = np.geomspace(floor, max(2 * floor, total.longest), 40)
    right.hist(answers["seconds"].clip(lower=floor), bins=bins.tolist(), color=COLOURS[0])
    for at in (total.median, total.percentile_99):
        right.axvline(at, color=GREY, linestyle="--", linewidth=1)
        right.annotate(f" {at:.3f} s", (at, right.get_ylim()[1] * 0.92), fontsize=8)
    left.set_yscale("log")
    right.set_xscale("log")
    date_axis(left)
    right.set_xlabel("seconds")
    right.set_ylabel("answers")
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, [left])
    return figure


@styled
def state_age(serving: Serving, *, synthetic: bool = False) -> Figure:
    """Draw how old the newest bar and the anchor of each answer were."""
    answers = serving.answers
    told = ", ".join(f"{100 * share:.1f} % {name}" for name, share in serving.sources.items())
    note = (
        "Left: seconds from the close of the newest bar to the answer; more than a minute or two means that bars were "
        f"late. Right: age of the anchor, by source: {told}. {len(answers):,} answers."
    )
    sheet = Sheet("Age of states and anchors", note, "UTC", "seconds", columns=2, width=4.2, synthetic=synthetic)
    figure, axes = panels(["state", "anchor"], sheet)
    for panel, column in zip(axes, ("state_age", "anchor_age"), strict=True):
        for name, style in looks(answers["asset"]).items():
            part = answers[answers["asset"] == name]
            panel.plot(times(part["at"]), part[column], label=name, **style | _DOTS)
        date_axis(panel)
    legend(figure, axes)
    return figure

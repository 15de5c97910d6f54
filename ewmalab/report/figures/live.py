"""Figures of a live miner: its running score, its latency and the age of its states."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ewmalab.report.figures.style import COLOURS, GREY, counted, date_axis, legend, looks, panels, short, styled, times


@styled
def running(frame: pd.DataFrame, *, synthetic: bool = False) -> Figure:
    """Draw the running mean CRPS per competition and asset.

    Parameters
    ----------
    frame : DataFrame
        From `TrackRecord.running`: ``competition, asset, start_time``, a column per forecaster.
    synthetic : bool
    """
    pairs = list(dict.fromkeys(zip(*(frame.index.get_level_values(k) for k in ("competition", "asset")), strict=True)))
    styles = looks(frame.columns)
    counts = [len(frame.loc[pair]) for pair in pairs]
    figure, axes = panels(
        len(pairs), "Running mean CRPS",
        "Mean over all prompts so far; lower is better. The first forecaster answered, the others were given the same "
        f"bars, anchors and random numbers afterwards. {counted(counts)}",
        synthetic=synthetic, columns=3, width=3.2, height=2.3,
    )  # fmt: skip
    for panel, pair in zip(axes, pairs, strict=True):
        inside = frame.loc[pair]
        for name, style in styles.items():
            panel.plot(times(inside.index), inside[name], label=short(name), **style | {"marker": ""})
        date_axis(panel)
        panel.tick_params(labelsize=7.5)
        panel.set_title(" ".join(map(str, pair)), loc="left")
        panel.set_ylabel("CRPS, basis points")
        panel.set_xlabel("start time (UTC)")
    legend(figure, axes)
    return figure


@styled
def latency(answers: pd.DataFrame, *, synthetic: bool = False) -> Figure:
    """Draw how long answers took: over time, and how they are distributed.

    Parameters
    ----------
    answers : DataFrame
        ``at`` (seconds), ``seconds`` (of the whole request until the last byte was handed over), ``competition``.
    synthetic : bool
    """
    figure, (left, right) = panels(
        2, "Latency",
        "From the whole request to the last byte handed over. Dashed: the median and the 99th percentile. "
        f"{len(answers):,} answers.",
        synthetic=synthetic, columns=2, width=4.2,
    )  # fmt: skip
    for name, style in looks(answers["competition"]).items():
        part = answers[answers["competition"] == name]
        left.plot(times(part["at"]), part["seconds"], label=name, **style | {"linestyle": "none", "markersize": 3})
    floor = max(1e-4, float(answers["seconds"].min()))
    bins = np.geomspace(floor, max(2 * floor, float(answers["seconds"].max())), 40)
    right.hist(answers["seconds"].clip(lower=floor), bins=bins.tolist(), color=COLOURS[0])
    for share in (0.5, 0.99):
        at = float(answers["seconds"].quantile(share))
        right.axvline(at, color=GREY, linestyle="--", linewidth=1)
        right.annotate(f" {at:.3f} s", (at, right.get_ylim()[1] * 0.92), fontsize=8)
    left.set_yscale("log")
    right.set_xscale("log")
    date_axis(left)
    left.set_ylabel("seconds")
    left.set_xlabel("UTC")
    right.set_xlabel("seconds")
    right.set_ylabel("answers")
    right.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, [left])
    return figure


@styled
def state_age(answers: pd.DataFrame, *, synthetic: bool = False) -> Figure:
    """Draw how old the newest bar and the anchor of each answer were.

    Parameters
    ----------
    answers : DataFrame
        ``at``, ``asset``, ``state_age`` and ``anchor_age`` (seconds), ``anchor_source``.
    synthetic : bool
    """
    sources = answers["anchor_source"].value_counts(normalize=True)
    told = ", ".join(f"{100 * share:.1f} % {name}" for name, share in sources.items())
    figure, axes = panels(
        2, "Age of states and anchors",
        "Left: seconds since the newest bar closed, when the answer was made; more than a minute or two means that "
        f"bars came late. Right: age of the price that paths start from; source: {told}. {len(answers):,} answers.",
        synthetic=synthetic, columns=2, width=4.2,
    )  # fmt: skip
    for panel, column in zip(axes, ("state_age", "anchor_age"), strict=True):
        for name, style in looks(answers["asset"]).items():
            part = answers[answers["asset"] == name]
            panel.plot(times(part["at"]), part[column], label=name, **style | {"linestyle": "none", "markersize": 3})
        date_axis(panel)
        panel.set_ylabel("seconds")
        panel.set_xlabel("UTC")
        panel.set_title({"state_age": "state", "anchor_age": "anchor"}[column], loc="left")
    legend(figure, axes)
    return figure

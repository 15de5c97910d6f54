"""Figures of a backtest: against baselines, over time, and whether the spread was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ewmalab.replay.reproduce import ReproducedPrompt
from ewmalab.report.figures.style import (
    BAND,
    COLOURS,
    GREY,
    counted,
    date_axis,
    legend,
    looks,
    panels,
    short,
    spans,
    styled,
    times,
)
from ewmalab.times import iso
from ewmalab.units import format_duration

_INTERVAL = "Bars: 95 % intervals of a paired block bootstrap, where there are prompts enough."
Rows = Sequence[Mapping[str, Any]]


@styled
def change_by_asset(rows: Rows, baseline: str, *, synthetic: bool = False) -> Figure:
    """Draw each contestant's change of mean CRPS against the baseline, per asset.

    Parameters
    ----------
    rows : sequence of mapping
        From `ewmalab.analysis.compare.compare`.
    baseline : str
    synthetic : bool
    """
    competitions = list(dict.fromkeys(row["competition"] for row in rows))
    styles = looks(row["contestant"] for row in rows)
    most = max(len({r["asset"] for r in rows if r["competition"] == c}) for c in competitions)
    figure, axes = panels(
        len(competitions), f"Mean CRPS against {short(baseline)}",
        f"Left of zero is better. {_prompts(rows)} {_INTERVAL} all: the mean over assets of relative changes.",
        synthetic=synthetic, columns=2, width=4.2, height=1.1 + 0.17 * most * max(2, len(styles)),
    )  # fmt: skip
    for panel, competition in zip(axes, competitions, strict=True):
        inside = [row for row in rows if row["competition"] == competition]
        assets = list(dict.fromkeys(row["asset"] for row in inside))
        for i, (name, style) in enumerate(styles.items()):
            mine = {row["asset"]: row for row in inside if row["contestant"] == name}
            at = [assets.index(asset) + (i - (len(styles) - 1) / 2) * 0.7 / max(2, len(styles)) for asset in mine]
            _whiskers(panel, mine.values(), at, style, short(name), horizontal=True)
        panel.axvline(0, color=GREY, linewidth=1)
        panel.set_yticks(range(len(assets)), assets)
        panel.set_ylim(len(assets) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
        panel.set_title(competition, loc="left")
        panel.set_xlabel("change of mean CRPS, %")
        panel.set_ylabel("asset")
    legend(figure, axes)
    return figure


@styled
def change_by_interval(frame: pd.DataFrame, baseline: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS per scoring interval, an asset a mark; a panel per competition and contestant.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.interval_changes`.
    baseline, synthetic
        As in `change_by_asset`.
    """
    pairs = list(dict.fromkeys(zip(frame["competition"], frame["forecaster"], strict=True)))
    contestants = frame["forecaster"].nunique()
    styles = looks(frame["asset"])
    figure, axes = panels(
        len(pairs), f"By scoring interval, against {short(baseline)}",
        "Below zero is better; the total adds up all intervals, so long ones, whose CRPS is larger, count most. "
        f"{counted(frame['prompts'])}",
        synthetic=synthetic, columns=max(2, contestants), width=4.0, height=2.8, sharey=True,
    )  # fmt: skip
    for panel, (competition, name) in zip(axes, pairs, strict=True):
        inside = frame[(frame["competition"] == competition) & (frame["forecaster"] == name)]
        parts = list(inside["interval"].unique())
        for asset, style in styles.items():
            mine = inside[inside["asset"] == asset]
            if len(mine):
                at = [parts.index(part) for part in mine["interval"]]
                panel.plot(at, 100 * mine["change"], label=asset, **style | {"linewidth": 1})
        panel.axhline(0, color=GREY, linewidth=1)
        panel.set_xticks(range(len(parts)), parts, rotation=90 if len(parts) > 8 else 0, fontsize=7.5)
        panel.set_title(f"{competition}, {short(name)}", loc="left")
        panel.set_ylabel("change of CRPS, %")
        panel.set_xlabel("scoring interval")
    legend(figure, axes)
    return figure


@styled
def change_by_part(rows: Rows, baseline: str, what: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS by hour of day or weekday of the start time, all assets together.

    Parameters
    ----------
    rows
        From `ewmalab.analysis.compare.compare` by hour or weekday.
    baseline, synthetic
        As in `change_by_asset`.
    what : str
        What the parts are.
    """
    competitions = list(dict.fromkeys(row["competition"] for row in rows))
    styles = looks(row["contestant"] for row in rows)
    figure, axes = panels(
        len(competitions), f"By {what} of the start time (UTC), against {short(baseline)}",
        "Below zero is better; relative to each asset's mean, all assets together. "
        f"{_prompts(rows, 'start times')} {_INTERVAL}",
        synthetic=synthetic, columns=1, width=7.6, height=2.3,
    )  # fmt: skip
    for panel, competition in zip(axes, competitions, strict=True):
        inside = [row for row in rows if row["competition"] == competition]
        parts = list(dict.fromkeys(row["part"] for row in inside))
        for i, (name, style) in enumerate(styles.items()):
            mine = {row["part"]: row for row in inside if row["contestant"] == name}
            at = [parts.index(part) + (i - (len(styles) - 1) / 2) * 0.18 for part in mine]
            _whiskers(panel, mine.values(), at, style, short(name), horizontal=False)
        panel.axhline(0, color=GREY, linewidth=1)
        panel.set_xticks(range(len(parts)), [part.removesuffix(":00") for part in parts])
        panel.set_title(competition, loc="left")
        panel.set_ylabel("change of CRPS, %")
        panel.set_xlabel(f"{what} (UTC)")
    legend(figure, axes)
    return figure


@styled
def over_time(frame: pd.DataFrame, baseline: str, period: int, prompts: int, *, synthetic: bool = False) -> Figure:
    """Draw mean CRPS per period of start times, in percent of the baseline's mean over all.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.over_time`.
    baseline : str
    period : int
        Seconds.
    prompts : int
        On which it rests.
    synthetic : bool
    """
    competitions = list(frame.index.unique("competition"))
    styles = looks(frame.columns)
    figure, axes = panels(
        len(competitions), "CRPS over time",
        f"Means over {format_duration(period)} of start times; 100: the mean of {short(baseline)} on the same asset. "
        f"All assets together, {prompts:,} prompts. Lower is better: compare the lines, not the days.",
        synthetic=synthetic, columns=1, width=7.6, height=2.2,
    )  # fmt: skip
    for panel, competition in zip(axes, competitions, strict=True):
        inside = frame.loc[competition]
        for name, style in styles.items():
            panel.plot(times(inside.index), inside[name], label=short(name), **style)
        panel.axhline(100, color=GREY, linewidth=1)
        date_axis(panel)
        panel.set_title(competition, loc="left")
        panel.set_ylabel("CRPS, % of the mean")
        panel.set_xlabel("start time (UTC)")
    legend(figure, axes)
    return figure


@styled
def cumulative(frame: pd.DataFrame, baseline: str, prompts: int, *, synthetic: bool = False) -> Figure:
    """Draw the running sum of differences from the baseline.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.cumulative_difference`.
    baseline, prompts, synthetic
        As in `over_time`.
    """
    competitions = list(frame.index.unique("competition"))
    styles = looks(frame.columns)
    figure, axes = panels(
        len(competitions), f"Cumulative difference from {short(baseline)}",
        "Falling is better: -1 means that the CRPS of one average prompt has been saved. A steady slope is skill, a "
        f"step is one lucky time. Mean over the assets of one time; {prompts:,} prompts.",
        synthetic=synthetic, columns=1, width=7.6, height=2.2,
    )  # fmt: skip
    for panel, competition in zip(axes, competitions, strict=True):
        inside = frame.loc[competition]
        for name, style in styles.items():
            panel.plot(times(inside.index), inside[name], label=short(name), **style | {"marker": ""})
        panel.axhline(0, color=GREY, linewidth=1)
        date_axis(panel)
        panel.set_title(competition, loc="left")
        panel.set_ylabel("prompts' worth of CRPS")
        panel.set_xlabel("start time (UTC)")
    legend(figure, axes)
    return figure


@styled
def pit(histogram: pd.DataFrame, competition: str, *, synthetic: bool = False) -> Figure:
    """Draw histograms of the probability integral transform, a row per forecaster, a column per horizon.

    Parameters
    ----------
    histogram : DataFrame
        From `ewmalab.analysis.diagnostics.pit_histogram`.
    competition : str
    synthetic : bool
    """
    inside = histogram[histogram["competition"] == competition]
    names, horizons = inside["forecaster"].unique(), sorted(inside["horizon"].unique())
    figure, axes = panels(
        len(names) * len(horizons), f"{competition}: where realised moves fell among the paths (PIT)",
        "Flat within the band: calibrated. A bowl: too narrow; a hump: too wide; a slope: biased. Band: 95 % of the "
        f"bars of a calibrated forecast, counting only prompts that do not overlap. {counted(inside['prompts'])}",
        synthetic=synthetic, columns=len(horizons), width=2.05, height=1.75, sharey=True,
    )  # fmt: skip
    for i, panel in enumerate(axes):
        name, horizon = names[i // len(horizons)], horizons[i % len(horizons)]
        part = inside[(inside["forecaster"] == name) & (inside["horizon"] == horizon)]
        if not len(part):
            panel.set_visible(False)
            continue
        wide = 1.0 / len(part)
        low, high = 100 * part["low"].iloc[0], 100 * part["high"].iloc[0]
        panel.axhspan(low, high, color=BAND, alpha=0.5, linewidth=0)
        panel.bar(part["bin"] + wide / 2, 100 * part["share"], 0.9 * wide, color=COLOURS[0], label=name)
        panel.axhline(100 * wide, color=GREY, linewidth=1)
        panel.set_xticks([0, 0.5, 1])
        panel.set_title(f"{short(name)}, {format_duration(horizon)}", loc="left", fontsize=8.5)
        if i % len(horizons) == 0:
            panel.set_ylabel("prompts, %")
        if i // len(horizons) == len(names) - 1:
            panel.set_xlabel("share of paths below")
    return figure


@styled
def coverage(frame: pd.DataFrame, competition: str, *, synthetic: bool = False) -> Figure:
    """Draw the coverage of central intervals by horizon, a panel per nominal level.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.coverage`.
    competition : str
    synthetic : bool
    """
    inside = frame[frame["competition"] == competition]
    levels, horizons = sorted(inside["level"].unique()), sorted(inside["horizon"].unique())
    styles = looks(inside["forecaster"])
    figure, axes = panels(
        len(levels), f"{competition}: coverage",
        "How often the realised move fell within a forecast's central interval; on the line: calibrated, below it: "
        f"too narrow. {counted(inside['prompts'])} Bars: 95 % intervals that allow for overlapping prompts.",
        synthetic=synthetic, columns=len(levels), width=3.0,
    )  # fmt: skip
    for panel, level in zip(axes, levels, strict=True):
        for i, (name, style) in enumerate(styles.items()):
            part = inside[(inside["forecaster"] == name) & (inside["level"] == level)].sort_values("horizon")
            at = [horizons.index(h) + (i - (len(styles) - 1) / 2) * 0.16 for h in part["horizon"]]
            known = np.isfinite(part["low"]) & np.isfinite(part["high"]) & (part["high"] > part["low"])
            down = 100 * np.where(known, part["covered"] - part["low"], 0).clip(0)
            up = 100 * np.where(known, part["high"] - part["covered"], 0).clip(0)
            panel.errorbar(at, 100 * part["covered"], [down, up], label=short(name), **_marks(style))
        panel.axhline(100 * level, color=GREY, linewidth=1)
        panel.set_xticks(range(len(horizons)), [format_duration(h) for h in horizons])
        panel.set_title(f"{100 * level:g} % interval", loc="left")
        panel.set_xlabel("horizon")
        panel.set_ylabel("covered, % of prompts")
    legend(figure, axes)
    return figure


@styled
def term_structure(frame: pd.DataFrame, competition: str, *, synthetic: bool = False) -> Figure:
    """Draw realised and forecast volatility by horizon, a panel per asset.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.term_structure`.
    competition : str
    synthetic : bool
    """
    inside = frame[frame["competition"] == competition]
    assets, styles = list(inside["asset"].unique()), looks(inside["forecaster"])
    figure, axes = panels(
        len(assets), f"{competition}: volatility by horizon",
        "Root mean square of realised moves since the start (black) and of the forecasts' spread. A line below the "
        f"black one is too narrow at that horizon. {counted(inside['prompts'])}",
        synthetic=synthetic, columns=4, width=2.5, height=2.1,
    )  # fmt: skip
    for panel, asset in zip(axes, assets, strict=True):
        part = inside[inside["asset"] == asset]
        own = part[part["forecaster"] == next(iter(styles))].sort_values("horizon")
        panel.plot(own["horizon"], own["realised"], color="black", marker="*", markersize=7, label="realised")
        for name, style in styles.items():
            one = part[part["forecaster"] == name].sort_values("horizon")
            panel.plot(one["horizon"], one["forecast"], label=short(name), **style)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        spans(panel, own["horizon"].tolist(), logarithmic=True)
        panel.set_title(asset, loc="left")
        panel.set_xlabel("horizon")
        panel.set_ylabel("basis points")
    legend(figure, axes)
    return figure


@styled
def spread_skill(frame: pd.DataFrame, competition: str, *, synthetic: bool = False) -> Figure:
    """Draw errors against spread, a panel per horizon.

    Parameters
    ----------
    frame : DataFrame
        From `ewmalab.analysis.diagnostics.spread_skill`.
    competition : str
    synthetic : bool
    """
    inside = frame[frame["competition"] == competition]
    horizons, styles = sorted(inside["horizon"].unique()), looks(inside["forecaster"])
    totals = inside.groupby(["forecaster", "horizon"])["prompts"].sum()
    figure, axes = panels(
        len(horizons), f"{competition}: do errors grow with the spread?",
        "Prompts in groups of equal number, by the width of the forecast; 1: the asset's typical spread. On the "
        f"diagonal: the spread is right in calm and in turmoil; flat: it tells nothing. {counted(totals)}",
        synthetic=synthetic, columns=4, width=2.5, height=2.2,
    )  # fmt: skip
    for panel, horizon in zip(axes, horizons, strict=True):
        for name, style in styles.items():
            part = inside[(inside["forecaster"] == name) & (inside["horizon"] == horizon)]
            panel.plot(part["spread"], part["error"], label=short(name), **style)
        low, high = min(panel.get_xlim()[0], panel.get_ylim()[0]), max(panel.get_xlim()[1], panel.get_ylim()[1])
        panel.plot([low, high], [low, high], color=GREY, linewidth=1)
        panel.set_title(format_duration(horizon), loc="left")
        panel.set_xlabel("spread (relative)")
        panel.set_ylabel("error (relative)")
    legend(figure, axes)
    return figure


@styled
def fans(drawn: Sequence[ReproducedPrompt], title: str, note: str, *, synthetic: bool = False) -> Figure:
    """Draw fan charts: 50, 90 and 99 % of the paths, the median, a few paths, and the realised price.

    Parameters
    ----------
    drawn : sequence of ReproducedPrompt
    title, note : str
    synthetic : bool
    """
    figure, axes = panels(len(drawn), title, note, synthetic=synthetic, columns=3, width=3.6, height=2.9)
    for panel, fan in zip(axes, drawn, strict=True):
        at = times(fan.start_time + fan.time_increment * np.arange(len(fan.paths)))
        prices = fan.anchor * np.exp(fan.paths.astype(np.float64))
        tails = (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995)
        quantiles = np.quantile(prices, tails, axis=1)
        for i, (alpha, share) in enumerate(((0.15, "99 %"), (0.25, "90 %"), (0.45, "50 %"))):
            panel.fill_between(
                at, quantiles[i], quantiles[-1 - i], color=COLOURS[0], alpha=alpha, linewidth=0, label=share
            )
        panel.plot(at, quantiles[3], color=COLOURS[0], linewidth=1.2, label="median")
        for path in prices.T[:3]:
            panel.plot(at, path, color=GREY, linewidth=0.5, alpha=0.7)
        panel.plot(at, fan.truth, color=COLOURS[1], linewidth=1.6, label="realised")
        date_axis(panel, offset=False)
        panel.tick_params(labelsize=7.5)
        panel.set_title(fan.title, loc="left", fontsize=8.5)
        panel.set_ylabel("price, USD")
        panel.set_xlabel(f"UTC, from {iso(fan.start_time)[:16].replace('T', ' ')}", fontsize=8)
    legend(figure, axes)
    return figure


def telling(
    drawn: Sequence[ReproducedPrompt], words: Sequence[str], competition: str, name: str, results: pd.DataFrame, *,
    synthetic: bool = False,
) -> Figure:  # fmt: skip
    """Draw a forecaster's worst, median and best prompt of a competition.

    Parameters
    ----------
    drawn : sequence of ReproducedPrompt
    words : sequence of str
        What each is.
    competition, name : str
    results : DataFrame
        Of the backtest, from which they were chosen.
    synthetic : bool
    """
    count = int(((results["competition"] == competition) & (results["forecaster"] == name)).sum())
    titled = [replace(fan, title=f"{word}: {fan.title}") for word, fan in zip(words, drawn, strict=True)]
    return fans(
        titled, f"{competition}: {', '.join(words[:-1])} and {words[-1]} prompt of {short(name)}",
        "By CRPS (basis points) relative to the asset's mean. Bands: 50, 90 and 99 % of the paths; grey: three paths. "
        f"Simulated again, bit for bit; chosen among {count:,} prompts.",
        synthetic=synthetic,
    )  # fmt: skip


def _whiskers(
    panel: Any, rows: Any, at: Sequence[float], style: Mapping[str, Any], label: str, *, horizontal: bool
) -> None:
    found = list(rows)
    change = np.array([100 * row["change"] for row in found])
    low = np.array([np.nan if row["low"] is None else 100 * row["low"] for row in found], np.float64)
    high = np.array([np.nan if row["high"] is None else 100 * row["high"] for row in found], np.float64)
    sides = np.nan_to_num([change - low, high - change]).clip(0)
    if horizontal:
        panel.errorbar(change, at, xerr=sides, label=label, **_marks(style))
    else:
        panel.errorbar(at, change, yerr=sides, label=label, **_marks(style))


def _marks(style: Mapping[str, Any]) -> dict[str, Any]:
    return {**style, "linestyle": "none", "elinewidth": 1.2, "capsize": 2}


def _prompts(rows: Rows, what: str = "prompts") -> str:
    single = [row["prompts"] for row in rows if row["asset"] != "all"]
    return counted(single or [row["prompts"] for row in rows], what)

"""Figures of single prompts: how they scored, and their paths with the realised prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ewmalab.analysis.review import ScoredPrompt, TellingPrompts
from ewmalab.replay.reproduce import ReproducedPrompt
from ewmalab.report.figures.chart import Axis, Band, Chart, Mark, Panel, Rule, Series, looks
from ewmalab.report.figures.chart import values as array
from ewmalab.report.text.tables import short


def fans(
    drawn: Mapping[str, ReproducedPrompt], title: str, note: str, *, synthetic: bool = False, one_at_a_time: int = 0
) -> Chart:
    """Draw fan charts: 50, 90 and 99 % of the paths, the median, a few paths, and the realised price.

    Parameters
    ----------
    drawn : mapping of str to ReproducedPrompt
        By the title of the panel.
    title, note : str
    synthetic : bool
    one_at_a_time : int
        If not 0, a page shows one panel at a time, and a picture the first so many.
    """
    chart = Chart(title, note, columns=3, width=3.6, height=2.9, synthetic=synthetic, one_at_a_time=one_at_a_time)
    return chart.of(_fan(name, fan) for name, fan in drawn.items())


def _fan(name: str, fan: ReproducedPrompt) -> Panel:
    at = np.asarray(fan.start_time + fan.time_increment * np.arange(len(fan.paths)), np.float64)
    prices = fan.anchor * np.exp(fan.paths.astype(np.float64))
    quantiles = np.quantile(prices, (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995), axis=1)
    marks: list[Mark] = [
        Band(share, at, quantiles[i], quantiles[-1 - i], 0, opacity)
        for i, (opacity, share) in enumerate(((0.15, "99 %"), (0.25, "90 %"), (0.45, "50 %")))
    ]
    marks += [Series("a path", at, path, "grey", marker=False, width=0.5) for path in prices.T[:3]]
    marks.append(Series("median", at, quantiles[3], 0, marker=False, width=1.2))
    marks.append(Series("realised", at, fan.truth, "ink", marker=False, width=1.6))
    return Panel(name, Axis("UTC", "time"), Axis("price, USD"), marks, key=fan.key)


def telling(found: TellingPrompts, *, synthetic: bool = False) -> Chart:
    """Draw the paths of a forecaster's best, median and worst prompts of a competition."""
    titled = {f"{word}: {fan.title}": fan for word, fan in found.drawn.items()}
    note = (
        "By CRPS (basis points) relative to the asset's mean. Bands: 50, 90 and 99 % of the paths; grey: three paths. "
        f"Reproduced, bit for bit; chosen among {found.prompts:,} prompts."
    )
    title = f"{found.competition}: paths of the worst, median and best prompt of {short(found.forecaster)}"
    return fans(titled, title, note, synthetic=synthetic, one_at_a_time=3)


def worst(rows: Sequence[ScoredPrompt], found: TellingPrompts, *, synthetic: bool = False) -> Chart:
    """Draw when a forecaster's worst prompts of a competition began; a click on a ring opens its paths."""
    inside = [row for row in rows if row.competition == found.competition]
    known = {fan.key for fan in found.drawn.values()}
    marks: list[Mark] = [Rule(1.0)]
    for asset, look in looks(sorted({row.asset for row in rows})).items():
        mine = [row for row in inside if row.asset == asset]
        opens = [row.key if row.key in known else "" for row in mine]
        at, crps = array(row.start_time for row in mine), array(row.relative for row in mine)
        hollow = np.array([bool(key) for key in opens], bool)
        marks.append(Series(asset, at, crps, look, line=False, hollow=hollow, opens=opens))
    note = (
        f"The {len(inside):,} worst prompts of {short(found.forecaster)} among {found.prompts:,} prompts; 1: the "
        "mean of the asset. Rings: a click, or the choice below, shows the paths."
    )
    title = f"{found.competition}: when the worst prompts began"
    chart = Chart(title, note, columns=1, width=7.6, height=2.4, synthetic=synthetic)
    y = Axis("CRPS / mean of the asset")
    return chart.of([Panel("", Axis("start time (UTC)", "time"), y, marks)])

"""Tables as DataFrames and figures of matplotlib, for notebooks.

Examples
--------
>>> import ewmalab as ew
>>> from ewmalab import notebook as nb
>>> experiment = ew.backtest(start="2026-01-15", days=1)   # doctest: +SKIP
>>> nb.plot_change(experiment)                              # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ewmalab.analysis import diagnostics as dg
from ewmalab.analysis import relative
from ewmalab.analysis.compare import By, Difference, compare, scores_of
from ewmalab.analysis.review import telling_of
from ewmalab.analysis.serving import Serving, answers_table, serving
from ewmalab.analysis.sweep_rows import read_sweep
from ewmalab.experiments.store import Experiment
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.track_record import TrackRecord
from ewmalab.market.bars import Bars
from ewmalab.replay.reproduce import ReproducedPrompt
from ewmalab.report.figures import bars as draw_bars
from ewmalab.report.figures import calibration as draw_calibration
from ewmalab.report.figures import differences as draw
from ewmalab.report.figures import live as draw_live
from ewmalab.report.figures import paths as draw_paths
from ewmalab.report.figures import sweep as draw_sweep
from ewmalab.report.figures.static import drawn as _drawn
from ewmalab.sweeps.sweep import SweepResult
from ewmalab.times import DAY, MINUTE

# ------------------------------------------------------------------------------------------------ tables


def bars(of: Bars) -> pd.DataFrame:
    """Return bars by time (UTC): ``open, high, low, close``."""
    frame = pd.DataFrame(of.columns())
    return frame.set_index(pd.to_datetime(frame.pop("timestamp"), unit="s", utc=True).rename("time"))


def gaps(of: Bars) -> pd.DataFrame:
    """Return the gaps between bars: ``start, end`` (UTC; end is the first present label) and ``minutes``."""
    found = np.array(of.gaps(), np.int64).reshape(-1, 2)
    return pd.DataFrame(
        {
            "start": pd.to_datetime(found[:, 0], unit="s", utc=True),
            "end": pd.to_datetime(found[:, 1], unit="s", utc=True),
            "minutes": (found[:, 1] - found[:, 0]) // MINUTE,
        }
    )


def results(experiment: Experiment) -> pd.DataFrame:
    """Return one row per forecaster and scored prompt."""
    return dg.results_frame(experiment)


def summary(experiment: Experiment) -> pd.DataFrame:
    """Return mean CRPS (basis points) per competition, asset and forecaster; for a sweep its verdicts."""
    return pd.DataFrame(experiment.summary).drop(columns=["values", "daily"], errors="ignore")


def changes(experiment: Experiment, by: By = "asset", baseline: str | None = None) -> pd.DataFrame:
    """Return paired differences from the baseline; see `ewmalab.analysis.compare.compare`."""
    return pd.DataFrame(_compared(experiment, by, baseline))


def coverage(experiment: Experiment, levels: Sequence[float] = dg.LEVELS) -> pd.DataFrame:
    """Return how often realised prices fell within central intervals, per horizon; see `diagnostics.coverage`."""
    return pd.DataFrame(dg.coverage(_checks(experiment), levels))


def volatility(experiment: Experiment) -> pd.DataFrame:
    """Return realised and forecast volatility per horizon, and the scale that would make them agree."""
    return pd.DataFrame(dg.term_structure(_checks(experiment)))


def values(result: SweepResult) -> pd.DataFrame:
    """Return the change from the configured value and its interval, per competition, asset and value of a sweep."""
    frame = pd.DataFrame([value for row in read_sweep(result.summary) for value in row.values])
    return frame.drop(columns="value").rename(columns={"label": "value"})


def answers(log_dir: Path | str) -> pd.DataFrame:
    """Return times, latency, and age of state and anchor of each answer in a live log."""
    return answers_table(LiveLog.read(Path(log_dir)).answers)


def track(record: TrackRecord) -> pd.DataFrame:
    """Return a live miner's differences from the baseline, per competition and asset."""
    return pd.DataFrame(record.rows)


# ------------------------------------------------------------------------------------------------ figures


def plot_bars(of: Bars, title: str = "Closes", *, synthetic: bool = False) -> Figure:
    """Draw closes, and mark where bars are missing."""
    return _drawn(draw_bars.closes(of, title, synthetic=synthetic))


def plot_paths(
    prompt: Prompt,
    anchor: float,
    paths: LogReturns,
    realised: npt.ArrayLike | None = None,
    *,
    title: str = "",
    synthetic: bool = False,
) -> Figure:
    """Draw a prompt's paths as a fan chart.

    Parameters
    ----------
    prompt : Prompt
    anchor : float
        The price that paths start from.
    paths : (steps + 1, n) float32
        Cumulative log-returns from `Forecaster.simulate`.
    realised : (steps + 1,) array_like, optional
        Prices at ``prompt.grid()``, NaN where missing.
    title : str
    synthetic : bool
        Whether prices are simulated.
    """
    truth = np.full(len(paths), np.nan) if realised is None else np.asarray(realised, np.float64)
    name = title or prompt.asset
    fan = ReproducedPrompt(name, prompt.start_time, prompt.time_increment, anchor, paths, truth)
    note = f"Bands: 50, 90 and 99 % of {paths.shape[1]:,} paths of one prompt; grey: three paths."
    return _drawn(draw_paths.fans({name: fan}, f"{prompt.competition} {prompt.asset}", note, synthetic=synthetic))


def plot_change(experiment: Experiment, baseline: str | None = None) -> Figure:
    """Draw the change of mean CRPS against the baseline, per asset."""
    base = _baseline(experiment, baseline)
    return _drawn(draw.change_by_asset(_compared(experiment, "asset", base), base, synthetic=_synthetic(experiment)))


def plot_by(experiment: Experiment, by: By, baseline: str | None = None) -> Figure:
    """Draw the change against the baseline by ``hour``, ``weekday`` or scoring ``interval``."""
    base, synthetic = _baseline(experiment, baseline), _synthetic(experiment)
    if by == "interval":
        return _drawn(draw.change_by_interval(_compared(experiment, "interval", base), base, synthetic=synthetic))
    what = {"hour": "hour of day"}.get(by, by)
    return _drawn(draw.change_by_part(_compared(experiment, by, base), base, what, synthetic=synthetic))


def plot_over_time(experiment: Experiment, baseline: str | None = None, period: int = DAY) -> Figure:
    """Draw CRPS over time, in percent of the baseline's mean."""
    course = relative.over_time(results(experiment), _baseline(experiment, baseline), period)
    return _drawn(draw.over_time(course, synthetic=_synthetic(experiment)))


def plot_cumulative(experiment: Experiment, baseline: str | None = None) -> Figure:
    """Draw the running sum of differences from the baseline."""
    course = relative.cumulative_difference(results(experiment), _baseline(experiment, baseline))
    return _drawn(draw.cumulative(course, synthetic=_synthetic(experiment)))


def plot_pit(experiment: Experiment, competition: str) -> Figure:
    """Draw histograms of the probability integral transform."""
    return _drawn(
        draw_calibration.pit(dg.pit_histogram(_checks(experiment)), competition, synthetic=_synthetic(experiment))
    )


def plot_coverage(experiment: Experiment, competition: str) -> Figure:
    """Draw the coverage of 50, 90 and 99 % intervals by horizon."""
    return _drawn(
        draw_calibration.coverage(dg.coverage(_checks(experiment)), competition, synthetic=_synthetic(experiment))
    )


def plot_volatility(experiment: Experiment, competition: str) -> Figure:
    """Draw realised and forecast volatility by horizon."""
    return _drawn(
        draw_calibration.term_structure(
            dg.term_structure(_checks(experiment)), competition, synthetic=_synthetic(experiment)
        )
    )


def plot_spread_skill(experiment: Experiment, competition: str) -> Figure:
    """Draw errors against spread."""
    return _drawn(
        draw_calibration.spread_skill(
            dg.spread_skill(_checks(experiment)), competition, synthetic=_synthetic(experiment)
        )
    )


def plot_prompts(
    experiment: Experiment, competition: str, forecaster: str | None = None, cache_dir: Path | str = "data_cache"
) -> Figure:
    """Draw a forecaster's worst, median and best prompt, reproduced from the cached bars.

    Parameters
    ----------
    experiment : Experiment
    competition : str
    forecaster : str, optional
        By default the experiment's first.
    cache_dir : path
        Cache of the experiment's bars.
    """
    name = forecaster or str(experiment.manifest["inputs"]["forecasters"][0])
    (found,) = telling_of(experiment, [competition], name, cache_dir)
    return _drawn(draw_paths.telling(found, synthetic=_synthetic(experiment)))


def plot_sweep(result: SweepResult) -> Figure:
    """Draw a sweep's curves, or its map if it has two parameters."""
    rows, parameters = read_sweep(result.summary), list(result.inputs["sweep"]["parameters"])
    synthetic = bool(result.inputs["synthetic"])
    if len(parameters) == 1:
        return _drawn(draw_sweep.curves(rows, parameters[0], synthetic=synthetic))
    return _drawn(draw_sweep.heat_maps(rows, parameters[:2], synthetic=synthetic))


def plot_track(record: TrackRecord) -> Figure:
    """Draw a live miner's running mean CRPS."""
    return _drawn(draw_live.running(record.running(), synthetic=record.synthetic))


def plot_latency(log_dir: Path | str, *, synthetic: bool = False) -> Figure:
    """Draw how long a live miner's answers took."""
    return _drawn(draw_live.latency(_serving(log_dir), synthetic=synthetic))


def plot_state_age(log_dir: Path | str, *, synthetic: bool = False) -> Figure:
    """Draw how old a live miner's states and anchors were."""
    return _drawn(draw_live.state_age(_serving(log_dir), synthetic=synthetic))


def _compared(experiment: Experiment, by: By, baseline: str | None) -> list[Difference]:
    base = _baseline(experiment, baseline)
    names = [name for name in experiment.manifest["inputs"]["forecasters"] if name != base]
    return compare({name: scores_of(experiment, name) for name in (base, *names)}, common=True, by=by)


def _baseline(experiment: Experiment, chosen: str | None) -> str:
    return chosen or str(experiment.manifest["inputs"]["forecasters"][-1])


def _serving(log_dir: Path | str) -> Serving:
    return serving(LiveLog.read(Path(log_dir)).answers)


def _checks(experiment: Experiment) -> pd.DataFrame:
    return dg.horizon_checks(dg.results_frame(experiment))


def _synthetic(experiment: Experiment) -> bool:
    return bool(experiment.manifest["inputs"]["synthetic"])

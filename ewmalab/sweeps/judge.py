"""Judge a sweep's scores: the best value, the confidence in it, and whether the data can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ewmalab.inference.confidence_set import confidence_set
from ewmalab.inference.intervals import LEVEL, ConfidenceInterval, Dependence, mean_intervals
from ewmalab.inference.paired_tests import diebold_mariano, equivalent, holm
from ewmalab.sweeps.parameters import Overrides, Parameter, label
from ewmalab.sweeps.run import SweepCell
from ewmalab.times import DAY, MINUTE
from ewmalab.units import magnitude

Floats = npt.NDArray[np.float64]
Verdict = Literal["better", "keep", "cannot tell", "no effect", "too few prompts"]

MARGIN = 0.001
"""Relative difference of mean CRPS below which values count as equivalent."""
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class ValueResult:
    """One value of a sweep on one competition and asset.

    Attributes
    ----------
    value : overrides
    mean_crps : float
        Basis points, over replicates and prompts.
    difference : ConfidenceInterval
        Mean CRPS less that of the configured value; negative is better.
    p_value, p_holm : float
        Diebold-Mariano, alone and corrected for the number of values.
    not_ruled_out : bool
        Whether it may be the best: the data have not shown that another is better.
    equivalent : bool
        Whether it is proven to be within `MARGIN` of the best.
    monte_carlo_sd : float
        Standard deviation of the difference from simulation alone.
    """

    value: Overrides
    mean_crps: float
    difference: ConfidenceInterval
    p_value: float
    p_holm: float
    not_ruled_out: bool
    equivalent: bool
    monte_carlo_sd: float


@dataclass(frozen=True, slots=True)
class CellResult:
    """The result of a sweep for one competition and asset.

    Attributes
    ----------
    competition, asset : str
    parameters : tuple of Parameter
    prompts : int
        Prompts scored under every value.
    dependence : Dependence
        How the prompts depend on each other.
    values : list of ValueResult
    best, configured : int
        Indices into `values`.
    verdict : str
        ``better``: the best beats the configured value; ``keep``: the configured value is the best; ``cannot tell``;
        ``no effect``: every value scores the same; ``too few prompts``.
    edges : list of str
        Parameters whose best value is the first or last of their grid.
    shared : bool
        Whether Monte Carlo noise is common to all prompts and therefore not part of the intervals.
    """

    competition: str
    asset: str
    parameters: tuple[Parameter, ...]
    prompts: int
    dependence: Dependence
    values: list[ValueResult]
    best: int
    configured: int
    verdict: Verdict
    edges: list[str]
    shared: bool

    @property
    def change(self) -> float:
        """Return the relative difference of the best from the configured value."""
        base = self.values[self.configured].mean_crps
        return self.values[self.best].difference.mean / base if base else 0.0

    def words(self) -> str:
        """Return the verdict in plain words."""
        best, present = (label(self.values[i].value) for i in (self.best, self.configured))
        left = [v for i, v in enumerate(self.values) if v.not_ruled_out and i != self.best]
        match self.verdict:
            case "no effect":
                return "every value scores the same"
            case "too few prompts":
                return f"{self.dependence.shortage or f'{self.prompts} prompts are too few'}: replay more days"
            case "better":
                text = f"{best} beats {present}"
            case "keep":
                text = f"{present}, as configured, is the best tried"
            case _:
                text = f"cannot tell {best} from {present}"
        single = len(self.parameters) == 1
        for words, found in (
            (f"equivalent to the best within {100 * MARGIN:g} %", [v for v in left if v.equivalent]),
            ("not ruled out", [v for v in left if not v.equivalent]),
        ):
            names = [name for v in found if (name := label(v.value)) != present or self.verdict != "cannot tell"]
            if names:
                text += f"; {words}: {_listed(names, single=single)}"
        for name in self.edges:
            text += f"; the best{f' {name}' if len(self.parameters) > 1 else ''} is on the grid's edge: extend it"
        return text


def judge(cell: SweepCell, rng: np.random.Generator, *, level: float = LEVEL) -> CellResult:
    """Judge the values of one competition and asset.

    Parameters
    ----------
    cell : SweepCell
    rng : numpy Generator
        For the bootstrap.
    level : float
        Confidence level of intervals and tests.
    """
    scored = np.isfinite(cell.scores).all(axis=(0, 1))
    scores = cell.scores[:, :, scored]
    if not scored.any():
        return _unjudged(cell)
    losses = scores.mean(axis=0).T  # (p, k)
    means = losses.mean(axis=0)
    best = cell.configured if means.min() == means[cell.configured] else int(np.argmin(means))
    differences = losses - losses[:, [cell.configured]]
    dependence = Dependence.of(differences, cell.overlap)
    intervals = mean_intervals(differences, dependence, level=level)
    p_values, p_holm = _p_values(differences, dependence, cell.configured)
    within = confidence_set(losses, dependence, rng, level=level).tolist()
    margin = MARGIN * float(means[best])
    alike = [equivalent(own, dependence, margin, level=level) for own in (losses - losses[:, [best]]).T]
    noise = _monte_carlo(scores, cell.configured).tolist()
    columns = zip(cell.values, means.tolist(), intervals, p_values, p_holm, within, alike, noise, strict=True)
    values = [ValueResult(*column) for column in columns]
    verdict: Verdict
    if not differences.any():
        verdict = "no effect"
    elif not dependence.enough:
        verdict = "too few prompts"
    elif best == cell.configured:
        verdict = "keep"
    elif _proven(values[best], within[cell.configured], level):
        verdict = "better"
    else:
        verdict = "cannot tell"
    edges = [] if verdict == "no effect" else _edges(cell, best)
    return _result(cell, dependence, values, best, verdict, edges)


def _unjudged(cell: SweepCell) -> CellResult:
    """Return the result where no prompt was scored under every value."""
    unknown = ConfidenceInterval(np.nan, -np.inf, np.inf)
    values = [ValueResult(v, np.nan, unknown, 1.0, 1.0, True, False, np.nan) for v in cell.values]
    return _result(cell, Dependence(0, 1.0, 1.0), values, cell.configured, "too few prompts", [])


def _result(
    cell: SweepCell, dependence: Dependence, values: list[ValueResult], best: int, verdict: Verdict, edges: list[str]
) -> CellResult:
    return CellResult(
        cell.competition,
        cell.asset,
        cell.parameters,
        dependence.rows,
        dependence,
        values,
        best,
        cell.configured,
        verdict,
        edges,
        cell.shared,
    )


def _p_values(differences: Floats, dependence: Dependence, configured: int) -> tuple[list[float], list[float]]:
    """Return each value's p against the configured one, and p corrected for the number of the other values."""
    alone = np.array([diebold_mariano(own, dependence) for own in differences.T])
    others = np.arange(len(alone)) != configured
    corrected = np.ones(len(alone))
    corrected[others] = holm(alone[others])
    return alone.tolist(), corrected.tolist()


def _proven(best: ValueResult, configured_within: bool, level: float) -> bool:
    """Return whether interval, corrected test, confidence set and simulation noise all agree that it is better."""
    return (
        best.difference.sign < 0
        and best.p_holm < 1.0 - level
        and not configured_within
        and abs(best.difference.mean) > _Z * best.monte_carlo_sd
    )


def _monte_carlo(scores: Floats, configured: int) -> Floats:
    """Return the standard error, over replicates, of each value's mean difference from the configured one."""
    replicates = len(scores)
    if replicates < 2:
        return np.full(scores.shape[1], np.nan)
    means = scores.mean(axis=2)
    return np.asarray((means - means[:, [configured]]).std(axis=0, ddof=1) / np.sqrt(replicates), np.float64)


def _edges(cell: SweepCell, best: int) -> list[str]:
    found = []
    for i, parameter in enumerate(cell.parameters):
        if not parameter.ordered:
            continue
        tried = sorted({value[i][1] for value in cell.values}, key=lambda value: magnitude(value) or 0.0)
        chosen = cell.values[best][i][1]
        ends = [tried[side] for side, closed in zip((0, -1), parameter.closed, strict=True) if not closed]
        if len(tried) > 2 and chosen in ends:
            found.append(parameter.name)
    return found


def _listed(items: Sequence[str], *, single: bool) -> str:
    most = 6 if single else 2
    shown = (", " if single else "; or ").join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Results of choosing on one window and scoring on the next.

    Attributes
    ----------
    competition, asset : str
    windows : list of (start of the test window, chosen value)
    prompts : int
        Prompts in the test windows.
    in_sample, out_of_sample : float
        Relative change of mean CRPS from the configured value, on the windows of the choices and on the next ones.
    low, high : float
        Bounds of the 95 % interval of `out_of_sample`.
    """

    competition: str
    asset: str
    windows: list[tuple[int, Overrides]]
    prompts: int
    in_sample: float
    out_of_sample: float
    low: float
    high: float

    @property
    def optimism(self) -> float:
        """Return how much better the choices looked than they were."""
        return self.out_of_sample - self.in_sample


def walk_forward(cell: SweepCell, train: int, test: int, horizon: int) -> WalkForward | None:
    """Choose on windows of `train` seconds and score on the next `test` seconds, rolling.

    A choice at time t uses only prompts whose realised path had ended by t.

    Parameters
    ----------
    cell : SweepCell
    train, test : int
        Seconds.
    horizon : int
        Length of a prompt's path, seconds.

    Returns
    -------
    WalkForward or None
        None if no window fits.
    """
    losses = cell.scores.mean(axis=0).T
    scored = np.isfinite(losses).all(axis=1)
    starts = cell.starts
    first = int(starts[0])
    first -= first % min(test, DAY)
    windows: list[tuple[int, Overrides]] = []
    inside: list[tuple[float, float]] = []
    after: list[Floats] = []
    origin = first + train
    while origin <= starts[-1]:
        # The last price is the close of the candle labelled by the path's end, known a minute later.
        known = scored & (starts >= origin - train) & (starts + horizon + MINUTE <= origin)
        coming = scored & (starts >= origin) & (starts < origin + test)
        if known.any() and coming.any():
            means = losses[known].mean(axis=0)
            chosen = cell.configured if means.min() == means[cell.configured] else int(np.argmin(means))
            windows.append((origin, cell.values[chosen]))
            inside.append((float(means[chosen]), float(means[cell.configured])))
            after.append(losses[coming][:, [chosen, cell.configured]])
        origin += test
    if not windows:
        return None
    table = np.concatenate(after)
    promised = np.array(inside)
    difference = table[:, 0] - table[:, 1]
    (interval,) = mean_intervals(difference[:, None], Dependence.of(difference, cell.overlap))
    return WalkForward(
        cell.competition,
        cell.asset,
        windows,
        len(table),
        float(promised[:, 0].sum() / promised[:, 1].sum() - 1.0),
        float(table[:, 0].mean() / table[:, 1].mean() - 1.0),
        interval.low / float(table[:, 1].mean()),
        interval.high / float(table[:, 1].mean()),
    )

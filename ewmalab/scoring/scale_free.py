"""CRPS of ensembles that differ only by their volatility, from one ensemble.

Where a forecaster's log-returns are ``s z`` with z independent of the relative volatility s, one ensemble of z serves
every prompt. With z_0 <= ... <= z_{N-1} a change's members, x_i = expm1(s z_i) and k members at or below the
observation y, ::

    CRPS = y (2 k / N - 1) + sum_i x_i (1 / N - (2 i - N + 1) / N**2) - 2 / N sum_{i<k} x_i

and the exponential's series makes each sum a polynomial in s whose coefficients are prefix sums of z**m / m!. A change
is sorted and summed once. Each prompt then costs one binary search and one dot product of 8 terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ewmalab.rulebook import ScoringRule
from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.change_plan import ABSOLUTE, plan_changes
from ewmalab.scoring.scale_free_kernels import TERMS, evaluate, tabulate


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """The realised changes of one competition's prompts, prepared to be scored many times.

    Attributes
    ----------
    begin, end : (c,) int64
        Grid indices of the changes that the rule compares.
    weight : (c,) float64
        Basis points times the number of intervals that count the change.
    absolute : (c,) bool
        Whether the change is scored as a price relative to the last one.
    change : (c, p) float64
        Relative changes; NaN where not scored.
    log_change : (c, p) float32
        Their log1p.
    price_ratio : (p,) float64
        Anchor over last realised price: the factor of absolute changes.
    """

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    absolute: npt.NDArray[np.bool_]
    change: npt.NDArray[np.float64]
    log_change: npt.NDArray[np.float32]
    price_ratio: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls, rule: ScoringRule, time_increment: int, anchors: npt.NDArray[np.float64], realised: npt.NDArray[np.float64]
    ) -> Observations:
        """Lay out the changes that a rule compares.

        Parameters
        ----------
        rule : ScoringRule
            Without a volatility term, because a deviation inside a block does not scale exactly.
        time_increment : int
            Seconds between grid points.
        anchors : (p,) float64
            Prices at which the paths start.
        realised : (p, steps + 1) float64
            Prices on each prompt's grid, NaN where missing.

        Raises
        ------
        ValueError
            If the rule has a volatility term.
        """
        if rule.volatility_blocks:
            raise ValueError(f"rule {rule.name} has a volatility term, which does not scale with the volatility")
        plan = plan_changes(rule, time_increment, realised.shape[1] - 1)
        counted = np.bincount(plan.series_of, minlength=plan.series_count)
        absolute = plan.kind == ABSOLUTE
        a, b, last = realised[:, plan.begin].T, realised[:, plan.end].T, realised[:, -1]
        base = np.where(absolute[:, None], anchors, a)
        change = np.where(absolute[:, None] & np.isnan(last), np.nan, (b - base) / base)
        return cls(
            begin=plan.begin,
            end=plan.end,
            weight=1e4 * counted[plan.series].astype(np.float64),
            absolute=absolute,
            change=change,
            log_change=np.log1p(change).astype(np.float32),
            price_ratio=anchors / last,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Observations]) -> Observations:
        """Join the prompts of several sets under the same rule and grid."""
        return replace(
            parts[0],
            change=np.concatenate([p.change for p in parts], axis=1),
            log_change=np.concatenate([p.log_change for p in parts], axis=1),
            price_ratio=np.concatenate([p.price_ratio for p in parts]),
        )


def scale_free_scores(
    log_returns: npt.NDArray[np.float32], volatility: npt.NDArray[np.float64], observations: Observations
) -> npt.NDArray[np.float64]:
    """Score ensembles ``volatility * log_returns``, one per prompt.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        The reference ensemble; time along the first axis.
    volatility : (p,) float64
        Relative volatility of each prompt's ensemble, > 0.
    observations : Observations
        Observations of p prompts.

    Returns
    -------
    (p,) float64
        Basis points, as `ewmalab.scoring.crps.Score.total`.

    Raises
    ------
    ValueError
        If the shapes do not match.
    """
    n, o = int(log_returns.shape[1]), observations
    if o.change.shape[1] != len(volatility) or o.end.max() >= len(log_returns):
        raise ValueError(
            f"{len(volatility)} volatilities and {len(log_returns)} points do not fit observations of "
            f"{o.change.shape[1]} prompts up to point {o.end.max()}"
        )
    pairs = 1.0 / (n * n)
    out = np.zeros(len(volatility))
    powers = np.cumprod(np.repeat(volatility[:, None], TERMS, axis=1), axis=1)
    inverse = (1.0 / volatility).astype(np.float32)
    prompts = (volatility, powers, inverse, o.price_ratio)
    buffer = np.empty(network.padded(n) * network.WIDTH, np.float32)
    table = np.empty((n + 1, TERMS))
    for first in range(0, len(o.begin), network.WIDTH):
        begin, end = o.begin[first : first + network.WIDTH], o.end[first : first + network.WIDTH]
        rows = np.empty((len(begin), n), np.float32)
        network.sort_changes(log_returns, begin, end, buffer, rows)
        for c, z in enumerate(rows, first):
            observed = (o.change[c], o.log_change[c], o.weight[c], o.absolute[c])
            tabulate(z, pairs, table)
            evaluate(z, pairs, table, prompts, observed, out)
    return out

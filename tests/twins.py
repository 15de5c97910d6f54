"""Slow, plain re-implementations that the compiled code is held against, written from the formulas alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
PARKINSON = 1 / (4 * math.log(2))
_M32, _M64 = 2**32 - 1, 2**64 - 1


# --------------------------------------------------------------------------------------------- generators


def _mix64(z: int) -> int:
    """The output function of SplitMix64."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _M64
    return z ^ (z >> 31)


def lane_state(key: tuple[int, int], lane: int) -> list[int]:
    """State of one lane's generator, on Python ints."""
    golden = 0x9E3779B97F4A7C15
    low = _mix64((key[0] + golden * (lane + 1)) & _M64)
    high = _mix64(key[1] ^ _mix64((low + golden) & _M64))
    return [low & _M32, low >> 32, high & _M32, high >> 32 | 1]


def xoshiro128pp(state: list[int]) -> Iterator[int]:
    """Draws of xoshiro128++ as its authors' C code makes them."""

    def rotl(x: int, k: int) -> int:
        return ((x << k) | (x >> (32 - k))) & _M32

    s = list(state)
    while True:
        yield (rotl((s[0] + s[3]) & _M32, 7) + s[0]) & _M32
        t = (s[1] << 9) & _M32
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 11)


def uniform(draws: Iterator[int]) -> float:
    """A draw inside (0, 1)."""
    return (next(draws) + 0.5) / 2**32


def turn(draws: Iterator[int]) -> float:
    """The cosine of a uniform angle."""
    return math.cos(2 * math.pi * next(draws) / 2**32)


def normal(draws: Iterator[int]) -> float:
    """A standard normal draw: half of a pair of Box and Muller's."""
    return math.sqrt(-2 * math.log(uniform(draws))) * turn(draws)


def student_t(draws: Iterator[int], nu: float, variance: float = 1.0) -> float:
    """A Student-t draw with a variance, in Bailey's polar form."""
    return math.sqrt((nu - 2) * variance * (uniform(draws) ** (-2 / nu) - 1)) * turn(draws)


def stratified(lanes: Sequence[Iterator[int]], strata: Sequence[Sequence[float]]) -> list[float]:
    """One draw for each path: the quantiles at a random offset, shuffled from the inside out."""
    count = len(strata[0])
    u = [next(lane) for _ in range(math.ceil(count / len(lanes))) for lane in lanes]
    row = strata[u[0] * len(strata) >> 32]
    out: list[float] = []
    for i in range(count):
        place = u[i] * (i + 1) >> 32
        out.append(0.0)
        out[i] = out[place]
        out[place] = row[i]
    return out


def strata_of(quantile: Callable[[float], float], count: int) -> list[list[float]]:
    """Quantiles by offset and stratum: at least 65 536, at the middles of equally likely cells."""
    offsets = math.ceil(65_536 / count)
    return [[quantile((i + (k + 0.5) / offsets) / count) for i in range(count)] for k in range(offsets)]


# -------------------------------------------------------------------------------------------------- paths


def ewma_path(draws: Iterator[int], nu: float, decay: float, variance: float, scale: Sequence[float]) -> list[float]:
    """One path of Student-t shocks with EWMA variance, float64."""
    h, x, path = variance, 0.0, [0.0]
    for factor in scale:
        r = student_t(draws, nu, h)
        x = min(max(x + factor * r, -30.0), 30.0)
        h = min(decay * h + (1 - decay) * r * r, 1e4)
        path.append(x)
    return path


def stratified_ewma_paths(
    lanes: Sequence[Iterator[int]],
    strata: Sequence[Sequence[float]],
    decay: float,
    variance: float,
    scale: Sequence[float],
) -> Floats:
    """Paths of stratified shocks with EWMA variance, (steps + 1, n) float64."""
    count = len(strata[0])
    h, path = np.full(count, variance), [np.zeros(count)]
    for factor in scale:
        r = np.sqrt(h) * np.array(stratified(lanes, strata))
        path.append(np.clip(path[-1] + factor * r, -30.0, 30.0))
        h = np.minimum(decay * h + (1 - decay) * r * r, 1e4)
    return np.array(path)


def wave_paths(
    lanes: Sequence[Iterator[int]],
    strata: Sequence[Sequence[float]],
    normals: Sequence[Sequence[float]],
    level: float,
    wave: float,
    persistence: float,
    sigma: Sequence[float],
) -> Floats:
    """Paths of stratified shocks with stochastic volatility, (steps + 1, n) float64."""
    base, slow = (np.array(stratified(lanes, normals)) for _ in range(2))
    path = [np.zeros(len(base))]
    for size in sigma:
        shock, push = (np.array(stratified(lanes, table)) for table in (strata, normals))
        path.append(np.clip(path[-1] + size * np.exp(level * base + wave * slow) * shock, -30.0, 30.0))
        slow = persistence * slow + math.sqrt(1 - persistence**2) * push
    return np.array(path)


def random_walk_path(draws: Iterator[int], sigma: float, steps: int) -> list[float]:
    """One path of relative Gaussian changes, float64."""
    x, path = 0.0, [0.0]
    for _ in range(steps):
        x += math.log1p(sigma * normal(draws))
        path.append(x)
    return path


# --------------------------------------------------------------------------------------------------- bars

Row = tuple[int, float, float, float, float]


def rows_of(bars: Bars) -> list[Row]:
    """The bars as tuples of label, open, high, low, close."""
    return [tuple(r) for r in zip(*(getattr(bars, c).tolist() for c in COLUMNS), strict=True)]


def naive_resample(rows: Sequence[Row], resolution: int) -> list[Row]:
    """The longer bars that `rows` complete, each made at once from all of its minutes."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[0] // resolution * resolution, []).append(row)
    out = []
    for label, group in groups.items():
        if group[-1][0] + MINUTE < label + resolution and label == max(groups):
            continue  # still under construction
        if any(math.isnan(row[2]) for row in group):
            first = high = low = math.nan
        else:
            first, high, low = group[0][1], max(r[2] for r in group), min(r[3] for r in group)
        out.append((label, first, high, low, group[-1][4]))
    return out


# --------------------------------------------------------------------------------------------------- EWMA


@dataclass
class NaiveEwma:
    """The variance recursion of one resolution, a bar at a time, as its description reads."""

    step: int
    half_life: int
    alpha: float = 0.5
    floor: float = 1e-10
    expanding: bool = True
    initial: float = 1e-5
    gap_policy: str = "hold"
    gap_half_life: int = 21_600
    long_run_half_life: int = 259_200
    volatility: Callable[[int], float] = lambda label: 1.0
    history: list[float] = field(default_factory=list)  # the variance after each bar
    weights: list[float] = field(default_factory=list)

    def run(self, rows: Sequence[Row]) -> NaiveEwma:
        def decay(half_life: int) -> float:
            return 0.5 ** (self.step / half_life)

        h = long_run = self.initial
        count = 0
        before: Row | None = None
        for row in rows:
            label, _, high, low, close = row
            k = 1.0 if before is None else (label - before[0]) / self.step
            squared = None if before is None else math.log(close / before[4]) ** 2
            if squared is not None and self.gap_policy != "decay":
                squared /= k
            proxy = squared
            if not math.isnan(high):
                ranged = math.log(high / low) ** 2 * PARKINSON
                proxy = ranged if squared is None else self.alpha * squared + (1 - self.alpha) * ranged
            before = row
            if proxy is not None:
                v = max(proxy / self.volatility(label) ** 2, self.floor)
                if self.gap_policy == "decay":
                    h *= decay(self.half_life) ** (k - 1)
                elif self.gap_policy == "revert":
                    h = long_run + (h - long_run) * decay(self.gap_half_life) ** (k - 1)
                count += 1
                gain = 1 - decay(self.half_life)
                slow = max(1 - decay(self.long_run_half_life), 1 / count)
                if self.expanding:
                    gain = max(gain, 1 / count)
                h += gain * (v - h)
                long_run += slow * (v - long_run)
            self.history.append(h)
        return self


# --------------------------------------------------------------------------------------------- synthetic bars


def random_bars(
    count: int,
    *,
    seed: int = 0,
    start: int = 1_768_435_200,
    sigma: float | Floats = 5e-4,
    missing: float = 0.0,
    close_only: float = 0.0,
    **changes: Any,
) -> Bars:
    """Bars of a random walk with real ranges; a share of them missing, or without a range."""
    rng = np.random.default_rng(seed)
    ticks = 8
    t = start + MINUTE * np.arange(count)
    moves = rng.standard_normal((count, ticks)) * (np.reshape(sigma, (-1, 1)) / math.sqrt(ticks))
    prices = 100 * np.exp(np.cumsum(moves).reshape(count, ticks))
    first = np.concatenate([[100.0], prices[:-1, -1]])
    table = np.column_stack([first, prices])
    high, low, close = table.max(1), table.min(1), prices[:, -1]
    bare = rng.random(count) < close_only
    for column in (first, high, low):
        column[bare] = np.nan
    keep = rng.random(count) >= missing
    return Bars(t[keep], first[keep], high[keep], low[keep], close[keep])

"""Does a sweep find the half-life and nu that made synthetic prices, and admit it where there is nothing to find?

    python benchmarks/recovery.py [--seeds 100]

Each seed is a market of its own: minute returns follow the model's own recursion, ``h <- decay h + (1 - decay) r**2``
with Student-t shocks, so the truth is known. A sweep recovers it if the values that it cannot tell from the best
enclose it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numba import njit

from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import load_settings
from ewmalab.sweeps.sweep import SweepResult, sweep, workload_of
from ewmalab.times import parse_time
from ewmalab.units import magnitude

START = parse_time("2026-01-08")
HALF_LIFE, NU = "2h", 6
GRIDS = {
    "half_life_1m": ["15m", "30m", "1h", "2h", "4h", "8h", "16h"],
    "nu_1m": ["2.5", "3", "4", "5", "6", "8", "10", "15", "30"],
}


@njit
def _returns(shocks: np.ndarray, decay: float, variance: float) -> np.ndarray:
    out = np.empty(len(shocks))
    for i in range(len(shocks)):
        out[i] = np.sqrt(variance) * shocks[i]
        variance = decay * variance + (1.0 - decay) * out[i] ** 2
    return out


def market(seed: int, days: float, warmup: float) -> Bars:
    """Return synthetic minute closes whose true half-life and nu are HALF_LIFE and NU."""
    rng = np.random.default_rng(seed)
    count = round((warmup + days + 1) * 1440) + 5
    shocks = rng.standard_t(NU, count) * np.sqrt((NU - 2) / NU)
    returns = _returns(shocks, 0.5 ** (60 / magnitude(HALF_LIFE)), 1e-6)
    times = START - round(warmup * 86_400) + 60 * np.arange(count)
    return Bars.from_closes(times, 100.0 * np.exp(np.cumsum(returns)))


def run(seed: int, days: float, folder: Path, parameter: str, configured: str, values: list[str]) -> SweepResult:
    """Sweep one synthetic market."""
    bars = market(seed, days, 4)
    covered = [(int(bars.timestamp[0]), int(bars.timestamp[-1]) + 60)]
    Cache(folder / "cache").write("file", "BTC", bars, covered, Provenance("synthetic", 0, synthetic=True))
    settings = load_settings(
        environ={},
        flags={
            "data.feed": "file", "data.cache_dir": str(folder / "cache"), "run.experiments_dir": str(folder),
            "run.seed": seed, "ewma.feedback": 1.0, "ewma.half_life_1m": HALF_LIFE, "ewma.nu_1m": NU,
            f"ewma.{parameter}": configured,
        },
    )  # fmt: skip
    workload = workload_of(
        settings, start=START, days=days, rules=RuleChoice.parse("2026-01-28"), competitions=["1h"], assets=["BTC"]
    )
    return sweep(settings, {parameter: values}, now=0, workload=workload)


def main() -> int:
    """Print the table; exit code 1 if a share is below what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--share", type=float, default=0.9)
    args = parser.parse_args()
    truth = {"half_life_1m": HALF_LIFE, "nu_1m": NU}
    wrong = {"half_life_1m": "15m", "nu_1m": "30"}
    rows, good = [], True
    for parameter, grid in GRIDS.items():
        covered, exact, widths, beaten, false = 0, 0, [], 0, 0
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                (cell,) = run(seed, args.days, folder, parameter, wrong[parameter], grid).cells
                numbers = [magnitude(v.value[0][1]) for v in cell.values]
                inside = [n for n, v in zip(numbers, cell.values, strict=True) if v.indistinguishable]
                covered += min(inside) <= magnitude(truth[parameter]) <= max(inside)
                exact += numbers[cell.best] == magnitude(truth[parameter])
                widths.append(len(inside))
                beaten += cell.verdict == "better"
                # The difference is zero where the present value is the truth: a claim to beat it is false.
                (null,) = run(seed, args.days, folder, parameter, str(truth[parameter]), grid).cells
                false += null.verdict == "better"
        n = args.seeds
        rows.append(
            (parameter, truth[parameter], f"{covered}/{n}", f"{exact}/{n}", f"{np.mean(widths):.1f} of {len(grid)}",
             wrong[parameter], f"{beaten}/{n}", f"{false}/{n}")
        )  # fmt: skip
        good &= covered >= args.share * n and false <= (1 - args.share) * n
    print(f"SYNTHETIC markets, {args.seeds} seeds, {args.days:g} days, 1h prompts of one asset\n")
    columns = ("parameter", "truth", "truth inside", "best is truth", "values left", "now", "beaten", "truth beaten")
    print(plain_table(columns, rows))
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())

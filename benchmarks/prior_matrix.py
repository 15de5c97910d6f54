"""`seasonal-har` by days of own history, with a prior, on weeks that neither fit nor prior has seen.

    python benchmarks/prior_matrix.py ../shared/data ../shared/data_venues

Rolling origin: at the start of each test week, each market is fitted on its newest days, and the week is replayed. The
rival is `ewma@seed`, as it is and with the half-lives that scored best on the 14 days before. The priors are made by
`make_prior.py` without the test's dates:

    rolling   weeks of Pyth after 2025-10-01; the prior has seen all venues before 2025-10-01
    venue     Binance spot and perpetuals, before 2025-07-26; the prior has seen Pyth after that date
    equities  2026-01-10 to 15; the prior has seen the coins, gold, and the other equities before

"seen" is a prior of the same assets, "unseen" one that has never seen the asset; its fit sees that asset alone. A prior
that has not seen gold takes for it what the coins have in common. `--before` names the root of an older checkout,
whose fits of the same bars are replayed too. Prints the change of mean CRPS of all weeks in percent, with the 95 %
interval of a paired block bootstrap, and the coverage of central intervals; `--keep` keeps the results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from make_prior import pooled_of
from seasonal_har import settle_gaps, swept_half_lives

import ewmalab as ew
from ewmalab.analysis.compare import KEY, Difference, compare
from ewmalab.analysis.diagnostics import coverage, horizon_checks, results_frame
from ewmalab.api.bar_files import import_bars
from ewmalab.errors import MissingDataError
from ewmalab.forecast.model import Fit
from ewmalab.market.bars import Bars
from ewmalab.market.files.bar_file import read_bars
from ewmalab.replay.artifacts import Artifact, artifact_from, write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, iso, parse_time

RIVALS = ("ewma@seed", "ewma@swept")
HORIZONS = (("1h", "100m"), ("24h", "4h"))
"""Competitions, and how often they are asked: by so odd a time that all minutes of the hour occur."""
RULES = "2026-06-01"
NAME = "seasonal-har"
HISTORIES = (0, 3, 7, 10, 14, 21, 28, 56, 112)
UNSEEN = (0, 7, 14, 28, 56)
CALIBRATED = (0, 7, 28, 112)
SHOWN = (("1h", 60), ("1h", 3600), ("24h", 300), ("24h", 10_800), ("24h", 86_400))
COINS, EQUITIES = ("BTC", "ETH", "SOL"), ("SPYX", "NVDAX", "TSLAX", "AAPLX", "GOOGLX")
NOTHING = Artifact(NAME, Fit(0, {"assets": {}, "pooled": {}, "left_out": {}}, ""), "", {})
CELLS = ["test", "venue", "label"]
_FIT = """
import json, sys
import ewmalab as ew
from ewmalab.replay.fits import make_artifact
from ewmalab.rulebook import load_rulebook
for line in sys.stdin:
    job = json.loads(line)
    settings = ew.load_settings(flags={"data.feed": job["feed"], "data.cache_dir": job["cache"]})
    bars = {a: ew.load_bars(a, job["start"], job["end"], settings=settings) for a in job["assets"]}
    try:
        made = make_artifact("seasonal-har", bars, settings, load_rulebook(), end=job["end"])
        print(json.dumps(made.fit.numbers), flush=True)
    except ew.errors.MissingDataError:
        print("null", flush=True)
"""


@dataclass(frozen=True)
class Test:
    """Markets that are fitted together, the weeks of the test, and what the prior must not have seen."""

    name: str
    folder: str
    assets: tuple[str, ...]
    weeks: tuple[int, ...]
    days: float
    prior: str
    variants: tuple[str, ...] = ("seen",)


def tests_of() -> list[Test]:
    """Return the tests."""

    def dates(*days: str) -> tuple[int, ...]:
        return tuple(map(parse_time, days))

    spot = dates("2025-06-10", "2025-06-17", "2025-06-24", "2025-07-01", "2025-07-08", "2025-07-15")
    late = dates("2025-10-12", "2025-10-26", "2025-11-16", "2025-12-07", "2025-12-28")
    return [
        Test("venue", "binance_spot_1m", COINS[:2], spot, 7, "pyth"),
        Test("venue", "binance_1m", (*COINS, "XRP"), dates("2025-05-19", "2025-05-26"), 7, "pyth"),
        Test("rolling", "pyth_1m", (*COINS, "XAU"), late, 7, "before", ("seen", "unseen")),
        Test("equities", "pyth_1m", EQUITIES, dates("2026-01-10"), 5, "equities", ("unseen",)),
    ]


class Matrix:
    """Fits, replays and compares."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.rulebook = options, folder, load_rulebook()
        found = [path for root in options.roots for path in sorted(root.glob("*_1m/*.parquet"))]
        self.series = {f"{path.parent.name}/{path.stem}": read_bars(path)[0] for path in found}
        self.results: list[pd.DataFrame] = []
        self.priors: dict[tuple[str, str], Artifact] = {}
        for name in dict.fromkeys(path.parent for path in found):
            import_bars([name], settings=self.settings(name.name))
            settle_gaps(self.settings(name.name))

    def settings(self, venue: str) -> LoadedSettings:
        """Return settings with a cache for one venue."""
        feed = venue.partition("_")[0]
        folders = {"data.cache_dir": str(self.folder / venue), "run.experiments_dir": str(self.folder / "experiments")}
        return ew.load_settings(environ={}, flags={"data.feed": feed, **folders})

    def prior(self, kind: str, hidden: str) -> Artifact:
        """Return a prior that has not seen an asset; it ends in 1970, since some tests are older than its bars."""
        if (kind, hidden) not in self.priors:
            end = parse_time({"before": "2025-10-01", "pyth": "2026-01-16", "equities": "2026-01-10"}[kind])
            venues = ("pyth_1m",) if kind == "pyth" else ("pyth_1m", "binance_1m", "binance_spot_1m")
            seen = {
                name: bars.known_at(end)
                for name, bars in self.series.items()
                if name.partition("/")[0] in venues and name.partition("/")[2] != hidden
            }
            if kind == "equities":  # they need no more, and it is faster
                seen = {name: bars.between(end - 40 * DAY, end) for name, bars in seen.items()}
            numbers = pooled_of({name: bars for name, bars in seen.items() if len(bars)}, end)
            for missing in ("metal", "commodity"):
                numbers["pooled"].setdefault(missing, numbers["pooled"]["crypto"])
            self.priors[kind, hidden] = artifact_from(NAME, numbers, {}, end=0, feed=kind)
        return self.priors[kind, hidden]

    def run(self, test: Test, begin: int) -> None:
        """Score a week of a test, by history."""
        settings, present = self.settings(test.folder), begin - 600
        options = argparse.Namespace(training=14, rules=RULES, sweeping="3h")
        swept: dict[str, Any] = {}
        first = min(int(self.series[f"{test.folder}/{a}"].timestamp[0]) for a in test.assets)
        if begin - 16 * DAY >= first:
            swept = swept_half_lives(settings, list(test.assets), begin, options)
        preset = settings.values.presets["ewma"]["seed"] | swept
        rivals = settings.with_flags({"presets.ewma.swept": preset})
        self._replay(test, begin, rivals, test.assets, RIVALS, "")
        whole = [n for n in map(int, self.options.histories.split(",")) if n == 0 or begin - n * DAY >= first]
        for variant in test.variants:
            histories = [n for n in whole if variant == "seen" or n in UNSEEN]
            for assets in [test.assets] if variant == "seen" else [(asset,) for asset in test.assets]:
                prior = self.prior(test.prior, "" if variant == "seen" else assets[0])
                named = settings.with_flags({"fit.prior": str(write_artifact(prior, self.folder))})
                for days in histories:
                    bars = {a: self.series[f"{test.folder}/{a}"].between(present - days * DAY, present) for a in assets}
                    made = self._fitted(named, bars, present) if days else prior
                    if made:
                        self._answer(test, begin, named, assets, made, f"{days:>3} d, {variant}")
        for days in whole if self.options.before else ():
            old = self._before(settings, test.assets, present - days * DAY, present) if days else None
            if old or not days:
                made = Artifact(NAME, Fit(0, old, ""), "", {}) if old else NOTHING
                self._answer(test, begin, settings, test.assets, made, f"{days:>3} d, before")

    def _fitted(self, settings: LoadedSettings, bars: Mapping[str, Bars], end: int) -> Artifact | None:
        try:
            return make_artifact(NAME, bars, settings, self.rulebook, end=end)
        except MissingDataError:
            return None

    def _before(self, settings: LoadedSettings, assets: Sequence[str], start: int, end: int) -> Any:
        job = {"feed": settings.values.data.feed, "cache": str(settings.values.data.cache_dir), "assets": list(assets)}
        job |= {"start": start, "end": end}
        done = subprocess.run(
            [sys.executable, "-c", _FIT],
            input=json.dumps(job) + "\n",
            env={"PYTHONPATH": str(self.options.before), "PATH": ""},
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    def _answer(
        self, test: Test, begin: int, settings: LoadedSettings, assets: Sequence[str], made: Artifact, label: str
    ) -> None:
        path = str(write_artifact(made, self.folder))
        self._replay(test, begin, settings.with_flags({"fit.artifacts": [path]}), assets, (NAME,), label)

    def _replay(
        self, test: Test, begin: int, settings: LoadedSettings, assets: Sequence[str], names: Sequence[str], label: str
    ) -> None:
        for horizon, cadence in HORIZONS:
            competing = [a for a in assets if a in self.rulebook.at(parse_time(RULES)).competitions[horizon].assets]
            if horizon not in self.options.horizons.split(",") or not competing:
                continue
            experiment = ew.backtest(
                *names, start=begin, days=test.days, assets=competing, competitions=[horizon], rules=RULES,
                cadence=cadence, name="matrix", settings=settings, partial=True,
            )  # fmt: skip
            found = results_frame(experiment)
            label_of = found["forecaster"].where(found["forecaster"] != NAME, label)
            self.results.append(found.assign(test=test.name, venue=test.folder, label=label_of))


def tables(results: pd.DataFrame) -> None:
    """Print the change against both rivals, and the coverage, by market, horizon and history."""
    for (test, venue), own in results.groupby(CELLS[:2], sort=False):
        frames = {label: part.sort_values(KEY).set_index(KEY) for label, part in own.groupby("label", sort=False)}
        rivals = {name: frames.pop(name) for name in RIVALS}
        weeks = own["start_time"].sub(own["start_time"].min()).floordiv(7 * DAY).nunique()
        print(f"\n{test}, {venue}, {weeks} weeks, {len(rivals[RIVALS[0]])} prompts; against ewma@seed, and all swept")
        found = {label: [_cells(one, frame) for one in rivals.values()] for label, frame in sorted(frames.items())}
        for competition in sorted(own["competition"].unique(), reverse=True):
            rows = {
                label: {asset: _words(cell) for (horizon, asset), cell in seed.items() if horizon == competition}
                | {"swept": _words(swept[competition, "all"])}
                for label, (seed, swept) in found.items()
                if (competition, "all") in seed
            }
            names = list(dict.fromkeys(name for row in rows.values() for name in row))
            print(f"  {competition:<14}" + "".join(f"{name:<20}" for name in names).rstrip())
            for label, row in rows.items():
                print(f"  {label:<14}" + "".join(f"{row.get(name, ''):<20}" for name in names).rstrip(), flush=True)
        cells = [cell for both in found.values() for one in both for cell in one.values()]
        worst, above = max(cell.change for cell in cells), sum((cell.low or -1) > 0 for cell in cells)
        print(f"  {len(cells)} cells against both: largest mean {100 * worst:+.2f}, intervals wholly above 0: {above}")
        print("  coverage of central intervals of moves since the start, percent, over all assets")
        for label, part in own[own["label"].isin(frames)].groupby("label"):
            rows = coverage(horizon_checks(part.drop(columns=CELLS)))
            for moment in dict.fromkeys((row.competition, row.horizon) for row in rows):
                mine = [row for row in rows if (row.competition, row.horizon) == moment]
                if int(label.split()[0]) in CALIBRATED and moment in SHOWN:
                    words = (f"{100 * r.covered:5.1f} [{100 * r.low:.1f}, {100 * r.high:.1f}]" for r in mine)
                    cells = "  ".join(f"{word:<20}" for word in words).rstrip()
                    print(f"  {label:<14}{moment[0]:<4}{moment[1] // 60:>5} min  {cells}")


def _cells(rival: pd.DataFrame, frame: pd.DataFrame) -> dict[tuple[str, str], Difference]:
    return {(row.competition, row.asset): row for row in compare({"rival": rival, "own": frame}, common=True)}


def _words(cell: Difference) -> str:
    known = cell.low is not None and cell.high is not None
    return f"{100 * cell.change:+.2f}" + (f" [{100 * cell.low:+.1f}, {100 * cell.high:+.1f}]" if known else "")


def main() -> None:
    """Run the tests and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="+", type=Path, help="folders of folders of bars")
    parser.add_argument("--tests", default="venue,rolling,equities", help="their names, or folders")
    parser.add_argument("--horizons", default="1h,24h")
    parser.add_argument("--histories", default=",".join(map(str, HISTORIES)))
    parser.add_argument("--before", type=Path, default=None, help="root of an older checkout")
    parser.add_argument("--keep", type=Path, default=None, help="file for the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(options, Path(folder))
        for test in tests_of():
            for begin in test.weeks if {test.name, test.folder} & set(options.tests.split(",")) else ():
                matrix.run(test, begin)
                print(f"{test.name}, {test.folder}, {iso(begin)[:10]}", flush=True)
                if options.keep:
                    pd.concat(matrix.results).to_parquet(options.keep)
    tables(pd.concat(matrix.results))


if __name__ == "__main__":
    main()

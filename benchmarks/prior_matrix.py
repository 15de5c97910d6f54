"""`seasonal-har` by days of own history, with and without a prior, on weeks that neither fit nor prior has seen.

    python benchmarks/prior_matrix.py ../shared/data ../shared/data_venues

Rolling origin: at the start of each test week, each market is fitted on its newest days, and the week is replayed. The
rival is `ewma@seed`, as it is and with the half-lives that scored best on the 14 days before. The priors are made by
`make_prior.py` without the test's dates:

    rolling   weeks of Pyth after 2025-10-01; the prior has seen all venues before 2025-10-01
    venue     Binance spot and perpetuals, before 2025-07-26; the prior has seen Pyth after that date
    equities  2026-01-10 to 15; the prior has seen the coins, gold, and the other equities before

"seen" is a prior of the same assets, "unseen" one that has never seen the asset; its fit sees that asset alone. A prior
that has not seen gold takes for it what the coins have in common. `--without` also replays fits without a prior, and
`--before` names the root of an older checkout, whose fits of the same bars are replayed too. Prints, after each week,
the change of mean CRPS so far in percent, with the 95 % interval of a paired block bootstrap.
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
from seasonal_har import swept_half_lives

import ewmalab as ew
from ewmalab.analysis.compare import compare, scores_of
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

RULES = "2026-06-01"
NAME = "seasonal-har"
HISTORIES = (0, 3, 7, 10, 14, 21, 28, 56, 112)
COINS, EQUITIES = ("BTC", "ETH", "SOL"), ("SPYX", "NVDAX", "TSLAX", "AAPLX", "GOOGLX")
NOTHING = Artifact(NAME, Fit(0, {"assets": {}, "pooled": {}, "left_out": {}}, ""), "", {})
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


def tests_of(weeks: str) -> list[Test]:
    """Return the tests; those of Pyth on weeks that begin at given dates."""
    late = tuple(map(parse_time, weeks.split(",")))
    spot = tuple(map(parse_time, ("2025-06-10", "2025-07-08")))
    perpetual = (parse_time("2025-05-26"),)
    return [
        Test("venue", "binance_spot_1m", COINS[:2], spot, 7, "pyth"),
        Test("venue", "binance_1m", (*COINS, "XRP"), perpetual, 7, "pyth"),
        Test("rolling", "pyth_1m", (*COINS, "XAU"), late, 7, "before", ("seen", "unseen")),
        Test("equities", "pyth_1m", EQUITIES, (parse_time("2026-01-10"),), 5, "equities", ("unseen",)),
    ]


class Matrix:
    """Fits, replays and compares."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder, self.rulebook = options, folder, load_rulebook()
        found = [path for root in options.roots for path in sorted(root.glob("*_1m/*.parquet"))]
        self.series = {f"{path.parent.name}/{path.stem}": read_bars(path) for path in found}
        self.scores: dict[Test, dict[str, list[pd.DataFrame]]] = {}
        self.priors: dict[tuple[str, str], Artifact] = {}
        for name in dict.fromkeys(path.parent for path in found):
            import_bars([name], settings=self.settings(name.name))

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
        options = argparse.Namespace(training=14, rules=RULES)
        swept: dict[str, Any] = {}
        first = min(int(self.series[f"{test.folder}/{a}"].timestamp[0]) for a in test.assets)
        if begin - 16 * DAY >= first:
            swept = swept_half_lives(settings, list(test.assets), begin, options)
        preset = settings.values.presets["ewma"]["seed"] | swept
        rivals = settings.with_flags({"presets.ewma.swept": preset})
        self._replay(test, begin, rivals, test.assets, ("ewma@seed", "ewma@swept"), "")
        histories = [n for n in map(int, self.options.histories.split(",")) if n == 0 or begin - n * DAY >= first]
        for variant in test.variants:
            for assets in [test.assets] if variant == "seen" else [(asset,) for asset in test.assets]:
                prior = self.prior(test.prior, "" if variant == "seen" else assets[0])
                named = settings.with_flags({"fit.prior": str(write_artifact(prior, self.folder))})
                for days in histories:
                    start = present - days * DAY
                    bars = {a: self.series[f"{test.folder}/{a}"].between(start, present) for a in assets}
                    made = self._fitted(named, bars, present) if days else None
                    self._answer(test, begin, named, assets, made or prior, f"{days:>3} d, {variant}")
        for days in histories if self.options.without else ():
            bars = {a: self.series[f"{test.folder}/{a}"].between(present - days * DAY, present) for a in test.assets}
            made = self._fitted(settings.with_flags({"fit.prior": ""}), bars, present) if days else None
            self._answer(test, begin, settings, test.assets, made or NOTHING, f"{days:>3} d, alone")
        for days in histories if self.options.before else ():
            old = self._before(settings, test.assets, present - days * DAY, present) if days else None
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
        experiment = ew.backtest(
            *names, start=begin, days=test.days, assets=list(assets), rules=RULES, cadence=self.options.cadence,
            name="matrix", settings=settings, partial=True,
        )  # fmt: skip
        own = self.scores.setdefault(test, {})
        for name in names:
            own.setdefault(label or name, []).append(scores_of(experiment, name))

    def table(self, test: Test) -> None:
        """Print the change against both rivals, by horizon, asset and history."""
        frames = {label: pd.concat(parts).sort_index() for label, parts in self.scores.get(test, {}).items()}
        if not frames:
            return
        rivals = [frames.pop(name) for name in ("ewma@seed", "ewma@swept")]
        weeks = ", ".join(iso(begin)[:10] for begin in test.weeks[: len(self.scores[test]["ewma@seed"])])
        print(f"\n{test.name}, {test.folder}, weeks of {weeks}; against ewma@seed, as it is and swept")
        rows = {label: [_cells(rival, frame) for rival in rivals] for label, frame in frames.items()}
        for cell in next(iter(rows.values()))[0]:
            for label, found in rows.items():
                texts = "  ".join(f"{one[cell]:<24}" for one in found)
                print(f"{' '.join(cell):<20} {label:<12} {texts}".rstrip(), flush=True)


def _cells(rival: pd.DataFrame, frame: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return the change in words, by competition and asset."""
    found = {}
    for row in compare({"rival": rival, "own": frame}, common=True):
        known = row.low is not None and row.high is not None
        interval = f" [{100 * row.low:+.2f}, {100 * row.high:+.2f}]" if known else ""
        found[row.competition, row.asset] = f"{100 * row.change:+6.2f}{interval}"
    return found


def main() -> None:
    """Run the tests and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="+", type=Path, help="folders of folders of bars")
    parser.add_argument("--weeks", default="2025-10-19,2025-12-14", help="first days of the weeks of Pyth")
    parser.add_argument("--tests", default="rolling,venue,equities")
    parser.add_argument("--cadence", default="3h")
    parser.add_argument("--histories", default=",".join(map(str, HISTORIES)))
    parser.add_argument("--without", action="store_true", help="replay fits without a prior too")
    parser.add_argument("--before", type=Path, default=None, help="root of an older checkout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        matrix = Matrix(options, Path(folder))
        for test in tests_of(options.weeks):
            for begin in test.weeks if test.name in options.tests.split(",") else ():
                matrix.run(test, begin)
                matrix.table(test)


if __name__ == "__main__":
    main()

"""`seasonal-har` against its rivals on weeks that no fit has seen.

    python benchmarks/seasonal_har.py --start 2025-09-15 --weeks 17

Everything that is fitted or chosen is so on bars closed before each test week: `seasonal-har` and a GARCH(1,1)-t of
`arch` are fitted on all of them, and the half-lives of `ewma@seed` are those that scored best, per asset and
competition, on the newest `--training` days. Rules of one date hold for all weeks. Bars are read from the cache. Prints
the change of mean CRPS, with the 95 % interval of a paired block bootstrap over all weeks, and the coverage of central
intervals of moves since the start.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from garch import fit_garch

import ewmalab as ew
from ewmalab.analysis.compare import compare, scores_of
from ewmalab.analysis.diagnostics import coverage, horizon_checks, results_frame
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.artifacts import write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, iso, parse_time

NAMES = ("seasonal-har", "ewma@swept", "garch:Garch", "random-walk", "ewma@seed")


def settle_gaps(settings: LoadedSettings) -> None:
    """Count minutes that imported files lack as minutes without a bar: there is no source to ask for them."""
    cache = Cache(Path(settings.values.data.cache_dir))
    for feed, asset in cache.assets():
        known = cache.covered(feed, asset)
        holes = cache.missing(feed, asset, known[0][0], known[-1][1])
        if holes:
            cache.write(feed, asset, Bars.empty(), holes, Provenance("file", known[-1][1]))


def swept_half_lives(
    settings: LoadedSettings, assets: list[str], begin: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the half-lives that scored best on the days before a week."""
    chosen: dict[str, dict[str, str]] = {}
    days = options.training
    rules = load_rulebook().at(parse_time(options.rules))
    for key, horizon in (("half_life_1m", "1h"), ("half_life_5m", "24h")):
        competing = [a for a in assets if any(a in c.assets for c in rules.select([horizon]))]
        if not competing:
            continue
        result = ew.sweep(
            {key: None}, forecaster="ewma@seed", start=begin - days * DAY - DAY, days=days, assets=competing,
            competitions=[horizon], rules=options.rules, cadence=options.sweeping, name=None, settings=settings,
        )  # fmt: skip
        table = {cell.asset: str(cell.values[cell.best].value[0][1]) for cell in result.cells}
        chosen[key] = {"default": "1h", **table}
    return chosen


def by_interval(frames: dict[str, pd.DataFrame], names: tuple[str, ...]) -> pd.DataFrame:
    """Return each scored interval's share of the first forecaster's score, and all changes against the last."""
    found = {}
    for competition in frames[names[0]].index.unique("competition"):
        means = {}
        for name in names:
            own = frames[name].xs(competition).filter(like="crps_").dropna(axis=1)
            gaps = own.columns.str.contains("gaps")
            sums = own.loc[:, ~gaps].assign(**{"crps_gaps": own.loc[:, gaps].sum(axis=1)} if gaps.any() else {})
            means[name] = sums.groupby("asset").mean()
        shares = means[names[0]].div(means[names[0]].sum(axis=1), axis=0).mean()
        changes = {name: (means[name] / means[names[-1]] - 1).mean() for name in names if name != names[-1]}
        for interval, share in shares.items():
            found[competition, str(interval).removeprefix("crps_")] = {
                "share": 100 * share, **{name: 100 * change[interval] for name, change in changes.items()},
            }  # fmt: skip
    return pd.DataFrame(found).T.round(2)


def main() -> None:
    """Fit, choose, replay and compare, week by week."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="2025-09-15")
    parser.add_argument("--weeks", type=int, default=17)
    parser.add_argument("--days", type=float, default=7, help="of each test block")
    parser.add_argument("--history", default="2025-07-20", help="first day of the bars that fits see")
    parser.add_argument("--assets", default="BTC,ETH,SOL,XAU")
    parser.add_argument("--fitted", default=None, help="assets that the fit sees, if not those of the test")
    parser.add_argument("--feed", default="pyth")
    parser.add_argument(
        "--transfer", action="store_true",
        help="fit once, on all pyth bars of the --fitted assets, even later ones than the test: how a fit of other "
        "assets on another feed serves",
    )  # fmt: skip
    parser.add_argument("--rules", default="2026-10-05")
    parser.add_argument("--cadence", default="1h")
    parser.add_argument("--training", type=int, default=14, help="days on which half-lives are chosen")
    parser.add_argument("--sweeping", default="1h", help="how often prompts are asked on those days")
    parser.add_argument("--against", default="ewma@swept", choices=NAMES)
    parser.add_argument(
        "--quick", action="store_true", help="without the rivals that take long: swept half-lives, GARCH"
    )
    parser.add_argument("--folder", type=Path, default=Path("fits"))
    options = parser.parse_args()
    names = ("seasonal-har", "random-walk", "ewma@seed") if options.quick else NAMES
    against = "ewma@seed" if options.quick else options.against
    assets, rulebook = options.assets.split(","), load_rulebook()
    fitted = (options.fitted or options.assets).split(",")
    settings = ew.load_settings(flags={"data.feed": options.feed})
    settle_gaps(settings)
    scores: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    results: list[pd.DataFrame] = []
    for week in range(options.weeks):
        begin = parse_time(options.start) + round(options.days * DAY) * week
        present = begin - 600  # requests come before the prompts
        bars = {a: ew.load_bars(a, options.history, present, settings=settings) for a in assets}
        began = time.perf_counter()
        if options.transfer:
            pyth = ew.load_settings(flags={"data.feed": "pyth", "fit.prior": ""})
            others = {a: ew.load_bars(a, "2025-07-20", "2026-01-16", settings=pyth) for a in fitted}
            made = make_artifact("seasonal-har", others, pyth, rulebook, end=parse_time("2026-01-16"), feed="pyth")
            made = replace(made, fit=replace(made.fit, end=present))
        else:
            seen = {a: ew.load_bars(a, options.history, present, settings=settings) for a in fitted}
            made = make_artifact("seasonal-har", seen, settings, rulebook, end=present, feed=options.feed)
        path = write_artifact(made, options.folder)
        seconds = [time.perf_counter() - began]
        swept = {} if options.quick else swept_half_lives(settings, assets, begin, options)
        seconds.append(time.perf_counter() - began - seconds[0])
        garch = options.folder / f"garch-{begin}.json"
        if not options.quick:
            fits = {a: {str(step): fit_garch(bars[a], step) for step in (60, 300)} for a in assets}
            garch.write_text(json.dumps(fits))
        preset = settings.values.presets["ewma"]["seed"] | swept
        chosen = settings.with_flags(
            {"fit.artifacts": [str(path)], "plugin.fits": str(garch), "presets.ewma.swept": preset}
        )
        experiment = ew.backtest(
            *names, start=begin, days=options.days, assets=assets, rules=options.rules, cadence=options.cadence,
            name="rolling", settings=chosen, partial=True,
        )  # fmt: skip
        for name in names:
            scores[name].append(scores_of(experiment, name))
        results.append(results_frame(experiment))
        print(f"{iso(begin)[:10]}: fitted in {seconds[0]:.1f} s, swept in {seconds[1]:.0f} s, "
              f"week {week + 1} of {options.weeks}", flush=True)  # fmt: skip
    order = (against, *(name for name in names if name != against))
    frames = {name: pd.concat(scores[name]).sort_index() for name in order}
    rows = pd.DataFrame(compare(frames, common=True))
    tested = (
        f"{options.weeks} blocks of {options.days:g} days from {options.start}, {options.feed}, rules {options.rules}"
    )
    print(f"\n{tested}, a prompt each {options.cadence}; change of mean CRPS against {against}, percent")
    for name in order[1:]:
        mine = rows[rows["forecaster"] == name]
        for row in mine.to_dict("records"):
            cell = f"{name:<13} {row['competition']:<12} {row['asset']:<6} {row['prompts']:>6}"
            print(f"{cell}  {100 * row['change']:+6.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]")
        for competition, own in mine[mine["asset"] != "all"].groupby("competition"):
            print(f"{name:<13} {competition:<12} mean of assets {100 * own['change'].mean():+.2f}")
    checks = horizon_checks(pd.concat(results))
    print("\ncoverage of seasonal-har, percent of moves since the start, 95 % interval")
    for row in coverage(checks[checks["forecaster"] == "seasonal-har"]):
        cell = f"{row.competition:<12} {row.horizon / 60:>6g} min {100 * row.level:.0f} %"
        print(f"{cell}: {100 * row.covered:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]")
    own = checks[(checks["forecaster"] == "seasonal-har") & (checks["horizon"] == DAY)]
    inside = (100 * (own["pit"] - 0.5).abs().le(0.45)).groupby(
        [own["asset"], pd.to_datetime(own["start_time"], unit="s").dt.strftime("%Y-%m")]
    )
    print("\ncoverage of the 90 % band of moves over a day, percent, by month")
    print(inside.mean().unstack().round(1).to_string())
    print("\nby scored interval, percent: its share of the score, and the change against ewma@seed; means of assets")
    print(by_interval(frames, names).to_string())


if __name__ == "__main__":
    main()

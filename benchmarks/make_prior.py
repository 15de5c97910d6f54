"""Make the prior of `seasonal-har` that the package ships, from files of minute bars.

    python benchmarks/make_prior.py ../shared/data/* ../shared/data_venues/*

Each file ``<folder>/<ASSET>.parquet`` is a series of its own, since one asset has another microstructure on another
venue. First all series are fitted together, then each class on its own, shrunk towards what all have in common. Only
what the series of a class share is kept. Classes that `ALIKE` names share an entry: there are too few bars of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ewmalab.forecast.seasonal_har.fit import fit, min_bars
from ewmalab.market.bars import Bars
from ewmalab.market.files.bar_file import read_bars
from ewmalab.replay.artifacts import artifact_from, write_artifact
from ewmalab.replay.priors import FOLDER
from ewmalab.rulebook import Asset, Rulebook, load_rulebook
from ewmalab.times import parse_time

ALIKE = {"commodity": "metal", "index": "equity"}
COMMAND = "python benchmarks/make_prior.py ../shared/data/* ../shared/data_venues/*"
_DIGITS = 4


def pooled_of(series: Mapping[str, Bars], end: int) -> dict[str, Any]:
    """Return the numbers of a prior.

    Parameters
    ----------
    series : mapping of "folder/ASSET" to Bars
    end : int
        Bars not closed at this time are ignored.
    """
    rulebook = load_rulebook()
    assets = {name: _asset(rulebook, name.rpartition("/")[2]) for name in series}
    everything = fit(series, assets, end=end)
    found: dict[str, Any] = {}
    for kind in dict.fromkeys(asset.asset_class for asset in assets.values()):
        own = {name: bars for name, bars in series.items() if assets[name].asset_class == kind}
        if any(len(bars.known_at(end)) >= min_bars(assets[name]) for name, bars in own.items()):
            found[kind] = fit(own, assets, end=end, prior=everything)["pooled"][kind]
    found |= {kind: found[other] for kind, other in ALIKE.items() if other in found}
    pooled = {kind: _rounded(entry) | {"prior": True} for kind, entry in found.items()}
    kept = {name: everything[name] for name in ("half_lives", "left_out")}
    return kept | {"assets": {}, "pooled": pooled, "made": {"command": COMMAND, "version": version("ewmalab")}}


def _asset(rulebook: Rulebook, symbol: str) -> Asset:
    asset = rulebook.asset(symbol)
    return replace(asset, asset_class=ALIKE.get(asset.asset_class, asset.asset_class))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


def main() -> None:
    """Fit, replace the prior of the package, and print what is in it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of <ASSET>.parquet files")
    parser.add_argument("--end", default="2026-01-16", help="the prior sees bars closed by then")
    parser.add_argument("--output", type=Path, default=FOLDER)
    options = parser.parse_args()
    end = parse_time(options.end)
    paths = {f"{path.parent.name}/{path.stem}": path for folder in options.folders for path in folder.glob("*.parquet")}
    series = {name: read_bars(path).known_at(end) for name, path in sorted(paths.items())}
    numbers = pooled_of(series, end)
    feed = ", ".join(dict.fromkeys(name.partition("/")[0] for name in series))
    artifact = artifact_from("seasonal-har", numbers, series, end=end, feed=feed)
    for path in options.output.glob("seasonal-har-*.json"):
        path.unlink()
    path = write_artifact(artifact, options.output)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    for kind, entry in numbers["pooled"].items():
        print(f"{kind:<10} {entry['of']} series, smoothness {entry['smoothness']:.3f}, shocks {entry['shocks']}")
    for name, count in numbers["left_out"].items():
        print(f"{name}: {count:,} bars are too few")


if __name__ == "__main__":
    main()

"""``ewmalab fit``: what `seasonal-har` knows, from cached bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab.cli import common


def fit(
    start: Annotated[str, typer.Option(help="First day of the bars, e.g. 2025-07-20 (UTC).")],
    days: Annotated[float, typer.Option(min=8, help="Days of bars; the fit's present is their end.")] = 120.0,
    forecaster: Annotated[str, typer.Option("--forecaster", "-f", help="seasonal-har.")] = "seasonal-har",
    assets: common.AssetsOption = None,
    feed: common.FeedOption = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of artifacts.")] = Path("fits"),
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Estimate seasonality, volatility curve and shocks from cached bars.

    Writes a small artifact, named by its content. An asset that is not in it
    takes what the fitted ones of its class have in common.

    Examples:

      ewmalab fit --start 2025-07-20 --days 170 --assets BTC,ETH,SOL,XAU

      ewmalab fit --start 2025-12-01 --days 40 --feed pyth --json
    """
    from time import perf_counter

    from ewmalab.errors import MissingDataError
    from ewmalab.fitting.fit import fit as run
    from ewmalab.forecast.artifact import write_artifact
    from ewmalab.market.bars import DAY
    from ewmalab.market.feeds.make import cache_name
    from ewmalab.market.remote import open_cache
    from ewmalab.rulebook import iso, load_rulebook

    if forecaster != "seasonal-har":
        raise typer.BadParameter(f"{forecaster!r}: only seasonal-har is fitted", param_hint="--forecaster")
    loaded = common.settings(config, set_, {"data.feed": feed})
    rulebook, began = load_rulebook(), perf_counter()
    begin = common.when(start)
    end = begin + round(days * DAY)
    cache, name = open_cache(loaded.values.data.cache_dir), cache_name(loaded.values.data.feed, loaded.values)
    chosen = common.upper(assets) or list(rulebook.symbols)
    bars = {asset: cache.read(name, asset, begin, end) for asset in chosen if rulebook.asset(asset)}
    bars = {asset: own for asset, own in bars.items() if len(own) or assets}
    if not any(len(own) for own in bars.values()):
        raise MissingDataError(f"the cache has no bars of {name} in that time; see `ewmalab data list`")
    artifact = run(bars, rulebook, end=end)
    artifact["feed"] = name
    path = write_artifact(artifact, output)
    seconds = perf_counter() - began
    if json:
        common.print_json({"artifact": str(path), "assets": list(bars), "seconds": round(seconds, 3)})
        return
    print(f"fitted {', '.join(bars)} on bars of {name} before {iso(end)}, {seconds:.1f} s")
    print(f"artifact: {path}\nuse it:   --set seasonal_har.artifact={path}")

"""``ewmalab fit``: what a forecaster learns from cached bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab.cli import common


def fit(
    start: Annotated[str, typer.Option(help="First day of the bars, e.g. 2025-07-20 (UTC).")],
    days: Annotated[float, typer.Option(min=8, help="Days of bars.")] = 120.0,
    forecaster: Annotated[
        str, typer.Option("--forecaster", "-f", help="seasonal-har, or a plug-in with a fit.")
    ] = "seasonal-har",
    assets: common.AssetsOption = None,
    feed: common.FeedOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Instead of fit.folder.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Estimate what a forecaster learns from cached bars.

    Writes a small artifact, named by its content. For seasonal-har: season,
    volatility curve and shocks; an asset that is not in it takes what the
    fitted ones of its class have in common. The fit sees the bars that are
    closed a request's lead before the end of the days: prompts that start
    there can be answered with it, earlier ones are refused.

    Examples:

      ewmalab fit --start 2025-07-20 --days 170 --assets BTC,ETH,SOL,XAU

      ewmalab fit --start 2025-12-01 --days 40 --feed pyth --json
    """
    from time import perf_counter

    from ewmalab.errors import MissingDataError
    from ewmalab.forecast.load import load_forecaster
    from ewmalab.forecast.protocol import Explained
    from ewmalab.market.cache import open_cache
    from ewmalab.market.feeds.make import cache_name
    from ewmalab.replay.fits import make_artifact, write_artifact
    from ewmalab.rulebook import load_rulebook
    from ewmalab.times import DAY, iso

    loaded = common.settings(config, set_, {"data.feed": feed, "fit.folder": str(output) if output else None})
    values, rulebook, began = loaded.values, load_rulebook(), perf_counter()
    begin = common.when(start)
    end = begin + round(days * DAY) - values.replay.request_lead
    cache, name = open_cache(values.data.cache_dir), cache_name(values.data.feed, values)
    chosen = common.upper(assets) or list(rulebook.symbols)
    with common.progress(quiet=json) as bar:
        bar.add_task("fitting", total=None)
        bars = {asset: cache.read(name, asset, begin, end) for asset in chosen if rulebook.asset(asset)}
        bars = {asset: own for asset, own in bars.items() if len(own) or assets}
        if not any(len(own) for own in bars.values()):
            raise MissingDataError(f"the cache has no bars of {name} in that time; see `ewmalab data list`")
        artifact = make_artifact(forecaster, bars, loaded, rulebook, end=end, feed=name)
        path = write_artifact(artifact, Path(values.fit.folder))
    seconds = perf_counter() - began
    maker: object = load_forecaster(forecaster, rulebook.asset(chosen[0]), loaded)
    numbers = artifact.fit.numbers
    table = maker.fit_table(numbers) if isinstance(maker, Explained) else {asset: {} for asset in artifact.seen}
    left_out = {asset: seen["bars"] for asset, seen in artifact.seen.items() if asset not in table}
    if json:
        common.print_json(
            {
                "artifact": str(path),
                "forecaster": artifact.forecaster,
                "end": iso(artifact.fit.end),
                "assets": list(table),
                "left_out": left_out,
                "seconds": round(seconds, 3),
            }
        )
        return
    extra = list(next(iter(table.values()), {}))
    rows = [
        (asset, f"{seen['first'][:10]} to {seen['last'][:10]}", f"{seen['bars']:,}", *table[asset].values())
        for asset, seen in artifact.seen.items()
        if asset in table
    ]
    print(common.table(("asset", "days", "bars", *extra), rows))
    for asset, count in left_out.items():
        print(f"{asset}: {count:,} bars are too few: it takes what others of its class share")
    print(f"fitted on bars of {name} closed by {iso(artifact.fit.end)}, {seconds:.1f} s")
    print(f"artifact: {path}\nuse it:   --set fit.artifacts='[\"{path}\"]'")
